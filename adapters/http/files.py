"""Sending a file, or the part of it that was asked for, without holding up the loop."""

import asyncio
import os
from collections.abc import Mapping
from typing import BinaryIO, Final

from adapters.http.ingest import Send
from adapters.http.problems import Problem
from adapters.http.ranges import Part, Unsatisfiable, part

AT_A_TIME: Final = 256 * 1024
"""Bytes read in one go."""
TAKEN_WITHIN: Final = 60.0
"""Seconds in which the reader must take them."""


async def send_file(
    send: Send,
    file: BinaryIO,
    etag: str,
    asked: Mapping[bytes, bytes],
    told: Mapping[str, str],
    *,
    body: bool,
) -> None:
    """Answer with an open file: 200, 206 or 304; without ``body`` with the headers alone.

    ``asked``: headers of the request; ``told``: headers of the answer that say what it is. Raises Problem (416), and
    TimeoutError where the reader does not read.
    """
    size = (await asyncio.to_thread(os.fstat, file.fileno())).st_size
    headers = {**told, "etag": etag, "accept-ranges": "bytes"}
    if _unchanged(asked, etag):
        await _begin(send, 304, headers)
        await send({"type": "http.response.body", "body": b""})
        return
    try:
        wanted = part(asked, size, etag)
    except Unsatisfiable:
        detail = f"nothing of the {size} bytes is in the range"
        raise Problem(416, detail, {"content-range": f"bytes */{size}", "accept-ranges": "bytes"}) from None
    headers["content-length"] = str(wanted.length)
    if not wanted.whole:
        headers["content-range"] = f"bytes {wanted.first}-{wanted.first + wanted.length - 1}/{size}"
    await _begin(send, 200 if wanted.whole else 206, headers)
    if body:
        await _send_part(send, file, wanted)
    await send({"type": "http.response.body", "body": b""})


def _unchanged(asked: Mapping[bytes, bytes], etag: str) -> bool:
    known = asked.get(b"if-none-match", b"").decode("latin-1")
    return known.strip() == "*" or etag in {one.strip().removeprefix("W/") for one in known.split(",")}


async def _begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": told})


async def _send_part(send: Send, file: BinaryIO, wanted: Part) -> None:
    await asyncio.to_thread(file.seek, wanted.first)
    left = wanted.length
    while left:
        data = await asyncio.to_thread(file.read, min(left, AT_A_TIME))
        if not data:
            raise EOFError("the file has become shorter while it was sent")
        left -= len(data)
        async with asyncio.timeout(TAKEN_WITHIN):
            await send({"type": "http.response.body", "body": data, "more_body": True})
