"""The built-in scenarios: what their scripts become, and what they fold into, told by all types or by four."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby

import msgspec
import pytest

from calls.call import Call
from calls.events import identity, read_event
from calls.exchange import Exchange
from calls.facts import SILENCE_OBSERVED, Fact, leg_stream
from calls.observations import Silence, write_silence
from calls.scenarios import Played, Scenario, catalogue
from calls.scenarios.script import CAST, LEAST_KINDS, Expected, ScriptError
from tests.folding import DIRECTORY, EPOCH, played_facts, settled, truth

IDS = [
    *(f"1-{number}" for number in range(1, 12)),
    *(f"2-{number}" for number in range(1, 31)),
    *(f"3-{number}" for number in range(1, 5)),
]
PLAUSIBLE = {"1-11", "2-16", "2-17", "2-21", "2-22", "3-4"}
END_UNTOLD = {"1-4", "2-5", "2-14", "2-17", "2-28"}
"""No hangup comes after their last talk: silence ends them."""
PHASES = {"begun", "ringing", "talking", "ended"}
OTHER_CAST = {"C": "375290000201", "M": "375290000202", "L1": "0007011", "L2": "0007012"}

# events.md 4, Token and ExternalInitiated apart.
FIELDS = {
    "start": {"CallType", "Trunk", "UniqueId", "Phone"},
    "dial": {"CallType", "UniqueId", "Phone", "Extensions", "Trunk", "ExtTrunk", "ExtPhone"},
    "new_callerid": {
        "UniqueId",
        "Channel",
        "CallerIDNum",
        "CallerIDName",
        "ConnectedLineNum",
        "ConnectedLineName",
        "Context",
        "Exten",
    },
    "hangup": {
        "UniqueId",
        "CallType",
        "CallStatus",
        "Phone",
        "Extensions",
        "StartTime",
        "DateReceived",
        "EndTime",
        "Trunk",
    },
    "bridge_create": {
        "UniqueId",
        "BridgeUniqueid",
        "BridgeType",
        "BridgeTechnology",
        "BridgeCreator",
        "BridgeName",
        "BridgeNumChannels",
    },
}
FIELDS["bridge_destroy"] = FIELDS["bridge_create"]
FIELDS["bridge"] = FIELDS["new_callerid"] - {"Context"} | {"BridgeUniqueid"}
FIELDS["bridge_leave"] = FIELDS["bridge"] - {"Exten"} | {"BridgeNumChannels"}
CHANNEL = re.compile(r"(SIP/\d+-[0-9a-f]{8}|Local/\d+@\w+-[0-9a-f]{8};[12])")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

every_scenario = pytest.mark.parametrize("scenario", catalogue().values(), ids=lambda scenario: scenario.id)
every_host = pytest.mark.parametrize("least", [False, True], ids=["full", "least"])


def played(scenario: Scenario, seed: int = 7, **how) -> tuple[Played, ...]:
    return scenario.events(EPOCH.timestamp(), seed, **how)


def scripted(script: str) -> tuple[Played, ...]:
    expected = Expected(direction="in", outcome="missed")
    return Scenario(id="0-0", title="a script", script=script, expected=expected).events(0.0, 1)


def ids(events: Iterable[Played]) -> set[str]:
    return {str(event.body.get(key, "")) for event in events for key in ("UniqueId", "BridgeUniqueid")} - {""}


# the catalogue


def test_the_catalogue_has_every_kind_of_call_in_its_order():
    assert list(catalogue()) == IDS
    assert all(scenario.id == name and scenario.title for name, scenario in catalogue().items())
    assert {scenario.id for scenario in catalogue().values() if scenario.plausible} == PLAUSIBLE


@every_scenario
def test_a_poorer_truth_keeps_what_must_hold_in_any_case(scenario):
    for name in ("direction", "outcome", "customer", "line", "rung"):
        assert getattr(scenario.least or scenario.expected, name) == getattr(scenario.expected, name)


@every_scenario
def test_a_truth_is_at_one_with_itself(scenario):
    for expected in (scenario.expected, scenario.least or scenario.expected, *scenario.beside):
        assert set(expected.phases) <= PHASES
        assert expected.phases[-1] == "ended"
        assert expected.outcome in {"answered", "missed", "not_answered", "lost_in_transfer"}
        assert (expected.outcome in {"answered", "lost_in_transfer"}) == bool(expected.talked)
        assert expected.talked[:1] == tuple(filter(None, [expected.answered_by]))
        assert not set(expected.talked) & set(expected.consulted)
        assert (expected.customer is None) == (expected.direction == "internal")


# what a script becomes


@every_scenario
@every_host
def test_every_body_reads_as_an_event_with_identity(scenario, least):
    for event in played(scenario, least=least):
        unique_id, bridge_id = identity(read_event(msgspec.json.encode(event.body)))
        whole_bridge = event.kind in {"bridge_create", "bridge_destroy"}
        assert bool(unique_id) != whole_bridge
        assert bool(bridge_id) == event.kind.startswith("bridge")


@every_scenario
def test_every_kind_of_event_has_its_shape(scenario):
    for event in played(scenario):
        told = dict(event.body)
        assert told.pop("Token") == "375290000000"
        assert told.pop("ExternalInitiated", True) is True
        fields = FIELDS[event.kind]
        if told.get("CallType") == 2 and event.kind == "hangup":
            fields = fields - {"Trunk"}
            assert told["StartTime"] == ""
        assert told.keys() == fields
        assert {name for name, value in told.items() if not isinstance(value, str)} <= {
            "CallType",
            "Extensions",
        }
        assert CHANNEL.fullmatch(told.get("Channel", "SIP/151-00000000"))
        assert told.get("CallStatus", "0") in {"0", "2"}
        assert all(TIME.fullmatch(told[name]) for name in ("EndTime", "DateReceived") if name in told)


@every_scenario
def test_the_least_host_sends_the_same_events_without_the_newer_types(scenario):
    full, least = played(scenario), played(scenario, least=True)
    assert least == tuple(event for event in full if event.kind in LEAST_KINDS)
    assert {event.kind for event in least} <= LEAST_KINDS


@every_scenario
def test_the_halves_of_a_local_pair_share_a_name_and_have_ids_that_follow_each_other(scenario):
    halves: dict[str, dict[str, str]] = {}
    for event in played(scenario):
        name, _, half = event.body.get("Channel", "").partition(";")
        if name.startswith("Local/"):
            assert (
                halves.setdefault(name, {}).setdefault(half, event.body["UniqueId"]) == event.body["UniqueId"]
            )
    for ids_of in halves.values():
        if len(ids_of) == 2:
            (epoch, first), (same, second) = (ids_of[half].split(".") for half in "12")
            assert (same, int(second)) == (epoch, int(first) + 1)


@every_scenario
def test_a_channel_and_its_id_stay_together(scenario):
    seen = {(e.body["UniqueId"], e.body["Channel"]) for e in played(scenario) if "Channel" in e.body}
    assert len({unique_id for unique_id, _ in seen}) == len({channel for _, channel in seen}) == len(seen)


@every_scenario
def test_a_bridge_is_made_before_and_destroyed_after_its_visitors(scenario):
    place: dict[str, str] = {}
    made: list[str] = []
    for event in played(scenario):
        bridge, leg = event.body.get("BridgeUniqueid", ""), event.body["UniqueId"]
        match event.kind:
            case "bridge_create":
                assert bridge not in made
                made.append(bridge)
            case "bridge":
                assert bridge in made or scenario.id == "1-2"
                place[leg] = bridge
            case "bridge_leave":
                assert event.body["BridgeNumChannels"] in {"0", "1", "2"}
                if place.get(leg) == bridge:
                    del place[leg]
            case "bridge_destroy":
                assert bridge not in place.values()


@every_scenario
def test_two_runs_have_no_id_in_common(scenario):
    one, other = played(scenario, 1), played(scenario, 2)
    assert ids(one)
    assert ids(one).isdisjoint(ids(other))
    assert scenario.events(0.0, 5) == scenario.events(0.0, 5)


@every_scenario
def test_another_cast_leaves_nobody_of_the_usual_one(scenario):
    text = msgspec.json.encode([event.body for event in played(scenario, cast=OTHER_CAST)]).decode()
    assert not any(re.search(rf"(?<!\d){number}(?!\d)", text) for number in CAST.values())
    assert [event.kind for event in played(scenario, cast=OTHER_CAST)] == [
        event.kind for event in played(scenario)
    ]


@pytest.mark.parametrize(
    "script",
    [
        "ring main",
        "say C",
        "unseen",
        "unseen ring main",
        "start main now",
        "start nobody",
        "leg main L1 C\nstart main now",
        "leg main L1 C\ndial main 1 151",
        "leg main L1 C\nncid main looks 151",
        "leg main L1\nwait long",
        "leg ask1 152@dialexecute;3 152",
        "leg ask1 152@dialexecute;1 152\nleg other 152",
        "leg ask1 152@dialexecute;1 152\nleg again 152@dialexecute;1 152",
        "leg main 151\nenter A main 152",
        "leg main 151\ncreate A\nleave A main",
    ],
)
def test_a_step_that_is_no_step_is_named(script):
    with pytest.raises(ScriptError, match=re.escape(repr(script.splitlines()[-1]))):
        scripted(script)


def test_a_second_pair_of_the_same_name_is_another_pair():
    pair = "leg {0}1 152@dialexecute;1 152\nleg {0}2 152@dialexecute;2 151\nncid {0}1\nncid {0}2\n"
    channels = [event.body["Channel"] for event in scripted(pair.format("a") + pair.format("b"))]
    assert [channel[-2:] for channel in channels] == [";1", ";2"] * 2
    names = [channel[:-2] for channel in channels]
    assert names[0] == names[1] != names[2] == names[3]


def test_what_is_not_told_happens_all_the_same():
    events = scripted("""
        leg one 151
        leg other 152
        unseen create A
        unseen enter A one 152
        enter A other 151
        leave A one
    """)
    assert [event.kind for event in events] == ["bridge", "bridge_leave"]
    assert [event.offset for event in events] == [0.0, 1.0]
    assert events[-1].body["BridgeNumChannels"] == "1"


def test_entering_a_bridge_leaves_the_last_one():
    events = scripted("""
        leg one 151
        leg other 152
        create A
        create B
        enter A one 152
        enter A other 151
        enter B one 152
        leave A other
    """)
    assert events[-1].body["BridgeNumChannels"] == "0"


def test_a_local_half_takes_the_customers_number_for_good():
    *_, named, left = scripted("""
        leg main L1 C
        start main
        leg ask1 152@dialexecute;1 152
        leg ask2 152@dialexecute;2 151
        create A
        enter A ask2 152
        ncid ask2 as C sees 152
        leave A ask2 152
    """)
    assert (named.body["Context"], named.body["Exten"]) == ("dialexecute", "152")
    for event in (named, left):
        assert (event.body["CallerIDNum"], event.body["CallerIDName"]) == (CAST["C"], f"-{CAST['C']}")


def test_the_line_is_the_trunks_and_not_the_channels():
    start, rung = scripted("leg main L2 C\nstart main via L1\ndial main 0 151")
    assert start.body["Trunk"] == rung.body["Trunk"] == CAST["L1"]


# what a script folds into


def told(scenario: Scenario, least: bool, seed: int = 7) -> list[Fact]:
    """Facts of a played scenario; where nobody tells its end, silence was observed afterwards."""
    facts = played_facts(played(scenario, seed, least=least))
    if scenario.id in END_UNTOLD:
        (call,) = settled(facts)
        body = write_silence(Silence("silence", 7200.0, len(facts)))
        at = facts[-1].occurred_at + timedelta(hours=2)
        stream = leg_stream(call.call_id)
        version = sum(fact.stream == stream for fact in facts) + 1
        facts.append(
            Fact(
                len(facts) + 1,
                facts[0].enterprise,
                stream,
                version,
                SILENCE_OBSERVED,
                "service",
                at,
                at,
                body,
            )
        )
    return facts


def truths(scenario: Scenario, least: bool) -> list[Expected]:
    main = (scenario.least if least else None) or scenario.expected
    return [main, *scenario.beside]


def main_call(calls: Iterable[Call], scenario: Scenario) -> Call:
    (call,) = (call for call in calls if call.direction == scenario.expected.direction)
    return call


def shown(scenario: Scenario, least: bool) -> tuple[str, ...]:
    """The phases of the main call after each event, neighbours that are equal as one."""
    exchange = Exchange(DIRECTORY)
    phases = []
    for fact in told(scenario, least):
        exchange.apply(fact)
        calls = exchange.take().calls.values()
        phases += [call.phase for call in calls if call.direction == scenario.expected.direction]
    return tuple(phase for phase, _ in groupby(phases))


@every_scenario
@every_host
def test_each_scenario_gives_its_calls_with_their_truth(scenario, least):
    calls = settled(told(scenario, least))
    expected = [msgspec.structs.replace(one, phases=()) for one in truths(scenario, least)]
    assert sorted(map(truth, calls), key=repr) == sorted(expected, key=repr)
    for call in calls:
        assert call.phase == "ended"
        assert call.ended_at is not None
        assert call.total is not None


@every_scenario
@every_host
def test_a_call_shows_its_phases_in_order(scenario, least):
    main, *_ = truths(scenario, least)
    assert shown(scenario, least) == main.phases


@every_scenario
@every_host
def test_the_last_hangup_tells_the_times_of_the_call(scenario, least):
    events = played(scenario, least=least)
    call = main_call(settled(told(scenario, least)), scenario)
    assert call.started_at == datetime.fromtimestamp(int(float(call.call_id)), UTC)
    assert (call.answered_at is None) == (call.answered_by is None)
    assert call.started_at <= (call.answered_at or call.started_at) <= call.ended_at
    last = events[-1]
    if last.kind == "hangup" and last.body["UniqueId"] == call.call_id:
        assert call.ended_at == EPOCH + timedelta(seconds=int(last.offset))
