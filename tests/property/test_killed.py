"""Killed every few seconds while hosts wait to be heard: rows and chats end as one uninterrupted fold tells them.

A host tells one event at a time, so those of one call come minutes apart, and in between its silence is observed. Chats
are slower than the calls: most cards are pending when the service dies.
"""

import random
from collections.abc import Iterator

import msgspec
import pytest

from actors.ports import VersionConflict
from adapters.telegram.posts import Action, Edit, GiveUp, Send, Withdraw, fingerprint, newest, next_action
from calls.call import Call
from calls.cards import render
from calls.deliveries import (
    DELIVERY_KINDS,
    Delivery,
    DeliveryEdited,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    DeliveryWithdrawn,
    Post,
    fold_delivery,
    write_delivery,
)
from calls.directory import Directory
from calls.facts import delivery_stream
from projections.calls import CallsFold
from projections.live import load, project
from tests.acting import Acting, Cards, TestClock, acting
from tests.bench.material import HostEvent, Slot, templates
from tests.folding import ENTERPRISE, EPOCH
from tests.memory_log import MemoryLog, project_all
from tests.property.test_restarts import CHAT, PATIENCE, arrival, fact_of, subscriber

CALLS = 60
PLACES = 2
"""How many sets of people take part."""
A_SECOND = 0.5
LASTS = 3.0
EVENTS_A_SECOND = 10.0
LIFE = (1.0, 4.0)
DOWN = 15.0
NEVER = 1e9
QUIET = 120


def lives(chance: random.Random) -> tuple[list[tuple[float, HostEvent]], list[float]]:
    """Events with the second in which each is heard, and when the service comes back."""
    scenarios, begun, queues = templates(second=int(EPOCH.timestamp())), 0.0, []
    for serial in range(CALLS):
        template = chance.choice(scenarios)
        pressed = min(1.0, LASTS / max(template.offsets[-1], 0.1))
        told = template.call(serial, Slot(0, serial % PLACES))
        queues.append(
            [(begun + at * pressed, event) for event, at in zip(told, template.offsets, strict=True)]
        )
        begun += chance.expovariate(A_SECOND)
    heard: list[tuple[float, HostEvent]] = []
    back: list[float] = []
    now = 0.0
    while queues:
        end = now + chance.uniform(*LIFE) if now < (begun + LASTS) * chance.choice((1, 2, 3)) else NEVER
        while queues and now < end:
            ready = [queue for queue in queues if queue[0][0] <= now]
            if ready:
                queue = chance.choice(ready)
                heard.append((now, queue.pop(0)[1]))
                now += chance.expovariate(EVENTS_A_SECOND)
                queues = [queue for queue in queues if queue]
            else:
                now = min(end, *(queue[0][0] for queue in queues))
        if queues:
            now = max(now, end) + chance.uniform(1, DOWN)
            back.append(now)
    return heard, back


class Chat(Cards):
    """One chat that is told of calls as the outbox would tell it, whenever its turn comes."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: dict[str, tuple[Call, Directory, tuple[Post, ...]]] = {}
        self.own: dict[str, Post] = {}

    def show(self, call, directory, posts, context=None):
        self.wanted[call.call_id] = (call, directory, posts.get(CHAT, ()))

    def drop(self, enterprise, call_id):
        self.wanted.pop(call_id, None)

    def idle(self, enterprise, call_id):
        return call_id not in self.wanted or self.next(call_id) is None

    def next(self, call_id: str) -> Action | None:
        call, directory, posts = self.wanted[call_id]
        legs = dict.fromkeys((call_id, *call.legs))
        known = newest((*posts, *(self.own[leg] for leg in legs if leg in self.own)))
        return next_action(call, CHAT, known, fingerprint(render(call, directory)))

    async def go_on(self, acts: Acting, call_id: str, *, unheard: bool = False) -> bool:
        """The next request, if there is one; ``unheard``: its answer never comes."""
        action = self.next(call_id)
        if action is None:
            return False
        call, directory, _ = self.wanted[call_id]
        post, shown = action.post, fingerprint(render(call, directory))
        to = (post.call_id, CHAT)
        match action:
            case Send():
                try:
                    post = await told(acts, post, DeliveryIntended(*to, shown, "try"), post.version)
                except VersionConflict:
                    return False
                if not unheard:
                    sent = DeliverySent(*to, acts.log.head, shown, call.phase, call.last_position)
                    post = await told(acts, post, sent)
            case Edit(message_id=message):
                post = await told(
                    acts, post, DeliveryEdited(*to, message, shown, call.phase, call.last_position)
                )
            case Withdraw(message_id=message):
                post = await told(acts, post, DeliveryWithdrawn(*to, message))
            case GiveUp():
                post = await told(acts, post, DeliveryRefused(*to, "ambiguous"))
        self.own[post.call_id] = post
        await acts.quiet()
        return True


async def told(acts: Acting, post: Post, delivery: Delivery, version: int | None = None) -> Post:
    kind, body = write_delivery(delivery)
    fact = fact_of(delivery_stream(post.call_id, CHAT), kind, body, acts.clock)
    await acts.log.append(msgspec.structs.replace(fact, expected_version=version))
    return fold_delivery(post, (await acts.log.read_stream(ENTERPRISE, fact.stream))[-1])


async def project_some(acts: Acting, facts: int) -> None:
    """The projection follows, but only so far."""
    log = acts.log
    page, reached = await log.next(log.tables.at, facts)
    for fact in page:
        await project(acts.projection, fact, log, reached.position)
    if page:
        await log.tables.write(acts.projection.take(), log.tables.at, reached, acts.projection.name)
    acts.house.projected = log.tables.at.position
    await acts.quiet()


async def lived(seed: int) -> tuple[MemoryLog, Directory]:
    """The log after all lives."""
    chance, clock = random.Random(seed), TestClock()
    events, back = lives(random.Random(seed + 1_000_000))
    log = MemoryLog(clock.now)
    log.put([subscriber()])
    for until in (*back, NEVER):
        async with acting(log, clock, PATIENCE, recovered=False) as acts:
            acts.cards = acts.house.cards = chat = Chat()
            await acts.house.recover(log.head)
            await acts.quiet()
            await load(acts.projection, log, log.tables.at)
            pace = chance.random() * 0.03
            while events and events[0][0] < until:
                at, event = events.pop(0)
                if at > clock.passed:
                    await acts.pass_time(at - clock.passed)
                if chance.random() < 0.03 and until < NEVER:
                    log.put([arrival(event, clock)])  # killed when it was stored and nobody had heard of it
                    break
                await acts.told(arrival(event, clock))
                for call_id in list(chat.wanted):
                    if call_id in chat.wanted and chance.random() < pace:
                        await chat.go_on(acts, call_id, unheard=chance.random() < 0.03)
                if chance.random() < 0.3:
                    await project_some(acts, chance.choice((3, 10, 50, 1000)))
            for _ in range(QUIET if until == NEVER else 0):
                await acts.pass_time(1.0)
                for call_id in list(chat.wanted):
                    if call_id in chat.wanted:
                        await chat.go_on(acts, call_id)
                await project_some(acts, 1000)
            directory = acts.house.enterprise(ENTERPRISE).directory
    return log, directory


def differences(log: MemoryLog, truth: dict[str, Call], directory: Directory) -> Iterator[str]:
    """What is not as one uninterrupted fold over all facts tells it."""
    rows = {call_id: call for (_, call_id), call in log.tables.calls.items()}
    for call_id in sorted(truth.keys() | rows.keys()):
        if rows.get(call_id) != truth.get(call_id):
            yield f"row {call_id}: {rows.get(call_id)} instead of {truth.get(call_id)}"
    posts: dict[str, Post] = {}
    for fact in log.facts:
        if fact.kind in DELIVERY_KINDS:
            posts[fact.stream] = fold_delivery(posts.get(fact.stream), fact)
    live = {post.call_id: post for post in posts.values() if post.live}
    for call_id, call in truth.items():
        mine = [live.pop(leg) for leg in dict.fromkeys((call_id, *call.legs)) if leg in live]
        if [post.hash for post in mine] != [fingerprint(render(call, directory))]:
            yield f"chat: {mine} of {call}"
    for post in live.values():
        yield f"chat: nobody's {post}"


@pytest.mark.parametrize("seed", [15, 22, 40, 54])
async def test_lives_of_a_few_seconds_leave_rows_and_chats_as_one_life_would(seed):
    log, directory = await lived(seed)
    undisturbed = MemoryLog(facts=log.facts)
    await project_all(undisturbed, CallsFold())
    truth = {call_id: call for (_, call_id), call in undisturbed.tables.calls.items()}
    assert len(truth) >= CALLS
    assert list(differences(log, truth, directory)) == []
