"""Make the expected rows of the stored histories anew, by the fold of today; first say in CHANGES.md why they change.

python -m tests.histories              all histories
python -m tests.histories --make NAME  store a new history of tests/histories/making.py, and its rows
"""

import argparse
import asyncio
import random
import sys
from contextlib import contextmanager

from tests import histories
from tests.conftest import LoopThread, PostgresServer, TestDatabase, reachable_dir
from tests.histories import making
from tests.storing import projected


@contextmanager
def server():
    from adapters.postgres.embedded import EmbeddedPostgres

    loop = LoopThread()
    try:
        with reachable_dir() as path:
            embedded = EmbeddedPostgres(path / "data")
            loop.run(embedded.__aenter__())
            try:
                yield PostgresServer(embedded.dsn, loop, embedded)
            finally:
                loop.run(embedded.__aexit__(None, None, None))
    finally:
        loop.close()


async def rows(database: TestDatabase, name: str) -> histories.Tables:
    """The rows that today's fold makes of a history, which must be the same live, rebuilt and by the fold alone."""
    facts, chance = histories.facts_of(name), random.Random(name)
    async with projected(database.dsn) as here:
        await histories.live(here, facts, histories.sizes(chance), chance)
        found = await histories.tables_of(here)
        differences = (await here.rebuild(check=False)).differences
        pure = await histories.fold(facts, histories.sizes(chance))
        apart = histories.apart(found, await histories.tables_of(here)) + histories.apart(found, pure)
        if differences or apart:
            sys.exit("\n".join([f"{name}: the fold does not agree with itself", *apart[:20]]))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.histories")
    arguments.add_argument("--make", metavar="NAME", choices=[*making.MADE, "all"])
    wanted = arguments.parse_args().make
    names = histories.NAMES
    if wanted:
        names = list(making.MADE) if wanted == "all" else [wanted]
        for name in names:
            histories.write_facts(name, making.make(name))
    with server() as postgres:
        for name in names:
            database = postgres.create()
            found = asyncio.run(rows(database, name))
            histories.write_rows(name, found)
            postgres.drop(database)
            print(name, len(histories.facts_of(name)), {table: len(told) for table, told in found.items()})


if __name__ == "__main__":
    main()
