"""The eight routes of the hosts (CONTRACT 4.1): a bare ASGI application, because every host waits for it.

A 200 means that the event is committed. Everything else means that it is not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from actors.ports import Appended, Clock, FactLog, LogError
from adapters.http.gate import Admission, Gate, Rejects
from adapters.http.problems import CONTENT_TYPE, Problem, problem_body, request_id
from adapters.http.protocol import ANSWER
from adapters.store.errors import FactRefused
from calls.events import EventError, identity, read_event
from calls.facts import EVENT_KINDS, NewFact, event_stream
from otel import tracing
from otel.metrics import Metrics
from otel.tracing import Tracing

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATHS: Final = {f"/{kind}": kind for kind in EVENT_KINDS}
LARGEST_BODY: Final = 64 * 1024
WITHIN: Final = 2.4
"""Seconds in which the commit must be finished; hosts give up after 3, and the answer has to reach them."""
BODY_WITHIN: Final = 10.0
"""Seconds in which the body must have come."""
HEAD: Final = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
RETRY_AFTER: Final = "2"
LONGEST_KEY: Final = 255


class Ingest:
    """Takes events of hosts into the store."""

    def __init__(
        self,
        facts: FactLog,
        gate: Gate,
        rejects: Rejects,
        clock: Clock,
        *,
        tracing: Tracing,
        metrics: Metrics,
        new_id: Callable[[], str],
        leader: Callable[[str, str], str],
    ) -> None:
        self._facts, self._gate, self._rejects, self._clock = facts, gate, rejects, clock
        self._tracing, self._metrics, self._new_id, self._leader = tracing, metrics, new_id, leader
        self._stored: dict[tuple[str, str], int] = {}
        """Events answered 200 since ``count`` last gave them to the metrics: a plain number costs nothing a request."""
        self._reading: dict[asyncio.Task[Any], float] = {}
        """Requests whose body is not there yet, and since when (loop time)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name: value for name, value in scope["headers"] if name in _WANTED}
        told = headers.get(b"x-request-id", b"")
        ident = request_id(told.decode("latin-1"), self._new_id) if told else self._new_id()
        try:
            body = await self._body(scope, headers, receive)
            place = await self._store(PATHS[scope["path"]], scope, headers, body, ident)
        except Problem as problem:
            self._metrics.answers.labels(status=str(problem.status)).inc()
            await _answer(
                send, problem.status, problem_body(problem.status, problem.detail, ident), ident, problem
            )
            return
        status = b"known" if place.known else b"stored"
        answer = b'{"status":"%s","position":%d}' % (status, place.position)
        short_way = scope.get(ANSWER)
        if short_way is None or not short_way(HEAD % (len(answer), ident.encode()), answer):
            await _answer(send, 200, answer, ident, None)

    async def _store(
        self, kind: str, scope: Scope, headers: dict[bytes, bytes], body: bytes, ident: str
    ) -> Appended:
        occurred_at = self._clock.now()
        sender = scope["client"][0] if scope.get("client") else ""
        header_token = headers.get(b"token", b"").decode("latin-1").strip()
        admission = self._gate.admit(header_token) if header_token else None
        try:
            event = read_event(body)
        except EventError as error:
            raise self._refused(scope, 400, error.reason, admission, sender, body) from None
        token = event.token.strip()
        admission = self._admitted(scope, token, header_token, sender, body)
        try:
            unique_id, bridge_id = identity(event)
            key = _idempotency_key(headers)
        except EventError as error:
            raise self._refused(scope, 400, error.reason, admission, sender, body) from None
        enterprise = admission.enterprise
        stream = event_stream(kind, unique_id, bridge_id)
        fact = NewFact(
            enterprise=enterprise,
            stream=stream,
            kind=kind,
            source="live",
            occurred_at=occurred_at,
            body=body,
            meta=b'{"request_id":"%s"}' % ident.encode(),
            idempotency_key=key,
        )
        try:
            if self._tracing.enabled:
                place = await self._traced(fact, unique_id or bridge_id, ident)
            else:
                place = await self._facts.append(fact, within=WITHIN)
        except FactRefused as error:
            raise self._refused(scope, 400, error.reason, admission, sender, body) from error
        except LogError as error:
            log.warning("an event was not stored", path=scope["path"], reason=str(error), request_id=ident)
            detail = f"the event was not stored: {error}"
            raise Problem(503, detail, {"retry-after": RETRY_AFTER}) from error
        self._stored[enterprise, kind] = self._stored.get((enterprise, kind), 0) + 1
        return place

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise Problem(405, "events are sent by POST", {"allow": "POST"})
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > LARGEST_BODY:
            raise _too_large()
        task = asyncio.current_task()
        assert task is not None
        # One look at all slow requests now and then costs less than a timeout of its own for every request.
        self._reading[task] = asyncio.get_running_loop().time()
        try:
            body = await _whole_body(receive)
        except asyncio.CancelledError:
            if task in self._reading:
                raise
            task.uncancel()
            raise Problem(
                408, f"the body did not come within {BODY_WITHIN:.0f} s", {"connection": "close"}
            ) from None
        finally:
            self._reading.pop(task, None)
        return body

    async def give_up_slow(self) -> None:
        """Answer 408 to requests whose body does not come; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)  # between two looks
            latest = loop.time() - BODY_WITHIN
            for task in [task for task, since in self._reading.items() if since < latest]:
                del self._reading[task]
                task.cancel()

    async def _traced(self, fact: NewFact, unique_id: str, ident: str) -> Appended:
        """The same with spans: the request, and below it the append."""
        leader = self._leader(fact.enterprise, unique_id)
        attributes = {tracing.UNIQUE_ID: unique_id, tracing.KIND: fact.kind, tracing.REQUEST_ID: ident}
        with self._tracing.span(
            tracing.REQUEST, enterprise=fact.enterprise, call_id=leader, attributes=attributes
        ) as request:
            meta = b'{"request_id":"%s","traceparent":"%s"}' % (
                ident.encode(),
                request.ref.traceparent.encode() if request.ref else b"",
            )
            traced = NewFact(
                enterprise=fact.enterprise,
                stream=fact.stream,
                kind=fact.kind,
                source=fact.source,
                occurred_at=fact.occurred_at,
                body=fact.body,
                meta=meta,
                idempotency_key=fact.idempotency_key,
            )
            with self._tracing.span(
                tracing.APPEND, enterprise=fact.enterprise, call_id=leader, parent=request.ref
            ) as append:
                place = await self._facts.append(traced, within=WITHIN)
                append.set(tracing.POSITION, place.position)
            return place

    def _admitted(self, scope: Scope, token: str, header_token: str, sender: str, body: bytes) -> Admission:
        if not self._gate.loaded:
            raise Problem(503, "this instance stands by", {"retry-after": RETRY_AFTER})
        if not token:
            raise Problem(401, "Token is missing in the body")
        admission = self._gate.admit(token)
        if admission is None:
            raise Problem(401, "the Token in the body is of no enterprise")
        if header_token and header_token != token:
            reason = "the Token in the header differs from the one in the body"
            raise self._refused(scope, 403, reason, admission, sender, body)
        if not admission.admits(sender):
            reason = "the sender's address is outside the enterprise's allowed networks"
            raise self._refused(scope, 403, reason, admission, sender, body)
        return admission

    def _refused(
        self, scope: Scope, status: int, reason: str, admission: Admission | None, sender: str, body: bytes
    ) -> Problem:
        enterprise = admission.enterprise if admission else None
        self._rejects.keep(scope["path"], status, reason, enterprise, sender, body)
        return Problem(status, reason)

    def count(self) -> None:
        """Give the metrics what was stored since the last time."""
        stored, self._stored = self._stored, {}
        for (enterprise, kind), number in stored.items():
            self._metrics.events_received.labels(enterprise=enterprise, kind=kind).inc(number)
            self._metrics.answers.labels(status="200").inc(number)


_WANTED: Final = frozenset({b"token", b"x-request-id", b"content-length", b"idempotency-key"})


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    told = headers.get(b"idempotency-key")
    if told is None:
        return None
    key = told.decode("latin-1").strip()
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        raise EventError(
            f"Idempotency-Key has {len(key)} characters, 1 to {LONGEST_KEY} printable ones are allowed"
        )
    return key


async def _whole_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > LARGEST_BODY:
                raise _too_large()
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Problem(400, "the sender went away before the body was complete")
    if len(body) > LARGEST_BODY:
        raise _too_large()
    return body


def _too_large() -> Problem:
    return Problem(413, f"the body is larger than {LARGEST_BODY} bytes", {"connection": "close"})


async def _answer(send: Send, status: int, body: bytes, ident: str, problem: Problem | None) -> None:
    headers = [
        (b"content-type", CONTENT_TYPE.encode() if problem else b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", ident.encode()),
    ]
    if problem:
        headers += [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
