"""``callfold parked``: facts that an actor or a projection could not fold, and folding them once more."""

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import click
import httpx

from adapters.cli.failures import CommandFailed
from adapters.http.admin_token import admin_token
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from otel.logs import configure_logs

LIST = "SELECT place, position, enterprise, reason, attempts, parked_at FROM parked ORDER BY position, place"


@click.command(epilog="\b\nExample:\n  callfold parked\n  callfold parked --replay")
@click.option("--replay", is_flag=True, help="Let the running service fold them once more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def parked(*, replay: bool, as_json: bool) -> None:
    """List the facts that could not be folded, each with its reason.

    --replay has the actors read their calls again from the store and the projections fold them anew, and strikes
    off what now folds.
    """
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    asyncio.run(_parked(settings, replay=replay, as_json=as_json))


async def _parked(settings: Settings, *, replay: bool, as_json: bool) -> None:
    async with open_store(settings) as (_, pool):
        if replay:
            click.echo(f"{await _replay(settings, pool)} facts were folded again")
        rows = await pool.fetch(LIST)
    for row in rows:
        if as_json:
            click.echo(json.dumps(dict(row), default=str, ensure_ascii=False))
        else:
            click.echo(
                f"{row['position']:>8} {row['enterprise']} {row['place']:<8} {row['parked_at']:%Y-%m-%d %H:%M:%S}"
                f" ({row['attempts']} attempts) {row['reason']}"
            )
    if not rows and not as_json:
        click.echo("nothing is parked")


async def _replay(settings: Settings, pool: asyncpg.Pool) -> int:
    url = await pool.fetchval("SELECT url FROM leader") or settings.base_url
    try:
        async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
            answer = await client.post(
                f"{url}/api/parked/replay", headers={"Authorization": f"Bearer {admin_token(settings)}"}
            )
    except httpx.HTTPError as error:
        raise CommandFailed(f"the service at {url} does not answer: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise CommandFailed(f"the service at {url} answered {answer.status_code}")
    return int(answer.json()["replayed"])
