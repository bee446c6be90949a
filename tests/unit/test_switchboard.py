"""The switchboard: which legs are in which bridge, which belong together, which one leads."""

import json
from datetime import UTC, datetime

import pytest

from calls.events import read_event
from calls.facts import SILENCE_OBSERVED, Fact, leg_stream
from calls.switchboard import Move, Route, Switchboard, age
from tests.folding import DIRECTORY

AT = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
LOCAL = "Local/152@dialexecute-00000000"
A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"


class Board:
    """A switchboard that is told events in a short form."""

    def __init__(self) -> None:
        self.board = Switchboard(DIRECTORY)

    def tell(self, kind: str, unique_id: str = "", bridge: str = "", **fields: object) -> Route:
        body = json.dumps({"UniqueId": unique_id, "BridgeUniqueid": bridge, **fields}).encode()
        fact = Fact(1, "0367", leg_stream(unique_id), 1, kind, "live", AT, AT, body)
        return self.board.route(fact, read_event(body))

    def calls(self, *unique_ids: str) -> set[frozenset[str]]:
        return {frozenset(self.board.members(unique_id)) for unique_id in unique_ids}


@pytest.fixture
def board() -> Board:
    return Board()


def test_ids_are_ordered_by_epoch_and_counter_as_numbers():
    ids = ["1777885200.10", "1777885200.9", "x", "1777885199.99", "1777885200", "", "1777885200.²"]
    assert sorted(ids, key=age) == [
        "1777885199.99",
        "1777885200",
        "1777885200.9",
        "1777885200.10",
        "",
        "1777885200.²",
        "x",
    ]


# where a fact goes


def test_a_leg_gets_its_own_events_and_first_of_all_itself_as_leader(board):
    assert board.tell("start", A) == Route((A,), moves=(Move(A, "", A),))
    assert board.tell("dial", A) == Route((A,))
    assert board.board.leader(A) == A
    assert board.board.knows(A)
    assert not board.board.knows(B)


def test_an_id_is_read_without_the_spaces_around_it(board):
    board.tell("start", A)
    assert board.tell("hangup", f" {A} ") == Route((A,))


def test_the_end_of_a_bridge_goes_to_whoever_is_in_it(board):
    board.tell("bridge_create", bridge="A")
    board.tell("bridge", B, "A")
    board.tell("bridge", A, "A")
    board.tell("bridge", C, "A")
    board.tell("bridge_leave", C, "A")
    assert board.tell("bridge_destroy", bridge="A") == Route((A, B))
    assert board.tell("bridge_destroy", bridge="A") == Route(())
    assert board.tell("bridge_destroy", bridge="never seen") == Route(())


def test_an_id_in_the_end_of_a_bridge_is_tolerated(board):
    """One emulated pattern puts an id there (events.md 3)."""
    board.tell("bridge", A, "A")
    assert board.tell("bridge_destroy", C, "A") == Route((A,))
    assert not board.board.knows(C)


def test_who_moved_on_is_not_told_of_the_end_of_its_former_bridge(board):
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A")
    board.tell("bridge", A, "B")
    assert board.tell("bridge_destroy", bridge="A") == Route((B,))
    assert board.tell("bridge_destroy", bridge="B") == Route((A,))


def test_entering_a_destroyed_bridge_does_not_count_but_links(board):
    board.tell("bridge", A, "A")
    board.tell("bridge_destroy", bridge="A")
    late = board.tell("bridge", B, "A")
    assert late.legs == (B,)
    assert not late.counts
    assert board.calls(A, B) == {frozenset({A, B})}
    assert board.tell("bridge_destroy", bridge="A") == Route(())


def test_an_observation_goes_to_its_leg_while_that_is_known(board):
    fact = Fact(1, "0367", leg_stream(A), 1, SILENCE_OBSERVED, "service", AT, AT, b"{}")
    assert board.board.route(fact, None) == Route(())
    board.tell("start", A)
    assert board.board.route(fact, None) == Route((A,))


# strong links


def test_those_who_entered_or_left_one_bridge_belong_together(board):
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A")
    board.tell("bridge_leave", C, "A")
    assert board.calls(A, B, C) == {frozenset({A, B, C})}


def test_those_who_were_in_a_bridge_one_after_the_other_belong_together(board):
    board.tell("bridge", A, "A")
    board.tell("bridge_leave", A, "A")
    board.tell("bridge", B, "A")
    assert board.calls(A, B) == {frozenset({A, B})}


def test_both_halves_of_a_local_name_belong_together(board):
    board.tell("new_callerid", A, Channel=f"{LOCAL};1")
    board.tell("new_callerid", B, Channel=f"{LOCAL};2")
    board.tell("new_callerid", C, Channel="Local/152@dialexecute-00000001;1")
    assert board.calls(A, B, C) == {frozenset({A, B}), frozenset({C})}


def test_a_channel_that_is_renamed_keeps_the_pair_of_its_first_name(board):
    board.tell("new_callerid", A, Channel=f"{LOCAL};1")
    board.tell("bridge", A, Channel="Local/9@x-00000009;1")
    board.tell("new_callerid", B, Channel=f"{LOCAL};2")
    board.tell("new_callerid", C, Channel="Local/9@x-00000009;2")
    assert board.calls(A, B, C) == {frozenset({A, B, C})}


def test_equal_linkedids_belong_together(board):
    board.tell("start", A, Linkedid=A)
    board.tell("dial", B, Linkedid=f" {A} ")
    board.tell("dial", C, Linkedid="")
    assert board.calls(A, B, C) == {frozenset({A, B}), frozenset({C})}


def test_links_are_passed_on(board):
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "B")
    board.tell("bridge", C, "C")
    board.tell("bridge", B, "A")
    joined = board.tell("bridge", C, "B")
    assert board.calls(A, B, C) == {frozenset({A, B, C})}
    assert joined.moves == (Move(C, C, A),)


def test_bridges_without_a_name_link_nobody(board):
    board.tell("bridge", A)
    board.tell("bridge", B)
    board.tell("bridge_leave", C)
    assert len(board.calls(A, B, C)) == 3


# who leads


def test_everybody_who_has_a_new_leader_is_named_with_the_old_one(board):
    board.tell("bridge", B, "A")
    board.tell("bridge", C, "A")
    assert board.board.leader(C) == B
    late = board.tell("bridge", A, "A", Exten="151", CallerIDNum="152")
    assert sorted(late.moves, key=lambda move: move.unique_id) == [
        Move(A, "", A),
        Move(B, B, A),
        Move(C, B, A),
    ]


def test_the_leader_is_chosen_by_rank_and_not_by_age(board):
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", Exten="151", CallerIDNum="152")
    assert board.board.leader(A) == B, "the caller's channel before an older one"
    board.tell("dial", C, CallType=1, Extensions=["151"])
    board.tell("bridge", C, "A")
    assert board.board.leader(A) == C, "who dialled before the caller's channel"
    board.tell("start", A)
    assert board.board.leader(C) == A, "the leg with the start before all"


def test_of_equal_rank_the_oldest_leads_whoever_came_first(board):
    board.tell("dial", "1777885200.10", CallType=1, Extensions=["151"])
    board.tell("bridge", "1777885200.10", "A")
    board.tell("dial", "1777885200.9", CallType=1, Extensions=["151"])
    board.tell("bridge", "1777885200.9", "A")
    assert board.board.leader("1777885200.10") == "1777885200.9"


def test_a_dial_for_a_customer_on_the_way_to_a_mobile_does_not_lead(board):
    """Extensions of a mobile's leg hold the customer's number (events.md 4, dial)."""
    board.tell("dial", A, CallType=1, Phone="375290000102", Extensions=["375290000101"])
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", Exten="375290000101", CallerIDNum="151")
    assert board.board.leader(A) == B


@pytest.mark.parametrize(
    "fields", [{"CallerIDNum": "375290000101", "Exten": "0007001"}, {"CallerIDNum": "152"}]
)
def test_an_outside_channel_and_one_that_dialled_nothing_are_no_callers(board, fields):
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", **fields)
    assert board.board.leader(B) == A


def test_a_rank_is_never_lost(board):
    board.tell("start", B)
    board.tell("dial", B, CallType=1, Extensions=["375290000101"])
    board.tell("bridge", B, "A")
    board.tell("dial", A, CallType=1, Extensions=["151"])
    board.tell("bridge", A, "A")
    assert board.board.leader(A) == B


# forgetting


def test_what_was_forgotten_leaves_nothing_behind(board):
    board.tell("start", A, Linkedid="L", Channel="SIP/0007001-1")
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", Channel=f"{LOCAL};1")
    board.tell("bridge", C, "A", Channel=f"{LOCAL};2")
    board.tell("bridge", B, "B")
    board.board.forget([A, B, C, "never seen"])
    assert len(board.board) == 0
    for index in (board.board._bridges, board.board._pairs, board.board._linked):
        assert index == {}
    assert board.tell("bridge", A, "A") == Route((A,), moves=(Move(A, "", A),))


def test_forgetting_one_call_leaves_the_others(board):
    board.tell("bridge", A, "A", Linkedid="one")
    board.tell("bridge", B, "B", Linkedid="other")
    board.board.forget([A])
    board.tell("bridge", C, "B")
    assert board.calls(B, C) == {frozenset({B, C})}
    assert board.tell("bridge_destroy", bridge="B").legs == (B, C)
