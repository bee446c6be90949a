"""The one writer: gathers what waits, commits it at once, tells each caller and the followers.

Losing the connection means losing the lock. The writer then takes both anew; callers with a deadline get
StoreUnavailable when it is over, callers without one wait. What was in flight is not known to be stored or not until
the lock is held again; followers then read on from the last position they know.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from time import perf_counter

import asyncpg
import structlog

from actors.ports import Appended, Clock, StoreUnavailable
from adapters.postgres.database import Database
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store.batch import Written, conflict, decided_behind, take, write
from adapters.store.errors import OutOfTime
from adapters.store.lock import settle_incarnation, try_lock
from adapters.store.partitions import Partitions
from adapters.store.pending import Pending
from calls.facts import Fact, NewFact
from otel.metrics import Metrics

log = structlog.get_logger(__name__)

STANDBY_POLL = 0.3
"""Seconds between two tries for the lock."""
LONGEST_COMMIT = 10.0
"""Seconds that a batch may take in which nobody has a deadline."""
MARGIN = 0.15
"""Seconds kept back of the callers' deadline, to answer them in."""
PRESSING = 16
"""Facts in one batch from which on the writer counts as pressed."""
PRESSED_FOR = 0.1
TICK = 0.1
"""Seconds between two looks for facts whose time is over: one look for all costs less than a timer for each."""
MOST_WAITING = 20_000
"""Facts that may wait for their commit; more are refused at once."""

ANNOUNCE = """
INSERT INTO leader (sole, instance, url) VALUES (true, $1, $2)
ON CONFLICT (sole) DO UPDATE SET instance = excluded.instance, url = excluded.url, since = now()
"""


class Writer:
    """Appends facts while this process holds the writer's lock.

    ``committed`` is called with every batch in order, ``leading`` when the lock was taken (again), each
    before the callers of the next batch are answered.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        *,
        committed: Callable[[list[Fact]], None],
        role_changed: Callable[[bool], None],
        instance: str,
        url: str,
    ) -> None:
        self._database, self._clock, self._metrics = database, clock, metrics
        self._committed, self._role_changed = committed, role_changed
        self._instance, self._url = instance, url
        self._waiting: deque[Pending] = deque()
        self._awake = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._incarnation = 0
        self._partitions = Partitions()
        self._stopping = False
        self._ticking = False
        self._pressed_until, self._pressure = 0.0, 0
        self.stands_by = True
        """True while another instance writes; False also while the lock is being taken anew."""
        self.leading = asyncio.Event()
        self.decided = asyncio.Event()
        """Set once it is known whether the lock was free."""
        self.head = 0
        """Position of the newest fact when the lock was taken."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """Store one fact; returns once it is committed (actors.ports.FactLog)."""
        if self._stopping or (self.stands_by and within is not None):
            raise StoreUnavailable("this instance stands by" if self.stands_by else "the service stops")
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many facts wait for their commit")
        loop = asyncio.get_running_loop()
        deadline = None if within is None else loop.time() + within
        entry = Pending(fact, loop.create_future(), deadline)
        self._waiting.append(entry)
        self._awake.set()
        if deadline is not None and not self._ticking:
            self._ticking = True
            loop.call_later(TICK, self._tick)
        return await entry.answer

    def _tick(self) -> None:
        """Answer whoever's time is over while waiting; what is in flight is answered by its transaction."""
        now = asyncio.get_running_loop().time()
        late = [entry for entry in self._waiting if entry.deadline is not None and entry.deadline < now]
        if late:
            self._waiting = deque(
                entry for entry in self._waiting if entry.deadline is None or entry.deadline >= now
            )
        self._fail([(entry, StoreUnavailable("not committed in time")) for entry in late])
        self._ticking = any(entry.deadline is not None for entry in self._waiting)
        if self._ticking:
            asyncio.get_running_loop().call_later(TICK, self._tick)

    @property
    def pressure(self) -> int:
        """How many facts came at once just now, 0 where so few that what follows from them need not wait."""
        return self._pressure if asyncio.get_running_loop().time() < self._pressed_until else 0

    @property
    def waiting(self) -> int:
        """How many facts wait for their commit."""
        return len(self._waiting)

    async def run(self) -> None:
        """Hold the lock and write, until ``stop``."""
        while not self._stopping:
            try:
                await self._lead()
            except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
                log.warning("the writer lost the store", error=str(error), kind=type(error).__name__)
            finally:
                await self._let_go()
            if not self._stopping:
                await asyncio.sleep(0.05)  # between two tries to reach a server that is down

    def stop(self) -> None:
        """Commit what waits, then end ``run``."""
        self._stopping = True
        self._awake.set()

    async def _lead(self) -> None:
        connection = self._connection = await self._database.connect()
        connection.add_termination_listener(lambda _: self._awake.set())
        while not await try_lock(connection):
            self.stands_by = True
            self.decided.set()
            if await self._stopped_within(STANDBY_POLL):
                return
        self._incarnation = await settle_incarnation(connection)
        self._partitions = Partitions()
        await self._partitions.read(connection)
        await self._partitions.prepare(connection, self._clock.now())
        self.head = int(await connection.fetchval("SELECT coalesce(max(position), 0) FROM facts"))
        await connection.execute(ANNOUNCE, self._instance, self._url)
        self.stands_by = False
        self.leading.set()
        self.decided.set()
        self._role_changed(True)
        self._metrics.leader.set(1)
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._awake.clear()
                await self._awake.wait()
            if connection.is_closed():
                raise ConnectionResetError("the connection of the writer was closed")
            await self._write_batch(connection)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not self._stopping:
                    self._awake.clear()
                    await self._awake.wait()
        except TimeoutError:
            return self._stopping
        return True

    async def _write_batch(self, connection: asyncpg.Connection) -> None:
        if self._partitions.due(self._clock.now()):
            await self._partitions.prepare(connection, self._clock.now())
        batch = self._in_time(take(self._waiting))
        if not batch:
            return
        loop = asyncio.get_running_loop()
        allowed = min(
            (entry.deadline - loop.time() - MARGIN for entry in batch if entry.deadline is not None),
            default=LONGEST_COMMIT,
        )
        if len(batch) >= PRESSING:
            self._pressed_until, self._pressure = loop.time() + PRESSED_FOR, len(batch)
        begun = perf_counter()
        recorded_at = self._clock.now()
        try:
            async with asyncio.timeout(max(allowed, 0.001)):
                written = await write(
                    connection, self._incarnation, batch, recorded_at, allowed, self._partitions
                )
        except OutOfTime as error:
            self._give_back(batch, StoreUnavailable(str(error)))
            return
        except BaseException:
            # Nothing is known of what was in flight; the connection goes, and with it the transaction.
            connection.terminate()
            self._give_back(batch, StoreUnavailable("the store did not answer in time"))
            raise
        self._metrics.append_seconds.observe(perf_counter() - begun)
        self._metrics.append_batch_events.observe(len(batch))
        self._tell(written, recorded_at)
        if written.left:
            self._give_back(written.left, StoreUnavailable("not committed in time"))

    def _in_time(self, batch: list[Pending]) -> list[Pending]:
        """Those that can still be committed in time; the rest would make the others late."""
        latest = asyncio.get_running_loop().time() + 2 * MARGIN
        late = [entry for entry in batch if entry.deadline is not None and entry.deadline <= latest]
        self._fail([(entry, StoreUnavailable("not committed in time")) for entry in late], batch)
        return [entry for entry in batch if not entry.answer.done()] if late else batch

    def _tell(self, written: Written, recorded_at: datetime) -> None:
        facts = []
        for entry, place in written.stored:
            new = entry.fact
            facts.append(
                Fact(
                    position=place.position,
                    enterprise=new.enterprise,
                    stream=new.stream,
                    version=place.version,
                    kind=new.kind,
                    source=new.source,
                    occurred_at=new.occurred_at,
                    recorded_at=recorded_at,
                    body=new.body,
                    meta=new.meta,
                )
            )
        for entry, place in (*written.stored, *written.known):
            if not entry.answer.done():
                entry.answer.set_result(place)
        self._fail(written.failed)
        if facts:
            facts.sort(key=lambda fact: fact.position)
            self._committed(facts)

    def _give_back(self, batch: list[Pending], error: StoreUnavailable) -> None:
        """Callers with a deadline are told; facts of ours are tried again."""
        gone = [entry for entry in batch if entry.deadline is not None or self._stopping]
        self._fail([(entry, error) for entry in gone], batch)
        self._waiting.extendleft(entry for entry in reversed(batch) if not entry.answer.done())

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        led = self.leading.is_set()
        self.leading.clear()
        if led:
            self._metrics.leader.set(0)
            self._role_changed(False)
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=2)
            except (*SERVER_TROUBLE, asyncpg.PostgresError):
                connection.terminate()
        if self._stopping:
            waiting, self._waiting = self._waiting, deque()
            self._fail([(entry, StoreUnavailable("the service stops")) for entry in waiting])

    def _fail(self, failed: Sequence[tuple[Pending, Exception]], batch: Iterable[Pending] = ()) -> None:
        """Tell these callers, and those in conflict who were decided behind them: in this batch, and of who waits."""
        failed = [(entry, error) for entry, error in failed if not entry.answer.done()]
        for entry, error in failed:
            entry.answer.set_exception(error)
        for entry in decided_behind(failed, chain(batch, self._waiting)):
            if not entry.answer.done():
                entry.answer.set_exception(conflict(entry))
