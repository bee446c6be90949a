"""What a subscriber asks about: the last calls, the missed ones, the open ones, one customer."""

import html
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import asyncpg

from adapters.bot.texts import TEXTS
from adapters.store.columns import CALL_COLUMNS, CUSTOMER_COLUMNS
from calls.call import Call, Phase
from calls.card_texts import WORDS
from calls.cards import listed, local_time
from calls.directory import Directory, shorten
from calls.entries import Subscriber
from calls.numbers import display
from calls.subscriptions import concerns

Which = Literal["calls", "missed", "open"]

MOST: Final = 10
"""Calls of a list."""
OF_CUSTOMER: Final = 5
READ_AT_ONCE: Final = 100
READ: Final = 1_000
"""Newest calls that are looked through for those that a list wants."""
END: Final = datetime.max.replace(tzinfo=UTC)
"""After every call."""
_MISSED: Final = frozenset({"missed", "lost_in_transfer"})

_COLUMNS: Final = ", ".join(CALL_COLUMNS)
_NEWEST: Final = f"""
SELECT {_COLUMNS} FROM calls
WHERE enterprise = $1 AND (started_at, call_id) < ($2::timestamptz, $3::text)
ORDER BY started_at DESC, call_id DESC LIMIT $4
"""  # noqa: S608 - names of columns
_OPEN: Final = f"""
SELECT {_COLUMNS} FROM calls WHERE enterprise = $1 AND outcome = 'open'
ORDER BY started_at DESC, call_id DESC LIMIT $2
"""  # noqa: S608
_CUSTOMER: Final = f"""
SELECT {", ".join(CUSTOMER_COLUMNS)} FROM customers WHERE enterprise = $1 AND phone = $2
"""  # noqa: S608
_CALLS_OF: Final = f"""
SELECT {_COLUMNS} FROM calls WHERE enterprise = $1 AND customer = $2 ORDER BY started_at DESC LIMIT $3
"""  # noqa: S608


class Lists:
    """Reads the projections. Raises what asyncpg raises."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def answer(self, which: Which, subscriber: Subscriber, directory: Directory) -> str:
        """The last calls of a list that the subscriber is shown, newest first, as HTML."""
        texts = TEXTS[directory.profile.language]
        found: list[Call] = []
        async for call in self._calls(which, directory.profile.number):
            if (which != "missed" or call.outcome in _MISSED) and concerns(subscriber, call, directory):
                found.append(call)
                if len(found) == MOST:
                    break
        titles = {"calls": texts.calls, "missed": texts.missed, "open": texts.open}
        nothing = {"calls": texts.no_calls, "missed": texts.no_missed, "open": texts.no_open}
        if not found:
            return f"{nothing[which]}\n{texts.selected}" if subscriber.selective else nothing[which]
        return "\n".join([titles[which], *_by_day(found, directory)])

    async def customer(self, typed: str, subscriber: Subscriber, directory: Directory) -> str:
        """What is known of the customer whose number was typed, as HTML.

        Who is not shown every call learns of those that are shown, and no totals, which count the others too.
        """
        texts = TEXTS[directory.profile.language]
        if not typed.strip():
            return texts.customer_usage
        phone = directory.e164(typed.strip())
        if phone is None:
            return texts.customer_none.format(html.escape(shorten(typed), quote=False))
        number = directory.profile.number
        row = await self._pool.fetchrow(_CUSTOMER, number, phone)
        if row is None:
            return texts.customer_unknown.format(display(phone))
        read = READ if subscriber.selective else OF_CUSTOMER
        calls = map(call_of, await self._pool.fetch(_CALLS_OF, number, phone, read))
        shown = [call for call in calls if concerns(subscriber, call, directory)][:OF_CUSTOMER]
        if subscriber.selective and not shown:
            return f"{texts.customer_unknown.format(display(phone))}\n{texts.selected}"
        name = f" {html.escape(shorten(row['name']), quote=False)}" if row["name"] else ""
        totals = (
            texts.incoming.format(row["in_total"], row["in_answered"], row["in_missed"]),
            texts.outgoing.format(row["out_total"], row["out_answered"], row["out_missed"]),
        )
        return "\n".join(
            [
                f"💰 <b>{display(phone)}</b>{name}",
                *((texts.selected,) if subscriber.selective else totals),
                *_by_day(shown, directory),
            ]
        )

    async def _calls(self, which: Which, enterprise: str) -> AsyncIterator[Call]:
        if which == "open":
            for row in await self._pool.fetch(_OPEN, enterprise, READ):
                yield call_of(row)
            return
        before, last = END, ""
        for _ in range(READ // READ_AT_ONCE):
            rows = await self._pool.fetch(_NEWEST, enterprise, before, last, READ_AT_ONCE)
            for row in rows:
                yield call_of(row)
            if len(rows) < READ_AT_ONCE:
                return
            before, last = rows[-1]["started_at"], rows[-1]["call_id"]


def call_of(row: asyncpg.Record) -> Call:
    """A row of ``calls`` as a call; what the row does not tell is as good as it can be guessed."""
    told = ((name, row[name]) for name in CALL_COLUMNS)
    columns: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in told
    }
    for name in ("wait", "talk", "total"):
        columns[name] = _span(columns.pop(f"{name}_s"))
    return Call(**columns, phase=_phase(row))


def _phase(row: asyncpg.Record) -> Phase:
    if row["outcome"] != "open":
        return "ended"
    if row["talked"]:
        return "talking"
    return "ringing" if row["rung"] else "begun"


def _span(seconds: Decimal | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=float(seconds))


def _by_day(calls: list[Call], directory: Directory) -> Iterator[str]:
    """A line a call, below the day on which it began."""
    day_in_words = WORDS[directory.profile.language].day
    last = ""
    for call in calls:
        day = day_in_words(local_time(call.started_at, directory))
        if day != last:
            yield f"\n<i>{day}</i>"
            last = day
        yield listed(call, directory)
