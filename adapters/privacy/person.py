"""Who is to be forgotten: how the enterprise spells the number, what it calls the person, the row of the list."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from secrets import randbelow

import asyncpg
import msgspec

from adapters.privacy.digests import Digests
from adapters.store.reader import Connection, read_directories
from calls.directory import Directory
from calls.drawing import pseudonyms_of
from calls.entries import DirectoryChange
from calls.exchange import read_change
from calls.facts import NEWEST
from calls.numbers import display, is_transform
from calls.pseudonyms import Renaming
from calls.spellings import Reading, Told, told_as

_ROW = """
SELECT pseudonym, position, facts, since, done_at, names FROM forgotten WHERE enterprise = $1 AND digest = $2
"""
_BEGIN = "INSERT INTO forgotten (enterprise, digest, pseudonym, key_id) VALUES ($1, $2, $3, $4)"
_CALL = """
UPDATE forgotten SET names = ARRAY(SELECT unnest(names) UNION SELECT unnest($3::bytea[]))
WHERE enterprise = $1 AND digest = $2
"""
_OTHER_KEY = "SELECT EXISTS (SELECT FROM forgotten WHERE enterprise = $1 AND key_id <> $2)"
_TAKEN = """
SELECT EXISTS (SELECT FROM customers WHERE enterprise = $1 AND phone = ANY($2))
    OR EXISTS (SELECT FROM forgotten WHERE enterprise = $1 AND pseudonym = ANY($2))
"""


class ForgetRefused(Exception):
    """Nobody can be forgotten so; the text says why, and what to do."""


class Row(msgspec.Struct, frozen=True):
    """A row of ``forgotten``."""

    pseudonym: str
    position: int
    facts: int
    since: datetime | None
    done_at: datetime | None
    names: list[bytes]


class Person(msgspec.Struct, frozen=True):
    """Somebody who is being forgotten."""

    enterprise: str
    digest: bytes
    renaming: Renaming
    chats: tuple[int, ...]
    """Every chat that the enterprise has ever had."""
    row: Row

    @property
    def pseudonym(self) -> str:
        """What stands in the number's place."""
        return self.renaming.pseudonym


async def find_person(
    connection: asyncpg.Connection, digests: Digests, enterprise: str, phone: str
) -> Person:
    """Whom a number means; the row of the list is begun, or taken up where it was left.

    Raises ForgetRefused.
    """
    facts = await read_directories(connection, NEWEST, enterprise)
    changes = [read_change(fact) for fact in facts]
    directory = Directory.empty(enterprise).fold(changes)
    if not facts:
        raise ForgetRefused(f"there is no enterprise {enterprise}")
    number = _number(directory, phone)
    token = await connection.fetchval("SELECT token FROM secrets WHERE enterprise = $1", enterprise)
    if token is not None and directory.e164(str(token)) == number:
        raise ForgetRefused("this is the enterprise's Token; change it first")
    reading = reading_of(changes)
    digest = digests.digest(enterprise, number)
    await refuse_other_key(connection, digests, enterprise)
    if await read_row(connection, enterprise, digest) is None:
        drawn = await new_pseudonyms(
            connection, enterprise, told_as(number, number[1:], reading), reading, directory, {}
        )
        if number not in drawn:
            raise ForgetRefused(f"{display(number)}: there is no other number of this form")
        await connection.execute(_BEGIN, enterprise, digest, drawn[number], digests.key_id)
    names = [digests.name(enterprise, name) for name in names_of(number, changes)]
    await connection.execute(_CALL, enterprise, digest, names)
    row = await read_row(connection, enterprise, digest)
    assert row is not None, "it was begun now at the latest"
    renaming = Renaming(number, row.pseudonym, reading, digests.namer(enterprise, row.names))
    return Person(enterprise, digest, renaming, _chats(changes), row)


async def start_over(connection: asyncpg.Connection, person: Person) -> Person:
    """Somebody who was forgotten before and has called again: from the first fact on."""
    await connection.execute(
        "UPDATE forgotten SET position = 0, facts = 0, since = NULL, done_at = NULL, begun_at = now()"
        " WHERE enterprise = $1 AND digest = $2",
        person.enterprise,
        person.digest,
    )
    row = msgspec.structs.replace(person.row, position=0, facts=0, since=None, done_at=None)
    return msgspec.structs.replace(person, row=row)


async def read_row(connection: Connection, enterprise: str, digest: bytes) -> Row | None:
    """The row of one digest."""
    found = await connection.fetchrow(_ROW, enterprise, digest)
    return Row(*found) if found else None


def reading_of(changes: Iterable[DirectoryChange]) -> Reading:
    """By what an enterprise reads numbers, and ever did."""
    countries: dict[str, None] = {}
    transforms: set[tuple[str, str]] = set()
    for change in changes:
        value = change.value or {}
        if change.section == "enterprise":
            countries[str(value.get("country", "BY"))] = None
        elif change.section == "line" and is_transform(str(value.get("incoming_transform", ""))):
            transforms.add((change.key, str(value["incoming_transform"])))
    return Reading(tuple(countries) or ("BY",), frozenset(transforms))


async def refuse_other_key(connection: asyncpg.Connection, digests: Digests, enterprise: str) -> None:
    if await connection.fetchval(_OTHER_KEY, enterprise, digests.key_id):
        raise ForgetRefused(
            "DATA_DIR/forget-key is not the key that the list of the forgotten was made with; put that one back"
        )


def _number(directory: Directory, phone: str) -> str:
    number = directory.e164(phone)
    if number is None:
        raise ForgetRefused(
            "this is no outside number; people of the enterprise are taken out by `callfold apply`"
        )
    if directory.manager_by_mobile(number):
        raise ForgetRefused(
            "this is the mobile of somebody of the enterprise; take it out of the directory file, apply it, then"
            " forget the number"
        )
    if any(directory.e164(line) == number or line == number for line in directory.lines):
        raise ForgetRefused("this is a line of the enterprise")
    return number


async def new_pseudonyms(
    connection: asyncpg.Connection,
    enterprise: str,
    told: Told,
    reading: Reading,
    directory: Directory,
    listed: Mapping[str, str],
) -> dict[str, str]:
    """Some that nobody has whom the enterprise knows, of what is not ``listed`` and whose country has another."""

    def known(drawn: str) -> bool:
        return (
            drawn in directory.customers
            or bool(directory.manager_by_mobile(drawn))
            or drawn in directory.lines
        )

    while True:
        # Most take some milliseconds, those of a rare form a second: others go on meanwhile.
        drawn = await asyncio.to_thread(pseudonyms_of, told, reading, randbelow, known, listed)
        if not await connection.fetchval(_TAKEN, enterprise, list(drawn.values())):
            return drawn


def names_of(number: str, changes: Iterable[DirectoryChange]) -> list[str]:
    """What the directory calls the person, and ever did."""
    values = [change.value for change in changes if change.section == "customer" and change.key == number]
    told = [
        str(value[field]) for value in values if value for field in ("name", "company") if value.get(field)
    ]
    return [*told, *(escape(name, quote=False) for name in told), *map(escape, told)]


def _chats(changes: Iterable[DirectoryChange]) -> tuple[int, ...]:
    return tuple(sorted({int(change.key) for change in changes if change.section == "subscriber"}))
