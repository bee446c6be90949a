"""Who was together with whom, and when."""

from datetime import UTC, datetime, timedelta

from calls.legs import Hangup, Leg, Moment, Visit
from calls.parties import Party
from calls.rooms import gatherings, without_leaves

BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
LOCAL = "Local/152@dialexecute-00000000"


def at(position: int) -> Moment:
    return Moment(position, BEGUN + timedelta(seconds=position))


def leg(
    unique_id: str,
    *visits: tuple[str, int, int | None],
    hung_up: int | None = None,
    leaves: bool = False,
    channel: str = "",
) -> Leg:
    hangup = Hangup("0", "2", "", (), "", "", "", False, at(hung_up)) if hung_up else None
    return Leg(
        unique_id=unique_id,
        first=at(1),
        last=at(99),
        visits=tuple(Visit(bridge, at(came), at(left) if left else None) for bridge, came, left in visits),
        hangup=hangup,
        leaves=leaves,
        channel=channel,
    )


def together(*legs: Leg) -> list[tuple[int, int | None, tuple[str, ...]]]:
    people = {one.unique_id: Party("local" if one.local_pair else "person") for one in legs}
    known = {one.unique_id: one for one in legs}
    return [
        (found.since.position, found.until.position if found.until else None, found.legs)
        for found in gatherings(without_leaves(known), people)
    ]


def test_two_in_one_bridge_are_together_from_the_later_entering_to_the_earlier_leaving():
    assert together(leg("a", ("A", 1, 9)), leg("b", ("A", 3, 7))) == [(3, 7, ("a", "b"))]


def test_nobody_is_together_in_two_bridges_or_at_two_times():
    assert together(leg("a", ("A", 1, 9)), leg("b", ("B", 3, 7))) == []
    assert together(leg("a", ("A", 1, 3)), leg("b", ("A", 4, 7))) == []
    assert together(leg("a", ("A", 1, None))) == []


def test_bridges_without_a_name_hold_one_leg_each():
    assert together(leg("a", ("", 1, None)), leg("b", ("", 2, None))) == []


def test_who_comes_and_goes_makes_new_gatherings():
    found = together(leg("a", ("A", 1, 9)), leg("b", ("A", 2, 9)), leg("c", ("A", 4, 6)))
    assert found == [(2, 4, ("a", "b")), (4, 6, ("a", "b", "c")), (6, 9, ("a", "b"))]


def test_a_move_to_another_bridge_ends_one_gathering_and_may_begin_the_next():
    found = together(leg("a", ("A", 1, 5), ("B", 5, 9)), leg("b", ("A", 2, 9)), leg("c", ("B", 3, 9)))
    assert found == [(2, 5, ("a", "b")), (5, 9, ("c", "a"))]


def test_bridges_joined_by_a_local_pair_are_one_room():
    found = together(
        leg("main", ("A", 1, 9)),
        leg("L1", ("A", 3, 9), channel=f"{LOCAL};1"),
        leg("152", ("C", 2, 8)),
        leg("L2", ("C", 2, 8), channel=f"{LOCAL};2"),
    )
    assert found == [(3, 8, ("main", "152"))]


def test_two_pairs_join_three_bridges():
    other = "Local/300@inoffice-00000001"
    found = together(
        leg("main", ("A", 1, 9)),
        leg("L1", ("A", 1, 9), channel=f"{LOCAL};1"),
        leg("L2", ("B", 1, 9), channel=f"{LOCAL};2"),
        leg("K1", ("B", 1, 9), channel=f"{other};1"),
        leg("K2", ("C", 1, 9), channel=f"{other};2"),
        leg("mobile", ("C", 2, 9)),
    )
    assert found == [(2, 9, ("main", "mobile"))]


def test_halves_of_different_pairs_join_nothing():
    found = together(
        leg("main", ("A", 1, 9)),
        leg("L1", ("A", 1, 9), channel=f"{LOCAL};1"),
        leg("K2", ("C", 1, 9), channel="Local/153@dialexecute-00000007;2"),
        leg("153", ("C", 2, 9)),
    )
    assert found == []


# hosts that send no bridge_leave


def test_without_leaves_a_hangup_takes_its_leg_out_and_who_is_left_alone_is_gone():
    assert together(leg("a", ("A", 1, None), hung_up=9), leg("b", ("A", 2, None))) == [(2, 9, ("a", "b"))]


def test_where_leaves_are_told_a_hangup_takes_nobody_out():
    assert together(leg("a", ("A", 1, None), hung_up=9, leaves=True), leg("b", ("A", 2, None))) == [
        (2, None, ("a", "b"))
    ]


def test_a_hangup_takes_the_other_half_of_its_local_pair_along():
    found = together(
        leg("main", ("A", 1, None)),
        leg("L1", ("A", 2, None), channel=f"{LOCAL};1"),
        leg("L2", ("C", 3, None), channel=f"{LOCAL};2", hung_up=9),
        leg("152", ("C", 4, None)),
    )
    assert found == [(4, 9, ("main", "152"))]


def test_two_who_are_left_talk_on():
    found = together(leg("a", ("A", 1, None), hung_up=9), leg("b", ("A", 2, None)), leg("c", ("A", 3, None)))
    assert found == [(2, 3, ("a", "b")), (3, 9, ("a", "b", "c")), (9, None, ("b", "c"))]


def test_a_hangup_that_overtook_the_bridges_does_not_hide_that_they_were_together():
    a, b = ("A", 5, None), ("A", 6, None)
    for hung_up in (1, 5, 6):
        assert together(leg("a", a, hung_up=hung_up), leg("b", b)) == [(6, 6, ("a", "b"))]
        assert together(leg("a", a), leg("b", b, hung_up=hung_up)) == [(6, 6, ("a", "b"))]


def test_nobody_hung_up_and_nothing_to_read_differently():
    legs = {"a": leg("a", ("A", 1, None)), "b": leg("b", ("A", 2, None))}
    assert without_leaves(legs) is legs
