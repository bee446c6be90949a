"""``callfold rebuild``: projections made again from the event store, without downtime."""

import asyncio
import json
import os
from pathlib import Path
from time import perf_counter

import click
import msgspec

from adapters.cli.failures import CommandFailed
from adapters.cli.progress import steps
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from adapters.store.beside import BesideLive
from otel.logs import configure_logs
from projections.rebuild import Difference, Outcome
from projections.rebuild import rebuild as rebuild_calls

NAMES = ("calls", "customers", "all")
SHOWN = 20


@click.command(
    epilog="\b\nExample:\n  callfold rebuild all\n  callfold rebuild all --check",
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME ...|all]")
@click.option(
    "--check",
    is_flag=True,
    help="Rebuild beside the live tables and report every difference, changing nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def rebuild(*, names: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Rebuild projections from the event store; the service goes on meanwhile.

    Customers are counted from calls, so either name rebuilds both. Fails where --check finds a difference.
    """
    del names
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    begun = perf_counter()
    outcome = asyncio.run(_rebuild(settings, check=check, quiet=as_json))
    spent = perf_counter() - begun
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(outcome), "seconds": round(spent, 3)}, default=str))
    else:
        _tell(outcome, spent, check=check)
    if check and outcome.differences:
        raise CommandFailed(f"{len(outcome.differences)} rows differ from what the facts say")


async def _rebuild(settings: Settings, *, check: bool, quiet: bool) -> Outcome:
    async with open_store(settings) as (database, pool):
        connection = await database.connect()
        try:
            tables = BesideLive(pool, connection)
            if quiet:
                return await rebuild_calls(tables, check=check, progress=lambda _, __: None)
            with steps("batches of facts", None) as step:
                return await rebuild_calls(
                    tables,
                    check=check,
                    progress=lambda folded, position: step(f"{folded} facts, position {position}"),
                )
        finally:
            await connection.close(timeout=10)


def _tell(outcome: Outcome, spent: float, *, check: bool) -> None:
    for difference in outcome.differences[:SHOWN]:
        click.echo(_line(difference))
    if len(outcome.differences) > SHOWN:
        click.echo(f"… and {len(outcome.differences) - SHOWN} more")
    did = "checked" if check else "rebuilt"
    count = len(outcome.differences)
    differed = "no difference" if count == 0 else f"{count} rows differed from the live tables"
    click.echo(f"{did}: {outcome.facts} facts in {spent:.1f} s, {differed}")


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
