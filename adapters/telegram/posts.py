"""What a chat shows against what it should show: the one thing to do next. Pure."""

import html
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import msgspec

from adapters.telegram.errors import GONE
from adapters.telegram.html_cut import cut_plain
from calls.call import Call
from calls.deliveries import Post
from calls.entries import Language
from calls.subscriptions import is_unanswered

# Each sendMessage may have made a message though no answer came: while the call goes on two such tries are enough. That
# it has ended is worth a few more: a call that nobody is told of is worse than one that is told twice.
MOST_INTENTS: Final = 2
MOST_INTENTS_AT_ITS_END: Final = 6

POINTER: Final = MappingProxyType[Language, str](
    {"ru": "↪️ Часть другого звонка, см. его сообщение", "en": "↪️ Part of another call, see its message"}
)

_TAG: Final = re.compile(r"<[^<>]*>")


class Send(msgspec.Struct, frozen=True):
    """Send a first (or another) message. Its facts go to the stream of ``post``."""

    post: Post


class Edit(msgspec.Struct, frozen=True):
    """Let the message show the text."""

    post: Post
    message_id: int


class Withdraw(msgspec.Struct, frozen=True):
    """Take a message back, because another shows the call."""

    post: Post
    message_id: int


class GiveUp(msgspec.Struct, frozen=True):
    """Send no more: it may be there already, twice."""

    post: Post


class Ring(msgspec.Struct, frozen=True):
    """Send the reply that rings below the message. Its facts go to the notice's stream."""

    post: Post
    reply_to: int


Action = Send | Edit | Withdraw | GiveUp | Ring


def fingerprint(text: str) -> str:
    """Hash by which a delivery remembers a text: 8 bytes of blake2b, hex."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def plain(text: str) -> str:
    """A card without its HTML, short enough for one message: for when Telegram takes it in no other way."""
    return cut_plain(html.unescape(_TAG.sub("", text)))


def urgency(call: Call) -> int:
    """Place in a chat's queue, 0 first: a call nobody took, an ended one, talking, ringing, begun."""
    match call.phase:
        case "ended" if call.outcome != "answered":
            return 0
        case "ended":
            return 1
        case "talking":
            return 2
        case "ringing":
            return 3
        case "begun":
            return 4


URGENCIES: Final = 5


def newest(posts: Iterable[Post]) -> dict[str, Post]:
    """By stream, the post that has seen most of it; of equals the last named."""
    found: dict[str, Post] = {}
    for post in posts:
        if (known := found.get(post.call_id)) is None or post.version >= known.version:
            found[post.call_id] = post
    return found


def next_action(
    call: Call, chat_id: int, posts: Mapping[str, Post], shown: str, *, back: bool = False
) -> Action | None:
    """What brings one chat nearer to showing the call as the text whose hash is ``shown``; None: it does.

    ``posts``: the conversation's messages in this chat by stream. The one sent first lives on. What is new
    comes before what is to be tidied up. ``back``: the chat was gone and is a reader again: that it was refused
    meanwhile says nothing any more.
    """
    if back:
        posts = {stream: _taken_back(post) for stream, post in posts.items()}
    if live := _live(posts.values()):
        return _keep_first(live, shown)
    if any(post.refused for post in posts.values()):
        return None
    post = posts.get(call.call_id) or Post(call_id=call.call_id, chat_id=chat_id)
    tries = sum(other.intents for other in posts.values())
    if tries >= MOST_INTENTS_AT_ITS_END:
        return GiveUp(post)
    if tries >= MOST_INTENTS and call.phase != "ended":
        return None
    return Send(post)


def _taken_back(post: Post) -> Post:
    return msgspec.structs.replace(post, refused=None) if post.refused in GONE else post


def first_live(posts: Iterable[Post]) -> Post | None:
    """The message that shows the call: of those that stand the one sent first."""
    return next(iter(_live(posts)), None)


def _live(posts: Iterable[Post]) -> list[Post]:
    live = (post for post in posts if post.live)
    return sorted(live, key=lambda post: (post.position or 0, post.message_id or 0))


def next_notice(
    call: Call, chat_id: int, replies: Mapping[str, Post], card: int | None, *, wanted: bool
) -> Ring | Withdraw | None:
    """What brings the one reply below a card nearer to standing there, or to being gone; None: nothing.

    ``replies``: those of the conversation's legs by stream. The one sent first stays, for as long as nobody took the
    call, whatever its reader wishes since. ``card``: message id of the card, None where none stands.
    """
    live = _live(replies.values())
    for reply in live[1:] if is_unanswered(call) else live:
        if reply.message_id is not None and not reply.refused:
            return Withdraw(reply, reply.message_id)
    if live:
        return None
    post = replies.get(call.call_id) or Post(call_id=call.call_id, chat_id=chat_id)
    if not wanted or card is None or post.withdrawn or post.refused or post.intents >= MOST_INTENTS:
        return None
    return Ring(post, card)


def _keep_first(live: list[Post], shown: str) -> Action | None:
    first = live[0]
    if first.refused:
        return None
    if first.hash != shown and first.message_id is not None:
        return Edit(first, first.message_id)
    for post in live[1:]:
        if post.message_id is not None and not post.refused:
            return Withdraw(post, post.message_id)
    return None
