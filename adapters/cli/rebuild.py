"""``callfold rebuild``: projections made again from the event store, without downtime."""

import asyncio
import json
import os
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import asyncpg
import click
import msgspec

from adapters.archive.folder import FOLDER
from adapters.cli.failures import CommandFailed
from adapters.cli.progress import portions
from adapters.opening import open_store
from adapters.postgres.database import Database
from adapters.rebuilding import fold_beside
from adapters.settings import Settings, load_settings
from adapters.store.beside import Beside, Former
from otel.logs import configure_logs
from projections.calls import FOLD_VERSION
from projections.names import NAMES, needed
from projections.rebuild import Difference, Outcome, Plan, rebuild_as_of, roll_back
from projections.rebuild import rebuild as rebuild_calls

SHOWN = 20
MOST_JOBS = 16


class Time(click.ParamType[datetime]):
    """A point in time as ISO 8601; UTC where it names no zone."""

    name = "TIME"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            told = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no time; ISO 8601 is, such as 2026-05-04T09:00 or 2026-05-04", param, ctx
            )
        return told if told.tzinfo else told.replace(tzinfo=UTC)


class Wanted(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    plan: Plan
    jobs: int
    check: bool
    afresh: bool
    quiet: bool
    archive: Path


@click.command(
    epilog="\b\nExample:\n  callfold rebuild all\n  callfold rebuild calls customers --jobs 2\n"
    "  callfold rebuild all --check\n  callfold rebuild calls --as-of 2026-05-04T12:00",
)
@click.argument("names", nargs=-1, type=click.Choice([*NAMES, "all"]), metavar="[NAME ...|all]")
@click.option("--as-of", type=Time(), help="Make what the tables were at that time, in tables of their own.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    default=min(os.cpu_count() or 1, MOST_JOBS),
    help="Processes that fold at the same time.",
    show_default="one a core",
)
@click.option(
    "--directory",
    type=click.Choice(["as-of", "latest"]),
    default="as-of",
    show_default=True,
    help="Tell each call by the directory as it was, or as it is now.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Rebuild beside the live tables and report every difference, changing nothing.",
)
@click.option("--rollback", is_flag=True, help="Put back the tables that the last rebuild has replaced.")
@click.option("--afresh", is_flag=True, help="Throw away what an interrupted rebuild has made so far.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def rebuild(
    *,
    names: tuple[str, ...],
    as_of: datetime | None,
    jobs: int,
    directory: str,
    check: bool,
    rollback: bool,
    afresh: bool,
    as_json: bool,
) -> None:
    """Rebuild projections from the event store; the service goes on meanwhile.

    What others are counted from is rebuilt with them. An interrupted rebuild goes on where it was when the same
    command is given again. Fails where --check finds a difference.
    """
    if rollback and (names or check or as_of):
        raise click.UsageError("--rollback takes neither names nor --check nor --as-of")
    if check and as_of:
        raise click.UsageError(
            "--check compares with the live tables, --as-of makes an earlier state of them"
        )
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    chosen = set(NAMES) if not names or "all" in names else names
    plan = Plan(
        names=needed([name for name in NAMES if name in chosen]),
        fold_version=FOLD_VERSION,
        latest=directory == "latest",
        as_of=as_of,
    )
    begun = perf_counter()
    wanted = Wanted(plan, jobs, check, afresh, as_json, settings.data_dir / FOLDER)
    outcome, into = asyncio.run(_roll_back(settings) if rollback else _rebuild(settings, wanted))
    spent = perf_counter() - begun
    if as_json:
        told = {**msgspec.to_builtins(outcome), "seconds": round(spent, 3), "tables": into}
        click.echo(json.dumps(told, default=str))
    else:
        did = "checked" if check else "put back" if rollback else "made" if as_of else "rebuilt"
        _tell(outcome, spent, did, into)
    if check and outcome.differences:
        raise CommandFailed(f"{len(outcome.differences)} rows differ from what the facts say")


async def _rebuild(settings: Settings, wanted: Wanted) -> tuple[Outcome, list[str]]:
    async with open_store(settings) as (database, pool):
        connection = await database.connect()
        try:
            return await _rebuild_beside(database, pool, connection, wanted)
        finally:
            await connection.close(timeout=10)


async def _rebuild_beside(
    database: Database, pool: asyncpg.Pool, connection: asyncpg.Connection, wanted: Wanted
) -> tuple[Outcome, list[str]]:
    plan = wanted.plan
    beside = await Beside.open(
        pool, connection, plan, wanted.jobs, afresh=wanted.afresh, archive=wanted.archive
    )
    expected = sum(shard.expected - shard.facts for shard in await beside.shards())
    showing = nullcontext(lambda _: None) if wanted.quiet else portions("facts", expected)
    with showing as folded:

        async def fold_shards() -> int:
            return await fold_beside(beside, database.dsn, wanted.jobs, folded)

        if plan.as_of is not None:
            suffix = f"_as_of_{plan.as_of.astimezone(UTC):%Y%m%dt%H%M%S}z"
            outcome = await rebuild_as_of(beside, beside.upto, fold_shards)
            await beside.name_as_of(suffix)
            return outcome, [f"{table}{suffix}" for table in beside.tables]
        outcome = await rebuild_calls(beside, beside.upto, fold_shards, check=wanted.check)
    return outcome, beside.tables


async def _roll_back(settings: Settings) -> tuple[Outcome, list[str]]:
    async with open_store(settings) as (database, pool):
        connection = await database.connect()
        try:
            former = await Former.open(pool, connection, archive=settings.data_dir / FOLDER)
            return Outcome(await roll_back(former, former.swap), None), former.tables
        finally:
            await connection.close(timeout=10)


def _tell(outcome: Outcome, spent: float, did: str, into: list[str]) -> None:
    found = outcome.differences or []
    for difference in found[:SHOWN]:
        click.echo(_line(difference))
    if len(found) > SHOWN:
        click.echo(f"… and {len(found) - SHOWN} more")
    if did == "made":
        click.echo(f"made: {', '.join(into)}")
    differed = f", {len(found)} rows differed from the live tables" if found else ", no difference"
    compared = "" if outcome.differences is None else differed
    click.echo(f"{did}: {outcome.facts} facts in {spent:.1f} s{compared}")


def _line(difference: Difference) -> str:
    name = f"{difference.table} {' '.join(difference.key)}"
    if difference.live is None:
        return f"{name}: missing in the live table"
    if difference.rebuilt is None:
        return f"{name}: the facts make no such row"
    columns = [
        f"{column} {difference.live[column]!r} → {value!r}"
        for column, value in difference.rebuilt.items()
        if difference.live[column] != value
    ]
    return f"{name}: {', '.join(columns)}"
