"""Stored histories, each with the rows that its fold makes: what every later version must make of them too.

``NAME.jsonl.gz`` holds the facts by position, one JSON object a line: position, enterprise, stream, version, kind,
source, occurred_at, recorded_at, body. It never changes. ``NAME.rows.jsonl`` holds in its first line the version of the
fold, then the rows of each table, sorted; ``python -m tests.histories`` makes them anew.
"""

import gzip
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from adapters.store.beside import COMPARED
from adapters.store.columns import CALL_COLUMNS, LEG_COLUMNS, SHARE_COLUMNS, call_row, leg_row, share_row
from adapters.store.lock import settle_incarnation
from adapters.store.partitions import month_of
from calls.facts import Fact
from calls.order import in_order
from projections.calls import FOLD_VERSION, CallsFold
from projections.hosts import HostRow
from projections.live import project
from projections.ports import Checkpoint, Rows
from tests.memory_log import MemoryLog
from tests.storing import Projected

FOLDER = Path(__file__).parent
CHANGES = FOLDER / "CHANGES.md"
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in FOLDER.glob("*.jsonl.gz"))
PURE = ("calls", "legs", "call_agents", "hosts")
"""Tables that the fold itself makes; the others are counted from these in the database."""
STORED = (
    "position",
    "incarnation",
    "version",
    "month",
    "enterprise",
    "stream",
    "kind",
    "source",
    "occurred_at",
    "recorded_at",
    "body",
    "meta",
)

Row = dict[str, Any]
Tables = dict[str, list[Row]]
"""The rows of each table as JSON has them, sorted by their keys."""


def facts_of(name: str) -> list[Fact]:
    """The facts of a history, by position."""
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [_fact(json.loads(line)) for line in lines]


def _fact(told: Row) -> Fact:
    return Fact(
        told["position"],
        told["enterprise"],
        told["stream"],
        told["version"],
        told["kind"],
        told["source"],
        datetime.fromisoformat(told["occurred_at"]),
        datetime.fromisoformat(told["recorded_at"]),
        json.dumps(told["body"], ensure_ascii=False, separators=(",", ":")).encode(),
    )


def write_facts(name: str, facts: Iterable[Fact]) -> None:
    """Store a new history."""
    lines = [
        _line(
            {
                "position": fact.position,
                "enterprise": fact.enterprise,
                "stream": fact.stream,
                "version": fact.version,
                "kind": fact.kind,
                "source": fact.source,
                "occurred_at": fact.occurred_at.isoformat(),
                "recorded_at": fact.recorded_at.isoformat(),
                "body": json.loads(fact.body),
            }
        )
        for fact in facts
    ]
    (FOLDER / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def rows_of(name: str) -> tuple[int, Tables]:
    """The version of the fold that made the rows of a history, and the rows."""
    first, *lines = (FOLDER / f"{name}.rows.jsonl").read_text(encoding="utf-8").splitlines()
    tables: Tables = {table: [] for table in COMPARED}
    for line in lines:
        row = json.loads(line)
        tables[row.pop("table")].append(row)
    return json.loads(first)["fold_version"], tables


def write_rows(name: str, tables: Tables) -> None:
    """Put these rows in the place of those that were there, as those of today's fold."""
    lines = [_line({"fold_version": FOLD_VERSION})]
    lines += [_line({"table": table, **row}) for table, rows in tables.items() for row in rows]
    (FOLDER / f"{name}.rows.jsonl").write_text("".join(lines), encoding="utf-8")


def _line(told: Row) -> str:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n"


def plain(row: Mapping[str, Any]) -> Row:
    """A row as JSON has it: times in UTC, seconds exactly, as text."""
    return {column: _plain(value) for column, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return list(value) if isinstance(value, tuple) else value


def _sorted(table: str, rows: Iterable[Row]) -> list[Row]:
    keys = COMPARED[table][0]
    return sorted(rows, key=lambda row: [str(row[key]) for key in keys])


class Kept:
    """What the rows given out by a fold amount to."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], list[tuple[str, Row]]] = {}
        self._hosts: dict[str, Row] = {}

    def take(self, rows: Rows) -> None:
        for key in rows.gone:
            self._calls.pop(key, None)
        for call in rows.calls:
            told = plain(dict(zip(CALL_COLUMNS, call_row(call), strict=True)))
            self._calls[call.enterprise, call.call_id] = [("calls", told)]
        for number, call_id, leg in rows.legs:
            told = plain(dict(zip(LEG_COLUMNS, leg_row(number, call_id, leg), strict=True)))
            self._calls[number, call_id].append(("legs", told))
        for number, call_id, share in rows.shares:
            told = plain(dict(zip(SHARE_COLUMNS, share_row(number, call_id, share), strict=True)))
            self._calls[number, call_id].append(("call_agents", told))
        for host in rows.hosts:
            told = plain({column: getattr(host, column) for column in HostRow.__struct_fields__})
            self._hosts[host.enterprise] = told

    def tables(self) -> Tables:
        found: Tables = {table: [] for table in PURE}
        for told in self._calls.values():
            for table, row in told:
                found[table].append(row)
        found["hosts"] = list(self._hosts.values())
        return {table: _sorted(table, rows) for table, rows in found.items()}


async def fold(facts: Sequence[Fact], batches: Iterable[int]) -> Tables:
    """The rows of PURE by the fold alone, taken after so many facts each time; forgotten calls are read from a list."""
    log, kept = MemoryLog(facts=facts), Kept()
    fold = CallsFold()
    for fact in facts:
        fold.hosts.see(fact)
    ordered = iter(in_order(facts))
    for number, size in enumerate(batches, start=1):
        for fact in (batch := list(itertools.islice(ordered, size))):
            await project(fold, fact, log, log.head)
        rows = fold.take()
        kept.take(rows)
        at = log.tables.at
        await log.tables.write(rows, at, Checkpoint(1, number, number), fold.name)
        if not batch:
            break
    assert log.parked == {}
    return kept.tables()


def sizes(chance: random.Random) -> Iterator[int]:
    """Sizes of batches: mostly few facts, at times many."""
    while True:
        yield chance.choice([1, 2, 3, 5, 9, 60])


async def store(connection: asyncpg.Connection, facts: Sequence[Fact]) -> None:
    """Write facts as they were stored, in one transaction."""
    incarnation = await settle_incarnation(connection)
    told = [
        (
            fact.position,
            incarnation,
            fact.version,
            month_of(fact.stream),
            fact.enterprise,
            fact.stream,
            fact.kind,
            fact.source,
            fact.occurred_at,
            fact.recorded_at,
            fact.body,
            fact.meta,
        )
        for fact in facts
    ]
    await connection.copy_records_to_table("facts", records=told, columns=STORED)


async def live(here: Projected, facts: Sequence[Fact], batches: Iterable[int], chance: random.Random) -> None:
    """Project facts as they come, in batches, the runner started anew at times."""
    coming = iter(facts)
    for size in batches:
        batch = list(itertools.islice(coming, size))
        if not batch:
            return
        await store(here.connection, batch)
        if chance.random() < 0.1:
            await here.restart()
        await here.project()


async def tables_of(here: Projected) -> Tables:
    """The rows as the database has them."""
    return {table: _sorted(table, map(plain, await here.rows(table))) for table in COMPARED}


def apart(wanted: Tables, found: Tables) -> list[str]:
    """Every place where rows differ: table, key, column, the stored value, the present one."""
    said = []
    for table, rows in found.items():
        keys = COMPARED[table][0]
        old, new = (
            {tuple(str(row[key]) for key in keys): row for row in one} for one in (wanted[table], rows)
        )
        for key in sorted(old.keys() | new.keys()):
            mine, theirs = old.get(key), new.get(key)
            if mine is None or theirs is None:
                said.append(f"{table} {' '.join(key)}: {'is new' if mine is None else 'is gone'}")
                continue
            columns = [column for column in mine | theirs if mine.get(column) != theirs.get(column)]
            said += [
                f"{table} {' '.join(key)}: {column} was {mine.get(column)!r}, is {theirs.get(column)!r}"
                for column in columns
            ]
    return said
