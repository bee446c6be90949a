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
from calls.entries import DirectoryChange
from calls.events import identity, read_event
from calls.exchange import Exchange
from calls.facts import Fact
from calls.scenarios import Scenario, catalogue
from projections.calls import CallsFold
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, ended, facts, played_facts, settled, truth

BEGUN = EPOCH.timestamp()
SCENARIOS = list(catalogue().values())
ONE_RUN = settings(max_examples=12, deadline=None)
OTHER_CAST = {"C": "375290000201", "M": "375290000202", "L1": "0007011", "L2": "0007012"}
OTHER_PEOPLE = {"150": "250", "151": "251", "152": "252", "153": "253", "901": "902", "300": "301"}
EVERYBODY = DIRECTORY.fold(
    [
        DirectoryChange("manager", "250", {"extension": "250", "mobile": "+375290000202"}),
        DirectoryChange("department", "902", {"number": "902", "members": ["250", "251", "253"]}),
        DirectoryChange("follow_me", "301", {"number": "301", "extension": "250", "mobile": "+375290000202"}),
    ]
)
"""The directory with the other people in it."""

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
    return call.call_id, truth(call), call.legs, call.phase, call.source, call.lost_to


def rows(calls: Iterable[Call]) -> list[tuple[object, ...]]:
    return sorted(map(row, calls))


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
    chance = draw(st.randoms(use_true_random=False))
    while left:
        ready = [place for place in left if waits[place].isdisjoint(left)]
        place = chance.choice(ready)
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
    assert rows(ended(arriving(order))) == rows(ended(told))


@every_scenario
@every_host
def test_every_hangup_may_come_earlier(scenario, least):
    told = events_of(scenario, least)
    whole = rows(ended(told))
    for place, fact in enumerate(told):
        if fact.kind == "hangup":
            rest = told[:place] + told[place + 1 :]
            for earlier in range(place):
                order = [*rest[:earlier], fact, *rest[earlier:]]
                assert rows(ended(arriving(order))) == whole


@every_scenario
@every_host
def test_hangups_that_overtake_everything_settle_in_the_same_row(scenario, least):
    told = events_of(scenario, least)
    first = [fact for fact in told if fact.kind == "hangup"]
    order = first + [fact for fact in told if fact.kind != "hangup"]
    assert rows(ended(arriving(order))) == rows(ended(told))


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
    assert rows(ended(arriving(repeated + late))) == rows(ended(told))


@every_scenario
@every_host
def test_the_whole_call_delivered_twice_is_one_call(scenario, least):
    told = events_of(scenario, least)
    assert rows(ended(arriving(told + told))) == rows(ended(told))


# loss


def name_of(told: list[Fact], lost: int) -> str:
    """A lost event as a test names it: its kind, and which of that kind it is."""
    kind = told[lost].kind
    return f"{kind} {sum(fact.kind == kind for fact in told[: lost + 1])}"


SPLIT: dict[tuple[str, str], str] = {}
"""Where the only trace of a link is lost with an event, one call looks like two: (scenario, event) and why."""


@every_scenario
@every_host
def test_a_lost_event_invents_nobody_and_makes_no_second_call(scenario, least):
    told = events_of(scenario, least)
    whole = ended(told)
    talked = {one for call in whole for one in call.talked}
    asked = {one for call in whole for one in (*call.rung, *call.consulted)} | talked
    last_hangup = max(place for place, fact in enumerate(told) if fact.kind == "hangup")
    for lost in sorted(set(range(len(told))) - {last_hangup}):
        name = name_of(told, lost)
        calls = ended(arriving(told[:lost] + told[lost + 1 :]))
        assert (len(calls) > len(whole)) == ((scenario.id, name) in SPLIT), name
        for call in calls:
            assert call.settled
            assert set(call.talked) <= talked, name
            assert set(call.rung) <= asked, name
            assert set(call.consulted) <= asked, name
            assert call.direction in {one.direction for one in whole}, name
            if not talked:
                assert call.outcome in {"missed", "not_answered"}, name
        assert any(call.customer == whole[0].customer for call in calls), name


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_with_several_events_lost_nobody_is_invented(scenario, least, data):
    told = events_of(scenario, least)
    whole = settled(told)
    chance = data.draw(st.randoms(use_true_random=False))
    known = {one for call in whole for one in (*call.talked, *call.rung, *call.consulted, call.caller)}
    for call in settled(arriving(fact for fact in told if chance.random() < 0.7)):
        assert set(call.talked) <= known
        assert call.answered_by in {None, *known}


# answered stays answered


@every_scenario
@every_host
@ONE_RUN
@given(data=st.data())
def test_answered_stays_answered_after_every_event(scenario, least, data):
    exchange = Exchange(DIRECTORY)
    answered: set[str] = set()
    for fact in arriving(data.draw(orders(events_of(scenario, least)))):
        exchange.apply(fact)
        changes = exchange.take()
        for call in changes.calls.values():
            if call.call_id in answered:
                assert call.phase in {"talking", "ended"}
                assert call.answered_by is not None
            if call.answered_by:
                answered.add(call.call_id)
        answered -= changes.gone


# several calls at once


def other_people(played):
    """The same scenario among other people of the enterprise."""
    text = json.dumps([event.body for event in played])
    for mine, theirs in OTHER_PEOPLE.items():
        text = text.replace(f'"{mine}"', f'"{theirs}"').replace(f"SIP/{mine}-", f"SIP/{theirs}-")
        text = text.replace(f"Local/{mine}@", f"Local/{theirs}@")
    return [
        msgspec.structs.replace(event, body=body)
        for event, body in zip(played, json.loads(text), strict=True)
    ]


def rows_with_times(calls: Iterable[Call]) -> list[Call]:
    return sorted(
        (msgspec.structs.replace(call, last_position=0) for call in calls), key=lambda call: call.call_id
    )


@st.composite
def pairs(draw: st.DrawFn):
    """Two scenarios of one moment with other ids, the second among other people; and how they are interleaved."""
    least = draw(st.booleans())
    one = draw(st.sampled_from(SCENARIOS)).events(BEGUN, 1, least=least)
    other = draw(st.sampled_from(SCENARIOS)).events(BEGUN + 1, 500, least=least, cast=OTHER_CAST)
    mine, theirs = played_facts(one), played_facts(other_people(other), EPOCH + timedelta(seconds=1))
    turns = [True] * len(mine) + [False] * len(theirs)
    draw(st.randoms(use_true_random=False)).shuffle(turns)
    return mine, theirs, turns


def merged(mine: list[Fact], theirs: list[Fact], turns: list[bool]) -> list[Fact]:
    one, other = iter(mine), iter(theirs)
    order = [next(one) if turn else next(other) for turn in turns]
    return [msgspec.structs.replace(fact, position=place) for place, fact in enumerate(order, 1)]


@settings(max_examples=250, deadline=None)
@given(pairs())
def test_two_calls_at_once_in_one_enterprise_are_what_each_is_alone(pair):
    mine, theirs, turns = pair
    together = rows_with_times(settled(merged(mine, theirs, turns), EVERYBODY))
    alone = rows_with_times([*settled(mine, EVERYBODY), *settled(theirs, EVERYBODY)])
    assert together == alone


@settings(max_examples=80, deadline=None)
@given(pairs(), st.data())
def test_equal_ids_in_two_enterprises_stay_apart(pair, data):
    mine, _, _ = pair
    there = [msgspec.structs.replace(fact, enterprise="0999") for fact in mine]
    turns = [True] * len(mine) + [False] * len(there)
    data.draw(st.randoms(use_true_random=False)).shuffle(turns)
    nobody = Directory.empty("0999")
    fold = CallsFold()
    fold.exchange(ENTERPRISE).board.directory = DIRECTORY
    for fact in merged(mine, there, turns):
        fold.apply(fact)
    found = fold.take()
    assert found.gone == []
    assert rows_with_times(call for call in found.calls if call.enterprise == ENTERPRISE) == rows_with_times(
        settled(mine)
    )
    assert rows_with_times(call for call in found.calls if call.enterprise == "0999") == rows_with_times(
        settled(there, nobody)
    )
