"""Memory of an idle live call: actor, switchboard and alarm beside its state, against a Task that waits at a Queue.

``python -m tests.bench.memory ours|rival`` measures in a process of its own, by what Python has allocated
(tracemalloc), so that neither the heap's holes nor other modules count.
"""

import asyncio
import gc
import json
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Mapping

from actors.alarms import Alarms
from actors.enterprise import Enterprise, Patience
from actors.leg_actor import LegActor
from actors.ports import Cards
from adapters.clock import SystemClock
from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from calls.exchange import Exchange
from calls.facts import Fact
from calls.observations import Silence
from otel.tracing import SpanRef, Tracing
from tests.bench.fold import BEGUN
from tests.bench.material import Slot, number_of, templates
from tests.bench.processes import run_json
from tests.bench.results import Row

CALLS = 5_000
RINGING = 3
"""Events of the scenario after which its call rings: start, new_callerid, dial."""


class Hall:
    """The house of the actors without store and chats (actors.enterprise.House)."""

    def __init__(self) -> None:
        self.cards: Cards = self
        self.tracing, self.patience, self.projected = Tracing(), Patience(), 0
        self.alarms = Alarms(SystemClock(), lambda _: None)
        self._runnable: deque[LegActor] = deque()

    def show(
        self,
        call: Call,
        directory: Directory,
        posts: Mapping[int, tuple[Post, ...]],
        context: SpanRef | None = None,
    ) -> None:
        """Every chat shows everything at once: what a pending card holds is not the actor's."""

    def drop(self, enterprise: str, call_id: str) -> None: ...

    def idle(self, enterprise: str, call_id: str) -> bool:
        return True

    def run_soon(self, actor: LegActor) -> None:
        self._runnable.append(actor)

    def drain(self) -> None:
        while self._runnable:
            self._runnable.popleft().drain()

    def alarm(self, enterprise: str, unique_id: str, seconds: float) -> None:
        self.alarms.set((enterprise, unique_id), seconds)

    def no_alarm(self, enterprise: str, unique_id: str) -> None:
        self.alarms.clear((enterprise, unique_id))

    def silent_for(self, at: float) -> float:
        return max(BEGUN.timestamp() - at, 0.0)

    def observe(self, enterprise: str, actor: LegActor, silence: Silence) -> None: ...

    def parked(self, fact: Fact, error: Exception) -> None:
        raise error


def ringing(serial: int) -> list[Fact]:
    """Facts of a call that rings."""
    events = TEMPLATE.call(serial, Slot())[:RINGING]
    place = (number_of(0), events[0].stream)
    return [
        Fact(serial * RINGING + n + 1, *place, n + 1, event.kind, "live", BEGUN, BEGUN, event.body)
        for n, event in enumerate(events)
    ]


TEMPLATE = templates("2-1")[0]


def bytes_of(make: Callable[[], object]) -> float:
    """Bytes a call that ``make`` leaves allocated."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = make()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return (after - before) / CALLS


def actors() -> object:
    hall = Hall()
    enterprise = Enterprise(Directory.empty(number_of(0)), hall)
    for serial in range(CALLS):
        for fact in ringing(serial):
            enterprise.take(fact)
        hall.drain()
    assert len(enterprise.actors) == len(hall.alarms) == CALLS
    return hall, enterprise


def states() -> object:
    """The legs and calls alone, as the same facts make them."""
    kept = []
    for serial in range(CALLS):
        exchange = Exchange(Directory.empty(number_of(0)))
        told = ringing(serial)
        for fact in told:
            exchange.apply(fact)
        kept.append((next(iter(exchange.legs.values())), exchange.call(told[0].stream.partition("/")[2])))
    return kept


async def tasks() -> float:
    async def wait(queue: asyncio.Queue[Fact]) -> None:
        await queue.get()

    def make() -> object:
        loop = asyncio.get_running_loop()
        made = [loop.create_task(wait(asyncio.Queue(256))) for _ in range(CALLS)]
        loop.call_soon(started.set)
        return made

    started = asyncio.Event()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    made = make()
    await started.wait()  # every task waits at its queue now
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(made, list)
    for task in made:
        task.cancel()
    await asyncio.gather(*made, return_exceptions=True)
    return (after - before) / CALLS


def main() -> None:
    if sys.argv[1] == "rival":
        print(json.dumps({"bytes": asyncio.run(tasks())}))
        return
    ringing(0)
    states()  # whatever is cached once is cached now
    print(json.dumps({"state": bytes_of(states), "bytes": bytes_of(actors)}))


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Once: allocation does not vary."""
    del seconds, rounds
    ours = await run_json("tests.bench.memory", "ours", within=120)
    rival = await run_json("tests.bench.memory", "rival", within=120)
    beside = ours["bytes"] - ours["state"]
    return [
        Row(
            name="memory",
            what="an idle live call beside its state; an asyncio Task that waits at a Queue",
            unit="bytes",
            ours=beside,
            rival=rival["bytes"],
            ratio=rival["bytes"] / beside,
            goal="under 2,000",
            met=beside < 2000,
            limit=f"its state (a leg with three events, the call): {ours['state']:,.0f} bytes",
            rounds=[ours, rival],
        )
    ]


if __name__ == "__main__":
    main()
