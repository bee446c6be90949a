"""What is read (CONTRACT 4.2): calls, customers, statistics, health; and the writing verbs of the command line."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import asyncpg
import msgspec
from litestar import Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import Parameter

from adapters.directory.apply import ApplyRefused
from adapters.directory.file import DirectoryFileError, read_directory_text
from adapters.http.problems import Problem
from adapters.http.sessions import Sessions
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
    """What the API needs of the running service."""

    pool: asyncpg.Pool

    def directory(self, enterprise: str) -> Directory:
        """The directory of an enterprise as it is now."""
        ...

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether calls are taken and shown, and what is missing."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Figures of the running service."""
        ...

    async def apply(self, files: Any) -> list[str]:
        """Apply directory files as the one writer."""
        ...

    async def replay_parked(self) -> int:
        """Have the actors fold their parked facts once more; how many do fold now."""
        ...


def bearer_guard(sessions: Sessions) -> Guard:
    """Lets through who has the admin token, as a bearer or by a page's session."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not sessions.allows(connection.headers.get("authorization", ""), connection.cookies):
            raise Problem(401, "a bearer ADMIN_TOKEN is needed", {"www-authenticate": "Bearer"})

    return guard


class DirectoryUpload(msgspec.Struct, frozen=True):
    """A directory file as ``callfold apply`` sends it; ``folder``: where relative paths in it begin."""

    name: str
    text: str
    folder: str


Limit = Annotated[int, Parameter(ge=1, le=MOST)]


def api_routes(inside: Inside, guard: Guard) -> Router:
    """``/api`` and ``/stats``."""

    @get("/api/calls", guards=[guard])
    async def calls(
        enterprise: str | None = None,
        since: Annotated[str | None, Parameter(query="from")] = None,
        until: Annotated[str | None, Parameter(query="to")] = None,
        phone: str | None = None,
        direction: str | None = None,
        outcome: str | None = None,
        limit: Limit = 50,
        after: str | None = None,
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
            return await list_calls(inside.pool, wanted)
        except BadCursor as error:
            raise Problem(400, str(error)) from error

    @get("/api/calls/{enterprise:str}/{call_id:str}", guards=[guard])
    async def call(enterprise: str, call_id: str) -> dict[str, Any]:
        chats = [(enterprise, chat.chat_id) for chat in inside.directory(enterprise).subscribers.values()]
        found = await one_call(inside.pool, enterprise, call_id, chats)
        if found is None:
            raise Problem(404, f"enterprise {enterprise} has no call with a leg {call_id}")
        return found

    @get("/api/customers", guards=[guard])
    async def customers(enterprise: str | None = None, limit: Limit = 50, after: str | None = None) -> Page:
        try:
            return await list_customers(inside.pool, enterprise, limit, after)
        except BadCursor as error:
            raise Problem(400, str(error)) from error

    @get("/api/customers/{enterprise:str}/{phone:str}", guards=[guard])
    async def customer(enterprise: str, phone: str) -> dict[str, Any]:
        found = await one_customer(inside.pool, enterprise, _phone(inside, enterprise, phone))
        if found is None:
            raise Problem(404, f"enterprise {enterprise} has no customer {phone}")
        return found

    @get("/stats", guards=[guard])
    async def stats() -> dict[str, Any]:
        return inside.statistics()

    @post("/api/directory", guards=[guard], status_code=200)
    async def directory(data: DirectoryUpload) -> dict[str, Any]:
        try:
            files = read_directory_text(data.text, data.name, Path(data.folder))
            return {"changes": await inside.apply(files)}
        except (DirectoryFileError, ApplyRefused) as error:
            raise Problem(400, str(error)) from error

    @post("/api/parked/replay", guards=[guard], status_code=200)
    async def replay() -> dict[str, int]:
        return {"replayed": await inside.replay_parked()}

    return Router("/", route_handlers=[calls, call, customers, customer, stats, directory, replay])


def health_routes(inside: Inside) -> Router:
    """``/healthz`` and ``/readyz``."""

    @get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        ready, told = inside.ready()
        if ready:
            try:
                await inside.pool.fetchval("SELECT 1", timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                ready, told = False, {"status": "the store does not answer", "reason": type(error).__name__}
        return Response(told, status_code=200 if ready else 503)

    return Router("/", route_handlers=[healthz, readyz])


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
