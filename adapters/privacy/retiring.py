"""Retention: numbers and names of outside people give way to pseudonyms in what is older than some days.

As forgetting, in steps that leave in ``retention`` how far they came (docs/decisions/0015-privacy.md). Unlike there
rows are renamed in their places: a night's part of the facts ends where no call goes on, so no other row changes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from actors.ports import Clock, FactLog
from adapters.archive.files import Row as ArchivedRow
from adapters.archive.folder import FOLDER, Archive, ArchivedFile, Change
from adapters.postgres.database import Database
from adapters.privacy import traces
from adapters.privacy.archived import elsewhere
from adapters.privacy.digests import Digests
from adapters.privacy.forgetting import AT_ONCE, EXPORTS, LONGEST, PAGE, WITHIN, Forgetting, remove_exports
from adapters.privacy.person import ForgetRefused
from adapters.privacy.strangers import Strangers
from adapters.store import sums
from adapters.store.reading import LIVE
from calls.deliveries import DELIVERY_KINDS
from calls.facts import (
    BODIES_RETIRED,
    CUSTOMER_FORGOTTEN,
    DIRECTORY_CHANGED,
    RECORDING_FORGOTTEN,
    RETIRED_STREAM,
    SILENCE_OBSERVED,
    NewFact,
)
from calls.guests import EMPTY
from calls.shapes import SHAPES
from calls.spellings import Told

FEWEST_DAYS: Final = 31
"""Refused bodies are kept for 30, and what actors and cards hold is younger by far."""
SLACK: Final = timedelta(days=1)
"""Clocks of hosts, of the service and of the database differ by less; so far back a quiet moment is looked for too."""
_SILENT: Final = frozenset(
    {DIRECTORY_CHANGED, CUSTOMER_FORGOTTEN, BODIES_RETIRED, RECORDING_FORGOTTEN, SILENCE_OBSERVED}
)
"""Kinds of ours that tell no number of an event; the directory is looked at by itself."""

_ROW: Final = """
SELECT upto, recovered, wanted, position, head, newest, facts, numbers, since FROM retention WHERE enterprise = $1
"""
_BEGIN: Final = """
INSERT INTO retention (enterprise, wanted, position, head, newest) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (enterprise) DO UPDATE SET (wanted, position, head, newest, facts, numbers, since)
    = (excluded.wanted, excluded.position, excluded.head, excluded.newest, 0, 0, NULL)
"""
_MOVE: Final = """
UPDATE retention SET position = $2, facts = facts + $3, since = least(since, $4) WHERE enterprise = $1
"""
_END: Final = """
UPDATE retention SET upto = $2, recovered = newest, wanted = NULL, done_at = $3 WHERE enterprise = $1
"""
# What is old enough and was not looked at: all that occurred since the last run's end, and what was recovered since.
_DUE: Final = """
enterprise = $1 AND occurred_at < $2 AND (occurred_at >= $3 OR (source = 'recovery' AND position > $4))
"""
_COLUMNS: Final = "position, month, stream, kind, source, occurred_at, body, meta, idempotency_key"
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM facts WHERE {_DUE} AND position > $5 AND position <= $6 ORDER BY position LIMIT $7
"""  # noqa: S608 - constants of ours
_RECOVERED: Final = f"""
SELECT {_COLUMNS} FROM facts
WHERE {_DUE} AND source = 'recovery' AND position > $5 AND position <= $6 ORDER BY position LIMIT $7
"""  # noqa: S608 - constants of ours
_REWRITE: Final = (
    "UPDATE facts SET body = $3, meta = $4, idempotency_key = $5 WHERE month = $2 AND position = $1"
)
_REKEY: Final = "UPDATE idempotency SET key = $3 WHERE enterprise = $1 AND key = $2"
_PARKED: Final = "SELECT place, position, reason FROM parked WHERE enterprise = $1 AND position = ANY($2)"
_EXCUSE: Final = "UPDATE parked SET reason = $3 WHERE place = $1 AND position = $2"
_TOUCH: Final = "INSERT INTO retired_legs SELECT $1, * FROM unnest($2::text[]) ON CONFLICT DO NOTHING"
_FROM: Final = "SELECT position, recorded_at FROM facts WHERE position >= $1 ORDER BY position LIMIT 1"
# Calls that went on at a time or soon before it, by the times of their facts.
_SPANS: Final = """
SELECT told.call_id, first, CASE WHEN calls.outcome = 'open' THEN '9000-01-01' ELSE last END AS last FROM (
    SELECT call_id, min(first_at) AS first, max(last_at) AS last FROM legs WHERE enterprise = $1 GROUP BY call_id
) AS told LEFT JOIN calls ON calls.enterprise = $1 AND calls.call_id = told.call_id
WHERE first < $2 AND (last > $3 OR calls.outcome = 'open')
"""
_LEGS: Final = "SELECT unique_id FROM call_legs WHERE enterprise = $1 AND call_id = ANY($2)"
_OLD_MESSAGES: Final = (
    "DELETE FROM preview_messages WHERE enterprise = $1 AND sent_at < $2",
    "DELETE FROM rejected WHERE enterprise = $1 AND received_at < $2",
)
_DIRECTORY: Final = """
SELECT position, month, occurred_at, body FROM facts WHERE enterprise = $1 AND kind = $2 ORDER BY position
"""
_URLS: Final = """
SELECT id, archived_body FROM recordings
WHERE enterprise = $1 AND archived_body IS NOT NULL AND unique_id = ANY($2)
"""
_TOUCHED: Final = "SELECT unique_id FROM retired_legs WHERE enterprise = $1 ORDER BY unique_id LIMIT $2"
_CALLS: Final = """
SELECT call_id, customer, caller, dialled, answered_by, rung, talked, consulted FROM calls
WHERE enterprise = $1 AND call_id IN (SELECT call_id FROM call_legs WHERE enterprise = $1 AND unique_id = ANY($2))
"""
_SET_CALL: Final = """
UPDATE calls SET (customer, caller, dialled, answered_by, rung, talked, consulted) = ($3, $4, $5, $6, $7, $8, $9)
WHERE enterprise = $1 AND call_id = $2
"""
_OF_CALLS: Final = "SELECT unique_id, number FROM legs WHERE enterprise = $1 AND call_id = ANY($2)"
_SHARES: Final = "SELECT call_id, extension, day FROM call_agents WHERE enterprise = $1 AND call_id = ANY($2)"


class Retired(msgspec.Struct, frozen=True):
    """How far it has come: facts up to ``position`` of ``head`` were looked at, ``facts`` of them changed.

    ``upto``: before it no outside number stands any more, or will when ``done``. ``removed``: what else is gone.
    """

    done: bool
    upto: datetime
    position: int
    head: int
    facts: int = 0
    numbers: int = 0
    removed: tuple[str, ...] = ()


class BodiesRetired(msgspec.Struct, frozen=True):
    """Body of a ``bodies_retired`` fact; ``upto`` as ISO time in UTC."""

    upto: str
    facts: int
    numbers: int


class _Run(msgspec.Struct, frozen=True):
    """A row of ``retention`` while a run goes on. ``before``: up to where an earlier one came."""

    enterprise: str
    before: datetime
    recovered: int
    upto: datetime
    position: int
    head: int
    newest: int
    facts: int
    numbers: int
    since: datetime | None
    staying: frozenset[str]
    """Streams of calls that go on at ``upto``, where no quiet moment is near: they wait for the next run."""
    whole: datetime
    """Before it nothing waits: ``upto``, or when the first of those calls began."""

    @property
    def due(self) -> tuple[str, datetime, datetime, int]:
        return self.enterprise, self.upto, self.before, self.recovered

    def is_due(self, row: ArchivedRow) -> bool:
        """As _DUE says."""
        fresh = row.occurred_at >= self.before or (row.source == "recovery" and row.position > self.recovered)
        return row.occurred_at < self.upto and fresh and row.stream not in self.staying


class _New(msgspec.Struct, frozen=True):
    """A fact as it will be."""

    position: int
    month: Any
    stream: str
    old_key: str | None
    body: bytes
    meta: bytes
    key: str | None
    numbers: list[Told]


_EVER: Final = datetime(1, 1, 2, tzinfo=UTC)


class Retiring:
    """Retires what is old of an enterprise, one step at a time; nobody rebuilds, forgets or archives meanwhile.

    ``folded``: let what is kept in memory follow; with a time, fold the enterprise's rows anew since then before.
    """

    def __init__(
        self,
        forgetting: Forgetting,
        *,
        database: Database,
        facts: FactLog,
        clock: Clock,
        data_dir: Path,
        folded: Callable[[str, datetime | None], Awaitable[None]],
        rest: Callable[[float], Awaitable[None]],
    ) -> None:
        self._forgetting, self._database, self._facts, self._clock = forgetting, database, facts, clock
        self._data_dir, self._folded, self._rest = data_dir, folded, rest

    async def step(self, enterprise: str, days: int) -> Retired:
        """Go on with what is older than so many days, by the enterprise's calendar; what was begun is ended first.

        Raises ForgetRefused, ForgetKeyError, LogError, ArchiveError, ExtraMissing, OSError, what asyncpg raises.
        """
        if days < FEWEST_DAYS:
            raise ForgetRefused(f"{days} days are too few; {FEWEST_DAYS} at the least")
        async with self._forgetting.alone() as connection:
            digests = await asyncio.to_thread(Digests.open, self._data_dir)
            strangers = await Strangers.read(connection, digests, enterprise)
            run = await self._run(connection, strangers, days)
            end = monotonic() + LONGEST
            for head, sql in ((run.head, _PAGE), (max(run.newest, run.head), _RECOVERED)):
                while run.position < head:
                    run = await self._page(connection, strangers, run, sql, head)
                    if monotonic() >= end and run.position < run.newest:
                        return Retired(False, run.upto, run.position, run.newest, run.facts, run.numbers)
            return await self._finish(connection, strangers, run)

    async def _run(self, connection: asyncpg.Connection, strangers: Strangers, days: int) -> _Run:
        """The run that goes on, or a new one."""
        number = strangers.enterprise
        if await connection.fetchval("SELECT EXISTS (SELECT FROM folds_due WHERE enterprise = $1)", number):
            raise ForgetRefused("recovered events are being folded in; run it again when that is done")
        row = await connection.fetchrow(_ROW, number)
        before = (row and row["upto"]) or _EVER
        wanted = row and row["wanted"]
        if wanted is None:
            zone = ZoneInfo(strangers.directory.profile.timezone)
            day = self._clock.now().astimezone(zone).date() - timedelta(days=days)
            midnight = datetime.combine(day, time(), zone).astimezone(UTC)
            upto, _, _ = await _quiet(connection, number, midnight)
            await _begin(connection, number, before, max(upto, before))
            row = await connection.fetchrow(_ROW, number)
        assert row is not None, "it was begun now at the latest"
        _, staying, whole = await _quiet(connection, number, row["wanted"])
        values = {
            name: row[name]
            for name in ("recovered", "position", "head", "newest", "facts", "numbers", "since")
        }
        return _Run(
            enterprise=number, before=before, upto=row["wanted"], staying=staying, whole=whole, **values
        )

    async def _page(
        self, connection: asyncpg.Connection, strangers: Strangers, run: _Run, sql: str, head: int
    ) -> _Run:
        """Rewrite the next facts; the run as it is then."""
        rows = await connection.fetch(sql, *run.due, run.position, head, PAGE)
        reached = rows[-1]["position"] if len(rows) == PAGE else head
        changed: list[_New] = []
        for first in range(0, len(rows), AT_ONCE):
            begun = monotonic()
            some = [row for row in rows[first : first + AT_ONCE] if row["stream"] not in run.staying]
            told = [(row, _numbers(row["kind"], row["body"], strangers)) for row in some]
            await self._rest(monotonic() - begun)
            await self._learn(connection, strangers, run, (one for _, numbers in told for one in numbers))
            begun = monotonic()
            changed += [
                new for row, numbers in told if (new := _rewritten(row, numbers, strangers)) is not None
            ]
            await self._rest(monotonic() - begun)
        since = min((row["occurred_at"] for row in rows), default=None) if changed else None
        async with connection.transaction():
            await _write(connection, run.enterprise, changed, strangers)
            await connection.execute(_MOVE, run.enterprise, reached, len(changed), since)
        row = await connection.fetchrow(_ROW, run.enterprise)
        assert row is not None, "the run goes on"
        return msgspec.structs.replace(
            run, position=reached, facts=row["facts"], numbers=row["numbers"], since=row["since"]
        )

    async def _learn(
        self, connection: asyncpg.Connection, strangers: Strangers, run: _Run, numbers: Iterable[Told]
    ) -> None:
        fresh = await strangers.learn(connection, numbers, run.upto, self._rest)
        if fresh:
            await connection.execute(
                "UPDATE retention SET numbers = numbers + $2 WHERE enterprise = $1", run.enterprise, fresh
            )

    async def _finish(self, connection: asyncpg.Connection, strangers: Strangers, run: _Run) -> Retired:
        """What comes when all facts are rewritten; each part may be done again."""
        await self._rewrite_archive(connection, strangers, run)
        await self._rewrite_directory(connection, strangers, run)
        for sql in _OLD_MESSAGES:
            await connection.execute(sql, run.enterprise, run.upto)
        row = await connection.fetchrow(_ROW, run.enterprise)
        assert row is not None, "the run goes on"
        removed: list[str] = []
        if row["facts"]:
            await self._tell(run, row["facts"], row["numbers"])
            while await _rename(connection, strangers):
                await self._rest(0.0)
            late = "SELECT EXISTS (SELECT FROM facts WHERE enterprise = $1 AND source = 'recovery' AND position > $2)"
            folding = await connection.fetchval(late, run.enterprise, run.newest)
            # What was recovered meanwhile was perhaps folded between facts of before and of after.
            await self._folded(run.enterprise, row["since"] if folding else None)
            removed += await traces.drop_aside(connection)
            removed += await asyncio.to_thread(remove_exports, self._data_dir / EXPORTS)
            await traces.vacuum(connection)
        await connection.execute(_END, run.enterprise, run.whole, self._clock.now())
        return Retired(True, run.upto, run.newest, run.newest, row["facts"], row["numbers"], tuple(removed))

    async def _tell(self, run: _Run, facts: int, numbers: int) -> None:
        upto = run.upto.astimezone(UTC).isoformat()
        fact = NewFact(
            enterprise=run.enterprise,
            stream=RETIRED_STREAM,
            kind=BODIES_RETIRED,
            source="service",
            occurred_at=self._clock.now(),
            body=SHAPES.write(BODIES_RETIRED, BodiesRetired(upto, facts, numbers)),
            idempotency_key=f"{BODIES_RETIRED}/{run.newest}",
        )
        await self._facts.append(fact, within=WITHIN)

    async def _rewrite_archive(self, connection: asyncpg.Connection, strangers: Strangers, run: _Run) -> None:
        archive = Archive(self._data_dir / FOLDER)
        await archive.load(connection)
        for one in archive.of((run.enterprise,)):
            if one.last_recorded_at < run.before - SLACK or one.month > (run.upto + SLACK).date():
                continue
            numbers, keys = await asyncio.to_thread(_archived_numbers, archive, one, run, strangers)
            await self._learn(connection, strangers, run, numbers)
            await _rekey(connection, run.enterprise, keys, strangers)
            change = _archived_change(run, strangers)
            changed = await elsewhere(self._database, self._data_dir, one.month, run.enterprise, change)
            await _touch(connection, run.enterprise, changed.streams)
            legs = _legs(changed.streams)
            for row in await connection.fetch(_URLS, run.enterprise, legs):
                body = strangers.rewrite(row["archived_body"], strangers.in_body(row["archived_body"]))
                await connection.execute(
                    "UPDATE recordings SET archived_body = $2 WHERE id = $1", row["id"], body
                )
            await connection.execute(_MOVE, run.enterprise, run.newest, changed.facts, changed.since)

    async def _rewrite_directory(
        self, connection: asyncpg.Connection, strangers: Strangers, run: _Run
    ) -> None:
        """Customers who were taken out of the directory that long ago; who is in it stays there."""
        rows = await connection.fetch(_DIRECTORY, run.enterprise, DIRECTORY_CHANGED)
        last: dict[str, datetime] = {}
        found: list[tuple[asyncpg.Record, str]] = []
        for row in rows:
            change = msgspec.json.decode(row["body"])
            if change.get("section") == "customer":
                last[change["key"]] = row["occurred_at"]
                found.append((row, change["key"]))
        gone = {key for key, at in last.items() if at < run.upto and strangers.is_gone(key)}
        await self._learn(connection, strangers, run, map(strangers.told, gone))
        changed = [(row, strangers.rewrite_entry(row["body"], key)) for row, key in found if key in gone]
        told = [(row["position"], row["month"], body) for row, body in changed if body != row["body"]]
        async with connection.transaction():
            await connection.executemany(
                "UPDATE facts SET body = $3 WHERE month = $2 AND position = $1", told
            )
            await connection.execute(_MOVE, run.enterprise, run.newest, len(told), None)


async def _begin(connection: asyncpg.Connection, enterprise: str, before: datetime, upto: datetime) -> None:
    newest = int(await connection.fetchval("SELECT coalesce(max(position), 0) FROM facts"))
    first = 0 if before == _EVER else await _place_at(connection, before - SLACK, newest)
    head = await _place_at(connection, upto + SLACK, newest)
    await connection.execute(_BEGIN, enterprise, upto, min(first, head), head, newest)


async def _place_at(connection: asyncpg.Connection, at: datetime, newest: int) -> int:
    """The last position before the first fact that was recorded then or later."""
    low, high = (
        0,
        newest,
    )  # what is recorded later is behind ``high``, what is at ``low`` or before is earlier
    while low < high:
        middle = (low + high + 1) // 2
        row = await connection.fetchrow(_FROM, middle)
        if row is None or row["position"] > high or row["recorded_at"] >= at:
            high = middle - 1
        else:
            low = row["position"]
    return low


async def _quiet(
    connection: asyncpg.Connection, enterprise: str, at: datetime
) -> tuple[datetime, frozenset[str], datetime]:
    """The last moment up to ``at`` at which nobody talked, nor soon before; where none is near, ``at`` itself.

    With the streams of the calls that go on at that moment, and when the first of them began, else the moment.
    """
    rows = await connection.fetch(_SPANS, enterprise, at, at - 2 * SLACK)
    moment = at
    spans = [(row["first"], row["last"]) for row in rows]
    while moment > at - SLACK:
        crossing = [first for first, last in spans if first < moment < last + EMPTY]
        if not crossing:
            return moment, frozenset(), moment
        moment = min(crossing) - EMPTY
    crossed = [row for row in rows if row["last"] >= at]
    legs = await connection.fetch(_LEGS, enterprise, [row["call_id"] for row in crossed])
    first = min((row["first"] for row in crossed), default=at)
    return at, frozenset(f"leg/{row[0]}" for row in legs), first


def _numbers(kind: str, body: bytes, strangers: Strangers) -> list[Told]:
    return [] if kind in _SILENT or kind in DELIVERY_KINDS else strangers.in_body(body)


def _rewritten(row: asyncpg.Record, numbers: list[Told], strangers: Strangers) -> _New | None:
    """A fact without these numbers and without the hash of what was shown; None where it has neither."""
    key = row["idempotency_key"]
    body, meta, new_key = _changed(row["kind"], row["body"], row["meta"], key, numbers, strangers)
    if body == row["body"] and meta == row["meta"] and new_key == key:
        return None
    return _New(row["position"], row["month"], row["stream"], key, body, meta, new_key, numbers)


def _changed(
    kind: str, body: bytes, meta: bytes, key: str | None, numbers: list[Told], strangers: Strangers
) -> tuple[bytes, bytes, str | None]:
    if kind in DELIVERY_KINDS:
        return traces.without_hash(body), meta, key
    told = None if key is None else strangers.rewrite_text(key, numbers)
    return strangers.rewrite(body, numbers), strangers.rewrite(meta, numbers), told


async def _write(
    connection: asyncpg.Connection, enterprise: str, changed: Sequence[_New], strangers: Strangers
) -> None:
    await connection.executemany(
        _REWRITE, [(new.position, new.month, new.body, new.meta, new.key) for new in changed]
    )
    keys = [(enterprise, new.old_key, new.key) for new in changed if new.old_key != new.key]
    await connection.executemany(_REKEY, keys)
    numbers = {new.position: new.numbers for new in changed}
    parked = await connection.fetch(_PARKED, enterprise, list(numbers))
    reasons = [(row[0], row[1], strangers.rewrite_text(row[2], numbers[row[1]])) for row in parked]
    await connection.executemany(_EXCUSE, reasons)
    await _touch(connection, enterprise, (new.stream for new in changed if new.numbers))


def _legs(streams: Iterable[str]) -> list[str]:
    return sorted({stream.partition("/")[2] for stream in streams if stream.startswith("leg/")})


async def _touch(connection: asyncpg.Connection, enterprise: str, streams: Iterable[str]) -> None:
    await connection.execute(_TOUCH, enterprise, _legs(streams))


def _archived_numbers(
    archive: Archive, one: ArchivedFile, run: _Run, strangers: Strangers
) -> tuple[set[Told], dict[str, list[Told]]]:
    """The numbers that are to give way in a file, and by the keys that hosts gave which of them may be in the key."""
    found: set[Told] = set()
    keys: dict[str, list[Told]] = {}
    file = archive.open(one)
    try:
        for row in file.all():
            numbers = _numbers(row.kind, row.body, strangers) if run.is_due(row) else []
            found.update(numbers)
            if numbers and row.idempotency_key is not None:
                keys[row.idempotency_key] = numbers
    finally:
        file.close()
    return found, keys


async def _rekey(
    connection: asyncpg.Connection, enterprise: str, keys: dict[str, list[Told]], strangers: Strangers
) -> None:
    """Rename keys of archived facts, before their file: what was interrupted is found in the file again."""
    told = [(enterprise, key, strangers.rewrite_text(key, numbers)) for key, numbers in keys.items()]
    await connection.executemany(_REKEY, [row for row in told if row[1] != row[2]])


def _archived_change(run: _Run, strangers: Strangers) -> Change:
    def change(row: ArchivedRow) -> ArchivedRow | None:
        if not run.is_due(row):
            return None
        numbers = _numbers(row.kind, row.body, strangers)
        told = _changed(row.kind, row.body, row.meta, row.idempotency_key, numbers, strangers)
        new = row._replace(body=told[0], meta=told[1], idempotency_key=told[2])
        return None if new == row else new

    return change


# rows


async def _rename(connection: asyncpg.Connection, strangers: Strangers) -> bool:
    """Rename in the rows of the next calls; False where there are no more."""
    number, name = strangers.enterprise, strangers.pseudonym
    legs = [row[0] for row in await connection.fetch(_TOUCHED, number, PAGE)]
    if not legs:
        return False
    async with connection.transaction():
        # The live runner has to move its checkpoint, so it waits.
        await connection.execute("SELECT 1 FROM checkpoints WHERE projection = $1 FOR UPDATE", LIVE)
        rows = [tuple(row) for row in await connection.fetch(_CALLS, number, legs)]
        told = [(call, *[_named(value, name) for value in values]) for call, *values in rows]
        await connection.executemany(
            _SET_CALL, [(number, *new) for new, row in zip(told, rows, strict=True) if new != row]
        )
        calls = [row[0] for row in rows]
        places = await connection.fetch(_OF_CALLS, number, calls)
        await connection.executemany(
            "UPDATE legs SET number = $3 WHERE enterprise = $1 AND unique_id = $2",
            [(number, row[0], new) for row in places if (new := name(row[1])) != row[1]],
        )
        await _rename_agents(connection, strangers, calls)
        phones = {phone for new, row in zip(told, rows, strict=True) for phone in (new[1], row[1]) if phone}
        await sums.recount(connection, "", {sums.CUSTOMERS: {(number, phone) for phone in phones}})
        await connection.execute(
            "DELETE FROM retired_legs WHERE enterprise = $1 AND unique_id = ANY($2)", number, legs
        )
    return True


def _named(value: Any, name: Callable[[str | None], str | None]) -> Any:
    return [name(one) for one in value] if isinstance(value, list) else name(value)


async def _rename_agents(connection: asyncpg.Connection, strangers: Strangers, calls: list[str]) -> None:
    number = strangers.enterprise
    shares = await connection.fetch(_SHARES, number, calls)
    changed = [
        (row, new) for row in shares if (new := strangers.pseudonym(row["extension"])) != row["extension"]
    ]
    await connection.executemany(
        "UPDATE call_agents SET extension = $4 WHERE enterprise = $1 AND call_id = $2 AND extension = $3",
        [(number, row["call_id"], row["extension"], new) for row, new in changed],
    )
    keys = {(number, str(one), str(row["day"])) for row, new in changed for one in (row["extension"], new)}
    await sums.recount(connection, "", {sums.AGENTS: keys})
