"""Files of an export, one writer a file, chunk by chunk: Parquet (typed, zstd), CSV and JSON Lines.

Parquet leaves out a column ``day``, since readers take it from the folder's name (``day=2026-05-04``).
"""

import os
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

import msgspec

from adapters.analysts.errors import ExtraMissing
from adapters.analysts.relations import SECONDS_PRECISION, SECONDS_SCALE, Kind, Relation

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DAY: Final = "day"
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class FileWriter(Protocol):
    """Writes one file."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, columns in the order of the relation."""
        ...

    def close(self) -> None:
        """Finish the file; it is on the disk then."""
        ...


def writer(format_: Format, relation: Relation, path: Path) -> FileWriter:
    """A writer of a new file. Raises ExtraMissing where pyarrow is needed and missing, and OSError."""
    match format_:
        case "parquet":
            return _Parquet(relation, path)
        case "csv":
            return _Csv(relation, path)
        case "jsonl":
            return _JsonLines(relation, path)


def arrow_schema(relation: Relation) -> "pa.Schema":
    """Names and types of a Parquet file's columns."""
    pa = _pyarrow()
    types: dict[Kind, Any] = {
        "text": pa.string(),
        "json": pa.string(),
        "texts": pa.list_(pa.string()),
        "integer": pa.int64(),
        "count": pa.int32(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "seconds": pa.decimal128(SECONDS_PRECISION, SECONDS_SCALE),
    }
    return pa.schema([(column.name, types[column.kind]) for column in relation.columns if column.name != DAY])


def _pyarrow() -> Any:
    """Loaded where it is needed: it takes 40 MB that a service has no use for."""
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissing("pyarrow") from error
    return pa


class _Parquet:
    def __init__(self, relation: Relation, path: Path) -> None:
        self._pa = _pyarrow()
        self._schema = arrow_schema(relation)
        self._places = [place for place, name in enumerate(relation.names) if name != DAY]
        self._file = path.open("wb")
        self._writer = self._pa.parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        columns = [
            self._pa.array([row[place] for row in rows], type=field.type)
            for place, field in zip(self._places, self._schema, strict=True)
        ]
        self._writer.write_batch(self._pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        _finish(self._file)


class _Csv:
    """RFC 4180 with a header; a text is always quoted, so that an empty one is not taken for a missing one."""

    def __init__(self, relation: Relation, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._file.write(",".join(relation.names) + "\r\n")

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._file.writelines([",".join([csv_field(value) for value in row]) + "\r\n" for row in rows])

    def close(self) -> None:
        _finish(self._file)


class _JsonLines:
    def __init__(self, relation: Relation, path: Path) -> None:
        self._columns = relation.columns
        self._file = path.open("wb")

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._file.writelines([_encode(self._shown(row)) + b"\n" for row in rows])

    def _shown(self, row: Sequence[Any]) -> dict[str, Any]:
        return {
            column.name: msgspec.Raw(value.encode()) if column.kind == "json" else value
            for column, value in zip(self._columns, row, strict=True)
        }

    def close(self) -> None:
        _finish(self._file)


def csv_field(value: Any) -> str:
    """A value as a CSV field: times as ISO 8601, lists as JSON, what is not there as nothing."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace('"', '""') + '"'
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case list() | dict():
            return csv_field(_encode(value).decode())
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


def _finish(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
