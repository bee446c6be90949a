"""One transaction of the group commit: which facts go into it, and how they are written."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import lru_cache

import asyncpg
import msgspec

from actors.ports import Appended, StoreUnavailable, VersionConflict
from adapters.archive.index import archived_before, stream_key
from adapters.store.errors import FactRefused, OutOfTime
from adapters.store.partitions import Partitions, month_of
from adapters.store.pending import Pending
from calls.facts import NewFact

MAX_BATCH = 512
MAX_TRIES = 32
"""How often a version that somebody else took at the same moment is drawn anew."""

# Texts come joined by a control character that none of them may hold: asyncpg asks every element of an array for its
# kind, which costs 2 µs a fact and column.
BETWEEN = "\x1f"

# One text for each set of partitions: the next version is looked up in the one that the fact belongs to, no other
# is touched. Filled in by insert_into(), which leaves out what no fact of the batch needs.
INSERT = r"""
INSERT INTO facts (incarnation, enterprise, stream, version, month, kind, source, occurred_at, recorded_at,
                   body, meta{key})
SELECT $1, enterprise, stream, next, month, kind, source, occurred_at, $2, body, meta{key}
FROM (
    SELECT fresh.*, coalesce({versions}, 0) + {after} AS next
    FROM unnest(string_to_array($3, E'\x1f'), string_to_array($4, E'\x1f'), string_to_array($5, E'\x1f'),
                string_to_array($6, E'\x1f'), $7::timestamptz[], $8::bytea[], $9::bytea[],
                string_to_array($10, E'\x1f')::date[]{arrays})
         WITH ORDINALITY
         AS fresh (enterprise, stream, kind, source, occurred_at, body, meta, month{columns}, place)
) numbered
{held}
ORDER BY place
RETURNING position, version{whose}
"""
ONCE = "1"
OFTEN = "row_number() OVER (PARTITION BY enterprise, stream ORDER BY place)"
"""How far behind the newest version: of streams that stand in the batch once, or more often."""
KEYS = r", string_to_array($11, E'\x1f', '')"
EXPECTED = r", string_to_array($12, E'\x1f', '')::integer[]"
FOLLOWS = r", string_to_array($13, E'\x1f', '')::bigint[]"
ARCHIVE_KEYS = ", string_to_array(${place}, E'\x1f')::bigint[]"
OR_ARCHIVED = (
    "coalesce({versions}, (SELECT max(version) FROM archived_streams old WHERE old.key = fresh.archive_key))"
)
NEWEST_VERSION = """(
               SELECT version FROM {table} known
               WHERE known.enterprise = fresh.enterprise AND known.stream = fresh.stream
               ORDER BY known.version DESC LIMIT 1
           )"""

KNOWN = """
SELECT enterprise, key, position, version FROM idempotency
WHERE (enterprise, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
REMEMBER = "INSERT INTO idempotency (enterprise, key, position, version) VALUES ($1, $2, $3, $4)"

LATE = "57014"  # query_canceled, raised by facts_in_time()
BEGUN = "CF001"  # raised by facts_begin()


class Written(msgspec.Struct):
    """What became of a batch: ``stored`` with their places, ``known`` by their key, ``failed`` with the reason."""

    stored: list[tuple[Pending, Appended]] = []
    known: list[tuple[Pending, Appended]] = []
    failed: list[tuple[Pending, Exception]] = []
    left: list[Pending] = []
    """No time was left for these; nothing of them is stored."""


def decided_behind(failed: Sequence[tuple[Pending, Exception]], waiting: Iterable[Pending]) -> list[Pending]:
    """Of those that wait, the ones decided on a version that a fact of their stream, which failed, was to have.

    A version is a number: where somebody else's fact has it by now, it would say yes to what was decided on another
    fact. They are in conflict, whatever the reason was for which the one before them failed.
    """
    least: dict[tuple[str, str], int] = {}
    for entry, _ in failed:
        expected = entry.fact.expected_version
        if expected is not None:
            least[stream_of(entry)] = min(expected, least.get(stream_of(entry), expected))
    if not least:
        return []
    return [
        entry
        for entry in waiting
        if entry.fact.expected_version is not None
        and (first := least.get(stream_of(entry))) is not None
        and entry.fact.expected_version > first
    ]


def stream_of(entry: Pending) -> tuple[str, str]:
    """Enterprise and stream."""
    return entry.fact.enterprise, entry.fact.stream


def conflict(entry: Pending) -> VersionConflict:
    """What a caller hears whose stream has moved on."""
    fact = entry.fact
    assert fact.expected_version is not None, "an arrival is never refused"
    return VersionConflict(fact.stream, fact.expected_version)


def take(waiting: deque[Pending], most: int = MAX_BATCH) -> list[Pending]:
    """The next batch, in order.

    An idempotency key stands in a batch once only, and so does a stream that somebody decided a version on, unless each
    fact was decided on the one before it: what follows waits for the next batch and then sees what this one stored.
    """
    batch: list[Pending] = []
    next_of: dict[tuple[str, str], int | None] = {}
    keys: set[tuple[str, str]] = set()
    while waiting and len(batch) < most:
        entry = waiting[0]
        if entry.answer.done():
            waiting.popleft()
            continue
        fact = entry.fact
        stream, expected = stream_of(entry), fact.expected_version
        if stream in next_of and next_of[stream] != expected:
            break
        if fact.idempotency_key is not None:
            key = (fact.enterprise, fact.idempotency_key)
            if key in keys:
                break
            keys.add(key)
        next_of[stream] = None if expected is None else expected + 1
        batch.append(waiting.popleft())
    return batch


class _Into(msgspec.Struct):
    """Where a batch goes, and within how many seconds."""

    connection: asyncpg.Connection
    partitions: Partitions
    incarnation: int
    recorded_at: datetime
    allowed: float
    archived: bool = False
    """Some stream of the batch has its first versions in the archive."""


class _Begun(Exception):
    """A stream was begun anew whose beginning is archived."""


async def write(
    connection: asyncpg.Connection,
    incarnation: int,
    batch: list[Pending],
    recorded_at: datetime,
    allowed: float,
    partitions: Partitions | None = None,
) -> Written:
    """Commit a batch; where it fails as a whole, each fact by itself.

    So a bad row fails only its caller, and who was decided behind it. ``allowed``: seconds from now in which the
    transaction must be committed. ``partitions``: as the writer knows them; None looks. Raises OutOfTime, and what
    asyncpg raises for a lost connection: then nothing is known.
    """
    if partitions is None:
        partitions = Partitions()
        await partitions.read(connection)
    into = _Into(connection, partitions, incarnation, recorded_at, allowed)
    try:
        try:
            return await _transaction(into, batch)
        except _Begun:
            into.archived = True
            return await _transaction(into, batch)
    except (asyncpg.UniqueViolationError, asyncpg.UndefinedTableError):
        await partitions.read(connection)  # somebody else may have made or archived a month
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError):
        pass
    into.archived = True
    written = Written()
    for place, entry in enumerate(batch):
        if decided_behind(written.failed, [entry]):
            written.failed.append((entry, conflict(entry)))
            continue
        try:
            await _alone(into, entry, written)
        except OutOfTime:
            written.left = batch[place:]
            break
    return written


async def _alone(into: _Into, entry: Pending, written: Written) -> None:
    for _ in range(MAX_TRIES):
        try:
            one = await _transaction(into, [entry])
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


async def _transaction(into: _Into, batch: list[Pending]) -> Written:
    connection = into.connection
    await connection.execute("BEGIN")
    try:
        written = Written()
        keyed = [entry for entry in batch if entry.fact.idempotency_key is not None]
        fresh = await _without_known(connection, batch, keyed, written) if keyed else batch
        if fresh:
            await _insert(into, fresh, written)
        if keyed:
            await _remember(connection, written)
        # One message: the server itself refuses to commit what its callers no longer wait for.
        begun = "" if into.archived else _begun(into, written)
        await connection.execute(
            f"{begun}SELECT facts_in_time('{into.allowed * 1000:.0f} milliseconds'); COMMIT"
        )
    except asyncpg.QueryCanceledError as error:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        if error.sqlstate == LATE:
            raise OutOfTime(into.allowed) from error
        raise
    except asyncpg.PostgresError as error:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        if error.sqlstate == BEGUN:
            raise _Begun from error
        raise
    return written


def _begun(into: _Into, written: Written) -> str:
    """Statement that refuses to commit where a stream was begun anew whose beginning is archived.

    Asked of first versions alone, and of those that may be archived: never of a leg that is told of as it happens.
    """
    before = archived_before(into.recorded_at)
    keys = [
        stream_key(entry.fact.enterprise, entry.fact.stream)
        for entry, place in written.stored
        if place.version == 1 and month_of(entry.fact.stream) < before
    ]
    return f"SELECT facts_begin('{{{','.join(map(str, keys))}}}');" if keys else ""


async def _without_known(
    connection: asyncpg.Connection, batch: list[Pending], keyed: list[Pending], written: Written
) -> list[Pending]:
    rows = await connection.fetch(
        KNOWN, [entry.fact.enterprise for entry in keyed], [entry.fact.idempotency_key for entry in keyed]
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


async def _remember(connection: asyncpg.Connection, written: Written) -> None:
    """Keep the keys of what was stored, in the same transaction."""
    await connection.executemany(
        REMEMBER,
        [
            (entry.fact.enterprise, entry.fact.idempotency_key, place.position, place.version)
            for entry, place in written.stored
            if entry.fact.idempotency_key is not None
        ],
    )


@lru_cache(maxsize=64)
def insert_into(
    tables: tuple[tuple[date, str], ...], *, once: bool, special: bool, archived: bool = False
) -> str:
    """INSERT for facts of these months, each given with the partition that its versions are looked up in.

    ``once``: no stream is in the batch more than once, so that nothing need be sorted and counted. ``special``: some
    have a key, were decided on a version or were recovered, so that all of it is told, and the answer tells which were
    stored.
    ``archived``: versions go on from those in the archive; the keys of the streams are told too.
    """
    known = [NEWEST_VERSION.format(table=table) for _, table in tables]
    cases = [f"WHEN '{month}' THEN {told}" for (month, _), told in zip(tables, known, strict=True)]
    versions = known[0] if len(known) == 1 else f"CASE fresh.month {' '.join(cases)} END"
    arrays, columns = "", ""
    if special:
        arrays, columns = KEYS + EXPECTED + FOLLOWS, ", idempotency_key, expected, follows"
    if archived:
        versions = OR_ARCHIVED.format(versions=versions)
        arrays += ARCHIVE_KEYS.format(place=14 if special else 11)
        columns += ", archive_key"
    return INSERT.format(
        versions=versions,
        after=ONCE if once else OFTEN,
        key=", idempotency_key, follows" if special else "",
        arrays=arrays,
        columns=columns,
        held="WHERE expected IS NULL OR expected + 1 = next" if special else "",
        whose=", enterprise, stream" if special else "",
    )


def _is_special(fact: NewFact) -> bool:
    return fact.idempotency_key is not None or fact.expected_version is not None or fact.follows is not None


def _special(facts: list[NewFact]) -> tuple[str, str, str]:
    return (
        BETWEEN.join([fact.idempotency_key or "" for fact in facts]),
        _numbers([fact.expected_version for fact in facts]),
        _numbers([fact.follows for fact in facts]),
    )


def _numbers(numbers: list[int | None]) -> str:
    return BETWEEN.join(["" if number is None else str(number) for number in numbers])


def _archive_keys(facts: list[NewFact]) -> str:
    return BETWEEN.join([str(stream_key(fact.enterprise, fact.stream)) for fact in facts])


async def _insert(into: _Into, batch: list[Pending], written: Written) -> None:
    facts = [entry.fact for entry in batch]
    months = [month_of(fact.stream) for fact in facts]
    told = {month: month.isoformat() for month in sorted(set(months))}
    special = any(map(_is_special, facts))
    rows = await into.connection.fetch(
        insert_into(
            tuple((month, into.partitions.table(month)) for month in told),
            once=len({fact.stream for fact in facts}) == len(facts),
            special=special,
            archived=into.archived,
        ),
        into.incarnation,
        into.recorded_at,
        BETWEEN.join([fact.enterprise for fact in facts]),
        BETWEEN.join([fact.stream for fact in facts]),
        BETWEEN.join([fact.kind for fact in facts]),
        BETWEEN.join([fact.source for fact in facts]),
        [fact.occurred_at for fact in facts],
        [fact.body for fact in facts],
        [fact.meta for fact in facts],
        BETWEEN.join([told[month] for month in months]),
        *(_special(facts) if special else ()),
        *((_archive_keys(facts),) if into.archived else ()),
    )
    rows.sort(key=lambda row: row[0])
    if len(rows) == len(batch):
        written.stored += [(entry, Appended(row[0], row[1])) for entry, row in zip(batch, rows, strict=True)]
        return
    place = 0
    for entry in batch:
        fact = entry.fact
        row = rows[place] if place < len(rows) else None
        if row is not None and row[2] == fact.enterprise and row[3] == fact.stream:
            written.stored.append((entry, Appended(row[0], row[1])))
            place += 1
        else:
            written.failed.append((entry, conflict(entry)))
    assert place == len(rows), "every stored fact has its caller"
