"""Deliveries: what became of one call's message in one chat (bodies of the delivery facts, and their fold).

The stream of a delivery is named by call and chat (``facts.delivery_stream``). A text is never kept, only its
hash: enough to know whether a chat shows the present truth.
"""

from typing import Literal

import msgspec

from calls.call import Phase
from calls.facts import (
    DELIVERY_EDITED,
    DELIVERY_INTENDED,
    DELIVERY_REFUSED,
    DELIVERY_SENT,
    DELIVERY_WITHDRAWN,
    Fact,
)
from calls.shapes import SHAPES


class DeliveryIntended(msgspec.Struct, frozen=True, gc=False):
    """A first message is about to be sent. ``attempt`` names this one try."""

    call_id: str
    chat_id: int
    hash: str
    attempt: str


class DeliverySent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Telegram took a new message and gave it this id; from now on it is the call's message in the chat.

    ``upto``: position of the newest fact of the call that the text is known to tell; None where nobody wrote it.
    ``notice``: a reply that rings is to follow (``facts.notice_stream``).
    """

    call_id: str
    chat_id: int
    message_id: int
    hash: str
    phase: Phase
    upto: int | None = None
    notice: bool = False


class DeliveryEdited(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The message shows another text. ``upto`` and ``notice`` as of DeliverySent."""

    call_id: str
    chat_id: int
    message_id: int
    hash: str
    phase: Phase
    upto: int | None = None
    notice: bool = False


class DeliveryWithdrawn(msgspec.Struct, frozen=True, gc=False):
    """The message shows the call no more: taken back, because another does, or found gone.

    Taken back is deleted or, where Telegram refuses that, edited to a pointer.
    """

    call_id: str
    chat_id: int
    message_id: int
    how: Literal["deleted", "pointer", "gone"] = "deleted"


class DeliveryRefused(msgspec.Struct, frozen=True, gc=False):
    """Telegram did not take the message. ``final``: this chat gets no more of this call.

    Not ``final``: one try certainly failed (so the intent before it is closed), another may follow.
    ``reason`` is a word of ours (``adapters/telegram/errors.py``), ``description`` what Telegram said.
    """

    call_id: str
    chat_id: int
    reason: str
    description: str = ""
    final: bool = True


Delivery = DeliveryIntended | DeliverySent | DeliveryEdited | DeliveryWithdrawn | DeliveryRefused

_TYPES: dict[str, type[Delivery]] = {
    DELIVERY_INTENDED: DeliveryIntended,
    DELIVERY_SENT: DeliverySent,
    DELIVERY_EDITED: DeliveryEdited,
    DELIVERY_WITHDRAWN: DeliveryWithdrawn,
    DELIVERY_REFUSED: DeliveryRefused,
}
_KINDS: dict[type[Delivery], str] = {body: kind for kind, body in _TYPES.items()}
_DECODERS = {kind: msgspec.json.Decoder(body) for kind, body in _TYPES.items()}

DELIVERY_KINDS: frozenset[str] = frozenset(_TYPES)


class Post(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call's message in one chat, as far as its stream tells.

    ``call_id`` names the stream; a message outlives a change of its call's id. ``version``: last version seen
    of the stream, 0 if it is empty. ``hash``, ``phase``, ``upto``, ``notice``: what the message shows.
    ``intents``: tries since the last result of which nobody knows what became (more than none after a crash or
    a lost answer). ``position`` of the fact that sent it: the smallest was first; ``refused_at`` of the one that says
    that Telegram refused it.
    """

    call_id: str
    chat_id: int
    version: int = 0
    message_id: int | None = None
    hash: str | None = None
    phase: Phase | None = None
    upto: int | None = None
    notice: bool = False
    intents: int = 0
    withdrawn: bool = False
    refused: str | None = None
    refused_at: int = 0
    position: int | None = None

    @property
    def live(self) -> bool:
        """True while the message stands in the chat and may be edited."""
        return self.message_id is not None and not self.withdrawn

    @property
    def intended(self) -> bool:
        """True when a try is open: a message may have been sent, nobody knows."""
        return self.intents > 0


def write_delivery(delivery: Delivery) -> tuple[str, bytes]:
    """Kind and body of the fact that says so."""
    kind = _KINDS[type(delivery)]
    return kind, SHAPES.write(kind, delivery)


def read_delivery(kind: str, body: bytes) -> Delivery:
    """The body of a delivery fact.

    Raises KeyError for another kind, else as Shapes.read.
    """
    return SHAPES.read(kind, body, _DECODERS[kind])


def fold_delivery(post: Post | None, fact: Fact) -> Post:
    """The message after one more fact of its stream. A fact that was folded already changes nothing."""
    delivery = read_delivery(fact.kind, fact.body)
    if post is None:
        post = Post(call_id=delivery.call_id, chat_id=delivery.chat_id)
    if fact.version <= post.version:
        return post
    return _told(msgspec.structs.replace(post, version=fact.version), delivery, fact.position)


def _told(post: Post, delivery: Delivery, position: int) -> Post:
    new = msgspec.structs.replace
    match delivery:
        case DeliveryIntended():
            return new(post, intents=post.intents + 1)
        case DeliverySent(message_id=message_id, hash=shown, phase=phase):
            if message_id == post.message_id:
                # a result stored twice, because the store's first answer was lost
                position = post.position or position
            return new(
                post,
                message_id=message_id,
                hash=shown,
                phase=phase,
                upto=delivery.upto,
                notice=delivery.notice,
                intents=0,
                withdrawn=False,
                refused=None,
                position=position,
            )
        case DeliveryEdited(hash=shown, phase=phase) if delivery.message_id == post.message_id:
            # who takes an edit refuses nothing any more
            return new(
                post, hash=shown, phase=phase, upto=delivery.upto, notice=delivery.notice, refused=None
            )
        case DeliveryWithdrawn() if delivery.message_id == post.message_id:
            return new(post, withdrawn=True)
        case DeliveryRefused(final=True, reason=reason):
            return new(post, intents=0, refused=reason, refused_at=position)
        case DeliveryRefused():
            return new(post, intents=max(0, post.intents - 1))
    # of a message that another has replaced
    return post
