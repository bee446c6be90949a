"""Facts: what is stored, and nothing else is (DESIGN: facts are stored, everything else is folded)."""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec

Source = Literal["live", "recovery", "service"]
"""Who says so: a host as it happens, a host's log afterwards, callfold itself."""

Place = float | Decimal
"""Among the facts of an enterprise: a position, or that of a recovered one between two of them (calls.order)."""

# What a host sends (events.md 4). A kind outside of this file is kept and skipped by every fold.
EVENT_KINDS: Final = (
    "start",
    "dial",
    "bridge",
    "bridge_create",
    "bridge_leave",
    "bridge_destroy",
    "new_callerid",
    "hangup",
)

# What callfold itself adds. Bodies: calls/observations.py, calls/deliveries.py, calls/entries.py, calls/callbacks.py,
# calls/chats.py, calls/recordings.py.
SILENCE_OBSERVED: Final = "silence_observed"
RECORDING_ADDED: Final = "recording_added"
DIRECTORY_CHANGED: Final = "directory_changed"
DELIVERY_INTENDED: Final = "delivery_intended"
DELIVERY_SENT: Final = "delivery_sent"
DELIVERY_EDITED: Final = "delivery_edited"
DELIVERY_WITHDRAWN: Final = "delivery_withdrawn"
DELIVERY_REFUSED: Final = "delivery_refused"
CALLBACK_REQUESTED: Final = "callback_requested"
CHAT_ASKED: Final = "chat_asked"
CHAT_PAUSED: Final = "chat_paused"
CUSTOMER_FORGOTTEN: Final = "customer_forgotten"
BODIES_RETIRED: Final = "bodies_retired"
"""Outside numbers of an enterprise gave way to pseudonyms up to a day: retention, adapters/privacy/retiring.py."""
RECORDING_FORGOTTEN: Final = "recording_forgotten"
"""What a RECORDING_ADDED becomes, its body ``{}``, when a person of its call is forgotten."""

UNFOLDED_KINDS: Final = (
    DELIVERY_INTENDED,
    DELIVERY_SENT,
    DELIVERY_EDITED,
    DELIVERY_WITHDRAWN,
    DELIVERY_REFUSED,
    CALLBACK_REQUESTED,
    CHAT_ASKED,
    CHAT_PAUSED,
    CUSTOMER_FORGOTTEN,
    BODIES_RETIRED,
    RECORDING_FORGOTTEN,
)
"""Kinds of ours that no call is told by."""
KNOWN_KINDS: Final = frozenset(
    {*EVENT_KINDS, *UNFOLDED_KINDS, SILENCE_OBSERVED, RECORDING_ADDED, DIRECTORY_CHANGED}
)

NEWEST: Final = (1 << 63) - 1
"""A position behind all that there is."""

DIRECTORY_STREAM: Final = "directory"
RETIRED_STREAM: Final = "retired"


def leg_stream(unique_id: str) -> str:
    """Stream of the facts of one leg."""
    return f"leg/{unique_id}"


def bridge_stream(bridge_id: str) -> str:
    """Stream of the events that name a bridge and no leg (bridge_create, bridge_destroy)."""
    return f"bridge/{bridge_id}"


def event_stream(kind: str, unique_id: str, bridge_id: str) -> str:
    """Stream of a host's event: of its leg, or of its bridge where it is about that as a whole."""
    whole_bridge = bridge_id and (not unique_id or kind in {"bridge_create", "bridge_destroy"})
    return bridge_stream(bridge_id) if whole_bridge else leg_stream(unique_id)


def delivery_stream(call_id: str, chat_id: int) -> str:
    """Stream of what became of one call's card in one chat."""
    return f"delivery/{chat_id}/{call_id}"


def callback_stream(button: str) -> str:
    """Stream of one call's button in one chat: its first fact is its only one, so it is used once."""
    return f"callback/{button}"


def chat_stream(chat_id: int) -> str:
    """Stream of what was asked of a chat beside cards."""
    return f"chat/{chat_id}"


def forgotten_stream(pseudonym: str) -> str:
    """Stream of the facts that a customer was forgotten, by what stands in the number's place."""
    return f"forgotten/{pseudonym}"


def notice_stream(call_id: str, chat_id: int) -> str:
    """Stream of the reply that rings below one call's card in one chat; its facts are those of a delivery."""
    return f"notice/{chat_id}/{call_id}"


class CallArchived(Exception):
    """Something of a fact's call is in the archive, which only a rebuild reads."""

    def __init__(self) -> None:
        super().__init__("something of its call is archived, which only `callfold rebuild all` reads")


class NewFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact on its way into the store.

    ``expected_version`` is the version of the stream on which the fact was decided (0: the stream is
    empty); None for arrivals, which are never refused. ``body`` is stored byte for byte, ``meta`` is
    JSON of ours (request id, trace). ``follows``: of a recovered one the position that it stands behind (calls.order).
    """

    enterprise: str
    stream: str
    kind: str
    source: Source
    occurred_at: datetime
    body: bytes
    meta: bytes = b""
    expected_version: int | None = None
    idempotency_key: str | None = None
    follows: int | None = None


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A stored fact. ``position`` is its global place, ``version`` its place in its stream (from 1).

    ``order``: where a recovered one stands among the positions of the others (calls.order); 0 where it came.
    """

    position: int
    enterprise: str
    stream: str
    version: int
    kind: str
    source: Source
    occurred_at: datetime
    recorded_at: datetime
    body: bytes
    meta: bytes = b""
    order: Place = 0
