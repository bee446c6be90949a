"""Which call is for which subscriber, and what makes a sound."""

from datetime import UTC, datetime

import msgspec
import pytest

from calls.call import Call
from calls.directory import Directory
from calls.entries import Department, FollowMe, Manager, Profile, Subscriber
from calls.subscriptions import concerns, rings, wants_notice

MOBILE = "+375290000102"
OTHER_MOBILE = "+375290000199"
MONDAY_9_12_IN_MINSK = datetime(2025, 9, 15, 6, 12, tzinfo=UTC)
JUNE = Directory(
    profile=Profile(number="0367", name="june", timezone="Europe/Minsk"),
    managers={
        "150": Manager(extension="150", mobile=MOBILE),
        "151": Manager(extension="151"),
        "152": Manager(extension="152"),
    },
    departments={"901": Department(number="901", members=("151", "300"))},
    follow_mes={"300": FollowMe(number="300", extension="150", mobile=MOBILE)},
)


def a_call(direction="in", **more):
    started_at = more.pop("started_at", MONDAY_9_12_IN_MINSK)
    return Call(enterprise="0367", call_id="1.1", direction=direction, started_at=started_at, **more)


def over(outcome, direction="in", **more):
    return a_call(direction, outcome=outcome, phase="ended", **more)


def is_for(call, **filters):
    return concerns(Subscriber(chat_id=1, **filters), call, JUNE)


@pytest.mark.parametrize("direction", ["in", "out", "internal"])
@pytest.mark.parametrize("outcome", ["open", "answered", "missed", "not_answered", "lost_in_transfer"])
def test_without_filters_every_call_is_shown(direction, outcome):
    assert is_for(a_call(direction, outcome=outcome))


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({"directions": ("in",)}, {"in", "internal"}),
        ({"directions": ("out",)}, {"out", "internal"}),
        ({"directions": ("in", "out")}, {"in", "out", "internal"}),
        ({"internal": False}, {"in", "out"}),
        ({"directions": ("in",), "internal": False}, {"in"}),
    ],
)
def test_directions_are_of_outside_calls_and_internal_ones_have_a_switch(filters, shown):
    assert {one for one in ("in", "out", "internal") if is_for(a_call(one), **filters)} == shown


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (a_call(), False),
        (a_call(phase="talking", talked=("151",)), False),
        (a_call(phase="ended"), False),
        (over("missed"), True),
        (over("lost_in_transfer"), True),
        (over("answered"), False),
        (over("not_answered", "out"), False),
    ],
)
def test_with_outcomes_a_call_is_shown_once_it_has_one_of_them(call, shown):
    assert is_for(call, outcomes=("missed", "lost_in_transfer")) is shown


@pytest.mark.parametrize(("line", "shown"), [("0007001", True), ("0007002", False), (None, False)])
def test_with_lines_a_call_on_no_known_line_is_not_shown(line, shown):
    assert is_for(a_call(line=line), lines=("0007001", "0007003")) is shown


@pytest.mark.parametrize("field", ["rung", "ringing", "talked", "consulted", "lost_to"])
def test_people_are_found_wherever_a_call_names_several(field):
    call = a_call(**{field: ("152", "151")})
    assert is_for(call, people=("151",))
    assert not is_for(call, people=("150",))


@pytest.mark.parametrize("field", ["caller", "dialled", "callee", "answered_by"])
def test_people_are_found_wherever_a_call_names_one(field):
    call = a_call("internal", **{field: "151"})
    assert is_for(call, people=("152", "151"))
    assert not is_for(call, people=("150", "152"))


@pytest.mark.parametrize(
    ("call", "people", "shown"),
    [
        (a_call(rung=("151",)), ("901",), True),
        (a_call(rung=("152",)), ("901",), False),
        (a_call("internal", dialled="901"), ("901",), True),
        (a_call("internal", dialled="901"), ("151",), False),
        (a_call(rung=("150",)), ("901",), True),  # its member 300 is the FollowMe of 150
        (a_call(rung=(MOBILE,)), ("150",), True),
        (a_call(rung=(MOBILE,)), ("901",), True),
        (a_call(rung=(OTHER_MOBILE,)), ("150", "901"), False),
        (a_call("internal", dialled="300"), ("150",), True),
        (a_call(rung=("150",)), ("300",), True),
        (a_call(), ("150",), False),
    ],
)
def test_a_department_stands_for_its_members_and_a_mobile_or_follow_me_for_its_person(call, people, shown):
    assert is_for(call, people=people) is shown


@pytest.mark.parametrize(
    ("hours", "shown"), [("Mo-Fr 09:00-18:00", True), ("Mo-Fr 10:00-18:00", False), ("Mo 06:00-07:00", False)]
)
def test_a_call_that_began_outside_the_hours_of_the_enterprise_is_not_shown(hours, shown):
    late = datetime(2025, 9, 15, 19, 0, tzinfo=UTC)
    assert is_for(over("answered", ended_at=late), hours=hours) is shown


def test_every_filter_that_is_set_has_to_let_a_call_through():
    filters = {"directions": ("in",), "outcomes": ("missed",), "lines": ("0007001",), "people": ("151",)}
    call = over("missed", line="0007001", rung=("151",))
    assert is_for(call, hours="Mo 09:00-10:00", **filters)
    for other in (
        {"direction": "out"},
        {"outcome": "answered"},
        {"line": "0007002"},
        {"rung": ("152",)},
        {"started_at": datetime(2025, 9, 15, 7, 0, tzinfo=UTC)},
    ):
        assert not is_for(msgspec.structs.replace(call, **other), hours="Mo 09:00-10:00", **filters), other


RINGING, TALKING = a_call(phase="ringing", rung=("151",)), a_call(phase="talking", talked=("151",))


@pytest.mark.parametrize(
    ("call", "ringing"),
    [
        (a_call(), {"edit", "all"}),
        (RINGING, {"edit", "all"}),
        (TALKING, {"edit", "all"}),
        (over("answered"), {"edit"}),
        (over("missed"), {"edit"}),
        (a_call("out"), {"edit"}),
        (a_call("internal"), {"edit"}),
    ],
)
def test_a_message_rings_as_the_subscriber_wishes(call, ringing):
    wishes = {notify: Subscriber(chat_id=1, notify=notify) for notify in ("edit", "missed", "all")}
    assert {notify for notify, one in wishes.items() if rings(one, call, JUNE, call.started_at)} == ringing


@pytest.mark.parametrize("notify", ["edit", "all"])
def test_in_silent_hours_nothing_rings_whenever_the_call_began(notify):
    subscriber = Subscriber(chat_id=1, notify=notify, silent="22:00-08:00")
    night, morning = (
        datetime(2025, 9, 15, 4, 59, tzinfo=UTC),
        datetime(2025, 9, 15, 5, 0, tzinfo=UTC),
    )
    call = a_call(started_at=night)
    assert not rings(subscriber, call, JUNE, night)
    assert rings(subscriber, call, JUNE, morning)
    assert concerns(subscriber, call, JUNE), "everything is shown"


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (over("missed"), True),
        (over("missed", "internal"), True),
        (over("lost_in_transfer", "out"), True),
        (over("not_answered", "out"), False),
        (over("answered"), False),
        (RINGING, False),
    ],
)
def test_missed_and_lost_calls_are_notices_for_those_who_asked(call, wanted):
    for notify in ("missed", "all"):
        assert wants_notice(Subscriber(chat_id=1, notify=notify), call, JUNE) is wanted
    assert not wants_notice(Subscriber(chat_id=1), call, JUNE)


def test_a_call_that_is_not_shown_is_no_notice():
    subscriber = Subscriber(chat_id=1, notify="missed", lines=("0007001",))
    assert wants_notice(subscriber, over("missed", line="0007001"), JUNE)
    assert not wants_notice(subscriber, over("missed", line="0007002"), JUNE)


def test_who_is_muted_hears_nothing_until_then_and_is_shown_everything():
    muted = Subscriber(chat_id=1, muted_until="2026-05-04T11:00:00+00:00")
    call = Call(enterprise="0367", call_id="1.1", direction="in", started_at=datetime(2026, 5, 4, tzinfo=UTC))
    directory = Directory.empty("0367")
    assert not rings(muted, call, directory, datetime(2026, 5, 4, 10, 59, tzinfo=UTC))
    assert rings(muted, call, directory, datetime(2026, 5, 4, 11, 0, tzinfo=UTC))
    assert concerns(muted, call, directory)
    assert not muted.selective


@pytest.mark.parametrize("text", ["tomorrow", "2026-05-04T11:00:00"])
def test_a_mute_that_tells_no_moment_is_none(text):
    with pytest.raises(ValueError, match=r"isoformat|zone"):
        Subscriber(chat_id=1, muted_until=text)
