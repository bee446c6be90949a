"""Hearing updates: one long poll a bot, or a webhook, while this instance leads.

Where updates are up to, Telegram keeps: a poll confirms what the one before it brought, and goes out when that was
handled, or after SETTLE seconds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec
import structlog

from adapters.bot.inbox import Heard, Inbox
from adapters.bot.texts import TEXTS
from adapters.secret import Secret
from adapters.telegram.api import POLL, BotApi, BotCommand
from adapters.telegram.errors import Conflict, TelegramError, TooManyRequests, Unauthorized
from adapters.telegram.limits import Backoff
from adapters.telegram.refusal import KNOCK, outlast
from adapters.telegram.updates import Update
from calls.entries import Language

log = structlog.get_logger(__name__)

State = Literal[
    "waiting",
    "listening",
    "webhook",
    "preview",
    "second poller",
    "webhook elsewhere",
    "unreachable",
    "refused",
]

SETTLE: Final = 5.0
"""Seconds for which the next poll waits for what the last one brought."""
AGAIN: Final = Backoff(first=1.0, most=60.0)
CALM: Final = 60.0
"""Seconds without a conflict after which nobody else is thought to ask."""
STOP_WITHIN: Final = 3.0
"""Seconds for what is being handled at a stop; Telegram tells again what was not."""
REMEMBERED: Final = 500
"""Updates of a bot by webhook whose numbers are remembered: Telegram tells again what was not answered in time."""
AT_LEAST: Final = 1.0
"""Seconds that a poll takes which brought nothing, whoever answers it."""
APART: Final = 0.05
"""Seconds between the beginnings of two bots: hundreds that ask all at once would hold up the cards."""
LISTED_APART: Final = 0.5
"""Seconds between two bots that tell Telegram their commands."""
_TROUBLE: Final[frozenset[State]] = frozenset(
    {"second poller", "webhook elsewhere", "unreachable", "refused"}
)


class Listener(msgspec.Struct, frozen=True):
    """A bot that hears, and the enterprises for which it speaks. ``polled``: or told by the preview."""

    bot: BotApi
    enterprises: tuple[str, ...]
    polled: bool = True


class NotListeningError(Exception):
    """This instance does not lead, or knows no such bot."""


class _Ear:
    """One bot's listening."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.state: State = "waiting" if listener.polled else "preview"
        self.task: asyncio.Task[None] | None = None
        self.listing: asyncio.Task[None] | None = None
        self.begun = False
        self.offset = 0
        self.failures = 0
        self.conflict_at: float | None = None
        self.taken: OrderedDict[int, asyncio.Future[None]] = OrderedDict()
        """By number, what came by webhook; done when it was handled."""

    def become(self, state: State, reason: str = "") -> None:
        """Say what is new."""
        if state == self.state:
            return
        told = {"enterprises": list(self.listener.enterprises)}
        if state in _TROUBLE:
            log.warning(f"a bot does not listen: {state}", reason=reason, **told)  # noqa: G004 - structlog
        elif self.state in _TROUBLE:
            log.info("a bot listens again", **told)
        self.state = state


class Listening:
    """All bots' listening. It begins paused: only the instance that leads may ``resume`` it.

    ``webhook``: base under which Telegram reaches us, "" for long polling; ``secret``: by a bot's key what its
    updates have to carry; ``language``: of an enterprise.
    """

    def __init__(
        self,
        handle: Callable[[Heard], Awaitable[None]],
        *,
        webhook: str,
        secret: Callable[[str], Secret],
        language: Callable[[str], Language],
        chance: Callable[[], float],
        monotonic: Callable[[], float],
        again: Backoff = AGAIN,
        knock: Backoff = KNOCK,
    ) -> None:
        self._inbox = Inbox(handle)
        self._webhook, self._secret, self._language = webhook, secret, language
        self._chance, self._monotonic, self._again, self._knock = chance, monotonic, again, knock
        self._ears: dict[str, _Ear] = {}
        self._active = False
        self._listing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Listen while this instance leads; until ``stop``."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._arrange()
            await self._stopping.wait()
            self._group = None
            self.pause()
            await self._inbox.close(STOP_WITHIN)

    def stop(self) -> None:
        """Hear nothing more, and end ``run``."""
        self._stopping.set()

    def resume(self) -> None:
        """Listen from now on."""
        self._active = True
        self._arrange()

    def pause(self) -> None:
        """Hear nothing, because another instance does."""
        self._active = False
        for ear in self._ears.values():
            self._deafen(ear)

    def replace(self, listeners: Mapping[str, Listener]) -> None:
        """From now on these bots listen, by their keys; one that is known goes on, one that is refused tries anew."""
        for key in self._ears.keys() - listeners.keys():
            self._deafen(self._ears.pop(key))
        for key, listener in listeners.items():
            known = self._ears.get(key)
            if known is None:
                self._ears[key] = _Ear(listener)
                continue
            if known.listener.enterprises != listener.enterprises:
                known.listener = listener
            if known.state == "refused":
                self._deafen(known)
        self._arrange()

    @property
    def states(self) -> dict[str, State]:
        """How each enterprise's bot listens."""
        return {number: ear.state for ear in self._ears.values() for number in ear.listener.enterprises}

    def secret(self, key: str) -> Secret | None:
        """What an update for this bot's webhook has to carry; None where no bot has one."""
        ear = self._ears.get(key)
        return self._secret(key) if self._webhook and ear is not None and ear.listener.polled else None

    async def take(self, key: str, update: Update) -> None:
        """Take an update that came by itself; returns when it was handled, after SETTLE seconds at the latest.

        One that a webhook tells again is not handled again. Raises NotListeningError.
        """
        ear = self._ears.get(key)
        if ear is None or not self._active or self._group is None:
            raise NotListeningError
        handled = ear.taken.get(update.update_id)
        if handled is None:
            handled = self._put(ear, update)
            if ear.listener.polled:  # those of the preview have no numbers of their own
                ear.taken[update.update_id] = handled
                if len(ear.taken) > REMEMBERED:
                    ear.taken.popitem(last=False)
        await asyncio.wait([handled], timeout=SETTLE)

    def _put(self, ear: _Ear, update: Update) -> "asyncio.Future[None]":
        return self._inbox.put(Heard(ear.listener.bot, ear.listener.enterprises, update))

    def _arrange(self) -> None:
        if not self._active or self._group is None:
            return
        deaf = {key: ear for key, ear in self._ears.items() if ear.task is None and ear.listener.polled}
        for place, (key, ear) in enumerate(deaf.items()):
            ear.task = self._group.create_task(self._listen(ear, place * APART), name=f"bot {key} listens")

    def _deafen(self, ear: _Ear) -> None:
        if ear.task is not None:
            ear.task.cancel()
            ear.task = None
        if ear.listing is not None:
            ear.listing.cancel()
            ear.listing = None
        if ear.listener.polled:
            ear.state, ear.begun = "waiting", False

    async def _listen(self, ear: _Ear, after: float) -> None:
        """For ever, ``after`` so many seconds; a bot with a webhook has nothing more to ask."""
        await asyncio.sleep(after)
        while True:
            try:
                if not ear.begun:
                    await self._begin(ear)
                if self._webhook:
                    ear.become("webhook")
                    return
                if ear.state == "waiting":
                    ear.become("listening")
                await self._poll(ear)
            except TelegramError as error:
                if isinstance(error, Unauthorized) and await self._outlast(ear):
                    continue
                self._failed(ear, error)
                least = error.retry_after if isinstance(error, TooManyRequests) else 0.0
                await asyncio.sleep(max(least, self._again.after(ear.failures, self._chance())))
            except Exception:
                # one bot's accident may silence neither it nor the others
                log.exception("an accident in listening", enterprises=list(ear.listener.enterprises))
                ear.failures += 1
                await asyncio.sleep(self._again.after(ear.failures, self._chance()))

    async def _outlast(self, ear: _Ear) -> bool:
        """Wait until the bot is taken again; False where it is not the bot that was refused."""

        def refused(description: str) -> None:
            ear.become("refused", description)

        if not await outlast(ear.listener.bot, refused, self._chance, self._knock):
            return False
        ear.become("waiting")
        return True

    async def _begin(self, ear: _Ear) -> None:
        bot = ear.listener.bot
        if self._webhook:
            await bot.set_webhook(f"{self._webhook}/telegram/{bot.key}", self._secret(bot.key))
        else:
            await bot.delete_webhook()
        ear.begun = True
        if self._group is not None:
            ear.listing = self._group.create_task(
                self._list_commands(ear), name=f"bot {bot.key} lists its commands"
            )

    async def _list_commands(self, ear: _Ear) -> None:
        """One bot after the other: nobody waits for it, and cards are made of the same time."""
        async with self._listing:
            try:
                own = self._language(ear.listener.enterprises[0])
                await ear.listener.bot.set_my_commands(commands(own))
                for language in TEXTS:
                    await ear.listener.bot.set_my_commands(commands(language), language)
            except TelegramError as error:
                # chats then do not list them; they are heard all the same
                log.warning("the commands of a bot are not listed", reason=str(error))
            except Exception:
                # as with listening: one bot's accident may silence no other
                log.exception("an accident in listing commands", enterprises=list(ear.listener.enterprises))
            await asyncio.sleep(LISTED_APART)

    async def _poll(self, ear: _Ear) -> None:
        begun = self._monotonic()
        updates = await ear.listener.bot.get_updates(ear.offset)
        now = self._monotonic()
        if ear.conflict_at is None or now - ear.conflict_at > CALM or now - begun > POLL / 2:
            ear.conflict_at, ear.failures = None, 0
            ear.become("listening")
        if updates:
            ear.offset = max(update.update_id for update in updates) + 1
            await asyncio.wait([self._put(ear, update) for update in updates], timeout=SETTLE)
        else:
            await asyncio.sleep(max(0.0, AT_LEAST - (now - begun)))

    def _failed(self, ear: _Ear, error: TelegramError) -> None:
        ear.failures += 1
        if not isinstance(error, Conflict):
            ear.become("unreachable", str(error))
            return
        ear.conflict_at = self._monotonic()
        elsewhere = "webhook" in error.description.lower()
        ear.become("webhook elsewhere" if elsewhere else "second poller", error.description)


def commands(language: Language) -> list[BotCommand]:
    """What chats list, for readers of a language."""
    return [BotCommand(name, does) for name, does in TEXTS[language].commands.items()]
