"""``callfold doctor``: checks what the service needs, and says what to do about each finding."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import asyncpg
import click
import httpx
import msgspec

from adapters.archive.back import glance
from adapters.archive.folder import FOLDER
from adapters.cli.failures import CommandFailed
from adapters.directory.apply import fold_directories, read_secrets, readable
from adapters.directory.bots import PREVIEW, BotTokenMissingError
from adapters.http.admin_token import admin_token
from adapters.postgres.database import Database, complaints, open_database
from adapters.postgres.errors import DatabaseError
from adapters.postgres.migrate import schema_state
from adapters.secret import Secret
from adapters.settings import Settings, load_settings
from adapters.store.horizon import look
from adapters.store.reader import read_directories
from adapters.telegram.api import BotApi, WebhookInfo, http_client
from adapters.telegram.errors import (
    Blocked,
    ChatNotFound,
    Deactivated,
    Kicked,
    NoRights,
    TelegramError,
    Unauthorized,
)
from calls import is_compiled
from calls.entries import STOPPED
from calls.facts import NEWEST
from otel.logs import configure_logs
from projections.calls import FOLD_VERSION

State = Literal["ok", "note", "wrong"]
ASK_WITHIN = 5.0
NAMED = 10
"""Files of the archive that are named one by one."""
WAYS_BACK: Final = {
    Blocked.reason: "it comes back by pressing Start in the chat with the bot; or",
    Kicked.reason: "take the bot into the group again, then",
    NoRights.reason: "let the bot write in the group, then",
    ChatNotFound.reason: "see whether chat_id is right and the chat has started the bot, then",
    Deactivated.reason: "where the account is back, it comes back by pressing Start in the chat with the bot; or",
    STOPPED: "it wished so, and comes back by sending /start to the bot; or",
}
"""By the reason for which a subscriber is off: what comes before an apply, or before an invitation."""


OTHERS: Final = {
    "second poller": "another program asks for this bot's updates: stop it, or give it a bot of its own",
    "webhook elsewhere": "another program set a webhook: stop it, then start callfold serve anew",
    "refused": "Telegram refuses its token: ask @BotFather for one, then callfold apply; the same file tries at once",
}
"""By the state of a bot's listening: what to do."""


class _Unknown(msgspec.Struct):
    facts: int = 0
    since: str | None = None
    kinds: dict[str, int] = {}


class _Stats(msgspec.Struct):
    bots: dict[str, str] = {}
    bots_off: list[str] = []
    begun_at: str = ""
    unknown_kinds: _Unknown = msgspec.field(default_factory=_Unknown)


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do where it is not well."""

    subject: str
    state: State
    says: str
    do: str = ""


@click.command(epilog="\b\nExample:\n  callfold doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
def doctor(*, as_json: bool) -> None:
    """Check configuration, database, schema, bots and exporters. Fails where something is wrong."""
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "error")
    findings = asyncio.run(_all(settings))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(f"{finding.state:<6}{finding.subject}: {finding.says}")
            if finding.do:
                click.echo(f"      → {finding.do}")
    wrong = [finding.subject for finding in findings if finding.state == "wrong"]
    if wrong:
        raise CommandFailed(f"{len(wrong)} findings need something done: {', '.join(wrong)}")


async def _all(settings: Settings) -> list[Finding]:
    findings = [
        Finding("settings", "ok", f"DATA_DIR {settings.data_dir}, Bot API {settings.telegram_api}"),
        _fold(),
    ]
    try:
        async with open_database(settings.database_url.reveal(), settings.data_dir, check=False) as database:
            findings += [finding async for finding in _database(database)]
            findings += [finding async for finding in _archive(database, settings.data_dir / FOLDER)]
            findings += [finding async for finding in _bots(database, settings)]
            findings += [finding async for finding in _service(database, settings)]
    except DatabaseError as error:
        findings.append(
            Finding(
                "database",
                "wrong",
                str(error),
                "mend DATABASE_URL, or leave it empty for the embedded server",
            )
        )
    findings += [finding async for finding in _exporter(settings)]
    return findings


def _fold() -> Finding:
    if is_compiled():
        return Finding("fold", "ok", "compiled")
    needed = "a C compiler and Python's headers (Debian: gcc, python3-dev), then install callfold again"
    return Finding("fold", "note", "not compiled: an event takes twice the time", needed)


async def _database(database: Database) -> AsyncIterator[Finding]:
    connection = await database.connect()
    try:
        version = await connection.fetchval("SHOW server_version")
        yield Finding("database", "ok", f"{database.describe()}, version {version}")
        for complaint in await complaints(connection):
            yield Finding("database", "wrong", str(complaint), "an event answered 200 could be lost; mend it")
        have, want = await schema_state(connection)
        if have == want:
            yield Finding("schema", "ok", f"version {have}")
        elif have < want:
            yield Finding(
                "schema", "note", f"version {have}, this release has {want}", "the next start migrates it"
            )
        else:
            yield Finding(
                "schema", "wrong", f"version {have}, this release knows {want}", "install the newer release"
            )
        if have:
            async for finding in _contents(connection):
                yield finding
            async for finding in _forgetting(connection):
                yield finding
    finally:
        await connection.close(timeout=5)


async def _contents(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    for holder in (await look(connection)).holders:
        yield Finding(holder.holds, "wrong" if holder.holds == "readers" else "note", holder.says, holder.do)
    parked = await connection.fetchval("SELECT count(*) FROM parked")
    if parked:
        yield Finding("parked facts", "wrong", f"{parked} facts could not be folded", "see callfold parked")
    else:
        yield Finding("parked facts", "ok", "none")
    folded = await connection.fetchval("SELECT fold_version FROM checkpoints WHERE projection = 'calls'")
    if folded is not None and folded < FOLD_VERSION:
        says = f"rows of calls are told by fold {folded}, this is fold {FOLD_VERSION}"
        yield Finding("projections", "note", says, "callfold rebuild all")
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM secrets)"):
        yield Finding("directory", "wrong", "no enterprise is known", "callfold apply FILE.toml")
    for number, directory in fold_directories(readable(await read_directories(connection, NEWEST))).items():
        for one in directory.subscribers.values():
            if one.off:
                before = WAYS_BACK.get(one.off, "let the bot write to the chat again, then")
                says = f"off, is shown no calls: {one.off}"
                listed = "callfold apply FILE.toml that lists it"
                invited = f"callfold invite --enterprise {number}, for this chat to send the /start of"
                do = f"{before} {invited if one.invited else listed}"
                yield Finding(f"subscriber {one.chat_id} of {number}", "note", says, do)


HALF_RETIRED = "SELECT enterprise, wanted FROM retention WHERE wanted IS NOT NULL ORDER BY enterprise"


async def _forgetting(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    if not await connection.fetchval("SELECT to_regclass('forgotten') IS NOT NULL"):
        return
    halves = "SELECT enterprise, count(*) FROM forgotten WHERE done_at IS NULL GROUP BY enterprise ORDER BY enterprise"
    for number, people in await connection.fetch(halves):
        says = f"{people} people of {number} are forgotten in half"
        yield Finding("forgetting", "wrong", says, "give the callfold forget that was interrupted once more")
    if not await connection.fetchval("SELECT to_regclass('retention') IS NOT NULL"):
        return
    for number, at in await connection.fetch(HALF_RETIRED):
        says = f"numbers of {number} before {at:%Y-%m-%d} gave way to pseudonyms in half"
        do = f"callfold forget --enterprise {number} --older-than-days …; with retention_days the service goes on"
        yield Finding("retention", "note", says, do)


async def _archive(database: Database, folder: Path) -> AsyncIterator[Finding]:
    connection = await database.connect()
    try:
        if not await connection.fetchval("SELECT to_regclass('archived') IS NOT NULL"):
            return
        seen = await glance(connection, folder)
    finally:
        await connection.close(timeout=5)
    for wrong in seen.wrong[:NAMED]:
        says, _, do = wrong.rpartition("; ")
        yield Finding("archive", "wrong", says, f"{do}: rebuild and forget need it")
    if len(seen.wrong) > NAMED:
        says = f"{len(seen.wrong) - NAMED} more files are missing or damaged"
        yield Finding("archive", "wrong", says, "callfold archive --check names all")
    if seen.files and not seen.wrong:
        told = "is as it was written" if seen.read else "has its size; callfold archive --check reads them"
        yield Finding("archive", "ok", f"{seen.files} files, {seen.bytes / 1e6:.1f} MB, each {told}")


async def _bots(database: Database, settings: Settings) -> AsyncIterator[Finding]:
    connection = await database.connect()
    try:
        if not (await schema_state(connection))[0]:
            return
        secrets = await read_secrets(connection)
    finally:
        await connection.close(timeout=5)
    async with http_client() as client:
        for number, entry in secrets.items():
            subject = f"bot of {number}"
            try:
                token = entry.bot.read(os.environ)
            except BotTokenMissingError as error:
                yield Finding(subject, "wrong", str(error), "set it, or change bot_token and apply again")
                continue
            if token == PREVIEW:
                yield Finding(subject, "ok", "the built-in preview, see /preview")
                continue
            try:
                bot = BotApi(Secret(token), settings.telegram_api, client, total=ASK_WITHIN)
                user = await bot.get_me()
                webhook = await bot.get_webhook_info()
            except (Unauthorized, ValueError) as error:
                yield Finding(subject, "wrong", str(error), "ask @BotFather for the token, and apply again")
            except TelegramError as error:
                yield Finding(
                    subject, "wrong", str(error), f"see whether {settings.telegram_api} can be reached"
                )
            else:
                yield Finding(subject, "ok", f"@{user.username}")
                if finding := _webhook(subject, bot.key, webhook, settings):
                    yield finding


def _webhook(subject: str, key: str, webhook: WebhookInfo, settings: Settings) -> Finding | None:
    """What is wrong with where a bot's updates go; None for nothing."""
    wanted = f"{settings.telegram_webhook}/telegram/{key}" if settings.telegram_webhook else ""
    if webhook.url == wanted:
        says = f"its webhook fails: {webhook.last_error_message}"
        do = "see whether Telegram reaches TELEGRAM_WEBHOOK"
        return Finding(subject, "wrong", says, do) if wanted and webhook.last_error_message else None
    if not webhook.url:
        return Finding(subject, "note", "its webhook is not set", "the next start of callfold serve sets it")
    address = urlsplit(webhook.url)
    says = (
        f"its updates go to a webhook at {address.scheme}://{address.hostname}, so it does not hear commands"
    )
    do = "stop the other program, then start callfold serve anew"
    return Finding(subject, "wrong", says, do)


async def _service(database: Database, settings: Settings) -> AsyncIterator[Finding]:
    connection = await database.connect()
    try:
        leads = (await schema_state(connection))[0] and await connection.fetchval("SELECT url FROM leader")
    finally:
        await connection.close(timeout=5)
    url = leads or settings.base_url
    try:
        async with httpx.AsyncClient(timeout=ASK_WITHIN, trust_env=False) as client:
            answer = await client.get(f"{url}/readyz")
    except httpx.HTTPError:
        yield Finding("service", "note", f"nobody answers at {url}", "callfold serve")
        return
    state: State = "ok" if answer.status_code == httpx.codes.OK else "wrong"
    yield Finding("service", state, f"{url} says {answer.text.strip()[:200]}")
    async for finding in _listening(url, settings):
        yield finding


async def _listening(url: str, settings: Settings) -> AsyncIterator[Finding]:
    """What the running service passes over; its bots that show nothing, or do not hear commands."""
    bearer = {"Authorization": f"Bearer {admin_token(settings)}"}
    try:
        async with httpx.AsyncClient(timeout=ASK_WITHIN, trust_env=False, headers=bearer) as client:
            told = msgspec.json.decode((await client.get(f"{url}/stats")).content, type=_Stats)
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        yield Finding("listening", "note", f"{url}/stats does not tell: {type(error).__name__}")
        return
    if told.unknown_kinds.facts:
        yield _unknown(told.unknown_kinds, told.begun_at)
    for number in told.bots_off:
        says = "nothing is sent: Telegram refused the bot's token; it is asked again every few minutes"
        yield Finding(f"cards of {number}", "wrong", says, OTHERS["refused"])
    for number, state in told.bots.items():
        if state in OTHERS:
            yield Finding(f"listening of {number}", "wrong", f"no commands are heard: {state}", OTHERS[state])


def _unknown(told: _Unknown, begun_at: str) -> Finding:
    """What the running service has passed over because a newer version wrote it."""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in told.kinds.items())
    says = f"{told.facts} facts since {told.since} were passed over: {kinds}; counted since the start at {begun_at}"
    do = "they are kept: use the version that wrote them, or a newer one, then callfold rebuild all"
    return Finding("unknown kinds", "note", says, do)


async def _exporter(settings: Settings) -> AsyncIterator[Finding]:
    endpoint = settings.otel.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or settings.otel.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    if not endpoint:
        yield Finding("traces", "ok", "no endpoint is set, nothing is exported")
        return
    address = urlsplit(endpoint)
    shown = f"{address.scheme}://{address.hostname}:{address.port or 4318}"
    try:
        async with httpx.AsyncClient(timeout=ASK_WITHIN, trust_env=False) as client:
            await client.get(f"{address.scheme}://{address.hostname}:{address.port or 4318}/")
    except httpx.HTTPError as error:
        yield Finding(
            "traces", "wrong", f"{shown} does not answer ({type(error).__name__})", "start the collector"
        )
    else:
        yield Finding("traces", "ok", f"{shown} answers")
