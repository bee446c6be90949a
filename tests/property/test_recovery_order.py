"""What was lost and recovered, in pieces and in any order, folds to the row that it would have made live."""

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.call import Call
from calls.facts import Fact
from calls.order import in_order
from calls.scenarios import catalogue
from tests.folding import DIRECTORY, EPOCH, ended, played_facts, settled
from tests.memory_log import placed

SCENARIOS = list(catalogue().values())
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
every_host = pytest.mark.parametrize("least", [False, True], ids=["full", "least"])


def stored(live: Sequence[Fact], pieces: Iterable[Sequence[Fact]]) -> list[Fact]:
    """As a store has them: what came live, then each piece that was imported; a stream's versions by position."""
    versions: dict[str, int] = {}
    told = [*live, *(msgspec.structs.replace(fact, source="recovery") for piece in pieces for fact in piece)]
    made = []
    for position, fact in enumerate(told, 1):
        versions[fact.stream] = versions.get(fact.stream, 0) + 1
        made.append(msgspec.structs.replace(fact, position=position, version=versions[fact.stream]))
    return made


def rows(calls: Iterable[Call]) -> list[Call]:
    return [msgspec.structs.replace(call, last_position=0, source="live") for call in calls]


def cut(events: Sequence[Fact], chance: random.Random) -> tuple[list[Fact], list[list[Fact]]]:
    """What came live, and the rest in pieces of a log that are imported in any order."""
    lost = [chance.random() < 0.5 for _ in events]
    live = [fact for fact, gone in zip(events, lost, strict=True) if not gone]
    rest = [fact for fact, gone in zip(events, lost, strict=True) if gone]
    places = sorted({0, len(rest), *(chance.randrange(len(rest) + 1) for _ in range(3))})
    pieces = [rest[begin:end] for begin, end in pairwise(places)]
    chance.shuffle(pieces)
    return live, pieces


@every_scenario
@every_host
@settings(max_examples=12, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_lost_and_recovered_is_as_if_it_had_come_live(scenario, least, chance):
    events = played_facts(scenario.events(EPOCH.timestamp(), 1, least=least))
    live, pieces = cut(events, chance)
    told = in_order(placed(stored(live, pieces)))
    assert rows(settled(told, DIRECTORY)) == rows(settled(events, DIRECTORY))
    assert rows(ended(told)) == rows(ended(events))


@every_scenario
def test_a_call_with_one_recovered_event_says_so(scenario):
    events = played_facts(scenario.events(EPOCH.timestamp(), 1))
    for place in range(0, len(events), 5):
        told = in_order(placed(stored(events[:place] + events[place + 1 :], [[events[place]]])))
        calls = settled(told, DIRECTORY)
        if events[place].stream.startswith("leg/"):
            assert any(call.source == "recovery" for call in calls) or events[place].kind == "new_callerid"
