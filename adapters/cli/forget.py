"""``callfold forget``: puts a pseudonym in the place of a person's number, wherever it stands."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path

import asyncpg
import click
import msgspec

from adapters.cli.progress import Portion, portions
from adapters.cli.writing import through_service, writing
from adapters.clock import SystemClock
from adapters.opening import open_store
from adapters.privacy.forgetting import Forgetting, Progress
from adapters.privacy.retiring import FEWEST_DAYS, Retired, Retiring
from adapters.settings import Settings, load_settings
from adapters.store.log import EventStore
from adapters.store.tables import CallTables
from otel.logs import configure_logs
from otel.metrics import Metrics
from projections.live import LiveCalls, no_other


@click.command(
    epilog="\b\nExample:\n"
    "  callfold forget --enterprise 0412 --phone +375290000101\n"
    "  callfold forget --enterprise 0412 --older-than-days 365"
)
@click.option("--enterprise", required=True, help="Number of the enterprise.")
@click.option("--phone", help="The person's number, as one types it.")
@click.option(
    "--older-than-days",
    "days",
    type=click.IntRange(min=FEWEST_DAYS),
    metavar="D",
    help="Instead of one person: everybody outside, in what is older than so many days.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def forget(*, enterprise: str, phone: str | None, days: int | None, yes: bool, as_json: bool) -> None:
    """Forget a person of one enterprise, or all of long ago: nothing leads from what stays to the number.

    A random number takes its place in every event, so that counts and calls stay; names, recordings, exports and
    former tables of rebuilds go. There is no way back. What was interrupted goes on when the same command is given
    again. Messages in Telegram, backups and files elsewhere are not reached.
    """
    if (phone is None) == (days is None):
        raise click.UsageError("give one of --phone and --older-than-days")
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here: give --yes")
        whom = "this person" if days is None else f"everybody outside before the last {days} days"
        click.confirm(f"Forget {whom} in enterprise {enterprise} for ever?", abort=True)
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    wanted = _Person(enterprise, phone) if phone is not None else _Days(enterprise, days or 0)
    progress = asyncio.run(_forget(settings, wanted, quiet=as_json))
    if as_json:
        click.echo(msgspec.json.encode(progress))
        return
    for removed in progress.removed:
        click.echo(f"removed {removed}")
    if isinstance(progress, Retired):
        click.echo(
            f"{progress.facts} facts rewritten, {progress.numbers} numbers new on the list;"
            f" before {progress.upto.isoformat()} there are pseudonyms only"
        )
        return
    click.echo(
        f"{progress.facts} facts rewritten, {progress.recordings} recordings removed;"
        f" in the number's place stands {progress.pseudonym}"
    )
    click.echo(
        "take the customer out of the directory file too: else the next apply brings name and number back"
    )


class _Person(msgspec.Struct, frozen=True):
    enterprise: str
    phone: str


class _Days(msgspec.Struct, frozen=True):
    enterprise: str
    older_than_days: int


async def _forget(settings: Settings, wanted: _Person | _Days, *, quiet: bool) -> Progress | Retired:
    async with open_store(settings) as (database, pool):
        async with writing(database, "forget") as writer:
            if writer is not None:
                forgetting = Forgetting(
                    database=database,
                    facts=EventStore(pool, writer),
                    clock=SystemClock(),
                    data_dir=settings.data_dir,
                    folded=partial(_fold_anew, pool),
                    rest=no_other,
                )
                retiring = Retiring(
                    forgetting,
                    database=database,
                    facts=EventStore(pool, writer),
                    clock=SystemClock(),
                    data_dir=settings.data_dir,
                    folded=partial(_fold_anew, pool),
                    rest=no_other,
                )

                async def here() -> Progress | Retired:
                    if isinstance(wanted, _Days):
                        return await retiring.step(wanted.enterprise, wanted.older_than_days)
                    return await forgetting.step(wanted.enterprise, wanted.phone)

                return await _to_the_end(here, quiet=quiet)

        async def there() -> Progress | Retired:
            path = "/api/retire" if isinstance(wanted, _Days) else "/api/forget"
            asked = msgspec.to_builtins(wanted)
            answer = await through_service(settings, pool, path, asked, within=None)
            if isinstance(wanted, _Days):
                return msgspec.json.decode(answer, type=Retired)
            return msgspec.json.decode(answer, type=Progress)

        return await _to_the_end(there, quiet=quiet)


async def _to_the_end(
    step: Callable[[], Awaitable[Progress | Retired]], *, quiet: bool
) -> Progress | Retired:
    progress = await step()
    showing: AbstractContextManager[Portion] = nullcontext(lambda _: None)
    if not quiet and not progress.done:
        showing = portions("facts", progress.head - progress.position)
    with showing as seen:
        while not progress.done:
            before = progress.position
            progress = await step()
            seen(progress.position - before)
    return progress


async def _fold_anew(pool: asyncpg.Pool, enterprise: str, since: datetime | None) -> None:
    """Project as the service would: none runs. None: there is nothing to fold."""
    if since is None:
        return
    tables = CallTables(pool)
    allowed = asyncio.Event()
    allowed.set()
    live = LiveCalls(
        tables,
        tables,
        metrics=Metrics(),
        now=SystemClock().now,
        moved=lambda _: None,
        allowed=allowed,
        give_way=no_other,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(live.run(), name="projection of calls")
        await live.fold_anew({enterprise: since})
        live.stop()
