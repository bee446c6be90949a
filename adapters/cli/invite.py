"""``callfold invite``: makes an invitation by which a chat subscribes, once."""

import asyncio
import os
from pathlib import Path

import asyncpg
import click
import msgspec

from adapters.bot.invitations import LONGEST_HOURS, Invitations, Invited
from adapters.bot.invitations import invite as make_invitation
from adapters.cli.failures import CommandFailed
from adapters.cli.writing import through_service, writing
from adapters.clock import SystemClock
from adapters.directory.apply import read_secrets
from adapters.directory.bots import PREVIEW, BotTokenMissingError
from adapters.opening import open_store
from adapters.secret import Secret
from adapters.settings import Settings, load_settings
from adapters.telegram.api import BotApi, http_client
from otel.logs import configure_logs


@click.command(
    epilog="\b\nExample:\n  callfold invite --enterprise 0367\n  callfold invite --enterprise 0367 --hours 2"
)
@click.option("--enterprise", required=True, help="Number of the enterprise.")
@click.option(
    "--hours",
    type=click.FloatRange(0, LONGEST_HOURS, min_open=True),
    default=48.0,
    show_default=True,
    help="Hours until it expires.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
def invite(*, enterprise: str, hours: float, as_json: bool) -> None:
    """Make an invitation: whoever opens its link first, or sends its /start, is shown the enterprise's calls.

    It is good for one chat. A group joins where somebody sends the /start in it.
    """
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    invited = asyncio.run(_invite(settings, enterprise, hours))
    if as_json:
        told = msgspec.structs.asdict(invited) | {"command": f"/start {invited.key}"}
        click.echo(msgspec.json.encode(told))
        return
    if invited.link:
        click.echo(f"open  {invited.link}")
    where = "in the preview, see /preview" if invited.preview else "to the bot"
    click.echo(f"send  /start {invited.key}        ({where})")
    click.echo(f"good for one chat until {invited.expires_at.astimezone():%Y-%m-%d %H:%M %Z}")


async def _invite(settings: Settings, enterprise: str, hours: float) -> Invited:
    async with open_store(settings) as (database, pool):
        async with writing(database, "invite") as writer:
            if writer is not None:
                return await _alone(settings, pool, enterprise, hours)
        asked = {"enterprise": enterprise, "hours": hours}
        answer = await through_service(settings, pool, "/api/invitations", asked)
        return msgspec.json.decode(answer, type=Invited)


async def _alone(settings: Settings, pool: asyncpg.Pool, enterprise: str, hours: float) -> Invited:
    entry = (await read_secrets(pool)).get(enterprise)
    if entry is None:
        raise CommandFailed(f"there is no enterprise {enterprise}")
    try:
        token = entry.bot.read(os.environ)
    except BotTokenMissingError as error:
        raise CommandFailed(str(error)) from error
    async with http_client() as client:
        bot = None if token == PREVIEW else BotApi(Secret(token), settings.telegram_api, client)
        now = SystemClock().now()
        return await make_invitation(Invitations(pool), enterprise, hours, now, bot, preview=token == PREVIEW)
