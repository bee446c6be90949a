"""SQL over the live tables: read-only, as a role that may read the analysts' views and nothing else."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import asyncpg

from adapters.analysts.answers import Answer
from adapters.analysts.errors import QueryError
from adapters.analysts.relations import RELATIONS
from adapters.analysts.values import AFTER, Shown, read_rows
from adapters.postgres.database import Database

ROLE: Final = "callfold_analyst"
SECONDS: Final = 60
"""After which a question is stopped."""
CHUNK: Final = 1_000
SHOWN: Final[dict[str, Shown]] = {
    "bool": Shown("boolean"),
    **{name: Shown("bigint") for name in ("int2", "int4", "int8", "oid")},
    **{name: Shown("text", "float") for name in ("float4", "float8")},
    "numeric": Shown("text", "decimal"),
    **{name: Shown("text", "time") for name in ("date", "timestamp", "timestamptz")},
}
"""How types are asked for, by PostgreSQL's names; all others are texts."""
LOCK: Final = 0x63616C6C_616E6C79  # "callanly"

# Whose names questions know. A table that is not among them is of nobody's business here.
_BIND: Final = "\n".join(
    f"    CREATE OR REPLACE VIEW analyst.{one.name} AS {one.select().format(table=one.table)};"
    for one in RELATIONS
)
_TEMPLATE: Final = (files("adapters.analysts") / "live.sql").read_text("utf-8")
_DIGEST: Final = hashlib.sha256((_TEMPLATE + _BIND).encode()).hexdigest()[:16]
MAKE: Final = _TEMPLATE.replace("{bind}", _BIND).replace("{role}", ROLE).replace("{digest}", _DIGEST)
OURS: Final = "callfold "

STATE: Final = """
SELECT obj_description(to_regnamespace('analyst'), 'pg_namespace') AS told,
       to_regnamespace('analyst') IS NOT NULL AS made,
       (SELECT rolname FROM pg_roles JOIN pg_proc ON proowner = pg_roles.oid
        WHERE pg_proc.oid = to_regprocedure('analyst.run(text)')) AS owner,
       (SELECT count(DISTINCT views.oid) FROM pg_depend
        JOIN pg_rewrite rules ON rules.oid = objid JOIN pg_class views ON views.oid = rules.ev_class
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND views.relnamespace = to_regnamespace('analyst')
          AND refobjid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)) AS bound
"""
BIND: Final = """
DO $$ BEGIN IF to_regprocedure('analyst.bind()') IS NOT NULL THEN PERFORM analyst.bind(); END IF; END $$
"""
# Whatever somebody granted to the role since: it must not read what views leave out.
REACHES: Final = """
SELECT string_agg(name, ', ') FROM unnest(ARRAY['secrets', 'facts', 'rejected', 'invitations', 'pg_authid']) AS name
WHERE has_table_privilege($1, name, 'SELECT') OR has_any_column_privilege($1, name, 'SELECT')
"""
DECLARED: Final = """
SELECT format_type(type, -1) FROM unnest($1::oid[]) WITH ORDINALITY AS told (type, place) ORDER BY place
"""
PLAIN: Final = "SET LOCAL datestyle = 'ISO'; SET LOCAL extra_float_digits = 1; SET LOCAL timezone = 'UTC'"
"""As texts are written that are read here."""


async def ask(database: Database, question: str, answer: Answer, *, seconds: float = SECONDS) -> None:
    """Answer one SELECT over the live tables, by the names of adapters.analysts.relations.

    Raises QueryError for what PostgreSQL refuses, or where the role cannot be made.
    """
    connection = await database.connect(
        server_settings={"application_name": "callfold sql", "timezone": "UTC", "lock_timeout": "10s"}
    )
    try:
        await ask_on(connection, question, answer, seconds)
    finally:
        await connection.close(timeout=10)


async def ask_on(connection: asyncpg.Connection, question: str, answer: Answer, seconds: float) -> None:
    """As ``ask``, on a connection of the caller."""
    try:
        await make_ready(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
            await _answer(connection, question, answer)
    except asyncpg.QueryCanceledError as error:
        raise QueryError(
            f"stopped after {seconds:g} s: --timeout allows more, an export has no limit"
        ) from error
    except asyncpg.InternalClientError as error:
        raise QueryError("a column is of a type that PostgreSQL alone knows: cast it to text") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise QueryError(_reason(error)) from error


async def make_ready(connection: asyncpg.Connection) -> None:
    """Make schema ``analyst`` and its role, or make them anew where they are another version's or show old tables."""
    if not await _is_ready(connection):
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            if not await _is_ready(connection):
                await _make(connection)
    reached = await connection.fetchval(REACHES, ROLE)
    if reached:
        raise QueryError(
            f"the role {ROLE} was granted more than the views: it can read {reached}; revoke that first"
        )


async def bind(connection: asyncpg.Connection) -> None:
    """Let the views, where there are any, show the tables that have the names now: for whoever swaps tables.

    In the transaction of the swap, else questions are answered from the former tables, which could not be dropped.
    """
    await connection.execute(BIND)


async def _is_ready(connection: asyncpg.Connection) -> bool:
    tables = sorted({relation.table for relation in RELATIONS})
    (state,) = await connection.fetch(STATE, tables)
    if state["made"] and not (state["told"] or "").startswith(OURS):
        raise QueryError("the database has a schema analyst that callfold did not make: rename it")
    told = (state["told"], state["owner"], state["bound"])
    return told == (OURS + _DIGEST, ROLE, len(RELATIONS))


async def _make(connection: asyncpg.Connection) -> None:
    user = await connection.fetchval("SELECT current_user")
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE} NOLOGIN")
        if not await connection.fetchval("SELECT pg_has_role(current_user, $1, 'USAGE')", ROLE):
            await connection.execute(f"GRANT {ROLE} TO CURRENT_USER")
        await connection.execute(MAKE)
    except asyncpg.InsufficientPrivilegeError as error:
        raise QueryError(
            f"live questions are asked as the role {ROLE}, which {user} cannot make ({_reason(error)}): let an"
            f' administrator run CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO "{user}"'
        ) from error


async def _answer(connection: asyncpg.Connection, question: str, answer: Answer) -> None:
    # What columns there are is found out as the role too, and without running anything.
    await connection.execute(f"{PLAIN}; SET LOCAL ROLE {ROLE}; SET LOCAL search_path = analyst, pg_temp")
    columns = (await connection.prepare(question)).get_attributes()
    shown = [_shown(column.type) for column in columns]
    inside = _inside(question, shown)
    whole = await _can_be_asked(connection, inside)
    await connection.execute("RESET ROLE")
    if not columns:
        raise QueryError("one SELECT at a time, and nothing that changes anything")
    if whole:
        declared = [one.type for one in shown]
    else:
        inside = question
        declared = [row[0] for row in await connection.fetch(DECLARED, [one.type.oid for one in columns])]
    listed = ", ".join(f"c{place} {type_}" for place, type_ in enumerate(declared))
    cast = ", ".join(f"c{place}::{one.type}" for place, one in enumerate(shown))
    cursor = await connection.cursor(f"SELECT {cast} FROM analyst.run($1) AS told ({listed})", inside)  # noqa: S608
    answer.begin([column.name for column in columns])
    while rows := await cursor.fetch(CHUNK):
        answer.rows(read_rows(shown, rows))
    answer.end()


def _shown(type_: asyncpg.Type) -> Shown:
    one = SHOWN.get(type_.name.removesuffix("[]"), Shown("text"))
    # However deep: PostgreSQL knows one type for all.
    return Shown(one.sql, one.reading, 1) if type_.name.endswith("[]") else one


def _inside(question: str, shown: Sequence[Shown]) -> str:
    """The question with its columns cast where it runs: outside, a column of a domain has another type."""
    names = ", ".join(f"c{place}" for place in range(len(shown)))
    cast = ", ".join(f"c{place}::{one.type}" for place, one in enumerate(shown))
    return f"SELECT {cast} FROM (\n{question.rstrip(AFTER)}\n) AS told ({names})"  # noqa: S608


async def _can_be_asked(connection: asyncpg.Connection, question: str) -> bool:
    """False for what cannot stand in parentheses: EXPLAIN, or a comment behind a semicolon."""
    try:
        async with connection.transaction():
            await connection.prepare(question)
    except asyncpg.PostgresSyntaxError:
        return False
    return True


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
