"""Hours of a week as people write them: ``Mo-Fr 09:00-18:00; Sa 10:00-14:00``, in the enterprise's zone."""

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

FORM: Final = (
    '"Mo-Fr 09:00-18:00"; days may be left out or listed as in "Mo,We-Fr", several are separated by ";"'
)

_DAYS: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_TIME: Final = re.compile(r"(?P<hour>[01][0-9]|2[0-4]):(?P<minute>[0-5][0-9])")
_HOUR: Final = 60
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY


class HoursError(ValueError):
    """A text that tells no hours: which part of it, what is wrong there, and what is allowed."""


class Hours(msgspec.Struct, frozen=True):
    """``stretches``: minutes since Monday 00:00, each from its first to before its last, none beyond Sunday."""

    stretches: tuple[tuple[int, int], ...]

    def __contains__(self, when: datetime) -> bool:
        """True for a wall clock time inside, by its day of the week, hour and minute."""
        minute = when.weekday() * _DAY + when.hour * _HOUR + when.minute
        return any(begin <= minute < end for begin, end in self.stretches)


def is_within(text: str, at: datetime, timezone: str) -> bool:
    """True for a moment in these hours of a zone, of UTC where this machine does not know the zone (as cards)."""
    return at.astimezone(_zone(timezone)) in read_hours(text)


@lru_cache(maxsize=1024)
def read_hours(text: str) -> Hours:
    """What a text tells; from a later to an earlier time is over midnight. Raises HoursError."""
    parts = text.split(";")
    stretches: list[tuple[int, int]] = []
    for place, part in enumerate(parts, 1):
        try:
            stretches += _stretches(part)
        except HoursError as error:
            where = f'part {place}, "{part.strip()}": ' if len(parts) > 1 else ""
            raise HoursError(f"{where}{error}") from None
    return Hours(tuple(stretches))


def _stretches(part: str) -> list[tuple[int, int]]:
    match part.split():
        case [span]:
            days = set(range(len(_DAYS)))
        case [named, span]:
            days = _days(named)
        case _:
            raise HoursError("needs days and a span of time, such as Mo-Fr 09:00-18:00")
    begin, length = _span(span)
    found = []
    for start in sorted(day * _DAY + begin for day in days):
        found.append((start, min(start + length, _WEEK)))
        if start + length > _WEEK:
            found.append((0, start + length - _WEEK))
    return found


def _days(named: str) -> set[int]:
    """Days of ``Mo,We-Fr``; from a later to an earlier one is over Sunday."""
    days: set[int] = set()
    for one in named.split(","):
        first, dash, last = one.partition("-")
        begin = _day(first)
        end = _day(last) if dash else begin
        days.update((begin + more) % len(_DAYS) for more in range((end - begin) % len(_DAYS) + 1))
    return days


def _day(name: str) -> int:
    if name not in _DAYS:
        raise HoursError(f'"{name}" is no day; allowed are {", ".join(_DAYS)}')
    return _DAYS.index(name)


def _span(span: str) -> tuple[int, int]:
    """First minute of the day and how many, at most a whole day."""
    first, dash, last = span.partition("-")
    if not dash:
        raise HoursError(f'"{span}" is no span of time; allowed is HH:MM-HH:MM')
    begin, end = _minute(first), _minute(last)
    if begin in {end, _DAY}:
        raise HoursError(f'"{span}" has no length; a whole day is 00:00-24:00')
    return begin, end - begin if end > begin else end + _DAY - begin


def _minute(time: str) -> int:
    found = _TIME.fullmatch(time)
    minute = int(found["hour"]) * _HOUR + int(found["minute"]) if found else _WEEK
    if minute > _DAY:
        raise HoursError(f'"{time}" is no time of day; allowed are 00:00 to 24:00')
    return minute


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
