"""``callfold apply``: makes the directory of each enterprise what the file says, by facts of what changes."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import asyncpg
import msgspec

from actors.ports import Clock, FactLog
from adapters.directory.bots import BotSource
from adapters.directory.file import EnterpriseFile
from calls.directory import Directory, changes
from calls.entries import DirectoryChange
from calls.exchange import read_change
from calls.facts import DIRECTORY_CHANGED, DIRECTORY_STREAM, NEWEST, Fact, NewFact
from calls.shapes import SHAPES, UnknownShape

AT_ONCE = 1_000
"""Changes that wait for one commit."""


class ApplyRefused(Exception):
    """The file cannot be applied to this database; nothing was changed."""


class SecretEntry(msgspec.Struct, frozen=True):
    """Row of the table ``secrets``: what is no fact of an enterprise."""

    enterprise: str
    token: str
    bot: BotSource

    def __repr__(self) -> str:
        return f"SecretEntry({self.enterprise!r}, '***', {self.bot!r})"


async def read_secrets(source: asyncpg.Pool | asyncpg.Connection) -> dict[str, SecretEntry]:
    """Secrets of every enterprise by number."""
    rows = await source.fetch(
        "SELECT enterprise, token, bot_kind, bot_value FROM secrets ORDER BY enterprise"
    )
    return {
        row["enterprise"]: SecretEntry(
            row["enterprise"], row["token"], BotSource(row["bot_kind"], row["bot_value"])
        )
        for row in rows
    }


def fold_directories(facts: Sequence[Fact]) -> dict[str, Directory]:
    """The directories that these directory facts make, by enterprise. Raises UnknownShape."""
    directories: dict[str, Directory] = {}
    for fact in facts:
        known = directories.get(fact.enterprise) or Directory.empty(fact.enterprise)
        directories[fact.enterprise] = known.apply(read_change(fact))
    return directories


def readable(facts: Sequence[Fact]) -> list[Fact]:
    """Those whose shape this version knows: with the rest of a directory it serves on, but does not change it."""
    return [fact for fact in facts if SHAPES.knows(fact.kind, fact.body)]


async def apply_files(
    facts: FactLog, pool: asyncpg.Pool, clock: Clock, files: Sequence[EnterpriseFile]
) -> list[str]:
    """Append what changes and replace the secrets; a line for each change, none where there is nothing to do.

    Raises ApplyRefused where a Token belongs to an enterprise that the file does not name, or a newer version wrote of
    the directory what this one cannot read.
    """
    try:
        known = fold_directories(await facts.read_directories(NEWEST))
    except UnknownShape as unknown:
        raise ApplyRefused(str(unknown)) from unknown
    secrets = await read_secrets(pool)
    wanted = {
        file.directory.profile.number: SecretEntry(file.directory.profile.number, file.token, file.bot)
        for file in files
    }
    _refuse_taken_tokens(secrets, wanted)
    said = await _replace_secrets(pool, secrets, wanted)
    for file in files:
        number = file.directory.profile.number
        old = known.get(number)
        wanted_changes = changes(old, file.directory)
        for some in batched(wanted_changes, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for change in some:
                    group.create_task(facts.append(directory_fact(number, change, clock), within=30))
        said += [f"{number}: {_say(change, known=_knew(old, change))}" for change in wanted_changes]
    return said


def batched(told: Sequence[DirectoryChange], size: int) -> Iterator[Sequence[DirectoryChange]]:
    """The changes in order, so many at a time: entries differ in key, so those of one lot may be stored together."""
    for begin in range(0, len(told), size):
        yield told[begin : begin + size]


def directory_fact(
    number: str, change: DirectoryChange, clock: Clock, *, expected_version: int | None = None
) -> NewFact:
    """The fact by which an enterprise's directory changes so."""
    return NewFact(
        enterprise=number,
        stream=DIRECTORY_STREAM,
        kind=DIRECTORY_CHANGED,
        source="service",
        occurred_at=clock.now(),
        body=SHAPES.write(DIRECTORY_CHANGED, change),
        expected_version=expected_version,
    )


def _knew(old: Directory | None, change: DirectoryChange) -> bool:
    if old is None or change.section == "enterprise":
        return old is not None
    entries: Mapping[str, object] = getattr(old, f"{change.section}s")
    return change.key in entries


def _say(change: DirectoryChange, *, known: bool) -> str:
    what = change.section.replace("_", "-")
    if change.value is None:
        return f"{what} {change.key} removed"
    return f"{what} {change.key} {'changed' if known else 'added'}"


def _refuse_taken_tokens(known: Mapping[str, SecretEntry], wanted: Mapping[str, SecretEntry]) -> None:
    for entry in wanted.values():
        for other in known.values():
            if other.token == entry.token and other.enterprise not in wanted:
                raise ApplyRefused(
                    f"enterprise {entry.enterprise}: its token belongs to enterprise {other.enterprise},"
                    " which the file does not name; every token is of one enterprise"
                )


async def _replace_secrets(
    pool: asyncpg.Pool, known: Mapping[str, SecretEntry], wanted: Mapping[str, SecretEntry]
) -> list[str]:
    changed = [entry for number, entry in wanted.items() if known.get(number) != entry]
    async with pool.acquire() as connection, connection.transaction():
        for entry in changed:
            await connection.execute(
                "INSERT INTO secrets (enterprise, token, bot_kind, bot_value) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (enterprise) DO UPDATE SET token = excluded.token, bot_kind = excluded.bot_kind,"
                " bot_value = excluded.bot_value, changed_at = now()",
                entry.enterprise,
                entry.token,
                entry.bot.kind,
                entry.bot.value,
            )
    said = []
    for entry in changed:
        old = known.get(entry.enterprise)
        if old is None or old.token != entry.token:
            said.append(f"{entry.enterprise}: token {'changed' if old else 'set'}")
        if old is None or old.bot != entry.bot:
            said.append(f"{entry.enterprise}: bot {'changed' if old else 'set'} ({entry.bot.kind})")
    return said
