"""One enterprise's calls folded from its facts: switchboard, legs and conversations together.

The projections fold with it, and the actors wake a call from the store with it; both therefore reach the same
calls from the same facts. Directory facts are folded in their place, so a call is told by the directory as of the
last fact that touched it.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import final

import msgspec
from mypy_extensions import mypyc_attr

from calls.board import EARLIEST, REMEMBERED, REMEMBERED_SILENT
from calls.call import Call
from calls.conversation import conversation, tell_call, told_by
from calls.details import Details, details
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.events import Event
from calls.facts import DIRECTORY_CHANGED, EVENT_KINDS, RECORDING_ADDED, SILENCE_OBSERVED, Fact
from calls.groups import Move
from calls.legs import Leg, fold
from calls.shapes import SHAPES
from calls.switchboard import Switchboard
from calls.told import stored_event
from calls.values import Value
from calls.visits import Visit

_change = msgspec.json.Decoder(DirectoryChange)
_EVENTS = frozenset(EVENT_KINDS)
_NOTED = frozenset({SILENCE_OBSERVED, RECORDING_ADDED})
"""What callfold itself adds of legs."""
UNKNOWN: "Mapping[str, Belonging]" = MappingProxyType({})
"""Nothing is known of whose leg is whose but by the facts themselves."""

FORGET_AFTER = REMEMBERED
"""How long a settled call stays in memory, by the time of its enterprise's facts."""
FORGET_SILENT_AFTER = REMEMBERED_SILENT
"""How long one stays that silence has ended, from that observation on."""
FORGET_LOST_AFTER = timedelta(hours=3)
"""How long legs stay that never came to be a call."""


def read_change(fact: Fact) -> DirectoryChange:
    """Body of a ``directory_changed`` fact. Raises as Shapes.read."""
    return SHAPES.read(DIRECTORY_CHANGED, fact.body, _change)


def event_of(fact: Fact) -> Event | None:
    """The host's event in a fact, None for what callfold added itself or for a kind that is not known."""
    return stored_event(fact.body) if fact.kind in _EVENTS else None


@final
@mypyc_attr(acyclic=True)
class Belonging(Value):
    """Whose leg it is. ``lost``: its conversation makes no call, but may still come to belong to one."""

    def __init__(self, call_id: str, lost: bool, visits: tuple[Visit, ...] = ()) -> None:
        self.call_id = call_id
        self.lost = lost
        self.visits = visits

    def parts(self) -> tuple[object, ...]:
        return self.call_id, self.lost, self.visits


@final
@mypyc_attr(acyclic=True)
class Changes(Value):
    """What became of an enterprise's calls: rows as they are now, rows that are no more, whose leg is whose."""

    def __init__(
        self,
        calls: dict[str, Call],
        gone: frozenset[str],
        legs: dict[str, Belonging],
        details: dict[str, Details],
        fresh: frozenset[str],
    ) -> None:
        self.calls = calls
        self.gone = gone
        self.legs = legs
        self.details = details
        self.fresh = fresh
        """Ids of calls that had no row before."""

    def parts(self) -> tuple[object, ...]:
        return self.calls, self.gone, self.legs, self.details, self.fresh


@final
class Exchange:
    """State of one enterprise's fold. ``apply`` takes its facts in order, ``take`` gives what changed since.

    ``detailed``: with the details of each call that is told.
    """

    def __init__(self, directory: Directory, *, detailed: bool = False) -> None:
        self._details: dict[str, Details] | None = {} if detailed else None
        self.board = Switchboard(directory)
        self.legs: dict[str, Leg] = {}
        self._touched: dict[str, None] = {}
        self._told: dict[str, Call] = {}
        self._gone: set[str] = set()
        self._rows: set[str] = set()
        self._fresh: set[str] = set()
        self._moved: dict[str, Belonging] = {}
        self._placed: dict[str, Belonging] = {}
        self._lost: set[str] = set()
        self._ended: dict[str, datetime] = {}
        self._next_sweep = EARLIEST
        self._unbegun: set[str] = set()
        """Legs of which a recovered fact came before the first that was stored."""

    @property
    def directory(self) -> Directory:
        """The directory as of the last fact."""
        return self.board.directory

    def misses(self, fact: Fact) -> bool:
        """True where the fact belongs to a leg that was forgotten, or is now: its call must be woken first."""
        if fact.version == 1 and not self._unbegun:
            return False
        kind, _, unique_id = fact.stream.partition("/")
        if kind != "leg" or (fact.version == 1 and unique_id not in self._unbegun):
            return False
        if not self.board.forgets(unique_id, fact.occurred_at):
            return False
        if self.board.knows(unique_id):
            self.tell()
            self._forget(unique_id)
        return True

    def placed(self, unique_id: str) -> bool:
        """True where it was noted since the last ``take`` whose leg this is."""
        return unique_id in self._moved

    def companions(self, unique_id: str) -> tuple[str, ...]:
        """The leg, and those that came to be of its call since the last ``take``."""
        place = self._moved.get(unique_id)
        if place is None:
            return (unique_id,)
        return tuple(leg for leg, other in self._moved.items() if other.call_id == place.call_id)

    def wake(
        self, facts: Iterable[Fact], placed: Mapping[str, Belonging] = UNKNOWN
    ) -> list[tuple[Fact, Exception]]:
        """Fold a forgotten call's facts again; nothing of it counts as changed. ``placed``: as of ``refold``.

        Gives back those that could not be folded, so that one of them does not keep the call asleep.
        """
        kept = self._touched
        self._touched = {}
        facts = list(facts)
        placed = self._told_places(facts, placed)
        leader = self.board.leader
        before = {unique_id: leader(unique_id) for unique_id in self.legs}
        failed = self.refold(facts, placed)
        # What was awake may have come to be of the call that was woken, and its own is told without it.
        moved = {unique_id: old for unique_id, old in before.items() if leader(unique_id) != old}
        kept |= dict.fromkeys((*moved, *moved.values()))
        awake = set(map(leader, before))
        woken = [unique_id for unique_id in self._touched if unique_id not in before]
        if not awake.isdisjoint(map(leader, woken)):
            kept |= dict.fromkeys(woken)
            for unique_id in woken:
                if leader(unique_id) != unique_id:
                    self._withdraw(unique_id)
        kept |= dict.fromkeys(self._come_apart(woken, placed))
        for leads in {leader(unique_id) for unique_id in self._touched}:
            call = self.call(leads)
            if call is None:
                self._lost.add(leads)
                continue
            self._rows.add(leads)
            if call.settled:
                self._ended[leads] = self._over_since(leads)
        self._touched = kept
        return failed

    def _told_places(self, facts: Iterable[Fact], placed: Mapping[str, Belonging]) -> dict[str, Belonging]:
        """The calls of the legs of these facts: as told since the last ``take``, else as ``placed``."""
        found: dict[str, Belonging] = {}
        for fact in facts:
            kind, _, unique_id = fact.stream.partition("/")
            if kind == "leg" and unique_id in self._moved:
                found[unique_id] = self._moved[unique_id]
            elif kind == "leg" and unique_id in placed:
                found[unique_id] = placed[unique_id]
        return found

    def _come_apart(self, woken: Iterable[str], placed: Mapping[str, Belonging]) -> Iterator[str]:
        """Legs that were woken elsewhere than they were told, and those of the calls that are told without them."""
        leader = self.board.leader
        for unique_id in woken:
            told = placed[unique_id].call_id if unique_id in placed else leader(unique_id)
            if told == leader(unique_id):
                continue
            yield unique_id
            if told in self.legs:
                yield told
                if leader(told) != told:
                    self._withdraw(told)

    def refold(
        self, facts: Iterable[Fact], placed: Mapping[str, Belonging] = UNKNOWN
    ) -> list[tuple[Fact, Exception]]:
        """Fold facts into legs and board alone, for whoever wants no rows. Gives back those that could not be.

        ``placed``: whose leg each is, where that was decided by more facts than these.
        """
        failed: list[tuple[Fact, Exception]] = []
        self.board.begin_placed(
            {unique_id: place.call_id for unique_id, place in placed.items()},
            {unique_id: place.visits for unique_id, place in placed.items()},
        )
        for fact in facts:
            try:
                self._fold(fact, again=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the call is folded
                failed.append((fact, error))
        self._follow(self.board.settle_placed())
        return failed

    def apply(self, fact: Fact) -> None:
        """Fold one fact. Kinds that are not known are skipped."""
        if fact.kind == DIRECTORY_CHANGED:
            self.tell()
            self.board.directory = self.directory.apply(read_change(fact))
            return
        self._fold(fact, again=False)
        if fact.occurred_at >= self._next_sweep:
            self._sweep(fact.occurred_at)

    def _fold(self, fact: Fact, *, again: bool) -> None:
        """``again``: of calls that are put back."""
        event: Event | None = None
        if fact.kind in _EVENTS:
            event = stored_event(fact.body)
        elif fact.kind not in _NOTED:
            return
        legs, touched = self.legs, self._touched
        route = self.board.reroute(fact, event) if again else self.board.route(fact, event)
        if route.moves:
            self._follow(route.moves)
        for unique_id in route.decided_by:
            touched[unique_id] = None
        if fact.order and fact.version > 1:
            self._unbegun.add(fact.stream.partition("/")[2])
        for unique_id in route.legs:
            legs[unique_id] = fold(legs.get(unique_id), fact, event, unique_id, counts=route.counts)
            touched[unique_id] = None
        if route.early is not None:
            for unique_id in route.legs:
                legs[unique_id] = fold(legs[unique_id], route.early, None, unique_id)

    def _follow(self, moves: Iterable[Move]) -> None:
        """Touch the calls that gained or lost a leg; what leads no longer has no row."""
        for move in moves:
            self._touched[move.unique_id] = None
            if not move.old:
                continue
            if self.board.leader(move.old) == move.old:
                self._touched[move.old] = None  # it leads on, without this leg
            else:
                self._lost.discard(move.old)
                self._retract(move.old)

    def _retract(self, leader: str) -> None:
        """A row whose leg leads no longer is no row any more."""
        self._ended.pop(leader, None)
        if leader in self._rows or leader in self._told:
            self._rows.discard(leader)
            self._withdraw(leader)

    def _withdraw(self, leader: str) -> None:
        """Take back what was told since the last ``take``, and the row where there is one."""
        self._told.pop(leader, None)
        if self._details:
            self._details.pop(leader, None)
        if leader in self._fresh:
            self._fresh.discard(leader)
        else:
            self._gone.add(leader)

    def call(self, unique_id: str) -> Call | None:
        """The call that this leg belongs to, as it is now."""
        leader = self.board.leader(unique_id)
        legs = {leg: self.legs[leg] for leg in self.board.members(leader) if leg in self.legs}
        call = conversation(legs, leader, self.directory) if legs else None
        return told_by(call, self.board.parted(leader)) if call else None

    def tell(self, quiet_since: datetime | None = None) -> None:
        """Tell the touched calls anew, by the directory as it is now; of a time, those silent since before it."""
        touched, known = self._touched, self.legs
        wanted: Iterable[str] = tuple(touched)
        if quiet_since is not None:
            wanted = [leg for leg in wanted if leg in known and known[leg].last.at < quiet_since]
        for leader in dict.fromkeys(map(self.board.leader, wanted)):
            members = self.board.members(leader)
            legs = {leg: known[leg] for leg in members if leg in known}
            whole = tell_call(legs, leader, self.directory) if legs else None
            call = told_by(whole[0], self.board.parted(leader)) if whole else None
            self._place(leader, members, lost=call is None)
            touched.pop(leader, None)
            for leg in members:
                touched.pop(leg, None)
            if whole is None or call is None:
                self._retract(leader)
                continue
            if self._details is not None:
                self._details[leader] = details(*whole)
            self._told[leader] = call
            if leader not in self._rows:
                self._rows.add(leader)
                if leader in self._gone:
                    self._gone.discard(leader)
                else:
                    self._fresh.add(leader)
            if call.settled:
                self._ended[leader] = self._over_since(leader)
            else:
                self._ended.pop(leader, None)

    def _over_since(self, leader: str) -> datetime:
        """FORGET_AFTER before it may be forgotten."""
        silent = self.board.silent_since(leader)
        return silent + (FORGET_SILENT_AFTER - FORGET_AFTER) if silent else self.board.last_heard(leader)

    def _place(self, leader: str, members: Iterable[str], *, lost: bool) -> None:
        """Note whose leg is whose, for the legs touched, or for all where the conversation came to be a call."""
        found = leader in self._lost and not lost
        (self._lost.add if lost else self._lost.discard)(leader)
        place, placed, touched = Belonging(leader, lost), self._placed, self._touched
        visits = self.board.visits(members)
        for leg in members:
            if found or leg in touched:
                mine = Belonging(leader, lost, visits[leg]) if leg in visits else place
                if placed.get(leg) != mine:
                    placed[leg] = self._moved[leg] = mine

    def take(self) -> Changes:
        """What changed since the last time."""
        self.tell()
        changes = Changes(
            self._told, frozenset(self._gone), self._moved, self._details or {}, frozenset(self._fresh)
        )
        self._fresh.clear()
        if self._details:
            self._details = {}
        self._told, self._gone, self._moved = {}, set(), {}
        return changes

    def _sweep(self, now: datetime) -> None:
        """Forget what settled a while ago, so that memory follows the open calls and not the history."""
        self._next_sweep = now + FORGET_AFTER / 2
        self.tell(quiet_since=now - FORGET_AFTER)
        for leader in [leader for leader, at in self._ended.items() if now - at > FORGET_AFTER]:
            self._forget_if(leader, now - FORGET_AFTER)
        for leader in list(self._lost):
            self._forget_if(leader, now - FORGET_LOST_AFTER)

    def _forget_if(self, leader: str, before: datetime) -> None:
        """Forget what was heard of before then, unless it was touched since it was told."""
        members = self.board.members(leader)
        if self.board.last_heard(leader) < before and self._touched.keys().isdisjoint(members):
            self._forget(leader)

    def _forget(self, unique_id: str) -> None:
        leader = self.board.leader(unique_id)
        members = self.board.members(leader)
        # Whoever wakes it before the next take() must find all of it: the tables do not know it yet.
        if leader in self._lost or not self._moved.keys().isdisjoint(members):
            visits = self.board.visits(members)
            self._moved |= {leg: Belonging(leader, False, visits.get(leg, ())) for leg in members}
        self.board.forget(members)
        self._ended.pop(leader, None)
        self._rows.discard(leader)
        self._lost.discard(leader)
        legs, placed = self.legs, self._placed
        for leg in members:
            legs.pop(leg, None)
            placed.pop(leg, None)
