"""The embedded PostgreSQL: one process of ours runs it as a child, others join, whoever is left takes over.

A lock on a file in the database's home makes the owner. Its server ends with it, however it ends, so that a
free lock means that there is no server, or one on its way down.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from adapters.postgres import binaries, cluster, postmaster
from adapters.postgres.child import GuardedChild
from adapters.postgres.errors import EmbeddedError, StartFailed
from adapters.postgres.place import ELSEWHERE, Place, settle

log = logging.getLogger(__name__)
T = TypeVar("T")

START_SECONDS: Final = 60.0
"""Crash recovery of a busy database takes its time."""
STOP_SECONDS: Final = 30.0
WATCH_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.01
# A server refuses to start while backends of a killed one still hold its memory; they notice within moments.
STILL_IN_USE: Final = "is still in use"


class EmbeddedPostgres:
    """``async with EmbeddedPostgres(data_dir) as server``: a server that is ready at ``server.dsn``.

    Raises EmbeddedError at entry and from ``ensure_running``. Unix socket only; the database is ``callfold``.
    """

    def __init__(
        self, data_dir: Path, *, start_seconds: float = START_SECONDS, elsewhere: Sequence[Path] = ELSEWHERE
    ) -> None:
        self._data_dir = data_dir
        self._elsewhere = elsewhere
        self._start_seconds = start_seconds
        self._place: Place | None = None
        self._child: GuardedChild | None = None
        self._lock: int | None = None
        self._log_begin = 0
        self._one_at_a_time = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def place(self) -> Place:
        assert self._place is not None, "the server has not been entered"
        return self._place

    @property
    def dsn(self) -> str:
        """Stays the same whoever runs the server."""
        return self.dsn_of(cluster.DATABASE)

    def dsn_of(self, database: str) -> str:
        return self.place.dsn(database)

    @property
    def location_note(self) -> str | None:
        """One line for the start's output when the database is not in DATA_DIR."""
        return self.place.note

    @property
    def owner(self) -> bool:
        """True when the server is our child."""
        return self._lock is not None

    @property
    def programs(self) -> Path:
        """Directory of the client programs too: pg_dump, psql."""
        return binaries.locate(self.place)

    @property
    def pid(self) -> int | None:
        """Of the postmaster, whoever started it; None when there is none."""
        known = postmaster.read(self.place.cluster)
        return known.pid if known and postmaster.runs_on(self.place.cluster, known.pid) else None

    async def __aenter__(self) -> Self:
        self._place = await _in_thread(lambda: settle(self._data_dir, self._elsewhere))
        try:
            self._take_lock()  # first of all: a server that nobody owns is to be ended, not to be joined
            await self.ensure_running()
        except BaseException:
            await self._leave()
            raise
        self._watch = asyncio.create_task(self._supervise(), name="embedded-postgres")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.wait([self._watch])
        finally:
            await self._leave()

    async def ensure_running(self) -> None:
        """Return when the server is ready, having started it if nobody else does. Cheap when all is well.

        For reconnect loops: after the owner's death the first to call becomes the owner. Raises
        EmbeddedError.
        """
        if self._ready():
            return
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._start_seconds):
                    while not self._ready():
                        if self._take_lock():
                            await self._start()
                        else:
                            await asyncio.sleep(POLL_SECONDS)
            except TimeoutError as error:
                tail = cluster.log_tail(self.place)
                raise StartFailed(f"was not ready within {self._start_seconds:g} s", tail) from error

    def _ready(self) -> bool:
        known = postmaster.read(self.place.cluster)
        if known is None or known.status != postmaster.READY:
            return False
        if self._lock is not None:
            return self._child is not None and self._child.returncode is None and self._child.pid == known.pid
        return postmaster.runs_on(self.place.cluster, known.pid)

    def _take_lock(self) -> bool:
        if self._lock is not None:
            return True
        # flock, not lockf: it does not vanish when somebody else in this process closes the same file
        descriptor = self.place.open(self.place.lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    async def _start(self) -> None:
        """One server, from whatever was left behind to ready. Only with the lock."""
        place, lock = self.place, self._lock
        assert lock is not None, "only the owner starts a server"
        if self._child is None or self._child.returncode is not None:
            self._child = None
            programs = await _in_thread(lambda: binaries.provide(place))
            if not place.cluster.is_dir():
                await _in_thread(lambda: cluster.make(place, programs, lock))
            await _in_thread(lambda: postmaster.clear(place, patience=STOP_SECONDS))
            cluster.trim_log(place)
            self._log_begin = place.log.stat().st_size if place.log.exists() else 0
            argv = [str(programs / "postgres"), *cluster.configure(place)]
            # Not in a thread: a cancellation must not come between the fork and our knowing of it.
            with open(place.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as output:  # noqa: ASYNC230, PTH123
                self._child = GuardedChild.spawn(argv, place.account, stdin=subprocess.DEVNULL, output=output)
        while not self._ready():
            if self._child.returncode is not None:
                tail = cluster.log_tail(place, self._log_begin)
                if STILL_IN_USE not in tail:
                    raise StartFailed(f"ended at its start with status {self._child.returncode}", tail)
                await asyncio.sleep(0.1)
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _supervise(self) -> None:
        """Bring back a server that died, for those who joined it too."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._lock is None:
                continue
            try:
                cluster.trim_log(self.place)
                if self._child is not None:
                    self._child.keep_guarded()
                if not self._ready():
                    log.warning("the embedded PostgreSQL is down and is started again")
                    await self.ensure_running()
            except (EmbeddedError, OSError):
                log.exception("the embedded PostgreSQL is not in order; the next look is in 5 s")
                await asyncio.sleep(5)

    async def _leave(self) -> None:
        child, self._child = self._child, None
        try:
            if child is not None:
                await _in_thread(lambda: child.stop(fast=STOP_SECONDS))
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                os.close(lock)


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work to its end, cancelled or not: the lock must not be freed under it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # raised again below, once the work is over
                await asyncio.wait([task])
        raise
