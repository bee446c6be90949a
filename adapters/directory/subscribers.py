"""What the outbox learns of chats becomes facts of the directory, as an apply would write them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from actors.ports import Appended, Clock, StoreUnavailable, VersionConflict
from adapters.directory.apply import directory_fact
from calls.directory import Directory
from calls.entries import DirectoryChange, Subscriber
from calls.exchange import read_change
from calls.facts import NEWEST, Fact, NewFact
from calls.shapes import SHAPES

log = structlog.get_logger(__name__)

TRIES: Final = 10
WITHIN: Final = 2.0
"""Seconds for one fact."""
PAUSE: Final = 1.0
"""Seconds between two tries of a store that is away."""

Known = Mapping[str, Subscriber]
"""Subscribers by key, chat_id as text."""


class DirectoryLog(Protocol):
    """The part of the event store that is needed here (adapters.store.log.EventStore)."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """As actors.ports.FactLog.append."""
        ...

    async def read_directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        """The directory facts of one enterprise up to a position; raises StoreUnavailable."""
        ...


class Subscribers:
    """Switches subscribers off, or moves them (adapters.telegram.recipients.Recipients).

    Each change is decided on the newest directory and stored on that version; what is so already is not
    written again. ``pause``: seconds between two tries of a store that is away.
    """

    def __init__(self, facts: DirectoryLog, clock: Clock, *, pause: float = PAUSE) -> None:
        self._facts, self._clock, self._pause = facts, clock, pause
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By enterprise: who changes it waits for the one before, rather than to decide anew when he was first."""

    async def gone(self, enterprise: str, chat_id: int, reason: str) -> None:
        """Switch a subscriber off; the chat is shown nothing until an apply of a file that lists it."""
        await self._bring(enterprise, lambda known: switched_off(known, chat_id, reason))

    async def moved(self, enterprise: str, old: int, new: int) -> None:
        """Let the chat with the new id take the old one's place and wishes."""
        await self._bring(enterprise, lambda known: moved(known, old, new))

    async def wish(
        self, enterprise: str, chat_id: int, decide: Callable[[Subscriber | None], Subscriber | None]
    ) -> Subscriber | None:
        """Let the entry of a chat be what ``decide`` makes of it; what it is then.

        ``decide`` may be asked several times: it says what shall be. None, or the same again: nothing is to be
        changed. None comes back where there is no entry, or where it could not be stored.
        """
        known = await self._bring(enterprise, lambda known: _decided(known, chat_id, decide), wish=True)
        return None if known is None else known.get(str(chat_id))

    async def _bring(
        self, enterprise: str, decide: Callable[[Known], DirectoryChange | None], *, wish: bool = False
    ) -> Known | None:
        """Append one change after another until none is left: what is known then.

        Gives up after TRIES, says so, and gives None. ``wish``: it is the subscriber's own, so no warning.
        """
        async with self._turns[enterprise]:
            return await self._bring_alone(enterprise, decide, wish=wish)

    async def _bring_alone(
        self, enterprise: str, decide: Callable[[Known], DirectoryChange | None], *, wish: bool
    ) -> Known | None:
        for _ in range(TRIES):
            try:
                told = await self._facts.read_directories(NEWEST, enterprise)
                known = _subscribers(enterprise, told)
                change = decide(known)
                if change is None:
                    return known
                version = told[-1].version
                fact = directory_fact(enterprise, change, self._clock, expected_version=version)
                await self._facts.append(fact, within=WITHIN)
            except VersionConflict:
                continue  # somebody else wrote: decided anew on what it is now
            except StoreUnavailable:
                await asyncio.sleep(self._pause)
            else:
                say = log.info if wish else log.warning
                say("a subscriber changed", enterprise=enterprise, chat=change.key, now=change.value)
        log.error("a change of a subscriber could not be stored", enterprise=enterprise)
        return None


def switched_off(known: Known, chat_id: int, reason: str) -> DirectoryChange | None:
    """What switches a subscriber off; None where there is none that is on."""
    entry = known.get(str(chat_id))
    if entry is None or entry.off:
        return None
    return _change(msgspec.structs.replace(entry, off=reason))


def moved(known: Known, old: int, new: int) -> DirectoryChange | None:
    """What moves a subscriber next: the new one comes, then the old one goes; None where that is done."""
    leaves, comes = known.get(str(old)), known.get(str(new))
    if leaves is None or old == new:
        return None
    if comes is None or comes.off:
        return _change(msgspec.structs.replace(comes or leaves, chat_id=new, off="", moved_from=old))
    return DirectoryChange("subscriber", str(old))


def _decided(
    known: Known, chat_id: int, decide: Callable[[Subscriber | None], Subscriber | None]
) -> DirectoryChange | None:
    entry = known.get(str(chat_id))
    wanted = decide(entry)
    return None if wanted is None or wanted == entry else _change(wanted)


def _change(entry: Subscriber) -> DirectoryChange:
    return DirectoryChange("subscriber", str(entry.chat_id), msgspec.to_builtins(entry))


def _subscribers(enterprise: str, told: list[Fact]) -> Known:
    changes = [read_change(fact) for fact in told if SHAPES.knows(fact.kind, fact.body)]
    subscribers = (change for change in changes if change.section == "subscriber")
    return Directory.empty(enterprise).fold(subscribers).subscribers
