"""Which recordings there are: their ids, their facts, their files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Final

import asyncpg
import msgspec
import structlog
from msgspec.structs import replace

from actors.ports import Appended, Clock, FactLog, StoreUnavailable
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.recordings.files import Incoming, Place, RecordingFiles
from calls.facts import RECORDING_ADDED, NewFact, leg_stream
from calls.recordings import Recording, read_recording, write_recording

log = structlog.get_logger(__name__)

WITHIN: Final = 10.0
"""Seconds in which the fact must be committed. A host may give up before; what it sends again is known then."""

# Given once a leg; what is served under it, the newest fact of the leg says.
GIVE_ID: Final = """
INSERT INTO recordings (id, enterprise, unique_id) VALUES ($1, $2, $3) ON CONFLICT (enterprise, unique_id) DO NOTHING
"""
NEWEST: Final = f"""
SELECT given.id, given.enterprise, coalesce(told.position, given.archived_position) AS position,
       coalesce(told.body, given.archived_body) AS body
FROM recordings given
LEFT JOIN LATERAL (
    SELECT position, body FROM facts
    WHERE month = facts_month('leg/' || given.unique_id)
      AND facts.enterprise = given.enterprise AND stream = 'leg/' || given.unique_id AND kind = '{RECORDING_ADDED}'
    ORDER BY version DESC LIMIT 1
) AS told ON true
"""  # noqa: S608 - a constant of ours
OF_LEG: Final = f"{NEWEST} WHERE given.enterprise = $1 AND given.unique_id = $2"
OF_ID: Final = f"{NEWEST} WHERE given.id = $1"


class Known(msgspec.Struct, frozen=True):
    """The recording that is served, of which enterprise, and where its fact stands."""

    enterprise: str
    position: int
    recording: Recording

    @property
    def place(self) -> Place:
        """Where its file is."""
        return Place(self.enterprise, self.recording.id, self.recording.sha256)


class Register:
    """Takes recordings in and finds them again. Only the instance that leads takes any in."""

    def __init__(self, pool: asyncpg.Pool, facts: FactLog, files: RecordingFiles, clock: Clock) -> None:
        self._pool, self._facts, self._clock = pool, facts, clock
        self.files = files
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def add_url(self, enterprise: str, unique_id: str, url: str, request: str) -> tuple[str, Appended]:
        """Keep where the recording of a leg is; its id, and where that stands.

        Raises LogError and OSError. ``request``: id of the request that it came with.
        """
        async with self._turn(enterprise, unique_id):
            ident, known = await self._leg(enterprise, unique_id)
            if known is not None and known.recording.url == url:
                return ident, Appended(known.position, 0, known=True)
            file = known.place if known is not None and known.recording.sha256 else None
            if file is not None:
                await asyncio.to_thread(self.files.note, file)
            stored = await self._append(enterprise, unique_id, Recording(ident, url=url), request)
            if file is not None:
                await asyncio.to_thread(self.files.settle, file, "")
            return ident, stored

    async def add_file(
        self, enterprise: str, unique_id: str, incoming: Incoming, request: str
    ) -> tuple[str, Appended]:
        """Keep a file as the recording of a leg; its id, and where that stands.

        Raises LogError, and OSError where the file cannot be kept.
        """
        kind, digest = await asyncio.to_thread(incoming.finish)
        async with self._turn(enterprise, unique_id):
            ident, known = await self._leg(enterprise, unique_id)
            place = Place(enterprise, ident, digest)
            same = known is not None and known.recording.sha256 == digest
            if not (same and await asyncio.to_thread(self.files.has, place)):
                await asyncio.to_thread(self.files.keep, incoming, place)
            if known is not None and same:
                stored = Appended(known.position, 0, known=True)
            else:
                # A note stays behind where this fails: nobody knows whether the fact was stored.
                recording = Recording(ident, type=kind, bytes=incoming.size, sha256=digest)
                stored = await self._append(enterprise, unique_id, recording, request)
            await asyncio.to_thread(self.files.settle, place, digest)
            return ident, stored

    async def find(self, ident: str) -> Known | None:
        """The recording that is served under an id. Raises StoreUnavailable."""
        try:
            row = await self._pool.fetchrow(OF_ID, ident, timeout=WITHIN)
        except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        return _known(row) if row else None

    async def tidy(self) -> None:
        """Remove what a process before has left without a fact; before the first recording is taken in."""
        removed = 0
        for place in await asyncio.to_thread(self.files.noted):
            known = await self.find(place.id)
            served = known.recording.sha256 if known else ""
            await asyncio.to_thread(self.files.settle, place, served)
            removed += served != place.sha256
        if removed:
            log.info("recordings that were never stored are removed", files=removed)

    @asynccontextmanager
    async def _turn(self, enterprise: str, unique_id: str) -> AsyncIterator[None]:
        """One at a time for each leg, so that the newest fact is of the newest file."""
        key = (enterprise, unique_id)
        lock, waiting = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(key)
            if waiting > 1:
                self._turns[key] = lock, waiting - 1

    async def _leg(self, enterprise: str, unique_id: str) -> tuple[str, Known | None]:
        """The id of a leg's recordings, given now if there is none yet, and the newest of them."""
        try:
            async with self._pool.acquire(timeout=WITHIN) as connection:
                row = await connection.fetchrow(OF_LEG, enterprise, unique_id, timeout=WITHIN)
                if row is None:
                    await connection.execute(GIVE_ID, token_hex(16), enterprise, unique_id, timeout=WITHIN)
                    row = await connection.fetchrow(OF_LEG, enterprise, unique_id, timeout=WITHIN)
        except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        assert row is not None
        return row["id"], _known(row)

    async def _append(self, enterprise: str, unique_id: str, recording: Recording, request: str) -> Appended:
        fact = NewFact(
            enterprise=enterprise,
            stream=leg_stream(unique_id),
            kind=RECORDING_ADDED,
            source="live",
            occurred_at=self._clock.now(),
            body=write_recording(recording),
            meta=b'{"request_id":"%s"}' % request.encode(),
        )
        return await self._facts.append(fact, within=WITHIN)


def _known(row: asyncpg.Record) -> Known | None:
    if row["body"] is None:
        return None
    # The id of the table is the one that was asked for; a fact that came out of another store may tell another.
    recording = replace(read_recording(row["body"]), id=row["id"])
    return Known(row["enterprise"], row["position"], recording)
