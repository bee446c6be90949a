"""The ten questions of docs/analysts.md over an export and over the live tables of a store that is there.

    python -m tests.bench.history DSN 1000000
    callfold rebuild all
    python -m tests.bench.questions DSN [FOLDER]

Exports the store into FOLDER (else into a temporary one), asks both, and fails where one row differs.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from adapters.analysts.export import export
from adapters.analysts.reading import Wanted
from adapters.postgres.database import Database
from tests.bench.processes import BenchError
from tests.bench.results import Row, print_table
from tests.questions import ask_both, questions


async def measure(dsn: str, folder: Path | None = None) -> list[Row]:
    """Export of the store, and the time that each question takes on either side; BenchError where rows differ."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callfold-export-")))
        begun = perf_counter()
        made = await export(Database(dsn, None), folder, "parquet", Wanted(), lambda _, __: None)
        spent = perf_counter() - begun
        if not made.rows["calls"]:
            raise BenchError("the store has no calls: fill it and rebuild first")
        events, size = made.rows["events"], sum(file.bytes for file in made.files)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        rows = [
            Row(
                name="export",
                what=f"{events:,} events, {made.rows['calls']:,} calls to Parquet in {spent:.1f} s",
                unit="events/s",
                ours=events / spent,
            ),
            Row(
                name="export, bytes",
                what="Parquet of all tables",
                unit="bytes an event",
                ours=size / max(events, 1),
            ),
            Row(name="export, memory", what="peak of the process that exports", unit="MB", ours=peak),
        ]
        for question in questions():
            asked = await ask_both(dsn, folder, question)
            if not asked.same:
                raise BenchError(f"question {question.number} has {_difference(asked.exported, asked.live)}")
            rows.append(
                Row(
                    name=f"question {question.number}",
                    what=f"{question.title} {len(asked.live):,} rows; DuckDB; PostgreSQL",
                    unit="s",
                    ours=asked.exported_s,
                    rival=asked.live_s,
                    ratio=asked.live_s / asked.exported_s,
                    goal="same rows",
                    met=True,
                )
            )
        return rows


def _difference(exported: list[tuple[object, ...]], live: list[tuple[object, ...]]) -> str:
    if len(exported) != len(live):
        return f"{len(exported)} rows in the export and {len(live)} live"
    one, other = next((one, other) for one, other in zip(exported, live, strict=True) if one != other)
    return f"{one} in the export and {other} live"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.questions", description=__doc__)
    parser.add_argument("dsn", help="the database, projected")
    parser.add_argument("folder", type=Path, nargs="?", help="where the export goes and stays")
    given = parser.parse_args()
    try:
        print_table(asyncio.run(measure(given.dsn, given.folder)))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
