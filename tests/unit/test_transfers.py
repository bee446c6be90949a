"""Transfers: who was asked or rung after somebody had talked, who took the call, whether it was lost by that."""

import json
from datetime import timedelta

import pytest

from calls.call import Call
from calls.conversation import _look
from calls.exchange import Exchange
from calls.facts import Fact
from calls.scenarios import Scenario
from calls.scenarios.script import Expected
from calls.transfers import Transfers, transfers
from tests.folding import DIRECTORY, EPOCH, facts, settled

M = "+375290000102"
INCOMING = """
    leg main L1 C
    start main
    dial main 0 150,151
    leg mgr 151
    create A
    enter A main 151
    enter A mgr C
    wait 5
"""
OUTGOING = """
    leg main 151
    dial main 1 151 C
    leg ext L1 C
    create A
    enter A ext 151
    enter A main <unknown> exten C
    wait 5
"""
INTERNAL = """
    leg main 152
    leg mgr 151
    create A
    enter A main 151 exten 151
    enter A mgr 152
    wait 5
"""
INCOMING_LEFT = "leave A mgr C\nleave A main 151\ndestroy A\n"
OUTGOING_LEFT = "leave A main\nleave A ext 151\ndestroy A\nhangup main 1 2 151 phone C\n"
ASKED = """
    create B
    leg ask1 {target}@dialexecute;1 {target}
    leg ask2 {target}@dialexecute;2 151
    enter B mgr C
    enter B ask1 151
    ncid ask2
    wait 9
    leave B ask1 151
    enter A mgr {target}
"""
ENDED = "leave A mgr C\nleave A main 151\nhangup main 0 2 151\n"


def script(text: str, *lost: str) -> list[Fact]:
    """Facts of a script; all events of the kinds ``lost`` did not arrive."""
    scenario = Scenario(id="x", title="x", script=text, expected=Expected(direction="in", outcome="open"))
    return facts(
        (event.kind, json.dumps(event.body).encode(), EPOCH + timedelta(seconds=event.offset))
        for event in scenario.events(EPOCH.timestamp(), 1)
        if event.kind not in lost
    )


def call_of(text: str, *lost: str) -> Call:
    (call,) = settled(script(text, *lost))
    return call


def transfers_of(text: str, *lost: str) -> Transfers:
    """The transfers alone, of the one call in this script."""
    exchange = Exchange(DIRECTORY)
    for fact in script(text, *lost):
        exchange.apply(fact)
    (leader,) = {exchange.board.leader(leg) for leg in exchange.legs}
    return transfers(_look(exchange.legs, leader, DIRECTORY))


# nobody talked, nobody transferred


def test_a_call_that_nobody_talked_in_has_no_transfer():
    told = transfers_of(
        "leg main L1 C\nstart main\ndial main 0 150\ndial main 0 150,151\nhangup main 2 0 152"
    )
    assert [dial.numbers for dial in told.first_dials] == [("150",), ("150", "151")]
    assert told == Transfers(first_dials=told.first_dials)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (INCOMING, INCOMING_LEFT + "hangup main 0 2 151"),
        (OUTGOING, OUTGOING_LEFT),
        (INTERNAL, "leave A mgr\nleave A main\nhangup main 2 2 151"),
    ],
    ids=["in", "out", "internal"],
)
def test_a_plain_talk_asks_nobody_and_is_not_lost(text, end):
    call = call_of(text + end)
    assert (call.outcome, call.consulted, call.lost_to) == ("answered", (), ())


# who was asked


def test_who_was_asked_in_vain_is_consulted_and_the_first_talker_talks_on():
    call = call_of(INCOMING + ASKED.format(target="152") + "hangup ask2 2 0 152\n" + ENDED)
    assert (call.talked, call.consulted, call.outcome) == (("151",), ("152",), "answered")


def test_several_who_were_asked_are_told_in_the_order_in_which_they_were():
    first = ASKED.format(target="153") + "hangup ask2 2 0 153\n"
    second = (
        ASKED.format(target="152")
        .replace("ask", "more")
        .replace("create B", "create D")
        .replace(" B ", " D ")
    )
    call = call_of(INCOMING + first + second + "hangup more2 2 0 152\n" + ENDED)
    assert call.consulted == ("153", "152")


def test_of_a_follow_me_that_was_asked_its_extension_is_named():
    call = call_of(INCOMING + ASKED.format(target="300") + ENDED)
    assert call.consulted == ("150",)


def test_of_a_department_that_was_asked_everybody_is_named_but_who_talks():
    """901 rings 150, 151 and 153; 151 is the one who asks."""
    call = call_of(INCOMING + ASKED.format(target="901") + ENDED)
    assert (call.talked, call.consulted) == (("151",), ("150", "153"))


def test_a_hangup_alone_names_who_was_asked():
    """1-5 as most hosts send it: nothing else is told of the question."""
    call = call_of(OUTGOING + "leg ask2 151\nhangup ask2 2 0 152\n" + OUTGOING_LEFT)
    assert (call.talked, call.consulted) == (("151",), ("152",))


def test_who_takes_the_call_over_was_not_only_consulted():
    call = call_of(
        INCOMING
        + ASKED.format(target="152").replace("leave B ask1 151\n    enter A mgr 152", "")
        + """
            create C
            leg colleague 152
            enter C ask2 152
            enter C colleague 151
            leave B mgr 152
            leave B ask1 151
            leave A main 151
            enter C main 152
            leave C ask2 152
            wait 5
            leave C colleague C
            leave C main 152
            hangup main 0 2 151
        """
    )
    assert (call.talked, call.consulted) == (("151", "152"), ())


def test_dials_of_the_customers_leg_after_a_talk_ring_for_a_blind_transfer():
    """2-27: they are no first dials, and whom they ring in vain is consulted."""
    text = INCOMING + INCOMING_LEFT + "dial main 0 150\ndial main 0 150,M\n"
    told = transfers_of(text)
    assert [dial.numbers for dial in told.first_dials] == [("150", "151")]
    assert (told.asked, told.targets) == (("151", "150", M), ("150", M)), "151 has a leg beside, and talked"
    call = call_of(text + "leg owner 150\ncreate B\nenter B main 150\nenter B owner C\nwait 4\n"
                   "leave B owner C\nleave B main 150\nhangup main 0 2 150")  # fmt: skip
    assert (call.rung, call.talked, call.consulted) == (("150", "151"), ("151", "150"), (M,))


# lost in a transfer


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        (INCOMING + INCOMING_LEFT + "hangup main 2 0 152", "in"),
        (OUTGOING + OUTGOING_LEFT + "hangup ext 2 0 152", "out"),
        (INTERNAL + "leave A mgr\nleave A main\nhangup main 2 0 153", "internal"),
    ],
    ids=["in", "out", "internal"],
)
@pytest.mark.parametrize(
    "lost", [(), ("bridge_leave", "bridge_create", "bridge_destroy")], ids=["full", "least"]
)
def test_a_call_whose_second_leg_nobody_answered_is_lost_in_transfer(text, direction, lost):
    call = call_of(text, *lost)
    assert (call.direction, call.outcome) == (direction, "lost_in_transfer")
    target = "153" if direction == "internal" else "152"
    assert (call.talked, call.consulted, call.lost_to) == (("151",), (target,), (target,))


def test_a_blind_transfer_to_a_follow_me_that_nobody_answered_is_lost_to_all_it_rang():
    """2-29: the hangup has CallType 0 and names nobody."""
    call = call_of(INCOMING + INCOMING_LEFT + "dial main 0 150\ndial main 0 150,M\nhangup main 0 0 -")
    assert (call.outcome, call.consulted, call.lost_to) == ("lost_in_transfer", ("150", M), ("150", M))


BACK = """
    create D
    leg third 153
    enter D third C
    enter D {who} 153
    wait 5
    leave D third C
    leave D {who} 153
    destroy D
"""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (INCOMING + INCOMING_LEFT + BACK.format(who="main"), "hangup main 2 2 153"),
        (OUTGOING + OUTGOING_LEFT + BACK.format(who="ext"), "hangup ext 2 2 153"),
        (INTERNAL + "leave A mgr\nleave A main\n" + BACK.format(who="main"), "hangup main 2 2 153"),
    ],
    ids=["in", "out", "internal"],
)
def test_a_transfer_after_which_somebody_talked_is_not_lost(text, end):
    call = call_of(text + end)
    assert (call.outcome, call.talked, call.lost_to) == ("answered", ("151", "153"), ())


def test_a_call_that_rang_on_and_was_answered_then_is_not_lost():
    text = INCOMING + INCOMING_LEFT + "dial main 0 152\n" + BACK.format(who="main") + "hangup main 0 2 151"
    call = call_of(text)
    assert (call.outcome, call.talked, call.consulted) == ("answered", ("151", "153"), ("152",))


def test_an_open_call_is_not_lost_yet():
    call = call_of(INCOMING + INCOMING_LEFT + "dial main 0 152")
    assert (call.outcome, call.lost_to) == ("open", ())


# taken over by a hangup's word


def test_who_took_the_call_is_believed_of_a_hangup_where_the_second_talk_was_not_seen():
    assert transfers_of(INCOMING + INCOMING_LEFT + "hangup main 2 2 152").taken == ("152",)
    call = call_of(INCOMING + INCOMING_LEFT + "hangup main 2 2 152")
    assert (call.talked, call.consulted, call.outcome) == (("151", "152"), (), "answered")
    call = call_of(OUTGOING + OUTGOING_LEFT + "hangup ext 2 2 152")
    assert (call.talked, call.consulted, call.outcome) == (("151", "152"), (), "answered")


def test_where_bridges_tell_of_a_second_talk_no_hangup_is_believed_about_it():
    """It may name the first target of several (events.md 7)."""
    told = transfers_of(INCOMING + INCOMING_LEFT + BACK.format(who="main") + "hangup main 2 2 152")
    assert told.taken == ()


# under way


def test_a_phone_rung_by_a_blind_transfer_of_an_outgoing_call_keeps_the_call_open():
    """1-6, 1-7: the hangup of the manager's channel comes before the second talk."""
    rung = OUTGOING + OUTGOING_LEFT + "leg target 152\nncid target\n"
    assert transfers_of(rung).under_way
    assert call_of(rung).outcome == "open"
    assert not transfers_of(rung + "hangup ext 2 0 152").under_way
    assert call_of(rung + "hangup ext 2 0 152").settled


def test_nothing_is_under_way_where_the_phone_that_is_rung_has_come_into_a_bridge():
    rung = OUTGOING + OUTGOING_LEFT + "leg target 152\nncid target\ncreate B\nenter B target C\n"
    assert not transfers_of(rung).under_way


def test_an_incoming_call_has_nothing_under_way_after_its_hangup():
    """Its own hangup comes last, whatever phone was rung."""
    rung = INCOMING + INCOMING_LEFT + "leg target 152\nncid target\n"
    assert not transfers_of(rung).under_way
