"""Facts by month: versions stay gapless and unique at a month's edge, and no fact is refused for its month."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from adapters.postgres.migrate import Schema, load_schema, migrate
from adapters.store.lock import settle_incarnation
from adapters.store.partitions import MOST_MOVED, Partitions, later, month_of
from adapters.store.reader import read_after, read_below_horizon, read_streams
from calls.facts import NEWEST
from projections.ports import Checkpoint
from tests.storing import AT, arrival, change_facts, connected, put, writing

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
WHERE = "SELECT tableoid::regclass::text FROM facts WHERE stream = $1 ORDER BY position"
BROKEN = """
SELECT enterprise, stream FROM facts GROUP BY enterprise, stream
HAVING count(*) <> max(version) OR count(DISTINCT version) <> count(*) OR count(DISTINCT month) <> 1
"""
ROWS = """
SELECT position, xid::text, occurred_at, recorded_at, incarnation, version, enterprise, stream, kind, source,
       idempotency_key, body, meta
FROM facts ORDER BY position
"""


def unique_id(at: datetime, counter: int = 1) -> str:
    return f"{int(at.timestamp())}.{counter}"


async def make(connection, *months: date) -> None:
    for month in months:
        assert await connection.fetchval("SELECT make_facts_partition($1, $2)", month, MOST_MOVED)


async def test_a_leg_of_the_last_second_of_a_month_keeps_its_partition_over_midnight(database):
    last, first = (unique_id(MIDNIGHT + timedelta(seconds=after)) for after in (-1, 0))
    async with connected(database.dsn) as connection:
        await make(connection, date(2026, 5, 1), date(2026, 6, 1))
        for recorded_at in (MIDNIGHT - timedelta(seconds=1), MIDNIGHT, MIDNIGHT + timedelta(days=40)):
            await put(connection, [arrival(last), arrival(first), arrival(last)], recorded_at=recorded_at)
        assert {row[0] for row in await connection.fetch(WHERE, f"leg/{last}")} == {"facts_2026_05"}
        assert {row[0] for row in await connection.fetch(WHERE, f"leg/{first}")} == {"facts_2026_06"}
        assert await connection.fetch(BROKEN) == []
        told = await read_streams(connection, [("0367", f"leg/{last}"), ("0367", f"leg/{first}")], NEWEST)
        assert [fact.version for fact in told if fact.stream == f"leg/{last}"] == [1, 2, 3, 4, 5, 6]
        assert [fact.version for fact in told if fact.stream == f"leg/{first}"] == [1, 2, 3]


async def test_a_batch_over_many_months_keeps_the_order_in_which_it_came(database):
    at = [MIDNIGHT + timedelta(days=days) for days in (40, -40, 0, 4_000, -9_000, -1)]
    facts = [arrival(unique_id(one, place)) for place, one in enumerate(at)]
    facts += [arrival("pbx-7"), *change_facts([])]
    async with connected(database.dsn) as connection:
        await make(connection, date(2026, 5, 1), date(2026, 6, 1))
        written = await put(connection, facts)
        assert [entry.fact.stream for entry, _ in written.stored] == [fact.stream for fact in facts]
        told = await read_after(connection, 0, NEWEST, 100)
        assert [fact.stream for fact in told] == [fact.stream for fact in facts]
        below = await read_below_horizon(connection, Checkpoint(), 100)
        assert [fact.stream for fact in below.facts] == [fact.stream for fact in facts]


async def test_parallel_appends_to_one_leg_of_a_month_without_partition_are_gapless(database):
    far = unique_id(MIDNIGHT + timedelta(days=400))
    async with connected(database.dsn) as connection:
        await settle_incarnation(connection)

    async def append() -> None:
        async with connected(database.dsn) as connection:
            for _ in range(10):
                await put(connection, [arrival(far)])

    await asyncio.gather(*(append() for _ in range(4)))
    async with connected(database.dsn) as connection:
        rows = await connection.fetch("SELECT version, tableoid::regclass::text FROM facts ORDER BY version")
        assert [tuple(row) for row in rows] == [(number, "facts_other") for number in range(1, 41)]


async def test_the_writer_has_this_month_and_the_next_ones_ready(database):
    this = datetime.now(UTC).date().replace(day=1)
    async with writing(database.dsn), connected(database.dsn) as connection:
        known = Partitions()
        await known.read(connection)
        assert [known.table(later(this, ahead)) for ahead in range(4)] == [
            *(f"facts_{later(this, ahead):%Y_%m}" for ahead in range(3)),
            "facts_other",
        ]


async def test_a_month_that_somebody_recovers_gets_a_partition_and_what_came_first_moves_there(database):
    old = unique_id(datetime(2019, 7, 5, tzinfo=UTC))
    async with writing(database.dsn) as here, connected(database.dsn) as connection:
        stored = [await here.writer.append(arrival(old)) for _ in range(3)]
        assert [place.version for place in stored] == [1, 2, 3]
        assert {row[0] for row in await connection.fetch(WHERE, f"leg/{old}")} == {"facts_2019_07"}
        told = await read_after(connection, 0, NEWEST, 10)
        assert [fact.position for fact in told] == [place.position for place in stored]


@pytest.mark.parametrize("at", [datetime(2004, 1, 1, tzinfo=UTC), datetime(2093, 1, 1, tzinfo=UTC)])
async def test_a_clock_that_was_never_set_makes_no_partition(database, at):
    async with writing(database.dsn) as here, connected(database.dsn) as connection:
        for _ in range(3):
            await here.writer.append(arrival(unique_id(at)))
        assert {row[0] for row in await connection.fetch(WHERE, f"leg/{unique_id(at)}")} == {"facts_other"}
        assert await connection.fetch(BROKEN) == []


async def test_while_a_reader_is_in_the_way_facts_of_a_new_month_are_stored_all_the_same(database):
    old = unique_id(datetime(2019, 7, 5, tzinfo=UTC))
    async with writing(database.dsn) as here, connected(database.dsn) as analyst:
        async with analyst.transaction():
            await analyst.fetchval("SELECT count(*) FROM facts")
            for expected in (1, 2, 3):
                assert (await here.writer.append(arrival(old), within=2.5)).version == expected
        assert {row[0] for row in await analyst.fetch(WHERE, f"leg/{old}")} == {"facts_other"}


async def test_a_writer_that_does_not_know_a_month_which_another_made_numbers_on(database):
    one = unique_id(MIDNIGHT)
    async with writing(database.dsn) as here, connected(database.dsn) as connection:
        here.writer._partitions._there = frozenset()
        await connection.execute("SELECT make_facts_partition('2026-06-01', 0)")
        await put(connection, [arrival(one), arrival(one)])
        assert (await here.writer.append(arrival(one))).version == 3


async def test_a_key_is_known_whatever_month_its_second_use_names(database):
    async with connected(database.dsn) as connection:
        await make(connection, date(2026, 5, 1), date(2026, 6, 1))
        first = await put(connection, [arrival(unique_id(MIDNIGHT), key="k")])
        again = await put(connection, [arrival(unique_id(MIDNIGHT - timedelta(days=1)), key="k")])
        assert again.stored == []
        assert again.known[0][1].position == first.stored[0][1].position
        assert again.known[0][1].known


async def test_positions_are_unique_over_all_months(database):
    async with connected(database.dsn) as connection:
        await make(connection, date(2026, 5, 1))
        for days in range(-60, 60, 3):
            await put(
                connection, [arrival(unique_id(MIDNIGHT + timedelta(days=days), days + 61)), arrival("odd")]
            )
        assert await connection.fetchval("SELECT count(*) = count(DISTINCT position) FROM facts")
        assert await connection.fetchval("SELECT count(*) FROM facts") == 80


@pytest.fixture
def before_partitions() -> Schema:
    """The schema as it was before facts stood by month."""
    return Schema(tuple(step for step in load_schema().steps if step.version < 5))


async def test_a_filled_store_is_converted_row_by_row_as_it_was(empty_database, before_partitions):
    now = datetime.now(UTC)
    streams = [
        f"leg/{unique_id(MIDNIGHT - timedelta(seconds=1))}",
        f"leg/{unique_id(MIDNIGHT)}",
        f"delivery/-1001/{unique_id(MIDNIGHT)}",
        "bridge/5d3c-1",
        "directory",
        f"leg/{unique_id(datetime(2003, 1, 1, tzinfo=UTC))}",
        f"leg/{unique_id(now + timedelta(days=500))}",
    ]
    async with connected(empty_database.dsn) as connection:
        await migrate(connection, before_partitions)
        await connection.execute("INSERT INTO incarnations VALUES (1, 'this cluster')")
        for version in range(1, 31):
            await connection.executemany(
                "INSERT INTO facts (incarnation, enterprise, stream, version, kind, source, occurred_at, body, meta,"
                " idempotency_key) VALUES (1, '0367', $1, $2, 'dial', 'live', $3, $4, '', $5)",
                [
                    (
                        stream,
                        version,
                        AT,
                        b"\x00\xff%d" % version,
                        f"{stream} {version}" if version == 1 else None,
                    )
                    for stream in streams
                ],
            )
        await connection.execute("DELETE FROM facts WHERE position = (SELECT max(position) FROM facts)")
        before = await connection.fetch(ROWS)
        await migrate(connection)
        assert await connection.fetch(ROWS) == before
        assert await connection.fetch(BROKEN) == []
        filed = await connection.fetch("SELECT DISTINCT stream, tableoid::regclass::text, month FROM facts")
        assert {row[0]: row[1] for row in filed} == dict(
            zip(
                streams,
                [
                    "facts_2026_05",
                    "facts_2026_06",
                    "facts_2026_06",
                    "facts_without_month",
                    "facts_directory",
                    "facts_other",
                    "facts_other",
                ],
                strict=True,
            )
        )
        assert all(row[2] == month_of(row[0]) for row in filed)
        assert await connection.fetchval("SELECT to_regclass('facts_whole')") is None
        written = await put(connection, [arrival("1.1", key="new"), arrival("x", key=f"{streams[0]} 1")])
        assert [place.position for _, place in written.stored] == [before[-1]["position"] + 2], (
            "the sequence goes on"
        )
        assert [place.position for _, place in written.known] == [before[0]["position"]]
        assert [place.version for _, place in (await put(connection, [arrival(streams[0][4:])])).stored] == [
            31
        ]
