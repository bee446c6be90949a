"""Files of the archive: facts as Parquet (zstd, typed), one file a month and enterprise.

First the facts that were not recovered, in the readers' order, then the recovered ones in theirs (calls.order): as a
rebuild reads them. Nothing but pyarrow is needed to read one, and it is loaded where it is needed only.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b, file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapters.analysts.errors import ExtraMissing
from adapters.archive.index import Place, stream_key
from calls.facts import Source

GROUP: Final = 512
"""Facts in a row group: what is in memory of each file that is read."""
AT_ONCE: Final = 128
"""Facts of it that are Python's at once, which take ten times the room."""
LIVE_GROUPS: Final = b"callfold.live_groups"
"""Row groups in front of the recovered facts; in the file's metadata."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAY_LACK: Final = frozenset({"idempotency_key", "follows"})
_TIMES: Final = frozenset({"occurred_at", "recorded_at"})


class Row(NamedTuple):
    """A fact with everything that the table ``facts`` has of it."""

    incarnation: int
    xid: int
    position: int
    month: date
    enterprise: str
    stream: str
    version: int
    kind: str
    source: Source
    occurred_at: datetime
    recorded_at: datetime
    idempotency_key: str | None
    body: bytes
    meta: bytes
    follows: int | None


def sha256_of(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def need_pyarrow() -> None:
    """Raises ExtraMissing where it is not there; loads nothing."""
    if find_spec("pyarrow") is None:
        raise ExtraMissing("pyarrow")


def pyarrow() -> Any:
    """Raises ExtraMissing."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - it takes 40 MB that a service has no use for
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissing("pyarrow") from error
    # A rebuild has a file of each enterprise open: pools that keep what was freed, and threads, cost more than that.
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return pa


def _schema(pa: Any) -> Any:
    texts = pa.dictionary(pa.int32(), pa.string())
    types = {
        "incarnation": pa.int32(),
        "xid": pa.int64(),
        "position": pa.int64(),
        "month": pa.date32(),
        "enterprise": texts,
        "stream": pa.string(),
        "version": pa.int32(),
        "kind": texts,
        "source": texts,
        "occurred_at": pa.timestamp("us", tz="UTC"),
        "recorded_at": pa.timestamp("us", tz="UTC"),
        "idempotency_key": pa.string(),
        "body": pa.binary(),
        "meta": pa.binary(),
        "follows": pa.int64(),
    }
    return pa.schema([pa.field(name, types[name], name in _MAY_LACK) for name in Row._fields])


class FileWriter:
    """Writes one file; afterwards it knows what the table ``archived`` is told of it."""

    def __init__(self, path: Path, month: date) -> None:
        self._pa = pyarrow()
        self._schema = _schema(self._pa)
        self._month = month
        self._file = path.open("wb")
        self._writer = self._pa.parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._group = 0
        self._digest = blake2b()
        self.live_groups: int | None = None
        self.facts = self.recovered = 0
        self.first_place = (1 << 31, 1 << 63)
        self.first_position, self.last_position = 1 << 63, 0
        self.since: datetime | None = None
        self.until: datetime | None = None
        self.last_recorded_at = _EPOCH
        self._streams: dict[int, tuple[int, int, int]] = {}

    @property
    def digest(self) -> bytes:
        """Of all rows, as ``FactFile.digest`` counts it."""
        return self._digest.digest()

    @property
    def streams(self) -> Iterator[tuple[int, Place]]:
        """Each stream's key, and where it is in this file."""
        return ((key, Place(self._month, *place)) for key, place in self._streams.items())

    def add(self, row: Row) -> None:
        """The next fact in the order of the file."""
        if row.source == "recovery":
            if self.live_groups is None:
                self._write_group()
                self.live_groups = self._group
            self.since = self.since or row.occurred_at
            self.recovered += 1
        else:
            self.until = max(self.until or row.occurred_at, row.occurred_at)
        self._rows.append(row)
        self.facts += 1
        self.first_place = min(self.first_place, (row.incarnation, row.xid))
        self.first_position = min(self.first_position, row.position)
        self.last_position = max(self.last_position, row.position)
        self.last_recorded_at = max(self.last_recorded_at, row.recorded_at)
        key = stream_key(row.enterprise, row.stream)
        version, first, _ = self._streams.get(key, (0, self._group, 0))
        self._streams[key] = (max(version, row.version), first, self._group)
        if len(self._rows) == GROUP:
            self._write_group()

    def _write_group(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._writer.write_batch(
                self._pa.record_batch(
                    [
                        self._pa.array(values, type=field.type)
                        for values, field in zip(columns, self._schema, strict=True)
                    ],
                    schema=self._schema,
                ),
                row_group_size=GROUP,
            )
            _count_in(self._digest, self._rows)
            self._rows = []
            self._group += 1

    def close(self) -> None:
        """Finish the file; it is on the disk then."""
        self._write_group()
        live = self._group if self.live_groups is None else self.live_groups
        self._writer.add_key_value_metadata({LIVE_GROUPS: str(live).encode()})
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that is not to be."""
        self._writer.close()
        self._file.close()


def _count_in(digest: Any, rows: Sequence[Row]) -> None:
    digest.update(repr([tuple(row) for row in rows]).encode())


class FactFile:
    """One file, read row group by row group."""

    def __init__(self, path: Path) -> None:
        self._pa = pyarrow()
        self._file = self._pa.parquet.ParquetFile(path)
        self.groups: int = self._file.metadata.num_row_groups
        self.live_groups = int(self._file.metadata.metadata[LIVE_GROUPS])

    @property
    def whole(self) -> bool:
        """False where an earlier version wrote it, without columns that are needed today."""
        return set(self._file.schema_arrow.names) >= set(Row._fields)

    def close(self) -> None:
        self._file.close()

    def rows(self, group: int) -> list[Row]:
        """The facts of one row group."""
        return list(map(Row._make, self.columns(group, Row._fields)))

    def columns(self, group: int, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Some columns of one row group, row by row."""
        table = self._file.read_row_group(group, columns=list(names), use_threads=False)
        for begin in range(0, table.num_rows, AT_ONCE):
            some = table.slice(begin, AT_ONCE)
            yield from zip(*[self._column(some, name) for name in names], strict=True)

    def _column(self, table: Any, name: str) -> list[Any]:
        if name not in _TIMES:
            values: list[Any] = table[name].to_pylist()
            return values
        whole = table[name].cast(self._pa.int64()).to_pylist()
        return [_EPOCH + timedelta(microseconds=value) for value in whole]

    def all(self) -> Iterator[Row]:
        """Every fact, in the order of the file."""
        for group in range(self.groups):
            yield from self.rows(group)

    def digest(self) -> bytes:
        """Of all rows, their order and their row groups."""
        digest = blake2b()
        for group in range(self.groups):
            _count_in(digest, self.rows(group))
        return digest.digest()


def sync_folder(folder: Path) -> None:
    """Have what was renamed in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
