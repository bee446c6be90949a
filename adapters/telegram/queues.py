"""What waits to be shown: cards, one a call, and queues, one a chat, that name the most urgent card."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from adapters.telegram.posts import URGENCIES, fingerprint, newest, urgency
from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from calls.subscriptions import concerns, is_quiet, rings, wants_notice
from otel.tracing import SpanRef

_logger: Final = logging.getLogger(__name__)

Key = tuple[str, str]
"""Enterprise and call id."""
Render = Callable[[Call, Directory], str]
Line = Callable[[Call, Directory], str]
"""The last line of a card, "" for none: the history with the customer, as far as it is known."""


NOTICE_WITHIN: Final = timedelta(minutes=30)
"""How long after a call's end a reply may still ring; later (an outage, a host's backlog) it is only shown."""


MOST_FAILURES: Final = 3


class Card:
    """One call as it should be shown: always the newest state, rendered when it is first needed.

    ``chats``: those that this state is for. ``open``: of them those that do not show it yet, as far as known.
    ``revision`` grows with every state, the newest came at ``changed_at`` (of the event loop's time).
    ``done``: chats that were told this end of the call
    before the card came to be; what it says of earlier calls may differ by now, which is no reason for an edit.
    ``back``: chats that became readers while the card was at hand, perhaps again. ``failures``: by chat, how often in a
    row it was not taken there, though nothing is known against it. ``inherited``: chats that were told of a reply
    before the card came to be, of which no leader knows more.
    """

    __slots__ = (
        "_hash",
        "_line",
        "_render",
        "_text",
        "back",
        "call",
        "changed_at",
        "chats",
        "context",
        "directory",
        "done",
        "failures",
        "given_up",
        "inherited",
        "key",
        "locked",
        "open",
        "plain",
        "posts",
        "revision",
        "urgency",
    )

    def __init__(self, key: Key, call: Call, directory: Directory, render: Render, line: Line) -> None:
        self.key = key
        self.call = call
        self.directory = directory
        self.posts: Mapping[int, tuple[Post, ...]] = {}
        self.context: SpanRef | None = None
        self.revision = 0
        self.urgency = urgency(call)
        self.chats: tuple[int, ...] = ()
        self.open: set[int] = set()
        self.given_up: dict[int, str] = {}
        self.locked: frozenset[int] = frozenset()
        self.plain: str | None = None
        self.changed_at = 0.0
        self.done: frozenset[int] = frozenset()
        self.back: set[int] = set()
        self.failures: dict[int, int] = {}
        self.inherited: set[int] = set()
        self._render = render
        self._line = line
        self._text: str | None = None
        self._hash: str | None = None

    def renew(
        self,
        call: Call,
        directory: Directory,
        posts: Mapping[int, tuple[Post, ...]],
        context: SpanRef | None,
    ) -> bool:
        """Take over a newer state; False where it says nothing new, and no message more has to be taken back."""
        self.revision += 1
        self.posts = posts
        self.context = context
        known = self.revision > 1 and directory is self.directory
        new = not known or call != self.call or any(map(_stands_twice, posts.values()))
        if not known:
            chats = _chats(directory)
            if self.revision > 1:
                self.back.intersection_update(chats)
                self.back.update(set(chats).difference(_chats(self.directory)))
            self.directory = directory
            self.chats = chats
        if new:
            self.call = call
            self.failures.clear()
            self.urgency = urgency(call)
            self._text = self._hash = None
        if self.revision == 1:
            self.inherited = {chat_id for chat_id, told in posts.items() if any(post.notice for post in told)}
            self.done = frozenset(
                chat_id for chat_id in self.chats if self._tells_all(posts.get(chat_id, ()))
            )
        elif new:
            self.done = frozenset()
        if directory.selective:
            self._choose()
        return new

    def _tells_all(self, posts: Iterable[Post]) -> bool:
        """True where the one message that stands tells this end of the call."""
        match [post for post in posts if post.live]:
            case [Post(phase="ended", upto=int(upto))]:
                return self.call.settled and upto == self.call.last_position
        return False

    def concerns(self, chat_id: int) -> bool:
        """True where the call as it is now is to be shown in a chat that has no message of it."""
        reader = self.directory.selective.get(chat_id)
        return reader is None or concerns(reader, self.call, self.directory)

    def rings(self, chat_id: int, at: datetime) -> bool:
        """True where a message that is sent to the chat at ``at`` makes a sound."""
        reader = self.directory.subscribers.get(str(chat_id))
        return reader is None or rings(reader, self.call, self.directory, at)

    def wants_notice(self, chat_id: int, at: datetime) -> bool:
        """True where a reply is to ring in the chat: nobody took the call, and not too long ago."""
        if chat_id in self.done and not any(post.notice for post in self.posts.get(chat_id, ())):
            return False  # its end was told without one
        reader = self.directory.subscribers.get(str(chat_id))
        return (
            reader is not None
            and wants_notice(reader, self.call, self.directory)
            and at - (self.call.heard_at or self.call.ended_at or self.call.started_at) < NOTICE_WITHIN
        )

    def notice_rings(self, chat_id: int, at: datetime) -> bool:
        """True where that reply makes a sound."""
        reader = self.directory.subscribers.get(str(chat_id))
        return reader is None or not is_quiet(reader, self.directory, at)

    def _choose(self) -> None:
        """Leave out chats that the call does not concern; a message that stands is brought to its end."""
        chats = tuple(
            chat_id
            for chat_id in _chats(self.directory)
            if self.concerns(chat_id) or any(post.live for post in self.posts.get(chat_id, ()))
        )
        if chats != self.chats:
            self.open.update(set(chats).difference(self.chats))
            self.chats = chats

    def retell(self) -> None:
        """Something that the text tells of is known only now."""
        self._text = self._hash = None

    def told_by(self, shown: str, position: int) -> int:
        """The newest position at which the text of this hash was the one to show; ``position``: a known one."""
        content = self.content()
        return self.call.last_position if content is not None and content[1] == shown else position

    def content(self) -> tuple[str, str] | None:
        """Text and its hash; None where it could not be rendered, which has been said in the log.

        While a call goes on, its history alone is no reason for an edit: it is no part of the hash.
        """
        if self._text is None or self._hash is None:
            try:
                text = self._render(self.call, self.directory)
                line = self._line(self.call, self.directory)
            except Exception:
                _logger.exception("the card of call %s/%s cannot be rendered", *self.key)
                return None
            self._text = f"{text}\n{line}" if line else text
            self._hash = fingerprint(self._text if self.call.phase == "ended" else text)
        return self._text, self._hash


def _stands_twice(posts: Iterable[Post]) -> bool:
    return sum(post.live for post in posts) > 1


def _chats(directory: Directory) -> tuple[int, ...]:
    return tuple(subscriber.chat_id for subscriber in directory.readers)


class ChatQueue:
    """The cards that one chat of one enterprise may still have to be shown, the most urgent first."""

    __slots__ = ("_cards", "_deferred", "_places", "busy", "chat_id", "enterprise", "failures", "task")

    def __init__(self, enterprise: str, chat_id: int) -> None:
        self.enterprise = enterprise
        self.chat_id = chat_id
        self.task: asyncio.Task[None] | None = None
        self.busy = False
        self.failures = 0
        self._cards: tuple[dict[Key, Card], ...] = tuple({} for _ in range(URGENCIES))
        self._places: dict[Key, int] = {}
        self._deferred: list[Card] = []

    def __len__(self) -> int:
        return len(self._places)

    def put(self, card: Card) -> None:
        """Let the card wait at the place of its urgency, behind those of the same; where it was put last, there."""
        if card.failures.get(self.chat_id, 0) < MOST_FAILURES or card.key not in self._places:
            self._put(card)

    def _put(self, card: Card) -> None:
        place = self._places.get(card.key)
        if place != card.urgency:
            if place is not None:
                del self._cards[place][card.key]
            self._places[card.key] = card.urgency
            self._cards[card.urgency][card.key] = card

    def defer(self, card: Card) -> None:
        """Let the others of its urgency go first; all others where it was not taken MOST_FAILURES times in a row."""
        failures = card.failures[self.chat_id] = card.failures.get(self.chat_id, 0) + 1
        place = self._places.get(card.key)
        if place is None:
            return
        del self._cards[place][card.key]
        if failures >= MOST_FAILURES:
            place = URGENCIES - 1
        if failures == MOST_FAILURES:
            self._deferred.append(card)
        self._places[card.key] = place
        self._cards[place][card.key] = card

    def recall(self) -> None:
        """Something was taken: it may have been the chat's trouble, so those that were put last get one more turn."""
        deferred, self._deferred = self._deferred, []
        for card in deferred:
            place = self._places.get(card.key)
            if place is not None and self._cards[place][card.key] is card:
                self._put(card)

    def remove(self, key: Key) -> None:
        """The card waits no longer; it may not have waited at all."""
        place = self._places.pop(key, None)
        if place is not None:
            del self._cards[place][key]

    def first(self) -> Card | None:
        """The most urgent card."""
        for cards in self._cards:
            if cards:
                return next(iter(cards.values()))
        return None


class Results:
    """The newest results of our own, until they have come back by way of the store.

    What a leader knows of the posts may be some milliseconds old. Bounded: by the time one is forgotten, it
    has long come back; should it not, the version stated with an intent prevents a second message.
    """

    __slots__ = ("_limit", "_posts")

    def __init__(self, limit: int = 8192) -> None:
        self._limit = limit
        self._posts: OrderedDict[tuple[str, str, int], Post] = OrderedDict()

    def learn(self, enterprise: str, post: Post) -> None:
        """Remember what a stream says now."""
        key = (enterprise, post.call_id, post.chat_id)
        self._posts[key] = post
        self._posts.move_to_end(key)
        if len(self._posts) > self._limit:
            self._posts.popitem(last=False)

    def known(self, card: Card, chat_id: int) -> dict[str, Post]:
        """The conversation's posts in a chat by stream: what the leader knows and what we do, the newer."""
        told = card.posts.get(chat_id, ())
        return newest((*self._own(card, chat_id, told), *told))

    def replies(self, card: Card, chat_id: int) -> dict[str, Post]:
        """Likewise of what nobody else tells."""
        return newest(self._own(card, chat_id, card.posts.get(chat_id, ())))

    def _own(self, card: Card, chat_id: int, told: Iterable[Post]) -> Iterable[Post]:
        enterprise, call_id = card.key
        # a leg that led a call of its own until a moment ago may have a message the leader has not heard of
        for leg in dict.fromkeys((call_id, *card.call.legs, *[post.call_id for post in told])):
            if post := self._posts.get((enterprise, leg, chat_id)):
                yield post
