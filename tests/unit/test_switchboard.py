"""The switchboard: which legs are in which bridge, which belong together, which one leads."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.events import read_event
from calls.facts import SILENCE_OBSERVED, Fact, leg_stream
from calls.groups import Move, Route
from calls.guests import BEHIND
from calls.switchboard import Switchboard
from calls.unique_ids import age, began
from tests.folding import DIRECTORY

AT = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
LOCAL = "Local/152@dialexecute-00000000"
A, B, C, D = "1777885200.1", "1777885201.2", "1777885202.3", "1777885203.4"
CUSTOMER, MOBILE, STRANGER = "375290000101", "375290000102", "375290000199"


class Board:
    """A switchboard that is told events in a short form."""

    def __init__(self) -> None:
        self.board = Switchboard(DIRECTORY)

    def tell(
        self, kind: str, unique_id: str = "", bridge: str = "", second: float = 0, **fields: object
    ) -> Route:
        body = json.dumps({"UniqueId": unique_id, "BridgeUniqueid": bridge, **fields}).encode()
        at = AT + timedelta(seconds=second)
        fact = Fact(1, "0367", leg_stream(unique_id), 1, kind, "live", at, at, body)
        return self.board.route(fact, read_event(body))

    def silent(self, unique_id: str) -> Route:
        fact = Fact(1, "0367", leg_stream(unique_id), 1, SILENCE_OBSERVED, "service", AT, AT, b"{}")
        return self.board.route(fact, None)

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


def test_a_name_that_is_given_again_after_a_restart_of_asterisk_joins_nobody_to_the_former_pair(board):
    """The names of Local pairs begin anew: the same name, ids an hour apart."""
    later, twin = "1777888800.1", "1777888801.2"
    board.tell("new_callerid", A, Channel=f"{LOCAL};1")
    board.tell("new_callerid", B, Channel=f"{LOCAL};2")
    board.tell("new_callerid", later, second=3600, Channel=f"{LOCAL};1")
    board.tell("new_callerid", twin, second=3600, Channel=f"{LOCAL};2")
    assert board.calls(A, later) == {frozenset({A, B}), frozenset({later, twin})}
    board.tell("bridge_leave", A, second=3601, Channel=f"{LOCAL};1")
    assert board.calls(A, later) == {frozenset({A, B}), frozenset({later, twin})}


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


# weak links: a leg finds the call that it is part of

Told = tuple[str, str, str, dict[str, object]]


def incoming(*rung: str) -> list[Told]:
    """The customer (A) talks with 151 (B) in bridge A."""
    return [
        ("start", A, "", {"Phone": CUSTOMER, "Trunk": "0007001"}),
        ("dial", A, "", {"CallType": 0, "Phone": CUSTOMER, "Extensions": list(rung or ["150", "151"])}),
        ("bridge", A, "A", {"Channel": "SIP/0007001-00000001", "CallerIDNum": CUSTOMER}),
        ("bridge", B, "A", {"Channel": "SIP/151-00000002", "CallerIDNum": "151"}),
    ]


def clicked(board: Board) -> None:
    """151 (A) was rung by a CRM, then the customer dialled on another channel (B)."""
    board.tell("bridge", A, "A", Channel="SIP/151-00000001", CallerIDNum="151", ConnectedLineNum=CUSTOMER)
    board.tell("dial", B, CallType=1, Phone=CUSTOMER, Extensions=["151"])


def all_told(board: Board, events: list[Told]) -> Board:
    for kind, unique_id, bridge, fields in events:
        board.tell(kind, unique_id, bridge, **fields)
    return board


HALF = "1777885202.3"
ASKED = {"CallType": 2, "CallStatus": "0", "Phone": "151", "Extensions": ["152"]}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": [CUSTOMER]}),
        ("hangup", {"CallType": 1, "CallStatus": "0", "Phone": MOBILE, "Extensions": [CUSTOMER]}),
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": ["151"]}),
        ("hangup", ASKED),
        ("hangup", {**ASKED, "Phone": CUSTOMER}),
        ("new_callerid", {"Channel": f"{LOCAL};2", "CallerIDNum": "151"}),
        ("new_callerid", {"Channel": f"{LOCAL};1", "CallerIDNum": "152", "ConnectedLineNum": "151"}),
        ("new_callerid", {"Channel": "SIP/152-9", "Context": "inoffice", "ConnectedLineNum": CUSTOMER}),
    ],
    ids=[
        "called for the customer",
        "its end alone",
        "called for a person to a known mobile",
        "hangup alone by the person",
        "hangup alone by the customer",
        "second half of a pair",
        "first half of a pair",
        "phone rung by a blind transfer",
    ],
)
def test_a_leg_without_a_beginning_is_the_guest_of_the_running_call_that_it_names(board, kind, fields):
    all_told(board, incoming())
    route = board.tell(kind, C, **fields)
    assert route.moves == (Move(C, "", A),)
    assert board.calls(C) == {frozenset({A, B, C})}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("dial", {"CallType": 1, "Phone": STRANGER, "Extensions": ["151"]}),
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": ["152"]}),
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": [STRANGER]}),
        ("hangup", {**ASKED, "Phone": "152"}),
        ("hangup", {**ASKED, "Phone": "150"}),
        ("new_callerid", {"Channel": f"{LOCAL};2", "CallerIDNum": "153"}),
        ("new_callerid", {"Channel": "SIP/152-00000009", "CallerIDNum": "152", "ConnectedLineNum": STRANGER}),
    ],
)
def test_a_leg_that_names_nobody_of_a_running_call_is_on_its_own(board, kind, fields):
    """150 is only rung: it may be busy with something else."""
    all_told(board, incoming())
    board.tell(kind, C, **fields)
    assert board.calls(C) == {frozenset({C})}


@pytest.mark.parametrize(("half", "lone"), [(";1", "1777885201.3"), (";2", "1777885201.1")])
def test_a_hangup_alone_finds_the_other_half_of_its_pair_by_the_neighbouring_id(board, half, lone):
    board.tell("start", A, Phone=CUSTOMER)
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", Channel=LOCAL + half, CallerIDNum="300")
    board.tell("hangup", lone, CallType=2, CallStatus="0", Phone="")
    others = age(lone) > age(B)
    assert (lone in board.board.members(A)) == others, "who asks was there first"


def test_both_sides_of_a_click_to_call_find_the_dial(board):
    clicked(board)
    assert board.calls(A) == {frozenset({A, B})}
    board.tell("bridge", C, "C", Channel="SIP/0007001-00000003", CallerIDNum=CUSTOMER, ConnectedLineNum="151")
    assert board.calls(A) == {frozenset({A, B, C})}
    assert board.board.leader(A) == B


def test_a_lone_channel_that_looks_for_a_call_finds_it_when_the_call_comes(board):
    board.tell("bridge", A, "A", Channel="SIP/151-00000001", CallerIDNum="151", ConnectedLineNum=CUSTOMER)
    dial = board.tell("dial", B, CallType=1, Phone=CUSTOMER, Extensions=["151"])
    assert set(dial.moves) == {Move(A, A, B), Move(B, "", B)}


def test_a_call_dialled_an_hour_later_does_not_host_a_lone_channel(board):
    """Told late, by recovery or when it is woken: the dial of a click-to-call follows within seconds."""
    later = "1777888800.1"
    board.tell("dial", later, second=3600, CallType=1, Phone=CUSTOMER, Extensions=["151"])
    alone = {"Channel": "SIP/151-00000001", "CallerIDNum": "151", "ConnectedLineNum": CUSTOMER}
    board.tell("bridge", A, "A", second=3601, **alone)
    assert board.calls(A) == {frozenset({A})}


def test_a_lone_channel_belongs_to_no_call_in_which_only_the_customer_takes_part(board):
    """Both numbers of a click-to-call must: somebody else may be ringing the same customer."""
    board.tell("dial", A, CallType=1, Phone=CUSTOMER, Extensions=["152"])
    board.tell("bridge", B, "B", Channel="SIP/151-1", CallerIDNum="151", ConnectedLineNum=CUSTOMER)
    assert board.calls(A, B) == {frozenset({A}), frozenset({B})}


# weak links give way


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("start", {"Phone": STRANGER}), ("dial", {"CallType": 2, "Phone": "151", "Extensions": ["152"]})],
)
def test_a_guest_that_shows_a_beginning_is_on_its_own_again(board, kind, fields):
    all_told(board, incoming())
    board.tell("hangup", C, **ASKED)
    assert board.calls(C) == {frozenset({A, B, C})}
    route = board.tell(kind, C, **fields)
    assert route.moves == (Move(C, A, C),)
    assert board.calls(A, C) == {frozenset({A, B}), frozenset({C})}


@pytest.mark.parametrize(
    ("kind", "bridge", "fields"),
    [
        ("bridge", "C", {"Channel": "SIP/151-00000009", "CallerIDNum": "151"}),
        ("bridge_leave", "C", {"Channel": "SIP/151-00000009", "CallerIDNum": "151"}),
        ("dial", "", {"CallType": 2, "Phone": "151", "Extensions": ["152"]}),
    ],
)
def test_a_hangup_only_leg_that_turns_out_to_be_more_is_no_guest(board, kind, bridge, fields):
    """A phone's own second line, with bridges of its own, is a call of its own."""
    all_told(board, incoming())
    board.tell("hangup", C, **ASKED)
    route = board.tell(kind, C, bridge, **fields)
    assert route.moves == (Move(C, A, C),)
    assert board.calls(A, C) == {frozenset({A, B}), frozenset({C})}


def test_a_leg_that_has_shown_more_before_its_hangup_is_no_guest(board):
    all_told(board, incoming())
    board.tell("bridge", C, "C", Channel="SIP/151-00000009", CallerIDNum="151")
    board.tell("hangup", C, **ASKED)
    assert board.calls(A, C) == {frozenset({A, B}), frozenset({C})}


def test_a_lone_channel_that_is_no_longer_alone_with_a_colleague_is_no_guest(board):
    all_told(board, incoming())
    board.tell("bridge", C, "C", Channel="SIP/151-00000009", CallerIDNum="151", ConnectedLineNum=CUSTOMER)
    assert board.calls(C) == {frozenset({A, B, C})}
    board.tell("bridge", D, "C", Channel="SIP/153-00000010", CallerIDNum="153")
    assert board.calls(A, C) == {frozenset({A, B}), frozenset({C, D})}


def test_a_guest_that_a_strong_link_joins_to_another_call_goes_there(board):
    all_told(board, incoming())
    board.tell("hangup", C, **ASKED)
    board.tell("start", D, Phone=STRANGER)
    board.tell("bridge", D, "D")
    route = board.tell("bridge_leave", C, "D")
    assert route.moves == (Move(C, A, D),)
    assert board.calls(A, D) == {frozenset({A, B}), frozenset({C, D})}


def test_a_guest_joined_by_a_strong_link_to_a_leg_without_a_beginning_brings_it_along(board):
    all_told(board, incoming())
    board.tell("dial", C, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    board.tell("bridge", C, "C")
    route = board.tell("bridge", D, "C", Channel="SIP/0007001-00000010", CallerIDNum=MOBILE)
    assert route.moves == (Move(D, "", A),)
    assert board.calls(A) == {frozenset({A, B, C, D})}


def test_the_guests_of_a_call_go_with_it_when_it_joins_another(board):
    all_told(board, incoming())
    board.tell("hangup", C, **ASKED)
    board.tell("start", "1777885100.9", Phone=STRANGER)
    board.tell("bridge", "1777885100.9", "A")
    assert {board.board.leader(leg) for leg in (A, B, C)} == {"1777885100.9"}


# candidates


def two_calls_of_one_customer(board: Board) -> None:
    for unique_id in (A, B):
        board.tell("start", unique_id, Phone=CUSTOMER)


def test_two_candidates_that_tie_make_no_link(board):
    two_calls_of_one_customer(board)
    board.tell("dial", C, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A, B, C) == {frozenset({A}), frozenset({B}), frozenset({C})}


def test_of_two_candidates_the_one_that_rings_the_mobile_gets_the_leg(board):
    two_calls_of_one_customer(board)
    board.tell("dial", B, CallType=0, Phone=CUSTOMER, Extensions=["150", MOBILE])
    board.tell("dial", C, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A, C) == {frozenset({A}), frozenset({B, C})}


def test_a_leg_between_two_candidates_finds_its_call_when_one_of_them_rings_the_mobile(board):
    two_calls_of_one_customer(board)
    board.tell("dial", C, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    board.tell("dial", B, CallType=0, Phone=CUSTOMER, Extensions=["150", MOBILE])
    board.tell("hangup", C, CallType=1, CallStatus="0", Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A, C) == {frozenset({A}), frozenset({B, C})}


def test_of_two_candidates_the_one_in_which_that_person_is_in_a_bridge_gets_the_leg(board):
    for unique_id, bridge in ((A, "A"), (B, "B")):
        board.tell(
            "bridge", unique_id, bridge, Channel=f"SIP/151-{bridge * 8}", CallerIDNum="151", Exten="152"
        )
    board.tell("bridge_leave", A, "A")
    board.tell("hangup", C, **ASKED)
    assert board.calls(A, C) == {frozenset({A}), frozenset({B, C})}


def test_a_call_that_began_after_the_leg_is_not_the_legs(board):
    board.tell("dial", A, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    board.tell("start", B, Phone=CUSTOMER)
    assert board.calls(A, B) == {frozenset({A}), frozenset({B})}


# a call that was over before


def over(board: Board, end_time: str, **more: object) -> None:
    """The customer's call A, which has hung up."""
    board.tell("start", A, Phone=CUSTOMER)
    board.tell("hangup", A, second=20, CallType=0, CallStatus="0", Phone=CUSTOMER, EndTime=end_time, **more)


def host_text(unique_id: str, second: int) -> str:
    """The host's wall clock (UTC+3) so long after it made this id."""
    start = began(unique_id)
    assert start is not None
    return f"{start + timedelta(hours=3, seconds=second):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(("second", "belongs"), [(20, True), (21, True), (22, False)])
def test_by_the_hosts_clock_a_call_that_was_over_before_a_leg_began_does_not_host_it(board, second, belongs):
    """Whatever our own clock says of when both were told."""
    board.board.directory = DIRECTORY.fold([])
    over(board, host_text(A, 20))
    leg = f"{1777885200 + second}.9"
    board.tell("dial", leg, second=20, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert (leg in board.board.members(A)) == belongs


@pytest.mark.parametrize(("beyond", "belongs"), [(0, True), (1, False)])
def test_by_our_clock_a_call_that_was_over_long_before_a_leg_was_told_does_not_host_it(
    board, beyond, belongs
):
    over(board, "")
    second = 20 + BEHIND.total_seconds() + beyond
    board.tell("dial", "1777885230.9", second=second, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert ("1777885230.9" in board.board.members(A)) == belongs


def test_a_call_that_fell_silent_hosts_nobody(board):
    board.tell("start", A, Phone=CUSTOMER)
    board.silent(A)
    board.tell("dial", B, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A, B) == {frozenset({A}), frozenset({B})}


def test_a_call_that_is_heard_of_after_a_silence_hosts_again(board):
    board.tell("start", A, Phone=CUSTOMER)
    board.silent(A)
    board.tell("dial", A, CallType=0, Phone=CUSTOMER, Extensions=["150"])
    board.tell("dial", B, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A) == {frozenset({A, B})}


def test_a_call_in_which_somebody_is_still_seen_in_a_bridge_is_not_over_though_its_leader_hung_up(board):
    """1-4: the customer talks on with the second manager after the main hangup."""
    all_told(board, incoming())
    board.tell("bridge_leave", D, "A")
    board.tell("hangup", A, CallType=0, CallStatus="2", Phone=CUSTOMER, EndTime=host_text(A, 5))
    late = "1777885500.9"
    board.tell("hangup", late, second=1, **ASKED)
    assert late in board.board.members(A)


# doubt


@pytest.mark.parametrize(
    ("kind", "fields", "doubtful"),
    [
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": [CUSTOMER]}, True),
        ("dial", {"CallType": 1, "Phone": MOBILE, "Extensions": ["151"]}, True),
        ("dial", {"CallType": 1, "Phone": STRANGER, "Extensions": ["151"]}, False),
        ("new_callerid", {"Channel": f"{LOCAL};2", "CallerIDNum": "151"}, True),
        ("start", {"Phone": CUSTOMER}, False),
        ("hangup", ASKED, False),
        ("bridge", {"Channel": "SIP/151-00000001", "ConnectedLineNum": CUSTOMER}, False),
    ],
)
def test_a_leg_that_may_well_belong_to_another_call_is_in_doubt(board, kind, fields, doubtful):
    board.tell(kind, A, **fields)
    assert board.board.in_doubt(A) == doubtful


def test_a_dial_of_somebody_who_talks_in_another_call_is_in_doubt_until_that_has_ended(board):
    all_told(board, incoming())
    board.tell("dial", C, CallType=1, Phone=STRANGER, Extensions=["151"])
    assert board.calls(C) == {frozenset({C})}
    assert board.board.in_doubt(C)
    assert not board.board.in_doubt(A)
    board.tell("bridge_leave", B, "A")
    assert not board.board.in_doubt(C)


@pytest.mark.parametrize(
    ("kind", "bridge", "fields"),
    [("bridge", "C", {}), ("hangup", "", {"CallType": 1, "CallStatus": "0", "Phone": MOBILE})],
)
def test_a_bridge_or_a_hangup_decides(board, kind, bridge, fields):
    board.tell("dial", A, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    board.tell(kind, A, bridge, **fields)
    assert not board.board.in_doubt(A)


def test_who_found_its_call_is_not_in_doubt_nor_is_anybody_unknown(board):
    all_told(board, incoming())
    board.tell("dial", C, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert not board.board.in_doubt(C)
    assert not board.board.in_doubt("never seen")


# whatever comes

IDS = [f"{1777885200 + 4 * (number // 2)}.{number}" for number in range(1, 9)]
NUMBERS = [CUSTOMER, MOBILE, STRANGER, "150", "151", "152", "300", ""]
CHANNELS = [
    "SIP/0007001-00000001",
    "SIP/150-00000001",
    "SIP/151-00000001",
    f"{LOCAL};1",
    f"{LOCAL};2",
    f"Local/{MOBILE}@5e0c71b2-00000001;1",
    f"Local/{MOBILE}@5e0c71b2-00000001;2",
    "",
]


@st.composite
def events(draw: st.DrawFn) -> Told:
    kind = draw(
        st.sampled_from(
            ["start", "dial", "bridge", "bridge", "bridge_leave", "new_callerid", "hangup", "silence"]
        )
    )
    number = st.sampled_from(NUMBERS)
    unique_id = draw(st.sampled_from(IDS))
    if kind in {"start", "dial", "hangup"}:
        fields = {"CallType": draw(st.integers(0, 2)), "Phone": draw(number), "Extensions": [draw(number)]}
        fields["CallStatus"] = draw(st.sampled_from(["0", "2"]))
        fields["EndTime"] = draw(st.sampled_from(["", host_text(unique_id, 5)]))
        return kind, unique_id, "", fields
    bridge = draw(st.sampled_from(["A", "B", ""])) if kind.startswith("bridge") else ""
    fields = {name: draw(number) for name in ("CallerIDNum", "ConnectedLineNum", "Exten")}
    return kind, unique_id, bridge, {**fields, "Channel": draw(st.sampled_from(CHANNELS))}


def fold(board: Board, told: list[Told]) -> dict[str, str]:
    """Leaders as whoever listens to the moves knows them, after each of these events compared to the board."""
    leaders: dict[str, str] = {}
    for second, (kind, unique_id, bridge, fields) in enumerate(told):
        route = (
            board.silent(unique_id)
            if kind == "silence"
            else board.tell(kind, unique_id, bridge, second, **fields)
        )
        assert len({move.unique_id for move in route.moves}) == len(route.moves)
        for move in route.moves:
            assert move.old == leaders.get(move.unique_id, "")
            assert move.new != move.old, "only who has another leader than before is named"
            leaders[move.unique_id] = move.new
        assert leaders == {leg: board.board.leader(leg) for leg in leaders}
        assert board.board.knows(unique_id) == (unique_id in leaders)
    return leaders


@settings(max_examples=400, deadline=None)
@given(st.lists(events(), max_size=25))
def test_moves_name_exactly_the_legs_whose_leader_changed(told):
    board = Board()
    leaders = fold(board, told)
    assert len(board.board) == len(leaders)
    for leg, leader in leaders.items():
        assert board.board.leader(leader) == leader, "who leads follows nobody: there are no cycles"
        members = board.board.members(leg)
        assert len(set(members)) == len(members)
        assert set(members) == {other for other, whom in leaders.items() if whom == leader}


@settings(max_examples=200, deadline=None)
@given(st.lists(events(), max_size=25))
def test_when_every_call_was_forgotten_nothing_is_left(told):
    board = Board()
    leaders = fold(board, told)
    for leader in dict.fromkeys(leaders.values()):
        board.board.forget(board.board.members(leader))
    nothing_left(board.board)


def test_who_stopped_looking_for_a_call_leaves_no_name_behind(board):
    board.tell("bridge", A, "A", Channel="SIP/151-1", CallerIDNum="151", ConnectedLineNum=CUSTOMER)
    board.tell("dial", A, CallType=1, Phone=CUSTOMER, Extensions=["151"])
    board.board.forget([A])
    nothing_left(board.board)


def test_a_call_that_was_long_over_when_somebody_looked_for_it_leaves_no_name_behind(board):
    over(board, "")
    board.tell("dial", B, second=90, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    board.board.forget([A])
    board.board.forget([B])
    nothing_left(board.board)


@settings(max_examples=200, deadline=None)
@given(st.lists(events(), max_size=20), st.lists(events(), max_size=8), st.integers(0, 7))
def test_a_forgotten_call_leaves_the_moves_of_the_others_right(told, more, which):
    board = Board()
    leaders = fold(board, told)
    left = list(dict.fromkeys(leaders.values()))
    if left:
        gone = board.board.members(left[which % len(left)])
        board.board.forget(gone)
        leaders = {leg: leader for leg, leader in leaders.items() if leg not in gone}
    assert leaders == {leg: board.board.leader(leg) for leg in leaders}
    for second, (kind, unique_id, bridge, fields) in enumerate(more, 30):
        if kind != "silence":
            for move in board.tell(kind, unique_id, bridge, second, **fields).moves:
                assert move.old == leaders.get(move.unique_id, "")
                leaders[move.unique_id] = move.new
    assert leaders == {leg: board.board.leader(leg) for leg in leaders}


def test_two_legs_that_name_each_other_make_no_circle(board):
    """151's phone sees the mobile, the mobile's leg is called for 151."""
    board.tell("bridge", A, "A", Channel="SIP/151-00000001", CallerIDNum="151", ConnectedLineNum=MOBILE)
    board.tell("dial", B, CallType=1, Phone=MOBILE, Extensions=["151"])
    board.tell("bridge", A, "A", Channel="SIP/151-00000001", CallerIDNum="151", ConnectedLineNum=MOBILE)
    board.tell("hangup", B, CallType=1, CallStatus="0", Phone=MOBILE, Extensions=["151"])
    assert board.calls(A) == {frozenset({A, B})}
    assert board.board.leader(board.board.leader(A)) == board.board.leader(B)


# forgetting


def nothing_left(board: Switchboard) -> None:
    assert len(board) == 0
    for index in (board._bridges, board._pairs, board._linked, board._guests._known, board._guests._tied):
        assert index == {}


def test_a_forgotten_call_with_guests_leaves_nothing_behind(board):
    all_told(board, incoming("150", MOBILE))
    board.tell("hangup", C, **ASKED)
    board.tell("dial", D, CallType=1, Phone=MOBILE, Extensions=[CUSTOMER])
    assert board.calls(A) == {frozenset({A, B, C, D})}
    board.board.forget(board.board.members(D))
    nothing_left(board.board)
    board.tell("hangup", C, **ASKED)
    assert board.calls(C) == {frozenset({C})}


def test_what_was_forgotten_leaves_nothing_behind(board):
    board.tell("start", A, Linkedid="L", Channel="SIP/0007001-1")
    board.tell("bridge", A, "A")
    board.tell("bridge", B, "A", Channel=f"{LOCAL};1")
    board.tell("bridge", C, "A", Channel=f"{LOCAL};2")
    board.tell("bridge", B, "B")
    board.board.forget([A, B, C, "never seen"])
    nothing_left(board.board)
    assert board.tell("bridge", A, "A") == Route((A,), moves=(Move(A, "", A),))


def test_forgetting_one_call_leaves_the_others(board):
    board.tell("bridge", A, "A", Linkedid="one")
    board.tell("bridge", B, "B", Linkedid="other")
    board.board.forget([A])
    board.tell("bridge", C, "B")
    assert board.calls(B, C) == {frozenset({B, C})}
    assert board.tell("bridge_destroy", bridge="B").legs == (B, C)
