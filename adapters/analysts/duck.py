"""SQL over an export, by DuckDB inside of this process. It reads the export's files and nothing else."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from adapters.analysts.answers import Answer
from adapters.analysts.errors import ExportError, ExtraMissing, QueryError
from adapters.analysts.folder import File, reading
from adapters.analysts.relations import RELATIONS, SECONDS_PRECISION, SECONDS_SCALE, Kind, Relation

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


def ask(folder: Path, question: str, answer: Answer, *, memory: str = MEMORY) -> None:
    """Answer one SELECT over the export in a folder, each table a view by its name.

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
                told = connection.sql(question)
                answer.begin(told.columns)
                for batch in told.to_arrow_reader(CHUNK):
                    answer.rows(list(zip(*[column.to_pylist() for column in batch.columns], strict=True)))
                answer.end()
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


def _list(texts: Sequence[str]) -> str:
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"[{', '.join(quoted)}]"


def _reason(text: str) -> str:
    """The first paragraph; the question, which DuckDB repeats behind it, its asker knows."""
    return " ".join(text.partition("\n\n")[0].split())
