"""All actors on a log in memory, with a clock that stands still until it is told to go on."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from actors.enterprise import Patience
from actors.house import House
from actors.leg_actor import LegActor
from actors.ports import Appended
from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from calls.facts import NewFact
from otel.metrics import Metrics
from otel.tracing import SpanRef, Tracing
from projections.calls import CallsFold
from tests.folding import ENTERPRISE, EPOCH
from tests.memory_log import MemoryLog, project_all


class TestClock:
    """Stands still until it is told to go on."""

    __test__ = False

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed


class Cards:
    """What every chat was told to show."""

    def __init__(self) -> None:
        self.shown: list[Call] = []
        self.posts: dict[str, Mapping[int, tuple[Post, ...]]] = {}
        self.dropped: list[str] = []
        self.busy: set[str] = set()

    def show(
        self,
        call: Call,
        directory: Directory,
        posts: Mapping[int, tuple[Post, ...]],
        context: SpanRef | None = None,
    ) -> None:
        self.shown.append(call)
        self.posts[call.call_id] = posts

    def drop(self, enterprise: str, call_id: str) -> None:
        self.dropped.append(call_id)

    def idle(self, enterprise: str, call_id: str) -> bool:
        return call_id not in self.busy

    def of(self, call_id: str) -> list[Call]:
        return [call for call in self.shown if call.call_id == call_id]

    def newest(self) -> dict[str, Call]:
        """Every call as it was shown last."""
        return {call.call_id: call for call in self.shown}


class Acting:
    """A house on a log; ``quiet`` waits until everything stored was folded, without waiting for the wall clock."""

    def __init__(self, log: MemoryLog, clock: TestClock, patience: Patience | None = None) -> None:
        self.log, self.clock, self.cards = log, clock, Cards()
        self.metrics = Metrics()
        self.house = House(
            log,
            self.cards,
            clock,
            tracing=Tracing(),
            metrics=self.metrics,
            patience=patience or Patience(),
            give_way=lambda _: asyncio.sleep(0),
        )
        self.projection = CallsFold()
        log.committed = self.house.offer

    async def store(self, *facts: NewFact) -> list[Appended]:
        return [await self.log.append(fact, within=5) for fact in facts]

    async def quiet(self) -> None:
        async with asyncio.timeout(10):
            while True:
                await self.house.drained()
                if self.house.position >= self.log.head and self.at_rest():
                    return
                await asyncio.sleep(0)

    def at_rest(self) -> bool:
        actors = [actor for one in self.house.enterprises.values() for actor in one.actors.values()]
        house = self.house
        waits = house._runnable or house._anew or house._works or house._due_late()
        return not waits and not any(actor.mail for actor in actors)

    async def told(self, *facts: NewFact) -> None:
        """Store facts and let the actors fold them."""
        await self.store(*facts)
        await self.quiet()

    async def pass_time(self, seconds: float) -> None:
        """So much later: ring what is due, as often as it takes."""
        self.clock.passed += seconds
        self.house._alarms.ring_due()
        await self.quiet()

    async def project(self) -> None:
        """Bring the projection up to date, as the live runner would."""
        await project_all(self.log, self.projection)
        self.house.projected = self.log.head
        if self.house.recovered.is_set():
            await self.quiet()

    def actor(self, unique_id: str) -> LegActor:
        return self.house.enterprise(ENTERPRISE).actors[unique_id]

    def knows(self, unique_id: str) -> bool:
        enterprise = self.house.enterprise(ENTERPRISE)
        return unique_id in enterprise.actors or enterprise.board.knows(unique_id)

    def count(self, name: str) -> float:
        """The value of a metric."""
        text = self.metrics.render()[0].decode()
        return next(
            float(line.split()[1]) for line in text.splitlines() if line.startswith(f"callfold_{name} ")
        )


@asynccontextmanager
async def acting(
    log: MemoryLog, clock: TestClock, patience: Patience | None = None, *, recovered: bool = True
) -> AsyncIterator[Acting]:
    """A running house; stopped and drained at the end."""
    made = Acting(log, clock, patience)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(made.house.run())
        await asyncio.sleep(0)
        if recovered:
            await made.house.recover(log.head)
        try:
            yield made
        finally:
            made.house.stop()
