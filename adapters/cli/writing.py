"""How a verb writes: through the service that runs, or as the one writer itself where none does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec

from adapters.cli.failures import CommandFailed
from adapters.clock import SystemClock
from adapters.directory.apply import apply_files
from adapters.directory.file import EnterpriseFile
from adapters.http.admin_token import admin_token
from adapters.opening import open_store
from adapters.postgres.database import Database
from adapters.settings import Settings
from adapters.store.log import EventStore
from adapters.store.writer import Writer
from otel.metrics import Metrics

ALONE_WITHIN = 3.0
"""Seconds to find out whether the writer's lock is free."""


class _Changed(msgspec.Struct):
    changes: list[str] = []


class _Refused(msgspec.Struct):
    detail: str = ""


class Upload(msgspec.Struct, frozen=True):
    """A directory file as the service takes it; ``folder``: where relative paths in it begin."""

    name: str
    text: str
    folder: str


async def apply_somehow(settings: Settings, upload: Upload, files: tuple[EnterpriseFile, ...]) -> list[str]:
    """Apply a directory file where the writer is; the lines that say what changed."""
    async with open_store(settings) as (database, pool):
        async with writing(database, "apply") as writer:
            if writer is not None:
                return await apply_files(EventStore(pool, writer), pool, SystemClock(), files)
        answer = await through_service(settings, pool, "/api/directory", msgspec.to_builtins(upload))
        return msgspec.json.decode(answer, type=_Changed).changes


@asynccontextmanager
async def writing(database: Database, verb: str) -> AsyncIterator[Writer | None]:
    """The one writer, where no service runs; None where one does."""
    writer = Writer(
        database,
        SystemClock(),
        Metrics(),
        committed=lambda _: None,
        role_changed=lambda _: None,
        instance=verb,
        url="",
    )
    async with _writing(writer) as alone:
        yield writer if alone else None


@asynccontextmanager
async def _writing(writer: Writer) -> AsyncIterator[bool]:
    """True where the lock was free and this process writes now."""
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(), name="writer")
        try:
            try:
                async with asyncio.timeout(ALONE_WITHIN):
                    await writer.decided.wait()
            except TimeoutError:
                yield False
            else:
                yield writer.leading.is_set()
        finally:
            writer.stop()


async def through_service(
    settings: Settings, pool: asyncpg.Pool, path: str, asked: Any, *, within: float | None = 120
) -> bytes:
    """What the service that writes answers to a request with the admin token. Raises CommandFailed."""
    url = await pool.fetchval("SELECT url FROM leader") or settings.base_url
    try:
        async with httpx.AsyncClient(timeout=within, trust_env=False) as client:
            answer = await client.post(
                f"{url}{path}", json=asked, headers={"Authorization": f"Bearer {admin_token(settings)}"}
            )
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"another process writes to this database, and its service at {url} does not answer: {error}"
        ) from error
    if answer.status_code != httpx.codes.OK:
        told = msgspec.json.decode(answer.content, type=_Refused)
        raise CommandFailed(f"the service at {url} refused: {told.detail or answer.status_code}")
    return answer.content
