"""One leg: what the events of one UniqueId say, folded into an immutable state.

A leg knows only what happened to itself. Which legs make a call is the switchboard's business, what the
call then is the conversation's.
"""

from datetime import datetime
from typing import Final, final

from mypy_extensions import mypyc_attr

from calls.channels import read_channel
from calls.events import Event
from calls.facts import RECORDING_ADDED, SILENCE_OBSERVED, Fact, Place
from calls.observations import Silence, read_silence
from calls.recordings import read_recording
from calls.told import kind_of_call, numbers_of, status_of
from calls.values import Value

OF_CHANNELS: Final = frozenset({"bridge", "bridge_leave", "new_callerid"})
"""Kinds of events in which a channel says what it is and with whom it is connected (events.md 4)."""
ANSWERED: Final = frozenset({"2", "5"})
"""CallStatus of ANSWER and TALK (events.md 4)."""


@final
@mypyc_attr(acyclic=True)
class Moment(Value):
    """A place in the order of facts, and when that was (``occurred_at`` of the fact).

    That of a recovered fact lies between two positions (calls.order).
    """

    def __init__(self, position: Place, at: datetime) -> None:
        self.position = position
        self.at = at

    def parts(self) -> tuple[object, ...]:
        return self.position, self.at

    def __lt__(self, other: "Moment") -> bool:
        return self.position < other.position or (self.position == other.position and self.at < other.at)

    def __gt__(self, other: "Moment") -> bool:
        return other < self


@final
@mypyc_attr(acyclic=True)
class Start(Value):
    """An incoming call reached the exchange."""

    def __init__(self, phone: str, trunk: str) -> None:
        self.phone = phone
        self.trunk = trunk

    def parts(self) -> tuple[object, ...]:
        return self.phone, self.trunk


@final
@mypyc_attr(acyclic=True)
class Dial(Value):
    """Numbers are being rung. ``call_type``: "0" incoming step, "1" outgoing, "2" internal."""

    def __init__(
        self, call_type: str, phone: str, numbers: tuple[str, ...], trunk: str, when: Moment
    ) -> None:
        self.call_type = call_type
        self.phone = phone
        self.numbers = numbers
        self.trunk = trunk
        self.when = when

    def parts(self) -> tuple[object, ...]:
        return self.call_type, self.phone, self.numbers, self.trunk, self.when

    def says(self, other: "Dial") -> bool:
        """True where both tell the same, whenever they were."""
        return (
            self.numbers == other.numbers
            and self.call_type == other.call_type
            and self.phone == other.phone
            and self.trunk == other.trunk
        )


@final
@mypyc_attr(acyclic=True)
class Visit(Value):
    """A stay in a bridge. ``bridge`` is empty where the host named none: nobody knows who else was there."""

    def __init__(self, bridge: str, entered: Moment, left: Moment | None = None) -> None:
        self.bridge = bridge
        self.entered = entered
        self.left = left

    def parts(self) -> tuple[object, ...]:
        return self.bridge, self.entered, self.left


@final
@mypyc_attr(acyclic=True)
class Hangup(Value):
    """The end macro of a dialplan leg ran. Times are texts of the host's wall clock, "" where not told."""

    def __init__(
        self,
        *,
        when: Moment,
        call_type: str = "",
        status: str = "",
        phone: str = "",
        numbers: tuple[str, ...] = (),
        trunk: str = "",
        start_time: str = "",
        end_time: str = "",
        external_initiated: bool = False,
    ) -> None:
        self.call_type = call_type
        self.status = status
        self.phone = phone
        self.numbers = numbers
        self.trunk = trunk
        self.start_time = start_time
        self.end_time = end_time
        self.external_initiated = external_initiated
        self.when = when
        self.answered = status in ANSWERED

    def parts(self) -> tuple[object, ...]:
        return (
            self.call_type,
            self.status,
            self.phone,
            self.numbers,
            self.trunk,
            self.start_time,
            self.end_time,
            self.external_initiated,
            self.when,
        )


@final
@mypyc_attr(acyclic=True)
class Recorded(Value):
    """There is a recording of the leg: its id, and the position of the newest fact that says so."""

    def __init__(self, id_: str, position: int) -> None:
        self.id = id_
        self.position = position

    def parts(self) -> tuple[object, ...]:
        return self.id, self.position


@final
@mypyc_attr(acyclic=True)
class Leg(Value):
    """State of one leg; ``number``, ``channel``, ``connected``, ``exten`` are the newest told that say anything."""

    def __init__(self, unique_id: str, first: Moment, last: Moment) -> None:
        self.unique_id = unique_id
        self.first = first
        self.last = last
        self.start: Start | None = None
        self.dials: tuple[Dial, ...] = ()
        self.visits: tuple[Visit, ...] = ()
        self.hangup: Hangup | None = None
        self.channel = ""
        self.number = ""
        self.connected = ""
        self.exten = ""
        self.leaves = False
        """A bridge_leave of this leg was seen."""
        self.late = False
        """It was seen entering a bridge that was no more."""
        self.sought = False
        """A phone that a blind transfer rings (new_callerid, Context inoffice)."""
        self.external_initiated = False
        self.upto = 0
        """Position of its newest fact where one of them was recovered, else 0: then it is that of ``last``."""
        self.silence: Silence | None = None
        self.recording: Recorded | None = None

    def parts(self) -> tuple[object, ...]:
        return (
            self.unique_id,
            self.first,
            self.last,
            self.start,
            self.dials,
            self.visits,
            self.hangup,
            self.channel,
            self.number,
            self.connected,
            self.exten,
            self.leaves,
            self.late,
            self.sought,
            self.external_initiated,
            self.upto,
            self.silence,
            self.recording,
        )

    def copy(self) -> "Leg":
        """Another of the same state, to be changed before anybody else sees it."""
        new = Leg(self.unique_id, self.first, self.last)
        new.start = self.start
        new.dials = self.dials
        new.visits = self.visits
        new.hangup = self.hangup
        new.channel = self.channel
        new.number = self.number
        new.connected = self.connected
        new.exten = self.exten
        new.leaves = self.leaves
        new.late = self.late
        new.sought = self.sought
        new.external_initiated = self.external_initiated
        new.upto = self.upto
        new.silence = self.silence
        new.recording = self.recording
        return new

    def with_visits(self, visits: tuple[Visit, ...]) -> "Leg":
        """The leg, had it been in these bridges."""
        new = self.copy()
        new.visits = visits
        return new

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
    """The leg after one more fact; the one before stays as it is.

    ``event`` is the body read (None for observations), ``unique_id`` the leg that it is told to: a bridge's end
    is told to every leg inside. ``counts`` is False for entering a bridge that is no more.
    """
    when = Moment(fact.order or fact.position, fact.occurred_at)
    new = Leg(unique_id, when, when) if leg is None else leg.copy()
    if event is None:
        _note(new, fact)
        return new
    if fact.source == "recovery" or new.upto:
        new.upto = max(fact.position, new.newest)
    new.last = when
    if event.external_initiated:
        new.external_initiated = True
    kind = fact.kind
    if kind in OF_CHANNELS:
        _channel(new, kind, event, when, counts=counts)
    else:
        _step(new, kind, event, when)
    return new


def _note(leg: Leg, fact: Fact) -> None:
    """What is no event: it is not heard of the leg itself, so ``last`` stays."""
    if fact.kind == SILENCE_OBSERVED:
        leg.silence = read_silence(fact.body)
    elif fact.kind == RECORDING_ADDED and (leg.recording is None or leg.recording.position < fact.position):
        leg.recording = Recorded(read_recording(fact.body).id, fact.position)


def _step(leg: Leg, kind: str, event: Event, when: Moment) -> None:
    match kind:
        case "dial":
            leg.dials = _dial(leg.dials, event, when)
        case "start":
            leg.start = leg.start or Start(event.phone.strip(), event.trunk.strip())
        case "bridge_destroy":
            leg.visits = _end(leg.visits, event.bridge_id.strip(), when)
        case "hangup":
            leg.hangup = _hangup(leg.hangup, event, when)


def _channel(leg: Leg, kind: str, event: Event, when: Moment, *, counts: bool) -> None:
    """What a channel says of itself; an empty or unknown text does not replace what is known."""
    if kind == "bridge_leave":
        leg.visits = _leave(leg.visits, event.bridge_id.strip(), when)
        leg.leaves = True
    elif kind == "new_callerid":
        leg.sought = leg.sought or event.context.strip() == "inoffice"
    elif counts:
        leg.visits = _enter(leg.visits, event, when)
    else:
        leg.late = True
    channel, connected = event.channel, event.connected
    if channel != leg.channel:
        leg.channel = _said(channel) or leg.channel
    if connected != leg.connected:
        leg.connected = _said(connected) or leg.connected
    if not leg.exten:
        leg.exten = _said(event.exten)
    if not leg.number:
        # After a transfer the Local half carries the customer's number: the first word about a channel is its own.
        leg.number = _said(event.caller)


def _said(text: str) -> str:
    text = text.strip()
    return "" if text == "<unknown>" else text


def _dial(dials: tuple[Dial, ...], event: Event, when: Moment) -> tuple[Dial, ...]:
    dial = Dial(kind_of_call(event), event.phone.strip(), numbers_of(event), event.trunk.strip(), when)
    for known in dials:
        if known.says(dial):
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
        call_type=kind_of_call(event),
        status=status_of(event),
        phone=event.phone.strip(),
        numbers=numbers_of(event),
        trunk=event.trunk.strip(),
        start_time=event.start_time.strip(),
        end_time=event.end_time.strip(),
        external_initiated=bool(event.external_initiated),
        when=when,
    )
    if known is None:
        return told
    better = told if told.answered and not known.answered else known
    return Hangup(
        call_type=better.call_type or told.call_type or known.call_type,
        status=better.status or told.status or known.status,
        phone=better.phone or told.phone or known.phone,
        numbers=better.numbers or told.numbers or known.numbers,
        trunk=better.trunk or told.trunk or known.trunk,
        start_time=better.start_time or told.start_time or known.start_time,
        end_time=better.end_time or told.end_time or known.end_time,
        external_initiated=known.external_initiated,
        when=known.when,
    )
