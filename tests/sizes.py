"""Bytes that what is made keeps allocated, by what Python has allocated (tracemalloc)."""

import gc
import tracemalloc
from collections.abc import Callable, Iterable, Sequence

import msgspec

from calls.call import Call
from calls.events import read_event
from calls.facts import Fact
from calls.legs import Leg, fold


def grown_by(make: Callable[[], object]) -> tuple[int, object]:
    """Bytes that stay allocated by what ``make`` gives back."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        return tracemalloc.get_traced_memory()[0], made
    finally:
        tracemalloc.stop()


def state_of(facts: Iterable[Fact], calls: Sequence[Call]) -> int:
    """Bytes of the legs that these facts make, and of calls such as these."""
    shown = msgspec.json.encode(calls)
    return grown_by(lambda: (_legs(facts), msgspec.json.decode(shown, type=list[Call])))[0]


def _legs(facts: Iterable[Fact]) -> list[Leg]:
    legs: dict[str, Leg] = {}
    for fact in facts:
        kind, _, unique_id = fact.stream.partition("/")
        if kind == "leg":
            legs[unique_id] = fold(legs.get(unique_id), fact, read_event(fact.body), unique_id)
    return list(legs.values())
