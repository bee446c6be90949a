"""Who was together with the other party of a call, and when."""

import random
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from calls.legs import Hangup, Leg, Moment, Visit
from calls.parties import Party
from calls.rooms import meetings, without_leaves

BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
LOCAL = "Local/152@dialexecute-00000000"
OTHER_LOCAL = "Local/300@inoffice-00000001"

Stay = tuple[str, int, int | None]
Met = list[tuple[str, int, int | None]]


def at(position: int) -> Moment:
    return Moment(position, BEGUN + timedelta(seconds=position))


def leg(
    unique_id: str, *stays: Stay, hung_up: int | None = None, leaves: bool = False, channel: str = ""
) -> Leg:
    known = Leg(unique_id, at(1), at(99))
    known.visits = tuple(Visit(bridge, at(came), at(left) if left else None) for bridge, came, left in stays)
    known.hangup = Hangup(status="2", when=at(hung_up)) if hung_up else None
    known.leaves, known.channel = leaves, channel
    return known


def pair(near: Collection[Stay], far: Collection[Stay], name: str = LOCAL) -> tuple[Leg, Leg]:
    """Both halves of a Local channel."""
    one, other = f"{name[-1]}1", f"{name[-1]}2"
    return leg(one, *near, channel=f"{name};1"), leg(other, *far, channel=f"{name};2")


def met(*legs: Leg, other: Collection[str] = ("main",), joined: Collection[str] = ()) -> Met:
    """Whom ``other`` met: leg, since, until; everybody is a person named as the leg."""
    known = {one.unique_id: one for one in legs}
    people = {name: Party("local" if one.local_pair else "person", name) for name, one in known.items()}
    seen = without_leaves(known, "main")
    return [
        (found.leg, found.since.position, found.until.position if found.until else None)
        for found in meetings(seen, people, other, joined)
    ]


# one bridge


def test_two_in_one_bridge_meet_from_the_later_entering_to_the_earlier_leaving():
    assert met(leg("main", ("A", 1, 9)), leg("151", ("A", 3, 7))) == [("151", 3, 7)]
    assert met(leg("main", ("A", 3, 7)), leg("151", ("A", 1, 9))) == [("151", 3, 7)]
    assert met(leg("main", ("A", 1, None)), leg("151", ("A", 2, None))) == [("151", 2, None)]


def test_nobody_meets_in_two_bridges_or_alone():
    assert met(leg("main", ("A", 1, 9)), leg("151", ("B", 3, 7))) == []
    assert met(leg("main", ("A", 1, None))) == []


def test_one_who_came_after_the_other_had_left_did_not_meet_it():
    """Within a bridge the order of arrival is the order in which it happened."""
    assert met(leg("main", ("A", 1, 3)), leg("151", ("A", 4, 7))) == []
    assert met(leg("main", ("A", 4, 7)), leg("151", ("A", 1, 3))) == []


def test_bridges_without_a_name_hold_one_leg_each():
    assert met(leg("main", ("", 1, None)), leg("151", ("", 2, None))) == []


def test_everybody_who_comes_is_met_for_as_long_as_it_stays():
    found = met(leg("main", ("A", 1, 9)), leg("151", ("A", 2, 8)), leg("152", ("A", 4, 6)))
    assert found == [("151", 2, 8), ("152", 4, 6)]


def test_the_people_of_the_enterprise_do_not_meet_one_another():
    found = met(leg("main", ("A", 1, 9)), leg("151", ("B", 2, 8)), leg("152", ("B", 2, 8)))
    assert found == []


def test_the_legs_of_the_other_party_do_not_meet_each_other():
    found = met(leg("main", ("A", 1, 9)), leg("ext", ("A", 2, 9)), other=("main", "ext"))
    assert found == []


def test_whom_another_bridge_holds_is_met_after_the_move_to_it():
    found = met(leg("main", ("A", 1, 5), ("B", 5, 9)), leg("151", ("A", 2, 9)), leg("152", ("B", 3, 9)))
    assert found == [("151", 2, 5), ("152", 5, 9)]


def test_who_goes_and_comes_back_is_met_twice():
    found = met(leg("main", ("A", 1, 9)), leg("151", ("A", 2, 4), ("B", 4, 6), ("A", 6, 9)))
    assert found == [("151", 2, 4), ("151", 6, 9)]


def test_a_joined_leg_meets_the_other_party_from_another_bridge():
    """1-2: a click-to-call has the manager in one bridge and the customer in the other."""
    manager, customer = leg("151", ("A", 1, 9)), leg("main", ("B", 4, 8))
    assert met(customer, manager, joined=("151",)) == [("151", 4, 8)]
    assert met(customer, manager) == []


# rooms of several bridges


def test_bridges_joined_by_a_local_pair_are_one_room():
    found = met(
        leg("main", ("A", 1, 9)),
        *pair([("A", 3, 9)], [("C", 2, 8)]),
        leg("152", ("C", 2, 8)),
    )
    assert found == [("152", 3, 8)]


def test_two_pairs_join_three_bridges():
    found = met(
        leg("main", ("A", 1, 9)),
        *pair([("A", 1, 9)], [("B", 1, 9)]),
        *pair([("B", 1, 9)], [("C", 1, 9)], OTHER_LOCAL),
        leg("mobile", ("C", 2, 9)),
        leg("150", ("B", 4, 6)),
    )
    assert sorted(found) == [("150", 4, 6), ("mobile", 2, 9)], "bridges of their own prove no order"


def test_halves_of_different_pairs_join_nothing():
    found = met(
        leg("main", ("A", 1, 9)),
        leg("L1", ("A", 1, 9), channel=f"{LOCAL};1"),
        leg("K2", ("C", 1, 9), channel=f"{OTHER_LOCAL};2"),
        leg("153", ("C", 2, 9)),
    )
    assert found == []


def test_a_pair_that_was_never_in_the_other_partys_bridge_lets_nobody_meet_it():
    """2-7: who was asked and refused talked with the manager alone, in the bridges of the question."""
    found = met(
        leg("main", ("A", 1, 9)),
        leg("151", ("A", 2, 3), ("B", 3, 7), ("A", 7, 9)),
        *pair([("B", 3, 7)], [("C", 4, 6)]),
        leg("152", ("C", 4, 6)),
    )
    assert found == [("151", 2, 3), ("151", 7, 9)]


def test_who_left_before_the_pair_was_moved_into_the_customers_bridge_is_not_met():
    """The half's own order proves it: it leaves one bridge and enters the next."""
    found = met(
        leg("main", ("A", 1, 20)),
        *pair([("B", 3, 8), ("A", 10, 20)], [("C", 4, 6), ("D", 9, 20)]),
        leg("152", ("C", 4, 5)),
        leg("150", ("D", 9, 20)),
    )
    assert found == [("150", 10, 20)]


def test_who_left_the_pairs_bridge_before_the_half_came_into_it_is_not_met():
    found = met(
        leg("main", ("A", 1, 20)),
        *pair([("A", 10, 20)], [("C", 12, 20)]),
        leg("152", ("C", 4, 11)),
        leg("150", ("C", 13, 20)),
    )
    assert found == [("150", 13, 20)]


def test_who_is_in_the_other_partys_own_bridge_is_not_met_through_a_pair_as_well():
    """2-8: the one who takes over is in the customer's bridge at last, and was behind the pair before."""
    found = met(
        leg("main", ("A", 1, 6), ("C", 7, 9)),
        *pair([("A", 5, 8)], [("C", 2, 8)]),
        leg("152", ("C", 3, 9)),
    )
    assert found == [("152", 7, 9)]


# another order of arrival


def stays_of(*legs: Leg) -> list[tuple[int, str, int, bool]]:
    """Every entering and leaving: position, leg, which stay, whether it enters."""
    steps = []
    for one in legs:
        for number, visit in enumerate(one.visits):
            steps.append((visit.entered.position, one.unique_id, number, True))
            if visit.left is not None:
                steps.append((visit.left.position, one.unique_id, number, False))
    return sorted(steps)


def arriving(legs: tuple[Leg, ...], draw: random.Random) -> tuple[Leg, ...]:
    """The same events in another order that keeps those of one leg and of one bridge."""
    steps = stays_of(*legs)
    bridge_of = {one.unique_id: [visit.bridge for visit in one.visits] for one in legs}

    def ties(step: tuple[int, str, int, bool]) -> set[str]:
        return {f"leg {step[1]}", f"bridge {bridge_of[step[1]][step[2]]}"}

    order = []
    while steps:
        ready = [
            step for place, step in enumerate(steps) if not any(ties(step) & ties(s) for s in steps[:place])
        ]
        order.append(draw.choice(ready))
        steps.remove(order[-1])
    places = {
        (unique_id, number, enters): 10 * n for n, (_, unique_id, number, enters) in enumerate(order, 1)
    }
    return tuple(
        leg(
            one.unique_id,
            *(
                (visit.bridge, places[one.unique_id, n, True], places.get((one.unique_id, n, False)))
                for n, visit in enumerate(one.visits)
            ),
            channel=one.channel,
            leaves=True,
        )
        for one in legs
    )


TAKEN_OVER = (
    leg("main", ("A", 10, 90), ("C", 100, 140)),
    leg("151", ("A", 20, 30), ("B", 40, 70)),
    leg("L1", ("B", 45, 72), ("A", 75, 120), channel=f"{LOCAL};1"),
    leg("L2", ("C", 50, 110), channel=f"{LOCAL};2"),
    leg("152", ("C", 60, 130)),
)
"""2-8: 151 asks 152, who takes the customer over."""
REFUSED = (
    leg("main", ("A", 10, 140)),
    leg("151", ("A", 20, 30), ("B", 40, 100), ("A", 110, 130)),
    leg("L1", ("B", 45, 105), channel=f"{LOCAL};1"),
    leg("L2", ("C", 50, 80), channel=f"{LOCAL};2"),
    leg("152", ("C", 60, 70)),
)
"""2-7: 151 asks 152, who refuses."""
THROUGH_A_PAIR = (
    leg("main", ("A", 10, 140)),
    leg("151", ("A", 20, 30), ("B", 40, 70)),
    leg("L1", ("B", 45, 72), ("A", 75, 120), channel=f"{LOCAL};1"),
    leg("L2", ("C", 50, 110), channel=f"{LOCAL};2"),
    leg("152", ("C", 60, 130)),
)
"""152 talks with the customer through the pair to the end."""
THROUGH_TWO_PAIRS = (
    leg("main", ("A", 10, 140)),
    leg("L1", ("A", 20, 130), channel=f"{LOCAL};1"),
    leg("L2", ("B", 30, 120), channel=f"{LOCAL};2"),
    leg("K1", ("B", 40, 115), channel=f"{OTHER_LOCAL};1"),
    leg("K2", ("C", 50, 110), channel=f"{OTHER_LOCAL};2"),
    leg("mobile", ("C", 60, 100)),
)


@pytest.mark.parametrize(
    ("legs", "people"),
    [
        (TAKEN_OVER, ["151", "152"]),
        (REFUSED, ["151", "151"]),
        (THROUGH_A_PAIR, ["151", "152"]),
        (THROUGH_TWO_PAIRS, ["mobile"]),
    ],
    ids=["taken over", "refused", "through a pair", "through two pairs"],
)
def test_events_of_other_bridges_that_change_places_give_the_same_people_in_the_same_order(legs, people):
    told = [name for name, _, _ in met(*legs)]
    assert told == people
    draw = random.Random(20260504)
    for _ in range(300):
        other = arriving(legs, draw)
        assert [name for name, _, _ in met(*other)] == people, stays_of(*other)


@pytest.mark.parametrize("swap", list(combinations(range(5), 2)), ids=str)
def test_legs_that_are_given_in_another_order_meet_the_same(swap):
    one, other = swap
    legs = list(TAKEN_OVER)
    legs[one], legs[other] = legs[other], legs[one]
    assert met(*legs) == met(*TAKEN_OVER)


# many legs


def test_a_hundred_legs_with_local_pairs_in_one_bridge_are_told_at_once():
    """Every way through the pairs is not walked: their number would grow with their factorial."""
    legs = [leg("main", ("A", 1, 900))]
    for number in range(50):
        name = f"Local/{100 + number}@dialexecute-{number:08x}"
        legs.append(leg(f"a{number}", ("A", 2 + number, 900), channel=f"{name};1"))
        legs.append(leg(f"b{number}", ("A", 60 + number, 900), channel=f"{name};2"))
    legs.append(leg("151", ("A", 200, 900)))
    began = time.process_time()
    found = met(*legs)
    assert time.process_time() - began < 2
    assert found == [("151", 200, 900)]


def test_a_hundred_local_pairs_to_a_bridge_of_their_own_are_told_at_once():
    legs = [leg("main", ("A", 1, 900))]
    for number in range(100):
        name = f"Local/{100 + number}@dialexecute-{number:08x}"
        legs.append(leg(f"a{number}", ("A", 2 + number, 900), channel=f"{name};1"))
        legs.append(leg(f"b{number}", (f"B{number}", 200 + number, 900), channel=f"{name};2"))
        legs.append(leg(f"p{number}", (f"B{number}", 400 + number, 900)))
    began = time.process_time()
    found = met(*legs)
    assert time.process_time() - began < 2
    assert sorted(name for name, _, _ in found) == sorted(f"p{number}" for number in range(100))


def test_a_chain_of_fifty_local_pairs_is_followed_to_its_end():
    legs = [leg("main", ("0", 1, 900))]
    for number in range(50):
        name = f"Local/{100 + number}@dialexecute-{number:08x}"
        legs.append(leg(f"a{number}", (f"{number}", 2 + number, 900), channel=f"{name};1"))
        legs.append(leg(f"b{number}", (f"{number + 1}", 102 + number, 900), channel=f"{name};2"))
    legs.append(leg("151", ("50", 300, 900)))
    began = time.process_time()
    found = met(*legs)
    assert time.process_time() - began < 2
    assert found == [("151", 300, 900)]


# hosts that send no bridge_leave


def test_without_leaves_a_hangup_takes_its_leg_out_and_who_is_left_alone_is_gone():
    main, mgr = leg("main", ("A", 1, None)), leg("151", ("A", 2, None), hung_up=9)
    assert met(main, mgr) == [("151", 2, 9)]
    seen = without_leaves({"main": main, "151": mgr}, "main")
    assert [one.inside for one in seen.values()] == [None, None]


def test_where_leaves_are_told_a_hangup_takes_nobody_out():
    assert met(leg("main", ("A", 1, None), hung_up=9, leaves=True), leg("151", ("A", 2, None))) == [
        ("151", 2, None)
    ]


def test_a_hangup_takes_the_other_half_of_its_local_pair_along():
    found = met(
        leg("main", ("A", 1, None)),
        leg("L1", ("A", 2, None), channel=f"{LOCAL};1"),
        leg("L2", ("C", 3, None), channel=f"{LOCAL};2", hung_up=9),
        leg("152", ("C", 4, None)),
    )
    assert found == [("152", 4, 9)]


def test_two_who_are_left_talk_on():
    found = met(
        leg("151", ("A", 1, None), hung_up=9), leg("main", ("A", 2, None)), leg("152", ("A", 3, None))
    )
    assert found == [("151", 2, 9), ("152", 3, None)]


def test_after_the_leaders_hangup_who_was_alone_all_the_time_is_gone_as_well():
    main, alone = leg("main", ("A", 1, 3), hung_up=9), leg("152", ("B", 4, None))
    seen = without_leaves({"main": main, "152": alone}, "main")
    assert seen["152"].visits[-1].left == at(9)
    assert without_leaves({"main": main, "152": alone}, "152")["152"].inside is not None


def test_after_the_leaders_hangup_one_left_with_a_half_that_leads_to_nobody_is_gone():
    legs = (
        leg("main", ("A", 1, None), hung_up=9),
        leg("151", ("B", 2, None)),
        leg("L1", ("B", 3, None), channel=f"{LOCAL};1"),
    )
    seen = without_leaves({one.unique_id: one for one in legs}, "main")
    assert [name for name, one in seen.items() if one.inside] == []


def test_after_the_leaders_hangup_two_joined_by_a_pair_talk_on():
    legs = (
        leg("main", ("A", 1, None), hung_up=9),
        leg("151", ("B", 2, None)),
        leg("L1", ("B", 3, None), channel=f"{LOCAL};1"),
        leg("L2", ("C", 4, None), channel=f"{LOCAL};2"),
        leg("152", ("C", 5, None)),
    )
    seen = without_leaves({one.unique_id: one for one in legs}, "main")
    assert [name for name, one in seen.items() if one.inside] == ["151", "L1", "L2", "152"]


def test_a_hangup_that_overtook_the_bridges_does_not_hide_that_they_were_together():
    main, mgr = ("A", 5, None), ("A", 6, None)
    for hung_up in (1, 5, 6):
        assert met(leg("main", main, hung_up=hung_up), leg("151", mgr)) == [("151", 6, 6)]
        assert met(leg("main", main), leg("151", mgr, hung_up=hung_up)) == [("151", 6, 6)]


def test_nobody_hung_up_and_nothing_to_read_differently():
    legs = {"a": leg("a", ("A", 1, None)), "b": leg("b", ("A", 2, None))}
    assert without_leaves(legs, "a") is legs
