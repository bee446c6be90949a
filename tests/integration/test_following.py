"""Which fact a recovered one follows is decided when it is stored, by what of its enterprise occurred before."""

import random
from datetime import timedelta

import asyncpg
import msgspec
import pytest

from adapters.postgres.migrate import Schema, load_schema, migrate
from adapters.recovery.following import Following
from calls.directory import changes
from calls.facts import NewFact
from tests.folding import DIRECTORY
from tests.storing import AT, arrival, change_facts, connected, put

DAY = timedelta(days=1)
OLD = """
INSERT INTO facts (incarnation, enterprise, stream, month, version, kind, source, occurred_at, body, meta)
VALUES (1, $1, $2, facts_month($2), $3, $4, $5, $6, '{}', '')
"""


def called(serial: int, at: timedelta, *, enterprise: str = "0367") -> NewFact:
    return arrival(f"1777885200.{serial}", at=AT + at, enterprise=enterprise)


async def position(connection: asyncpg.Connection, serial: int) -> int:
    found: int = await connection.fetchval(
        "SELECT position FROM facts WHERE stream = $1", f"leg/1777885200.{serial}"
    )
    return found


async def test_the_last_of_the_enterprise_that_occurred_before_however_long_ago(database):
    async with connected(database.dsn) as connection:
        await put(connection, [called(1, -40 * DAY), called(2, -30 * DAY), called(3, -DAY)])
        await put(connection, [called(4, timedelta(seconds=1)), called(5, timedelta(), enterprise="0368")])
        times = [AT - 35 * DAY, AT - 3 * DAY, AT - DAY, AT, AT + timedelta(seconds=1), AT + DAY]
        found = await Following().of(connection, "0367", times)
        assert found == [await position(connection, serial) for serial in (1, 2, 3, 3, 4, 4)]


async def test_where_clocks_were_set_back_the_last_stored_of_what_occurred_before(database):
    async with connected(database.dsn) as connection:
        await put(connection, [called(1, timedelta(seconds=10)), called(2, timedelta(seconds=5))])
        last = await position(connection, 2)
        times = [AT + timedelta(seconds=second) for second in (6, 11)]
        assert await Following().of(connection, "0367", times) == [last, last]


async def test_nothing_stands_before_the_first_directory(database):
    known = change_facts(changes(None, DIRECTORY))
    async with connected(database.dsn) as connection:
        await put(connection, known)
        last = await connection.fetchval("SELECT max(position) FROM facts")
        await put(connection, [called(1, DAY)])
        await put(connection, [msgspec.structs.replace(known[0], occurred_at=AT + 2 * DAY)])
        times = [AT - 400 * DAY, AT - DAY, AT, AT + DAY]
        assert await Following().of(connection, "0367", times) == [
            last,
            last,
            last,
            await position(connection, 1),
        ]


async def test_deliveries_and_recovered_facts_are_not_followed(database):
    sent = NewFact(
        enterprise="0367",
        stream="delivery/1/1777885200.1",
        kind="delivery_sent",
        source="service",
        occurred_at=AT + timedelta(seconds=2),
        body=b"{}",
    )
    recovered = msgspec.structs.replace(called(2, timedelta(seconds=3)), source="recovery")
    async with connected(database.dsn) as connection:
        await put(connection, [called(1, timedelta()), sent, recovered])
        assert await Following().of(connection, "0367", [AT + DAY]) == [await position(connection, 1)]
        assert await connection.fetchval(
            "SELECT follows FROM facts WHERE source = 'recovery'"
        ) == await position(connection, 1)


async def test_a_backlog_from_before_everything_is_looked_for_once(database, monkeypatch):
    asked = []
    fetch = asyncpg.Connection.fetch

    async def counted(connection, query, *arguments, **options):
        asked.append(arguments[-1])
        return await fetch(connection, query, *arguments, **options)

    async with connected(database.dsn) as connection:
        await put(connection, [called(1, timedelta())])
        known = Following()
        await known.of(connection, "0367", [AT - 9 * DAY])
        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
        assert await known.of(connection, "0367", [AT - 8 * DAY, AT - 8 * DAY]) == [0, 0]
        assert await known.of(connection, "0367", [AT + DAY]) == [await position(connection, 1)]
        assert min(asked) == AT - 9 * DAY, "what is before that was looked through"


async def test_a_recovered_fact_is_not_stored_without_what_it_follows(database):
    async with connected(database.dsn) as connection:
        await put(connection, [called(1, timedelta())])
        with pytest.raises(asyncpg.CheckViolationError, match="facts_follows"):
            await connection.execute(
                "INSERT INTO facts (incarnation, enterprise, stream, month, version, kind, source, occurred_at, body,"
                " meta) SELECT incarnation, enterprise, stream, month, 2, kind, 'recovery', occurred_at, body, meta"
                " FROM facts"
            )


async def test_a_store_of_before_has_each_recovered_fact_in_the_place_it_would_get_today(empty_database):
    known = change_facts(changes(None, DIRECTORY))
    chance = random.Random(5)
    told = [
        (
            chance.choice(["0367", "0368"]),
            AT + timedelta(seconds=chance.randrange(-40, 900)),
            chance.random() < 0.4,
        )
        for _ in range(120)
    ]
    before = Schema(tuple(step for step in load_schema().steps if step.version < 10))
    async with connected(empty_database.dsn) as connection:
        await migrate(connection, before)
        await connection.execute("INSERT INTO incarnations VALUES (1, 'this cluster')")
        for version, fact in enumerate(known, start=1):
            await connection.execute(
                OLD, "0367", "directory", version, fact.kind, "service", fact.occurred_at
            )
        for serial, (enterprise, at, recovered) in enumerate(sorted(told, key=lambda one: (one[2], one[1]))):
            source = "recovery" if recovered else "live"
            await connection.execute(OLD, enterprise, f"leg/1777885200.{serial}", 1, "dial", source, at)
        await migrate(connection)
        rows = await connection.fetch(
            "SELECT enterprise, occurred_at, follows FROM facts WHERE source = 'recovery' ORDER BY position"
        )
        assert len(rows) > 30
        found = [await Following().of(connection, row[0], [row[1]]) for row in rows]
        assert [[row[2]] for row in rows] == found
        assert len({row[2] for row in rows}) > 20
