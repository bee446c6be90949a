"""The switchboard of one enterprise: which legs are in which bridge, which belong together, which one leads.

A small synchronous fold over the enterprise's facts in arrival order. It is asked before a mailbox is chosen, and
it is the same for actors and projections, so both reach the same calls from the same facts (DESIGN: Legs and
conversations; evidence: events.md 6).

Here are bridges and strong links, which are never undone; weak links are in calls.guests.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, final

from calls.board import Board
from calls.channels import read_channel
from calls.directory import Directory
from calls.events import Event
from calls.facts import RECORDING_ADDED, SILENCE_OBSERVED, Fact
from calls.groups import NOWHERE, BoardLeg, Bridge, Group, Move, Route, remember
from calls.guests import Guests
from calls.numbers import is_extension
from calls.ties import forwarded
from calls.times import host_end
from calls.told import kind_of_call, numbers_of
from calls.unique_ids import age, epoch_of
from calls.visits import LEFT, Visit

TOGETHER: Final = 5
"""Seconds between the halves of a Local pair; the names begin anew when an Asterisk is started again."""
MOST_EARLY: Final = 256
"""Recordings that may wait in memory for their legs."""

_OF_BRIDGES: Final = frozenset({"bridge_create", "bridge_destroy"})
_GOING_ON: Final = frozenset({"dial", "bridge", "new_callerid"})
"""Kinds of events by which somebody is rung, or talks."""


@final
class Switchboard(Board):
    """Who belongs to whom in one enterprise."""

    def __init__(self, directory: Directory) -> None:
        super().__init__(directory)
        self._guests = Guests(self)
        self._bridges: dict[str, Bridge] = {}
        self._pairs: dict[str, str] = {}
        self._linked: dict[str, str] = {}
        self._early: dict[str, Fact] = {}
        """Recordings of legs that are not known (yet)."""

    def forget(self, unique_ids: Iterable[str]) -> None:
        """Let go of legs whose call is settled; a later fact of theirs wakes them from the store."""
        gone = {unique_id: leg for unique_id in unique_ids if (leg := self.legs.pop(unique_id, None))}
        bridges = self._bridges
        for leg in gone.values():
            for name in leg.bridges:
                if (bridge := bridges.get(name)) is not None and bridge.seen.keys() <= gone.keys():
                    del bridges[name]
            for name in leg.pairs:
                if self._pairs.get(name) in gone:
                    del self._pairs[name]
            for name in leg.linked:
                if self._linked.get(name) in gone:
                    del self._linked[name]
            self._guests.forget(leg, gone)
            leg.group.host = leg.group.top = None  # or both would stay until Python's collector comes

    def in_doubt(self, unique_id: str) -> bool:
        """True while this leg's conversation may well prove to be part of another: no card yet."""
        return self._guests.in_doubt(unique_id)

    def route(self, fact: Fact, event: Event | None) -> Route:
        """Fold one fact and say whom it concerns. ``event`` is None for what is no event of a host."""
        if event is None:
            return self._observe(fact)
        unique_id, kind = event.unique_id.strip(), fact.kind
        if kind in _OF_BRIDGES and (event.bridge_id.strip() or not unique_id):
            return self._whole_bridge(kind, event.bridge_id.strip(), fact.occurred_at)
        if not unique_id:
            return NOWHERE
        before: dict[str, str] = {}
        self._guests.begin()
        self.position = fact.position
        at = self.now = fact.occurred_at
        leg = self.legs.get(unique_id)
        if leg is None:
            leg = self._meet(unique_id, at)
            before[unique_id] = ""
        channel, rings = event.channel, kind == "new_callerid"
        # Of what it says of itself while it rings, nothing is looked at below but which half of a pair it is.
        news = not channel or (channel != leg.channel and (not rings or bool(read_channel(channel).pair)))
        counts = rings or self._note(leg, kind, event, at, before)
        if event.linked_id or (channel and news):
            self._join_named(leg, event, before)
        group = leg.group
        if not group.begins:
            self._guests.look_for_host(leg, kind, event, before)
        if news:
            self._guests.show(leg, kind, event, before)
        if self._guests.waiting:
            self._guests.visit_again(self.position, before)
        self._hear(group.top or group, kind, at)
        if not before:
            return Route((unique_id,), counts)
        early = self._early.pop(unique_id, None)
        return Route((unique_id,), counts, self._moves(before), early, self._guests.finish())

    def _meet(self, unique_id: str, at: datetime) -> BoardLeg:
        """A leg that was never seen."""
        self._guests.meet(unique_id)
        leg = self.legs[unique_id] = BoardLeg(unique_id, Group(unique_id), at)
        return leg

    def _hear(self, root: Group, kind: str, at: datetime) -> None:
        root.silent, root.last_at = None, at
        if kind in _GOING_ON and self.legs[root.leader].hung is not None:
            root.went_on = True

    def reroute(self, fact: Fact, event: Event | None) -> Route:
        """Route a fact of calls that are put back: groups become guests again where they did."""
        if not self._guests.waiting:
            return self.route(fact, event)
        before: dict[str, str] = {}
        self._guests.visit_again(fact.position - 1, before)
        moves, route = self._moves(before), self.route(fact, event)
        return Route(route.legs, route.counts, (*moves, *route.moves), route.early, route.decided_by)

    def begin_placed(self, placed: Mapping[str, str], visits: Mapping[str, Sequence[Visit]]) -> None:
        """Calls are put back from here to ``settle_placed``: whose leg each is, and what each has visited."""
        self._guests.begin_placed(placed, visits)

    def settle_placed(self) -> tuple[Move, ...]:
        """Let legs find the calls that they are placed in, where what made them look again is not here to be told."""
        before: dict[str, str] = {}
        self._guests.settle_placed(before)
        return self._moves(before)

    def _observe(self, fact: Fact) -> Route:
        unique_id = fact.stream.partition("/")[2]
        leg = self.legs.get(unique_id)
        if leg is None:
            if fact.kind == RECORDING_ADDED:
                self._expect(unique_id, fact)
            return NOWHERE
        if fact.kind == SILENCE_OBSERVED:
            leg.group.root().silent = fact.occurred_at
        return Route((unique_id,))

    def _expect(self, unique_id: str, recording: Fact) -> None:
        """Keep a recording whose leg is not known yet; the oldest give way: with its leg, the store tells it again."""
        self._early.pop(unique_id, None)
        self._early[unique_id] = recording
        if len(self._early) > MOST_EARLY:
            del self._early[next(iter(self._early))]

    # what a fact says of its leg

    def _note(self, leg: BoardLeg, kind: str, event: Event, at: datetime, before: dict[str, str]) -> bool:
        """False for entering a bridge that is no more."""
        rank, bridges, counts = leg.rank, leg.bridges, True
        match kind:
            case "bridge_leave":
                leg.group.leaves, leg.channel = True, event.channel
                self._leave(leg, event.bridge_id.strip())
            case "bridge":
                if rank > 2 and self._is_callers_channel(event, rank):
                    leg.rank = 2
                leg.channel = event.channel
                counts = self._enter(leg, event.bridge_id.strip(), event.connected.strip())
            case "dial":
                leg.dialled = True
                if rank > 1:
                    leg.rank = self._rank_by_dial(leg, event)
            case "hangup" if leg.hung_up is None:
                leg.hung = leg.hung or at
                leg.hung_up = host_end(leg.unique_id, event.end_time.strip(), self.directory.profile.timezone)
            case "start":
                leg.rank = 0
            case _:
                return True
        if leg.rank != rank:
            self._lead(leg, before)
        if leg.bridges is not bridges:
            self._join_bridge(leg, leg.bridges[-1], before)
        return counts

    def _rank_by_dial(self, leg: BoardLeg, event: Event) -> int:
        if not forwarded(event, self.directory):
            return 1 if self._is_main_dial(event) else leg.rank
        return 4 if leg.rank == 3 or (leg.rank == 2 and leg.pairs) else leg.rank

    @staticmethod
    def _is_main_dial(event: Event) -> bool:
        """The dial that began a call, not one to somebody's mobile on the way of another (events.md 6).

        A mobile's leg names whom it is called for in Extensions: the customer's number in place of an extension.
        """
        return (
            kind_of_call(event) != "1"
            or not (numbers := numbers_of(event))
            or any(map(is_extension, numbers))
        )

    @staticmethod
    def _is_callers_channel(event: Event, rank: int) -> bool:
        """A phone of the enterprise whose channel carries what was dialled (events.md 4, bridge)."""
        if not event.exten.strip() or not is_extension(event.caller.strip()):
            return False
        return rank == 3 or not read_channel(event.channel).pair

    def _enter(self, leg: BoardLeg, name: str, connected: str) -> bool:
        if not name:
            return True
        bridge = self._bridge(leg, name)
        if bridge.destroyed or (leg.bridge != name and self._is_repeated(leg, bridge, connected)):
            return False
        bridge.seen[leg.unique_id] = connected
        if leg.bridge and leg.bridge != name and leg.bridge in self._bridges:
            self._bridges[leg.bridge].leave(leg.unique_id)
        leg.bridge = name
        bridge.enter(leg.unique_id)
        return True

    def _is_repeated(self, leg: BoardLeg, bridge: Bridge, connected: str) -> bool:
        """An old event delivered again would bring back who left long ago.

        Who comes back to a bridge sees somebody else than at first (1-3, 2-9), and does so before the call is over.
        """
        before = bridge.seen[leg.unique_id]
        if before is None:
            return False
        root = leg.group.root()
        if not root.leaves and before == connected:
            return True
        over = root.silent is not None or self.legs[root.leader].hung is not None
        return over and not (root.leaves and bridge.inside)

    def _leave(self, leg: BoardLeg, name: str) -> None:
        """Leaving another bridge than the last entered says that it had left that one before (events.md 7)."""
        if name:
            self._bridge(leg, name).leave(leg.unique_id)
        if leg.bridge != name and leg.bridge in self._bridges:
            self._bridges[leg.bridge].leave(leg.unique_id)
        leg.bridge = ""

    def _bridge(self, leg: BoardLeg, name: str) -> Bridge:
        """A bridge that this leg was seen in."""
        bridge = self._bridges.get(name)
        if bridge is None or (
            name not in leg.bridges and all(self.forgets(other, self.now) for other in bridge.seen)
        ):
            bridge = self._bridges[name] = Bridge()
        if name not in leg.bridges:
            bridge.seen.setdefault(leg.unique_id)
            leg.bridges = (*leg.bridges, name)
        return bridge

    def _whole_bridge(self, kind: str, name: str, at: datetime) -> Route:
        bridge = self._bridges.get(name)
        if bridge is None or kind == "bridge_create":
            return NOWHERE
        bridge.destroyed = True
        if not bridge.inside:
            return NOWHERE
        inside = tuple(sorted((leg for leg in bridge.inside if leg in self.legs), key=age))
        bridge.inside = ()
        for unique_id in inside:
            leg = self.legs[unique_id]
            leg.bridge, leg.group.leaves = "", True
            leg.group.root().last_at = at
        return Route(inside)

    # strong links, never undone

    def _join_bridge(self, leg: BoardLeg, bridge: str, before: dict[str, str]) -> None:
        """Seen in one bridge (events.md 6)."""
        legs = self.legs
        for other in self._bridges[bridge].seen:
            if (met := legs.get(other)) is not None and met.group is not leg.group:
                self._join(leg, met, before)

    def _join_named(self, leg: BoardLeg, event: Event, before: dict[str, str]) -> None:
        """Two halves of one Local name, one Linkedid (events.md 6)."""
        if (pair := read_channel(event.channel).pair) and pair not in leg.pairs:
            leg.pairs = (*leg.pairs, pair)
            half = self._pairs.get(pair)
            if half and abs(epoch_of(half) - leg.epoch) <= TOGETHER and not self.forgets(half, self.now):
                self._join(leg, self.legs[half], before)
            else:
                self._pairs[pair] = leg.unique_id
        if (linked := event.linked_id.strip()) and linked not in leg.linked:
            leg.linked = (*leg.linked, linked)
            other = self._linked.get(linked)
            if other and not self.forgets(other, self.now):
                self._join(leg, self.legs[other], before)
            else:
                self._linked[linked] = leg.unique_id

    def _join(self, leg: BoardLeg, met: BoardLeg, before: dict[str, str]) -> None:
        if met.group is leg.group:
            return
        mine, theirs = leg.group, met.group
        loses = mine if self._goes_before(theirs.leader, mine.leader) else theirs
        for group in (mine, theirs):
            if group is loses or group.host is not None:
                remember(group, before)
        hosts = ((mine.host, mine.tied), (theirs.host, theirs.tied))
        self._guests.leave_host(mine)
        self._guests.leave_host(theirs)
        self._merge(mine, theirs)
        if loses is mine:
            mine.leader = theirs.leader
        if mine.begins:
            self._guests.look_no_more(mine)
            return
        for host, tied in hosts:
            elsewhere = host is not None and host is not mine and host is not theirs
            if host is not None and elsewhere and not mine.host and host.root() is not mine:
                remember(mine, before)
                self._guests.visit_host(mine, host, tied)

    def _merge(self, mine: Group, theirs: Group) -> None:
        for moved in theirs.legs:
            self.legs[moved].group = mine
        mine.legs = [*theirs.legs, *mine.legs]
        mine.begins |= theirs.begins
        mine.leaves |= theirs.leaves
        if theirs.guests:
            for guest in theirs.all()[1:]:
                guest.top = mine
            for guest in theirs.guests:
                guest.host = mine
            mine.guests = (*mine.guests, *theirs.guests)

    # who leads

    def _lead(self, leg: BoardLeg, before: dict[str, str]) -> None:
        """The leg's rank has changed."""
        group = leg.group
        leader = group.legs[0]
        for one in group.legs:
            if self._goes_before(one, leader):
                leader = one
        if leader != group.leader:
            remember(group, before)
            group.leader = leader

    def _goes_before(self, one: str, other: str) -> bool:
        """Who leads goes by rank, then by age (DESIGN: Legs and conversations)."""
        mine, theirs = self.legs[one], self.legs[other]
        return mine.rank < theirs.rank or (mine.rank == theirs.rank and mine.age < theirs.age)

    def _moves(self, before: dict[str, str]) -> tuple[Move, ...]:
        legs = self.legs
        moves = []
        for unique_id, old in before.items():
            group = legs[unique_id].group
            new = (group.top or group).leader
            if new != old:
                moves.append(Move(unique_id, old, new))
                if old and old != unique_id:
                    self._note_left(old, unique_id)
        return tuple(moves)

    def _note_left(self, leader: str, unique_id: str) -> None:
        """Who leads on without this leg shows another call, though none of its own facts is newer."""
        leg = self.legs.get(leader)
        if leg is None or self._guests.decided(leader) or leg.group.root().leader != leader:
            return
        if not leg.visits or (leg.visits[-1].position, leg.visits[-1].tie) != (self.position, LEFT):
            leg.visits = (*leg.visits, Visit(self.position, LEFT, unique_id))
