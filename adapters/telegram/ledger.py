"""What a later instance has to know of a chat beside its deliveries: what else it was asked, and pauses."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from actors.ports import LogError, StoreUnavailable
from adapters.telegram.courier import Log
from calls.chats import ChatAsked, ChatPaused, read_asked, write_asked, write_paused
from calls.facts import CHAT_ASKED, CHAT_PAUSED, NewFact, chat_stream

_logger: Final = logging.getLogger(__name__)

WITHIN: Final = 2.0
"""Seconds for a fact. Without it a request is made all the same: it is worth more than the count of it."""


class Ledger:
    """Writes the chat facts, and reads what was said to whom. Raises nothing for what the store says."""

    def __init__(self, log: Log, now: Callable[[], datetime]) -> None:
        self._log, self._now = log, now

    async def asked(self, enterprise: str, chat_id: int, line: str = "") -> None:
        """A request is about to be made, or was, that no delivery tells."""
        await self._append(enterprise, chat_id, CHAT_ASKED, write_asked(ChatAsked(chat_id, line)))

    async def paused(self, enterprise: str, chat_id: int, seconds: float) -> None:
        """Telegram wants nothing asked of the chat for so long."""
        await self._append(enterprise, chat_id, CHAT_PAUSED, write_paused(ChatPaused(chat_id, seconds)))

    async def said(self, enterprise: str, chat_id: int, line: str, within: timedelta) -> list[timedelta]:
        """How long ago each time was that this line was said to the chat within that time."""
        now = self._now()
        try:
            facts = await self._log.read_stream(enterprise, chat_stream(chat_id))
        except StoreUnavailable as error:
            _logger.warning("what chat %d was told is not known: %s", chat_id, error)
            return []
        return [
            now - fact.occurred_at
            for fact in facts
            if fact.kind == CHAT_ASKED
            and now - fact.occurred_at < within
            and read_asked(fact.body).line == line
        ]

    async def _append(self, enterprise: str, chat_id: int, kind: str, body: bytes) -> None:
        fact = NewFact(
            enterprise=enterprise,
            stream=chat_stream(chat_id),
            kind=kind,
            source="service",
            occurred_at=self._now(),
            body=body,
        )
        try:
            await self._log.append(fact, within=WITHIN)
        except LogError as error:
            _logger.warning("what chat %d was asked is not stored: %s", chat_id, error)
