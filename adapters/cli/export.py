"""``callfold export``: events and projections as files for analysts."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import click
import msgspec

from adapters.analysts.absent import archived_said
from adapters.analysts.export import export as make_export
from adapters.analysts.files import FORMATS, Format
from adapters.analysts.folder import Export
from adapters.analysts.reading import Wanted
from adapters.cli.failures import CommandFailed
from adapters.cli.progress import steps
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from otel.logs import configure_logs

FOLDER = "exports"


def _time(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """An ISO date or time, by UTC where it names no zone."""
    if value is None:
        return None
    try:
        told = datetime.fromisoformat(value)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        reason = f"{value!r} is no ISO date or time, as 2026-05-04 or 2026-05-04T09:00:00Z"
        raise click.BadParameter(reason) from error


@click.command(
    epilog="\b\nExample:\n"
    "  callfold export\n"
    "  callfold export --format csv --from 2026-05-04 --to 2026-05-05 --out may-4",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option(
    "--from", "since", callback=_time, metavar="T", help="Nothing before this ISO date or time (UTC)."
)
@click.option(
    "--to", "until", callback=_time, metavar="T", help="Nothing from this ISO date or time (UTC) on."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the files [DATA_DIR/exports]."
)
@click.option("--enterprise", metavar="N", help="One enterprise alone [out: DATA_DIR/exports/enterprise=N].")
@click.option("--json", "as_json", is_flag=True, help="Print what the folder holds as one JSON object.")
def export(
    *,
    format_: Format,
    since: datetime | None,
    until: datetime | None,
    out: Path | None,
    enterprise: str | None,
    as_json: bool,
) -> None:
    """Write events and projections into files by day, for analysts; Tokens are left out.

    All tables are of one moment. A folder that has an export keeps its other days; --from and --to replace
    the days that they touch. docs/analysts.md says what the columns mean.
    """
    if since and until and since >= until:
        raise click.UsageError("--from must be before --to")
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    folder = out or settings.data_dir.joinpath(FOLDER, *([f"enterprise={enterprise}"] if enterprise else []))
    wanted = Wanted(since=since, until=until, enterprise=enterprise)
    begun = perf_counter()
    try:
        made = asyncio.run(_export(settings, folder, format_, wanted, quiet=as_json))
    except OSError as error:
        raise CommandFailed(f"{error.filename or folder}: {error.strerror or error}") from error
    if as_json:
        click.echo(msgspec.json.encode(made).decode())
    else:
        _tell(made, folder, perf_counter() - begun)
    if made.archived:
        click.echo(archived_said(made.archived), err=True)
    if made.unknown:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in made.unknown.items())
        told = "facts of kinds that this version does not know are not in it"
        click.echo(f"{told}: {kinds}; a newer callfold knows them", err=True)


async def _export(
    settings: Settings, folder: Path, format_: Format, wanted: Wanted, *, quiet: bool
) -> Export:
    async with open_store(settings) as (database, _):
        if quiet:
            return await make_export(database, folder, format_, wanted, lambda _, __: None)
        with steps("tables and days", None) as step:
            return await make_export(database, folder, format_, wanted, lambda _, line: step(line))


def _tell(made: Export, folder: Path, spent: float) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in made.rows.items() if count)
    click.echo(f"exported in {spent:.1f} s; {folder} holds {counts or 'no rows'}")
    if made.left:
        click.echo(f"{made.left} events are stored and not folded yet: they are not in it")
