"""Times of a call by two clocks that are never subtracted from each other (DESIGN: Times).

The host's clock: the epoch in UniqueId and the texts of a hangup. Ours: ``occurred_at`` of the facts.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, final
from zoneinfo import ZoneInfo

from mypy_extensions import mypyc_attr

from calls.kept import room
from calls.legs import Leg, Moment
from calls.rooms import Meeting
from calls.unique_ids import began
from calls.values import Value

ZERO = timedelta(0)
WRONG_ZONE = timedelta(minutes=14)
"""A host whose StartTime is off the epoch by more than this tells another zone than the directory (events.md 2)."""

LONGEST = timedelta(days=1)
"""A call that the texts of a hangup make longer than this is not believed."""
OVERTAKEN = timedelta(seconds=2)


def seconds(value: timedelta | None) -> Decimal | None:
    """Seconds with microseconds kept exactly, as the columns ``wait_s``, ``talk_s``, ``total_s`` hold them."""
    if value is None:
        return None
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return Decimal(micros).scaleb(-6)


@final
@mypyc_attr(acyclic=True)
class Times(Value):
    """``wait``, ``talk`` and ``total`` are None where nothing tells them; the two ``_at`` follow from them."""

    def __init__(
        self,
        started_at: datetime,
        answered_at: datetime | None,
        ended_at: datetime | None,
        wait: timedelta | None,
        talk: timedelta | None,
        total: timedelta | None,
    ) -> None:
        self.started_at = started_at
        self.answered_at = answered_at
        self.ended_at = ended_at
        self.wait = wait
        self.talk = talk
        self.total = total

    def parts(self) -> tuple[object, ...]:
        return self.started_at, self.answered_at, self.ended_at, self.wait, self.talk, self.total


_MOST: Final = 4_096
_times: Final[dict[tuple[str, str], datetime | None]] = {}


def host_time(text: str, timezone: str) -> datetime | None:
    """``YYYY-MM-DD HH:MM:SS`` (or with T) of the host's wall clock as UTC; None for anything else."""
    asked = (text, timezone)
    found = _times.get(asked)
    if found is None and asked not in _times:
        found = room(_times, _MOST)[asked] = _read(text, timezone)
    return found


def _read(text: str, timezone: str) -> datetime | None:
    try:
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=ZoneInfo(timezone))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # no time, or one at the edge of the calendar


def host_end(unique_id: str, end_time: str, timezone: str) -> datetime | None:
    """EndTime of a leg's hangup as UTC; None where it is not told, or lies before the leg began."""
    end, start = host_time(end_time, timezone), began(unique_id)
    return end if end and start and end >= start - OVERTAKEN else None


def tell_times(
    legs: Mapping[str, Leg], lead: Leg, talks: Sequence[Meeting], timezone: str, *, ended: bool
) -> Times:
    """Times of the call that ``lead`` leads; ``talks`` are the stretches in which the other party was talked with."""
    first = min([leg.first for leg in legs.values()])
    hangup = lead.hangup
    told_start = host_time(hangup.start_time, timezone) if hangup else None
    started_at = began(lead.unique_id) or told_start or first.at
    wait = talk = total = None
    until = [talk.until.at for talk in talks if talk.until]
    last_talk = max(until) if until else None
    if talks:
        wait = max(talks[0].since.at - first.at, ZERO)
    if ended:
        end = _end(legs, lead, last_talk)
        if talks:
            # Bridge events that came all at once, or after the hangup, tell of a talk but not how long it was.
            talk = max((last_talk or end) - talks[0].since.at, ZERO) or None
        total = _told_total(lead, started_at, talks, timezone)
        if total is None:
            total = max(end - first.at, ZERO)
        if not talks and not (hangup and hangup.answered) and end > first.at:
            wait = end - first.at
    return Times(
        started_at=started_at,
        answered_at=started_at + wait if talks and wait is not None else None,
        ended_at=started_at + total if total is not None else None,
        wait=wait,
        talk=talk,
        total=total,
    )


def _end(legs: Mapping[str, Leg], lead: Leg, last_talk: datetime | None) -> datetime:
    """When the call was over by our clock: its last talk or its leading hangup, else its last event."""
    hung_up = lead.hangup.when.at if lead.hangup else None
    if last_talk and hung_up:
        return max(last_talk, hung_up)
    return last_talk or hung_up or max([leg.last.at for leg in legs.values()])


def _told_total(lead: Leg, started_at: datetime, talks: Sequence[Meeting], timezone: str) -> timedelta | None:
    """EndTime − started_at where the leading hangup tells it and nobody talked on after it."""
    hangup = lead.hangup
    end = host_time(hangup.end_time, timezone) if hangup else None
    if hangup is None or end is None:
        return None
    for talk in talks:
        if _goes_on(talk, hangup.when):
            return None
    start = host_time(hangup.start_time, timezone)
    if start and abs(start - started_at) > WRONG_ZONE:
        # The host's texts are of another zone, or its ids of another day: stay within the texts.
        return end - start if ZERO <= end - start < LONGEST else None
    total = end - started_at
    # An end long after the hangup arrived is none: it would poison the call and its customer for ever.
    return total if total >= ZERO and end - hangup.when.at <= WRONG_ZONE else None


def _goes_on(talk: Meeting, hangup: Moment) -> bool:
    """True for a talk that lasted on after the hangup; bridge events that were overtaken by it by a moment do not."""
    return talk.until is None or (
        talk.until.position > hangup.position and talk.until.at - hangup.at > OVERTAKEN
    )
