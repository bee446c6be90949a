"""One leg: what the events of one UniqueId say, folded into an immutable state.

A leg knows only what happened to itself. Which legs make a call is the switchboard's business, what the
call then is the conversation's.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from calls.channels import read_channel
from calls.events import Event
from calls.facts import RECORDING_ADDED, SILENCE_OBSERVED, Fact, Place
from calls.observations import Silence, read_silence
from calls.recordings import read_recording

OF_CHANNELS: Final = frozenset({"bridge", "bridge_leave", "new_callerid"})
"""Kinds of events in which a channel says what it is and with whom it is connected (events.md 4)."""


class Moment(msgspec.Struct, frozen=True, gc=False, order=True):
    """A place in the order of facts, and when that was (``occurred_at`` of the fact).

    That of a recovered fact lies between two positions (calls.order).
    """

    position: Place
    at: datetime


class Start(msgspec.Struct, frozen=True, gc=False):
    """An incoming call reached the exchange."""

    phone: str
    trunk: str


class Dial(msgspec.Struct, frozen=True, gc=False):
    """Numbers are being rung. ``call_type``: "0" incoming step, "1" outgoing, "2" internal."""

    call_type: str
    phone: str
    numbers: tuple[str, ...]
    trunk: str
    when: Moment


class Visit(msgspec.Struct, frozen=True, gc=False):
    """A stay in a bridge. ``bridge`` is empty where the host named none: nobody knows who else was there."""

    bridge: str
    entered: Moment
    left: Moment | None = None


class Hangup(msgspec.Struct, frozen=True, gc=False):
    """The end macro of a dialplan leg ran. Times are texts of the host's wall clock, "" where not told."""

    call_type: str
    status: str
    phone: str
    numbers: tuple[str, ...]
    trunk: str
    start_time: str
    end_time: str
    external_initiated: bool
    when: Moment

    @property
    def answered(self) -> bool:
        """True for ANSWER and TALK (events.md 4)."""
        return self.status in {"2", "5"}


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """There is a recording of the leg: its id, and the position of the newest fact that says so."""

    id: str
    position: int


class Leg(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """State of one leg; ``number``, ``channel``, ``connected``, ``exten`` are the newest told that say anything."""

    unique_id: str
    first: Moment
    last: Moment
    start: Start | None = None
    dials: tuple[Dial, ...] = ()
    visits: tuple[Visit, ...] = ()
    hangup: Hangup | None = None
    channel: str = ""
    number: str = ""
    connected: str = ""
    exten: str = ""
    leaves: bool = False
    """A bridge_leave of this leg was seen."""
    late: bool = False
    """It was seen entering a bridge that was no more."""
    sought: bool = False
    """A phone that a blind transfer rings (new_callerid, Context inoffice)."""
    external_initiated: bool = False
    upto: int = 0
    """Position of its newest fact where one of them was recovered, else 0: then it is that of ``last``."""
    silence: Silence | None = None
    recording: Recorded | None = None

    @property
    def counts(self) -> bool:
        """A leg known by new_callerid alone makes no call (CONTRACT 6, legs)."""
        return bool(self.start or self.dials or self.visits or self.hangup or self.leaves or self.late)

    @property
    def recovered(self) -> bool:
        """True where any event of it came by recovery."""
        return self.upto > 0

    @property
    def newest(self) -> int:
        """Position of its newest event."""
        return self.upto or int(self.last.position)

    @property
    def local_pair(self) -> str:
        """Name shared by both halves of a Local channel, "" for any other channel."""
        return read_channel(self.channel).pair

    @property
    def inside(self) -> Visit | None:
        """The bridge that the leg is in as far as its own events tell."""
        if self.visits and self.visits[-1].left is None:
            return self.visits[-1]
        return None


def fold(leg: Leg | None, fact: Fact, event: Event | None, unique_id: str, *, counts: bool = True) -> Leg:
    """The leg after one more fact.

    ``event`` is the body read (None for observations), ``unique_id`` the leg that it is told to: a bridge's end
    is told to every leg inside. ``counts`` is False for entering a bridge that is no more.
    """
    when = Moment(fact.order or fact.position, fact.occurred_at)
    if leg is None:
        leg = Leg(unique_id=unique_id, first=when, last=when)
    if event is None:
        return _noted(leg, fact)
    if fact.source == "recovery" or leg.upto:
        leg = replace(leg, upto=max(fact.position, leg.newest))
    if event.external_initiated and not leg.external_initiated:
        leg = replace(leg, external_initiated=True)
    if fact.kind in OF_CHANNELS:
        return _channel(leg, fact.kind, event, when, counts=counts)
    return _after(leg, fact.kind, event, when)


def _noted(leg: Leg, fact: Fact) -> Leg:
    """What is no event: it is not heard of the leg itself, so ``last`` stays."""
    if fact.kind == SILENCE_OBSERVED:
        return replace(leg, silence=read_silence(fact.body))
    if fact.kind == RECORDING_ADDED and (leg.recording is None or leg.recording.position < fact.position):
        return replace(leg, recording=Recorded(read_recording(fact.body).id, fact.position))
    return leg


def _after(leg: Leg, kind: str, event: Event, when: Moment) -> Leg:
    match kind:
        case "dial":
            return replace(leg, last=when, dials=_dial(leg.dials, event, when))
        case "start":
            return replace(leg, last=when, start=leg.start or Start(event.phone.strip(), event.trunk.strip()))
        case "bridge_destroy":
            return replace(leg, last=when, visits=_end(leg.visits, event.bridge_id.strip(), when))
        case "hangup":
            return replace(leg, last=when, hangup=_hangup(leg.hangup, event, when))
        case _:
            return replace(leg, last=when)


def _channel(leg: Leg, kind: str, event: Event, when: Moment, *, counts: bool) -> Leg:
    """What a channel says of itself; an empty or unknown text does not replace what is known."""
    visits, late, sought = leg.visits, leg.late, leg.sought
    if kind == "bridge_leave":
        visits = _leave(visits, event.bridge_id.strip(), when)
    elif kind == "new_callerid":
        sought = sought or event.context.strip() == "inoffice"
    elif counts:
        visits = _enter(visits, event, when)
    else:
        late = True
    channel, connected = event.channel, event.connected
    return replace(
        leg,
        last=when,
        visits=visits,
        leaves=leg.leaves or kind == "bridge_leave",
        late=late,
        sought=sought,
        channel=leg.channel if channel == leg.channel else _said(channel) or leg.channel,
        connected=leg.connected if connected == leg.connected else _said(connected) or leg.connected,
        exten=leg.exten or (event.exten and _said(event.exten)),
        # After a transfer the Local half carries the customer's number: the first word about a channel is its own.
        number=leg.number or _said(event.caller),
    )


def _said(text: str) -> str:
    text = text.strip()
    return "" if text == "<unknown>" else text


def _dial(dials: tuple[Dial, ...], event: Event, when: Moment) -> tuple[Dial, ...]:
    dial = Dial(event.kind_of_call, event.phone.strip(), event.numbers, event.trunk.strip(), when)
    for known in dials:
        if known.numbers == dial.numbers and replace(known, when=when) == dial:
            return dials
    return (*dials, dial)


def _enter(visits: tuple[Visit, ...], event: Event, when: Moment) -> tuple[Visit, ...]:
    """A channel is in at most one bridge: entering the next implies leaving the last (events.md 7)."""
    bridge = event.bridge_id.strip()
    visit = Visit(bridge, when)
    if visits and visits[-1].left is None:
        if visits[-1].bridge == bridge:
            return visits
        return (*visits[:-1], closed(visits[-1], when), visit)
    return (*visits, visit)


def _leave(visits: tuple[Visit, ...], bridge: str, when: Moment) -> tuple[Visit, ...]:
    """Leaving another bridge than the last entered says that the leg had moved there meanwhile (events.md 7)."""
    if not visits or visits[-1].left is not None:
        return visits
    left = (*visits[:-1], closed(visits[-1], when))
    return left if visits[-1].bridge == bridge else (*left, Visit(bridge, when, when))


def _end(visits: tuple[Visit, ...], bridge: str, when: Moment) -> tuple[Visit, ...]:
    if visits and visits[-1].left is None and visits[-1].bridge == bridge:
        return (*visits[:-1], closed(visits[-1], when))
    return visits


def closed(visit: Visit, when: Moment) -> Visit:
    """The stay, left at ``when``."""
    return Visit(visit.bridge, visit.entered, when)


def _hangup(known: Hangup | None, event: Event, when: Moment) -> Hangup:
    """The first hangup stands; a later one (delivered twice, or recovered) only fills what was not told."""
    told = Hangup(
        call_type=event.kind_of_call,
        status=event.status,
        phone=event.phone.strip(),
        numbers=event.numbers,
        trunk=event.trunk.strip(),
        start_time=event.start_time.strip(),
        end_time=event.end_time.strip(),
        external_initiated=bool(event.external_initiated),
        when=when,
    )
    if known is None:
        return told
    better = told if told.answered and not known.answered else known
    filled = {
        name: getattr(better, name) or getattr(told, name) or getattr(known, name)
        for name in ("call_type", "status", "phone", "numbers", "trunk", "start_time", "end_time")
    }
    return replace(known, **filled)
