"""The projection of hosts: silence, gaps, what was recovered, and the host's clock."""

from datetime import datetime, timedelta
from decimal import Decimal

from calls.facts import SILENCE_OBSERVED, Fact, leg_stream
from projections.hosts import HostRow, HostsFold
from tests.folding import EPOCH


def fact(at: datetime, kind="dial", source="live", version=1, behind=2.5, enterprise="0367") -> Fact:
    stream = leg_stream(f"{(at - timedelta(seconds=behind)).timestamp():.0f}.7")
    return Fact(1, enterprise, stream, version, kind, source, at, at, b"{}")


def row(*facts: Fact) -> HostRow:
    fold = HostsFold()
    for one in facts:
        fold.see(one)
    [told] = fold.take()
    return told


def later(**spent: float) -> datetime:
    return EPOCH + timedelta(**spent)


def test_the_longest_silence_and_when_it_began():
    told = row(fact(EPOCH), fact(later(minutes=5)), fact(later(minutes=6)), fact(later(minutes=46)))
    assert (told.longest_silence_s, told.longest_silence_at) == (Decimal(2_400), later(minutes=6))
    assert (told.events, told.gaps, told.last_event_at) == (4, 0, later(minutes=46))


def test_a_silence_of_more_than_an_hour_within_a_day_is_a_gap_and_a_night_is_none():
    assert row(fact(EPOCH), fact(later(hours=2)), fact(later(hours=4))).gaps == 2
    assert row(fact(EPOCH), fact(later(hours=20))).gaps == 0


def test_what_was_recovered_counts_and_is_read_for_nothing_else_in_any_order():
    live = [fact(EPOCH), fact(later(minutes=10))]
    lost = [fact(later(minutes=4), source="recovery"), fact(later(hours=-9), source="recovery")]
    told = row(*live, *lost)
    assert (told.events, told.recovered) == (4, 2)
    assert (told.first_event_at, told.last_event_at) == (EPOCH, later(minutes=10))
    assert row(*lost, *live) == row(lost[1], live[0], lost[0], live[1]) == told


def test_of_a_host_that_was_never_heard_live_the_recovered_span_is_told():
    told = row(fact(later(hours=1), source="recovery"), fact(EPOCH, source="recovery"))
    assert (told.first_event_at, told.last_event_at) == (EPOCH, later(hours=1))


def test_the_clock_is_measured_at_new_channels_by_the_quickest_of_the_day():
    told = row(
        fact(EPOCH, behind=9),
        fact(later(seconds=30), behind=2),
        fact(later(seconds=40), behind=1, version=2),
        fact(later(seconds=50), kind="hangup", behind=1),
        fact(later(seconds=60), behind=4),
    )
    assert told.skew_s == Decimal(2)
    assert told.skew_at == later(seconds=30)
    assert row(fact(EPOCH, behind=2), fact(later(days=1), behind=-30)).skew_s == Decimal(-30)
    assert row(fact(EPOCH, behind=-30), fact(later(days=1), behind=2)).skew_s == Decimal(2), "of the last day"


def test_what_is_no_event_of_a_host_tells_nothing_of_it():
    fold = HostsFold()
    fold.see(fact(EPOCH, kind=SILENCE_OBSERVED, source="service"))
    assert fold.take() == []


def test_a_fold_made_of_its_rows_goes_on_as_if_nothing_had_been():
    facts = [fact(later(minutes=7 * n), behind=n % 5) for n in range(20)]
    whole, first, second = HostsFold(), HostsFold(), HostsFold()
    for one in facts:
        whole.see(one)
    for one in facts[:9]:
        first.see(one)
    second.remember(first.take())
    for one in facts[9:]:
        second.see(one)
    assert second.take() == whole.take()
