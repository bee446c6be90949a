"""A body that may be large, piece by piece: bounded in time and size, never whole in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from adapters.http.problems import Problem

STALLED: Final = 30.0
"""Seconds in which the next piece must come."""
BODY_WITHIN: Final = 600.0
"""Seconds in which all of it must have come: 50 MiB at 0.7 Mbit/s."""
LARGEST_TEXTS: Final = 64 * 1024
"""Bytes of everything but the file: fields, their headers, what stands around."""
MOST_PARTS: Final = 16
LET_GO_WITHIN: Final = 2.0
"""Seconds for which the rest of a body that was refused is read and thrown away."""
CLOSE: Final = {"connection": "close"}


class FilePart(msgspec.Struct, frozen=True):
    """The file begins; ``data`` follows."""


class FileData(msgspec.Struct, frozen=True):
    """More of the file."""

    data: bytes


class Field(msgspec.Struct, frozen=True):
    """A field that is no file, whole."""

    name: str
    text: str


class Body:
    """What is sent with a request."""

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._receive = receive
        self._ended = False

    async def pieces(self, largest: int) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises Problem: too slow (408), too large (413), the sender went away (400)."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BODY_WITHIN
        size = 0
        while not self._ended:
            try:
                async with asyncio.timeout_at(min(end, loop.time() + STALLED)):
                    message = await self._next()
            except TimeoutError:
                detail = f"the body stalled for {STALLED:.0f} s, or took longer than {BODY_WITHIN:.0f} s"
                raise Problem(408, detail, CLOSE) from None
            if message["type"] == "http.disconnect":
                raise Problem(400, "the sender went away before the body was complete")
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > largest:
                raise Problem(413, f"the body is larger than {largest} bytes", CLOSE)
            if piece:
                yield piece

    async def let_go(self) -> None:
        """Take what is still on its way to nowhere, for a moment.

        A connection that is closed with something unread is reset, and many a sender then never sees the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LET_GO_WITHIN):
                while not self._ended:
                    await self._next()

    async def _next(self) -> dict[str, Any]:
        message = await self._receive()
        self._ended = not message.get("more_body")
        return message


async def form(
    body: AsyncIterator[bytes], boundary: str, file: str
) -> AsyncGenerator[FilePart | FileData | Field, None]:
    """The parts of a multipart/form-data body, in their order; the one named ``file`` as it comes.

    Raises Problem for what is no such body, and what ``body`` raises.
    """
    try:
        parser = PushMultipartParser(boundary, max_segment_count=MOST_PARTS)
        name, text, texts = "", bytearray(), 0
        async for piece in body:
            for event in parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    name, text = event.name or "", bytearray()
                    if name == file:
                        yield FilePart()
                elif event is None:
                    if name != file:
                        yield Field(name, _decoded(name, bytes(text)))
                elif name == file:
                    yield FileData(bytes(event))
                else:
                    text += event
                    texts += len(event)
                    if texts > LARGEST_TEXTS:
                        raise Problem(
                            413, f"the fields beside {file} are larger than {LARGEST_TEXTS} bytes", CLOSE
                        )
        parser.close()
    except MultipartError as error:
        raise Problem(400, f"the body is not multipart/form-data: {error}", CLOSE) from error


def _decoded(name: str, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"the field {name} is not UTF-8", CLOSE) from error
