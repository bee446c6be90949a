"""Hours agree with their slow definition at every minute of a week."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from calls.hours import read_hours

NAMES = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
WEEK = [datetime(2025, 9, 15, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(7 * 24 * 60)]
DAYS = st.tuples(st.integers(0, 6), st.integers(0, 6))
TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
PARTS = st.tuples(st.lists(DAYS, max_size=3), TIMES, TIMES | st.just("24:00")).filter(
    lambda part: part[1] != part[2]
)


def written(days, begin, end):
    names = ",".join(
        NAMES[first] if first == last else f"{NAMES[first]}-{NAMES[last]}" for first, last in days
    )
    return f"{names} {begin}-{end}".strip()


def named(days, day):
    """Counted from the first day on, around the week, the day comes before the last is passed."""
    for first, last in days or [(0, 6)]:
        one = first
        while one not in {last, day}:
            one = (one + 1) % 7
        if one == day:
            return True
    return False


def inside(parts, when):
    """Texts of equal length sort as the times they tell."""
    time = f"{when:%H:%M}"
    for days, begin, end in parts:
        today, yesterday = named(days, when.weekday()), named(days, (when.weekday() - 1) % 7)
        if begin < end and today and begin <= time < end:
            return True
        if begin > end and ((today and time >= begin) or (yesterday and time < end)):
            return True
    return False


@settings(max_examples=40, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=3))
@example([([(6, 6)], "23:59", "00:01")])
@example([([(5, 0)], "00:00", "24:00")])
def test_every_minute_of_a_week_is_as_defined(parts):
    hours = read_hours("; ".join(written(*part) for part in parts))
    assert [when for when in WEEK if (when in hours) != inside(parts, when)] == []
