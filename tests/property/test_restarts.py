"""A restart at any moment makes no difference: rows and cards end as if there had been none.

Calls of the same few people overlap and come in bursts, as from hosts that waited for a service that was down; cards of
some calls wait for their chat, so that their actors stay longer than the fold remembers them.
"""

import itertools
import random
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

import msgspec
import pytest

from actors.enterprise import Patience
from adapters.asterisk.sender import host_json
from calls.call import Call
from calls.deliveries import DeliverySent, write_delivery
from calls.directory import changes
from calls.entries import DirectoryChange
from calls.facts import DIRECTORY_CHANGED, DIRECTORY_STREAM, Fact, NewFact, delivery_stream
from calls.scenarios import Played, catalogue
from projections.calls import CallsFold
from projections.live import load
from tests.acting import Acting, TestClock, acting
from tests.bench.material import HostEvent, Slot, templates
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, facts
from tests.memory_log import MemoryLog, MemoryTables, project_all
from tests.storing import again, change_facts

CALLS = 80
A_SECOND = 0.5
PLACES = 2
"""Four people each: calls of the same few overlap."""
LASTS = 3.0
"""Seconds into which a call is pressed; its hosts' clocks tell the whole length."""
SECOND = int(EPOCH.timestamp())
DOWN = 120.0
DOWNS = 16
CHAT = 1001
PATIENCE = Patience(settle=2.0, silence=3.0)


def arrivals(chance: random.Random) -> tuple[list[tuple[float, HostEvent]], list[float]]:
    """Events with the second in which each arrives, and when the service comes back."""
    scenarios, begun = templates(second=SECOND), 0.0
    told: list[tuple[float, int, HostEvent]] = []
    for serial in range(CALLS):
        template = chance.choice(scenarios)
        pressed = min(1.0, LASTS / max(template.offsets[-1], 0.1))
        events = template.call(serial, Slot(0, serial % PLACES))
        told += [
            (begun + offset * pressed, serial, event)
            for event, offset in zip(events, template.offsets, strict=True)
        ]
        begun += chance.expovariate(A_SECOND)
    downs = [(at, at + chance.uniform(1, DOWN)) for at in (chance.uniform(0, begun) for _ in range(DOWNS))]
    arrived: list[tuple[float, HostEvent]] = []
    last: dict[int, float] = {}
    for sent, serial, event in told:
        waits = [end for begin, end in downs if begin <= sent < end]
        at = max(waits) + chance.random() * 0.3 if waits else sent
        last[serial] = max(at, last.get(serial, 0.0) + 0.002)
        arrived.append((last[serial], event))
    return sorted(arrived, key=lambda one: one[0]), sorted(end for _, end in downs)


async def lived(seed: int) -> tuple[MemoryLog, dict[str, Call]]:
    """The log after all lives, and every call as it was shown last."""
    chance, clock = random.Random(seed), TestClock()
    events, ends = arrivals(chance)
    log = MemoryLog(clock.now)
    log.put([subscriber()])
    shown: dict[str, Call] = {}
    for until in (*ends, float("inf")):
        async with acting(log, clock, PATIENCE) as acts:
            await load(acts.projection, log, log.tables.at)
            while events and events[0][0] < until:
                at, event = events.pop(0)
                if at > clock.passed:
                    await acts.pass_time(at - clock.passed)
                await acts.told(arrival(event, clock))
                acts.cards.busy = {call.call_id for call in acts.cards.shown if int(call.call_id[-1]) % 2}
                await show(acts)
                if chance.random() < 0.3:
                    await acts.project()
            if not events:
                for _ in range(30):
                    await acts.pass_time(1.0)
                    await show(acts)
                await acts.project()
            shown |= acts.cards.newest()
    return log, shown


async def show(acts: Acting) -> None:
    """Every chat shows what it is told, at once."""
    for call in acts.cards.newest().values():
        if call.settled:
            kind, body = write_delivery(
                DeliverySent(call.call_id, CHAT, 7, "hash", "ended", call.last_position)
            )
            stream = delivery_stream(call.call_id, CHAT)
            if all(fact.body != body for fact in acts.log.facts if fact.stream == stream):
                await acts.told(fact_of(stream, kind, body, acts.clock))


def subscriber() -> NewFact:
    body = msgspec.json.encode(DirectoryChange("subscriber", str(CHAT), {"chat_id": CHAT}))
    return fact_of(DIRECTORY_STREAM, DIRECTORY_CHANGED, body, TestClock())


def arrival(event: HostEvent, clock: TestClock) -> NewFact:
    return msgspec.structs.replace(fact_of(event.stream, event.kind, event.body, clock), source="live")


def fact_of(stream: str, kind: str, body: bytes, clock: TestClock) -> NewFact:
    return NewFact(
        enterprise=ENTERPRISE,
        stream=stream,
        kind=kind,
        source="service",
        occurred_at=EPOCH + timedelta(seconds=clock.passed),
        body=body,
    )


def differences(log: MemoryLog, shown: dict[str, Call], truth: dict[str, Call]) -> Iterator[str]:
    """What is not as one uninterrupted fold over all facts tells it."""
    rows = {call_id: call for (_, call_id), call in log.tables.calls.items()}
    for call_id in sorted(truth.keys() | rows.keys()):
        if rows.get(call_id) != truth.get(call_id):
            yield f"row {call_id}: {rows.get(call_id)} instead of {truth.get(call_id)}"
        elif shown.get(call_id) != truth[call_id]:
            yield f"shown {call_id}: {shown.get(call_id)} instead of {truth[call_id]}"


@pytest.mark.parametrize("seed", [6, 9, 13, 22])
async def test_restarts_in_the_middle_of_overlapping_calls_make_no_difference(seed):
    log, shown = await lived(seed)
    undisturbed = MemoryLog(facts=log.facts)
    await project_all(undisturbed, CallsFold())
    truth = {call_id: call for (_, call_id), call in undisturbed.tables.calls.items()}
    assert len(truth) > CALLS / 2
    assert list(differences(log, shown, truth)) == []


# one customer, four hosts, events that are lost


def crowd(seed: int) -> list[Fact]:
    """Facts of forty calls of one customer and the same phones, four at a time; some events are never told."""
    chance, known = random.Random(seed), change_facts(changes(None, DIRECTORY))
    lost = chance.choice([0, 0.02, 0.1, 0.25])
    begun = itertools.count(1)

    def host() -> Iterator[Played]:
        while (number := next(begun)) <= CALLS / 2:
            scenario = chance.choice(list(catalogue().values()))
            yield from scenario.events(EPOCH.timestamp() + number, seed=number)

    hosts = [host() for _ in range(4)]
    told: list[tuple[str, bytes, datetime]] = []
    at = EPOCH + timedelta(seconds=1_000)
    while hosts:
        event = next(mine := chance.choice(hosts), None)
        if event is None:
            hosts.remove(mine)
        elif chance.random() >= lost:
            at += timedelta(milliseconds=chance.choice([1, 10, 100, 2_000]) if seed % 2 else 10)
            told.append((event.kind, host_json(event.body), at))
    log = MemoryLog(lambda: at)
    log.put(known)
    for fact in again(facts(told)):
        at = fact.occurred_at
        log.put([fact])
    return log.facts


async def projected(told: list[Fact], downs: Collection[int] = ()) -> MemoryTables:
    """The tables of these facts, where the projection begins anew at some positions."""
    log, fold = MemoryLog(facts=told), CallsFold()
    while log.tables.at.position < log.head:
        at = log.tables.at.position
        await project_all(log, fold, upto=min([down for down in downs if down > at], default=log.head))
        fold = CallsFold()
        await load(fold, log, log.tables.at)
    assert not log.parked
    return log.tables


@pytest.mark.parametrize("seed", [35, 50, 72, 96, 136, 148])
async def test_lost_events_of_overlapping_calls_of_one_customer_make_none_either(seed):
    told, chance = crowd(seed), random.Random(7 * seed)
    undisturbed = await projected(told)
    for count in (1, 2, 5):
        tables = await projected(told, chance.sample(range(20, len(told)), count))
        assert tables.calls == undisturbed.calls
