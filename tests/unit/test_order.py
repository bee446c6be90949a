"""Recovered facts stand where they happened, whenever they were imported (calls.order)."""

from datetime import timedelta
from itertools import pairwise, permutations

from calls.facts import DIRECTORY_CHANGED, DIRECTORY_STREAM, Fact, leg_stream
from calls.order import in_order, place_of
from tests.memory_log import placed
from tests.storing import AT


def fact(position: int, at: float, source="live", enterprise="0367", kind="dial") -> Fact:
    stream = DIRECTORY_STREAM if kind == DIRECTORY_CHANGED else leg_stream("1757840723.6")
    when = AT + timedelta(seconds=at)
    return Fact(position, enterprise, stream, position, kind, source, when, when, b"{}")


def positions(facts: list[Fact]) -> list[int]:
    return [one.position for one in in_order(placed(facts))]


def test_facts_that_came_live_stay_as_they_came_even_where_a_clock_was_set_back():
    assert positions([fact(1, 10), fact(2, 5), fact(3, 7)]) == [1, 2, 3]


def test_a_recovered_fact_stands_before_the_first_that_occurred_later():
    assert positions([fact(1, 0), fact(2, 10), fact(3, 20), fact(4, 15, "recovery")]) == [1, 2, 4, 3]


def test_of_the_same_moment_the_one_that_came_live_is_first():
    assert positions([fact(1, 0), fact(2, 10), fact(3, 10, "recovery")]) == [1, 2, 3]


def test_imports_in_any_order_are_folded_in_one_order():
    for times in permutations((1, 2, 3, 4)):
        late = [fact(10 + place, at, "recovery") for place, at in enumerate(times)]
        told = in_order(placed([fact(1, 0), fact(2, 2.5), *late, fact(20, 9)]))
        assert [one.occurred_at for one in told] == sorted(one.occurred_at for one in told)


def test_their_order_lies_between_the_positions_around_them():
    facts = [fact(1, 0), fact(2, 10), fact(3, 4, "recovery"), fact(4, 5, "recovery"), fact(5, 20)]
    told = in_order(placed(facts))
    orders = [place_of(one) for one in told]
    assert all(one < other for one, other in pairwise(orders))
    assert orders[0] == 1
    assert orders[-2:] == [2, 5]


def test_nothing_is_told_by_an_empty_directory_where_a_first_one_came_later():
    changes = [fact(place, 100, kind=DIRECTORY_CHANGED) for place in (1, 2)]
    later = fact(5, 110, kind=DIRECTORY_CHANGED)
    told = [*changes, fact(3, 105), fact(4, 0, "recovery"), later, fact(6, 107, "recovery")]
    assert positions(told) == [1, 2, 4, 3, 6, 5]


def test_enterprises_have_clocks_of_their_own():
    facts = [fact(1, 50), fact(2, 0, enterprise="0368"), fact(3, 10, "recovery", "0368"), fact(4, 60)]
    assert positions([*facts, fact(5, 20, enterprise="0368")]) == [1, 2, 3, 4, 5]
