"""Sending events as an Asterisk host does (events.md 1): one after the other, each tried once.

async with Sender("http://127.0.0.1:8000") as sender:
    async for sent in send_all(sender, events, Pace(speed=10)):
        print(sent.event, sent.status)
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import anyio.lowlevel
import httpx
import msgspec

_KEPT_OF_ANSWER: Final = 500
_KEPT_ALIVE: Final = 60.0
_APART: Final = 1.0
"""Seconds between events whose times nobody told; hosts send bursts 1-1.5 s apart (events.md 1)."""


class TimedEvent(msgspec.Struct, frozen=True):
    """An event to be sent ``offset`` seconds after the first, ``body`` byte for byte."""

    offset: float
    event: str
    body: bytes


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event: the ``status`` answered, or None and the ``problem`` that stood in the way.

    ``seconds``: from the begin of the attempt to its end; ``answer``: the begin of the answer's text.
    """

    event: str
    unique_id: str
    status: int | None
    seconds: float
    answer: str = ""
    problem: str | None = None

    @property
    def stored(self) -> bool:
        """What a host takes for delivered: the status 200 and no other."""
        return self.status == httpx.codes.OK


class Pace(msgspec.Struct, frozen=True):
    """How fast: ``speed`` is a factor over recorded times; infinity waits for nothing but the last answer."""

    speed: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``max`` or a number above 0. Raises ValueError."""
        speed = math.inf if text == "max" else float(text)
        if not speed > 0 or (math.isinf(speed) and text != "max"):
            raise ValueError(text)
        return cls(speed)

    def due(self, offset: float) -> float:
        """Seconds after the first event at which that of ``offset`` is due."""
        return offset / self.speed


class Sender(AbstractAsyncContextManager["Sender", None]):
    """Posts events to one service, strictly one at a time.

    ``token`` replaces the Token of bodies and header; without it both are the body's own. ``keep_alive``: one
    connection for all instead of a new one for each, as hosts have it. ``timeout``: seconds for one event as
    a whole. Hosts do not verify TLS, so neither does this unless told to. Raises ValueError for a ``url``
    that is none of HTTP.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        keep_alive: bool = False,
        timeout: float = 3.0,
        verify: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"no http(s)://host[:port] address: {url!r}")
        self._base = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._client = httpx.AsyncClient(
            verify=verify,
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=1,
                max_keepalive_connections=1 if keep_alive else 0,
                keepalive_expiry=_KEPT_ALIVE,
            ),
            trust_env=False,  # a proxy of the environment would be asked for 127.0.0.1 too
        )

    async def send(self, event: str, body: bytes) -> Sent:
        """Tries one event once; never raises for what the service or the network does."""
        fields = _fields(body)
        if self._token is not None and fields is not None:
            fields = {**fields, "Token": self._token}
            body = host_json(fields)
        headers = [(b"Content-type", b"application/json")]
        if fields is not None and "Token" in fields:
            headers.append((b"Token", str(fields["Token"]).encode()))
        async with self._turn:
            began = perf_counter()
            status, answer, problem = await self._post(event, body, headers)
            seconds = perf_counter() - began
        return Sent(
            event=event,
            unique_id="" if fields is None else str(fields.get("UniqueId", "")),
            status=status,
            seconds=seconds,
            answer=answer,
            problem=problem,
        )

    async def _post(
        self, event: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int | None, str, str | None]:
        url = f"{self._base}/{quote(event, safe='')}"
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.post(url, content=body, headers=headers)
        except (TimeoutError, httpx.TimeoutException):
            return None, "", f"no answer within {self._timeout:g} s"
        except httpx.LocalProtocolError:
            return None, "", "its Token cannot stand in a header"  # the error's own text would repeat it
        except httpx.ConnectError:
            return None, "", "no connection"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return None, "", str(error) or type(error).__name__
        return answer.status_code, answer.text[:_KEPT_OF_ANSWER], None

    async def __aenter__(self) -> Self:
        # httpx loads its backend with the first request; the first event shall not look slow for it
        await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()


async def send_all(
    sender: Sender,
    events: Iterable[TimedEvent],
    pace: Pace,
    *,
    clock: Callable[[], float] = perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Sent, None]:
    """Sends events in order, none before it is due and none before the last is answered."""
    began = clock()
    for timed in events:
        early = began + pace.due(timed.offset) - clock()
        if early > 0:
            await sleep(early)
        yield await sender.send(timed.event, timed.body)


def offsets(times: Sequence[datetime | None]) -> Iterator[float]:
    """Seconds after the first event for each of some recorded times; never falling.

    An event without a time comes 1 s after the one before it, one with a time as long after the last that had
    one as was recorded.
    """
    last, known, known_at = -_APART, None, 0.0
    for time in times:
        offset = last + _APART
        if time is not None:
            if known is not None:
                offset = max(last, known_at + (time - known).total_seconds())
            known, known_at = time, offset
        last = offset
        yield offset


def host_json(fields: Mapping[str, Any]) -> bytes:
    """A body as a host's Python writes it: spaces after separators, everything else than ASCII escaped."""
    return json.dumps(fields).encode()


def _fields(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
