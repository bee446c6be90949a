"""What a chat is to be shown next of one card: first the message, then the reply that rings below it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from adapters.telegram.api import Markup
from adapters.telegram.courier import Job, Verdict
from adapters.telegram.posts import (
    Action,
    Edit,
    Send,
    Withdraw,
    fingerprint,
    first_live,
    next_action,
    next_notice,
)
from adapters.telegram.queues import Card, Results
from calls.call import Call
from calls.cards import notice as notice_line
from calls.deliveries import Post
from calls.directory import Directory

NOTICE_AFTER: Final = 2.0
"""Seconds for which a call has to stay missed or lost before the reply rings: an event may be on its way yet."""

LATE: Final = 30.0
"""Seconds after which an edit that was given up is not carried out any more: then what is shown is said once again."""

MOST_UNSURE: Final = 1_000
"""Messages with such edits that are remembered before old ones are forgotten."""
ASK_AGAIN: Final = 1.0
"""Seconds until the store is asked once more what is known of a reply."""

MarkupOf = Callable[[Call, Directory, int], Markup | None]
"""The buttons below a call's card in a chat."""


class Step(msgspec.Struct, frozen=True):
    """The one thing to do next in a chat."""

    job: Job
    card: Card
    action: Action


class Plans:
    """Decides what comes next by what is known of a chat's messages; asks nobody."""

    def __init__(self, now: Callable[[], datetime], markup: MarkupOf) -> None:
        self._now, self._markup = now, markup
        self.results = Results()
        self.notices = Results()
        """Of the replies that ring."""
        self._unsure: dict[tuple[str, str, int], dict[str, float]] = {}
        """By message, the hashes of edits that nobody answered, and when: they may come late, and show what is over."""

    def waits(self, card: Card, chat_id: int) -> float | None:
        """Seconds after which there may be something to do, where there is nothing now."""
        if chat_id in card.inherited:
            return ASK_AGAIN
        waits = (self._notice_in(card, chat_id), self._overtaken_in(card, chat_id))
        return min((wait for wait in waits if wait), default=None)

    def next(self, card: Card, chat_id: int) -> Step | None:
        """The one thing that brings this chat nearer to showing the call; None: it does, as far as it may."""
        if chat_id in card.done:
            return self._reply(card, chat_id, self.results.known(card, chat_id))
        content = card.content()
        if content is None:
            return None
        text, shown = content
        posts = self.results.known(card, chat_id)
        if card.given_up.get(chat_id) == shown:
            return self._reply(card, chat_id, posts)
        action = next_action(card.call, chat_id, posts, shown, back=chat_id in card.back)
        if action is None and self._overtaken_in(card, chat_id) == 0.0:
            first = first_live(posts.values())
            if first is not None and first.message_id is not None:
                action = Edit(first, first.message_id)
        if action is None:
            return self._reply(card, chat_id, posts)
        if isinstance(action, Send) and not card.concerns(chat_id):
            return None
        job = self._job(
            card,
            chat_id,
            text,
            shown,
            silent=not card.rings(chat_id, self._now()),
            notice=card.wants_notice(chat_id, self._now()),
        )
        return Step(job, card, action)

    def _job(
        self,
        card: Card,
        chat_id: int,
        text: str,
        shown: str,
        *,
        silent: bool,
        notice: bool = False,
        reply_to: int | None = None,
    ) -> Job:
        return Job(
            enterprise=card.key[0],
            call_id=card.key[1],
            chat_id=chat_id,
            phase=card.call.phase,
            language=card.directory.profile.language,
            text=text,
            hash=shown,
            html=card.plain != shown,
            locked=card.locked,
            silent=silent,
            upto=partial(card.told_by, shown, card.call.last_position),
            context=card.context,
            markup=self._markup(card.call, card.directory, chat_id),
            notice=notice,
            reply_to=reply_to,
        )

    def _reply(self, card: Card, chat_id: int, posts: Mapping[str, Post]) -> Step | None:
        """The reply that rings below the card, once the call has stayed missed or lost for a moment."""
        if chat_id in card.inherited:
            return None  # it is not known whether it stands
        replies = self.notices.replies(card, chat_id)
        wait = self._notice_in(card, chat_id)
        if wait or (wait is None and not any(reply.live for reply in replies.values())):
            return None
        above = first_live(posts.values())
        message_id = above.message_id if above else None
        action = next_notice(card.call, chat_id, replies, message_id, wanted=wait is not None)
        if action is None:
            return None
        text = notice_line(card.call, card.directory)
        job = self._job(
            card,
            chat_id,
            text,
            fingerprint(text),
            silent=not card.notice_rings(chat_id, self._now()),
            reply_to=message_id or action.post.message_id,
        )
        return Step(job, card, action)

    def _notice_in(self, card: Card, chat_id: int) -> float | None:
        """Seconds until a reply is to ring, None where none is (any more)."""
        if not card.wants_notice(chat_id, self._now()):
            return None
        return max(0.0, card.changed_at + NOTICE_AFTER - asyncio.get_running_loop().time())

    def _overtaken_in(self, card: Card, chat_id: int) -> float | None:
        """Seconds until an edit that nobody answered cannot come any more; None where none may show what is over."""
        if not self._unsure or (content := card.content()) is None:
            return None
        edits = [self._unsure.get(message, {}) for message in _messages(card, chat_id)]
        at = max((at for known in edits for shown, at in known.items() if shown != content[1]), default=None)
        return None if at is None else max(0.0, at + LATE - asyncio.get_running_loop().time())

    def learn(self, step: Step, verdict: Verdict) -> None:
        """What the stream says now that something became of a step."""
        if verdict.post is not None:
            results = self.results if step.job.reply_to is None else self.notices
            results.learn(step.job.enterprise, verdict.post)

    def doubt(self, step: Step) -> None:
        """Nobody answered an edit: it may be carried out yet."""
        now = asyncio.get_running_loop().time()
        if len(self._unsure) >= MOST_UNSURE:
            self._unsure = {
                message: edits
                for message, edits in self._unsure.items()
                if max(edits.values()) > now - 2 * LATE
            }
        message = (step.job.enterprise, step.action.post.call_id, step.job.chat_id)
        self._unsure.setdefault(message, {})[step.job.hash] = now

    def remember(self, step: Step, verdict: Verdict) -> None:
        """What the card has to know beside the facts, for the time it is open."""
        card, job = step.card, step.job
        if isinstance(step.action, Edit) and self._overtaken_in(card, job.chat_id) == 0.0:
            for message in _messages(card, job.chat_id):
                self._unsure.pop(message, None)
        if verdict.what == "plain":
            card.plain = job.hash
        elif verdict.what == "given_up":
            card.given_up[job.chat_id] = job.hash
        elif verdict.what == "locked" and isinstance(step.action, Withdraw):
            card.locked |= {step.action.message_id}


def _messages(card: Card, chat_id: int) -> list[tuple[str, str, int]]:
    """What may be messages of a card in a chat."""
    enterprise, call_id = card.key
    return [(enterprise, leg, chat_id) for leg in dict.fromkeys((call_id, *card.call.legs))]
