"""What a call is (CONTRACT 6): the result of the fold, the row of ``calls``, the content of a card."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

Direction = Literal["in", "out", "internal"]
Origin = Literal["pbx", "crm"]
Outcome = Literal["open", "answered", "missed", "not_answered", "lost_in_transfer"]
Phase = Literal["begun", "ringing", "talking", "ended"]


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The truth about one conversation, as far as it is known.

    Columns of CONTRACT 6 first; people of the enterprise are extensions as such or mobiles in E.164.
    The rest is what a card needs beside them: ``phase``, ``callee`` (whom the caller of an internal
    call reaches, as far as known), ``lost_to`` (who did not take a call that was lost), and ``last_position``
    of the facts that it was folded from.
    """

    enterprise: str
    call_id: str
    direction: Direction
    origin: Origin = "pbx"
    outcome: Outcome = "open"
    customer: str | None = None
    line: str | None = None
    caller: str | None = None
    dialled: str | None = None
    rung: tuple[str, ...] = ()
    answered_by: str | None = None
    talked: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()
    started_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    wait: timedelta | None = None
    talk: timedelta | None = None
    total: timedelta | None = None
    source: Literal["live", "recovery"] = "live"
    legs: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    """Ids of the recordings of its legs, in their order."""

    phase: Phase = "begun"
    ringing: tuple[str, ...] = ()
    """Who is being rung right now, in the order of the last dial."""
    callee: str | None = None
    told: str | None = None
    """What the host gave for the other party where ``customer`` is None: a short number, as it came."""
    lost_to: tuple[str, ...] = ()
    """Whom a blind transfer rang who did not answer, where the call was lost by it."""
    last_position: int = 0
    heard_at: datetime | None = None
    """When its last event came, by our clock; of a recovered one, when it happened by its host's log."""

    @property
    def settled(self) -> bool:
        """True when nothing more is expected (a later event may open it again)."""
        return self.outcome != "open"
