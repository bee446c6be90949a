"""``callfold recover``: feeds events that a host could not deliver (CONTRACT 2 and 7)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
import click
import httpx
import msgspec

from actors.ports import LogError
from adapters.cli.failures import CommandFailed
from adapters.cli.progress import steps
from adapters.cli.writing import writing
from adapters.clock import SystemClock
from adapters.directory.apply import SecretEntry, fold_directories, read_secrets
from adapters.http.admin_token import admin_token
from adapters.http.rejects import RejectedBodies
from adapters.opening import open_store
from adapters.privacy.suppression import Suppression
from adapters.recovery.feed import AT_ONCE, Appends, Outcome, Recovery, Summary, Wanted
from adapters.recovery.files import Numbered, count_lines, read_backlog
from adapters.recovery.lines import LONGEST_LINE
from adapters.settings import Settings, load_settings
from adapters.store.log import EventStore
from adapters.store.writer import Writer
from calls.directory import Directory
from calls.facts import NEWEST
from otel.logs import configure_logs

NAMED: Final = 20
"""Refused lines that are printed one by one."""
LISTED: Final = 1_000
"""Refused lines that --json lists."""
PATIENCE: Final = httpx.Timeout(60, read=180, write=180)
"""Seconds: a service that is busy with hosts lets a backlog wait."""

TOO_LONG: Final = b"!" * (LONGEST_LINE + 1)
"""Stands for a line that is too long: refused as such, and its number is kept."""

Tell = Callable[[Outcome], object]
"""Hears what became of a line."""
Step = Callable[[str], None]


class _Zone(click.ParamType[str]):
    name = "ZONE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - of this option alone

        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is no time zone, such as Europe/Minsk", param, ctx)


@click.command(
    epilog="\b\nExample:\n"
    "  callfold recover 2026-05-04.db --enterprise 0412\n"
    "  callfold recover backlog.jsonl --dry-run",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--enterprise", help="Number of whose events these are.  [default: by the Token in each]")
@click.option("--token", help="The same by its Token.")
@click.option("--all", "everything", is_flag=True, help="Also what the host was answered 200 for.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be stored.")
@click.option("--timezone", type=_Zone(), help="Of times without a zone.  [default: the enterprise's]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end and nothing else.")
def recover(
    *,
    file: Path,
    enterprise: str | None,
    token: str | None,
    everything: bool,
    dry: bool,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Feed events that a host could not deliver: JSON Lines, gzipped or not, or a host's own SQLite file of a day.

    What is known is recognised by its content, so a file may be fed twice. A line that is no event is named and
    kept with the refused bodies, the rest goes on.
    """
    if enterprise and token:
        raise click.UsageError("--enterprise and --token say the same, give one of them")
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    begun = perf_counter()
    wanted = Wanted(enterprise=enterprise, timezone=timezone, everything=everything, dry=dry, file=file.name)
    told = _Told(dry=dry)
    total = count_lines(file)
    if as_json:
        asyncio.run(_recover(settings, file, wanted, token, told.take, lambda _: None))
        click.echo(msgspec.json.encode({**told.shown(), "seconds": round(perf_counter() - begun, 3)}))
    else:
        with steps("recovering", total) as step:
            asyncio.run(_recover(settings, file, wanted, token, told.take, step))
        click.echo("\n".join(told.lines()))
    if told.nothing_fed:
        raise CommandFailed(f"nothing of {file} could be fed{told.why()}")


class _Told:
    """What became of the lines."""

    def __init__(self, *, dry: bool) -> None:
        self._dry = dry
        self._summary = Summary()
        self._refused: list[Outcome] = []

    def take(self, outcome: Outcome) -> None:
        """One more."""
        self._summary.count(outcome)
        if outcome.status == "refused" and len(self._refused) < LISTED:
            self._refused.append(outcome)

    @property
    def nothing_fed(self) -> bool:
        told = self._summary
        return not (told.stored or told.known or told.missing)

    def why(self) -> str:
        if not self._refused:
            return ": it holds no events"
        first = self._refused[0]
        return f": {self._summary.refused} refused, line {first.line}: {first.reason}"

    def lines(self) -> Iterator[str]:
        """What is printed: the first lines that were refused, and the counts."""
        told = self._summary
        for one in self._refused[:NAMED]:
            yield f"line {one.line}: {one.reason}"
        if told.refused > NAMED:
            yield f"… and {told.refused - NAMED} more that were refused"
        missing = f", answered but not stored here {told.missing} (--all feeds them)" if told.missing else ""
        would = "would store" if self._dry else "stored"
        yield f"{would} {told.stored}, known {told.known}, refused {told.refused}{missing}"

    def shown(self) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(self._summary),
            "dry_run": self._dry,
            "refusals": [{"line": one.line, "reason": one.reason} for one in self._refused],
        }


async def _recover(
    settings: Settings, file: Path, wanted: Wanted, token: str | None, tell: Tell, step: Step
) -> None:
    async with open_store(settings) as (database, pool):
        secrets = await read_secrets(pool)
        wanted = msgspec.structs.replace(wanted, enterprise=_owner(secrets, wanted.enterprise, token))
        forgotten = Suppression(pool, settings.data_dir)
        if wanted.dry:
            await _alone(pool, None, secrets, forgotten, file, wanted, tell, step)
            return
        async with writing(database, "recover") as writer:
            if writer is not None:
                await _alone(pool, writer, secrets, forgotten, file, wanted, tell, step)
                return
        await _through_service(settings, pool, file, wanted, tell, step)


def _owner(secrets: dict[str, SecretEntry], enterprise: str | None, token: str | None) -> str | None:
    if token is not None:
        owner = next((number for number, entry in secrets.items() if entry.token == token), None)
        if owner is None:
            raise CommandFailed("the --token is of no enterprise")
        return owner
    if enterprise is not None and enterprise not in secrets:
        raise CommandFailed(f"enterprise {enterprise} is not known; `callfold apply` makes it known")
    return enterprise


async def _alone(
    pool: asyncpg.Pool,
    writer: Writer | None,
    secrets: dict[str, SecretEntry],
    forgotten: Suppression,
    file: Path,
    wanted: Wanted,
    tell: Tell,
    step: Step,
) -> None:
    """Feed as the one writer; without one, only look."""
    store = EventStore(pool, writer)
    clock = SystemClock()
    rejects = RejectedBodies(pool, clock)
    directories = fold_directories(await store.read_directories(NEWEST))
    tokens = {entry.token: number for number, entry in secrets.items()}
    facts: Appends = store
    recovery = Recovery(
        facts=facts,
        pool=pool,
        rejects=rejects,
        clock=clock,
        enterprise_of=tokens.get,
        zone_of=lambda number: directories.get(number, Directory.empty(number)).profile.timezone,
        rests=False,
        forgotten=forgotten,
    )
    feeding = recovery.begin(wanted)
    keeping = asyncio.create_task(rejects.run(), name="refused lines")
    line = 0
    try:
        for lot in _lots(read_backlog(file)):
            told: list[Outcome] = []
            try:
                await feeding.take(lot, told)
            except LogError as error:
                raise _interrupted(line, str(error)) from error
            finally:
                for outcome in told:
                    tell(outcome)
                    step("")
            line = lot[-1][0]
    finally:
        keeping.cancel()


def _lots(lines: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    while lot := list(islice(lines, AT_ONCE)):
        yield lot


def _interrupted(line: int, reason: str) -> CommandFailed:
    return CommandFailed(
        f"broken off behind line {line}: {reason}; run it again, what is stored will be known"
    )


class _Answer(msgspec.Struct):
    """A line of the service's answer: what became of a line, or the last one."""

    status: str
    line: int = 0
    position: int | None = None
    reason: str = ""


class _Refusal(msgspec.Struct):
    detail: str = ""


async def _through_service(
    settings: Settings,
    pool: asyncpg.Pool,
    file: Path,
    wanted: Wanted,
    tell: Tell,
    step: Step,
) -> None:
    """Have the service that runs feed the file: it is the one writer."""
    url = await pool.fetchval("SELECT url FROM leader") or settings.base_url
    asked = {"file": wanted.file, "all": "1" if wanted.everything else "0"}
    asked |= {"enterprise": wanted.enterprise} if wanted.enterprise else {}
    asked |= {"timezone": wanted.timezone} if wanted.timezone else {}
    headers = {"Authorization": f"Bearer {admin_token(settings)}", "Content-Type": "application/x-ndjson"}
    last: _Answer | None = None
    line = 0
    try:
        async with (
            httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
            client.stream(
                "POST", f"{url}/recover?{urlencode(asked)}", content=_wire(file, step), headers=headers
            ) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                told = msgspec.json.decode(await answer.aread(), type=_Refusal)
                raise CommandFailed(f"the service at {url} refused: {told.detail or answer.status_code}")
            async for text in answer.aiter_lines():
                last = msgspec.json.decode(text, type=_Answer)
                if last.status not in {"done", "interrupted"}:
                    line = last.line
                    tell(msgspec.convert(msgspec.to_builtins(last), Outcome))
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"another process writes to this database, and its service at {url} broke off behind line {line}:"
            f" {error or type(error).__name__}; run it again, what is stored will be known"
        ) from error
    if last is None or last.status != "done":
        raise _interrupted(line, last.reason if last else "the answer ended")


async def _wire(file: Path, step: Step) -> AsyncIterator[bytes]:
    """The file as its lines are numbered there: a line for each, also for a blank or a long one."""
    number, lines = 0, read_backlog(file)
    while lot := await asyncio.to_thread(lambda: list(islice(lines, AT_ONCE))):
        for place, line in lot:
            skipped = b"\n" * (place - number - 1)
            yield skipped + (TOO_LONG if line is None else line) + b"\n"
            number = place
            step("")
