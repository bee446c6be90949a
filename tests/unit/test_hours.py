"""Hours as people write them."""

from datetime import UTC, datetime, timedelta

import pytest

from calls.hours import HoursError, is_within, read_hours

MONDAY = datetime(2025, 9, 15, tzinfo=UTC)
MO, TU, WE, TH, FR, SA, SU = range(7)


def at(day, time):
    hour, minute = time.split(":")
    return MONDAY + timedelta(days=day, hours=int(hour), minutes=int(minute))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mo-Fr 09:00-18:00", [(MO, "9:00"), (FR, "17:59")], [(MO, "8:59"), (FR, "18:00"), (SA, "12:00")]),
        ("Sa 10:00-14:00", [(SA, "10:00")], [(FR, "12:00"), (SU, "12:00")]),
        ("Mo,We-Th 09:00-10:00", [(MO, "9:30"), (WE, "9:30"), (TH, "9:30")], [(TU, "9:30"), (FR, "9:30")]),
        ("Sa-Mo 09:00-10:00", [(SA, "9:30"), (SU, "9:30"), (MO, "9:30")], [(TU, "9:30"), (FR, "9:30")]),
        ("Mo-Fr 09:00-18:00; Sa 10:00-14:00", [(MO, "17:00"), (SA, "13:59")], [(SA, "17:00"), (SU, "11:00")]),
        ("Mo 09:00-13:00;Mo 14:00-18:00", [(MO, "12:59"), (MO, "14:00")], [(MO, "13:30")]),
        ("22:00-08:00", [(MO, "22:00"), (TU, "7:59"), (MO, "0:00")], [(MO, "21:59"), (TU, "8:00")]),
        ("Fr 22:00-06:00", [(FR, "23:00"), (SA, "5:59")], [(FR, "5:00"), (SA, "6:00"), (SA, "23:00")]),
        ("Su 22:00-06:00", [(SU, "23:00"), (MO, "5:59")], [(SU, "5:00"), (MO, "6:00"), (MO, "23:00")]),
        ("Su 00:00-24:00", [(SU, "0:00"), (SU, "23:59")], [(SA, "23:59"), (MO, "0:00")]),
        ("Su 18:00-00:00", [(SU, "18:00"), (SU, "23:59")], [(SU, "17:59"), (MO, "0:00")]),
    ],
)
def test_a_minute_is_inside_or_outside(text, inside, outside):
    hours = read_hours(text)
    assert [when for when in inside if at(*when) not in hours] == []
    assert [when for when in outside if at(*when) in hours] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs days and a span of time, such as Mo-Fr 09:00-18:00"),
        ("Mo - Fr 09:00-18:00", "needs days and a span of time, such as Mo-Fr 09:00-18:00"),
        ("Mon 09:00-18:00", '"Mon" is no day; allowed are Mo, Tu, We, Th, Fr, Sa, Su'),
        ("Mo,  09:00-18:00", '"" is no day; allowed are Mo, Tu, We, Th, Fr, Sa, Su'),
        ("Mo-Fr 09:00", '"09:00" is no span of time; allowed is HH:MM-HH:MM'),
        ("Mo-Fr 9:00-18:00", '"9:00" is no time of day; allowed are 00:00 to 24:00'),
        ("Mo-Fr 09:00-24:01", '"24:01" is no time of day; allowed are 00:00 to 24:00'),
        ("Mo-Fr 09:60-18:00", '"09:60" is no time of day; allowed are 00:00 to 24:00'),
        ("Mo-Fr ٠٩:٠٠-18:00", '"٠٩:٠٠" is no time of day; allowed are 00:00 to 24:00'),
        ("Mo 09:00-09:00", '"09:00-09:00" has no length; a whole day is 00:00-24:00'),
        ("Mo 24:00-06:00", '"24:00-06:00" has no length; a whole day is 00:00-24:00'),
        ("Mo 09:00-18:00; Sat 10:00-14:00", 'part 2, "Sat 10:00-14:00": "Sat" is no day; allowed are'),
        ("Mo 09:00-18:00;", 'part 2, "": needs days and a span of time'),
    ],
)
def test_what_is_none_says_where_and_what_is_allowed(text, said):
    with pytest.raises(HoursError) as refused:
        read_hours(text)
    assert str(refused.value).startswith(said)


def test_a_moment_is_read_off_the_clock_on_the_wall_of_the_enterprise():
    morning = datetime(2025, 9, 15, 6, 30, tzinfo=UTC)
    assert is_within("Mo 09:00-10:00", morning, "Europe/Minsk")
    assert not is_within("Mo 09:00-10:00", morning, "Europe/Berlin")
    sunday_night = datetime(2025, 9, 14, 21, 30, tzinfo=UTC)
    assert is_within("Mo 00:00-01:00", sunday_night, "Europe/Minsk"), "Monday has begun there"


def test_summer_time_moves_the_moments_and_not_the_hours():
    hours, zone = "09:00-10:00", "Europe/Berlin"
    assert is_within(hours, datetime(2025, 3, 28, 8, 30, tzinfo=UTC), zone)
    assert not is_within(hours, datetime(2025, 3, 31, 8, 30, tzinfo=UTC), zone)
    assert is_within(hours, datetime(2025, 3, 31, 7, 30, tzinfo=UTC), zone)


def test_a_zone_that_the_machine_does_not_know_is_taken_for_utc():
    assert is_within("09:00-10:00", datetime(2025, 9, 15, 9, 30, tzinfo=UTC), "Nowhere/Town")
