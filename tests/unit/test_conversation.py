"""The truth of a call where the plain scenarios do not reach: anomalies of events.md 7, transfers, silence."""

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from calls.call import Call
from calls.conversation import awaits_settling, conversation
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.exchange import Exchange
from calls.facts import SILENCE_OBSERVED, Fact, leg_stream
from calls.observations import Silence, write_silence
from calls.scenarios import Scenario
from calls.scenarios.script import Expected
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, facts, settled

C = "+375290000101"
M = "+375290000102"
HALF = re.compile(r"SIP/HALF(\d)-[0-9a-f]{8}")
ANSWERED = """
    leg main L1 C
    start main
    dial main 0 150,151
    leg mgr 151
    create A
    enter A main 151 exten L1
    enter A mgr C
    wait 9
"""

Change = Callable[[str, dict[str, object]], dict[str, object] | None]


def script(text: str, change: Change | None = None) -> list[Fact]:
    """Facts of a script; a device HALF1 or HALF2 is a half of a Local channel. ``change`` alters or drops bodies."""
    scenario = Scenario(id="x", title="x", script=text, expected=Expected(direction="in", outcome="open"))
    told = []
    for event in scenario.events(EPOCH.timestamp(), 1):
        body = event.body if change is None else change(event.kind, dict(event.body))
        if body is not None:
            written = HALF.sub(r"Local/152@dialexecute-00000000;\1", json.dumps(body))
            told.append((event.kind, written.encode(), EPOCH + timedelta(seconds=event.offset)))
    return facts(told)


def one(order: list[Fact], directory: Directory = DIRECTORY) -> Call:
    calls = settled(order, directory)
    assert len(calls) == 1, [call.call_id for call in calls]
    return calls[0]


def silence(order: list[Fact], why: str, *, upto: int | None = None, leg: int = 0) -> Fact:
    """The observation that nothing was heard since the last of these facts."""
    last = order[-1]
    stream = leg_stream(json.loads(order[leg].body)["UniqueId"])
    body = write_silence(Silence(why, 20.0, last.position if upto is None else upto))
    version = sum(fact.stream == stream for fact in order) + 1
    at = last.occurred_at + timedelta(seconds=20)
    return Fact(last.position + 1, ENTERPRISE, stream, version, SILENCE_OBSERVED, "service", at, at, body)


# what makes no call


def test_a_leg_known_by_new_callerid_alone_makes_no_call():
    assert settled(script("leg main L1 C\nncid main")) == []


def test_a_channel_alone_in_a_bridge_waits_for_whoever_comes():
    assert settled(script("leg mgr 151\ncreate A\nenter A mgr C")) == []
    assert one(script("leg mgr 151\ncreate A\nenter A mgr 150 exten 150")).direction == "internal"


def test_the_lone_parasite_hangup_of_a_click_to_call_makes_no_call():
    def parasite(_: str, body: dict[str, object]) -> dict[str, object]:
        return {**body, "ExternalInitiated": True}

    assert settled(script("leg main 151\nhangup main 2 0 - phone <unknown>", parasite)) == []
    assert one(script("leg main 151\nhangup main 2 0 - phone 151", parasite)).direction == "internal"


def test_legs_without_their_leader_make_no_call():
    exchange = Exchange(DIRECTORY)
    for fact in script(ANSWERED):
        exchange.apply(fact)
    assert conversation(exchange.legs, "9.9", DIRECTORY) is None
    assert conversation({}, "9.9", DIRECTORY) is None


# hangups


def test_a_second_hangup_does_not_take_the_answer_back():
    call = one(script(ANSWERED + "leave A main\nleave A mgr\nhangup main 0 2 151\nhangup main 0 0 -"))
    assert (call.outcome, call.answered_by, call.talked) == ("answered", "151", ("151",))


def test_a_final_hangup_that_says_not_answered_tells_of_a_transfer_and_not_of_the_talk():
    """2-29: somebody talked, so what was not answered is a second leg; who was rung may be untold."""
    call = one(script(ANSWERED + "leave A main\nleave A mgr\ndestroy A\nhangup main 0 0 -"))
    assert (call.outcome, call.talked, call.answered_by) == ("lost_in_transfer", ("151",), "151")
    assert (call.consulted, call.lost_to) == ((), ())


def test_an_answering_hangup_alone_tells_who_answered():
    call = one(script("leg main L1 C\nwait 9\nhangup main 0 2 151"))
    assert (call.direction, call.outcome, call.customer) == ("in", "answered", C)
    assert (call.answered_by, call.talked, call.rung) == ("151", ("151",), ("151",))
    assert (call.line, call.answered_at) == ("0007001", None)


def test_an_answered_call_whose_hangup_names_nobody_is_answered_all_the_same():
    call = one(script("leg main L1 C\nstart main\ndial main 0 150,151\nhangup main 0 2 -"))
    assert (call.outcome, call.answered_by, call.talked) == ("answered", None, ())
    assert call.rung == ("150", "151")


def test_the_hangup_before_everything_else_is_the_same_call():
    order = script(ANSWERED + "leave A main\nleave A mgr\nhangup main 0 2 151")
    first = facts((fact.kind, fact.body, fact.occurred_at) for fact in [order[-1], *order[:-1]])
    assert one(first).talked == ("151",)
    assert one(first).settled


@pytest.mark.parametrize("kind", ["0", "1", "2"])
def test_who_began_a_call_does_not_depend_on_the_last_hangups_call_type(kind):
    assert one(script(ANSWERED + f"leave A main\nleave A mgr\nhangup main {kind} 2 151")).direction == "in"


# bridges


def test_dials_after_a_bridge_ring_nobody_before_the_answer():
    """2-27: a blind transfer to a FollowMe dials on the main leg again."""
    call = one(
        script(ANSWERED + "leave A mgr\nleave A main\ndestroy A\ndial main 0 152\nhangup main 0 2 151")
    )
    assert call.rung == ("150", "151")
    assert call.answered_by == "151"


def test_entering_a_bridge_that_is_no_more_is_no_talk():
    order = script(
        "leg main L1 C\nstart main\nleg mgr 151\ncreate A\nenter A main 151\ndestroy A\nenter A mgr C"
    )
    call = one(order)
    assert (call.talked, call.phase, call.outcome) == ((), "begun", "open")
    assert len(call.legs) == 2


def test_who_comes_back_to_a_bridge_talks_on_and_is_named_once():
    call = one(
        script(
            ANSWERED
            + """
            create B
            enter B mgr 152
            wait 5
            enter A mgr 152
            wait 5
            leave A mgr
            leave A main
            hangup main 0 2 151
            """
        )
    )
    assert (call.talked, call.outcome) == (("151",), "answered")
    assert call.talk == timedelta(seconds=20)


def test_an_entering_that_is_told_twice_brings_nobody_back():
    """Who comes back sees somebody else than at first; the same words are the same event again."""
    order = script(
        ANSWERED
        + """
        create B
        enter B mgr 152
        wait 5
        enter A mgr C
        wait 5
        leave A main
        hangup main 0 2 151
        """
    )
    call = one([*order, silence(order, "silence")])
    assert (call.talked, call.outcome) == (("151",), "answered")
    assert call.talk == timedelta(seconds=10)


def test_a_stuck_bridge_keeps_the_call_open_until_silence_says_that_it_is_over():
    order = script(
        ANSWERED + "hangup main 0 2 151\nleave A mgr"
    )  # main was never seen leaving, A never destroyed
    assert one(order).settled, "its leading leg hung up and nobody is left to talk with"
    stuck = script(ANSWERED)
    assert one(stuck).phase == "talking"
    call = one([*stuck, silence(stuck, "silence")])
    assert (call.outcome, call.talked, call.phase) == ("answered", ("151",), "ended")


def test_a_blind_transfer_is_one_incoming_call_with_its_chain():
    """2-10: the hangup has CallType 2, no Trunk and names only the second."""
    call = one(
        script(
            ANSWERED
            + """
            leave A mgr
            leave A main
            destroy A
            leg next 152
            create B
            enter B next C
            enter B main 152
            wait 7
            leave B next
            leave B main
            destroy B
            hangup main 2 2 152
            """
        )
    )
    assert (call.direction, call.outcome, call.line) == ("in", "answered", "0007001")
    assert (call.answered_by, call.talked, call.customer) == ("151", ("151", "152"), C)


def test_bridges_joined_by_a_local_pair_let_the_other_side_talk():
    call = one(
        script(
            """
            leg main L1 C
            start main
            leg near HALF1 C
            leg far HALF2 152
            leg mgr 152
            create A
            enter A main 152
            enter A near C
            create B
            enter B far C
            enter B mgr C
            wait 5
            leave B mgr
            leave A main
            hangup main 0 2 152
            """
        )
    )
    assert (call.talked, call.outcome) == (("152",), "answered")
    assert len(call.legs) == 4


def test_bridge_events_without_a_bridges_name_make_no_gathering_but_the_hangup_tells():
    """Old hosts sent no BridgeUniqueid (events.md 3)."""

    def old(kind: str, body: dict[str, object]) -> dict[str, object] | None:
        return None if kind == "bridge_create" else {**body, "BridgeUniqueid": ""}

    call = one(script(ANSWERED + "hangup main 0 2 151", old))
    assert (call.outcome, call.talked, call.rung) == ("answered", ("151",), ("150", "151"))


def test_without_leaves_the_hangup_of_the_leading_leg_ends_the_call():
    call = one(script(ANSWERED + "hangup main 0 2 151"))
    assert (call.outcome, call.phase) == ("answered", "ended")
    assert call.talk == timedelta(seconds=9)


# people, numbers, lines


def test_a_start_that_names_its_own_line_leaves_the_number_to_the_dial():
    def own_id(kind: str, body: dict[str, object]) -> dict[str, object]:
        return {**body, "Phone": "0007001"} if kind == "start" else body

    assert one(script(ANSWERED, own_id)).customer == C


def test_a_customer_whom_nobody_knows_is_none():
    order = script("leg main L1 Anonymous\nstart main\ndial main 0 150\nhangup main 0 0 -")
    assert one(order).customer is None


def test_after_a_failover_the_line_is_the_one_that_worked():
    call = one(
        script(
            """
            leg main 151
            dial main 1 151 C
            dial main 1 151 C via L2
            leg ext L2 C
            create A
            enter A ext 151
            enter A main C exten C
            leave A ext
            hangup main 1 2 - phone C via L2
            """
        )
    )
    assert (call.line, call.outcome, call.caller, call.talked) == ("0007002", "answered", "151", ("151",))


def test_the_line_is_never_taken_from_the_channel():
    """2-20: Trunk 0007001, Channel SIP/0007002-… (events.md 3)."""

    def other_peer(_: str, body: dict[str, object]) -> dict[str, object]:
        return json.loads(json.dumps(body).replace("SIP/0007001-", "SIP/0007002-"))

    assert one(script(ANSWERED, other_peer)).line == "0007001"


@pytest.mark.parametrize("trunk", ["0\x007001", "<unknown>", "\u2028", ""])
def test_a_trunk_that_is_no_line_is_passed_over(trunk):
    def odd(kind: str, body: dict[str, object]) -> dict[str, object]:
        return {**body, "Trunk": trunk} if kind == "start" else body

    assert one(script(ANSWERED, odd)).line == "0007001"


def test_mobiles_that_were_rung_are_told_in_e164_and_departments_not_at_all():
    call = one(script("leg main L1 C\nstart main\ndial main 0 150,M,901,300\nhangup main 0 0 -"))
    assert call.rung == ("150", M)
    assert call.ringing == ("150", M)


def test_an_internal_call_to_a_person_has_dialled_nothing_else():
    order = script("leg main 152\nleg callee 150\ncreate A\nenter A main 150 exten 150\nenter A callee 152")
    assert (one(order).dialled, one(order).callee, one(order).caller) == (None, "150", "152")


def test_a_call_to_a_follow_me_shows_what_was_dialled():
    order = script("leg main 152\nleg callee 150\ncreate A\nenter A main 300 exten 300\nenter A callee 152")
    assert (one(order).dialled, one(order).talked) == ("300", ("150",))


def test_any_event_of_recovery_marks_the_call():
    order = script(ANSWERED)
    late = order[-1]
    recovered = Fact(
        late.position, ENTERPRISE, late.stream, late.version, late.kind, "recovery", EPOCH, EPOCH, late.body
    )
    assert one(order).source == "live"
    assert one([*order[:-1], recovered]).source == "recovery"


# silence


def test_settling_ends_a_call_whose_bridges_are_empty_and_a_later_event_opens_it_again():
    order = script(ANSWERED + "leave A mgr\nleave A main")
    assert one(order).outcome == "open"
    quiet = [*order, silence(order, "settle")]
    ended = one(quiet)
    assert (ended.outcome, ended.phase, ended.talked) == ("answered", "ended", ("151",))
    again = script(ANSWERED + "leave A mgr\nleave A main\nenter A mgr C")[-1]
    later = Fact(
        quiet[-1].position + 1, ENTERPRISE, again.stream, 9, again.kind, "live", EPOCH, EPOCH, again.body
    )
    assert one([*quiet, later]).outcome == "open"


def test_settling_does_not_end_a_call_in_which_somebody_talks():
    order = script(ANSWERED)
    assert one([*order, silence(order, "settle")]).outcome == "open"


def test_an_observation_that_an_event_overtook_says_nothing():
    order = script(ANSWERED)
    assert one([*order, silence(order, "silence", upto=order[-2].position)]).outcome == "open"


def test_a_call_that_nobody_answered_and_nobody_ended_is_missed_after_silence():
    order = script("leg main L1 C\nstart main\ndial main 0 150")
    call = one([*order, silence(order, "silence")])
    assert (call.outcome, call.rung) == ("missed", ("150",))


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        (ANSWERED, False),
        (ANSWERED + "leave A mgr\nleave A main", True),
        (ANSWERED + "leave A mgr\nleave A main\nhangup main 0 2 151", False),
        ("leg main L1 C\nstart main\ndial main 0 150", False),
        (ANSWERED + "leave A mgr", False),
    ],
)
def test_settling_is_awaited_where_bridges_are_empty_and_the_last_hangup_was_not_told(text, waits):
    exchange = Exchange(DIRECTORY)
    for fact in script(text):
        exchange.apply(fact)
    (call,) = exchange.take().calls.values()
    assert awaits_settling(call, exchange.legs) is waits


def test_nobody_of_another_enterprise_is_known():
    call = one(
        script("leg main L1 C\nstart main\ndial main 0 150,M,901\nhangup main 0 0 -"), Directory.empty("0367")
    )
    assert call.rung == ("150", M, "901")
    named = DIRECTORY.apply(DirectoryChange("department", "150", {"number": "150"}))
    assert one(script("leg main L1 C\nstart main\ndial main 0 150,151\nhangup main 0 0 -"), named).rung == (
        "151",
    )


# kinds of call beside the catalogue's


def test_a_withheld_number_is_not_taken_for_that_of_a_mobile_that_is_rung():
    call = one(
        script(
            """
            leg main L1 <unknown>
            start main
            dial main 0 150,M
            leg half1 M@179e93af;1 M
            leg half2 M@179e93af;2 <unknown>
            dial half2 1 <unknown> M
            leg mobile L1 M
            create A
            enter A mobile <unknown>
            enter A half2 M
            create B
            enter B half1 <unknown>
            enter B main M
            wait 9
            hangup half2 1 2 - phone M
            hangup main 0 2 -
            """
        )
    )
    assert (call.customer, call.rung, call.talked) == (None, ("150", M), (M,))


def test_a_second_line_to_a_colleagues_mobile_is_a_call_of_its_own():
    order = script(
        ANSWERED
        + """
        leg line2 151
        dial line2 1 151 M
        leg mobile L1 M
        create Q
        enter Q mobile 151
        enter Q line2 <unknown> exten M
        leave Q mobile
        leave Q line2
        hangup line2 1 2 151 phone M
        leave A mgr
        leave A main
        hangup main 0 2 151
        """
    )
    calls = {call.direction: call for call in settled(order)}
    assert (calls["in"].talked, calls["in"].consulted) == (("151",), ())
    assert (calls["out"].customer, calls["out"].caller, calls["out"].outcome) == (M, "151", "answered")


TO_FOLLOW_ME = """
    leg main 151
    wait 10
    leg mob1 M@5e0c71b2;1 300
    leg mob2 M@5e0c71b2;2 151
    dial mob2 1 151 M
    leg mobile L1 M
    wait 5
    create Y
    enter Y mobile 151
    enter Y mob2 300 exten M
    create X
    enter X mob1 151
    enter X main 300 exten 300
    wait 9
    leave X main
    leave X mob1
    leave Y mob2
    leave Y mobile
    hangup mob2 1 2 151 phone M
    hangup main 2 2 300 phone 151 via none
"""


def test_a_colleague_reached_at_the_mobile_by_a_follow_me_is_an_internal_call():
    call = one(script(TO_FOLLOW_ME))
    assert (call.direction, call.outcome, call.customer) == ("internal", "answered", None)
    assert (call.caller, call.dialled, call.talked) == ("151", "300", (M,))


def test_a_colleagues_mobile_called_from_a_phone_is_an_outgoing_call_of_that_phone():
    call = one(
        script(
            """
            leg main 151
            dial main 1 151 M
            leg mobile L1 M
            wait 5
            create Y
            enter Y mobile 151
            enter Y main M exten M
            wait 9
            leave Y mobile
            leave Y main
            hangup main 1 2 151 phone M
            """
        )
    )
    assert (call.direction, call.customer, call.caller, call.talked) == ("out", M, "151", ("151",))
    assert call.call_id == min(call.legs)


def test_a_leg_to_a_mobile_does_not_take_the_lead_where_the_calls_beginning_was_lost():
    order = script(
        ANSWERED
        + """
        leg mob1 M@5e0c71b2;1 300
        leg mob2 M@5e0c71b2;2 151
        dial mob2 1 151 M
        leg mobile L1 M
        create Y
        enter Y mobile 151
        enter Y mob2 300 exten M
        leave A mgr C
        enter A mob1 C
        wait 9
        leave A mob1
        leave Y mobile
        hangup mob2 1 2 C phone M
        leave A main
        hangup main 0 2 151
        """
    )
    kept = [fact for fact in order if fact.kind != "start" and b'"CallType": 0, "UniqueId"' not in fact.body]
    for lost in (kept, [fact for fact in kept if fact.kind != "dial"]):
        call = one(lost)
        assert (call.direction, call.customer, call.talked) == ("in", C, ("151", M))


def test_a_blind_transfer_to_a_department_asks_all_of_it():
    call = one(script(ANSWERED + "leave A mgr\nleave A main\nhangup main 2 0 901 phone C"))
    assert (call.outcome, call.consulted) == ("lost_in_transfer", ("150", "153"))


def test_what_was_dialled_is_read_from_a_hangup_where_nothing_else_tells():
    call = one(script("leg main 152\nwait 9\nhangup main 0 0 901 phone 152 via none"))
    assert (call.direction, call.dialled, call.rung) == ("internal", "901", ())


def test_a_phone_alone_in_a_bridge_whose_click_to_call_went_nowhere_makes_no_call():
    order = script(
        "leg phone 151\ncreate A\nenter A phone C\nleave A phone C\nhangup phone 2 1 - phone <unknown>"
    )
    assert settled(order) == []


def test_a_call_lost_by_somebody_without_a_number_is_told_all_the_same():
    call = one(
        script(
            """
            leg main L1 C
            start main
            leg nobody L2 <unknown>
            create A
            enter A nobody C
            enter A main <unknown>
            leave A nobody C
            leave A main <unknown>
            hangup main 2 0 152
            """
        )
    )
    assert (call.customer, call.talked, call.lost_to) == (C, (), ("152",))
