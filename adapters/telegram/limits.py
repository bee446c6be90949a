"""How fast Telegram may be asked: per bot, per group and per chat (Bot API FAQ, "My bot is hitting limits").

AsyncLimiter is a leaky bucket: within any window of W seconds it lets through its size plus what drains in W.
So size and drain together, not each, are kept within the limit. A request takes from all its buckets at one moment,
however long it waited for one of them. Between that and its leaving its intent is stored and a connection made, for
many at once: they would leave together, so the requests of a bot are counted again as they do.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from aiolimiter import AsyncLimiter


class Rate(msgspec.Struct, frozen=True):
    """At most ``burst`` at once, then ``per_second``: burst + W x per_second within any W seconds."""

    burst: float
    per_second: float

    def limiter(self) -> AsyncLimiter:
        """A bucket of this size and drain."""
        return AsyncLimiter(self.burst, self.burst / self.per_second)


# 30 arrive within any second though the way of some takes 0.3 s longer, so 24 leave; 20 within any 60 seconds; 1 a
# second after three at once (begun, ringing, talking of a call picked up at once), which Telegram tolerates.
BOT: Final = Rate(4, 20.0)
GROUP: Final = Rate(4, 16 / 60)
CHAT: Final = Rate(3, 1.0)
LONGEST_WINDOW: Final = 60.0
"""Seconds after which a request counts for no limit any more."""


class Rates(msgspec.Struct, frozen=True):
    """The limits of one bot, of each of its groups (negative chat ids; beside the chat's), of each chat."""

    bot: Rate = BOT
    group: Rate = GROUP
    chat: Rate = CHAT


class Backoff(msgspec.Struct, frozen=True):
    """Seconds before another try: ``first``, then doubled up to ``most``, with jitter."""

    first: float = 0.5
    most: float = 30.0

    def after(self, failures: int, chance: float) -> float:
        """Pause after the nth failure in a row; ``chance`` from [0, 1) spreads it over half to whole."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 16)) * (0.5 + chance / 2)


# Chats that are told to wait within so many seconds of each other are told so because of their bot.
TOGETHER: Final = 5.0


MOST_CHATS: Final = 4_096
"""Chats of a bot that are remembered before those are forgotten of which nothing counts any more."""


class _Bucket:
    """A bucket of one chat, which one request at a time asks for."""

    __slots__ = ("_limiter", "_spacing", "_taken_at")

    def __init__(self, rate: Rate) -> None:
        self._limiter = rate.limiter()
        self._spacing = 1 / rate.per_second
        self._taken_at = 0.0

    async def room(self) -> None:
        """Wait until one more fits, without taking it: one spacing after the last one it does."""
        while not self._limiter.has_capacity():
            loop = asyncio.get_running_loop()
            # the smallest step keeps rounding from turning this into a busy loop
            await asyncio.sleep(max(self._taken_at + self._spacing - loop.time(), 0.001))

    def counts(self) -> bool:
        """True where what was asked lately still leaves less room than there is at first."""
        drained = self._limiter.max_rate * self._spacing
        return asyncio.get_running_loop().time() - self._taken_at < drained

    async def take(self) -> None:
        """Take one where ``room`` has just been found: does not wait."""
        self._taken_at = asyncio.get_running_loop().time()
        await self._limiter.acquire()

    async def spent(self, ages: Sequence[float]) -> None:
        """Be as full as these requests, so many seconds ago, have left it; for one that nothing was taken of yet."""
        level, before = 0.0, max(ages)
        for age in sorted(ages, reverse=True):
            level = max(0.0, level - (before - age) / self._spacing) + 1
            before = age
        level = min(max(0.0, level - before / self._spacing), self._limiter.max_rate)
        self._taken_at = asyncio.get_running_loop().time()
        await self._limiter.acquire(level)


class _ChatBudget:
    __slots__ = ("asked", "buckets", "free_at", "limited_at", "turn")

    def __init__(self, rates: Rates, chat_id: int) -> None:
        of_group = (rates.group,) if chat_id < 0 else ()
        self.buckets = tuple(_Bucket(rate) for rate in (rates.chat, *of_group))
        self.asked = False
        self.free_at = 0.0
        self.limited_at: float | None = None
        self.turn = asyncio.Lock()


class Budget:
    """The requests one bot may make. Sends, edits and deletions share it.

    Chats wait for each other only where the bot's own limit is reached, and then in the order they came.
    """

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates = rates or Rates()
        self._bot = self._rates.bot.limiter()
        self._leaving = self._rates.bot.limiter()
        self._chats: dict[int, _ChatBudget] = {}
        self._most = MOST_CHATS
        self._free_at = 0.0
        self._taken_over_at: float | None = None

    async def turn(self, chat_id: int) -> None:
        """Wait until a request to this chat may go out; it counts from now on."""
        chat = self._chat(chat_id)
        async with chat.turn:
            if not chat.asked:
                await self._spent(chat, ())
            while True:
                await self._room(chat)
                await self._bot.acquire()
                if not self._paused(chat):
                    break
            for bucket in chat.buckets:
                await bucket.take()

    async def go(self) -> None:
        """Wait until a request that had its turn may leave; asked when nothing else is in its way."""
        await self._leaving.acquire()

    async def taken_over(self, requests: Mapping[int, Sequence[float]], ago: float) -> None:
        """Go on where somebody else has ended at most so many seconds ago; before anything was asked.

        ``requests``: by chat how many seconds ago each was made that is known. Nothing tells of those that were under
        way: of each chat there may have been one, whether others are known or not, and of the bot as many as it may.
        """
        self._taken_over_at = asyncio.get_running_loop().time() - ago
        drained = ago * self._rates.bot.per_second
        for limiter in (self._bot, self._leaving):
            await limiter.acquire(max(0.0, limiter.max_rate - drained))
        for chat_id, ages in requests.items():
            await self._spent(self._chat(chat_id), ages)

    def pauses(self) -> tuple[float, dict[int, float]]:
        """Until when nothing may be asked, of the loop's time: of the bot, and by chat."""
        return self._free_at, {number: chat.free_at for number, chat in self._chats.items() if chat.free_at}

    def heed(self, pauses: tuple[float, Mapping[int, float]]) -> None:
        """Keep to the pauses that another budget of the bot was told of."""
        self._free_at, of_chats = pauses
        for chat_id, free_at in of_chats.items():
            self._chat(chat_id).free_at = free_at

    async def _spent(self, chat: _ChatBudget, ages: Sequence[float]) -> None:
        chat.asked = True
        if self._taken_over_at is not None:
            under_way = asyncio.get_running_loop().time() - self._taken_over_at
            for bucket in chat.buckets:
                await bucket.spent((*ages, under_way))

    async def room(self, chat_id: int) -> None:
        """Wait until this chat's own limits and pauses allow a request, without taking a turn."""
        await self._room(self._chat(chat_id))

    def hold(self, chat_id: int, seconds: float) -> None:
        """Nothing to this chat for so long (a pause between tries); others go on."""
        chat = self._chat(chat_id)
        chat.free_at = max(chat.free_at, asyncio.get_running_loop().time() + seconds)

    def limited(self, chat_id: int, seconds: float, ago: float = 0.0) -> None:
        """Telegram allows this chat nothing for so long (``retry_after``), which it said so many seconds ago.

        Where it tells other chats the same within TOGETHER seconds, the bot is meant, which then waits until the
        first of them may be asked again.
        """
        self.hold(chat_id, seconds)
        at = asyncio.get_running_loop().time() - ago
        self._chat(chat_id).limited_at = at
        told = [
            chat
            for chat in self._chats.values()
            if chat.limited_at is not None and abs(at - chat.limited_at) < TOGETHER
        ]
        if len(told) > 1:
            self._free_at = max(self._free_at, min(chat.free_at for chat in told))

    def _chat(self, chat_id: int) -> _ChatBudget:
        chat = self._chats.get(chat_id)
        if chat is None:
            if len(self._chats) >= self._most:
                self._forget()
            chat = self._chats[chat_id] = _ChatBudget(self._rates, chat_id)
        return chat

    def _forget(self) -> None:
        """Forget chats of which nothing counts any more: strangers come without end."""
        self._chats = {number: chat for number, chat in self._chats.items() if self._counts(chat)}
        self._most = max(MOST_CHATS, 2 * len(self._chats))

    def _counts(self, chat: _ChatBudget) -> bool:
        return (
            chat.turn.locked() or bool(self._paused(chat)) or any(bucket.counts() for bucket in chat.buckets)
        )

    def _paused(self, chat: _ChatBudget) -> float:
        return max(0.0, max(chat.free_at, self._free_at) - asyncio.get_running_loop().time())

    async def _room(self, chat: _ChatBudget) -> None:
        # the loop is for a pause that grows while it is waited for
        while wait := self._paused(chat):  # noqa: ASYNC110
            await asyncio.sleep(wait)
        for bucket in chat.buckets:
            await bucket.room()
