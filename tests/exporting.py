"""A small history for analysts: calls of all scenarios over three days at three enterprises, some of them recovered."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.analysts.export import export
from adapters.analysts.files import Format
from adapters.analysts.folder import Export
from adapters.analysts.reading import Wanted
from adapters.postgres.database import Database
from calls.events import identity, read_event
from calls.facts import NewFact, bridge_stream, leg_stream
from calls.scenarios import catalogue
from calls.scenarios.script import CAST
from tests.storing import AT, Projected, projected, put

TOKEN = "375290000000"
ENTERPRISES = ("0367", "0368", "0369")
DAYS = 3
CUSTOMERS = 40
BATCH = 400


def history(count: int = 240, seed: int = 7) -> list[NewFact]:
    """Facts of so many calls, one after the other in their order by time."""
    chance = random.Random(seed)
    known = list(catalogue().values())
    told: list[NewFact] = []
    for number in range(count):
        enterprise = chance.choice(ENTERPRISES)
        begun = AT + timedelta(seconds=round(chance.random() * DAYS * 86_400))
        cast = {**CAST, "C": f"37529{chance.randrange(CUSTOMERS) + 1_000_000:07d}"}
        source = "recovery" if chance.random() < 0.1 else "live"
        for event in chance.choice(known).events(begun.timestamp(), number, token=TOKEN, cast=cast):
            body = json.dumps(event.body).encode()
            unique_id, bridge_id = identity(read_event(body))
            whole = event.kind in {"bridge_create", "bridge_destroy"} and bridge_id
            told.append(
                NewFact(
                    enterprise=enterprise,
                    stream=bridge_stream(bridge_id) if whole or not unique_id else leg_stream(unique_id),
                    kind=event.kind,
                    source=source,
                    occurred_at=begun + timedelta(seconds=event.offset, microseconds=number),
                    body=body,
                )
            )
    return sorted(told, key=lambda fact: fact.occurred_at)


@asynccontextmanager
async def stored(dsn: str, facts: list[NewFact]) -> AsyncIterator[Projected]:
    """These facts stored and projected."""
    async with projected(dsn) as made:
        await made.live.load()
        for begin in range(0, len(facts), BATCH):
            await put(made.connection, facts[begin : begin + BATCH])
        await made.project()
        await made.rebuild(check=False)  # what was recovered is folded by callfold recover, or by this
        yield made


async def exported(dsn: str, folder: Path, format_: Format = "parquet", **wanted: Any) -> Export:
    """Export what is in this database."""
    return await export(Database(dsn, None), folder, format_, Wanted(**wanted), lambda _, __: None)
