"""``callfold sql``: answers over an export and over the live tables, and a way to nothing else."""

import asyncio
import csv
import json
import sys

import pytest
import pytest_asyncio

from adapters.analysts import duck, live
from adapters.analysts.answers import answer
from adapters.analysts.errors import ExportError, ExtraMissing, QueryError
from adapters.analysts.relations import RELATIONS
from adapters.postgres.database import Database
from adapters.postgres.migrate import Migration, Schema, load_schema, migrate
from tests.exporting import ENTERPRISES, TOKEN, exported, history, stored
from tests.questions import Kept
from tests.running import command, settings_env
from tests.storing import arrival, connected, put

FACTS = history(25)
COUNT = "SELECT enterprise, count(*) AS calls FROM calls GROUP BY enterprise ORDER BY enterprise"


@pytest.fixture
async def made(database):
    """Some calls, projected."""
    async with stored(database.dsn, FACTS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def empty(postgres_server):
    """A database without events: its address."""
    database = postgres_server.create()
    yield database.dsn
    postgres_server.drop(database)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def empty_export(empty, tmp_path_factory):
    """A folder that holds an export of it."""
    folder = tmp_path_factory.mktemp("export")
    await exported(empty, folder)
    return folder


async def ask_live(dsn: str, question: str, **more) -> list[tuple]:
    kept = Kept()
    await live.ask(Database(dsn, None), question, kept, **more)
    return kept.told


def ask_export(folder, question: str, **more) -> list[tuple]:
    kept = Kept()
    duck.ask(folder, question, kept, **more)
    return kept.told


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
async def test_an_export_and_the_live_views_hold_the_same_rows(made, database, tmp_path, relation):
    await exported(database.dsn, tmp_path)
    question = f"SELECT * FROM {relation.name} ORDER BY {relation.order}"
    exported_rows, live_rows = ask_export(tmp_path, question), await ask_live(database.dsn, question)
    assert live_rows
    assert exported_rows == live_rows


# a way to nothing else

PICKLOCKS = [
    "SELECT token FROM secrets",
    "SELECT token FROM public.secrets",
    "SELECT body FROM public.facts",
    "SELECT convert_from(body, 'UTF8') FROM facts",
    "SELECT body FROM public.rejected",
    "SELECT set_config('role', 'none', true), query_to_xml('SELECT token FROM public.secrets', true, true, '')",
    "SELECT set_config('session_authorization', 'callfold', true), query_to_xml('TABLE secrets', true, true, '')",
    "SELECT query_to_xml('TABLE public.secrets', true, true, '')",
    "SELECT table_to_xml('public.secrets', true, true, '')",
    "SELECT pg_read_file('/etc/hostname')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT lo_get(1)",
    "WITH gone AS (DELETE FROM calls RETURNING *) SELECT * FROM gone",
    "WITH new AS (INSERT INTO public.secrets VALUES ('1', '2', 'preview', '') RETURNING *) SELECT * FROM new",
    "SELECT nextval('public.parked_id_seq')",
    "SELECT 1; SELECT token FROM public.secrets",
    "RESET ROLE",
    "COPY public.secrets TO STDOUT",
    "DO 'BEGIN PERFORM 1; END'",
    "EXPLAIN ANALYZE SELECT * FROM public.secrets",
    "CREATE TABLE mine AS SELECT 1",
]


@pytest.mark.parametrize("question", PICKLOCKS)
async def test_no_live_question_reaches_behind_the_views(made, database, question):
    await made.connection.execute(f"INSERT INTO secrets VALUES ('0367', '{TOKEN}', 'preview', '')")
    calls = await made.connection.fetchval("SELECT count(*) FROM calls")
    with pytest.raises(QueryError) as refused:
        await ask_live(database.dsn, question)
    assert TOKEN not in str(refused.value)
    assert await made.connection.fetchval("SELECT count(*) FROM calls") == calls


async def test_bodies_show_no_token_live_however_it_is_spelt(made, database, tmp_path):
    nested = json.dumps(json.dumps({"Token": TOKEN}))
    bodies = [
        b'{"UniqueId":"1777886400.8","tOKEN":"%b","x":[{"Token":{"y":["%b"]}}]}'
        % (TOKEN.encode(), TOKEN.encode()),
        b'{"UniqueId":"1777886400.8","\\u0054oken":"%b","Phone":"\\u0416"}' % TOKEN.encode(),
        b'{"UniqueId":"1777886400.8","x":%b}' % nested.encode(),
        b'{"UniqueId":"1777886400.8","Token":"%b","x":"\\u0000"}' % TOKEN.encode(),
        b'{"UniqueId":"1777886400.8","x":"Token=%b"}' % TOKEN.encode(),
        b"no JSON, Token=" + TOKEN.encode(),
        b"\xff" + TOKEN.encode(),
    ]
    await put(made.connection, [arrival("1777886400.8", body) for body in bodies])
    shown = [row[0] for row in await ask_live(database.dsn, "SELECT body FROM events ORDER BY position")]
    assert len(shown) == len(FACTS) + len(bodies)
    assert not [body for body in shown if TOKEN in body]
    read = [json.loads(body) for body in shown[-len(bodies) :]]
    assert read[0] == {"UniqueId": "1777886400.8", "tOKEN": "***", "x": [{"Token": "***"}]}
    assert read[1] == {"UniqueId": "1777886400.8", "Token": "***", "Phone": "Ж"}


async def test_a_role_that_was_granted_more_is_not_used(made, database):
    await ask_live(database.dsn, COUNT)
    await made.connection.execute(f"GRANT SELECT ON secrets TO {live.ROLE}")
    with pytest.raises(QueryError, match="secrets"):
        await ask_live(database.dsn, COUNT)


async def test_a_question_that_takes_too_long_is_stopped(made, database):
    with pytest.raises(QueryError, match=r"stopped after 0\.2 s"):
        await ask_live(database.dsn, "SELECT count(*) FROM generate_series(1, 10000000000)", seconds=0.2)


OWNED = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO humble', name);
    END LOOP;
END $$
"""


async def test_a_user_that_cannot_make_the_role_is_told_what_an_administrator_has_to_do(made, database):
    await ask_live(database.dsn, COUNT)  # so that the role is there, whatever ran before
    wanted = await ask_live(database.dsn, COUNT)
    await made.connection.execute(
        "DROP SCHEMA analyst CASCADE; DROP ROLE IF EXISTS humble; CREATE ROLE humble;"
        f"GRANT CREATE ON DATABASE {database.name} TO humble; {OWNED}"
    )
    try:
        async with connected(database.dsn) as humble:
            await humble.execute("SET timezone = 'UTC'; SET SESSION AUTHORIZATION humble")
            with pytest.raises(QueryError) as refused:
                await live.ask_on(humble, COUNT, Kept(), 10)
            remedy = f'GRANT {live.ROLE} TO "humble"'
            assert remedy in str(refused.value)
            await made.connection.execute(remedy)
            kept = Kept()
            await live.ask_on(humble, COUNT, kept, 10)
            assert kept.told == wanted
    finally:
        await made.connection.execute(
            "DROP SCHEMA analyst CASCADE; DROP OWNED BY humble CASCADE; DROP ROLE humble"
        )


async def test_views_follow_the_tables_that_a_rebuild_puts_in_their_place(made, database):
    before = await ask_live(database.dsn, COUNT)
    for _ in range(2):  # the second one throws away what the first has put aside
        await made.connection.execute("UPDATE calls SET enterprise = '9999'")
        assert await made.connection.fetchval("SELECT max(enterprise) FROM analyst.calls") == "9999"
        await made.rebuild(check=False)
        seen = await made.connection.fetch(
            "SELECT enterprise, count(*) FROM analyst.calls GROUP BY 1 ORDER BY 1"
        )
        assert [tuple(row) for row in seen] == before


async def test_views_keep_no_migration_from_changing_tables(made, database):
    before = await ask_live(database.dsn, COUNT)
    shipped = load_schema()
    change = "ALTER TABLE calls ALTER COLUMN direction TYPE varchar; ALTER TABLE customers RENAME TO clients;"
    later = Migration(shipped.version + 1, "later", change + "ALTER TABLE clients RENAME TO customers")
    await migrate(database.dsn, Schema((*shipped.steps, later)))
    assert await ask_live(database.dsn, COUNT) == before


async def test_a_schema_of_somebody_else_is_left_alone(made, database):
    await made.connection.execute("CREATE SCHEMA analyst; CREATE TABLE analyst.mine (x int)")
    with pytest.raises(QueryError, match="rename it"):
        await ask_live(database.dsn, COUNT)
    assert await made.connection.fetchval("SELECT to_regclass('analyst.mine') IS NOT NULL")


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('{folder}/../secret.csv')",
        "SELECT * FROM glob('/*')",
        "COPY calls TO '{folder}/calls/copy.parquet'",
        "SELECT 1; SELECT 2",
        "SET memory_limit = '10GB'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "SELECT * FROM read_parquet('https://127.0.0.1/x.parquet')",
        "CREATE TABLE mine AS SELECT 1",
        "PRAGMA version",
    ],
)
async def test_no_question_over_an_export_reaches_other_files(made, database, tmp_path, question):
    folder = tmp_path / "export"
    await exported(database.dsn, folder)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(folder.rglob("*"))
    with pytest.raises(QueryError):
        ask_export(folder, question.format(folder=folder))
    assert sorted(folder.rglob("*")) == before


async def test_a_query_that_needs_more_memory_than_it_may_have_goes_to_the_disk(made, database, tmp_path):
    await exported(database.dsn, tmp_path)
    question = (
        "SELECT count(*) FROM (SELECT repeat(md5(CAST(n AS text)), 4) AS x FROM range(400000) AS t(n) ORDER BY x"
        " LIMIT 399999)"
    )
    assert ask_export(tmp_path, question, memory="60MB") == [(399_999,)]


async def test_an_empty_database_has_empty_tables(database, tmp_path):
    await exported(database.dsn, tmp_path)
    for relation in RELATIONS:
        question = f"SELECT {', '.join(relation.names)} FROM {relation.name}"
        assert ask_export(tmp_path, question) == await ask_live(database.dsn, question) == []


def test_a_folder_without_an_export_says_how_to_make_one(tmp_path):
    with pytest.raises(ExportError, match="callfold export"):
        ask_export(tmp_path, COUNT)


async def test_without_the_extra_it_says_what_to_install(made, database, tmp_path, monkeypatch):
    await exported(database.dsn, tmp_path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ExtraMissing, match=r"duckdb is not installed: pip install 'callfold\[analyst\]'"):
        ask_export(tmp_path, COUNT)


# whatever a database gives out

# A question, what stands in a table, and what in JSON; in CSV stands what stands in JSON.
LIVE = [
    ("'0044-03-15 BC'::date", "0044-03-15 BC", "0044-03-15 BC"),
    ("'infinity'::timestamptz", "infinity", "infinity"),
    ("'20000-01-01'::timestamp", "20000-01-01 00:00:00", "20000-01-01 00:00:00"),
    ("'20000-01-01'::timestamptz", "20000-01-01 00:00:00+00", "20000-01-01 00:00:00+00"),
    ("ARRAY['-infinity', '2026-05-04']::date[]", "-infinity, 2026-05-04", ["-infinity", "2026-05-04"]),
    ("'2026-05-04 09:00+02'::timestamptz", "2026-05-04 07:00:00Z", "2026-05-04T07:00:00Z"),
    ("'x'::char(3)", "x", "x"),
    ("ARRAY['x'::char(1)]", "x", ["x"]),
    ("B'101'::bit(3)", "101", "101"),
    ("B'11'::varbit", "11", "11"),
    ("'NaN'::numeric", "NaN", "NaN"),
    ("'-Infinity'::float8", "-Infinity", "-Infinity"),
    ("ARRAY['Infinity', 1.5]::float4[]", "Infinity, 1.5", ["Infinity", 1.5]),
    ("0.1::float4", "0.1", 0.1),
    ("1e40::numeric", "1" + "0" * 40, 10**40),
    ("ROW(1, 'a b')", '(1,"a b")', '(1,"a b")'),
    ("ARRAY[ROW(1, 2)]", "(1,2)", ["(1,2)"]),
    ("'(1,2)'::point", "(1,2)", "(1,2)"),
    ("ARRAY['((1,2),(3,4))'::box]::text[]", "(3,4),(1,2)", ["(3,4),(1,2)"]),
    ("'[1,3)'::int4range", "[1,3)", "[1,3)"),
    ("'1 day 02:00'::interval", "1 day 02:00:00", "1 day 02:00:00"),
    ("ARRAY['90 min'::interval]", "01:30:00", ["01:30:00"]),
    ("'10.0.0.0/8'::cidr", "10.0.0.0/8", "10.0.0.0/8"),
    ("'::1'::inet", "::1/128", "::1/128"),
    (
        "ARRAY['6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid]",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
    ),
    ("'ab'::bytea", "\\x6162", "\\x6162"),
    ("'09:00+02'::timetz", "09:00:00+02", "09:00:00+02"),
    ("12.5::money", "$12.50", "$12.50"),
    ("ARRAY[1::smallint]", "1", [1]),
    ("ARRAY[1::bigint]", "1", [1]),
    ("ARRAY[1::oid]", "1", [1]),
    ("ARRAY[true]", "yes", [True]),
    ("ARRAY[1.5::float8]", "1.5", [1.5]),
    ("ARRAY[1.5::numeric, 'NaN']", "1.5, NaN", [1.5, "NaN"]),
    ("ARRAY['2026-05-04 09:00'::timestamptz]", "2026-05-04 09:00:00Z", ["2026-05-04T09:00:00Z"]),
    ("'1 2'::int2vector", "1, 2", ["1", "2"]),
    ("'{{1,2},{3,NULL}}'::int[]", "[1, 2], [3, NULL]", [[1, 2], [3, None]]),
    ("'{\"a\": [1]}'::jsonb", '{"a": [1]}', '{"a": [1]}'),
    ("'5'::information_schema.cardinal_number", "5", 5),
    ("'YES'::information_schema.yes_or_no", "YES", "YES"),
    ("pg_sleep(0)", "", ""),
    ("NULL", "", None),
    ("true", "yes", True),
]
EXPORTED = [
    ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)", "0044-03-15 (BC)"),
    ("'infinity'::TIMESTAMPTZ", "infinity", "infinity"),
    ("TIMESTAMP '20000-01-01'", "20000-01-01 00:00:00", "20000-01-01 00:00:00"),
    ("[DATE '20000-01-01', DATE '2026-05-04']", "20000-01-01, 2026-05-04", ["20000-01-01", "2026-05-04"]),
    ("'2026-05-04 09:00:00+02'::TIMESTAMPTZ", "2026-05-04 07:00:00Z", "2026-05-04T07:00:00Z"),
    ("TIMESTAMP_NS '2026-05-04 09:00:00.123456789'", *["2026-05-04 09:00:00.123456789"] * 2),
    ("'nan'::DOUBLE", "nan", "nan"),
    ("['-inf'::FLOAT, 0.1::FLOAT]", "-inf, 0.1", ["-inf", 0.1]),
    ("170141183460469231731687303715884105727::HUGEINT", str(2**127 - 1), 2**127 - 1),
    ("18446744073709551615::UBIGINT", str(2**64 - 1), 2**64 - 1),
    ("{'a': 1}", "{'a': 1}", "{'a': 1}"),
    ("MAP {'a': [1]}", "{a=[1]}", "{a=[1]}"),
    ("[[1], [NULL]]", "[1], [NULL]", [[1], [None]]),
    ("array_value(1, 2)", "1, 2", [1, 2]),
    ("INTERVAL '1 day'", "1 day", "1 day"),
    ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID", *["6ba7b810-9dad-11d1-80b4-00c04fd430c8"] * 2),
    ("'\\xAA'::BLOB", "\\xAA", "\\xAA"),
    ("'101'::BIT", "101", "101"),
    ("TIME '09:00'", "09:00:00", "09:00:00"),
    ("'a'::ENUM('a')", "a", "a"),
    ("union_value(n := 1)", "1", "1"),
    ("NULL", "", None),
    ("true", "yes", True),
]


class Told:
    """An answer that may be printed in each form."""

    def __init__(self):
        self.columns, self.kept = [], []

    def begin(self, columns):
        self.columns = columns

    def rows(self, rows):
        self.kept += rows

    def end(self):
        pass

    def printed(self, form):
        told = []
        made = answer(form, told.append)
        made.begin(self.columns)
        made.rows(self.kept)
        made.end()
        return "".join(told)


def assert_printed(told, table, shown):
    assert [line.strip() for line in told.printed("table").splitlines()[2:]] == [table]
    (row,) = json.loads(told.printed("json"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"x": shown}
    (fields,) = csv.reader(told.printed("csv").splitlines()[1:])
    field = "".join(fields)
    found = json.loads(field) if isinstance(shown, list | int | float | bool) else field
    assert found == ("" if shown is None else shown)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("expression", "table", "shown"), LIVE, ids=[one[0] for one in LIVE])
async def test_live_every_type_is_printed_as_postgresql_writes_it(empty, expression, table, shown):
    told = Told()
    await live.ask(Database(empty, None), f"SELECT {expression} AS x", told)
    assert_printed(told, table, shown)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("expression", "table", "shown"), EXPORTED, ids=[one[0] for one in EXPORTED])
async def test_over_an_export_every_type_is_printed_as_duckdb_writes_it(
    empty_export, expression, table, shown
):
    told = Told()
    duck.ask(empty_export, f"SELECT {expression} AS x", told)
    assert_printed(told, table, shown)


@pytest.mark.asyncio(loop_scope="module")
async def test_columns_of_one_name_are_told_apart_or_refused(empty, empty_export):
    question = "SELECT 1 AS a, 2 AS a;"
    told = Told()
    duck.ask(empty_export, question, told)
    assert (told.columns, told.kept) == (["a", "a"], [(1, 2)])
    with pytest.raises(QueryError, match="two columns are named a, which JSON cannot tell apart"):
        duck.ask(empty_export, question, answer("json", pytest.fail))
    assert await ask_live(empty, question) == [(1, 2)]
    with pytest.raises(QueryError, match="two columns are named a, which JSON cannot tell apart"):
        await live.ask(Database(empty, None), question, answer("json", pytest.fail))


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_question_runs_into_is_said_in_a_line(empty, empty_export):
    boom = "SELECT CASE WHEN range = 4999 THEN error('boom') ELSE 'a' END FROM range(5000)"
    with pytest.raises(QueryError, match="boom"):
        ask_export(empty_export, boom)
    with pytest.raises(QueryError, match="cast it to text"):
        await ask_live(empty, "SELECT most_common_vals FROM pg_stats")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "question",
    [
        "EXPLAIN SELECT 1",
        "SHOW timezone",
        "SELECT '2026-05-04'::date; -- a comment",
        "SELECT 1 -- a comment",
        "VALUES (1);",
        "TABLE calls",
    ],
)
async def test_live_questions_may_be_what_cannot_stand_in_parentheses(empty, question):
    await ask_live(empty, question)


async def test_a_question_that_is_no_text_is_wrong_usage(tmp_path):
    done = await command("sql", "SELECT '\udcff'", env={}, folder=tmp_path)
    assert (done.code, "Traceback" in done.errors) == (2, False)


# the command


async def test_the_command_answers_from_the_newest_export_and_live(made, database, tmp_path):
    env = settings_env(database.dsn, data_dir=str(tmp_path / "data"))
    done = await command("export", env=env, folder=tmp_path)
    assert done.code == 0, done.errors
    counted = await made.connection.fetch(COUNT)
    wanted = [{"enterprise": row["enterprise"], "calls": row["calls"]} for row in counted]
    assert [row["enterprise"] for row in wanted] == list(ENTERPRISES)
    for more in ((), ("--live",)):
        told = await command("sql", COUNT, "--format", "json", *more, env=env, folder=tmp_path)
        assert (told.code, told.errors) == (0, ""), told.errors
        assert json.loads(told.output) == wanted
        told = await command("sql", COUNT, "--format", "csv", *more, env=env, folder=tmp_path)
        assert told.output.splitlines()[1] == f'"{wanted[0]["enterprise"]}",{wanted[0]["calls"]}'
        told = await command("sql", COUNT, *more, env=env, folder=tmp_path)
        assert told.output.splitlines()[0].split() == ["enterprise", "calls"]
        wrong = await command("sql", "SELECT\nnothing FROM calls", *more, env=env, folder=tmp_path)
        assert (wrong.code, wrong.output, len(wrong.errors.splitlines())) == (1, "", 1)
        assert "nothing" in wrong.errors


async def test_live_and_an_export_at_once_is_wrong_usage(tmp_path):
    done = await command("sql", COUNT, "--live", "--export", "x", env={}, folder=tmp_path)
    assert done.code == 2


async def test_two_first_questions_at_once_make_the_views_once(made, database):
    async with connected(database.dsn) as one, connected(database.dsn) as other:
        await made.connection.execute("DROP SCHEMA IF EXISTS analyst CASCADE")
        await asyncio.gather(live.make_ready(one), live.make_ready(other))
    assert await ask_live(database.dsn, COUNT)
