"""When an event of a host's backlog occurred, by the host's log (docs/decisions/0012)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from adapters.recovery.lines import Line
from calls.times import host_time
from calls.unique_ids import began

AHEAD: Final = timedelta(minutes=5)
"""What a host's clock may be ahead of ours; a log that tells a later time tells none."""
FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""A log that tells an earlier time was written with a clock that was never set, and tells none."""


class Moments:
    """The times of one backlog, read in its order.

    A line that tells no time has that of the line above; before any told one: EndTime of a hangup, else the epoch of
    its UniqueId, but never before the line above; where nothing tells anything: now.
    """

    def __init__(self, zone_of: Callable[[str], str], now: Callable[[], datetime]) -> None:
        self._zone_of, self._now = zone_of, now
        self._above: dict[str, datetime] = {}
        """By enterprise, the time of the line above."""
        self._told: set[str] = set()
        """Enterprises of which a line has told its time."""

    def of(self, enterprise: str, line: Line) -> datetime:
        """When this line's event occurred, UTC."""
        zone, above = self._zone_of(enterprise), self._above.get(enterprise)
        now = self._now()
        at = self._credible(read_time(line.told, zone, above), now) if line.told else None
        if at is not None:
            self._told.add(enterprise)
        elif enterprise in self._told and above is not None:
            at = above
        else:
            at = max(self._credible(_of_event(line, zone), now) or above or now, above or FIRST)
        self._above[enterprise] = at
        return at

    @staticmethod
    def _credible(at: datetime | None, now: datetime) -> datetime | None:
        return at if at is not None and FIRST <= at <= now + AHEAD else None


def read_time(told: datetime, zone: str, above: datetime | None) -> datetime | None:
    """A time of a log as UTC; without a zone it is that of ``zone``'s wall clock.

    Of the two moments that a clock tells which was set back, the first that is not before the line above. A moment that
    a clock skipped which was set forward is as long after the leap as it seems to be.
    """
    try:
        if told.tzinfo is not None:
            return told.astimezone(UTC)
        local = told.replace(tzinfo=_zone(zone))
        first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    except (OverflowError, ValueError):
        return None  # at the edge of the calendar
    return second if first < second and above is not None and first < above else first


def _of_event(line: Line, zone: str) -> datetime | None:
    ended = host_time(line.event.end_time.strip(), zone) if line.kind == "hangup" else None
    return ended or began(line.event.unique_id.strip())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
