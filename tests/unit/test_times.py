"""Times by two clocks that are never subtracted from each other (DESIGN: Times)."""

from datetime import UTC, datetime, timedelta

import pytest

from calls.legs import Hangup, Leg, Moment
from calls.rooms import Meeting
from calls.times import Times, host_end, host_time, tell_times
from calls.unique_ids import began

HOST = datetime.fromtimestamp(1777885200, UTC)
"""The host's clock when the channel was made: the epoch in its UniqueId; 12:00:00 in Minsk."""
OURS = HOST + timedelta(minutes=7)
"""Our clock when its first event arrived: seven minutes ahead of the host's."""
ME = "1777885200.1"
MINSK = "Europe/Minsk"
assert HOST.isoformat() == "2026-05-04T09:00:00+00:00"


def ours(second: float) -> Moment:
    """What our clock shows ``second`` after the first event."""
    return Moment(int(second) + 1, OURS + timedelta(seconds=second))


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def leg(
    unique_id: str = ME,
    *,
    first: float = 0,
    last: float = 30,
    hung_up: float | None = None,
    status: str = "2",
    began: str = "",
    ended: str = "",
) -> Leg:
    known = Leg(unique_id, ours(first), ours(last))
    if hung_up is not None:
        known.hangup = Hangup(status=status, start_time=began, end_time=ended, when=ours(hung_up))
    return known


def talk(since: float, until: float | None) -> Meeting:
    return Meeting(ours(since), None if until is None else ours(until), "1777885200.2", ours(since).position)


def told(lead: Leg, *talks: Meeting, others: tuple[Leg, ...] = (), ended: bool = True) -> Times:
    legs = {one.unique_id: one for one in (lead, *others)}
    return tell_times(legs, lead, talks, MINSK, ended=ended)


def test_an_answered_call_by_both_clocks():
    times = told(leg(hung_up=30, began="2026-05-04 12:00:00", ended="2026-05-04 12:00:28"), talk(8, 27))
    assert times.started_at == HOST, "the host's clock"
    assert times.wait == seconds(8), "ours"
    assert times.talk == seconds(19), "ours"
    assert times.total == seconds(28), "the host's"
    assert times.answered_at == HOST + seconds(8)
    assert times.ended_at == HOST + seconds(28)


def test_a_missed_call_waited_until_the_end():
    times = told(leg(hung_up=24, status="0", ended="2026-05-04 12:00:23"))
    assert (times.wait, times.talk, times.answered_at) == (seconds(24), None, None)
    assert times.total == seconds(23)


def test_a_call_that_goes_on_has_no_end_yet():
    times = told(leg(), talk(8, None), ended=False)
    assert (times.started_at, times.wait) == (HOST, seconds(8))
    assert times.talk is times.total is times.ended_at is None
    assert told(leg(), ended=False) == Times(HOST, None, None, None, None, None)


def test_answered_by_hangup_alone_says_nothing_of_wait_and_talk():
    times = told(leg(hung_up=30, ended="2026-05-04 12:00:28"))
    assert (times.wait, times.talk, times.answered_at, times.total) == (None, None, None, seconds(28))


def test_a_lone_hangup_has_the_length_that_its_host_tells():
    times = told(leg(first=0, last=0, hung_up=0, status="0", ended="2026-05-04 12:00:12"))
    assert (times.total, times.wait) == (seconds(12), None)


def test_without_end_time_the_span_of_our_clock_counts():
    assert told(leg(hung_up=30), talk(8, 27)).total == seconds(30)
    assert told(leg(last=25), talk(8, 20)).total == seconds(20)
    assert told(leg(last=25)).total == seconds(25)


def test_talk_after_the_leading_hangup_makes_the_call_longer_than_it_told():
    """1-4: the customer talks on with the second manager after the main hangup."""
    lead = leg(hung_up=20, ended="2026-05-04 12:00:20")
    assert told(lead, talk(5, 18), talk(19, 50)).total == seconds(50)
    assert told(lead, talk(5, 18), talk(19, 50)).talk == seconds(45)


@pytest.mark.parametrize("unique_id", ["x", "", "17.1", "asterisk-1777885200.1", "٣٣٣٣٣٣٣٣٣٣.1"])
def test_an_id_without_an_epoch_gives_way_to_start_time_and_then_to_our_clock(unique_id):
    assert began(unique_id) is None
    lead = leg(unique_id, hung_up=30, began="2026-05-04 12:00:01", ended="2026-05-04 12:00:29")
    assert told(lead).started_at == HOST + seconds(1)
    assert told(lead).total == seconds(28)
    assert told(leg(unique_id)).started_at == OURS


@pytest.mark.parametrize(
    ("unique_id", "text", "ended_at"),
    [
        (ME, "2026-05-04 12:00:28", HOST + seconds(28)),
        (ME, "2026-05-04 11:59:58", HOST - seconds(2)),
        (ME, "2026-05-04 11:59:57", None),
        (ME, "", None),
        ("asterisk-1", "2026-05-04 12:00:28", None),
    ],
)
def test_a_leg_ended_when_its_hangup_says_unless_that_was_before_it_began(unique_id, text, ended_at):
    assert host_end(unique_id, text, MINSK) == ended_at


@pytest.mark.parametrize("hours", [-3, 1, -9])
def test_a_host_of_another_zone_is_believed_within_its_own_texts(hours):
    began = HOST + timedelta(hours=3 + hours, seconds=1)
    form = "%Y-%m-%d %H:%M:%S"
    lead = leg(hung_up=30, began=f"{began:{form}}", ended=f"{began + seconds(27):{form}}")
    assert told(lead).total == seconds(27)
    assert told(lead).started_at == HOST


def test_an_end_before_the_start_is_no_end():
    assert told(leg(hung_up=30, ended="2026-05-04 11:59:59")).total == seconds(30)
    wrong_zone = leg(hung_up=30, began="2026-05-04 09:00:30", ended="2026-05-04 09:00:00")
    assert told(wrong_zone).total == seconds(30)


@pytest.mark.parametrize("ended", ["9999-12-31 23:59:59", "2026-05-05 12:00:00", "2026-05-04 12:30:00"])
def test_an_end_long_after_the_hangup_arrived_is_no_end(ended):
    assert told(leg(hung_up=30, began="2026-05-04 12:00:00", ended=ended)).total == seconds(30)


def test_a_hangup_that_overtook_the_bridges_by_a_moment_still_tells_the_whole():
    late = leg(hung_up=30, began="2026-05-04 12:00:00", ended="2026-05-04 12:00:28")
    times = told(late, talk(31, 31))
    assert (times.total, times.talk) == (seconds(28), None)


def test_no_time_is_negative_though_our_clock_was_set_back():
    back = leg(first=50, last=60, hung_up=20)
    times = told(back, talk(10, 5))
    assert (times.wait, times.talk, times.total) == (seconds(0), None, seconds(0))


def test_our_first_event_of_any_leg_is_where_waiting_begins():
    other = leg("1777885200.2", first=-4)
    assert told(leg(hung_up=30), talk(8, 27), others=(other,)).wait == seconds(12)


@pytest.mark.parametrize(
    ("text", "told_at"),
    [
        ("2026-05-04 12:00:09", HOST + seconds(9)),
        ("2026-05-04T12:00:09", HOST + seconds(9)),
        ("2026-05-04T09:00:09Z", HOST + seconds(9)),
        ("2026-05-04T09:00:09+00:00", HOST + seconds(9)),
        ("", None),
        ("<unknown>", None),
        ("1777885200", None),
        ("2026-13-40 99:99:99", None),
        ("0001-01-01 00:00:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_texts_of_a_host(text, told_at):
    assert host_time(text, MINSK) == told_at


def test_the_hour_that_a_zone_has_twice_or_never_is_still_a_time():
    assert host_time("2026-10-25 03:30:00", "Europe/Berlin") is not None
    assert host_time("2026-03-29 02:30:00", "Europe/Berlin") is not None
