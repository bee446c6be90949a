"""Weak links: what one event says about whose call its leg is part of, and by what a call is found."""

import json

import pytest

from calls.entries import DirectoryChange
from calls.events import read_event
from calls.ties import RUNG, Tie, ties, traits
from tests.folding import DIRECTORY

ME = "1777885200.8"
C, CUSTOMER = "375290000101", "+375290000101"
M, MOBILE = "375290000102", "+375290000102"
STRANGER = "375290000199"
LOCAL = "Local/152@dialexecute-00000000"


def told(kind: str, unique_id: str = ME, **fields: object) -> tuple[Tie, ...]:
    event = read_event(json.dumps({"UniqueId": unique_id, **fields}).encode())
    return ties(kind, event, unique_id, DIRECTORY)


def found_by(kind: str, unique_id: str = ME, **fields: object) -> tuple[str, ...]:
    event = read_event(json.dumps({"UniqueId": unique_id, **fields}).encode())
    return traits(kind, event, unique_id, DIRECTORY)


# a leg to somebody's mobile


@pytest.mark.parametrize("kind", ["dial", "hangup"])
def test_a_leg_called_for_a_customer_belongs_to_the_customers_call(kind):
    """2-6: the customer's number stands in Extensions, whoever's mobile it is."""
    assert told(kind, CallType=1, Phone=M, Extensions=[C]) == (Tie(CUSTOMER, MOBILE, "dial"),)
    assert told(kind, CallType=1, Phone=STRANGER, Extensions=[C]) == (Tie(CUSTOMER, f"+{STRANGER}", "dial"),)
    assert told(kind, CallType=1, Phone="", Extensions=[C]) == (Tie(CUSTOMER, "", "dial"),)


@pytest.mark.parametrize("kind", ["dial", "hangup"])
def test_a_leg_called_for_a_person_belongs_to_its_call_only_where_the_number_is_a_known_mobile(kind):
    """2-26: else it is an outgoing call like any other."""
    assert told(kind, CallType=1, Phone=M, Extensions=["151"]) == (Tie("151", MOBILE, "dial"),)
    assert told(kind, CallType=1, Phone=STRANGER, Extensions=["151"]) == ()
    assert told(kind, CallType=1, Phone="", Extensions=["151"]) == ()


@pytest.mark.parametrize("call_type", [0, 2])
def test_dials_of_other_kinds_begin_or_continue_a_call_of_their_own(call_type):
    assert told("dial", CallType=call_type, Phone=M, Extensions=[C]) == ()
    assert told("dial", CallType=call_type, Phone=C, Extensions=["150", "151"]) == ()


@pytest.mark.parametrize("behalf", [[], [""], ["<unknown>"]])
def test_a_dial_for_a_withheld_number_looks_for_the_call_that_rings_the_mobile(behalf):
    assert told("dial", CallType=1, Phone=M, Extensions=behalf) == (Tie(MOBILE, "", "dial"),)
    assert told("dial", CallType=1, Phone=STRANGER, Extensions=behalf) == ()


def test_a_dial_on_behalf_of_a_line_ties_to_nobody():
    assert told("dial", CallType=1, Phone=M, Extensions=["0007001"]) == ()


def test_a_start_says_nothing_about_another_call():
    assert told("start", Phone=C, Trunk="0007001") == ()


# a hangup alone


def test_a_hangup_alone_names_the_person_who_asked():
    """1-5: Phone is the extension of whoever made the transfer; the hint is whom it rang."""
    assert told("hangup", CallType=2, CallStatus="0", Phone="151", Extensions=["152"]) == (
        Tie(ME, "", "hangup"),
        Tie("151", "152", "hangup"),
    )


def test_a_hangup_alone_that_names_the_customer_is_of_a_channel_that_was_moved_on():
    """2-8, 1-6: such a leg may have had bridges of its own."""
    assert told("hangup", CallType=2, CallStatus="2", Phone=C, Extensions=["152"]) == (
        Tie(ME, "", "hangup"),
        Tie(CUSTOMER, "152", "moved"),
    )


@pytest.mark.parametrize("phone", ["", "<unknown>", "901", "300", "0007001"])
def test_a_hangup_alone_that_names_no_party_is_found_by_its_neighbouring_id(phone):
    """The other half of a Local pair looks for this leg's UniqueId."""
    assert told("hangup", CallType=2, CallStatus="0", Phone=phone) == (Tie(ME, "", "hangup"),)


def test_hangups_of_incoming_calls_tie_to_nobody():
    assert told("hangup", CallType=0, CallStatus="2", Phone=C, Extensions=["151"]) == ()


# Local halves


def test_the_second_half_of_a_local_pair_speaks_as_who_had_it_made():
    """2-9: CallerIDNum of ;2 is the one who asks."""
    assert told("new_callerid", Channel=f"{LOCAL};2", CallerIDNum="151", ConnectedLineNum=C) == (
        Tie("151", "152", "local"),
    )


def test_the_first_half_of_a_local_pair_sees_who_had_it_made():
    """2-24: its own number is the target's."""
    assert told("new_callerid", Channel=f"{LOCAL};1", CallerIDNum="152", ConnectedLineNum="151") == (
        Tie("151", "152", "local"),
    )


@pytest.mark.parametrize("kind", ["bridge", "bridge_leave", "new_callerid"])
def test_a_half_made_for_the_customer_belongs_to_the_customers_call(kind):
    """2-29: the pair of a mobile that is rung on the way of a blind transfer."""
    name = f"Local/{M}@5e0c71b2-00000000"
    assert told(kind, Channel=f"{name};2", CallerIDNum=C, ConnectedLineNum="300") == (
        Tie(CUSTOMER, MOBILE, "local"),
    )


def test_a_half_that_names_only_its_own_target_or_no_party_ties_to_nobody():
    assert told("bridge", Channel=f"{LOCAL};1", CallerIDNum="152", ConnectedLineNum="<unknown>") == ()
    assert told("bridge", Channel=f"{LOCAL};2", CallerIDNum="300", ConnectedLineNum="0007001") == ()
    name = f"Local/{M}@5e0c71b2-00000000"
    assert told("bridge", Channel=f"{name};1", CallerIDNum=MOBILE, ConnectedLineNum="") == ()


def test_a_half_whose_first_word_is_no_party_is_read_by_the_second():
    assert told("bridge", Channel=f"{LOCAL};2", CallerIDNum="300", ConnectedLineNum="151") == (
        Tie("151", "152", "local"),
    )


# a lone channel


def test_a_managers_lone_channel_that_sees_an_outside_number_belongs_to_that_numbers_call():
    """1-2: the manager's side of a click-to-call."""
    for kind in ("bridge", "bridge_leave", "new_callerid"):
        assert told(kind, Channel="SIP/151-00000006", CallerIDNum="151", ConnectedLineNum=C) == (
            Tie(CUSTOMER, "151", "channel"),
        )


def test_a_phone_that_a_blind_transfer_rings_belongs_to_the_call_of_the_customer_it_sees():
    """1-7: new_callerid with the Context inoffice; the phone itself takes no part in the call yet."""
    rung = {"Channel": "SIP/152-00000006", "CallerIDNum": "152", "Context": "inoffice"}
    assert told("new_callerid", ConnectedLineNum=C, **rung) == (Tie(CUSTOMER, "152", "sought"),)
    assert told("new_callerid", ConnectedLineNum="151", **rung) == ()


def test_an_outside_lone_channel_belongs_to_the_call_of_its_own_number_with_whom_it_sees():
    """1-2: the customer's side of a click-to-call."""
    assert told("bridge", Channel="SIP/0007001-00000006", CallerIDNum=C, ConnectedLineNum="151") == (
        Tie(CUSTOMER, "151", "channel"),
    )
    assert told("bridge", Channel="SIP/0007001-00000006", CallerIDNum=C, ConnectedLineNum="") == (
        Tie(CUSTOMER, "", "channel"),
    )


def test_a_lone_channel_that_sees_a_colleague_or_nobody_ties_to_nobody():
    """It is an internal call, or waits for whoever comes."""
    assert told("bridge", Channel="SIP/151-00000006", CallerIDNum="151", ConnectedLineNum="152") == ()
    assert told("bridge", Channel="SIP/151-00000006", CallerIDNum="151", ConnectedLineNum="<unknown>") == ()
    assert told("bridge", Channel="SIP/0007001-00000006", CallerIDNum="", ConnectedLineNum="151") == ()
    assert told("bridge", Channel="", CallerIDNum="151", ConnectedLineNum=C) == ()


def test_the_id_of_a_line_is_no_number():
    line = DIRECTORY.apply(DirectoryChange("line", "3887001", {"id": "3887001"}))
    body = json.dumps({"UniqueId": ME, "CallType": 1, "Phone": M, "Extensions": ["3887001"]}).encode()
    assert ties("dial", read_event(body), ME, line) == ()


# by what a call is found


def test_an_incoming_call_is_found_by_its_customer_and_by_the_mobiles_it_rings():
    assert found_by("start", Phone=C, Trunk="0007001") == (CUSTOMER,)
    assert found_by("start", Phone="<unknown>") == ()
    rung = found_by("dial", CallType=0, Phone=C, Extensions=["150", M, "151"])
    assert rung == (CUSTOMER, RUNG + "150", MOBILE, RUNG + "151")
    assert "150" not in rung, "who is only rung may be busy with something else"


def test_an_outgoing_call_is_found_by_its_caller_and_by_what_was_dialled():
    assert found_by("dial", CallType=1, Phone=C, Extensions=["151"]) == ("151", CUSTOMER)
    assert found_by("dial", CallType=1, Phone=M, Extensions=[C]) == (MOBILE,)


def test_an_internal_call_is_found_by_its_caller():
    assert found_by("dial", CallType=2, Phone="152", Extensions=["150"]) == ("152", RUNG + "150")


def test_who_is_in_a_bridge_is_found_there_and_who_is_only_rung_is_not():
    assert found_by("bridge", Channel="SIP/151-00000006", CallerIDNum="151") == ("151",)
    assert found_by("bridge_leave", Channel="SIP/151-00000006", CallerIDNum="151") == ("151",)
    assert found_by("bridge", Channel="SIP/0007001-00000006", CallerIDNum=C) == (CUSTOMER,)
    assert found_by("new_callerid", Channel="SIP/151-00000006", CallerIDNum="151") == ()


def test_an_answering_hangup_of_an_incoming_call_names_who_talked():
    assert found_by("hangup", CallType=0, CallStatus="2", Phone=C, Extensions=["151"]) == ("151",)
    assert found_by("hangup", CallType=0, CallStatus="0", Phone=C, Extensions=["151"]) == ()


@pytest.mark.parametrize(("half", "neighbour"), [(";1", "1777885200.9"), (";2", "1777885200.7")])
def test_a_half_of_a_pair_is_found_by_the_id_of_the_other(half, neighbour):
    for kind in ("bridge", "bridge_leave", "new_callerid"):
        assert found_by(kind, Channel=LOCAL + half, CallerIDNum="152") == (neighbour,)


@pytest.mark.parametrize("unique_id", ["x", "1777885200", "1777885200.x", "1777885200.²"])
def test_an_id_without_a_counter_has_no_neighbour(unique_id):
    assert found_by("bridge", unique_id, Channel=f"{LOCAL};1") == ()
