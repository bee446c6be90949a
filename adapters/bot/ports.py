"""What the bot needs of the rest of the house."""

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import structlog

from actors.ports import Appended
from adapters.telegram.api import BotApi
from adapters.telegram.errors import TelegramError
from calls.callbacks import CallbackRequested
from calls.directory import Directory
from calls.entries import Subscriber
from calls.facts import Fact, NewFact

log = structlog.get_logger(__name__)

Decide = Callable[[Subscriber | None], Subscriber | None]
"""What a subscriber's entry should be; None or the same: nothing is to be changed."""


class CallBack(Protocol):
    """Whoever calls customers back. The request is a fact before it is told here."""

    async def request(self, enterprise: str, requested: CallbackRequested) -> None:
        """See that the customer is called back; must not raise for what cannot be done."""
        ...


class NobodyDials:
    """The port while no click-to-call is connected: the fact stands, and the log says so."""

    async def request(self, enterprise: str, requested: CallbackRequested) -> None:
        """Note it."""
        log.info(
            "a call back was asked for", enterprise=enterprise, call=requested.call_id, chat=requested.chat_id
        )


class Turns(Protocol):
    """The budget that answers share with the cards (adapters.telegram.outbox.Outbox)."""

    async def turn(self, enterprise: str, chat_id: int, line: str = "") -> BotApi | None:
        """Wait for a turn; the bot, None where nobody may speak now. ``line``: one that is said so often an hour."""
        ...

    async def said(self, enterprise: str, chat_id: int, line: str, within: timedelta) -> list[timedelta]:
        """How long ago each time was that this ``line`` was said to the chat within that time."""
        ...

    def told(self, enterprise: str, chat_id: int, error: TelegramError | None) -> None:
        """What became of the request, None for well: the cards heed what Telegram said of it."""
        ...


class Facts(Protocol):
    """The part of the event store that buttons need."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """As actors.ports.FactLog.append."""
        ...

    async def read_stream(self, enterprise: str, stream: str) -> list[Fact]:
        """All facts of one stream, by version."""
        ...


class Wishes(Protocol):
    """Who may change subscribers (adapters.directory.subscribers.Subscribers)."""

    async def gone(self, enterprise: str, chat_id: int, reason: str) -> None:
        """As adapters.telegram.recipients.Recipients.gone."""
        ...

    async def moved(self, enterprise: str, old: int, new: int) -> None:
        """As adapters.telegram.recipients.Recipients.moved."""
        ...

    async def wish(self, enterprise: str, chat_id: int, decide: Decide) -> Subscriber | None:
        """Let the entry of a chat be what ``decide`` makes of it; what it is then.

        None where there is none, or where it could not be stored.
        """
        ...


Directories = Callable[[str], Directory]
"""The directory of an enterprise as it is now."""
