"""What is read (CONTRACT 4.2): calls, customers, health, metrics."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Protocol

import asyncpg
from litestar import Response, Router, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from adapters.http.problems import Problem
from adapters.http.sessions import Sessions
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store.queries import (
    MOST,
    BadCursor,
    CallsWanted,
    Page,
    list_calls,
    list_customers,
    one_call,
    one_customer,
)
from calls.directory import Directory
from calls.numbers import to_e164

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


class Inside(Protocol):
    """What reading needs of the running service."""

    pool: asyncpg.Pool

    def directory(self, enterprise: str) -> Directory:
        """The directory of an enterprise as it is now."""
        ...

    def recording_address(self, recording: str) -> str:
        """Where the recording of this id can be opened."""
        ...

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether calls are taken and shown, and what is missing."""
        ...


def bearer_guard(sessions: Sessions) -> Guard:
    """Lets through who has the admin token, as a bearer or by a page's session."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not sessions.allows(connection.headers.get("authorization", ""), connection.cookies):
            raise Problem(401, "a bearer ADMIN_TOKEN is needed", {"www-authenticate": "Bearer"})

    return guard


PROBE_WITHIN: Final = 2.0
"""Seconds in which the store answers if it is there."""
Limit = Annotated[int, QueryParameter(ge=1, le=MOST)]


def _calls(inside: Inside, guard: Guard) -> list[HTTPRouteHandler]:
    @get("/api/calls", guards=[guard])
    async def calls(
        enterprise: FromQuery[str | None] = None,
        since: Annotated[str | None, QueryParameter(name="from")] = None,
        until: Annotated[str | None, QueryParameter(name="to")] = None,
        phone: FromQuery[str | None] = None,
        direction: FromQuery[str | None] = None,
        outcome: FromQuery[str | None] = None,
        limit: Limit = 50,
        after: FromQuery[str | None] = None,
    ) -> Page:
        wanted = CallsWanted(
            enterprise=enterprise,
            since=_time("from", since),
            until=_time("to", until),
            phone=_phone(inside, enterprise, phone) if phone else None,
            direction=_one_of("direction", direction, ("in", "out", "internal")),
            outcome=_one_of(
                "outcome", outcome, ("open", "answered", "missed", "not_answered", "lost_in_transfer")
            ),
            limit=limit,
            after=after,
        )
        try:
            page = await list_calls(inside.pool, wanted)
        except BadCursor as error:
            raise Problem(400, str(error)) from error
        return Page([_with_addresses(inside, item) for item in page.items], page.next)

    @get("/api/calls/{enterprise:str}/{call_id:str}", guards=[guard])
    async def call(enterprise: FromPath[str], call_id: FromPath[str]) -> dict[str, Any]:
        chats = [(enterprise, chat.chat_id) for chat in inside.directory(enterprise).subscribers.values()]
        found = await one_call(inside.pool, enterprise, call_id, chats)
        if found is None:
            raise Problem(404, f"enterprise {enterprise} has no call with a leg {call_id}")
        return _with_addresses(inside, found)

    return [calls, call]


def _with_addresses(inside: Inside, call: dict[str, Any]) -> dict[str, Any]:
    """A call as the API answers it: of each recording its id and where it can be opened."""
    recordings = [{"id": one, "address": inside.recording_address(one)} for one in call["recordings"]]
    return {**call, "recordings": recordings}


def _customers(inside: Inside, guard: Guard) -> list[HTTPRouteHandler]:
    @get("/api/customers", guards=[guard])
    async def customers(
        enterprise: FromQuery[str | None] = None, limit: Limit = 50, after: FromQuery[str | None] = None
    ) -> Page:
        try:
            return await list_customers(inside.pool, enterprise, limit, after)
        except BadCursor as error:
            raise Problem(400, str(error)) from error

    @get("/api/customers/{enterprise:str}/{phone:str}", guards=[guard])
    async def customer(enterprise: FromPath[str], phone: FromPath[str]) -> dict[str, Any]:
        found = await one_customer(inside.pool, enterprise, _phone(inside, enterprise, phone))
        if found is None:
            raise Problem(404, f"enterprise {enterprise} has no customer {phone}")
        return found

    return [customers, customer]


def api_routes(inside: Inside, guard: Guard) -> Router:
    """``/api/calls`` and ``/api/customers``."""
    handlers = [*_calls(inside, guard), *_customers(inside, guard)]
    return Router("/", route_handlers=handlers)


def health_routes(inside: Inside) -> Router:
    """``/healthz`` and ``/readyz``."""
    probe = _Probe(inside)

    @get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        ready, told = inside.ready()
        if ready:
            try:
                await probe()
            except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
                ready, told = False, {"status": "the store does not answer", "reason": type(error).__name__}
        return Response(told, status_code=200 if ready else 503)

    return Router("/", route_handlers=[healthz, readyz])


class _Probe:
    """Asks the store for a sign of life, one question at a time.

    A connection to a server that is frozen cannot be given back in time: that takes as long as its cancellation does.
    So whoever waits leaves the question to itself, and the next one waits for the same answer.
    """

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._question: asyncio.Future[Any] | None = None

    async def __call__(self) -> None:
        """Raises TimeoutError without an answer within PROBE_WITHIN, and what asyncpg raises."""
        if self._question is None or self._question.done():
            self._question = asyncio.ensure_future(
                self._inside.pool.fetchval("SELECT 1", timeout=PROBE_WITHIN)
            )
        done, _ = await asyncio.wait([self._question], timeout=PROBE_WITHIN)
        if not done:
            raise TimeoutError
        await self._question


def metrics_route(exposition: Callable[[], tuple[bytes, str]]) -> HTTPRouteHandler:
    """``/metrics`` for Prometheus."""

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        body, content_type = exposition()
        return Response(body, media_type=content_type)

    return metrics


def _time(name: str, text: str | None) -> datetime | None:
    """A query's time; without a zone it is UTC. A ``+`` that was not escaped came as a blank."""
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise Problem(
            400, f"{name}={text!r} is no time; ISO 8601 is allowed, such as 2026-05-04T09:00:00Z"
        ) from error
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value and value not in allowed:
        raise Problem(400, f"{name}={value!r} is unknown; allowed: {', '.join(allowed)}")
    return value or None


def _phone(inside: Inside, enterprise: str | None, text: str) -> str:
    """E.164 of a phone in a query, however it is written. A ``+`` that was not escaped came as a blank."""
    told = text.strip()
    number = inside.directory(enterprise).e164(told) if enterprise else to_e164(told, "BY")
    if text.startswith(" ") and told.isdigit():
        number = to_e164(f"+{told}", "BY") or number
    if number is None:
        raise Problem(400, f"phone={text!r} is no outside number")
    return number
