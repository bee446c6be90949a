"""Every built-in scenario folds into its truth, on a host that sends all types and on one that sends four."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from calls.call import Call
from calls.exchange import Exchange
from calls.facts import Fact
from calls.scenarios import Scenario, catalogue
from calls.scenarios.script import LEAST_KINDS, Expected, ScriptError
from tests.folding import DIRECTORY, EPOCH, facts, played_facts, settled, truth

PHASES = ["begun", "ringing", "talking", "ended"]
POINT_7 = {"1-1", "1-8", "1-10", "2-1", "2-2", "2-3", "2-4", "2-12", "2-15", "3-1", "3-2", "3-3", "3-4"}

every_scenario = pytest.mark.parametrize("scenario", catalogue().values(), ids=lambda scenario: scenario.id)
every_host = pytest.mark.parametrize("least", [False, True], ids=["full", "least"])


def told(scenario: Scenario, least: bool, seed: int = 7) -> list[Fact]:
    return played_facts(scenario.events(EPOCH.timestamp(), seed, least=least))


def seen(order: Iterable[Fact]) -> list[Call]:
    """The call as it was after each event."""
    exchange = Exchange(DIRECTORY)
    calls = []
    for fact in order:
        exchange.apply(fact)
        calls += exchange.take().calls.values()
    return calls


@every_scenario
@every_host
def test_each_scenario_gives_one_call_with_its_expected_truth(scenario, least):
    (call,) = settled(told(scenario, least))
    expected = (scenario.least if least else None) or scenario.expected
    assert truth(call) == msgspec.structs.replace(expected, phases=())
    assert call.phase == "ended"
    assert call.ended_at is not None
    assert call.total is not None


@every_scenario
@every_host
def test_a_call_shows_its_phases_in_order_and_ends_once(scenario, least):
    calls = seen(told(scenario, least))
    phases = [call.phase for call in calls]
    shown = tuple(dict.fromkeys(phases))
    assert [PHASES.index(phase) for phase in phases] == sorted(PHASES.index(phase) for phase in phases)
    assert set(shown) <= set(scenario.expected.phases)
    assert shown[-1] == "ended"
    if not least:
        assert shown == scenario.expected.phases
    assert [call.outcome != "open" for call in calls] == [call.phase == "ended" for call in calls]


@every_scenario
@every_host
def test_the_last_hangup_tells_the_times_of_the_call(scenario, least):
    played = scenario.events(EPOCH.timestamp(), 7, least=least)
    (call,) = settled(played_facts(played))
    assert call.started_at == datetime.fromtimestamp(int(float(call.call_id)), UTC)
    hangup = played[-1]
    assert hangup.kind == "hangup"
    assert call.ended_at == EPOCH + timedelta(seconds=int(hangup.offset))
    assert (call.answered_at is None) == (call.outcome != "answered")
    assert call.started_at <= (call.answered_at or call.started_at) <= call.ended_at


def test_the_scenarios_of_the_first_issue_are_there():
    assert catalogue().keys() >= POINT_7
    assert all(scenario.id == name and scenario.title for name, scenario in catalogue().items())


@every_scenario
def test_the_least_host_sends_the_same_events_without_the_newer_types(scenario):
    full = scenario.events(EPOCH.timestamp(), 3)
    least = scenario.events(EPOCH.timestamp(), 3, least=True)
    assert least == tuple(event for event in full if event.kind in LEAST_KINDS)


@every_scenario
def test_two_runs_have_no_id_in_common(scenario):
    def ids(seed: int) -> set[str]:
        bodies = [event.body for event in scenario.events(EPOCH.timestamp(), seed)]
        return {str(body.get(key, "")) for body in bodies for key in ("UniqueId", "BridgeUniqueid")} - {""}

    assert ids(1)
    assert ids(1).isdisjoint(ids(2))
    assert scenario.events(0.0, 5) == scenario.events(0.0, 5)


@every_scenario
def test_every_body_is_one_that_the_service_takes(scenario):
    for least in (False, True):
        assert facts([(fact.kind, fact.body, EPOCH) for fact in told(scenario, least)])


@pytest.mark.parametrize(
    "script", ["ring main", "start main", "leg main L1 C\nstart main now", "leg main L1\nwait long"]
)
def test_a_step_that_is_no_step_is_named(script):
    scenario = Scenario(
        id="0-0", title="wrong", script=script, expected=Expected(direction="in", outcome="missed")
    )
    with pytest.raises(ScriptError, match=script.splitlines()[-1]):
        scenario.events(0.0, 1)
