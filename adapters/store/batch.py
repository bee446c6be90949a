"""One transaction of the group commit: which facts go into it, and how they are written."""

from collections import deque
from datetime import datetime

import asyncpg
import msgspec

from actors.ports import Appended, StoreUnavailable, VersionConflict
from adapters.store.errors import FactRefused, OutOfTime
from adapters.store.pending import Pending

MAX_BATCH = 512
MAX_TRIES = 32
"""How often a version that somebody else took at the same moment is drawn anew."""

# Texts come joined by a control character that none of them may hold: asyncpg asks every element of an array for its
# kind, which costs 2 µs a fact and column.
BETWEEN = "\x1f"

INSERT = r"""
INSERT INTO facts (incarnation, enterprise, stream, version, kind, source, occurred_at, recorded_at,
                   idempotency_key, body, meta)
SELECT $1, enterprise, stream, next, kind, source, occurred_at, $2, idempotency_key, body, meta
FROM (
    SELECT fresh.*, coalesce((
               SELECT version FROM facts known
               WHERE known.enterprise = fresh.enterprise AND known.stream = fresh.stream
               ORDER BY known.version DESC LIMIT 1
           ), 0) + row_number() OVER (PARTITION BY enterprise, stream ORDER BY place) AS next
    FROM unnest(string_to_array($3, E'\x1f'), string_to_array($4, E'\x1f'), string_to_array($5, E'\x1f'),
                string_to_array($6, E'\x1f'), $7::timestamptz[], string_to_array($8, E'\x1f', ''), $9::bytea[],
                $10::bytea[], string_to_array($11, E'\x1f', '')::integer[]) WITH ORDINALITY
         AS fresh (enterprise, stream, kind, source, occurred_at, idempotency_key, body, meta, expected, place)
) numbered
WHERE expected IS NULL OR expected + 1 = next
ORDER BY place
RETURNING position, version, enterprise, stream
"""

KNOWN = """
SELECT enterprise, idempotency_key, position, version FROM facts
WHERE (enterprise, idempotency_key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""

LATE = "57014"  # query_canceled, raised by facts_in_time()


class Written(msgspec.Struct):
    """What became of a batch: ``stored`` with their places, ``known`` by their key, ``failed`` with the reason."""

    stored: list[tuple[Pending, Appended]] = []
    known: list[tuple[Pending, Appended]] = []
    failed: list[tuple[Pending, Exception]] = []


def take(waiting: deque[Pending], most: int = MAX_BATCH) -> list[Pending]:
    """The next batch, in order.

    A stream that somebody decided a version on, and an idempotency key, stand in a batch once only: what follows
    waits for the next one and then sees what this one stored.
    """
    batch: list[Pending] = []
    streams: set[tuple[str, str]] = set()
    decided: set[tuple[str, str]] = set()
    keys: set[tuple[str, str]] = set()
    while waiting and len(batch) < most:
        entry = waiting[0]
        if entry.answer.done():
            waiting.popleft()
            continue
        fact = entry.fact
        stream = (fact.enterprise, fact.stream)
        if stream in decided or (fact.expected_version is not None and stream in streams):
            break
        if fact.idempotency_key is not None:
            key = (fact.enterprise, fact.idempotency_key)
            if key in keys:
                break
            keys.add(key)
        if fact.expected_version is not None:
            decided.add(stream)
        streams.add(stream)
        batch.append(waiting.popleft())
    return batch


async def write(
    connection: asyncpg.Connection,
    incarnation: int,
    batch: list[Pending],
    recorded_at: datetime,
    allowed: float,
) -> Written:
    """Commit a batch; where it fails as a whole, each fact by itself, so that a bad row fails only its caller.

    ``allowed``: seconds from now in which the transaction must be committed. Raises OutOfTime, and what asyncpg
    raises for a lost connection: then nothing is known.
    """
    try:
        return await _transaction(connection, incarnation, batch, recorded_at, allowed)
    except (asyncpg.UniqueViolationError, asyncpg.DataError, asyncpg.ProgramLimitExceededError):
        written = Written()
        for entry in batch:
            await _alone(connection, incarnation, entry, recorded_at, allowed, written)
        return written


async def _alone(
    connection: asyncpg.Connection,
    incarnation: int,
    entry: Pending,
    recorded_at: datetime,
    allowed: float,
    written: Written,
) -> None:
    for _ in range(MAX_TRIES):
        try:
            one = await _transaction(connection, incarnation, [entry], recorded_at, allowed)
        except asyncpg.UniqueViolationError:
            continue
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
            written.failed.append((entry, FactRefused(entry.fact.stream, str(error))))
            return
        written.stored += one.stored
        written.known += one.known
        written.failed += one.failed
        return
    written.failed.append((entry, StoreUnavailable(f"{entry.fact.stream} is too busy")))


async def _transaction(
    connection: asyncpg.Connection,
    incarnation: int,
    batch: list[Pending],
    recorded_at: datetime,
    allowed: float,
) -> Written:
    await connection.execute("BEGIN")
    try:
        written = Written()
        fresh = await _without_known(connection, batch, written)
        if fresh:
            await _insert(connection, incarnation, fresh, recorded_at, written)
        # One message: the server itself refuses to commit what its callers no longer wait for.
        await connection.execute(f"SELECT facts_in_time('{allowed * 1000:.0f} milliseconds'); COMMIT")
    except asyncpg.QueryCanceledError as error:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        if error.sqlstate == LATE:
            raise OutOfTime(allowed) from error
        raise
    except asyncpg.PostgresError:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    return written


async def _without_known(
    connection: asyncpg.Connection, batch: list[Pending], written: Written
) -> list[Pending]:
    keyed = [entry.fact for entry in batch if entry.fact.idempotency_key is not None]
    if not keyed:
        return batch
    rows = await connection.fetch(
        KNOWN, [fact.enterprise for fact in keyed], [fact.idempotency_key for fact in keyed]
    )
    known = {(row[0], row[1]): Appended(row[2], row[3], known=True) for row in rows}
    fresh = []
    for entry in batch:
        place = known.get((entry.fact.enterprise, entry.fact.idempotency_key or ""))
        if place is None or entry.fact.idempotency_key is None:
            fresh.append(entry)
        else:
            written.known.append((entry, place))
    return fresh


async def _insert(
    connection: asyncpg.Connection,
    incarnation: int,
    batch: list[Pending],
    recorded_at: datetime,
    written: Written,
) -> None:
    facts = [entry.fact for entry in batch]
    rows = await connection.fetch(
        INSERT,
        incarnation,
        recorded_at,
        BETWEEN.join([fact.enterprise for fact in facts]),
        BETWEEN.join([fact.stream for fact in facts]),
        BETWEEN.join([fact.kind for fact in facts]),
        BETWEEN.join([fact.source for fact in facts]),
        [fact.occurred_at for fact in facts],
        BETWEEN.join([fact.idempotency_key or "" for fact in facts]),
        [fact.body for fact in facts],
        [fact.meta for fact in facts],
        BETWEEN.join(["" if fact.expected_version is None else str(fact.expected_version) for fact in facts]),
    )
    rows.sort(key=lambda row: row[0])
    place = 0
    for entry in batch:
        fact = entry.fact
        row = rows[place] if place < len(rows) else None
        if row is not None and row[2] == fact.enterprise and row[3] == fact.stream:
            written.stored.append((entry, Appended(row[0], row[1])))
            place += 1
        else:
            assert fact.expected_version is not None, "an arrival is never refused"
            written.failed.append((entry, VersionConflict(fact.stream, fact.expected_version)))
    assert place == len(rows), "every stored fact has its caller"
