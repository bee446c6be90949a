"""All enterprises' actors: they follow the log of facts, recover at start and are drained at stop."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from time import perf_counter

import msgspec
import structlog

from actors.alarms import Alarms
from actors.enterprise import LINGER, LOOK_AGAIN, Enterprise, Patience
from actors.leg_actor import LegActor
from actors.ports import Cards, Clock, FactLog, GiveWay, LogError, StoreUnavailable, VersionConflict
from calls.directory import Directory
from calls.exchange import Belonging
from calls.facts import RECORDING_ADDED, SILENCE_OBSERVED, CallArchived, Fact, NewFact, leg_stream
from calls.observations import Silence, write_silence
from otel.metrics import Metrics
from otel.tracing import Tracing

log = structlog.get_logger(__name__)

IN_MEMORY = 50_000
"""Committed facts that may wait for the actors in memory; behind that they are read from the store."""
AT_ONCE = 64
"""Facts routed before other tasks of the loop get their turn."""
PAGE = 2_000
PLACE = "actors"
CALLS_AT_ONCE = 64
"""Legs with recovered facts whose calls are taken from the store together."""
REPLAY_WITHIN = 60.0
"""Seconds that a command waits for its parked facts."""
RETRY = 0.25
"""Seconds between two tries to read from a store that does not answer."""


class _Late(msgspec.Struct):
    """Recovered facts of one leg: the newest of them by position, and when the first and the last happened."""

    position: int
    since: datetime
    until: datetime


class House:
    """Switchboards and actors of all enterprises, and the tasks that drive them (actors.enterprise.House)."""

    def __init__(
        self,
        facts: FactLog,
        cards: Cards,
        clock: Clock,
        *,
        tracing: Tracing,
        metrics: Metrics,
        patience: Patience,
        give_way: GiveWay,
    ) -> None:
        self.cards, self.tracing, self.patience = cards, tracing, patience
        self._projected = 0
        self.position = 0
        """The newest fact that was routed."""
        self.recovered = asyncio.Event()
        self.enterprises: dict[str, Enterprise] = {}
        self._facts, self._clock, self._metrics = facts, clock, metrics
        self._give_way = give_way
        self._offered: deque[Fact] = deque()
        self._renamed: set[str] = set()
        """Enterprises whose directory calls somebody otherwise than what chats were shown last."""
        self._behind = 0
        """Facts up to this position have to be read from the store: they were not offered, or there was no room."""
        self._awake = asyncio.Event()
        self._alarms = Alarms(clock, self._ring)
        self._runnable: deque[LegActor] = deque()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._group: asyncio.TaskGroup | None = None
        self._works: set[asyncio.Task[None]] = set()
        """What was started beside the drains: observations, parked facts."""
        self._anew: deque[tuple[str, str]] = deque()
        """(enterprise, UniqueId) of legs whose call is to be taken from the store anew."""
        self._none_anew = asyncio.Event()
        self._late: dict[str, dict[str, _Late]] = {}
        """By enterprise and UniqueId (a bridge's stream, where no leg is named): recovered facts not yet folded."""
        self._stopping = False

    @property
    def projected(self) -> int:
        """Position up to which a call can be woken from the store."""
        return self._projected

    @projected.setter
    def projected(self, position: int) -> None:
        self._projected = position
        if self._late:
            self._awake.set()

    @property
    def put_off(self) -> int:
        """Legs with recovered facts that are not folded yet."""
        return sum(map(len, self._late.values()))

    # life

    async def run(self) -> None:
        """Ring alarms, drain mailboxes, record what was noticed; until ``stop``."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            alarms = group.create_task(self._alarms.run(), name="alarms")
            try:
                await self._follow()
            finally:
                alarms.cancel()
        self._group = None

    def stop(self) -> None:
        """Route and fold what was committed, then end ``run``."""
        self._stopping = True
        self._awake.set()

    async def recover(self, upto: int) -> None:
        """Put every unsettled call back and show each as the facts up to ``upto`` tell it; sets ``recovered``.

        What the projection of calls has not reached yet is folded fact by fact, as if it had just arrived.
        """
        begun = self._clock.monotonic()
        self.enterprises.clear()  # what a recovery that was cut off may have left
        self._anew.clear()
        self._late.clear()
        self.projected = self.position = await self._facts.projected()
        for fact in await self._facts.read_directories(self.position):
            try:
                self.enterprise(fact.enterprise).learn(fact)
            except Exception as error:  # noqa: BLE001 - one entry that cannot be read must not stop the others
                self.parked(fact, error)
        chats = [chat for enterprise in self.enterprises.values() for chat in enterprise.chats()]
        readers = [chat for enterprise in self.enterprises.values() for chat in enterprise.readers()]
        unsettled = await self._facts.unsettled_calls(readers, LINGER + LOOK_AGAIN, self.position)
        for enterprise in self.enterprises.values():
            enterprise.quiet = True
        if unsettled:
            await self._restore(unsettled, chats)
        self.catch_up(upto)
        await self.drained()
        while self._anew or self.position < self._behind:
            await self._advance()
            await self.drained()
        open_calls = 0
        for enterprise in self.enterprises.values():
            enterprise.quiet, enterprise.recovering = False, True
            for actor in list(enterprise.actors.values()):
                if actor.leg is not None and actor.leader == actor.unique_id:
                    open_calls += actor.call is not None
                    enterprise.told(actor)
            enterprise.recovering = False
        log.info("calls recovered", calls=open_calls, seconds=round(self._clock.monotonic() - begun, 3))
        self.recovered.set()
        self._awake.set()

    async def _restore(self, calls: Sequence[tuple[str, str]], chats: Sequence[tuple[str, int]]) -> None:
        """Put these calls back, each with the legs that the projection gave it: not all are here that it knew then."""
        whose = await self._facts.whose(calls)
        facts: dict[str, list[Fact]] = {}
        for fact in await self._facts.read_calls(calls, chats, self.position, whose):
            facts.setdefault(fact.enterprise, []).append(fact)
        placed: dict[str, dict[str, Belonging]] = {}
        for (number, unique_id), place in whose.items():
            placed.setdefault(number, {})[unique_id] = place
        for number, told in facts.items():
            self.enterprise(number).restore(told, placed.get(number, {}))

    async def drained(self) -> None:
        """Returns when no mail waits."""
        await self._idle.wait()

    # following the log

    def offer(self, facts: Iterable[Fact]) -> None:
        """Take facts that were just committed, in order; never waits, never loses one."""
        for fact in facts:
            if len(self._offered) < IN_MEMORY:
                self._offered.append(fact)
            else:
                self._offered.clear()
                self._behind = fact.position
        self._awake.set()

    def catch_up(self, upto: int) -> None:
        """Read on from the store: facts up to this position may have been committed that were never offered."""
        self._behind = max(self._behind, upto)
        self._awake.set()

    async def _follow(self) -> None:
        while True:
            while self.recovered.is_set() and (self._has_more() or self._due_late()):
                try:
                    await self._advance()
                    await self._take_late()
                except LogError as error:
                    log.warning("the actors wait for the store", reason=str(error))
                    await asyncio.sleep(RETRY)
            if self._stopping:
                await self.drained()
                if not self._anew or not self.recovered.is_set():
                    return
                continue
            self._awake.clear()
            await self._awake.wait()

    def _has_more(self) -> bool:
        return bool(self._anew or self._offered or self.position < self._behind)

    async def _advance(self) -> None:
        """Route the next facts: from memory, or from the store where some never came to memory."""
        begun = perf_counter()
        if self._anew:
            await self._take_anew(*self._anew[0])
            self._anew.popleft()
            if not self._anew:
                self._none_anew.set()
        elif self.position < self._behind:
            page = await self._facts.read_after(self.position, self._behind, PAGE)
            for fact in page:
                await self._route(fact)
            if len(page) < PAGE:
                self.position = max(self.position, self._behind)
        else:
            for _ in range(min(AT_ONCE, len(self._offered))):
                await self._route(self._offered.popleft())
        if self._renamed and not self._has_more():
            self._show_renamed()
        await self._give_way(perf_counter() - begun)

    def _show_renamed(self) -> None:
        """Once for all that a file of names has brought."""
        renamed, self._renamed = self._renamed, set()
        for number in renamed:
            self.enterprise(number).show_renamed()

    async def _route(self, fact: Fact) -> None:
        if fact.position <= self.position:
            return
        enterprise = self.enterprise(fact.enterprise)
        if fact.source == "recovery":
            self._put_off(fact)
            self.position = fact.position
            return
        try:
            if enterprise.misses(fact):
                await self._wake(enterprise, fact)
            enterprise.take(fact)
            if enterprise.renamed:
                self._renamed.add(fact.enterprise)
        except LogError:
            self._behind = max(self._behind, fact.position)
            raise
        except Exception as error:  # noqa: BLE001 - one fact that cannot be routed must not stop the others
            self.parked(fact, error)
        self.position = fact.position

    async def _wake(self, enterprise: Enterprise, fact: Fact) -> None:
        """Bring the call of a leg that was let go back from the store, as it was before this fact."""
        unique_id = fact.stream.partition("/")[2]
        known = enterprise.board.members(unique_id) or (unique_id,)
        facts, placed = await self._read(enterprise, known, fact.position - 1)
        if fact.version > 1 and not any(told.stream == fact.stream for told in facts):
            raise CallArchived
        if fact.kind == RECORDING_ADDED and unique_id not in enterprise.actors:
            enterprise.recall(unique_id, facts)
        else:
            enterprise.restore(facts, placed)

    async def _read(
        self, enterprise: Enterprise, known: Sequence[str], upto: int
    ) -> tuple[list[Fact], dict[str, Belonging]]:
        """The facts of the calls of these legs, and whose leg each is: those here know it better than the tables."""
        legs = [(enterprise.number, unique_id) for unique_id in known]
        whose = await self._facts.whose(legs)
        facts = await self._facts.read_calls(legs, enterprise.chats(), upto, whose)
        return facts, {leg: place for (_, leg), place in whose.items()} | enterprise.places(known)

    def enterprise(self, number: str) -> Enterprise:
        """The actors of one enterprise."""
        found = self.enterprises.get(number)
        if found is None:
            found = self.enterprises[number] = Enterprise(Directory.empty(number), self)
        return found

    def leader(self, enterprise: str, unique_id: str) -> str:
        """Who leads this leg's call right now, for naming its trace."""
        found = self.enterprises.get(enterprise)
        return found.board.leader(unique_id) if found else unique_id

    # drains: one task while anybody has mail

    def run_soon(self, actor: LegActor) -> None:
        """See that the actor's mail is drained."""
        self._runnable.append(actor)
        if not self._draining and self._group is not None:
            self._draining = True
            self._idle.clear()
            self._group.create_task(self._drain(), name="drain")

    async def _drain(self) -> None:
        try:
            while self._runnable:
                begun = perf_counter()
                for _ in range(min(AT_ONCE, len(self._runnable))):
                    self._drain_one(self._runnable.popleft())
                await self._give_way(perf_counter() - begun)
        finally:
            self._draining = False
            self._idle.set()

    def _drain_one(self, actor: LegActor) -> None:
        try:
            actor.drain()
        except Exception:
            # The facts themselves are folded; what failed is telling the call of them.
            log.exception("an actor failed", unique_id=actor.unique_id)
            self._metrics.actors_failed.inc()
        if actor.behind:
            actor.behind = False
            self._metrics.mailbox_overflows.inc()
            enterprise = actor.desk
            assert isinstance(enterprise, Enterprise)
            self._take_anew_soon(enterprise.number, actor.unique_id)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if self._group is None:
            work.close()
            return
        task = self._group.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    async def replay(self, parked: Iterable[tuple[str, str]]) -> None:
        """Take the calls of these (enterprise, stream) again from the store, whatever the actors know of them."""
        for number, stream in parked:
            kind, _, name = stream.partition("/")
            self._take_anew_soon(number, name.partition("/")[2] if kind == "delivery" else name)
        async with asyncio.timeout(REPLAY_WITHIN):
            if self._anew:
                await self._none_anew.wait()
            await self.drained()
            if self._works:
                await asyncio.wait(set(self._works))

    async def renew(self, number: str) -> None:
        """Take an enterprise's directory and all its calls that are here from the store, whatever is known of them."""
        self._take_anew_soon(number, "")
        await self._none_anew.wait()
        await self.drained()

    def _take_anew_soon(self, number: str, unique_id: str) -> None:
        self._anew.append((number, unique_id))
        self._none_anew.clear()
        self._awake.set()

    async def _take_anew(self, number: str, unique_id: str) -> None:
        """Take a call from the store as it is up to the newest fact that was routed.

        Between two facts, never beside one: what is routed meanwhile would be missing in what was read.
        """
        enterprise = self.enterprise(number)
        known = enterprise.board.members(unique_id) or (unique_id,)
        if not unique_id:
            directories = await self._facts.read_directories(self.position)
            enterprise.relearn(fact for fact in directories if fact.enterprise == number)
            known = tuple(enterprise.actors)
        enterprise.restore(*await self._read(enterprise, known, self.position))

    # recovered facts are folded where they happened, never behind what came since

    def _put_off(self, fact: Fact) -> None:
        """Note a recovered fact: the calls that it concerns are taken anew when the projection knows whose it is."""
        kind, _, name = fact.stream.partition("/")
        late = self._late.setdefault(fact.enterprise, {})
        known = late.pop(key := name if kind == "leg" else fact.stream, None)
        late[key] = _Late(
            fact.position,
            min(fact.occurred_at, known.since) if known else fact.occurred_at,
            max(fact.occurred_at, known.until) if known else fact.occurred_at,
        )

    def _due_late(self) -> str | None:
        """An enterprise whose oldest recovered facts are projected."""
        for number, late in self._late.items():
            if next(iter(late.values())).position <= self._projected:
                return number
        return None

    async def _take_late(self) -> None:
        """Take calls anew that recovered facts concern, some at a time: together, as one may belong to another's."""
        number = self._due_late()
        if number is None:
            return
        begun = perf_counter()
        await self.drained()
        late = self._late[number]
        due = dict(islice(late.items(), CALLS_AT_ONCE))
        due = {key: one for key, one in due.items() if one.position <= self._projected}
        enterprise = self.enterprise(number)
        legs = {key for key in due if not key.startswith("bridge/")}
        legs |= enterprise.around(
            min(one.since for one in due.values()), max(one.until for one in due.values())
        )
        members = legs.union(*map(enterprise.board.members, legs))
        wanted = [(number, unique_id) for unique_id in sorted(members)]
        facts = await self._facts.read_calls(wanted, enterprise.chats(), self.position) if wanted else []
        for key in due:
            del late[key]
        del self._late[number]
        if late:
            self._late[number] = late  # behind the others
        enterprise.restore(facts)
        await self._give_way(perf_counter() - begun)

    # what the enterprises ask for

    def alarm(self, enterprise: str, unique_id: str, seconds: float) -> None:
        """Ring for this leg in so many seconds."""
        self._alarms.set((enterprise, unique_id), seconds)

    def no_alarm(self, enterprise: str, unique_id: str) -> None:
        """Take the alarm back."""
        self._alarms.clear((enterprise, unique_id))

    def _ring(self, key: Hashable) -> None:
        match key:
            case (str() as number, str() as unique_id):
                self.enterprise(number).ring(unique_id)
            case _:
                raise TypeError(f"an alarm for {key!r}")

    def silent_for(self, at: float) -> float:
        """Seconds since a wall clock time (UTC seconds)."""
        return self._clock.now().timestamp() - at

    def observe(self, enterprise: str, actor: LegActor, silence: Silence) -> None:
        """Record that nothing was heard; the fold decides what that means."""
        fact = NewFact(
            enterprise=enterprise,
            stream=leg_stream(actor.unique_id),
            kind=SILENCE_OBSERVED,
            source="service",
            occurred_at=self._clock.now(),
            body=write_silence(silence),
            expected_version=actor.version,
        )
        self._start(self._record(fact))

    async def _record(self, fact: NewFact) -> None:
        try:
            await self._facts.append(fact, within=30)
        except VersionConflict:
            log.debug("an observation was overtaken by an event", stream=fact.stream)
        except StoreUnavailable as error:
            log.warning("an observation was not stored, it will be made again", reason=str(error))

    def parked(self, fact: Fact, error: Exception) -> None:
        """Keep a fact that could not be folded; everything else goes on."""
        reason = f"{type(error).__name__}: {error}"
        log.error("a fact was parked", position=fact.position, kind=fact.kind, reason=reason)
        self._metrics.facts_parked.inc()
        self._start(self._park(fact, reason))

    async def _park(self, fact: Fact, reason: str) -> None:
        try:
            await self._facts.park(PLACE, fact, reason)
        except (LogError, OSError) as error:
            log.warning("a parked fact could not be noted", position=fact.position, reason=str(error))
