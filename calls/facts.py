"""Facts: what is stored, and nothing else is (DESIGN: facts are stored, everything else is folded)."""

from datetime import datetime
from typing import Final, Literal

import msgspec

Source = Literal["live", "recovery", "service"]
"""Who says so: a host as it happens, a host's log afterwards, callfold itself."""

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

# What callfold itself adds. Bodies: calls/observations.py, calls/deliveries.py, calls/directory.py, calls/callbacks.py,
# calls/recordings.py.
SILENCE_OBSERVED: Final = "silence_observed"
RECORDING_ADDED: Final = "recording_added"
DIRECTORY_CHANGED: Final = "directory_changed"
DELIVERY_INTENDED: Final = "delivery_intended"
DELIVERY_SENT: Final = "delivery_sent"
DELIVERY_EDITED: Final = "delivery_edited"
DELIVERY_WITHDRAWN: Final = "delivery_withdrawn"
DELIVERY_REFUSED: Final = "delivery_refused"
CALLBACK_REQUESTED: Final = "callback_requested"

UNFOLDED_KINDS: Final = (
    DELIVERY_INTENDED,
    DELIVERY_SENT,
    DELIVERY_EDITED,
    DELIVERY_WITHDRAWN,
    DELIVERY_REFUSED,
    CALLBACK_REQUESTED,
)
"""Kinds of ours that no call is told by."""
KNOWN_KINDS: Final = frozenset(
    {*EVENT_KINDS, *UNFOLDED_KINDS, SILENCE_OBSERVED, RECORDING_ADDED, DIRECTORY_CHANGED}
)

NEWEST: Final = (1 << 63) - 1
"""A position behind all that there is."""

DIRECTORY_STREAM: Final = "directory"


def leg_stream(unique_id: str) -> str:
    """Stream of the facts of one leg."""
    return f"leg/{unique_id}"


def bridge_stream(bridge_id: str) -> str:
    """Stream of the events that name a bridge and no leg (bridge_create, bridge_destroy)."""
    return f"bridge/{bridge_id}"


def delivery_stream(call_id: str, chat_id: int) -> str:
    """Stream of what became of one call's card in one chat."""
    return f"delivery/{chat_id}/{call_id}"


def callback_stream(button: str) -> str:
    """Stream of one button's call back: its first fact is its only one, so a button is used once."""
    return f"callback/{button}"


def notice_stream(call_id: str, chat_id: int) -> str:
    """Stream of the reply that rings below one call's card in one chat; its facts are those of a delivery."""
    return f"notice/{chat_id}/{call_id}"


class NewFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact on its way into the store.

    ``expected_version`` is the version of the stream on which the fact was decided (0: the stream is
    empty); None for arrivals, which are never refused. ``body`` is stored byte for byte, ``meta`` is
    JSON of ours (request id, trace).
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


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A stored fact. ``position`` is its global place, ``version`` its place in its stream (from 1).

    ``order``: where a recovered one belongs among the positions of the others (calls.order); 0 where it came.
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
    order: float = 0
