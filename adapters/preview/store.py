"""The preview's messages: kept in PostgreSQL, so they outlive the service as they would in Telegram."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

KEPT: Final = 500  # messages of a chat
_STATES: Final = 20  # earlier texts of a message
_WITHIN: Final = 5.0

# ``earlier``, ``buttons``: the pool may or may not turn jsonb into objects, text stays text.
# One lock a chat: two sends at once must not find the same last id.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('preview_messages'), hashtext($1::bigint::text))"
_ADD: Final = """
INSERT INTO preview_messages (chat_id, message_id, enterprise, text, sent_at, markup, own)
SELECT $1::bigint, coalesce(max(message_id), 0) + 1, $2, $3, $4, $5::text::jsonb, $6
FROM preview_messages WHERE chat_id = $1::bigint
RETURNING *, history::text AS earlier, markup::text AS buttons"""
_PRUNE: Final = "DELETE FROM preview_messages WHERE chat_id = $1 AND message_id <= $2"
_GET: Final = """
SELECT *, history::text AS earlier, markup::text AS buttons FROM preview_messages
WHERE chat_id = $1 AND message_id = $2 AND enterprise = $3 AND NOT deleted"""
_EDIT: Final = """
UPDATE preview_messages
SET text = $4, edited_at = $5, edits = edits + 1, history = $6::text::jsonb, markup = $7::text::jsonb
WHERE chat_id = $1 AND message_id = $2 AND enterprise = $3 AND NOT deleted
RETURNING *, history::text AS earlier, markup::text AS buttons"""
_DELETE: Final = """
UPDATE preview_messages SET deleted = true
WHERE chat_id = $1 AND message_id = $2 AND enterprise = $3 AND NOT deleted
RETURNING *, history::text AS earlier, markup::text AS buttons"""
_MESSAGES: Final = """
SELECT *, history::text AS earlier, markup::text AS buttons FROM preview_messages
WHERE chat_id = $1 AND NOT deleted ORDER BY message_id DESC LIMIT $2"""
_CHATS: Final = """
SELECT chat_id, array_agg(DISTINCT enterprise) AS enterprises, max(message_id) AS last_id
FROM preview_messages WHERE NOT deleted GROUP BY chat_id ORDER BY max(sent_at) DESC LIMIT 200"""


class Earlier(msgspec.Struct, frozen=True):
    """A text that the message showed before; ``at``: since when."""

    text: str
    at: datetime


Rows = tuple[tuple[dict[str, str], ...], ...]
"""Buttons as the Bot API has them: ``text``, and ``url`` or ``callback_data``."""


class PreviewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a chat. ``text`` is HTML that is safe in a page; ``history``: its texts before.

    ``own``: a reader wrote it.
    """

    chat_id: int
    message_id: int
    enterprise: str
    text: str
    sent_at: datetime
    edited_at: datetime | None = None
    edits: int = 0
    deleted: bool = False
    history: tuple[Earlier, ...] = ()
    markup: Rows = ()
    own: bool = False


class PreviewChat(msgspec.Struct, frozen=True):
    """A chat that has messages."""

    chat_id: int
    enterprises: tuple[str, ...]
    last_id: int


_history = msgspec.json.Decoder(tuple[Earlier, ...])
_markup = msgspec.json.Decoder(Rows)


class Watch:
    """Changed messages as they come. Bounded: who does not keep up loses the oldest (``missed``)."""

    def __init__(self, size: int = 200) -> None:
        self._queue: asyncio.Queue[PreviewMessage] = asyncio.Queue(size)
        self.missed = False
        self.over = False

    def put(self, message: PreviewMessage) -> None:
        """Hand over a change."""
        if self._queue.full():
            self._queue.get_nowait()
            self.missed = True
        self._queue.put_nowait(message)

    async def next(self, within: float) -> PreviewMessage | None:
        """The next change; None when none came within so many seconds."""
        try:
            async with asyncio.timeout(within):
                return await self._queue.get()
        except TimeoutError:
            return None


class PreviewStore:
    """Messages by chat. Raises what asyncpg raises, and TimeoutError after 5 s."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime], *, kept: int = KEPT) -> None:
        self._pool = pool
        self._now = now
        self._kept = kept
        self._watches: set[Watch] = set()

    async def add(
        self, enterprise: str, chat_id: int, text: str, markup: Rows = (), *, own: bool = False
    ) -> PreviewMessage:
        """A new message at the chat's end; the oldest beyond what is kept goes."""
        async with asyncio.timeout(_WITHIN), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK, chat_id)
            buttons = msgspec.json.encode(markup).decode()
            row = await connection.fetchrow(_ADD, chat_id, enterprise, text, self._now(), buttons, own)
            message = _message(row)
            await connection.execute(_PRUNE, chat_id, message.message_id - self._kept)
        return self._tell(message)

    async def get(self, enterprise: str, chat_id: int, message_id: int) -> PreviewMessage | None:
        """A message that stands, of this enterprise's bot."""
        async with asyncio.timeout(_WITHIN):
            row = await self._pool.fetchrow(_GET, chat_id, message_id, enterprise)
        return None if row is None else _message(row)

    async def edit(self, message: PreviewMessage, text: str, markup: Rows = ()) -> PreviewMessage | None:
        """Let it show another text and these buttons; None where it is gone."""
        shown_since = message.edited_at or message.sent_at
        history = (*message.history, Earlier(message.text, shown_since))[-_STATES:]
        async with asyncio.timeout(_WITHIN):
            row = await self._pool.fetchrow(
                _EDIT,
                message.chat_id,
                message.message_id,
                message.enterprise,
                text,
                self._now(),
                msgspec.json.encode(history).decode(),
                msgspec.json.encode(markup).decode(),
            )
        return None if row is None else self._tell(_message(row))

    async def delete(self, enterprise: str, chat_id: int, message_id: int) -> bool:
        """Take it away; False where there is none."""
        async with asyncio.timeout(_WITHIN):
            row = await self._pool.fetchrow(_DELETE, chat_id, message_id, enterprise)
        if row is None:
            return False
        self._tell(_message(row))
        return True

    async def messages(self, chat_id: int, limit: int = 100) -> list[PreviewMessage]:
        """The newest messages that stand, oldest first."""
        async with asyncio.timeout(_WITHIN):
            rows = await self._pool.fetch(_MESSAGES, chat_id, limit)
        return [_message(row) for row in reversed(rows)]

    async def chats(self) -> list[PreviewChat]:
        """Chats with messages, the one that got the last first."""
        async with asyncio.timeout(_WITHIN):
            rows = await self._pool.fetch(_CHATS)
        return [PreviewChat(row["chat_id"], tuple(row["enterprises"]), row["last_id"]) for row in rows]

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Changes made through this store from now on."""
        watch = Watch()
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def end_watches(self) -> None:
        """Let everybody who watches go home (the service stops): each gets to know within a second."""
        for watch in self._watches:
            watch.over = True

    def _tell(self, message: PreviewMessage) -> PreviewMessage:
        for watch in self._watches:
            watch.put(message)
        return message


def _message(row: Any) -> PreviewMessage:
    values = dict(row)
    values["history"] = _history.decode(values.pop("earlier"))
    values["markup"] = _markup.decode(values.pop("buttons"))
    return PreviewMessage(**values)
