"""``POST /recover``: a host pushes its backlog, or ``callfold recover`` does for it (docs/decisions/0012).

NDJSON in, NDJSON out, an answer for each line (adapters.recovery). What is answered waits on the disk where the sender
does not read before it has sent all, as most HTTP clients do: it could never end otherwise.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from typing import Any, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import structlog

from actors.ports import LogError
from adapters.http.forms import CLOSE, Body
from adapters.http.gate import Gate
from adapters.http.ingest import RETRY_AFTER, Receive, Scope, Send
from adapters.http.problems import CONTENT_TYPE, Problem, problem_body
from adapters.http.sessions import Sessions
from adapters.recovery.feed import AT_ONCE, Feeding, Outcome, Recovery, Wanted
from adapters.recovery.lines import Splitter

log = structlog.get_logger(__name__)

PATH: Final = "/recover"
LARGEST: Final = 100 * 1024 * 1024
"""Bytes of a host's backlog; with the admin token there is no limit."""
MOST_AT_ONCE: Final = 4
"""Backlogs that may come at the same time; of one enterprise half of them."""
STALLED: Final = 30.0
"""Seconds in which the next piece must come, or some of the answer must be taken."""
WAITS_FOR_ALL: Final = 600.0
"""Seconds for which all in all a sender is waited for."""
IN_MEMORY: Final = 256 * 1024
"""Bytes of answers that wait in memory, the rest does on the disk."""
MOST_ON_DISK: Final = 1 << 30
PIECE: Final = 32 * 1024
NAMED: Final = 200
"""Characters of a file's name that are kept."""


class _Asked(msgspec.Struct):
    """Who feeds, and how. ``owner``: whose turn it takes."""

    wanted: Wanted
    owner: str
    largest: int | None


class Recover:
    """Takes backlogs."""

    def __init__(
        self,
        recovery: Recovery,
        gate: Gate,
        sessions: Sessions,
        *,
        leading: Callable[[], bool],
        known: Callable[[str], bool],
    ) -> None:
        self._recovery, self._gate, self._sessions = recovery, gate, sessions
        self._leading, self._known = leading, known
        self._coming: dict[str, int] = {}
        """How many backlogs come right now, by whose they are."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request: str) -> None:
        """Answer one request; ``request`` is its id."""
        pieces = _Pieces(receive)
        try:
            async with AsyncExitStack() as stack:
                asked = self._asked(scope, request)
                self._take_turn(asked.owner, stack)
                await self._take(asked, pieces, send)
        except Problem as problem:
            told = problem_body(problem.status, problem.detail, request)
            headers = {"content-type": CONTENT_TYPE, "content-length": str(len(told)), **problem.headers}
            await send(_start(problem.status, headers))
            await send({"type": "http.response.body", "body": told, "more_body": True})
            await pieces.let_go()
            await send({"type": "http.response.body", "body": b""})

    # before anything is answered

    def _asked(self, scope: Scope, request: str) -> _Asked:
        if scope["method"] != "POST":
            raise Problem(405, "a backlog is sent by POST", {"allow": "POST", **CLOSE})
        if not self._gate.loaded or not self._leading():
            raise Problem(503, "this instance stands by", {"retry-after": RETRY_AFTER, **CLOSE})
        headers = {name: value.decode("latin-1").strip() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
        sender = scope["client"][0] if scope.get("client") else ""
        admin = self._sessions.allows(headers.get(b"authorization", ""), {})
        enterprise = self._named(query) if admin else self._host(headers.get(b"token", ""), sender, query)
        largest = None if admin else LARGEST
        told = headers.get(b"content-length", "")
        if largest is not None and told.isdigit() and int(told) > largest:
            raise Problem(413, f"the backlog is larger than {largest} bytes; send it in parts", CLOSE)
        wanted = Wanted(
            enterprise=enterprise,
            timezone=_zone(query),
            everything=query.get("all", "") in {"1", "true"},
            file=query.get("file", "")[:NAMED],
            request=request,
            sender=sender,
        )
        return _Asked(wanted, "" if admin else enterprise or "", largest)

    def _named(self, query: dict[str, str]) -> str | None:
        enterprise = query.get("enterprise")
        if enterprise is not None and not self._known(enterprise):
            raise Problem(400, f"enterprise={enterprise!r} is none that is known", CLOSE)
        return enterprise

    def _host(self, token: str, sender: str, query: dict[str, str]) -> str:
        if not token:
            raise Problem(401, "Token is missing in the header", CLOSE)
        admission = self._gate.admit(token)
        if admission is None:
            raise Problem(401, "the Token in the header is of no enterprise", CLOSE)
        if not admission.admits(sender):
            raise Problem(403, "the sender's address is outside the enterprise's allowed networks", CLOSE)
        if query.get("enterprise", admission.enterprise) != admission.enterprise:
            raise Problem(403, "the Token in the header is of another enterprise", CLOSE)
        return admission.enterprise

    def _take_turn(self, owner: str, stack: AsyncExitStack) -> None:
        if sum(self._coming.values()) >= MOST_AT_ONCE or self._coming.get(owner, 0) >= MOST_AT_ONCE // 2:
            raise Problem(503, "too many backlogs come at the same time", {"retry-after": "10", **CLOSE})
        self._coming[owner] = self._coming.get(owner, 0) + 1
        stack.callback(self._gone, owner)

    def _gone(self, owner: str) -> None:
        self._coming[owner] -= 1
        if not self._coming[owner]:
            del self._coming[owner]

    # the stream

    async def _take(self, asked: _Asked, pieces: "_Pieces", send: Send) -> None:
        feeding = self._recovery.begin(asked.wanted)
        try:
            first = await pieces.next()
        except _Broken as broken:
            raise Problem(408, broken.reason, CLOSE) from None
        await send(_start(200, {"content-type": "application/x-ndjson", **CLOSE}))
        with closing(_Answers()) as answers:
            telling = asyncio.create_task(answers.tell(send), name="answers of a backlog")
            reason: str | None = None
            try:
                await _feed(feeding, first, pieces, asked.largest, answers, telling)
            except _Broken as broken:
                reason = broken.reason
            except LogError as error:
                reason = f"the store does not go on: {error}"
            except BaseException:
                telling.cancel()
                raise
            if reason:
                log.warning("a backlog was broken off", request_id=asked.wanted.request, reason=reason)
            answers.put(_last(feeding, reason))
            answers.end()
            told = await telling
        if reason:
            await pieces.let_go()
        if told:
            await send({"type": "http.response.body", "body": b""})
        log.info("a backlog was fed", file=asked.wanted.file, **msgspec.structs.asdict(feeding.summary))


class _Broken(Exception):
    """The backlog does not go on; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def _feed(
    feeding: Feeding,
    first: bytes | None,
    pieces: "_Pieces",
    largest: int | None,
    answers: "_Answers",
    telling: "asyncio.Task[bool]",
) -> None:
    """Feed what comes to its end, as much at once as is there. Raises _Broken and LogError."""
    splitter, size, piece = Splitter(), 0, first
    while piece is not None:
        size += len(piece)
        if largest is not None and size > largest:
            raise _Broken(f"the backlog is larger than {largest} bytes")
        await _feed_lines(feeding, splitter.feed(piece), answers, telling)
        piece = await pieces.next()
    await _feed_lines(feeding, splitter.end(), answers, telling)


async def _feed_lines(
    feeding: Feeding,
    lines: list[tuple[int, bytes | None]],
    answers: "_Answers",
    telling: "asyncio.Task[bool]",
) -> None:
    for begin in range(0, len(lines), AT_ONCE):
        told: list[Outcome] = []
        try:
            await feeding.take(lines[begin : begin + AT_ONCE], told)
        finally:
            answers.put(b"".join([_encoder.encode(outcome) + b"\n" for outcome in told]))
        if telling.done():
            raise _Broken("the sender does not take its answers")
        await answers.room()


def _last(feeding: Feeding, reason: str | None) -> bytes:
    told: dict[str, Any] = {"status": "interrupted", "reason": reason} if reason else {"status": "done"}
    return _encoder.encode({**told, **msgspec.structs.asdict(feeding.summary)}) + b"\n"


class _Pieces:
    """The body as it comes; who sends is waited for, but not for ever."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = Body(receive)
        self._ended = False
        self._waited = 0.0

    async def next(self) -> bytes | None:
        """The next piece, None behind the last. Raises _Broken."""
        loop = asyncio.get_running_loop()
        while not self._ended:
            begun = loop.time()
            try:
                async with asyncio.timeout(min(STALLED, max(WAITS_FOR_ALL - self._waited, 0.0))):
                    message = await self._receive()
            except TimeoutError:
                raise _Broken(f"nothing came for {STALLED:.0f} s, or too little for long") from None
            self._waited += loop.time() - begun
            if message["type"] == "http.disconnect":
                raise _Broken("the sender went away")
            self._ended = not message.get("more_body")
            if piece := message.get("body", b""):
                return bytes(piece)
        return None

    async def let_go(self) -> None:
        """Take what is still on its way to nowhere, for a moment: then the sender sees the answer."""
        if not self._ended:
            await self._rest.let_go()


class _Answers:
    """What is answered and not yet taken by the sender: in memory, then on the disk."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._written = self._read = 0
        self._ended = False
        self._more = asyncio.Event()
        self._less = asyncio.Event()

    def put(self, lines: bytes) -> None:
        """Take lines; never waits."""
        self._file.seek(self._written)
        self._file.write(lines)
        self._written += len(lines)
        self._more.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._more.set()

    def close(self) -> None:
        """Throw away what was not taken."""
        self._file.close()

    async def room(self) -> None:
        """Returns when there is room for more. Raises _Broken where the sender takes nothing for long."""
        while self._written - self._read > MOST_ON_DISK:
            self._less.clear()
            try:
                async with asyncio.timeout(STALLED):
                    await self._less.wait()
            except TimeoutError:
                raise _Broken("the sender does not take its answers") from None

    async def tell(self, send: Send) -> bool:
        """Send what is put until the end; False where the sender takes nothing for STALLED seconds."""
        async for lines in self._pieces():
            try:
                async with asyncio.timeout(STALLED):
                    await send({"type": "http.response.body", "body": lines, "more_body": True})
            except TimeoutError:
                return False  # the answer is not finished: the server closes the connection
        return True

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            while self._read < self._written:
                self._file.seek(self._read)
                lines = self._file.read(PIECE)
                self._read += len(lines)
                if self._read == self._written:
                    self._file.seek(0)
                    self._file.truncate()
                    self._read = self._written = 0
                self._less.set()
                yield lines
            if self._ended:
                return
            self._more.clear()
            await self._more.wait()


_encoder: Final = msgspec.json.Encoder()


def _zone(query: dict[str, str]) -> str | None:
    name = query.get("timezone")
    if name is None:
        return None
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Problem(400, f"timezone={name!r} is no time zone, such as Europe/Minsk", CLOSE) from None


def _start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": named}
