"""The outside numbers of one enterprise, and the pseudonym of each: what retention puts in the place of whom.

One list with the forgotten people (adapters.privacy.person): a number has one pseudonym, whichever way it came to it.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec

from adapters.privacy.digests import Digests
from adapters.privacy.person import ForgetRefused, names_of, new_pseudonyms, reading_of, refuse_other_key
from adapters.store.reader import read_directories
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.exchange import read_change
from calls.facts import NEWEST
from calls.pseudonyms import Renaming, rename
from calls.spellings import Told, numbers_told, told_as

_LIST: Final = "SELECT digest, pseudonym, names FROM forgotten WHERE enterprise = $1"
_LINES: Final = "SELECT DISTINCT line FROM traffic WHERE enterprise = $1"
_SENT: Final = "SELECT token FROM secrets WHERE enterprise = $1"
_ADD: Final = """
INSERT INTO forgotten (enterprise, digest, pseudonym, key_id, names, done_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""


class Strangers:
    """Who is outside, and under which pseudonym; made by ``read``. Numbers are in E.164."""

    def __init__(
        self,
        digests: Digests,
        changes: list[DirectoryChange],
        own: frozenset[str],
        listed: dict[bytes, tuple[str, list[bytes]]],
    ) -> None:
        self.reading = reading_of(changes)
        number = next(change.key for change in changes if change.section == "enterprise")
        self.directory = Directory.empty(number).fold(changes)
        self.enterprise = number
        self._changes: dict[str, list[DirectoryChange]] = {}
        for change in changes:
            if change.section == "customer":
                self._changes.setdefault(change.key, []).append(change)
        self._digests, self._own, self._listed = digests, own, listed
        self._pseudonyms = {pseudonym for pseudonym, _ in listed.values()}
        self._alone: set[str] = set()
        self.renaming = lru_cache(maxsize=4_096)(self._renaming)

    @classmethod
    async def read(cls, connection: asyncpg.Connection, digests: Digests, enterprise: str) -> "Strangers":
        """Raises ForgetRefused where there is no such enterprise, or the list was made with another key."""
        changes = [read_change(fact) for fact in await read_directories(connection, NEWEST, enterprise)]
        if not any(change.section == "enterprise" for change in changes):
            raise ForgetRefused(f"there is no enterprise {enterprise}")
        await refuse_other_key(connection, digests, enterprise)
        rows = await connection.fetch(_LIST, enterprise)
        listed = {digest: (pseudonym, names) for digest, pseudonym, names in rows}
        own = [row[0] for row in await connection.fetch(_LINES, enterprise)]
        own += [row[0] for row in await connection.fetch(_SENT, enterprise)]
        return cls(digests, changes, _own(changes, own), listed)

    def in_body(self, body: bytes) -> list[Told]:
        """The outside numbers of a body that are to give way, in a fixed order."""
        return sorted({one for told in numbers_told(body, self.reading) for one in self._strange(told)})

    def told(self, number: str) -> Told:
        """Somebody outside, as none of these texts tells."""
        return self._apart(told_as(number, number[1:], self.reading))

    def _strange(self, told: Told) -> list[Told]:
        """What is to give way of a text: nothing of one that was renamed, or is one of ours, by its line's rule too."""
        if not (
            self._pseudonyms.isdisjoint(told.numbers) and self._own.isdisjoint((told.number, *told.ruled))
        ):
            return []
        found = [self.told(number) for number in told.ruled] + [self._apart(told)]
        return [one for one in found if self._is_stranger(one.number)]

    def _apart(self, told: Told) -> Told:
        """Without those of the others that stay."""
        others = tuple((rule, number) for rule, number in told.others if self._is_stranger(number))
        return Told(told.number, told.digits, others)

    def _is_stranger(self, number: str) -> bool:
        return not (number in self._own or number in self._pseudonyms or number in self._alone)

    def pseudonym(self, number: str | None) -> str | None:
        """What stands for a number in rows: the same for whoever is none of these."""
        if number is None or not number.startswith("+") or not self._is_stranger(number):
            return number
        found = self._listed.get(self._digests.digest(self.enterprise, number))
        return found[0] if found else number

    async def learn(
        self,
        connection: asyncpg.Connection,
        told: Iterable[Told],
        upto: datetime,
        rest: Callable[[float], Awaitable[None]],
    ) -> int:
        """Give everybody of these a pseudonym for what occurred before ``upto``.

        Whose country has no other number of the form keeps the real one. How many are new, but for what only a rule
        reads in their texts.
        """
        fresh = 0
        texts = set(told)
        read = {number for one in texts for _, number in one.others}
        for one in sorted(texts, key=lambda one: (one.number in read, one)):
            digests = {number: self._digests.digest(self.enterprise, number) for number in one.numbers}
            listed = {
                number: self._listed[digest][0]
                for number, digest in digests.items()
                if digest in self._listed
            }
            if all(number in listed or number in self._alone for number in digests):
                continue
            begun = monotonic()
            drawn = await new_pseudonyms(
                connection, self.enterprise, one, self.reading, self.directory, listed
            )
            for number, pseudonym in drawn.items():
                named = names_of(number, self._changes.get(number, ()))
                names = [self._digests.name(self.enterprise, name) for name in named]
                row = (self.enterprise, digests[number], pseudonym, self._digests.key_id, names, upto)
                await connection.execute(_ADD, *row)
                self._listed[digests[number]] = (pseudonym, names)
                self._pseudonyms.add(pseudonym)
            self._alone |= digests.keys() - drawn.keys() - listed.keys()
            fresh += one.number in drawn
            await rest(monotonic() - begun)
        return fresh

    def is_gone(self, key: str) -> bool:
        """True for a customer whom the directory has no more, and who is none of the enterprise."""
        return key not in self.directory.customers and self._is_stranger(key)

    def rewrite_entry(self, body: bytes, number: str) -> bytes:
        """A change of a customer's entry: the pseudonym alone stays."""
        change = msgspec.json.decode(body, type=dict[str, Any])
        named = self.pseudonym(number)
        value = None if change.get("value") is None else {"phone": named}
        return msgspec.json.encode({**change, "key": named, "value": value}) if named != number else body

    def rewrite(self, body: bytes, told: Iterable[Told]) -> bytes:
        """A body without these numbers, of whom ``learn`` was told."""
        numbers = dict.fromkeys(one.number for one in told if one.number not in self._alone)
        return rename(body, [self.renaming(number) for number in numbers])

    def rewrite_text(self, text: str, told: Iterable[Told]) -> str:
        """The same of a text that is no body."""
        return self.rewrite(text.encode("utf-8", "surrogatepass"), told).decode("utf-8", "surrogatepass")

    def _renaming(self, number: str) -> Renaming:
        pseudonym, names = self._listed[self._digests.digest(self.enterprise, number)]
        return Renaming(number, pseudonym, self.reading, self._digests.namer(self.enterprise, names))


def _own(changes: list[DirectoryChange], more: Iterable[str]) -> frozenset[str]:
    """Numbers of the enterprise itself: mobiles and lines that the directory has or ever had, and these."""
    reading = reading_of(changes)
    told = list(more)
    for change in changes:
        value = change.value or {}
        told += [str(value["mobile"])] if value.get("mobile") else []
        if change.section == "line":
            told.append(change.key)
    return frozenset(number for text in told if (number := reading.plain(text)))
