"""``callfold archive``: months that are over, moved from the database into files, and back."""

import asyncio
import os
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter

import asyncpg
import click
import msgspec

from adapters.archive.back import Restored, check, restore
from adapters.archive.files import pyarrow
from adapters.archive.folder import FOLDER
from adapters.archive.moving import Left, Moved, Mover, Wanted, alone, alone_with_files
from adapters.cli.failures import CommandFailed
from adapters.cli.progress import Portion, portions
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from adapters.store.partitions import later
from otel.logs import configure_logs

SHOWN = 20


class _Asked(msgspec.Struct, frozen=True):
    """What the command line asks for; one of the first three."""

    before: date | None
    month: date | None
    enterprise: str | None
    quiet: bool

    def progress(self, facts: int) -> AbstractContextManager[Portion]:
        """Something that shows how far it is."""
        return nullcontext(lambda _: None) if self.quiet or not facts else portions("facts", facts)


def _day(_: click.Context, __: click.Parameter, value: str | None) -> date | None:
    """A day, or the first one of a month."""
    if value is None:
        return None
    try:
        return date.fromisoformat(value if len(value) > len("2026-05") else f"{value}-01")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no month or day, as 2026-05 or 2026-05-04") from error


def _month(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    day = _day(context, parameter, value)
    return None if day is None else day.replace(day=1)


@click.command(
    epilog="\b\nExample:\n  callfold archive --before 2026-01\n  callfold archive --check\n"
    "  callfold archive --restore 2025-11 --enterprise 0412"
)
@click.option(
    "--before", callback=_day, metavar="YYYY-MM[-DD]", help="Move months that had ended when this day began."
)
@click.option("--check", "checking", is_flag=True, help="Read every file and compare it with its checksum.")
@click.option("--restore", "month", callback=_month, metavar="YYYY-MM", help="Bring this month back.")
@click.option("--enterprise", metavar="N", help="One enterprise alone.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def archive(
    *, before: date | None, checking: bool, month: date | None, enterprise: str | None, as_json: bool
) -> None:
    """Move the events of months that are over into files below DATA_DIR/archive; the service goes on meanwhile.

    A month is moved, each enterprise by itself, when it ended 31 days ago and nothing of it is under way; what stays
    is named with the reason. Calls, customers and everything else that was made of the events stay as they are, and
    rebuild reads the files too: keep them, and a copy of them elsewhere.
    """
    if [before is not None, checking, month is not None].count(True) != 1:
        raise click.UsageError("one of --before, --check and --restore is needed")
    if checking and enterprise:
        raise click.UsageError("--check looks at all enterprises")
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    asked = _Asked(before, month, enterprise, as_json)
    begun = perf_counter()
    try:
        outcome = asyncio.run(_do(settings, asked))
    except OSError as error:
        raise CommandFailed(f"{error.filename or FOLDER}: {error.strerror or error}") from error
    if as_json:
        click.echo(_shown(outcome))
    _tell(outcome, perf_counter() - begun, quiet=as_json)


Outcome = Moved | list[Restored] | list[str]
"""Of --before, of --restore, and of --check: what is wrong."""


async def _do(settings: Settings, asked: _Asked) -> Outcome:
    pyarrow()
    async with open_store(settings) as (database, _):
        connection = await database.connect()
        try:
            return await _on(connection, settings.data_dir / FOLDER, asked)
        finally:
            await connection.close(timeout=10)


async def _on(connection: asyncpg.Connection, folder: Path, asked: _Asked) -> Outcome:
    if asked.before is not None:
        async with alone(connection):
            return await _move(connection, folder, asked, asked.before)
    count = """
    SELECT coalesce(sum(facts), 0)::bigint FROM archived
    WHERE ($1::date IS NULL OR month = $1) AND ($2::text IS NULL OR enterprise = $2)
    """
    with asked.progress(await connection.fetchval(count, asked.month, asked.enterprise)) as told:
        if asked.month is None:
            return await check(connection, folder, told)
        async with alone_with_files(connection):
            return await restore(connection, folder, asked.month, asked.enterprise, told)


async def _move(connection: asyncpg.Connection, folder: Path, asked: _Asked, before: date) -> Moved:
    now = datetime.now(UTC)
    mover = Mover(connection, folder, Wanted(min(before, now.date()), asked.enterprise, now))
    facts = sum(facts for _, _, facts in await mover.due())
    with asked.progress(facts) as told:
        moved = await mover.run(told)
    if later(now.date().replace(day=1), 1) <= before:
        moved.left.append(Left(f"{now:%Y-%m}", None, "it is not over"))
    return moved


def _shown(outcome: Outcome) -> str:
    if isinstance(outcome, Moved):
        return msgspec.json.encode(outcome).decode()
    if outcome and isinstance(outcome[0], Restored):
        return msgspec.json.encode({"restored": outcome}).decode()
    return msgspec.json.encode({"wrong": outcome}).decode()


def _tell(outcome: Outcome, spent: float, *, quiet: bool) -> None:
    """Say it, and fail where it was not what was wanted."""
    lines, failed = _moved(outcome, spent) if isinstance(outcome, Moved) else _others(outcome, spent)
    for line in () if quiet else lines:
        click.echo(line)
    if failed:
        raise CommandFailed(failed)


def _moved(moved: Moved, spent: float) -> tuple[list[str], str]:
    lines = [
        f"{one.month} {one.enterprise or ''} stays: {one.reason}".replace("  ", " ") for one in moved.left
    ]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"… and {len(lines) - SHOWN} more"]
    facts, size = sum(one.facts for one in moved.files), sum(one.bytes for one in moved.files)
    if moved.files:
        lines.append(
            f"archived: {facts:,} facts in {len(moved.files)} files of {size / 1e6:.1f} MB, {spent:.1f} s"
        )
    elif not moved.left:
        lines.append("nothing is due")
    if moved.dropped:
        lines.append(f"dropped: the empty tables of {', '.join(moved.dropped)}")
    done = moved.files or moved.dropped or not moved.left
    return lines, "" if done else f"nothing was moved: {len(moved.left)} months stay"


def _others(outcome: list[Restored] | list[str], spent: float) -> tuple[list[str], str]:
    wrong = [one for one in outcome if isinstance(one, str)]
    restored = [one for one in outcome if isinstance(one, Restored)]
    if restored:
        facts = sum(one.facts for one in restored)
        return [f"restored: {facts:,} facts of {len(restored)} enterprises in {spent:.1f} s"], ""
    if wrong:
        return wrong, f"{len(wrong)} things are wrong with the archive"
    return [f"every file is as it was written, {spent:.1f} s"], ""
