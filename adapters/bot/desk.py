"""The desk: who asks, what they may, and what they are answered.

Only subscribers of an enterprise whose bot was asked are answered; strangers get a polite line an hour.
"""

import asyncio
import html
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal

import asyncpg
import msgspec
import structlog

from adapters.bot import wishes
from adapters.bot.buttons import CALL_BACK
from adapters.bot.callbacks import CallBacks, Outcome
from adapters.bot.inbox import Heard
from adapters.bot.invitations import Invitations
from adapters.bot.lists import Lists, Which
from adapters.bot.ports import Decide, Directories, Turns, Wishes
from adapters.bot.texts import TEXTS, Texts
from adapters.bot.wishes import Menu, Press
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.telegram.api import BotApi
from adapters.telegram.errors import (
    Blocked,
    ChatMigrated,
    Kicked,
    NotModified,
    RecipientGone,
    ServerError,
    TelegramError,
    TooManyRequests,
    Unreachable,
)
from adapters.telegram.html_cut import cut
from adapters.telegram.updates import CallbackQuery, ChatMemberUpdated, Message
from calls.directory import Directory, shorten
from calls.entries import Subscriber

log = structlog.get_logger(__name__)

POLITE_EVERY: Final = 3600.0
"""Seconds in which a chat that may not ask is told a line once, and TRIES times that an invitation is not good."""
TRIES: Final = 5
STRANGERS: Final = 10_000
"""Lines to such chats that are remembered."""
AGAIN: Final = 1.0
"""Seconds before an answer is sent once more that did not reach Telegram."""
LONGEST_WAIT: Final = 10.0
"""Seconds that an answer waits where Telegram says so; who asked may ask again."""
_COMMAND: Final = re.compile(
    r"/(?P<name>[a-z]{1,32})(?:@(?P<bot>\w{1,64}))?(?:\s+(?P<rest>.*))?", re.DOTALL | re.IGNORECASE
)
_KEY: Final = re.compile(r"[0-9A-Za-z_-]{16,64}")
_TROUBLE: Final = (*SERVER_TROUBLE, asyncpg.PostgresError)


class Command(msgspec.Struct, frozen=True):
    """``/name@bot rest``; without a name it is a text that is none."""

    name: str = ""
    bot: str = ""
    rest: str = ""


class Pressed(msgspec.Struct, frozen=True):
    """What a press is told, "" for nothing, and what its message is to show by the bot of ``enterprise``."""

    said: str = ""
    enterprise: str = ""
    shown: Menu | None = None


class Entry(msgspec.Struct, frozen=True):
    """A chat's subscription to one enterprise, and that one's directory."""

    directory: Directory
    subscriber: Subscriber

    @property
    def number(self) -> str:
        """Of the enterprise."""
        return self.directory.profile.number

    @property
    def texts(self) -> Texts:
        """In the enterprise's language."""
        return TEXTS[self.directory.profile.language]

    @property
    def name(self) -> str:
        """Of the enterprise, as HTML."""
        return html.escape(shorten(self.directory.profile.name), quote=False)


Line = Literal["stranger", "asleep", "void"]
"""What a chat is told that may not ask, by its name in the texts."""
Answer = Callable[[Entry, str], Awaitable[str | Menu]]


class Desk:
    """Answers updates, one at a time a chat. Raises nothing for what Telegram or the store say."""

    def __init__(
        self,
        *,
        directory: Directories,
        turns: Turns,
        subscribers: Wishes,
        invitations: Invitations,
        lists: Lists,
        call_backs: CallBacks,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._directory, self._turns, self._subscribers = directory, turns, subscribers
        self._invitations, self._lists, self._call_backs = invitations, lists, call_backs
        self._now, self._monotonic = now, monotonic
        self._told: OrderedDict[tuple[str, int, str], tuple[float, ...]] = OrderedDict()
        """By bot, chat and line: when it was said lately."""
        self._names: dict[str, str] = {}
        self._answers: dict[str, Answer] = {
            "start": self._known,
            "help": self._help,
            **{name: partial(self._list, which=name) for name in ("calls", "missed", "open")},
            "customer": self._customer,
            "settings": self._settings,
            "mute": self._mute,
            "clear": self._clear,
            "stop": self._stop,
        }

    async def handle(self, heard: Heard) -> None:
        """Do what an update asks for."""
        update = heard.update
        if update.message is not None:
            await self._message(heard, update.message)
        elif update.callback_query is not None:
            await self._pressed(heard, update.callback_query)
        elif update.my_chat_member is not None:
            await self._member(heard, update.my_chat_member)

    # messages

    async def _message(self, heard: Heard, message: Message) -> None:
        chat_id = message.chat.id
        if message.migrate_to_chat_id is not None:
            for entry in self._entries(heard.enterprises, chat_id):
                await self._subscribers.moved(entry.number, chat_id, message.migrate_to_chat_id)
            return
        asked = read_command(message.text)
        if (message.sender is not None and message.sender.is_bot) or not message.text:
            return
        if asked is None and chat_id < 0:
            return
        if asked is not None and asked.bot and not await self._is_called(heard.bot, asked.bot):
            return
        if asked is not None and chat_id < 0 and not asked.bot and asked.name not in self._answers:
            return  # in a group, that is another bot's
        try:
            await self._answer(heard, chat_id, asked or Command())
        except _TROUBLE as error:
            log.warning(
                "a question was not answered", chat=chat_id, reason=f"{type(error).__name__}: {error}"
            )
            for entry in self._readers(heard.enterprises, chat_id)[:1]:
                await self._say(entry.number, chat_id, entry.texts.later)

    async def _answer(self, heard: Heard, chat_id: int, asked: Command) -> None:
        if asked.name == "start" and asked.rest:
            await self._invited(heard, chat_id, asked.rest)
            return
        readers = self._readers(heard.enterprises, chat_id)
        if readers:
            await self._serve(readers, chat_id, asked)
            return
        known = self._entries(heard.enterprises, chat_id)
        asleep = [one for one in known if wishes.returned(one.subscriber) is not None]
        if asleep and asked.name == "start":
            for entry in asleep:
                text = entry.texts.back.format(entry.name)
                await self._say(entry.number, chat_id, await self._wish(entry, wishes.returned, text))
            return
        await self._polite(heard, chat_id, "asleep" if asleep else "stranger")

    async def _serve(self, readers: Sequence[Entry], chat_id: int, asked: Command) -> None:
        answer = self._answers.get(asked.name)
        if answer is None:
            await self._say(readers[0].number, chat_id, readers[0].texts.unknown)
            return
        for entry in readers[:1] if asked.name == "help" else readers:
            said = await answer(entry, asked.rest)
            shown = said if isinstance(said, Menu) else Menu(said, ())
            if len(readers) > 1 and asked.name != "help":
                shown = msgspec.structs.replace(shown, text=_headed(entry, shown.text))
            await self._say(entry.number, chat_id, shown)

    async def _invited(self, heard: Heard, chat_id: int, key: str) -> None:
        """Let a chat in that has a good key; who has none is told so a few times an hour.

        Who is in already leaves the key to others.
        """
        now = self._now()
        readers = {entry.number: entry for entry in self._readers(heard.enterprises, chat_id)}
        number = None
        if _KEY.fullmatch(key):
            if inside := readers.get(await self._invitations.good(key, tuple(readers), now) or ""):
                await self._say(inside.number, chat_id, await self._known(inside, ""))
                return
            others = [other for other in heard.enterprises if other not in readers]
            number = await self._invitations.reserve(key, chat_id, others, now)
        if number is None:
            if entry := next(iter(readers.values()), None):
                await self._say(entry.number, chat_id, entry.texts.void)
            else:
                await self._polite(heard, chat_id, "void", TRIES)
            return
        entry = Entry(self._directory(number), Subscriber(chat_id=chat_id))
        text = entry.texts.welcome.format(entry.name)
        said = await self._wish(entry, wishes.joined(chat_id), text)
        if said is text:
            await self._invitations.used(key, now)
        await self._say(number, chat_id, said)

    # commands of subscribers

    async def _known(self, entry: Entry, _: str) -> str:
        return entry.texts.known.format(entry.name)

    async def _help(self, entry: Entry, _: str) -> str:
        listed = "\n".join(f"/{name} — {does}" for name, does in entry.texts.commands.items())
        return entry.texts.help.format(entry.name, listed)

    async def _list(self, entry: Entry, _: str, *, which: Which) -> str:
        return await self._lists.answer(which, entry.subscriber, entry.directory)

    async def _customer(self, entry: Entry, typed: str) -> str:
        return await self._lists.customer(typed, entry.subscriber, entry.directory)

    async def _settings(self, entry: Entry, _: str) -> Menu:
        return wishes.menu(entry.subscriber, entry.directory, self._now())

    async def _mute(self, entry: Entry, text: str) -> str:
        understood, until = wishes.read_mute(text, self._now())
        if not understood:
            return entry.texts.mute_usage
        decide = wishes.muted(until)
        now = decide(entry.subscriber)
        silent = now is not None and until is not None
        said = wishes.until(now, entry.directory) if now and silent else entry.texts.sounding
        return await self._wish(entry, decide, said)

    async def _clear(self, entry: Entry, _: str) -> str:
        return await self._wish(entry, wishes.cleared, entry.texts.cleared)

    async def _stop(self, entry: Entry, _: str) -> str:
        return await self._wish(entry, wishes.stopped, entry.texts.stopped)

    async def _wish(self, entry: Entry, decide: Decide, said: str) -> str:
        """Store a wish; ``said`` where it is stored, else that it is not."""
        stored = await self._subscribers.wish(entry.number, entry.subscriber.chat_id, decide)
        return entry.texts.later if stored is None else said

    # buttons

    async def _pressed(self, heard: Heard, query: CallbackQuery) -> None:
        pressed = Pressed()
        try:
            if query.message is not None:
                readers = self._readers(heard.enterprises, query.message.chat.id)
                if readers:
                    pressed = await self._press(readers, query.message, query)
                elif self._is_due(heard, query.message.chat.id, "pressed"):
                    pressed = Pressed(self._texts(heard).said_stranger)
        except _TROUBLE as error:
            log.warning("a press was not answered", reason=f"{type(error).__name__}: {error}")
            pressed = Pressed(self._texts(heard).said_later)
        try:
            # before the edit, which may have to wait for its turn while the button turns its wheel
            await heard.bot.answer_callback_query(query.id, pressed.said)
        except TelegramError as error:
            log.info("a press waits in vain", reason=str(error))
        if query.message is not None and pressed.shown is not None:
            await self._edit(pressed.enterprise, query.message, pressed.shown)

    async def _press(self, readers: Sequence[Entry], message: Message, query: CallbackQuery) -> Pressed:
        if query.data.startswith(CALL_BACK):
            numbers = [entry.number for entry in readers]
            outcome = await self._call_backs.press(numbers, message.chat.id, query.sender.id, query.data)
            return Pressed(_told(outcome, readers[0].texts))
        press = wishes.read_press(query.data)
        entry = next((one for one in readers if press and one.number == press.enterprise), None)
        if press is None or entry is None:
            return Pressed(readers[0].texts.said_over)
        subscriber: Subscriber | None = entry.subscriber
        if press.field:
            if wishes.wished(entry.subscriber, press, entry.directory) is None:
                return Pressed(entry.texts.said_over)
            subscriber = await self._subscribers.wish(
                entry.number, message.chat.id, _still(press, entry.directory)
            )
        if subscriber is None:
            return Pressed(entry.texts.said_later)
        shown = wishes.menu(subscriber, entry.directory, self._now(), press.view, press.page)
        if len(readers) > 1:
            shown = msgspec.structs.replace(shown, text=_headed(entry, shown.text))
        return Pressed("", entry.number, shown)

    # chats that come and go

    async def _member(self, heard: Heard, told: ChatMemberUpdated) -> None:
        chat_id = told.chat.id
        if told.new_chat_member.status in {"left", "kicked"}:
            reason = Blocked.reason if chat_id > 0 else Kicked.reason
            for entry in self._readers(heard.enterprises, chat_id):
                await self._subscribers.gone(entry.number, chat_id, reason)
        elif chat_id > 0:
            # Telegram's own "Start" sends /start too: that is answered
            for entry in self._entries(heard.enterprises, chat_id):
                await self._subscribers.wish(entry.number, chat_id, wishes.unblocked)
        elif chat_id < 0 and not self._readers(heard.enterprises, chat_id):
            await self._polite(heard, chat_id, "stranger")

    # what is known of a chat

    def _entries(self, enterprises: Iterable[str], chat_id: int) -> list[Entry]:
        directories = map(self._directory, enterprises)
        found = ((directory, directory.subscribers.get(str(chat_id))) for directory in directories)
        return [Entry(directory, subscriber) for directory, subscriber in found if subscriber is not None]

    def _readers(self, enterprises: Iterable[str], chat_id: int) -> list[Entry]:
        return [entry for entry in self._entries(enterprises, chat_id) if not entry.subscriber.off]

    def _texts(self, heard: Heard) -> Texts:
        return TEXTS[self._directory(heard.enterprises[0]).profile.language]

    async def _is_called(self, bot: BotApi, name: str) -> bool:
        """Whether this bot is meant: in groups a command may name one."""
        if bot.key not in self._names:
            try:
                self._names[bot.key] = (await bot.get_me()).username.lower()
            except TelegramError as error:
                log.warning("a bot does not know its name", reason=str(error))
                return False
        return self._names[bot.key] == name.lower()

    # what is sent

    async def _polite(self, heard: Heard, chat_id: int, line: Line, times: int = 1) -> None:
        """Say a line to a chat that may not ask, so many times an hour."""
        enterprise, key = heard.enterprises[0], (heard.bot.key, chat_id, line)
        if key not in self._told:
            ago = await self._turns.said(enterprise, chat_id, line, timedelta(seconds=POLITE_EVERY))
            self._told[key] = tuple(self._monotonic() - one.total_seconds() for one in ago)
        if self._is_due(heard, chat_id, line, times):
            text: str = getattr(self._texts(heard), line)
            await self._say(enterprise, chat_id, text, line)

    def _is_due(self, heard: Heard, chat_id: int, line: Line | Literal["pressed"], times: int = 1) -> bool:
        """True so many times an hour."""
        key, now = (heard.bot.key, chat_id, line), self._monotonic()
        told = tuple(at for at in self._told.get(key, ()) if now - at < POLITE_EVERY)
        due = len(told) < times
        self._told[key] = (*told, now) if due else told
        self._told.move_to_end(key)
        if len(self._told) > STRANGERS:
            self._told.popitem(last=False)
        return due

    async def _say(self, enterprise: str, chat_id: int, said: str | Menu, line: str = "") -> None:
        answer = said if isinstance(said, Menu) else Menu(said, ())

        async def send(bot: BotApi) -> None:
            await bot.send_message(chat_id, cut(answer.text), markup=answer.markup)

        await self._ask(enterprise, chat_id, send, line)

    async def _edit(self, enterprise: str, message: Message, shown: Menu) -> None:
        chat_id = message.chat.id

        async def edit(bot: BotApi) -> None:
            try:
                await bot.edit_message_text(chat_id, message.message_id, cut(shown.text), markup=shown.markup)
            except NotModified:
                log.debug("the settings show this already", chat=chat_id)

        await self._ask(enterprise, chat_id, edit)

    async def _ask(
        self, enterprise: str, chat_id: int, request: Callable[[BotApi], Awaitable[None]], line: str = ""
    ) -> None:
        """One request within the budget of the cards; once more where Telegram had no time for it."""
        for last in (False, True):
            bot = await self._turns.turn(enterprise, chat_id, line)
            if bot is None:
                return
            try:
                await request(bot)
            except TelegramError as error:
                self._turns.told(enterprise, chat_id, error)
                wait = _wait(error)
                if last or wait is None or wait > LONGEST_WAIT:
                    await self._refused(enterprise, chat_id, error)
                    return
                await asyncio.sleep(wait)
            else:
                self._turns.told(enterprise, chat_id, None)
                return

    async def _refused(self, enterprise: str, chat_id: int, error: TelegramError) -> None:
        log.warning("an answer was not sent", chat=chat_id, reason=str(error))
        if not self._entries([enterprise], chat_id):
            return
        if isinstance(error, ChatMigrated):
            await self._subscribers.moved(enterprise, chat_id, error.new_chat_id)
        elif isinstance(error, RecipientGone):
            await self._subscribers.gone(enterprise, chat_id, error.reason)


def read_command(text: str) -> Command | None:
    """The command that a message is; None for one that is none."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return None
    return Command(found["name"].lower(), found["bot"] or "", (found["rest"] or "").strip())


def _wait(error: TelegramError) -> float | None:
    """Seconds after which the same answer may well be taken; None for never."""
    if isinstance(error, TooManyRequests):
        return error.retry_after
    return AGAIN if isinstance(error, Unreachable | ServerError) else None


def _still(press: Press, directory: Directory) -> Decide:
    return lambda known: wishes.wished(known, press, directory) if known else None


def _headed(entry: Entry, text: str) -> str:
    """Where a chat has several enterprises: of which one this is."""
    return f"<b>{entry.name}</b>\n{text}"


def _told(outcome: Outcome, texts: Texts) -> str:
    said = {
        "requested": texts.said_requested,
        "again": texts.said_again,
        "over": texts.said_over,
        "later": texts.said_later,
    }
    return said[outcome]
