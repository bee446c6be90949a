"""Queries of the API over the projections: newest first, by cursor."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from adapters.archive.index import places_of
from adapters.store import reader
from adapters.store.columns import CALL_COLUMNS, CUSTOMER_COLUMNS
from adapters.store.shown import shown_call
from calls.facts import leg_stream

MOST = 500


class BadCursor(ValueError):
    """The text after ``after=`` was not made by this API."""


class CallsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of calls is asked for; None: any. ``phone`` in E.164."""

    enterprise: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    phone: str | None = None
    direction: str | None = None
    outcome: str | None = None
    limit: int = 50
    after: str | None = None


class Page(msgspec.Struct, frozen=True):
    """A list as the API answers it."""

    items: Sequence[dict[str, Any]]
    next: str | None


def write_cursor(*parts: str) -> str:
    """A cursor that names the last row of a page."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def read_cursor(text: str, count: int) -> list[str]:
    """The parts of a cursor; raises BadCursor for a text that is none."""
    try:
        parts = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=list[str])
    except (ValueError, binascii.Error) as error:
        raise BadCursor(f"after={text!r} is no cursor of this list") from error
    if len(parts) != count:
        raise BadCursor(f"after={text!r} is no cursor of this list")
    return parts


def row_shown(row: asyncpg.Record, columns: Sequence[str]) -> dict[str, Any]:
    """A row as JSON: times as ISO 8601 UTC, seconds as numbers."""
    return {column: _shown(row[column]) for column in columns}


def _shown(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else value


async def list_calls(pool: asyncpg.Pool, wanted: CallsWanted) -> Page:
    """A page of calls, the newest first."""
    began: datetime | None = None
    enterprise = call_id = None
    if wanted.after:
        told, enterprise, call_id = read_cursor(wanted.after, 3)
        try:
            began = datetime.fromisoformat(told)
        except ValueError as error:
            raise BadCursor(f"after={wanted.after!r} is no cursor of this list") from error
    rows = await pool.fetch(
        f"SELECT {', '.join(CALL_COLUMNS)} FROM calls"
        " WHERE ($1::text IS NULL OR enterprise = $1) AND ($2::timestamptz IS NULL OR started_at >= $2)"
        " AND ($3::timestamptz IS NULL OR started_at < $3) AND ($4::text IS NULL OR customer = $4)"
        " AND ($5::text IS NULL OR direction = $5) AND ($6::text IS NULL OR outcome = $6)"
        " AND ($7::timestamptz IS NULL OR (started_at, enterprise, call_id) < ($7, $8, $9))"
        " ORDER BY started_at DESC, enterprise DESC, call_id DESC LIMIT $10",
        wanted.enterprise,
        wanted.since,
        wanted.until,
        wanted.phone,
        wanted.direction,
        wanted.outcome,
        began,
        enterprise,
        call_id,
        wanted.limit + 1,
    )
    more = len(rows) > wanted.limit
    rows = rows[: wanted.limit]
    last = rows[-1] if more else None
    cursor = (
        write_cursor(last["started_at"].isoformat(), last["enterprise"], last["call_id"]) if last else None
    )
    return Page([row_shown(row, CALL_COLUMNS) for row in rows], cursor)


async def one_call(
    pool: asyncpg.Pool, enterprise: str, unique_id: str, chats: Sequence[tuple[str, int]]
) -> dict[str, Any] | None:
    """A call with its events, messages and deliveries, found by the id of any of its legs.

    ``archived``: the months with which something of it was archived, which is not among the events then.
    """
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            f"SELECT {', '.join(CALL_COLUMNS)} FROM calls WHERE enterprise = $1 AND call_id = coalesce("
            "(SELECT call_id FROM call_legs WHERE enterprise = $1 AND unique_id = $2), $2)",
            enterprise,
            unique_id,
        )
        if row is None:
            return None
        facts = await reader.read_calls(connection, [(enterprise, row["call_id"])], chats, (1 << 63) - 1)
        places = await places_of(connection, [(enterprise, leg_stream(leg)) for leg in row["legs"]])
    months = sorted({f"{place.month:%Y-%m}" for found in places.values() for place in found})
    archived = {"archived": months} if months else {}
    return {**row_shown(row, CALL_COLUMNS), **shown_call(facts), **archived}


async def list_customers(pool: asyncpg.Pool, enterprise: str | None, limit: int, after: str | None) -> Page:
    """A page of customers, those who called last in front."""
    last_at: datetime | None = None
    number = phone = None
    if after:
        told, number, phone = read_cursor(after, 3)
        try:
            last_at = datetime.fromisoformat(told)
        except ValueError as error:
            raise BadCursor(f"after={after!r} is no cursor of this list") from error
    rows = await pool.fetch(
        f"SELECT {', '.join(CUSTOMER_COLUMNS)} FROM customers WHERE ($1::text IS NULL OR enterprise = $1)"
        " AND ($2::timestamptz IS NULL OR (last_call_at, enterprise, phone) < ($2, $3, $4))"
        " ORDER BY last_call_at DESC, enterprise DESC, phone DESC LIMIT $5",
        enterprise,
        last_at,
        number,
        phone,
        limit + 1,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    last = rows[-1] if more else None
    cursor = (
        write_cursor(last["last_call_at"].isoformat(), last["enterprise"], last["phone"]) if last else None
    )
    return Page([row_shown(row, CUSTOMER_COLUMNS) for row in rows], cursor)


async def one_customer(pool: asyncpg.Pool, enterprise: str, phone: str) -> dict[str, Any] | None:
    """A customer's row."""
    row = await pool.fetchrow(
        f"SELECT {', '.join(CUSTOMER_COLUMNS)} FROM customers WHERE enterprise = $1 AND phone = $2",
        enterprise,
        phone,
    )
    return row_shown(row, CUSTOMER_COLUMNS) if row else None
