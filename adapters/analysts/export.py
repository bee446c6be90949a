"""Making an export: every relation, read in one state of the database, in files by day (CONTRACT 2)."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from adapters.analysts.errors import ExportError
from adapters.analysts.files import FileWriter, Format, writer
from adapters.analysts.folder import Export, File, Manifest, making, publish, read_manifest
from adapters.analysts.reading import Reading, Rows, Wanted
from adapters.analysts.relations import EVENTS, RELATIONS, Relation
from adapters.analysts.snapshot import snapshot
from adapters.postgres.database import Database
from projections.ports import Checkpoint

Progress = Callable[[int, str], None]
"""Told that another of so many parts is done, and what it was."""
OTHERS = tuple([relation for relation in RELATIONS if relation is not EVENTS])


async def export(
    database: Database, folder: Path, format_: Format, wanted: Wanted, progress: Progress
) -> Export:
    """Write what is wanted into the folder, in the place of what it has of the same days; what the folder holds now.

    Tables without days are always exported whole. Raises AnalystError, OSError.
    """
    with making(folder) as fresh:
        before = read_manifest(folder) or Manifest({})
        former = before.exports.get(format_)
        if former is not None and former.enterprise != wanted.enterprise:
            raise _other_enterprise(folder, former.enterprise)
        made_at = datetime.now(UTC)
        try:
            async with snapshot(database, {"checkpoints", *[one.table for one in RELATIONS]}) as state:
                reading = await Reading.begin(state, wanted)
                made = await _Making(fresh, format_, made_at, reading.checkpoint).all_of(reading, progress)
                left = await reading.left()
                archived, unknown = await reading.archived(), await reading.unknown()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ExportError(f"the database could not be read: {error}") from error
        kept = [file for file in former.files if _stays(file, wanted)] if former else []
        files = sorted([*kept, *made], key=lambda file: file.path)
        now = Export(
            enterprise=wanted.enterprise,
            made_at=made_at,
            since=wanted.since,
            until=wanted.until,
            checkpoint=msgspec.to_builtins(reading.checkpoint),
            left=left,
            archived=archived,
            unknown=unknown,
            rows={one.name: sum(file.rows for file in files if file.table == one.name) for one in RELATIONS},
            files=files,
        )
        present = {file.path for file in files}
        gone = [file.path for file in former.files if file.path not in present] if former else []
        publish(folder, Manifest({**before.exports, format_: now}), gone)
        return now


def _stays(file: File, wanted: Wanted) -> bool:
    return file.day is not None and not wanted.covers(file.day)


def _other_enterprise(folder: Path, enterprise: str | None) -> ExportError:
    whose = f"enterprise {enterprise} alone" if enterprise else "all enterprises"
    return ExportError(f"{folder} holds an export of {whose}: give another --out")


class _Making:
    """Files of one export that is being made in a folder."""

    def __init__(self, folder: Path, format_: Format, made_at: datetime, checkpoint: Checkpoint) -> None:
        self._folder, self._format, self._made_at, self._checkpoint = folder, format_, made_at, checkpoint
        self._files: list[File] = []

    async def all_of(self, reading: Reading, progress: Progress) -> list[File]:
        """Every file of every relation."""
        stretches = await reading.stretches_of_events()
        parts = len(stretches) + len(OTHERS)
        for first, last in stretches:
            count = await self._write(EVENTS, reading.events(first, last))
            days = f"{first}" if first == last else f"{first} to {last}"
            progress(parts, f"events of {days}: {count}")
        for relation in OTHERS:
            count = await self._write(relation, reading.rows(relation))
            progress(parts, f"{relation.name}: {count}")
        return self._files

    async def _write(self, relation: Relation, rows: AsyncIterator[Rows]) -> int:
        """The files of some rows, which come day by day; how many rows there were."""
        total = 0
        current: _OneFile | None = None
        try:
            async with aclosing(rows) as told:  # type: ignore[type-var]
                async for day, chunk in told:
                    if current is not None and current.day != day:
                        self._done(relation, current)
                        current = None
                    if current is None:
                        current = _OneFile(self._folder, self._format, relation, day)
                    current.write(chunk)
                    total += len(chunk)
            if current is None and not relation.by:
                current = _OneFile(self._folder, self._format, relation, None)
        finally:
            if current is not None:
                self._done(relation, current)
        return total

    def _done(self, relation: Relation, one: "_OneFile") -> None:
        size = one.close()
        self._files.append(
            File(relation.name, one.path, one.rows, size, self._made_at, self._checkpoint.position, one.day)
        )


class _OneFile:
    """A file that is being written."""

    def __init__(self, folder: Path, format_: Format, relation: Relation, day: date | None) -> None:
        self.day, self.rows = day, 0
        self.path = "/".join([relation.name, *([f"day={day}"] if day else []), f"{relation.name}.{format_}"])
        self._place = folder / self.path
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._writer: FileWriter = writer(format_, relation, self._place)

    def write(self, chunk: list[Any]) -> None:
        self._writer.write(chunk)
        self.rows += len(chunk)

    def close(self) -> int:
        """Its size in bytes."""
        self._writer.close()
        return self._place.stat().st_size
