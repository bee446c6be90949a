"""The live runner: follows the horizon and writes rows and checkpoint in one transaction."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from time import monotonic, perf_counter

import msgspec
import structlog

from calls.events import bridge_named
from calls.exchange import FORGET_LOST_AFTER, Belonging
from calls.facts import CallArchived, Fact, bridge_stream, leg_stream
from otel.metrics import Metrics
from projections.calls import CallsFold
from projections.ports import Checkpoint, Due, FactReader, Fenced, GiveWay, ReaderTrouble, Rows, Tables
from projections.unknown import UnknownFacts

log = structlog.get_logger(__name__)

BATCH = 1_000
MOST = 50_000
"""Facts that a rebuild takes at once where some were recovered: calls are folded anew once for all of them."""
QUIET = 1.0
"""Seconds without a recovered fact after which its enterprise is folded anew."""
LATEST = 5.0
"""Seconds after which it is done in any case, or TIMES as many as it took the last time."""
TIMES = 5.0
AT_ONCE = 50
PACE = 0.2
"""Seconds between two batches: what a row may be behind for the sake of writing it once."""
PLACE = "calls"
POLL = 0.5
"""Seconds after which the horizon is looked at without a nudge (an open transaction elsewhere held it back)."""
RETRY = 0.5


class LiveCalls:
    """Keeps the tables of all calls behind the facts by less than a second.

    A recovered fact belongs among those that were folded long ago: everything of its enterprise that occurred since is
    folded anew, once no more such facts have come for a moment. Until then nothing of the enterprise is folded.
    """

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
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._facts, self._tables = facts, tables
        self._metrics, self._now, self._moved = metrics, now, moved
        self._allowed, self._give_way, self._monotonic = allowed, give_way, monotonic
        self._awake, self._stopping = asyncio.Event(), asyncio.Event()
        self._due: dict[str, Due] = {}
        self._ripe: dict[str, tuple[float, float]] = {}
        """When an enterprise is folded anew: if nothing more comes, and at the latest."""
        self._spent = 0.0
        self._waiting: list[tuple[frozenset[str], asyncio.Event]] = []
        self.checkpoint = Checkpoint()
        self.fold = CallsFold()
        self.unknown = UnknownFacts(metrics)

    def nudge(self) -> None:
        """There are new facts."""
        self._awake.set()

    def stop(self) -> None:
        """Project what can be read, then end ``run``."""
        self._stopping.set()
        self._awake.set()

    async def fold_anew(self, since: Mapping[str, datetime]) -> None:
        """Fold what occurred in these enterprises since then once more; returns when the rows are written."""
        if not since:
            return
        for enterprise, at in since.items():
            due = Due(at, self.checkpoint.position + 1)
            self._due[enterprise] = due.joined(self._due.get(enterprise))
            self._ripe[enterprise] = (0.0, 0.0)
        done = asyncio.Event()
        self._waiting.append((frozenset(since), done))
        self._awake.set()
        await done.wait()

    async def load(self) -> None:
        """Make the fold's state again: the directory and every call that is not yet forgotten."""
        self.fold = CallsFold()
        self.checkpoint = await self._tables.checkpoint()
        await load(self.fold, self._facts, self.checkpoint)
        for enterprise, due in (await self._tables.due()).items():
            self._due[enterprise] = due.joined(self._due.get(enterprise))
            self._ripe.setdefault(enterprise, (0.0, 0.0))
        self._tell_moved()

    async def run(self) -> None:
        """Follow until ``stop``. What cannot be folded is parked; a store that is down is waited for.

        Only while ``allowed`` is set: the instance that writes facts is the one that projects them. What another
        instance did meanwhile is taken up by loading anew.
        """
        loaded = False
        while True:
            stopping = self._stopping.is_set()
            self._awake.clear()  # what comes from here on may come too late for the look below
            try:
                if not self._allowed.is_set():
                    loaded = False
                elif not loaded:
                    await self.load()
                    loaded = True
                while loaded and self._allowed.is_set() and await self.step() >= BATCH:
                    pass
                trouble = False
            except (ReaderTrouble, Fenced) as error:
                log.warning("the projection of calls begins anew", reason=str(error))
                loaded, trouble = False, True
            if stopping:
                return
            if loaded:
                # What comes in the meantime is folded and written together: a call told once, not event by event.
                await _wait(self._stopping, PACE)
                await _wait(self._awake, POLL)
            else:
                await _wait(self._stopping if trouble else self._awake, RETRY)

    async def step(self) -> int:
        """Project the next batch; how many facts it had."""
        facts, checkpoint = await self._facts.next(self.checkpoint, BATCH)
        noted = dict(self._due)
        self._note(facts)
        ripe = self._ripe_now()
        if not facts and not ripe:
            self._metrics.projection_lag_seconds.labels(projection=PLACE).set(0)
            return 0
        begun = self._monotonic()
        anew = {enterprise: self._due[enterprise].since for enterprise in ripe}
        rows = await fold_facts(
            self.fold, facts, self._facts, checkpoint, anew, later=self._due.keys(), give_way=self._give_way
        )
        due = {enterprise: one for enterprise, one in self._due.items() if enterprise not in ripe}
        await self._tables.write(
            rows, self.checkpoint, checkpoint, self.fold.name, due if due != noted else None
        )
        self.checkpoint = checkpoint
        self.unknown.see(facts)
        if ripe:
            self._spent = self._monotonic() - begun
        self._done(ripe)
        self._tell_moved()
        if facts:
            behind = (self._now() - facts[-1].recorded_at).total_seconds()
            self._metrics.projection_lag_seconds.labels(projection=PLACE).set(max(behind, 0.0))
        return len(facts)

    def _note(self, facts: Iterable[Fact]) -> None:
        """Note the enterprises of recovered facts; the longer folding anew took last time, the longer it may wait."""
        now = self._monotonic()
        for enterprise, due in recovered(facts).items():
            self._due[enterprise] = due.joined(self._due.get(enterprise))
            _, latest = self._ripe.get(enterprise, (0.0, now + max(LATEST, TIMES * self._spent)))
            self._ripe[enterprise] = (now + QUIET, latest)

    def _ripe_now(self) -> frozenset[str]:
        now = self._monotonic()
        return frozenset(
            enterprise
            for enterprise, times in self._ripe.items()
            if self._stopping.is_set() or now >= min(times)
        )

    def _done(self, ripe: frozenset[str]) -> None:
        for enterprise in ripe:
            del self._due[enterprise], self._ripe[enterprise]
        for enterprises, done in self._waiting:
            if enterprises.isdisjoint(self._due):
                done.set()
        self._waiting = [waiting for waiting in self._waiting if not waiting[1].is_set()]

    def _tell_moved(self) -> None:
        """Up to where every row is right."""
        at = self.checkpoint
        first = min([due.position for due in self._due.values()], default=at.position + 1)
        self._moved(at if first > at.position else Checkpoint(at.incarnation, at.xid, first - 1))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, so many seconds at the most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def recovered(facts: Iterable[Fact]) -> dict[str, Due]:
    """What these facts want to have folded anew, by enterprise."""
    found: dict[str, Due] = {}
    for fact in facts:
        if fact.source == "recovery":
            due = Due(fact.occurred_at, fact.position)
            found[fact.enterprise] = due.joined(found.get(fact.enterprise))
    return found


async def next_facts(
    facts: FactReader, after: Checkpoint, upto: Checkpoint, limit: int
) -> tuple[list[Fact], Checkpoint]:
    """The next facts; where some were recovered, as many as there are at once."""
    found, reached = await facts.next(after, limit, upto)
    more = len(found) == limit
    while more and len(found) < MOST and any(fact.source == "recovery" for fact in found[-limit:]):
        page, reached = await facts.next(reached, limit, upto)
        found += page
        more = len(page) == limit
    return found, reached


async def no_other(_: float) -> None:
    """Nobody else wants a turn."""


async def fold_facts(
    fold: CallsFold,
    facts: Iterable[Fact],
    reader: FactReader,
    reached: Checkpoint,
    anew: Mapping[str, datetime],
    *,
    later: Collection[str] = (),
    give_way: GiveWay = no_other,
) -> Rows:
    """Fold facts in the readers' order, up to the checkpoint ``reached``; the rows that changed.

    ``anew``: enterprises of which everything that occurred since is folded anew, in order (calls.order). Of those in
    ``later`` nothing else is folded.
    """
    turn = _Turn(give_way)
    for fact in facts:
        fold.hosts.see(fact)
        if fact.enterprise not in anew and fact.enterprise not in later:
            await project(fold, fact, reader, reached.position)
            await turn.over()
    formerly: dict[str, frozenset[str]] = {}
    for enterprise, at in anew.items():
        formerly[enterprise] = await _fold_anew(fold, enterprise, at, reader, reached.position, turn)
    rows = fold.take()
    if not formerly:
        return rows
    told = {(call.enterprise, call.call_id) for call in rows.calls}
    keys = {(number, call_id) for number, calls in formerly.items() for call_id in calls}
    gone = sorted(keys.union(rows.gone) - told)
    return msgspec.structs.replace(rows, gone=gone, fresh=rows.fresh - keys)


async def _fold_anew(
    fold: CallsFold, enterprise: str, since: datetime, reader: FactReader, upto: int, turn: "_Turn"
) -> frozenset[str]:
    """Fold a stretch of an enterprise anew; the ids of the calls that it made before."""
    stretch = await reader.stretch(enterprise, since, upto)
    fold.renew(enterprise)
    await park_all(reader, fold.remember(await reader.directories(stretch.after, enterprise)))
    lost = await reader.lost_legs(enterprise)
    if lost:
        known = [
            fact
            for fact in await reader.calls_of(lost, upto)
            if stretch.since - FORGET_LOST_AFTER < fact.occurred_at < stretch.since
        ]
        await park_all(reader, fold.wake(enterprise, known))
    async for page in reader.facts_of(enterprise, stretch, upto):
        for fact in page:
            await project(fold, fact, reader, upto)
            await turn.over()
    return stretch.calls


class _Turn:
    """Gives way after some facts, by the time they took."""

    def __init__(self, give_way: GiveWay) -> None:
        self._give_way = give_way
        self._folded = 0
        self._begun = perf_counter()

    async def over(self) -> None:
        self._folded += 1
        if self._folded % AT_ONCE == 0:
            await self._give_way(perf_counter() - self._begun)
            self._begun = perf_counter()


async def load(fold: CallsFold, facts: FactReader, checkpoint: Checkpoint) -> None:
    """Make a fold's state again at a checkpoint: the directory and every call that is not yet forgotten."""
    await park_all(facts, fold.remember(await facts.directories(checkpoint.position)))
    fold.hosts.remember(await facts.hosts())
    await wake_recent(fold, facts, checkpoint.position)


async def wake_recent(fold: CallsFold, facts: FactReader, upto: int) -> None:
    """Bring back every call that is not yet forgotten, each with the legs that it has in the tables."""
    recent = await facts.unforgotten(upto)
    if not recent:
        return
    told: dict[str, list[Fact]] = {}
    whose = await facts.whose(recent)
    for fact in await facts.calls_of(recent, upto, whose):
        told.setdefault(fact.enterprise, []).append(fact)
    placed: dict[str, dict[str, Belonging]] = {}
    for (enterprise, unique_id), place in whose.items():
        placed.setdefault(enterprise, {})[unique_id] = place
    for enterprise, known in told.items():
        await park_all(facts, fold.wake(enterprise, known, placed.get(enterprise, {})))
        await asyncio.sleep(0)  # thousands of calls may be open, and hosts wait


async def project(fold: CallsFold, fact: Fact, facts: FactReader, upto: int) -> None:
    """Fold one fact, its forgotten call woken first; one that cannot be folded is parked.

    ``upto``: position up to which facts are being folded.
    """
    try:
        if fold.misses(fact):
            await wake(fold, fact, facts, upto)
        fold.apply(fact)
    except ReaderTrouble:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the fact is parked and the projection goes on
        await park_all(facts, [(fact, error)])


async def wake(fold: CallsFold, fact: Fact, facts: FactReader, upto: int) -> None:
    """Bring the forgotten call of a fact back as it was before it."""
    companions = fold.companions(fact)
    whose = await facts.whose(companions)
    known = await facts.calls_of(companions, upto, whose)
    placed = {unique_id: place for (_, unique_id), place in whose.items()}
    if fact.version > 1 and not any(
        other.stream == fact.stream and other.version < fact.version for other in known
    ):
        raise CallArchived
    places = [place for place, other in enumerate(known) if other.position == fact.position]
    forgotten = _forgotten(fold, companions, known[: places[0]] if places else known)
    await park_all(facts, fold.wake(fact.enterprise, forgotten, placed))


def _forgotten(fold: CallsFold, companions: Sequence[tuple[str, str]], facts: Sequence[Fact]) -> list[Fact]:
    """Those of legs that the fold has forgotten, and of the bridges that these were in.

    The tables may know less of whose leg is whose than the fold: what it has placed elsewhere since is not read off
    them.
    """
    theirs = {leg_stream(leg) for _, leg in companions}
    legs = [
        fact
        for fact in facts
        if fact.stream.startswith("leg/")
        and not fold.knows(fact)
        and (fact.stream in theirs or not fold.placed(fact))
    ]
    inside = [fact for fact in legs if fact.kind in {"bridge", "bridge_leave"}]
    bridges = {bridge_stream(bridge_named(fact.body)) for fact in inside}
    wanted = {fact.position for fact in legs}
    return [fact for fact in facts if fact.position in wanted or fact.stream in bridges]


async def park_all(facts: FactReader, failed: list[tuple[Fact, Exception]]) -> None:
    for fact, error in failed:
        reason = f"{type(error).__name__}: {error}"
        log.error("a fact was parked", place=PLACE, position=fact.position, reason=reason)
        await facts.park(PLACE, fact, reason)
