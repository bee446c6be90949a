"""Numbered migrations: once each, in order, whoever starts; fresh and migrated schemas are the same."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from adapters.postgres.errors import MigrationBusy, MigrationFailed, SchemaTooNew
from adapters.postgres.migrate import LOCK_KEY, Migration, Schema, load_schema, migrate, schema_state

ITEMS = Migration(1, "items", "CREATE TABLE items (id int PRIMARY KEY, name text);")
FILLED = Migration(2, "filled", "INSERT INTO items SELECT n, 'x' FROM generate_series(1, 2000) n;")
INDEXED = Migration(
    3,
    "indexed",
    "-- no transaction\n"
    "DROP INDEX CONCURRENTLY IF EXISTS items_name; -- a torn run leaves an invalid one\n"
    "CREATE INDEX CONCURRENTLY items_name\n    ON items (name);\n",
)
STEPS = Schema((ITEMS, FILLED, INDEXED))

# Everything that a schema is made of, as text; the history of migrations itself aside.
CATALOG = """
SELECT 'column', c.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), c.relkind, c.relpersistence,
                 c.reloptions)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) || convalidated
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) || indisvalid
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'view', c.oid::regclass::text, pg_get_viewdef(c.oid)
FROM pg_class c WHERE c.relkind IN ('v', 'm') AND c.relnamespace = 'public'::regnamespace
UNION ALL SELECT 'type', oid::regtype::text, concat_ws(' ', typtype, format_type(typbasetype, typtypmod),
       (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
FROM pg_type t WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
UNION ALL SELECT 'sequence', seqrelid::regclass::text,
       concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqcycle)
FROM pg_sequence
UNION ALL SELECT 'extension', extname, extversion FROM pg_extension
ORDER BY 1, 2
"""


async def catalog(connection):
    return [tuple(row) for row in await connection.fetch(CATALOG)]


@pytest.fixture
async def connection(empty_database):
    connection = await asyncpg.connect(empty_database.dsn)
    yield connection
    await connection.close()


async def test_a_fresh_schema_equals_the_migrated_one(postgres_server):
    shipped = load_schema()
    assert shipped.whole is not None
    assert [step.version for step in shipped.steps] == list(range(1, shipped.version + 1))
    fresh, stepped = postgres_server.create(migrated=False), postgres_server.create(migrated=False)
    try:
        await migrate(fresh.dsn, shipped)
        await migrate(stepped.dsn, Schema(shipped.steps))
        one, other = await asyncpg.connect(fresh.dsn), await asyncpg.connect(stepped.dsn)
        at_once, by_steps = await catalog(one), await catalog(other)
        assert len(at_once) > 50
        assert at_once == by_steps
        await one.close()
        await other.close()
    finally:
        postgres_server.drop(fresh)
        postgres_server.drop(stepped)


async def test_the_comparison_of_schemas_sees_a_changed_default(connection):
    await connection.execute("CREATE TABLE t (a int DEFAULT 1)")
    before = await catalog(connection)
    await connection.execute("ALTER TABLE t ALTER a SET DEFAULT 2")
    assert await catalog(connection) != before


async def test_a_fresh_database_gets_the_whole_schema_and_every_version_recorded(connection):
    schema = Schema(STEPS.steps, whole="CREATE TABLE whole (id int)")
    assert await migrate(connection, schema) == list(STEPS.steps)
    assert await schema_state(connection, schema) == (3, 3)
    assert await connection.fetchval(
        "SELECT to_regclass('whole') IS NOT NULL AND to_regclass('items') IS NULL"
    )
    rows = await connection.fetch(
        "SELECT version, name FROM schema_version WHERE applied_at <= clock_timestamp()"
    )
    assert [tuple(row) for row in rows] == [(1, "items"), (2, "filled"), (3, "indexed")]


async def test_an_older_database_gets_what_it_misses_and_a_second_run_changes_nothing(connection):
    assert await migrate(connection, Schema((ITEMS,))) == [ITEMS]
    schema = Schema(STEPS.steps, whole="this is not SQL, and it is not for this database")
    assert await schema_state(connection, schema) == (1, 3)
    assert await migrate(connection, schema) == [FILLED, INDEXED]
    assert await connection.fetchval("SELECT count(*) FROM items") == 2000
    assert await migrate(connection, schema) == []


async def test_many_migrators_at_once_apply_each_migration_once(empty_database):
    applied = await asyncio.gather(*(migrate(empty_database.dsn, STEPS) for _ in range(6)))
    assert sorted(len(each) for each in applied) == [0, 0, 0, 0, 0, 3]
    connection = await asyncpg.connect(empty_database.dsn)
    assert await connection.fetchval("SELECT count(*) FROM items") == 2000
    assert await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_name'::regclass"
    )
    await connection.close()


async def test_a_failed_migration_leaves_the_database_at_the_one_before(connection):
    broken = Migration(2, "broken", "ALTER TABLE items ADD note text; SELECT nonsense;")
    with pytest.raises(MigrationFailed, match=r"0002_broken.*nonsense") as caught:
        await migrate(connection, Schema((ITEMS, broken)))
    assert caught.value.version == 2
    assert await schema_state(connection, Schema((ITEMS, broken))) == (1, 2)
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'items'::regclass AND attnum > 0"
    )
    assert [row["attname"] for row in columns] == ["id", "name"]
    assert await migrate(connection, Schema((ITEMS, FILLED))) == [FILLED]  # the lock was given back


async def test_a_torn_migration_without_transaction_is_run_again(connection):
    torn = Migration(3, "indexed", INDEXED.sql + "SELECT nonsense;\n")
    with pytest.raises(MigrationFailed):
        await migrate(connection, Schema((ITEMS, FILLED, torn)))
    assert await schema_state(connection, STEPS) == (2, 3)
    assert await migrate(connection, STEPS) == [INDEXED]


async def test_a_newer_database_is_refused_and_left_alone(connection):
    await migrate(connection, STEPS)
    before = await catalog(connection)
    with pytest.raises(SchemaTooNew) as caught:
        await migrate(connection, Schema((ITEMS,), whole=ITEMS.sql))
    assert (caught.value.have, caught.value.want) == (3, 1)
    assert await catalog(connection) == before


async def test_waiting_for_another_migrator_is_bounded(empty_database, connection):
    await connection.execute("SELECT pg_advisory_lock($1::bigint)".replace("$1", str(LOCK_KEY)))
    with pytest.raises(MigrationBusy):
        await migrate(empty_database.dsn, STEPS, within=0.2)
    await connection.execute(f"SELECT pg_advisory_unlock({LOCK_KEY})")
    assert len(await migrate(empty_database.dsn, STEPS, within=5)) == 3


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path):
    (tmp_path / "migrations").mkdir()
    for name in ("0010_later.sql", "0002_second.sql", "0001_first.sql", "README.md"):
        (tmp_path / "migrations" / name).write_text(f"-- {name}")
    schema = load_schema(tmp_path)
    assert [step.version for step in schema.steps] == [1, 2, 10]
    assert schema.version == 10
    assert schema.whole is None


async def test_the_suite_gives_each_test_a_migrated_database_of_its_own(database):
    connection = await asyncpg.connect(database.dsn)
    have, want = await schema_state(connection)
    assert have == want > 0
    assert await connection.fetchval("SELECT lower('ПЁТР Ёлкин')") == "пётр ёлкин"
    await connection.close()


async def test_tables_that_rebuilds_have_put_aside_get_what_the_live_ones_get(empty_database):
    connection = await asyncpg.connect(empty_database.dsn)
    await migrate(connection, Schema(load_schema().steps[:10]))
    for suffix in ("_old", "_v7"):
        await connection.execute(f"CREATE TABLE call_legs{suffix} (LIKE call_legs INCLUDING ALL)")
    await migrate(connection, Schema(load_schema().steps[:11]))
    for suffix in ("", "_old", "_v7"):
        await connection.execute(
            f"INSERT INTO call_legs{suffix} VALUES ('0367', '1.2', '1.1', false, '[[7, 0, \"1.1\"]]')"
        )
    await connection.close()
