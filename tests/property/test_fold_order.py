"""The same events in another order, repeated, or with one missing: what may change of the settled call, and what not.

DESIGN (Legs and conversations): the same events in another order, those of one leg and of one bridge keeping
theirs, hangups free, give the same settled call.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.call import Call
from calls.directory import Directory
from calls.events import identity, read_event
from calls.facts import Fact
from calls.scenarios import Scenario, catalogue
from projections.calls import CallsFold
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, facts, played_facts, settled, truth

BEGUN = EPOCH.timestamp()
SCENARIOS = list(catalogue().values())
ONE_RUN = settings(max_examples=30, deadline=None)
OTHER_CAST = {"C": "375290000201", "M": "375290000202", "L1": "0007011", "L2": "0007012"}
OTHER_PEOPLE = {"150": "250", "151": "251", "152": "252", "153": "253", "901": "902", "300": "301"}

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
every_host = pytest.mark.parametrize("least", [False, True], ids=["full", "least"])


def events_of(scenario: Scenario, least: bool, seed: int = 1) -> list[Fact]:
    return played_facts(scenario.events(BEGUN, seed, least=least))


def arriving(order: Iterable[Fact], enterprise: str = ENTERPRISE) -> list[Fact]:
    """The events as if they had arrived in this order, one a second."""
    return facts(
        ((fact.kind, fact.body, EPOCH + timedelta(seconds=second)) for second, fact in enumerate(order)),
        enterprise,
    )


def row(call: Call) -> tuple[object, ...]:
    """All that is to be the same, whatever the order: every column but times."""
    return call.call_id, truth(call), call.legs, call.phase, call.source


def only(calls: Sequence[Call]) -> Call:
    assert len(calls) == 1, [call.call_id for call in calls]
    return calls[0]


# order


def places(fact: Fact) -> set[str]:
    """The leg and the bridge whose order an event belongs to."""
    unique_id, bridge_id = identity(read_event(fact.body))
    whole_bridge = fact.kind in {"bridge_create", "bridge_destroy"} and bridge_id
    told = {f"bridge {bridge_id}"} if bridge_id else set()
    return told if whole_bridge else told | {f"leg {unique_id}"}


@st.composite
def orders(draw: st.DrawFn, told: Sequence[Fact]) -> list[Fact]:
    """Those of one leg and of one bridge keep their order; a hangup may overtake everything."""
    where = [places(fact) for fact in told]
    waits = [
        set()
        if fact.kind == "hangup"
        else {earlier for earlier in range(place) if where[earlier] & where[place]}
        for place, fact in enumerate(told)
    ]
    left, order = list(range(len(told))), []
    while left:
        ready = [place for place in left if waits[place].isdisjoint(left)]
        place = ready[draw(st.integers(0, len(ready) - 1))]
        left.remove(place)
        order.append(told[place])
    return order


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_another_order_settles_in_the_same_row(scenario, least, data):
    told = events_of(scenario, least)
    order = data.draw(orders(told))
    assert row(only(settled(arriving(order)))) == row(only(settled(told)))


@every_scenario
@every_host
def test_a_hangup_that_overtakes_everything_settles_in_the_same_row(scenario, least):
    told = events_of(scenario, least)
    first = [fact for fact in told if fact.kind == "hangup"]
    order = first + [fact for fact in told if fact.kind != "hangup"]
    assert row(only(settled(arriving(order)))) == row(only(settled(told)))


# repetition


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_repeated_and_reordered_events_change_nothing(scenario, least, data):
    told = events_of(scenario, least)
    order = data.draw(orders(told))
    at_once = data.draw(st.lists(st.integers(1, 3), min_size=len(order), max_size=len(order)))
    late = data.draw(st.lists(st.sampled_from(order), max_size=4))
    repeated = [fact for fact, times in zip(order, at_once, strict=True) for _ in range(times)]
    assert row(only(settled(arriving(repeated + late)))) == row(only(settled(told)))


@every_scenario
@every_host
def test_the_whole_call_delivered_twice_is_one_call(scenario, least):
    told = events_of(scenario, least)
    assert row(only(settled(arriving(told + told)))) == row(only(settled(told)))


# loss


@every_scenario
@every_host
def test_a_lost_event_invents_nobody_and_makes_no_second_call(scenario, least):
    told = events_of(scenario, least)
    whole = only(settled(told))
    last_hangup = max(place for place, fact in enumerate(told) if fact.kind == "hangup")
    for lost in set(range(len(told))) - {last_hangup}:
        call = only(settled(arriving(told[:lost] + told[lost + 1 :])))
        assert call.settled
        assert set(call.talked) <= set(whole.talked)
        assert call.answered_by in {None, whole.answered_by}
        assert set(call.rung) <= set(whole.rung)
        assert (call.outcome == "answered") <= (whole.outcome == "answered")
        assert call.direction == whole.direction


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_with_several_events_lost_nobody_is_invented(scenario, least, data):
    told = events_of(scenario, least)
    whole = only(settled(told))
    keep = data.draw(st.lists(st.booleans(), min_size=len(told), max_size=len(told)))
    for call in settled(arriving(fact for fact, kept in zip(told, keep, strict=True) if kept)):
        assert set(call.talked) <= set(whole.talked)
        assert call.answered_by in {None, whole.answered_by}
        # Without its dial, its hangup and the caller's own bridge an outgoing call looks like an incoming one.
        assert call.direction != whole.direction or set(call.rung) <= set(whole.rung)


# answered stays answered


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_answered_stays_answered_after_every_event(scenario, least, data):
    order = arriving(data.draw(orders(events_of(scenario, least))))
    known: tuple[str, ...] = ()
    answered = False
    for count in range(1, len(order) + 1):
        for call in settled(order[:count]):
            assert known == call.talked[: len(known)]
            assert answered <= (call.phase in {"talking", "ended"} and call.answered_by is not None)
            known = call.talked
            answered = call.answered_by is not None


# several calls at once


def other_people(played):
    """The same scenario among other people of the enterprise."""
    text = json.dumps([event.body for event in played])
    for mine, theirs in OTHER_PEOPLE.items():
        text = text.replace(f'"{mine}"', f'"{theirs}"').replace(f"SIP/{mine}-", f"SIP/{theirs}-")
    return [
        msgspec.structs.replace(event, body=body)
        for event, body in zip(played, json.loads(text), strict=True)
    ]


def rows_with_times(calls: Iterable[Call]) -> list[Call]:
    return [msgspec.structs.replace(call, last_position=0) for call in calls]


@st.composite
def pairs(draw: st.DrawFn):
    """Two scenarios of one moment with other ids, the second among other people; and how they are interleaved."""
    least = draw(st.booleans())
    one = draw(st.sampled_from(SCENARIOS)).events(BEGUN, 1, least=least)
    other = draw(st.sampled_from(SCENARIOS)).events(BEGUN + 1, 500, least=least, cast=OTHER_CAST)
    mine, theirs = played_facts(one), played_facts(other_people(other), EPOCH + timedelta(seconds=1))
    turns = draw(st.permutations([True] * len(mine) + [False] * len(theirs)))
    return mine, theirs, turns


def merged(mine: list[Fact], theirs: list[Fact], turns: list[bool]) -> list[Fact]:
    one, other = iter(mine), iter(theirs)
    order = [next(one) if turn else next(other) for turn in turns]
    return [msgspec.structs.replace(fact, position=place) for place, fact in enumerate(order, 1)]


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_two_calls_at_once_in_one_enterprise_are_what_each_is_alone(pair):
    mine, theirs, turns = pair
    together = rows_with_times(settled(merged(mine, theirs, turns)))
    alone = rows_with_times([*settled(mine), *settled(theirs)])
    assert sorted(together, key=lambda call: call.call_id) == sorted(alone, key=lambda call: call.call_id)


@settings(max_examples=60, deadline=None)
@given(pairs(), st.data())
def test_equal_ids_in_two_enterprises_stay_apart(pair, data):
    mine, _, _ = pair
    there = [msgspec.structs.replace(fact, enterprise="0999") for fact in mine]
    turns = data.draw(st.permutations([True] * len(mine) + [False] * len(there)))
    fold = CallsFold()
    fold.exchange(ENTERPRISE).board.directory = DIRECTORY
    for fact in merged(mine, there, turns):
        fold.apply(fact)
    rows = fold.take()
    assert rows.gone == []
    calls = {call.enterprise: msgspec.structs.replace(call, last_position=0) for call in rows.calls}
    assert len(rows.calls) == len(calls) == 2
    assert calls[ENTERPRISE] == only(rows_with_times(settled(mine)))
    assert calls["0999"] == only(rows_with_times(settled(there, Directory.empty("0999"))))
