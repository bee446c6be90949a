"""What no export and no answer holds: events of archived months (docs/analysts.md)."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

_MONTHS: Final = """
SELECT DISTINCT to_char(month, 'YYYY-MM') AS told FROM archived
WHERE ($1::text IS NULL OR enterprise = $1)
  AND ($2::timestamptz IS NULL OR month + INTERVAL '1 month' > $2 AT TIME ZONE 'UTC')
  AND ($3::timestamptz IS NULL OR month < $3 AT TIME ZONE 'UTC')
ORDER BY told
"""
_EVENTS: Final = re.compile(r"\bevents\b", re.IGNORECASE)


async def archived_months(
    connection: asyncpg.Connection | asyncpg.Pool,
    enterprise: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[str]:
    """Months (``2026-05``) of which events are archived, of one enterprise or of any."""
    return [row[0] for row in await connection.fetch(_MONTHS, enterprise, since, until)]


def asks_events(question: str) -> bool:
    """True for a question that may read events."""
    return _EVENTS.search(question) is not None


def archived_said(months: Sequence[str]) -> str:
    """A line for people."""
    spans: list[tuple[str, str]] = []
    for month in months:
        if spans and _number(month) == _number(spans[-1][1]) + 1:
            spans[-1] = (spans[-1][0], month)
        else:
            spans.append((month, month))
    told = ", ".join([first if first == last else f"{first} to {last}" for first, last in spans])
    return f"events of {told} are archived and not in it: callfold archive --restore brings a month back"


def _number(month: str) -> int:
    year, _, of_year = month.partition("-")
    return int(year) * 12 + int(of_year)
