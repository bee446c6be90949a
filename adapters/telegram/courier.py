"""One action at a time: ask Telegram, and record what became of it.

A first message is intended, sent, recorded; what concerns a message that exists is asked, then recorded. An
intent always gets its result, unless nobody knows it: after a crash, or when no answer came.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from actors.ports import Appended, StoreUnavailable, VersionConflict
from adapters.telegram.api import BotApi, Markup, SentMessage
from adapters.telegram.errors import (
    Ambiguous,
    BadRequest,
    MessageGone,
    MessageLocked,
    NotModified,
    RecipientGone,
    ServerError,
    TelegramError,
    TooManyRequests,
    Unauthorized,
)
from adapters.telegram.html_cut import cut
from adapters.telegram.posts import POINTER, Action, Edit, GiveUp, Ring, Send, Withdraw, plain
from calls.call import Phase
from calls.deliveries import (
    Delivery,
    DeliveryEdited,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    DeliveryWithdrawn,
    Post,
    fold_delivery,
    write_delivery,
)
from calls.entries import Language
from calls.facts import Fact, NewFact, delivery_stream, notice_stream
from otel.tracing import CHAT_ID, METHOD, OUTCOME, TELEGRAM, SpanRef, Tracing

_logger: Final = logging.getLogger(__name__)

_INTENT_WITHIN: Final = 2.0
_RECORD_AGAIN: Final = 0.5

Observe = Callable[[str, str, float], None]
"""Method, outcome ("ok" or the reason of an error), seconds."""
Heard = Callable[[TelegramError | None], None]
"""Told how each request ended, before it is recorded."""


class Log(Protocol):
    """The part of the event store a courier needs (``actors.ports.FactLog`` is one)."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """Store one fact and return once it is committed."""
        ...

    async def read_stream(self, enterprise: str, stream: str) -> list[Fact]:
        """All facts of one stream, by version."""
        ...


class Job(msgspec.Struct, frozen=True):
    """What one chat is to be shown now.

    ``html``: or as plain text; ``locked``: messages that must stay; ``silent``: a new message makes no sound.
    ``upto``: asked when it is shown, the newest position of the call at which this text was still the one to show.
    ``notice``: a reply that rings is to follow. ``reply_to``: it is that reply, to this message.
    """

    enterprise: str
    call_id: str
    chat_id: int
    phase: Phase
    language: Language
    text: str
    hash: str
    html: bool
    locked: frozenset[int]
    silent: bool
    upto: Callable[[], int]
    context: SpanRef | None
    markup: Markup | None = None
    notice: bool = False
    reply_to: int | None = None

    def stream(self, call_id: str) -> str:
        """Stream of what becomes of it."""
        name = delivery_stream if self.reply_to is None else notice_stream
        return name(call_id, self.chat_id)


class Verdict(msgspec.Struct, frozen=True):
    """What became of an action, and what the stream says since.

    ``done``: look again what comes next; ``again``: try later (``wait``: not before so many seconds, Telegram
    says); ``off``: the bot can do nothing;
    ``plain``: not in HTML; ``locked``: not by deletion; ``given_up``: not this text. ``lost``: what was said of a
    chat that is no more, or is another. ``trouble``: Telegram's own with this request ("server"), or nobody answered
    and it may still be carried out ("unknown").
    """

    what: Literal["done", "again", "off", "plain", "locked", "given_up"]
    post: Post | None = None
    wait: float | None = None
    lost: RecipientGone | None = None
    trouble: Literal["", "server", "unknown"] = ""


class Courier:
    """Performs actions. Raises nothing for what Telegram or the store say; if cancelled, may be half done."""

    def __init__(
        self,
        log: Log,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        monotonic: Callable[[], float],
        observe: Observe,
        tracing: Tracing,
    ) -> None:
        self._log = log
        self._now = now
        self._new_id = new_id
        self._monotonic = monotonic
        self._observe = observe
        self._tracing = tracing

    async def perform(self, bot: BotApi, job: Job, action: Action, heard: Heard) -> Verdict:
        """Ask once, record the result (however long the store takes), and say how to go on."""
        match action:
            case Send(post) | Ring(post):
                return await self._send(bot, job, post, heard)
            case Edit(post, message_id):
                return await self._edit(bot, job, post, message_id, heard)
            case Withdraw(post, message_id):
                return await self._withdraw(bot, job, post, message_id, heard)
            case GiveUp(post):
                return await self._refused(job, post, Ambiguous("sendMessage", "no answer, again and again"))

    async def _send(self, bot: BotApi, job: Job, post: Post, heard: Heard) -> Verdict:
        intent = DeliveryIntended(post.call_id, job.chat_id, job.hash, self._new_id())
        fact = self._fact(job, intent, expected_version=post.version)
        try:
            post = _folded(post, fact, await self._log.append(fact, within=_INTENT_WITHIN))
        except VersionConflict:
            return await self._learn(job, post)
        except StoreUnavailable:
            return Verdict("again")
        text, html = _content(job)
        request = bot.send_message(
            job.chat_id, text, html=html, silent=job.silent, markup=_buttons(job), reply_to=job.reply_to
        )
        answer = await self._ask("sendMessage", job, request, heard)
        if isinstance(answer, SentMessage):
            sent = DeliverySent(
                post.call_id, job.chat_id, answer.message_id, job.hash, job.phase, job.upto(), job.notice
            )
            return Verdict("done", await self._record(job, post, sent))
        match answer:
            case Ambiguous():
                return Verdict("again", post, trouble="unknown")
            case RecipientGone():
                return await self._refused(job, post, answer)
            case BadRequest() if not _other_form(job, answer):
                return await self._refused(job, post, answer)
        failed = DeliveryRefused(post.call_id, job.chat_id, answer.reason, answer.description, final=False)
        return _go_on(job, answer, await self._record(job, post, failed))

    async def _learn(self, job: Job, post: Post) -> Verdict:
        """What the stream says that nobody has handed over: of a reply, or of a chat that was not read for a while."""
        try:
            told = await self._log.read_stream(job.enterprise, job.stream(post.call_id))
        except StoreUnavailable:
            return Verdict("again")
        for fact in told:
            post = fold_delivery(post, fact)
        return Verdict("done", post)

    async def reply(self, enterprise: str, call_id: str, chat_id: int) -> Post | None:
        """What became of the reply of this call, None where there was none. Raises StoreUnavailable."""
        post: Post | None = None
        for fact in await self._log.read_stream(enterprise, notice_stream(call_id, chat_id)):
            post = fold_delivery(post, fact)
        return post

    async def _edit(self, bot: BotApi, job: Job, post: Post, message_id: int, heard: Heard) -> Verdict:
        text, html = _content(job)
        request = bot.edit_message_text(job.chat_id, message_id, text, html=html, markup=_buttons(job))
        answer = await self._ask("editMessageText", job, request, heard)
        match answer:
            case None | NotModified():
                edited = DeliveryEdited(
                    post.call_id, job.chat_id, message_id, job.hash, job.phase, job.upto(), job.notice
                )
                return Verdict("done", await self._record(job, post, edited))
            case MessageGone():
                gone = DeliveryWithdrawn(post.call_id, job.chat_id, message_id, "gone")
                return Verdict("done", await self._record(job, post, gone))
            case RecipientGone():
                return await self._refused(job, post, answer)
            case BadRequest() if not _other_form(job, answer):
                _logger.error(
                    "Telegram refuses an edit of call %s/%s: %s",
                    job.enterprise,
                    job.call_id,
                    answer.description,
                )
                return Verdict("given_up", post)
        return _go_on(job, answer, post)

    async def _withdraw(self, bot: BotApi, job: Job, post: Post, message_id: int, heard: Heard) -> Verdict:
        if message_id in job.locked:
            request = bot.edit_message_text(job.chat_id, message_id, POINTER[job.language], html=False)
            answer = await self._ask("editMessageText", job, request, heard)
            how: Literal["deleted", "pointer"] = "pointer"
        else:
            deletion = bot.delete_message(job.chat_id, message_id)
            answer = await self._ask("deleteMessage", job, deletion, heard)
            how = "deleted"
        match answer:
            case MessageLocked() if how == "deleted":
                return Verdict("locked", post)
            case None | BadRequest():
                # whatever else Telegram says of it, it cannot be taken back any further
                withdrawn = DeliveryWithdrawn(post.call_id, job.chat_id, message_id, how)
                return Verdict("done", await self._record(job, post, withdrawn))
            case RecipientGone():
                return await self._refused(job, post, answer)
        return _go_on(job, answer, post)

    async def _ask(self, method: str, job: Job, request: Awaitable[Any], heard: Heard) -> Any:
        """The method's result, or the TelegramError: an answer like another for those who decide."""
        begun = self._monotonic()
        with self._tracing.span(
            TELEGRAM,
            enterprise=job.enterprise,
            call_id=job.call_id,
            parent=job.context,
            attributes={METHOD: method, CHAT_ID: job.chat_id},
        ) as span:
            try:
                answer, outcome = await request, "ok"
            except TelegramError as error:
                answer, outcome = error.with_traceback(None), error.reason
                if not isinstance(error, NotModified):
                    span.error(answer)
            span.set(OUTCOME, outcome)
        self._observe(method, outcome, self._monotonic() - begun)
        heard(answer if isinstance(answer, TelegramError) else None)
        return answer

    async def _refused(self, job: Job, post: Post, error: TelegramError) -> Verdict:
        _logger.warning(
            "chat %d gets no more of call %s/%s: %s",
            job.chat_id,
            job.enterprise,
            job.call_id,
            error.description,
        )
        refused = DeliveryRefused(post.call_id, job.chat_id, error.reason, error.description)
        lost = error if isinstance(error, RecipientGone) else None
        return Verdict("done", await self._record(job, post, refused), lost=lost)

    async def _record(self, job: Job, post: Post, delivery: Delivery) -> Post:
        """Store what has happened; it cannot be undone, so the store is asked until it has it."""
        fact = self._fact(job, delivery)
        while True:
            try:
                return _folded(post, fact, await self._log.append(fact))
            except StoreUnavailable:
                _logger.warning("a delivery of call %s/%s waits for the store", job.enterprise, job.call_id)
                await asyncio.sleep(_RECORD_AGAIN)

    def _fact(self, job: Job, delivery: Delivery, *, expected_version: int | None = None) -> NewFact:
        kind, body = write_delivery(delivery)
        return NewFact(
            enterprise=job.enterprise,
            stream=job.stream(delivery.call_id),
            kind=kind,
            source="service",
            occurred_at=self._now(),
            body=body,
            expected_version=expected_version,
        )


def _content(job: Job) -> tuple[str, bool]:
    return (cut(job.text), True) if job.html else (plain(job.text), False)


def _buttons(job: Job) -> Markup | None:
    return job.markup if job.html else None


def _other_form(job: Job, error: TelegramError) -> bool:
    """True when the same text may yet be taken as plain text without buttons."""
    return job.html and isinstance(error, BadRequest)


def _go_on(job: Job, error: TelegramError, post: Post) -> Verdict:
    """After a failure that says nothing about the message."""
    match error:
        case TooManyRequests(retry_after=seconds):
            return Verdict("again", post, seconds)
        case Unauthorized():
            return Verdict("off", post)
        case BadRequest():
            _logger.error(
                "Telegram refuses the form of call %s/%s: %s", job.enterprise, job.call_id, error.description
            )
            return Verdict("plain", post)
        case ServerError():
            return Verdict("again", post, trouble="server")
        case Ambiguous():
            return Verdict("again", post, trouble="unknown")
        case _:
            return Verdict("again", post)


def _folded(post: Post, fact: NewFact, appended: Appended) -> Post:
    return fold_delivery(
        post,
        Fact(
            position=appended.position,
            enterprise=fact.enterprise,
            stream=fact.stream,
            version=appended.version,
            kind=fact.kind,
            source=fact.source,
            occurred_at=fact.occurred_at,
            recorded_at=fact.occurred_at,
            body=fact.body,
        ),
    )
