"""Invitations: keys that let a chat subscribe, once (table ``invitations``; only digests of keys are kept)."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import msgspec
import structlog

from adapters.telegram.api import BotApi
from adapters.telegram.errors import TelegramError

log = structlog.get_logger(__name__)

KEPT: Final = timedelta(days=30)
"""How long one stays in the table after it has expired."""
LONGEST_HOURS: Final = 24 * 30
_KEY_BYTES: Final = 16

_FORGET: Final = "DELETE FROM invitations WHERE expires_at < $1"
_MAKE: Final = "INSERT INTO invitations (digest, enterprise, expires_at) VALUES ($1, $2, $3)"
# One statement: of two chats at the same moment, the second finds it reserved.
_RESERVE: Final = """
UPDATE invitations SET chat_id = $2
WHERE digest = $1 AND enterprise = ANY($3::text[]) AND expires_at > $4 AND used_at IS NULL
  AND (chat_id IS NULL OR chat_id = $2)
RETURNING enterprise
"""
_GOOD: Final = """
SELECT enterprise FROM invitations
WHERE digest = $1 AND enterprise = ANY($2::text[]) AND expires_at > $3 AND used_at IS NULL AND chat_id IS NULL
"""
_USED: Final = "UPDATE invitations SET used_at = $2 WHERE digest = $1 AND used_at IS NULL"


class Invitation(msgspec.Struct, frozen=True):
    """``key``: what ``/start`` is to be given; whoever has it can subscribe one chat."""

    enterprise: str
    key: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Invitation({self.enterprise!r}, '***', {self.expires_at!r})"


class Invitations:
    """Makes and redeems them. Raises what asyncpg raises."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def make(self, enterprise: str, hours: float, now: datetime) -> Invitation:
        """A new one, good for so many hours; those that expired long ago are forgotten."""
        invitation = Invitation(enterprise, secrets.token_urlsafe(_KEY_BYTES), now + timedelta(hours=hours))
        await self._pool.execute(_FORGET, now - KEPT)
        await self._pool.execute(_MAKE, _digest(invitation.key), enterprise, invitation.expires_at)
        return invitation

    async def reserve(self, key: str, chat_id: int, enterprises: Sequence[str], now: datetime) -> str | None:
        """The enterprise that invited, of these; from now on the key is this chat's. None for a key that is not good.

        Until it is ``used``, the same chat may come again: nobody loses an invitation to a crash.
        """
        found: str | None = await self._pool.fetchval(_RESERVE, _digest(key), chat_id, list(enterprises), now)
        return found

    async def good(self, key: str, enterprises: Sequence[str], now: datetime) -> str | None:
        """The enterprise, of these, that a key which is nobody's yet would let a chat in to; it stays nobody's."""
        found: str | None = await self._pool.fetchval(_GOOD, _digest(key), list(enterprises), now)
        return found

    async def used(self, key: str, now: datetime) -> None:
        """The chat has subscribed: the key is good for nothing any more."""
        await self._pool.execute(_USED, _digest(key), now)


class Invited(msgspec.Struct, frozen=True):
    """An invitation as ``callfold invite`` tells it. ``link`` is "" where the bot could not be asked for its name."""

    enterprise: str
    key: str
    link: str
    preview: bool
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Invited({self.enterprise!r}, '***', {self.expires_at!r})"


async def invite(
    invitations: Invitations,
    enterprise: str,
    hours: float,
    now: datetime,
    bot: BotApi | None,
    *,
    preview: bool,
) -> Invited:
    """Make one and say how it is used: ``bot`` is asked for the name that its link needs."""
    made = await invitations.make(enterprise, hours, now)
    name = ""
    if bot is not None:
        try:
            name = (await bot.get_me()).username
        except TelegramError as error:
            log.warning("a bot does not know its name", enterprise=enterprise, reason=str(error))
    link = f"https://t.me/{name}?start={made.key}" if name else ""
    return Invited(enterprise, made.key, link, preview, made.expires_at)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
