"""One leg: what its own events make of it, whatever their number and order."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from calls.channels import read_channel
from calls.events import read_event
from calls.facts import SILENCE_OBSERVED, Fact, Source, leg_stream
from calls.legs import Leg, Moment, Start, fold
from calls.observations import Silence, write_silence

BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
ME = "1777885200.1"


def at(position: int) -> Moment:
    return Moment(position, BEGUN + timedelta(seconds=position))


def fact(position: int, kind: str, body: bytes, source: Source = "live") -> Fact:
    when = at(position).at
    return Fact(position, "0367", leg_stream(ME), position, kind, source, when, when, body)


def folded(*events: tuple[str, dict[str, object]], source: Source = "live", counts: bool = True) -> Leg:
    leg = None
    for position, (kind, fields) in enumerate(events, 1):
        body = json.dumps({"UniqueId": ME, **fields}).encode()
        leg = fold(leg, fact(position, kind, body, source), read_event(body), ME, counts=counts)
    assert leg is not None
    return leg


def enter(bridge: str = "A", **fields: object) -> tuple[str, dict[str, object]]:
    return "bridge", {"BridgeUniqueid": bridge, **fields}


def leave(bridge: str = "A", **fields: object) -> tuple[str, dict[str, object]]:
    return "bridge_leave", {"BridgeUniqueid": bridge, **fields}


def hangup(**fields: object) -> tuple[str, dict[str, object]]:
    return "hangup", {"CallType": 0, "CallStatus": "2", **fields}


def stays(leg: Leg) -> list[tuple[str, int, int | None]]:
    return [
        (visit.bridge, visit.entered.position, visit.left.position if visit.left else None)
        for visit in leg.visits
    ]


def test_the_first_start_stands():
    leg = folded(("start", {"Phone": "375290000101", "Trunk": "0007001"}), ("start", {"Phone": "1"}))
    assert leg.start == Start("375290000101", "0007001")
    assert (leg.first, leg.last) == (at(1), at(2))


def test_equal_dials_are_one_and_steps_of_a_plan_are_each_one():
    step = {"CallType": 0, "Phone": "375290000101", "Trunk": "0007001"}
    leg = folded(
        ("dial", {**step, "Extensions": ["150"]}),
        ("dial", {**step, "Extensions": ["150", "151"]}),
        ("dial", {**step, "Extensions": ["150", "151"]}),
        ("dial", {**step, "Extensions": ["150"]}),
        ("dial", {**step, "Extensions": ["150"], "Trunk": "0007002"}),
    )
    assert [(dial.numbers, dial.trunk, dial.when.position) for dial in leg.dials] == [
        (("150",), "0007001", 1),
        (("150", "151"), "0007001", 2),
        (("150",), "0007002", 5),
    ]


def test_entering_the_next_bridge_leaves_the_last():
    assert stays(folded(enter("A"), enter("B"), leave("B"))) == [("A", 1, 2), ("B", 2, 3)]


def test_entering_the_bridge_that_it_is_in_changes_nothing():
    leg = folded(enter("A"), enter("A"))
    assert stays(leg) == [("A", 1, None)]
    assert leg.inside == leg.visits[0]


def test_it_may_come_back_to_a_bridge():
    leg = folded(enter("A"), enter("B"), leave("B"), enter("A"), leave("A"))
    assert stays(leg) == [("A", 1, 2), ("B", 2, 3), ("A", 4, 5)]
    assert leg.inside is None


def test_leaving_a_bridge_never_seen_entered_says_that_the_leg_had_moved_there():
    assert stays(folded(enter("A"), leave("B"))) == [("A", 1, 2), ("B", 2, 2)]


def test_leaving_an_earlier_bridge_than_the_last_entered_closes_the_last_stay():
    """A leave is told in its place: where the next bridge was entered before, that one has been left as well."""
    assert stays(folded(enter("A"), enter("B"), leave("A"))) == [("A", 1, 2), ("B", 2, 3), ("A", 3, 3)]


def test_leaving_twice_and_leaving_unentered_are_harmless():
    assert stays(folded(leave("A"), enter("A"), leave("A"), leave("A"))) == [("A", 2, 3)]
    assert folded(leave("A")).counts
    assert folded(leave("A")).leaves


def test_the_end_of_a_bridge_ends_the_stay_in_it_alone():
    assert stays(folded(enter("A"), ("bridge_destroy", {"BridgeUniqueid": "A"}))) == [("A", 1, 2)]
    assert stays(folded(enter("A"), ("bridge_destroy", {"BridgeUniqueid": "B"}))) == [("A", 1, None)]


def test_entering_a_bridge_that_is_no_more_tells_only_of_the_channel():
    leg = folded(enter("A", Channel="SIP/151-00000006"), counts=False)
    assert leg.visits == ()
    assert leg.channel == "SIP/151-00000006"
    assert leg.counts


def test_a_bridge_without_a_name_is_a_stay_as_well():
    assert stays(folded(("bridge", {"ConnectedLineNum": "151"}))) == [("", 1, None)]


def test_what_a_channel_says_of_itself():
    leg = folded(
        ("new_callerid", {"Channel": "SIP/0007001-1", "CallerIDNum": "<unknown>", "ConnectedLineNum": ""}),
        enter(CallerIDNum="375290000101", ConnectedLineNum="151", Exten="0007001"),
        leave(CallerIDNum="151", ConnectedLineNum="<unknown>", Exten="300", Channel=""),
    )
    assert leg.channel == "SIP/0007001-1"
    assert leg.number == "375290000101", "the first word about a channel is its own"
    assert leg.connected == "151", "unknown does not replace what is known"
    assert leg.exten == "0007001"


def test_new_callerid_alone_makes_no_call():
    assert not folded(("new_callerid", {"Channel": "SIP/0007001-1"})).counts


def test_a_second_hangup_only_fills_what_was_not_told():
    leg = folded(
        hangup(Phone="", Extensions=["151"], EndTime=""),
        hangup(Phone="375290000101", Extensions=["150"], EndTime="2026-05-04 12:00:30", Trunk="0007001"),
    )
    assert leg.hangup is not None
    assert leg.hangup.phone == "375290000101"
    assert leg.hangup.numbers == ("151",)
    assert leg.hangup.end_time == "2026-05-04 12:00:30"
    assert leg.hangup.trunk == "0007001"
    assert leg.hangup.when == at(1), "the leg was over when it was first said so"


@pytest.mark.parametrize("order", [("2", "0"), ("0", "2"), ("5", ""), ("1", "5"), ("2", "1")])
def test_answered_by_either_hangup_stays_answered(order):
    leg = folded(*(hangup(CallStatus=status, Extensions=[f"15{status}"]) for status in order))
    assert leg.hangup is not None
    assert leg.hangup.answered
    (answered,) = [status for status in order if status in {"2", "5"}]
    assert leg.hangup.numbers == (f"15{answered}",)


def test_any_event_of_recovery_marks_the_leg():
    assert not folded(hangup()).recovered
    assert folded(hangup(), source="recovery").recovered
    later = fold(folded(hangup()), fact(9, "hangup", b"{}", "recovery"), read_event(b"{}"), ME)
    assert later.recovered


def test_external_initiated_is_remembered():
    assert folded(enter(ExternalInitiated=True), hangup()).external_initiated
    assert not folded(enter(), hangup()).external_initiated


def test_silence_is_kept_and_is_no_sign_of_life():
    leg = folded(enter())
    silence = Silence("silence", 7200.0, 1)
    silent = fold(leg, fact(2, SILENCE_OBSERVED, write_silence(silence)), None, ME)
    assert silent.silence == silence
    assert silent.last == leg.last


@pytest.mark.parametrize("kind", ["channel_moved", "bridge_create"])
def test_a_kind_that_says_nothing_of_a_leg_changes_only_when_it_was_heard_of(kind):
    leg = folded(enter(), (kind, {"Phone": "1"}))
    assert (leg.last, stays(leg)) == (at(2), [("A", 1, None)])


@pytest.mark.parametrize(
    ("channel", "pair"),
    [
        ("Local/152@dialexecute-00000000;1", "Local/152@dialexecute-00000000"),
        ("Local/152@dialexecute-00000000;2", "Local/152@dialexecute-00000000"),
        ("Local/152@dialexecute-00000000", ""),
        ("SIP/151-00000006", ""),
        ("SIP/151;1", ""),
        ("", ""),
    ],
)
def test_both_halves_of_a_local_channel_have_one_name(channel, pair):
    assert read_channel(channel).pair == pair
    assert folded(("new_callerid", {"Channel": channel})).local_pair == pair
