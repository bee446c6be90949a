"""What the store holds of the streams of a backlog: the k-th equal event of a stream is the k-th stored one.

Equal: enterprise, stream, kind and the JSON value of the body are, whatever the order of its keys, its white space and
the Token in it.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from hashlib import blake2b
from typing import Final

import asyncpg
import msgspec

from adapters.archive.index import RECOVERED_AFTER, edges_of, places_of
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store.errors import StoreError
from adapters.store.partitions import month_of
from calls.facts import EVENT_KINDS

Key = tuple[str, str]
"""Enterprise and stream."""

MOST_KEPT: Final = 50_000
"""Events and streams that are remembered at most; a stream that comes again after so many is looked up again."""
AT_ONCE: Final = 100
"""Rows that a look-up has in memory."""

_OF_STREAMS: Final = """
SELECT wanted.place, told.position, told.version, told.source, told.kind, told.body
FROM unnest($1::text[], $2::text[], $3::integer[], $4::date[]) WITH ORDINALITY
     AS wanted (in_enterprise, in_stream, after, in_month, place)
CROSS JOIN LATERAL (
    SELECT position, version, source, kind, body FROM facts
    WHERE month = in_month AND enterprise = in_enterprise AND stream = in_stream AND version > after OFFSET 0
) AS told
ORDER BY place, version
"""
_EVENTS: Final = frozenset(EVENT_KINDS)
_value: Final = msgspec.json.Decoder()
_sorted: Final = msgspec.json.Encoder(order="sorted")


def content(kind: str, body: bytes) -> bytes:
    """What two equal events have in common."""
    try:
        value = _value.decode(body)
        if isinstance(value, dict):
            value.pop("Token", None)
        told = _sorted.encode(value)
    except (ValueError, RecursionError):
        told = body  # none that is taken today; it is equal to itself
    return blake2b(told, digest_size=16, person=kind.encode()).digest()


class _Equal(msgspec.Struct):
    """Positions of equal stored events that nothing of the backlog has matched yet, in their order."""

    live: deque[int] = msgspec.field(default_factory=deque)
    recovered: deque[int] = msgspec.field(default_factory=deque)

    def take(self) -> int | None:
        """The first of all."""
        if not self.live:
            return self.recovered.popleft() if self.recovered else None
        older = self.recovered and self.recovered[0] < self.live[0]
        return self.recovered.popleft() if older else self.live.popleft()

    def take_live(self) -> int | None:
        """The first that came live; one that was recovered is left for an event that was not delivered."""
        if self.live:
            return self.live.popleft()
        return self.recovered[0] if self.recovered else None


class Stream(msgspec.Struct):
    """``version``: up to which everything is known. ``last``: when its newest event in the backlog occurred.

    ``archived``: the month with which its beginning is archived. ``own``: positions behind ``version`` that this
    backlog has stored; what somebody else stored between them is yet to be learned.
    """

    version: int = 0
    archived: date | None = None
    last: datetime | None = None
    size: int = 1
    own: set[int] = msgspec.field(default_factory=set)
    _equal: dict[bytes, _Equal] = {}

    def match(self, digest: bytes, *, answered: bool) -> int | None:
        """Position of the stored event that this one of the backlog is; None where it is stored nowhere."""
        equal = self._equal.get(digest)
        if equal is None:
            return None
        return equal.take_live() if answered else equal.take()

    def occurred(self, at: datetime) -> datetime:
        """``at``, but never before the stream's event above."""
        self.last = at if self.last is None else max(self.last, at)
        return self.last

    def stored(self, position: int, version: int) -> None:
        """An event of this backlog was stored: nothing for another one of it to match."""
        if version == self.version + 1:
            self.version = version
        else:
            self.own.add(position)

    def learn(self, position: int, version: int, source: str, digest: bytes | None) -> None:
        """Take one more stored fact; no digest: it is no event."""
        self.version = max(self.version, version)
        if position in self.own:
            self.own.discard(position)
        elif digest is not None:
            equal = self._equal.setdefault(digest, _Equal())
            (equal.recovered if source == "recovery" else equal.live).append(position)
            self.size += 1


class KnownStreams:
    """Streams of a backlog, looked up many at a time and forgotten when they have not come for long."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._streams: OrderedDict[Key, Stream] = OrderedDict()
        self._size = 0
        self._edges: Mapping[str, date] = {}

    def __getitem__(self, key: Key) -> Stream:
        """A stream that was looked up."""
        return self._streams[key]

    async def look_up(self, keys: Iterable[Key]) -> None:
        """Have all these streams. Raises StoreError."""
        wanted = dict.fromkeys(keys)
        await self._look_for_archive({enterprise for enterprise, _ in wanted})
        fresh = []
        for key in wanted:
            if key in self._streams:
                self._streams.move_to_end(key)
            else:
                self._streams[key] = Stream()
                self._size += 1
                fresh.append(key)
        await self.refresh(fresh)
        self._forget(wanted)

    def archived(self, key: Key, at: datetime) -> str | None:
        """What is archived of a stream or of the time at which its event occurred, in words; None where nothing is."""
        edge, month = self._edges.get(key[0]), self._streams[key].archived
        if month is not None:
            return f"earlier events of it are archived with {month:%Y-%m}"
        if edge is None or at.date() >= edge + RECOVERED_AFTER:
            return None
        return f"everything of {key[0]} before {edge} is archived"

    async def _look_for_archive(self, enterprises: Collection[str]) -> None:
        try:
            async with self._pool.acquire(timeout=10) as connection:
                self._edges = await edges_of(connection, enterprises)
        except SERVER_TROUBLE as error:
            raise StoreError(f"what is stored cannot be read: {error}") from error

    async def refresh(self, keys: Collection[Key]) -> None:
        """Learn what was stored in these streams since they were looked up. Raises StoreError."""
        if not keys:
            return
        streams = [self._streams[key] for key in keys]
        before = sum(stream.size for stream in streams)
        try:
            async with self._pool.acquire(timeout=10) as connection, connection.transaction(readonly=True):
                rows = connection.cursor(
                    _OF_STREAMS,
                    [enterprise for enterprise, _ in keys],
                    [stream for _, stream in keys],
                    [stream.version for stream in streams],
                    [month_of(stream) for _, stream in keys],
                    prefetch=AT_ONCE,
                )
                async for place, position, version, source, kind, body in rows:
                    digest = content(kind, body) if kind in _EVENTS else None
                    streams[place - 1].learn(position, version, source, digest)
                for key, places in (await places_of(connection, keys)).items():
                    self._streams[key].archived = places[-1].month
        except SERVER_TROUBLE as error:
            for key in keys:
                self._size -= self._streams.pop(key).size  # half known is worse than not known
            raise StoreError(f"what is stored cannot be read: {error}") from error
        self._size += sum(stream.size for stream in streams) - before

    def _forget(self, wanted: Collection[Key]) -> None:
        while self._size > MOST_KEPT and (oldest := next(iter(self._streams))) not in wanted:
            self._size -= self._streams.pop(oldest).size
