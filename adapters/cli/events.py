"""``callfold events``: prints stored events."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import click

from adapters.analysts.absent import archived_months, archived_said
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from adapters.store import reader
from adapters.store.shown import shown_event
from calls.facts import EVENT_KINDS, Fact
from otel.logs import configure_logs
from projections.ports import Checkpoint

PAGE = 1000
POLL = 0.5


@click.command(
    epilog="\b\nExample:\n"
    "  callfold events --enterprise 0367 --follow\n"
    "  callfold events --call 1757840723.6 --json"
)
@click.option("--enterprise", help="Number of the enterprise.")
@click.option("--call", help="UniqueId of any leg of a call.")
@click.option("--follow", is_flag=True, help="Go on with what comes.")
@click.option("--all", "everything", is_flag=True, help="What callfold itself stored too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(
    *, enterprise: str | None, call: str | None, follow: bool, everything: bool, as_json: bool
) -> None:
    """Print stored events in their order. Their Tokens are left out."""
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    try:
        asyncio.run(_print(settings, enterprise, call, follow=follow, everything=everything, as_json=as_json))
    except KeyboardInterrupt:
        return


async def _print(
    settings: Settings,
    enterprise: str | None,
    call: str | None,
    *,
    follow: bool,
    everything: bool,
    as_json: bool,
) -> None:
    async with open_store(settings) as (_, pool):
        if months := await archived_months(pool, enterprise):
            click.echo(archived_said(months), err=True)
        told = _of_call(pool, enterprise, call) if call else _all(pool, follow=follow)
        async for fact in told:
            if enterprise and fact.enterprise != enterprise:
                continue
            if everything or fact.kind in EVENT_KINDS:
                click.echo(_line(fact, as_json=as_json))


async def _all(pool: asyncpg.Pool, *, follow: bool) -> AsyncIterator[Fact]:
    checkpoint = Checkpoint()
    while True:
        async with pool.acquire() as connection:
            read = await reader.read_below_horizon(connection, checkpoint, PAGE)
        checkpoint = read.checkpoint
        for fact in read.facts:
            yield fact
        if not read.facts:
            if not follow:
                return
            await asyncio.sleep(POLL)  # between two looks at what came


async def _of_call(pool: asyncpg.Pool, enterprise: str | None, unique_id: str) -> AsyncIterator[Fact]:
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT DISTINCT enterprise FROM facts WHERE stream = $1 AND ($2::text IS NULL OR enterprise = $2)",
            f"leg/{unique_id}",
            enterprise,
        )
        legs = [(row[0], unique_id) for row in rows]
        for fact in await reader.read_calls(connection, legs, (), (1 << 63) - 1) if legs else ():
            yield fact


def _line(fact: Fact, *, as_json: bool) -> str:
    shown = shown_event(fact)
    if as_json:
        return json.dumps(shown, ensure_ascii=False)
    body = shown["body"]
    told = " ".join(f"{key}={value}" for key, value in body.items() if value not in ("", "<unknown>", None))
    return f"{fact.position:>8} {fact.recorded_at:%Y-%m-%d %H:%M:%S} {fact.enterprise} {fact.kind:<15} {told}"
