"""Hot queries stay hot: each is explained over enough rows and has to use its index."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from adapters.bot import callbacks, lists
from adapters.bot.lists import END
from adapters.recovery import following
from adapters.store import batch, reader
from adapters.store.partitions import NO_MONTH, OF_DIRECTORY, month_of
from adapters.store.queries import CallsWanted, list_calls, list_customers, write_cursor
from adapters.store.reading import UNFORGOTTEN
from calls.facts import NEWEST, UNFOLDED_KINDS
from tests.storing import AT, connected

ENTERPRISES = [f"{number:04}" for number in range(40)]
MINE = ENTERPRISES[7]

FACTS = """
INSERT INTO facts (incarnation, enterprise, stream, month, version, kind, source, occurred_at, recorded_at, body, meta)
SELECT 1, lpad((call % 40)::text, 4, '0'), stream, facts_month(stream), step, 'dial', 'live', at, at,
       '{"UniqueId":""}', ''
FROM generate_series(1, $1::integer) call, generate_series(1, 6) step,
     LATERAL (SELECT $2::timestamptz + make_interval(secs => call * 10 + step) AS at) clock,
     LATERAL (
         SELECT 'leg/' || extract(epoch FROM $2::timestamptz)::bigint + call * 10 || '.' || call AS stream
     ) named
ORDER BY call, step
"""
BRIDGES = """
INSERT INTO facts (incarnation, enterprise, stream, month, version, kind, source, occurred_at, recorded_at, body, meta)
SELECT 1, lpad((one % 40)::text, 4, '0'), stream, facts_month(stream), 1,
       'bridge_create', 'live', $1, $1, '{}', ''
FROM generate_series(1, 4000) one,
     LATERAL (SELECT CASE WHEN one <= 40 THEN 'directory' ELSE 'bridge/' || one END AS stream) named
"""
KEYS = """
INSERT INTO idempotency SELECT lpad((one % 40)::text, 4, '0'), 'key-' || one, one, 1 FROM generate_series(1, 10000) one
"""
CALLS = """
INSERT INTO calls (enterprise, call_id, direction, origin, outcome, customer, rung, talked, consulted, started_at,
                   source, legs, last_position)
SELECT lpad((call % 40)::text, 4, '0'), call::text, 'in', 'pbx',
       CASE WHEN call % 400 = 7 THEN 'open' ELSE 'answered' END, '+37529' || lpad((call % 4000)::text, 7, '0'),
       '{150}', '{151}', '{}', timestamptz '2026-05-04 09:00+00' + make_interval(secs => call * 10), 'live',
       ARRAY[call::text], 16000 + call * 6
FROM generate_series(1, 10000) call
"""
LEGS = """
INSERT INTO call_legs (enterprise, unique_id, call_id, lost)
SELECT lpad((call % 40)::text, 4, '0'), call::text, call::text, call % 1000 = 7 FROM generate_series(1, 10000) call
"""
LAST = 4 * 6 * 500 + 4_000 + 60_000


def leg(call: int) -> str:
    """Stream of a call's leg in the newest month."""
    return f"leg/{int(AT.timestamp()) + call * 10}.{call}"


CUSTOMERS = """
INSERT INTO customers
SELECT lpad((one % 4 + 5)::text, 4, '0'), '+37529' || lpad(one::text, 7, '0'), NULL, at, at, 1, 1, 0, 0, 0, 0, at, 'in',
       'answered', '{151}', NULL
FROM generate_series(1, 4000) one,
     LATERAL (SELECT timestamptz '2026-05-04 09:00+00' + make_interval(secs => one)) clock (at)
"""


@pytest_asyncio.fixture(loop_scope="function")
async def crowded(module_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with 60,000 facts of 10,000 calls in 40 enterprises, and four older months."""
    async with connected(module_database) as connection:
        yield connection


@pytest.fixture(scope="module")
def module_database(postgres_server: Any) -> Iterator[str]:
    """Filled once for all plans."""
    made = postgres_server.create()

    async def fill() -> None:
        async with connected(made.dsn) as connection:
            await connection.execute("INSERT INTO incarnations VALUES (1, 'this cluster')")
            for month in range(1, 8):
                await connection.execute(f"SELECT make_facts_partition('2026-{month:02}-01', 0)")
            for month in range(1, 5):
                await connection.execute(FACTS, 500, datetime(2026, month, 3, tzinfo=UTC))
            await connection.execute(BRIDGES, datetime(2026, 4, 30, tzinfo=UTC))
            await connection.execute(FACTS, 10_000, AT)
            for sql in (KEYS, CALLS, LEGS, CUSTOMERS):
                await connection.execute(sql)
            await connection.execute("VACUUM ANALYZE")

    postgres_server.run(fill())
    yield made.dsn
    postgres_server.drop(made)


class Plan:
    """What EXPLAIN says: the nodes of a plan, from the outside in."""

    def __init__(self, explained: str) -> None:
        self.whole = json.loads(explained)[0]["Plan"]
        self.nodes = list(_nodes(self.whole))

    @property
    def indexes(self) -> set[str]:
        return {whole_index(node["Index Name"]) for node in self.nodes if "Index Name" in node}

    @property
    def partitions(self) -> set[str]:
        """Partitions that were read (needs ANALYZE)."""
        return {
            node["Relation Name"]
            for node in self.nodes
            if node.get("Relation Name", "").startswith("facts_") and node["Actual Loops"]
        }

    @property
    def read_whole(self) -> set[str]:
        """Tables that are read from end to end, but for the tiny one."""
        whole = {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}
        return whole - {"incarnations", *EMPTY}

    @property
    def sorts(self) -> list[str]:
        sorts = [node for node in self.nodes if node["Node Type"] in {"Sort", "Incremental Sort"}]
        of_rows = [node for node in sorts if node["Plans"][0].get("Relation Name") not in EMPTY]
        return [node["Node Type"] for node in of_rows]

    def conditions(self, index: str) -> str:
        """What is looked for in an index."""
        return " ".join(
            node.get("Index Cond", "")
            for node in self.nodes
            if whole_index(node.get("Index Name", "")) == index
        )

    def touched(self, table: str) -> int:
        """Rows of a table that were looked at (needs ANALYZE)."""
        return sum(
            int(node["Actual Loops"] * sum(node.get(rows, 0) for rows in _LOOKED_AT))
            for node in self.nodes
            if re.sub("_(20.*|directory|without_month|other)$", "", node.get("Relation Name", "")) == table
        )


EMPTY = ("facts_directory", "facts_other", "facts_2026_06", "facts_2026_07")
_INDEXES = {
    "occurred_at_idx": "facts_occurred",
    "position_idx": "facts_position",
    "incarnation_xid_position_idx": "facts_order",
    "enterprise_stream_version_month_key": "facts_stream_version",
}


def whole_index(name: str) -> str:
    """The index of ``facts`` that an index of a partition is a part of; others keep their name."""
    told = re.match(r"facts_(?:\d{4}_\d{2}|directory|without_month|other)_(.*)", name)
    return _INDEXES[told[1]] if told else name


_LOOKED_AT = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


async def explain(connection: asyncpg.Connection, sql: str, *arguments: Any, analyze: bool = False) -> Plan:
    options = "FORMAT JSON, ANALYZE" if analyze else "FORMAT JSON"
    return Plan(await connection.fetchval(f"EXPLAIN ({options}) {sql}", *arguments))


@asynccontextmanager
async def rolled_back(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """What is done inside is undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


class Explaining:
    """A pool that explains what it is asked for."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.plan: Plan

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        self.plan = await explain(self._connection, sql, *arguments)
        return []


@pytest.fixture(params=["auto", "force_generic_plan"])
async def planned(request: pytest.FixtureRequest, crowded: asyncpg.Connection) -> asyncpg.Connection:
    """Prepared statements may be planned for these arguments, or once for all: both must do."""
    await crowded.execute(f"SET plan_cache_mode = {request.param}")
    return crowded


# facts


@pytest.mark.parametrize("where", ["begin", "middle", "end"])
async def test_next_facts_below_the_horizon_are_a_stretch_of_one_index(planned, where):
    middle = {"begin": 0, "middle": 46_000, "end": LAST - 10}[where]
    xid = await planned.fetchval("SELECT xid::text FROM facts WHERE position >= $1 LIMIT 1", middle)
    arguments = (1, str(xid), middle, 2_000, None, None, None)
    await planned.execute(reader.MERGED)
    plan = await explain(planned, reader.BELOW_HORIZON, *arguments, analyze=True)
    assert plan.indexes == {"facts_order"}
    assert "ROW(incarnation, xid, " in plan.conditions("facts_order")
    assert plan.sorts == []
    assert plan.touched("facts") <= 2_010, "and the first of each month that comes later"


async def test_a_rebuild_reads_up_to_its_end_by_the_same_index(planned):
    xid = str(await planned.fetchval("SELECT min(xid::text::bigint) FROM facts"))
    await planned.execute(reader.MERGED)
    plan = await explain(planned, reader.BELOW_HORIZON, 0, "0", 0, 5_000, 1, xid, LAST)
    assert (plan.indexes, plan.sorts, plan.read_whole) == ({"facts_order"}, [], set())


async def test_the_writers_own_order_is_an_index(planned):
    plan = await explain(planned, reader.AFTER_POSITION, LAST - 1_000, LAST, 2_000, analyze=True)
    assert (plan.indexes, plan.sorts) == ({"facts_position"}, [])
    assert plan.touched("facts") == 1_000


async def test_streams_are_read_by_their_index_in_their_month_alone(planned):
    streams = [leg(47), leg(87), leg(127), "bridge/47"]
    months = [month_of(stream) for stream in streams]
    plan = await explain(planned, reader.OF_STREAMS, [MINE] * 4, streams, NEWEST, months, analyze=True)
    assert plan.indexes == {"facts_stream_version"}
    assert plan.read_whole == set()
    assert plan.partitions == {"facts_2026_05", "facts_without_month"}
    assert plan.touched("facts") == 19


async def test_what_a_recovered_fact_follows_is_looked_for_around_its_time(planned):
    at = AT + timedelta(hours=7)
    kinds = list(UNFOLDED_KINDS)
    plan = await explain(planned, following._NEAR, MINE, kinds, at, at - timedelta(minutes=10), analyze=True)
    assert "facts_2026_05" not in plan.read_whole
    assert "facts_occurred" in plan.indexes
    read = sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in plan.nodes)
    assert read < 10_000, "of 76,000"


@pytest.mark.parametrize("once", [True, False])
async def test_the_next_version_is_looked_up_at_the_end_of_its_stream_in_its_month(planned, once):
    streams = [*(leg(40 * number + 7) for number in range(8)), "bridge/47"]
    tables = ((NO_MONTH, "facts_without_month"), (date(2026, 5, 1), "facts_2026_05"))
    async with rolled_back(planned):
        plan = await explain(
            planned,
            batch.insert_into(tables, once=once, special=True),
            1,
            datetime.now(UTC),
            batch.BETWEEN.join(MINE for _ in streams),
            batch.BETWEEN.join(streams),
            batch.BETWEEN.join("dial" for _ in streams),
            batch.BETWEEN.join("live" for _ in streams),
            [AT for _ in streams],
            [b"" for _ in streams],
            [b"" for _ in streams],
            batch.BETWEEN.join(month_of(stream).isoformat() for stream in streams),
            batch.BETWEEN.join("" for _ in streams),
            batch.BETWEEN.join("" for _ in streams),
            batch.BETWEEN.join("" for _ in streams),
            analyze=True,
        )
    look_ups = [node for node in plan.nodes if node.get("Alias", "").startswith("known")]
    assert {whole_index(node["Index Name"]) for node in look_ups} == {"facts_stream_version"}
    assert {node["Scan Direction"] for node in look_ups} == {"Backward"}
    looked_up = {
        table: sum(node["Actual Loops"] for node in look_ups if node["Relation Name"] == table)
        for _, table in tables
    }
    assert looked_up == {"facts_2026_05": 8, "facts_without_month": 1}


async def test_idempotency_keys_are_looked_up_in_their_index(planned):
    plan = await explain(planned, batch.KNOWN, [MINE] * 3, ["key-47", "key-87", "key-127"])
    assert plan.indexes == {"idempotency_key"}
    assert plan.read_whole == set()


async def test_legs_of_calls_are_found_by_leg_and_by_call(planned):
    sql = reader.LEGS_OF_CALLS.format(call_legs="call_legs")
    plan = await explain(planned, sql, [MINE] * 3, ["47", "87", "127"])
    assert plan.indexes == {"call_legs_key", "call_legs_of_call"}
    assert plan.read_whole == set()


async def test_directory_facts_are_found_without_reading_the_months(planned):
    plan = await explain(
        planned, reader.OF_DIRECTORIES, "directory", NEWEST, None, OF_DIRECTORY, analyze=True
    )
    assert plan.partitions == {"facts_directory"}


# what a start looks for


@pytest.mark.parametrize("window", [timedelta(minutes=5), timedelta(hours=6)])
async def test_the_begin_of_a_window_is_found_from_its_end(planned, window):
    plan = await explain(planned, reader.BEFORE_WINDOW, window, NEWEST, analyze=True)
    facts_in_it = window.total_seconds() / 10 * 6
    assert plan.touched("facts") <= facts_in_it + 20


async def test_open_and_recent_calls_are_found_without_reading_all_calls(planned):
    since = LAST - 100
    for sql, arguments in (
        (
            reader.UNSETTLED,
            (ENTERPRISES, ["1001"] * len(ENTERPRISES), since, since, [0] * len(ENTERPRISES), since),
        ),
        (UNFORGOTTEN.format(calls="calls", call_legs="call_legs"), (since, since, LAST)),
    ):
        plan = await explain(planned, sql, *arguments, analyze=True)
        assert plan.read_whole == set(), plan.whole
        assert plan.touched("calls") < 800, (
            "the open ones, and thrice the last range of calls_recent: 8 pages"
        )
        assert {"calls_open", "calls_recent", "call_legs_lost"} <= plan.indexes


# lists of the API


async def test_newest_calls_of_an_enterprise(crowded):
    pool = Explaining(crowded)
    await list_calls(pool, CallsWanted(enterprise=MINE))
    assert (pool.plan.indexes, pool.plan.read_whole, pool.plan.sorts) == ({"calls_newest"}, set(), [])


async def test_a_later_page_begins_where_the_last_one_ended(crowded):
    pool = Explaining(crowded)
    cursor = write_cursor((AT + timedelta(seconds=50_000)).isoformat(), MINE, "5007")
    await list_calls(pool, CallsWanted(enterprise=MINE, after=cursor))
    assert pool.plan.indexes == {"calls_newest"}
    assert "started_at" in pool.plan.conditions("calls_newest")
    assert pool.plan.sorts == []


async def test_newest_calls_of_all_enterprises(crowded):
    pool = Explaining(crowded)
    await list_calls(pool, CallsWanted())
    assert (pool.plan.indexes, pool.plan.sorts) == ({"calls_newest_of_all"}, [])


async def test_calls_of_a_customer(crowded):
    pool = Explaining(crowded)
    await list_calls(pool, CallsWanted(enterprise=MINE, phone="+375290000047"))
    assert pool.plan.indexes == {"calls_of_customer"}
    assert "customer" in pool.plan.conditions("calls_of_customer")


async def test_customers_of_an_enterprise(crowded):
    pool = Explaining(crowded)
    await list_customers(pool, MINE, 50, None)
    assert (pool.plan.indexes, pool.plan.read_whole, pool.plan.sorts) == ({"customers_newest"}, set(), [])


# the bot


async def test_the_pages_of_a_list_in_a_chat_are_stretches_of_the_index_of_the_enterprise(planned):
    for before in (END, AT + timedelta(hours=12)):
        plan = await explain(planned, lists._NEWEST, MINE, before, "", 100)
        assert plan.indexes == {"calls_newest"}
        assert "started_at" in plan.conditions("calls_newest")


async def test_the_calls_of_the_last_day_are_found_by_the_same_index(planned):
    plan = await explain(planned, callbacks._RECENT, MINE, AT + timedelta(hours=6), END, "", 500)
    assert plan.indexes == {"calls_newest"}


async def test_the_last_calls_of_a_customer_and_the_open_ones_read_no_table_whole(planned):
    of_customer = await explain(planned, lists._CALLS_OF, MINE, "+375290000047", 5)
    assert "calls_of_customer" in of_customer.indexes
    assert (await explain(planned, lists._OPEN, MINE, 1_000)).read_whole == set()
