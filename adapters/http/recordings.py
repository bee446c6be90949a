"""Recordings over HTTP: ``POST /recordings`` of a host, ``GET /recordings/{id}`` of whoever has the link.

A bare ASGI application, as the hosts' other routes are: a body of 50 MiB goes to the disk as it comes.
"""

import asyncio
import errno
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog
from multipart import parse_options_header

from actors.ports import Appended, LogError
from adapters.http.files import send_file
from adapters.http.forms import CLOSE, LARGEST_TEXTS, Body, Field, FileData, FilePart, form
from adapters.http.gate import Admission, Gate, Rejects
from adapters.http.ingest import RETRY_AFTER, Receive, Scope, Send
from adapters.http.problems import CONTENT_TYPE, Problem, problem_body
from adapters.recordings.files import Incoming
from adapters.recordings.kinds import UNKNOWN, ending_of
from adapters.recordings.register import Known, Register
from adapters.store.errors import FactRefused
from calls.events import Event, EventError, identity, read_event

log = structlog.get_logger(__name__)

PATH: Final = "/recordings"
LARGEST_FILE: Final = 50 * 1024 * 1024
LONGEST_URL: Final = 2_000
MOST_AT_ONCE: Final = 8
"""Files that may come at the same time; of one enterprise half of them."""
WRITTEN_AT_ONCE: Final = 256 * 1024
"""Bytes of a file that are kept in memory before they go to the disk."""

_ID: Final = re.compile(r"[0-9a-f]{32}")
_VISIBLE: Final = re.compile(r"[!-~]+")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_KEPT: Final = frozenset({400, 403})
"""Refusals that are kept for whoever looks after the hosts, as those of events are."""


def address(base: str, recording: str) -> str:
    """Where a recording can be opened, below the address of the service."""
    return f"{base}{PATH}/{recording}"


class _Where(msgspec.Struct):
    url: str | None = None


_where: Final = msgspec.json.Decoder(_Where)


class _Asked(msgspec.Struct):
    """One request of a host, as far as it is read. ``body`` of JSON only; ``rest``: not yet written to the file."""

    headers: dict[bytes, bytes]
    sender: str
    request: str
    body: bytes = b""
    fields: dict[str, str] = {}
    admission: Admission | None = None
    file: Incoming | None = None
    rest: bytearray = msgspec.field(default_factory=bytearray)

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1").strip()


class Recordings:
    """Takes the recordings of hosts and serves them."""

    def __init__(
        self, register: Register, gate: Gate, rejects: Rejects, *, leading: Callable[[], bool]
    ) -> None:
        self._register, self._gate, self._rejects, self._leading = register, gate, rejects, leading
        self._coming: dict[str, int] = {}
        """How many files come right now, by enterprise."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request: str) -> None:
        """Answer one request; ``request`` is its id."""
        path = scope["path"].rstrip("/")
        headers = dict(scope["headers"])
        body = Body(receive)
        try:
            if path == PATH:
                sender = scope["client"][0] if scope.get("client") else ""
                await self._take(scope["method"], _Asked(headers, sender, request), body, send)
            else:
                await self._serve(scope["method"], headers, path.removeprefix(f"{PATH}/"), send)
        except Problem as problem:
            told = problem_body(problem.status, problem.detail, request)
            await _answer(
                send,
                problem.status,
                CONTENT_TYPE,
                told,
                problem.headers,
                behind=body.let_go if path == PATH else _nothing,
            )
        except TimeoutError:
            log.info("a recording was not read to its end", request_id=request)  # the connection is closed

    # taking

    async def _take(self, method: str, asked: _Asked, body: Body, send: Send) -> None:
        if method != "POST":
            raise Problem(405, "recordings are sent by POST", {"allow": "POST"})
        if not self._gate.loaded or not self._leading():
            raise Problem(503, "this instance stands by", {"retry-after": RETRY_AFTER, **CLOSE})
        async with AsyncExitStack() as stack:
            try:
                await self._read(asked, body, stack)
                with _told():
                    ident, place = await self._keep(asked)
            except Problem as problem:
                if problem.status in _KEPT:
                    enterprise = asked.admission.enterprise if asked.admission else None
                    self._rejects.keep(
                        PATH, problem.status, problem.detail, enterprise, asked.sender, asked.body
                    )
                raise
        answer = {"status": "known" if place.known else "stored", "position": place.position, "id": ident}
        await _answer(send, 200, "application/json", msgspec.json.encode(answer), {})

    async def _read(self, asked: _Asked, body: Body, stack: AsyncExitStack) -> None:
        kind, options = parse_options_header(asked.header(b"content-type"))
        largest = LARGEST_TEXTS if kind == "application/json" else LARGEST_FILE + LARGEST_TEXTS
        told = asked.header(b"content-length")
        if told.isdigit() and int(told) > largest:
            raise _too_large(largest)
        match kind:
            case "application/json":
                await self._read_json(asked, body)
            case "multipart/form-data":
                if not options.get("boundary"):
                    raise Problem(400, "Content-Type names no boundary", CLOSE)
                coming = await stack.enter_async_context(aclosing(body.pieces(largest)))
                await self._read_form(asked, form(coming, options["boundary"], "file"), stack)
            case _:
                allowed = "application/json and multipart/form-data are allowed"
                raise Problem(415, f"Content-Type is {kind or 'missing'}, {allowed}", CLOSE)

    async def _read_json(self, asked: _Asked, body: Body) -> None:
        asked.body = b"".join([piece async for piece in body.pieces(LARGEST_TEXTS)])
        try:
            event = read_event(asked.body)
            where = _where.decode(asked.body)
        except EventError as error:
            raise Problem(400, error.reason) from None
        except msgspec.ValidationError:
            raise Problem(400, "url is no text") from None
        asked.fields = {"Token": event.token, "UniqueId": event.unique_id}
        if where.url is not None:
            asked.fields["url"] = where.url

    async def _read_form(
        self,
        asked: _Asked,
        parts: AsyncGenerator[FilePart | FileData | Field, None],
        stack: AsyncExitStack,
    ) -> None:
        async with aclosing(parts):
            async for one in parts:
                match one:
                    case Field(name=name, text=text):
                        asked.fields[name] = text
                    case FilePart():
                        await self._begin_file(asked, stack)
                    case FileData(data=data) if asked.file is not None:
                        if asked.file.size + len(asked.rest) + len(data) > LARGEST_FILE:
                            raise _too_large(LARGEST_FILE)
                        asked.rest += data
                        if len(asked.rest) >= WRITTEN_AT_ONCE:
                            await _write(asked)

    async def _begin_file(self, asked: _Asked, stack: AsyncExitStack) -> None:
        """Have a file to write to, for a host alone: nobody else writes anything to the disk."""
        if asked.file is not None:
            raise Problem(400, "file is there twice, one is allowed", CLOSE)
        if "Token" not in asked.fields:
            raise Problem(400, "Token comes behind file, it is needed before", CLOSE)
        enterprise = self._admitted(asked).enterprise
        if sum(self._coming.values()) >= MOST_AT_ONCE or self._coming.get(enterprise, 0) >= MOST_AT_ONCE // 2:
            raise Problem(503, "too many recordings come at the same time", {"retry-after": "10", **CLOSE})
        self._coming[enterprise] = self._coming.get(enterprise, 0) + 1
        stack.callback(self._gone, enterprise)
        with _told():
            asked.file = stack.enter_context(await asyncio.to_thread(self._register.files.receive))

    def _gone(self, enterprise: str) -> None:
        self._coming[enterprise] -= 1
        if not self._coming[enterprise]:
            del self._coming[enterprise]

    async def _keep(self, asked: _Asked) -> tuple[str, Appended]:
        """Keep what was told whole; its id, and where that stands."""
        enterprise = self._admitted(asked).enterprise
        unique_id = _leg(asked.fields)
        if asked.file is None:
            url = _url(asked.fields)
            return await self._register.add_url(enterprise, unique_id, url, asked.request)
        if "url" in asked.fields:
            raise Problem(400, "url and file are both there, one of them is allowed")
        await _write(asked)
        if not asked.file.size:
            raise Problem(400, "file is empty")
        return await self._register.add_file(enterprise, unique_id, asked.file, asked.request)

    def _admitted(self, asked: _Asked) -> Admission:
        token = asked.fields.get("Token", "").strip()
        if not token:
            raise Problem(401, "Token is missing in the body", CLOSE)
        admission = self._gate.admit(token)
        if admission is None:
            raise Problem(401, "the Token in the body is of no enterprise", CLOSE)
        asked.admission = admission
        if asked.header(b"token") not in {"", token}:
            raise Problem(403, "the Token in the header differs from the one in the body", CLOSE)
        if not admission.admits(asked.sender):
            raise Problem(403, "the sender's address is outside the enterprise's allowed networks", CLOSE)
        return admission

    # serving

    async def _serve(self, method: str, headers: dict[bytes, bytes], ident: str, send: Send) -> None:
        if method not in {"GET", "HEAD"}:
            raise Problem(405, "recordings are read by GET and HEAD", {"allow": "GET, HEAD"})
        known = None
        if _ID.fullmatch(ident):
            with _told():
                known = await self._register.find(ident)
        if known is None:
            raise Problem(404, "there is no such recording")
        if known.recording.url:
            await _answer(send, 302, "text/plain", b"", {"location": known.recording.url, **_PRIVATE})
            return
        file = await asyncio.to_thread(self._register.files.open, known.place)
        if file is None:
            log.error("the file of a recording is not there", enterprise=known.enterprise, id=ident)
            raise Problem(404, "there is no such recording")
        with file:
            etag = f'"{known.recording.sha256}"'
            await send_file(send, file, etag, headers, _described(known), body=method == "GET")


_PRIVATE: Final = {"cache-control": "private, no-cache", "x-content-type-options": "nosniff"}


def _described(known: Known) -> dict[str, str]:
    """Headers that say what a file is: sound is played where it is opened, anything else is only saved."""
    kind = known.recording.type
    shown = "attachment" if kind == UNKNOWN else "inline"
    name = f'{shown}; filename="recording.{ending_of(kind)}"'
    return {"content-type": kind, "content-disposition": name, **_PRIVATE}


@contextmanager
def _told() -> Iterator[None]:
    """Trouble of store and disk, as the host is told of it."""
    try:
        yield
    except FactRefused as error:
        raise Problem(400, error.reason) from error
    except LogError as error:
        log.warning("the store does not do what a recording needs", reason=str(error))
        raise Problem(503, f"the store is not there: {error}", {"retry-after": RETRY_AFTER}) from error
    except OSError as error:
        log.error("the disk does not take a recording", reason=str(error))  # noqa: TRY400 - the reason says all
        if error.errno in _NO_ROOM:
            raise Problem(507, "there is no room for the recording", CLOSE) from error
        raise Problem(500, "the recording could not be kept; the service's log says why", CLOSE) from error


async def _write(asked: _Asked) -> None:
    if asked.file is not None and asked.rest:
        with _told():
            await asyncio.to_thread(asked.file.write, bytes(asked.rest))
        asked.rest.clear()


def _leg(fields: dict[str, str]) -> str:
    try:
        unique_id, _ = identity(Event(unique_id=fields.get("UniqueId", ""), bridge_id="-"))
    except EventError as error:
        raise Problem(400, error.reason) from None
    if not unique_id:
        raise Problem(400, "UniqueId is missing")
    return unique_id


def _url(fields: dict[str, str]) -> str:
    """The address of a recording that is elsewhere. Whether anything is there is not asked."""
    url = fields.get("url", "").strip()
    if not url:
        raise Problem(400, "url and file are both missing, one of them is needed")
    if len(url) > LONGEST_URL:
        raise Problem(400, f"url has {len(url)} characters, up to {LONGEST_URL} are allowed")
    if not _VISIBLE.fullmatch(url):
        raise Problem(400, "url holds blanks or characters beyond ASCII, which have to be percent-encoded")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        sound = False
    if not sound:
        raise Problem(400, "url is none that others can open, http(s)://host/… is allowed")
    if "@" in parts.netloc:
        raise Problem(400, "url holds a user or a password, which everybody who has the link would read")
    return url


def _too_large(largest: int) -> Problem:
    return Problem(413, f"larger than {largest} bytes, which is the most that is taken", CLOSE)


async def _nothing() -> None:
    pass


async def _answer(
    send: Send,
    status: int,
    kind: str,
    body: bytes,
    headers: dict[str, str],
    *,
    behind: Callable[[], Awaitable[None]] = _nothing,
) -> None:
    """Answer; ``behind`` is done when all is said, before the connection may be closed."""
    told = {"content-type": kind, "content-length": str(len(body)), **headers}
    named = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await behind()
    await send({"type": "http.response.body", "body": b""})
