"""The live runner: follows the horizon and writes rows and checkpoint in one transaction."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import perf_counter

import structlog

from calls.facts import Fact
from otel.metrics import Metrics
from projections.calls import CallsFold
from projections.ports import Checkpoint, FactReader, Fenced, GiveWay, ReaderTrouble, Tables

log = structlog.get_logger(__name__)

BATCH = 1_000
AT_ONCE = 50
PACE = 0.2
"""Seconds between two batches: what a row may be behind for the sake of writing it once."""
PLACE = "calls"


class LiveCalls:
    """Keeps ``calls``, ``call_legs`` and ``customers`` behind the facts by less than a second."""

    def __init__(
        self,
        facts: FactReader,
        tables: Tables,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        moved: Callable[[Checkpoint], None],
        allowed: asyncio.Event,
        give_way: GiveWay,
    ) -> None:
        self._facts, self._tables = facts, tables
        self._metrics, self._now, self._moved = metrics, now, moved
        self._allowed, self._give_way = allowed, give_way
        self._awake = asyncio.Event()
        self._stopping = False
        self.checkpoint = Checkpoint()
        self.fold = CallsFold()

    def nudge(self) -> None:
        """There are new facts."""
        self._awake.set()

    def stop(self) -> None:
        """Project what can be read, then end ``run``."""
        self._stopping = True
        self._awake.set()

    async def load(self) -> None:
        """Make the fold's state again: the directory and every call that is not yet forgotten."""
        self.fold = CallsFold()
        self.checkpoint = await self._tables.checkpoint()
        await load(self.fold, self._facts, self.checkpoint)
        self._moved(self.checkpoint)

    async def run(self) -> None:
        """Follow until ``stop``. What cannot be folded is parked; a store that is down is waited for.

        Only while ``allowed`` is set: the instance that writes facts is the one that projects them. What another
        instance did meanwhile is taken up by loading anew.
        """
        loaded = False
        while True:
            stopping = self._stopping
            try:
                if not self._allowed.is_set():
                    loaded = False
                elif not loaded:
                    await self.load()
                    loaded = True
                while loaded and self._allowed.is_set() and await self.step() == BATCH:
                    pass
            except (ReaderTrouble, Fenced) as error:
                log.warning("the projection of calls begins anew", reason=str(error))
                loaded = False
            if stopping:
                return
            if self._stopping:
                continue  # what was committed since the last look is projected too
            if loaded:
                # What comes in the meantime is folded and written together: a call told once, not event by event.
                await asyncio.sleep(PACE)
            await self._wait(POLL if loaded else RETRY)

    async def _wait(self, seconds: float) -> None:
        self._awake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return

    async def step(self) -> int:
        """Project the next batch; how many facts it had."""
        facts, checkpoint = await self._facts.next(self.checkpoint, BATCH)
        if not facts:
            self._metrics.projection_lag_seconds.labels(projection=PLACE).set(0)
            return 0
        for begin in range(0, len(facts), AT_ONCE):
            begun = perf_counter()
            for fact in facts[begin : begin + AT_ONCE]:
                await project(self.fold, fact, self._facts)
            await self._give_way(perf_counter() - begun)
        begun = perf_counter()
        rows = self.fold.take()
        await self._give_way(perf_counter() - begun)
        await self._tables.write(rows, self.checkpoint, checkpoint, self.fold.name)
        self.checkpoint = checkpoint
        self._moved(checkpoint)
        behind = (self._now() - facts[-1].recorded_at).total_seconds()
        self._metrics.projection_lag_seconds.labels(projection=PLACE).set(max(behind, 0.0))
        return len(facts)


async def load(fold: CallsFold, facts: FactReader, checkpoint: Checkpoint) -> None:
    """Make a fold's state again at a checkpoint: the directory and every call that is not yet forgotten."""
    fold.remember(await facts.directories(checkpoint.position))
    recent = await facts.unforgotten()
    told: dict[str, list[Fact]] = {}
    for fact in await facts.calls_of(recent, checkpoint.position) if recent else ():
        told.setdefault(fact.enterprise, []).append(fact)
    for enterprise, known in told.items():
        await _park_all(facts, fold.wake(enterprise, known))


async def project(fold: CallsFold, fact: Fact, facts: FactReader) -> None:
    """Fold one fact, its forgotten call woken first; one that cannot be folded is parked."""
    try:
        if fold.misses(fact):
            known = await facts.calls_of(fold.companions(fact), fact.position - 1)
            await _park_all(facts, fold.wake(fact.enterprise, known))
        fold.apply(fact)
    except ReaderTrouble:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the fact is parked and the projection goes on
        await _park_all(facts, [(fact, error)])


async def _park_all(facts: FactReader, failed: list[tuple[Fact, Exception]]) -> None:
    for fact, error in failed:
        reason = f"{type(error).__name__}: {error}"
        log.error("a fact was parked", place=PLACE, position=fact.position, reason=reason)
        await facts.park(PLACE, fact, reason)


POLL = 0.5
"""Seconds after which the horizon is looked at without a nudge (an open transaction elsewhere held it back)."""
RETRY = 0.5
