"""SQL over an export, by DuckDB inside of this process. It reads the export's files and nothing else."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from adapters.analysts.answers import Answer
from adapters.analysts.errors import ExportError, ExtraMissing, QueryError
from adapters.analysts.folder import File, reading
from adapters.analysts.relations import RELATIONS, SECONDS_PRECISION, SECONDS_SCALE, Kind, Relation
from adapters.analysts.values import AFTER, Shown, read_rows

MEMORY: Final = "1GB"
"""What a query may take; what is more goes to a temporary folder."""
CHUNK: Final = 1_000

TYPES: Final[dict[Kind, str]] = {
    "text": "VARCHAR",
    "json": "VARCHAR",
    "texts": "VARCHAR[]",
    "integer": "BIGINT",
    "count": "INTEGER",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
    "seconds": f"DECIMAL({SECONDS_PRECISION},{SECONDS_SCALE})",
}

_TIMES: Final = (
    "date",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "timestamp_ns",
    "timestamp with time zone",
)
_INTEGERS: Final = (
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "utinyint",
    "usmallint",
    "uinteger",
    "ubigint",
)
SHOWN: Final[dict[str, Shown]] = {
    **{name: Shown("BIGINT") for name in _INTEGERS},
    "ubigint": Shown("UBIGINT"),
    "boolean": Shown("BOOLEAN"),
    **{name: Shown("VARCHAR", "float") for name in ("float", "double")},
    **{name: Shown("VARCHAR", "decimal") for name in ("decimal", "hugeint", "uhugeint", "bignum")},
    **{name: Shown("VARCHAR", "time") for name in _TIMES},
}
"""How types are asked for, by DuckDB's names; all others are texts."""


def ask(folder: Path, question: str, answer: Answer, *, memory: str = MEMORY) -> list[str]:
    """Answer one SELECT over the export in a folder, each table a view by its name.

    Returns the months whose events were archived when it was made.

    Raises ExtraMissing, ExportError where there is no export, QueryError for what DuckDB refuses.
    """
    duckdb = _duckdb()
    with reading(folder) as manifest, tempfile.TemporaryDirectory(prefix="callfold-sql-") as spill:
        export = manifest.exports.get("parquet")
        if export is None:
            raise ExportError(
                f"{folder} holds no Parquet, which this reads: callfold export --format parquet"
            )
        try:
            with duckdb.connect(
                ":memory:", config={"memory_limit": memory, "temp_directory": spill}
            ) as connection:
                _open(connection, folder, export.files)
                statements = connection.extract_statements(question)
                if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                    raise QueryError("one SELECT at a time, and nothing that changes anything")
                told = connection.sql(question.rstrip(AFTER))
                answer.begin(told.columns)
                for rows in _rows(told):
                    answer.rows(rows)
                answer.end()
                return export.archived
        except duckdb.Error as error:
            raise QueryError(_reason(str(error))) from error


def _duckdb() -> Any:
    """DuckDB, and pyarrow, by which its rows come."""
    for library in ("duckdb", "pyarrow"):
        try:
            __import__(library)
        except ImportError as error:
            raise ExtraMissing(library) from error
    import duckdb  # noqa: PLC0415

    return duckdb


def _open(connection: Any, folder: Path, files: Sequence[File]) -> None:
    """Make the views, then lock everything else away for good."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    for relation in RELATIONS:
        mine = [str((folder / file.path).absolute()) for file in files if file.table == relation.name]
        connection.execute(_view(relation, mine))
    every = [str((folder / file.path).absolute()) for file in files]
    connection.execute(f"SET allowed_paths = {_list(every)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _view(relation: Relation, files: Sequence[str]) -> str:
    if not files:
        columns = ", ".join([f"CAST(NULL AS {TYPES[one.kind]}) AS {one.name}" for one in relation.columns])
        return f"CREATE VIEW {relation.name} AS SELECT {columns} WHERE false"
    source = f"read_parquet({_list(files)}, hive_partitioning = true, hive_types = {{'day': DATE}})"
    if not relation.by:
        source = f"read_parquet({_list(files)})"
    return f"CREATE VIEW {relation.name} AS SELECT {', '.join(relation.names)} FROM {source}"  # noqa: S608


def _rows(told: Any) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of an answer in stretches."""
    columns = [_shown(one) for one in told.types]
    # Columns may have one name, so they are known by their places.
    listed = ", ".join([f"CAST(#{place} AS {one.type}) AS c{place}" for place, one in enumerate(columns, 1)])
    batches = iter(told.project(listed).to_arrow_reader(CHUNK))
    while True:
        try:
            batch = next(batches, None)
        except OSError as error:  # so the reader names what DuckDB finds out in the middle
            raise QueryError(_reason(str(error))) from error
        if batch is None:
            return
        yield read_rows(columns, list(zip(*[one.to_pylist() for one in batch.columns], strict=True)))


def _shown(type_: Any) -> Shown:
    if type_.id in {"list", "array"}:
        inner = _shown(type_.children[0][1])
        return Shown(inner.sql, inner.reading, inner.deep + 1)
    return SHOWN.get(type_.id, Shown("VARCHAR"))


def _list(texts: Sequence[str]) -> str:
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"[{', '.join(quoted)}]"


def _reason(text: str) -> str:
    """The first paragraph; the question, which DuckDB repeats behind it, its asker knows."""
    return " ".join(text.partition("\n\n")[0].split())
