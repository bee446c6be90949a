"""What keeps a forgotten number from coming back with a host's backlog: the digests of those who were forgotten."""

from datetime import datetime
from functools import lru_cache
from pathlib import Path

import asyncpg
import msgspec
import structlog

from adapters.postgres.errors import SERVER_TROUBLE
from adapters.privacy.digests import Digests, ForgetKeyError
from adapters.privacy.person import reading_of
from adapters.store.errors import StoreError
from adapters.store.reader import read_directories
from calls.exchange import read_change
from calls.facts import NEWEST
from calls.pseudonyms import Renaming, rename
from calls.spellings import Reading, numbers_in

log = structlog.get_logger(__name__)

_STATE = """
SELECT count(*), max(begun_at), max(done_at),
       (SELECT string_agg(enterprise || ' ' || upto::text, ',' ORDER BY enterprise) FROM retention)
FROM forgotten
"""
_UPTO = "SELECT enterprise, upto FROM retention WHERE upto IS NOT NULL"
_LIST = "SELECT enterprise, digest, pseudonym, done_at, names, key_id FROM forgotten"


class _Listed(msgspec.Struct, frozen=True):
    pseudonym: str
    done_at: datetime | None
    names: list[bytes]


class Suppression:
    """Puts pseudonyms in the place of forgotten numbers, as forgetting did: what is stored is recognised."""

    def __init__(self, pool: asyncpg.Pool, data_dir: Path) -> None:
        self._pool, self._data_dir = pool, data_dir
        self._state: tuple[object, ...] = (0, None, None, None)
        self._digests: Digests | None = None
        self._listed: dict[str, dict[bytes, _Listed]] = {}
        self._readings: dict[str, Reading] = {}
        self._upto: dict[str, datetime] = {}
        self._renaming = lru_cache(maxsize=4_096)(self._make)

    async def refresh(self) -> None:
        """See who was forgotten since. Raises StoreError."""
        try:
            await self._refresh()
        except (*SERVER_TROUBLE, ForgetKeyError) as error:
            raise StoreError(f"who was forgotten cannot be read: {error}") from error

    async def _refresh(self) -> None:
        async with self._pool.acquire(timeout=10) as connection:
            row = await connection.fetchrow(_STATE)
            if row is None or tuple(row) == self._state:
                return
            digests = Digests.open(self._data_dir)
            listed: dict[str, dict[bytes, _Listed]] = {}
            foreign = 0
            for number, digest, pseudonym, done_at, names, key_id in await connection.fetch(_LIST):
                listed.setdefault(number, {})[digest] = _Listed(pseudonym, done_at, names)
                foreign += key_id != digests.key_id
            upto = {row[0]: row[1] for row in await connection.fetch(_UPTO)}
            for number in listed:
                changes = map(read_change, await read_directories(connection, NEWEST, number))
                self._readings[number] = reading_of(changes)
        if foreign:
            log.error("forgotten numbers cannot be recognised: forget-key is another one", people=foreign)
        self._digests, self._listed, self._state = digests, listed, tuple(row)
        self._upto = upto
        self._renaming.cache_clear()

    def suppressed(self, body: bytes, enterprise: str, at: datetime | None = None) -> bytes:
        """A body of an event that occurred then as it is to be stored.

        Who called after being forgotten, and after what retention has come to, is somebody new. ``at`` None: nobody is.
        """
        listed = self._listed.get(enterprise)
        if not listed or self._digests is None:
            return body
        retired = at is not None and enterprise in self._upto and at < self._upto[enterprise]
        gone = []
        for number in sorted(numbers_in(body, self._readings[enterprise])):
            found = listed.get(self._digests.digest(enterprise, number))
            if found and (retired or at is None or found.done_at is None or at < found.done_at):
                gone.append(self._renaming(enterprise, number))
        return rename(body, gone)

    def _make(self, enterprise: str, number: str) -> Renaming:
        assert self._digests is not None, "asked for only where somebody is listed"
        found = self._listed[enterprise][self._digests.digest(enterprise, number)]
        is_name = self._digests.namer(enterprise, found.names)
        return Renaming(number, found.pseudonym, self._readings[enterprise], is_name)
