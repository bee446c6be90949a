"""The projection of hosts: what the events of each enterprise tell of the Asterisk that sends them.

Folded in the order of arrival: it is about the sending. What was recovered counts, and nothing else is read off it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from calls.facts import EVENT_KINDS, Fact
from calls.times import seconds
from calls.unique_ids import began

GAP: Final = timedelta(hours=1)
"""A silence longer than this, within one day by UTC, is a gap: nights of a company mostly hold midnight."""
_EVENTS: Final = frozenset(EVENT_KINDS)
_BEGINNINGS: Final = frozenset({"start", "dial"})


class HostRow(msgspec.Struct, frozen=True, gc=False):
    """Row of ``hosts``; times are ``occurred_at`` of events that came live, or of the others where none did.

    ``skew_s``: the least by which the first event of a channel came after the epoch in its UniqueId on the day of the
    last one that told (what is left is sending and the difference of the clocks; below zero the host's is ahead).
    """

    enterprise: str
    events: int
    recovered: int
    first_event_at: datetime
    last_event_at: datetime
    longest_silence_s: Decimal
    longest_silence_at: datetime
    gaps: int
    skew_s: Decimal | None
    skew_at: datetime | None


class _Host(msgspec.Struct):
    first: datetime
    last: datetime
    silent_at: datetime
    events: int = 0
    recovered: int = 0
    silent: timedelta = timedelta(0)
    gaps: int = 0
    skew: timedelta | None = None
    skew_at: datetime | None = None


class HostsFold:
    """State of the fold over all enterprises."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._touched: set[str] = set()

    def remember(self, rows: Iterable[HostRow]) -> None:
        """Take up rows that were written before."""
        for row in rows:
            self._hosts[row.enterprise] = _Host(
                first=row.first_event_at,
                last=row.last_event_at,
                silent_at=row.longest_silence_at,
                events=row.events,
                recovered=row.recovered,
                silent=_span(row.longest_silence_s),
                gaps=row.gaps,
                skew=None if row.skew_s is None else _span(row.skew_s),
                skew_at=row.skew_at,
            )

    def see(self, fact: Fact) -> None:
        """Fold one fact in the order of arrival; of recovered ones any order will do."""
        if fact.kind not in _EVENTS:
            return
        at = fact.occurred_at
        host = self._hosts.get(fact.enterprise)
        if host is None:
            host = self._hosts[fact.enterprise] = _Host(first=at, last=at, silent_at=at)
        self._touched.add(fact.enterprise)
        host.events += 1
        if fact.source == "recovery":
            host.recovered += 1
            if host.recovered == host.events:
                host.first, host.last = min(host.first, at), max(host.last, at)
                host.silent_at = host.first
            return
        if host.events == host.recovered + 1:
            host.first = host.last = host.silent_at = at
        silence = at - host.last
        if silence > host.silent:
            host.silent, host.silent_at = silence, host.last
        if silence > GAP and at.date() == host.last.date():
            host.gaps += 1
        host.last = at
        if fact.version == 1 and fact.kind in _BEGINNINGS:
            _measure(host, fact)

    def take(self) -> list[HostRow]:
        """The rows that changed since the last time."""
        touched, self._touched = self._touched, set()
        return [_row(enterprise, self._hosts[enterprise]) for enterprise in sorted(touched)]


def _measure(host: _Host, fact: Fact) -> None:
    epoch = began(fact.stream.partition("/")[2])
    if epoch is None:
        return
    skew, at = fact.occurred_at - epoch, fact.occurred_at
    if host.skew is None or host.skew_at is None or host.skew_at.date() != at.date() or skew < host.skew:
        host.skew, host.skew_at = skew, at


def _row(enterprise: str, host: _Host) -> HostRow:
    silent, skew = seconds(host.silent), seconds(host.skew)
    assert silent is not None, "a silence has a length"
    return HostRow(
        enterprise=enterprise,
        events=host.events,
        recovered=host.recovered,
        first_event_at=host.first,
        last_event_at=host.last,
        longest_silence_s=silent,
        longest_silence_at=host.silent_at,
        gaps=host.gaps,
        skew_s=skew,
        skew_at=host.skew_at,
    )


def _span(value: Decimal) -> timedelta:
    return timedelta(microseconds=int(value.scaleb(6)))
