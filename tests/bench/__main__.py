"""Takes the measures one after the other: ``python -m tests.bench [--only NAME] [--seconds N] [--quick]``."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from tests.bench import append, delivery, fold, ingest, lag, memory, outside, rebuild, restart, size
from tests.bench.processes import ROOT, BenchError
from tests.bench.results import Row, print_table, write_json

MEASURES: dict[str, Callable[[float, int], Awaitable[list[Row]]]] = {
    "ingest": ingest.measure,
    "delivery": delivery.measure,
    "append": append.measure,
    "fold": fold.measure,
    "memory": memory.measure,
    "restart": restart.measure,
    "outside": outside.measure,
    "size": size.measure,
    "rebuild": rebuild.measure,
    "lag": lag.measure,
}


async def run(names: list[str], seconds: float, rounds: int) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += await MEASURES[name](seconds, rounds)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), help="this measure alone; may be repeated"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one turn [default: 5]")
    parser.add_argument("--quick", action="store_true", help="one short turn of each: shows that it runs")
    given = parser.parse_args()
    names = given.only or list(MEASURES)
    seconds, rounds = (min(given.seconds, 1.5), 1) if given.quick else (given.seconds, 5)
    try:
        rows = asyncio.run(run(names, seconds, rounds))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    write_json(rows, ROOT / "build" / "bench.json")
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
