"""Recovered facts in the actors: folded where they happened, shown once, without noise (calls.order)."""

import json
import random
from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
import pytest

from actors.enterprise import LINGER, LOOK_AGAIN, NEWS, Patience
from calls.call import Call
from calls.deliveries import DeliverySent, write_delivery
from calls.entries import DirectoryChange
from calls.facts import (
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    SILENCE_OBSERVED,
    Fact,
    NewFact,
    delivery_stream,
    leg_stream,
)
from calls.scenarios import catalogue
from tests.acting import Acting, TestClock, acting
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, played_facts, settled
from tests.memory_log import MemoryLog
from tests.storing import again

A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"
CHAT = 1001
DAY = 24 * 3600.0
PEOPLE = [
    DirectoryChange("subscriber", str(CHAT), {"chat_id": CHAT}),
    DirectoryChange("manager", "150", {"extension": "150", "name": "Пётр", "mobile": "+375290000102"}),
    DirectoryChange("manager", "151", {"extension": "151", "name": "Анна"}),
    DirectoryChange("manager", "152", {"extension": "152"}),
    DirectoryChange("line", "0007001", {"id": "0007001", "name": "Основная линия"}),
    DirectoryChange("department", "901", {"number": "901", "members": ["150", "151", "153"]}),
    DirectoryChange("follow_me", "300", {"number": "300", "extension": "150", "mobile": "+375290000102"}),
]
every_scenario = pytest.mark.parametrize("scenario", catalogue(), ids=str)


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def log(clock: TestClock) -> MemoryLog:
    return new_log(clock)


def new_log(clock: TestClock) -> MemoryLog:
    made = MemoryLog(clock.now)
    made.put(change(told) for told in PEOPLE)
    return made


def change(told: DirectoryChange) -> NewFact:
    return NewFact(
        enterprise=ENTERPRISE,
        stream=DIRECTORY_STREAM,
        kind=DIRECTORY_CHANGED,
        source="service",
        occurred_at=EPOCH,
        body=msgspec.json.encode(told),
    )


def played(scenario: str, begun: float = 0, seed: int = 1) -> list[Fact]:
    told = catalogue()[scenario].events(EPOCH.timestamp() + begun, seed)
    return played_facts(told, EPOCH + timedelta(seconds=begun))


def event(kind: str, unique_id: str, second: float, bridge: str = "", **fields: object) -> NewFact:
    body = json.dumps({"UniqueId": unique_id, "BridgeUniqueid": bridge, **fields}).encode()
    return NewFact(
        enterprise=ENTERPRISE,
        stream=leg_stream(unique_id),
        kind=kind,
        source="live",
        occurred_at=EPOCH + timedelta(seconds=second),
        body=body,
    )


def live(facts: Iterable[Fact]) -> list[NewFact]:
    return again(facts)


def recovered(facts: Iterable[Fact]) -> list[NewFact]:
    return [msgspec.structs.replace(fact, source="recovery") for fact in again(facts)]


def sent(call_id: str, message_id: int = 7) -> NewFact:
    kind, body = write_delivery(DeliverySent(call_id, CHAT, message_id, "h", "begun"))
    stream = delivery_stream(call_id, CHAT)
    return NewFact(
        enterprise=ENTERPRISE, stream=stream, kind=kind, source="service", occurred_at=EPOCH, body=body
    )


def split(facts: Sequence[Fact], seed: str) -> tuple[list[Fact], list[Fact]]:
    """Events that came live, and those that did not: at least one."""
    chance = random.Random(seed)
    lost = {place for place in range(len(facts)) if chance.random() < 0.4} or {chance.randrange(len(facts))}
    return (
        [fact for place, fact in enumerate(facts) if place not in lost],
        [fact for place, fact in enumerate(facts) if place in lost],
    )


def plain(call: Call) -> Call:
    return msgspec.structs.replace(call, last_position=0, source="live")


def calls_of(acts: Acting) -> dict[str, Call]:
    """Every call that the actors lead."""
    actors = acts.house.enterprise(ENTERPRISE).actors.values()
    return {
        actor.call.call_id: plain(actor.call)
        for actor in actors
        if actor.call and actor.leader == actor.unique_id
    }


def truth(facts: Iterable[Fact]) -> dict[str, Call]:
    """What an uninterrupted fold tells of these events, had they all come live."""
    return {call.call_id: plain(call) for call in settled(facts, DIRECTORY)}


def at(clock: TestClock, facts: Sequence[Fact]) -> None:
    """It is the moment of the last of these."""
    clock.passed = (facts[-1].occurred_at - EPOCH).total_seconds()


@every_scenario
@pytest.mark.parametrize("seed", range(6))
async def test_events_that_were_lost_and_recovered_make_the_call_that_they_would_have_made_live(
    scenario, seed
):
    facts, clock = played(scenario), TestClock()
    told, lost = split(facts, f"{scenario} {seed}")
    async with acting(new_log(clock), clock) as acts:
        at(clock, facts)
        await acts.told(*live(told))
        await acts.told(*recovered(lost))
        await acts.project()
        assert calls_of(acts) == truth(facts)
        assert any(call.source == "recovery" for call in acts.cards.newest().values())


@every_scenario
async def test_imports_in_any_order_make_the_same_call(scenario):
    facts, clock, chance = played(scenario), TestClock(), random.Random(scenario)
    told, lost = split(facts, scenario)
    pieces = [lost[begin : begin + 2] for begin in range(0, len(lost), 2)]
    chance.shuffle(pieces)
    async with acting(new_log(clock), clock) as acts:
        at(clock, facts)
        await acts.told(*live(told))
        for piece in pieces:
            await acts.told(*recovered(piece))
            if chance.random() < 0.5:
                await acts.project()
        await acts.project()
        assert calls_of(acts) == truth(facts)


async def test_a_recovered_fact_waits_until_the_projection_knows_whose_it_is(log, clock):
    facts = played("2-1")
    async with acting(log, clock) as acts:
        at(clock, facts)
        await acts.told(*live(facts[:-1]))
        shown = len(acts.cards.shown)
        await acts.told(*recovered(facts[-1:]))
        assert len(acts.cards.shown) == shown
        await acts.project()
        assert acts.cards.shown[-1].settled


async def test_live_calls_go_on_while_recovered_facts_wait(log, clock):
    facts = played("2-1")
    async with acting(log, clock) as acts:
        await acts.told(*recovered(played("2-2", begun=-600, seed=500)))
        await acts.told(*live(facts))
        assert calls_of(acts) == truth(facts)


async def test_what_was_routed_before_is_not_folded_again_after_a_catch_up(log, clock):
    facts = played("2-18")
    told, lost = split(facts, "again")
    async with acting(log, clock) as acts:
        at(clock, facts)
        await acts.told(*live(told), *recovered(lost))
        await acts.project()
        shown = len(acts.cards.shown)
        acts.house.offer(log.facts)
        acts.house.catch_up(log.head)
        await acts.quiet()
        assert len(acts.cards.shown) == shown
        assert calls_of(acts) == truth(facts)


async def test_a_live_event_after_a_recovered_one_is_folded_behind_it(log, clock):
    facts = played("2-1")
    async with acting(log, clock) as acts:
        at(clock, facts)
        await acts.told(*live(facts[:2]), *live(facts[3:-1]))
        await acts.told(*recovered(facts[2:3]), *live(facts[-1:]))
        await acts.project()
        assert calls_of(acts) == truth(facts)


async def test_a_restart_before_recovered_facts_are_folded_loses_none(log, clock):
    facts = played("2-13")
    told, lost = split(facts, "restart")
    at(clock, facts)
    async with acting(log, clock) as acts:
        await acts.told(*live(told))
        await acts.project()
        await acts.told(*recovered(lost))
    async with acting(log, clock) as acts:
        await acts.project()
        assert calls_of(acts) == truth(facts)


# who is shown what


def refused(acts: Acting, call_id: str) -> bool:
    """True where the call is not for the chat."""
    return any(post.refused == "over" for post in acts.cards.posts[call_id].get(CHAT, ()))


async def test_a_call_known_by_recovery_alone_is_shown_while_it_is_news(log, clock):
    facts = played("2-1")
    async with acting(log, clock) as acts:
        at(clock, facts)
        clock.passed += NEWS - 60
        await acts.told(*recovered(facts))
        await acts.project()
        (call,) = acts.cards.newest().values()
        assert call.settled
        assert call.source == "recovery"
        assert not refused(acts, call.call_id)


async def test_an_imported_history_is_shown_to_nobody(log, clock):
    clock.passed = 30 * DAY
    async with acting(log, clock) as acts:
        for place, scenario in enumerate(("2-1", "2-18", "1-1", "3-2")):
            await acts.told(*recovered(played(scenario, begun=place * DAY, seed=place * 500)))
        await acts.project()
        assert all(refused(acts, call.call_id) for call in acts.cards.shown)


async def test_a_message_that_stands_is_corrected_whatever_its_age(log, clock):
    facts = played("2-1")
    call_id = next(iter(truth(facts)))
    async with acting(log, clock) as acts:
        at(clock, facts)
        await acts.told(*live(facts[:1]), *live(facts[-1:]), sent(call_id))
        await acts.project()
        await acts.pass_time(LINGER + 1)
        assert not acts.knows(call_id)
        await acts.pass_time(30 * DAY)
        await acts.told(*recovered(facts[1:-1]))
        await acts.project()
        assert plain(acts.cards.shown[-1]) == truth(facts)[call_id]
        assert [post.message_id for post in acts.cards.posts[call_id][CHAT]] == [7]


async def test_calls_that_ended_long_ago_are_let_go_soon_after_an_import(log, clock):
    clock.passed = 30 * DAY
    async with acting(log, clock) as acts:
        await acts.told(*recovered(played("2-1")))
        await acts.project()
        assert calls_of(acts)
        await acts.pass_time(LOOK_AGAIN)
        assert not acts.house.enterprise(ENTERPRISE).actors


async def test_of_a_call_without_its_end_silence_is_observed_at_once_and_once(log, clock):
    facts = played("2-1")
    clock.passed = 3 * 3600.0
    async with acting(log, clock, Patience(settle=15, silence=7200)) as acts:
        await acts.told(*recovered(facts[:2]))
        await acts.project()
        assert acts.cards.shown == []
        await acts.pass_time(1)
        for _ in range(3):
            await acts.project()
            await acts.pass_time(LOOK_AGAIN)
        assert sum(fact.kind == SILENCE_OBSERVED for fact in log.facts) == 1
        assert {call.outcome for call in acts.cards.shown} == {"missed"}


async def test_a_mass_of_recovered_calls_is_taken_from_the_store_some_at_a_time(log, clock, monkeypatch):
    monkeypatch.setattr("actors.house.CALLS_AT_ONCE", 3)
    clock.passed = DAY
    months = [played("2-1", begun=place * 300, seed=place * 500) for place in range(20)]
    async with acting(log, clock) as acts:
        await acts.told(*recovered(fact for facts in months for fact in facts))
        reads = log.reads
        await acts.project()
        assert len({call.call_id for call in acts.cards.shown}) == len(months)
        assert log.reads - reads <= len(months)


async def test_a_leg_that_leads_a_call_of_its_own_since_a_recovered_dial_is_no_longer_the_other_calls(
    log, clock
):
    facts = [
        event("bridge", A, 0, "X", Channel="SIP/151-00000001", CallerIDNum="151", Exten="152"),
        event("bridge", B, 0, "X", Channel="SIP/152-00000002", CallerIDNum="152"),
        event("hangup", C, 1, CallType=2, CallStatus="0", Phone="151", Extensions=["153"]),
    ]
    async with acting(log, clock) as acts:
        await acts.told(*facts)
        assert acts.cards.newest()[A].legs == (A, B, C)
        dial = event("dial", C, 0.5, CallType=2, Phone="151", Extensions=["153"])
        await acts.told(msgspec.structs.replace(dial, source="recovery"))
        await acts.project()
        shown = acts.cards.newest()
        assert shown[A].legs == (A, B)
        assert shown[C].legs == (C,)
        assert set(acts.actor(A).legs()) == {A, B}


async def test_a_call_is_taken_whole_though_no_table_knows_whose_the_leg_is(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(event("start", A, 0, Phone="375290000101", Trunk="0007001"))
        await acts.told(event("bridge", A, 1, "X"), event("bridge", B, 2, "X", CallerIDNum="151"))
        late = event("hangup", B, 900, CallType=0, CallStatus="2", Phone="375290000101", Extensions=["151"])
        await acts.told(msgspec.structs.replace(late, source="recovery"))
        acts.house.projected = log.head
        await acts.quiet()
        (call,) = calls_of(acts).values()
        assert call.legs == (A, B)
        assert call.talked == ("151",)
        assert acts.actor(B).leader == A
