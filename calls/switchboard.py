"""The switchboard of one enterprise: which legs are in which bridge, which belong together, which one leads.

A small synchronous fold over the enterprise's facts in arrival order. It is asked before a mailbox is chosen, and
it is the same for actors and projections, so both reach the same calls from the same facts (DESIGN: Legs and
conversations; evidence: events.md 6).

Legs that strong links join are a group, for ever. A group without a beginning of its own may be the guest of another
by one weak link (calls.ties); it is on its own again as soon as it shows a beginning or loses what tied it. A group
that is nobody's guest leads: it and its guests are a conversation.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, final

from calls.channels import read_channel
from calls.directory import Directory
from calls.events import Event
from calls.facts import RECORDING_ADDED, SILENCE_OBSERVED, Fact
from calls.groups import NOWHERE, BoardLeg, Bridge, Group, Move, Route
from calls.numbers import is_extension
from calls.ties import RUNG, Tie, forwarded, ties, traits
from calls.times import host_end
from calls.told import kind_of_call, numbers_of
from calls.unique_ids import NO_EPOCH, age, epoch_of
from calls.visits import LEFT, Visit

RINGS = 120
"""Seconds that a manager's phone may ring before a click-to-call dials the customer."""
TOGETHER = 5
"""Seconds between the halves of a Local pair; the names begin anew when an Asterisk is started again."""
BEHIND = timedelta(seconds=30)
"""A call that hung up longer than this before a leg came is not the leg's, where no host's clock tells."""
EMPTY = timedelta(minutes=10)
"""Likewise where its last hangup was never told: somebody may still be rung."""
CLOCKS = timedelta(seconds=1)
"""EndTime and the epoch in UniqueId are both whole seconds of one host."""
REMEMBERED: Final = timedelta(seconds=60)
"""How long after its last event a call that hung up may be found by a leg, or find one.

Then memory may let go of it. By the time of the facts, so that it makes no difference when memory does, or whether a
restart comes between.
"""
REMEMBERED_SILENT: Final = timedelta(minutes=10)
"""Likewise of a call that silence has ended, from that observation on.

What its host could not deliver may be on its way yet, and its new legs are known by what the call has shown.
"""
MOST_EARLY: Final = 256
"""Recordings that may wait in memory for their legs."""


EARLIEST = datetime(1, 1, 1, tzinfo=UTC)

_OF_BRIDGES: Final = frozenset({"bridge_create", "bridge_destroy"})
_GOING_ON: Final = frozenset({"dial", "bridge", "new_callerid"})
"""Kinds of events by which somebody is rung, or talks."""


@final
class Switchboard:
    """Who belongs to whom in one enterprise."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._legs: dict[str, BoardLeg] = {}
        self._bridges: dict[str, Bridge] = {}
        self._pairs: dict[str, str] = {}
        self._linked: dict[str, str] = {}
        self._known: dict[str, list[str]] = {}
        """By trait, the legs that show it."""
        self._tied: dict[str, list[str]] = {}
        """By the numbers of a tie, the legs that have it."""
        self._early: dict[str, Fact] = {}
        """Recordings of legs that are not known (yet)."""
        self._now = EARLIEST
        """When the fact came that is being folded."""
        self._position = 0
        """Of that fact."""
        self._placed: Mapping[str, str] = {}
        """While calls are put back: whose leg each is. What was decided beside calls that are not put back stands."""
        self._decided: frozenset[str] = frozenset()
        """Those of them that are put back: their visits are known."""
        self._undecided: set[str] | None = None
        """Legs that are put back and placed nowhere: meanwhile they alone look for a host."""
        self._visits: deque[tuple[str, Visit]] = deque()
        """What is to be decided again, in its order."""
        self._surely = False
        """True while legs are put where they are known to belong."""

    def __len__(self) -> int:
        """Number of legs that are known."""
        return len(self._legs)

    def knows(self, unique_id: str) -> bool:
        """False for a leg never seen, or forgotten."""
        return unique_id in self._legs

    def leader(self, unique_id: str) -> str:
        """UniqueId of the leg that leads this leg's conversation; the leg itself while nothing is known of it."""
        leg = self._legs.get(unique_id)
        return (leg.group.top or leg.group).leader if leg else unique_id

    def last_heard(self, unique_id: str) -> datetime:
        """When the newest event of this leg's conversation came; long ago for a leg never seen."""
        leg = self._legs.get(unique_id)
        return (leg and leg.group.root().last_at) or EARLIEST

    def silent_since(self, unique_id: str) -> datetime | None:
        """When silence was observed of this leg's conversation, if nothing was heard of it since."""
        leg = self._legs.get(unique_id)
        return leg.group.root().silent if leg else None

    def members(self, unique_id: str) -> tuple[str, ...]:
        """All legs of this leg's conversation."""
        leg = self._legs.get(unique_id)
        if leg is None:
            return ()
        root = leg.group.top or leg.group
        if not root.guests:
            return tuple(root.legs)
        found: list[str] = []
        for group in root.all():
            found += group.legs
        return tuple(found)

    def forgets(self, unique_id: str, now: datetime) -> bool:
        """True where this leg's call is over for so long that memory may have let go of it, or was never seen.

        Nothing new is part of it then; of what it was, the store tells. What shows no beginning may be waiting for it.
        """
        leg = self._legs.get(unique_id)
        if leg is None:
            return True
        root = leg.group.top or leg.group
        if root.last_at is None or now - root.last_at <= REMEMBERED or not root.begins:
            return False
        if root.silent is not None:
            return now - root.silent > REMEMBERED_SILENT
        return self._legs[root.leader].hung is not None and not self._is_inside(root)

    def in_doubt(self, unique_id: str) -> bool:
        """True while this leg's conversation may well prove to be part of another: no card yet.

        That is a leg to a mobile whose call was not found, a Local pair alone, and a dial of somebody who talks.
        """
        leg = self._legs.get(unique_id)
        if leg is None:
            return False
        group = leg.group.root()
        members = [self._legs[member] for member in group.legs]
        if any(member.bridges or member.hung for member in members):
            return False
        if not group.begins:
            return any(
                tie.why in {"dial", "local"} and self._holds(one, tie) for one in members for tie in one.ties
            )
        return leg.rank == 1 and any(
            self._legs[other].bridge and self._legs[other].group.root() is not group
            for trait in leg.traits
            if is_extension(trait)
            for other in self._known.get(trait, ())
        )

    def forget(self, unique_ids: Iterable[str]) -> None:
        """Let go of legs whose call is settled; a later fact of theirs wakes them from the store."""
        gone = {unique_id: leg for unique_id in unique_ids if (leg := self._legs.pop(unique_id, None))}
        bridges = self._bridges
        for unique_id, leg in gone.items():
            for name in leg.bridges:
                if (bridge := bridges.get(name)) is not None and bridge.seen.keys() <= gone.keys():
                    del bridges[name]
            for name in leg.pairs:
                if self._pairs.get(name) in gone:
                    del self._pairs[name]
            for name in leg.linked:
                if self._linked.get(name) in gone:
                    del self._linked[name]
            _drop(self._known, leg.traits, unique_id)
            for tie in leg.ties:
                _drop(self._tied, _names(tie), unique_id)
            host = leg.group.host
            if host is not None and host.legs[0] not in gone:
                self._leave_host(leg.group)
            leg.group.host = leg.group.top = None  # or both would stay until Python's collector comes

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
        self._position = fact.position
        at = self._now = fact.occurred_at
        leg = self._legs.get(unique_id)
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
            self._look_for_host(leg, kind, event, before)
        if news:
            self._show(leg, kind, event, before)
        if self._visits:
            self._visit_again(self._position, before)
        self._hear(group.top or group, kind, at)
        if before:
            return Route((unique_id,), counts, self._moves(before), self._early.pop(unique_id, None))
        return Route((unique_id,), counts)

    def _meet(self, unique_id: str, at: datetime) -> BoardLeg:
        """A leg that was never seen."""
        if self._undecided is not None and unique_id not in self._decided:
            self._undecided.add(unique_id)
        leg = self._legs[unique_id] = BoardLeg(unique_id, Group(unique_id), at)
        return leg

    def _hear(self, root: Group, kind: str, at: datetime) -> None:
        root.silent, root.last_at = None, at
        if kind in _GOING_ON and self._legs[root.leader].hung is not None:
            root.went_on = True

    def reroute(self, fact: Fact, event: Event | None) -> Route:
        """Route a fact of calls that are put back: groups become guests again where they did."""
        if not self._visits:
            return self.route(fact, event)
        before: dict[str, str] = {}
        self._visit_again(fact.position - 1, before)
        moves, route = self._moves(before), self.route(fact, event)
        return Route(route.legs, route.counts, (*moves, *route.moves), route.early)

    def visits(self, unique_ids: Iterable[str]) -> dict[str, tuple[Visit, ...]]:
        """What each of these legs has tied its group to; without those that have not, or were never seen."""
        legs = self._legs
        return {one: leg.visits for one in unique_ids if (leg := legs.get(one)) is not None and leg.visits}

    def parted(self, unique_id: str) -> int:
        """Position of the last fact by which somebody left the conversation that this leg leads, or 0."""
        leg = self._legs.get(unique_id)
        return max((visit.position for visit in leg.visits if visit.tie == LEFT), default=0) if leg else 0

    def begin_placed(self, placed: Mapping[str, str], visits: Mapping[str, Sequence[Visit]]) -> None:
        """Calls are put back from here to ``settle_placed``: whose leg each is, and what each has visited."""
        self._placed = placed
        self._decided = frozenset(unique_id for unique_id in placed if unique_id not in self._legs)
        self._undecided = set() if placed else None
        known = [(leg, visit) for leg, theirs in visits.items() if leg in self._decided for visit in theirs]
        self._visits = deque(sorted(known, key=lambda one: one[1].position))

    def settle_placed(self) -> tuple[Move, ...]:
        """Let legs find the calls that they are placed in, where what made them look again is not here to be told."""
        before: dict[str, str] = {}
        if self._visits:
            self._visit_again(self._visits[-1][1].position, before)
        self._decided, self._undecided = frozenset(), None
        self._surely = True
        for unique_id, call_id in self._placed.items():
            leg = self._legs.get(unique_id)
            if leg is not None and not leg.group.begins and self.leader(unique_id) != self.leader(call_id):
                self._settle(leg.group, before, anew=True)
        self._surely = False
        self._placed = {}
        return self._moves(before)

    def _visit_again(self, upto: int, before: dict[str, str]) -> None:
        """Let groups become the guests that they became by facts up to this position."""
        visits = self._visits
        while visits and visits[0][1].position <= upto:
            unique_id, visit = visits.popleft()
            leg, host = self._legs.get(unique_id), self._legs.get(visit.host)
            if leg is None:
                continue
            leg.visits = (*leg.visits, visit)
            if host is None or not 0 <= visit.tie < len(leg.ties):
                continue  # it is with another call now, that is not here
            if not leg.group.begins and not host.group.visits(leg.group):
                self._move_to(leg.group, host.group, (unique_id, leg.ties[visit.tie]), before)

    def _observe(self, fact: Fact) -> Route:
        unique_id = fact.stream.partition("/")[2]
        leg = self._legs.get(unique_id)
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
        over = root.silent is not None or self._legs[root.leader].hung is not None
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
            name not in leg.bridges and all(self.forgets(other, self._now) for other in bridge.seen)
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
        inside = tuple(sorted((leg for leg in bridge.inside if leg in self._legs), key=age))
        bridge.inside = ()
        for unique_id in inside:
            leg = self._legs[unique_id]
            leg.bridge, leg.group.leaves = "", True
            leg.group.root().last_at = at
        return Route(inside)

    # strong links, never undone

    def _join_bridge(self, leg: BoardLeg, bridge: str, before: dict[str, str]) -> None:
        """Seen in one bridge (events.md 6)."""
        legs = self._legs
        for other in self._bridges[bridge].seen:
            if (met := legs.get(other)) is not None and met.group is not leg.group:
                self._join(leg, met, before)

    def _join_named(self, leg: BoardLeg, event: Event, before: dict[str, str]) -> None:
        """Two halves of one Local name, one Linkedid (events.md 6)."""
        if (pair := read_channel(event.channel).pair) and pair not in leg.pairs:
            leg.pairs = (*leg.pairs, pair)
            half = self._pairs.get(pair)
            if half and abs(epoch_of(half) - leg.epoch) <= TOGETHER and not self.forgets(half, self._now):
                self._join(leg, self._legs[half], before)
            else:
                self._pairs[pair] = leg.unique_id
        if (linked := event.linked_id.strip()) and linked not in leg.linked:
            leg.linked = (*leg.linked, linked)
            other = self._linked.get(linked)
            if other and not self.forgets(other, self._now):
                self._join(leg, self._legs[other], before)
            else:
                self._linked[linked] = leg.unique_id

    def _join(self, leg: BoardLeg, met: BoardLeg, before: dict[str, str]) -> None:
        if met.group is leg.group:
            return
        mine, theirs = leg.group, met.group
        loses = mine if self._goes_before(theirs.leader, mine.leader) else theirs
        for group in (mine, theirs):
            if group is loses or group.host is not None:
                self._remember(group, before)
        hosts = ((mine.host, mine.tied), (theirs.host, theirs.tied))
        self._leave_host(mine)
        self._leave_host(theirs)
        self._merge(mine, theirs)
        if loses is mine:
            mine.leader = theirs.leader
        if mine.begins:
            self._look_no_more(mine)
            return
        for host, tied in hosts:
            elsewhere = host is not None and host is not mine and host is not theirs
            if host is not None and elsewhere and not mine.host and host.root() is not mine:
                self._remember(mine, before)
                self._visit_host(mine, host, tied)

    def _merge(self, mine: Group, theirs: Group) -> None:
        for moved in theirs.legs:
            self._legs[moved].group = mine
        mine.legs = [*theirs.legs, *mine.legs]
        mine.begins |= theirs.begins
        mine.leaves |= theirs.leaves
        if theirs.guests:
            for guest in theirs.all()[1:]:
                guest.top = mine
            for guest in theirs.guests:
                guest.host = mine
            mine.guests = (*mine.guests, *theirs.guests)

    def _lead(self, leg: BoardLeg, before: dict[str, str]) -> None:
        """The leg's rank has changed."""
        group = leg.group
        leader = group.legs[0]
        for one in group.legs:
            if self._goes_before(one, leader):
                leader = one
        if leader != group.leader:
            self._remember(group, before)
            group.leader = leader

    def _goes_before(self, one: str, other: str) -> bool:
        """Who leads goes by rank, then by age (DESIGN: Legs and conversations)."""
        mine, theirs = self._legs[one], self._legs[other]
        return mine.rank < theirs.rank or (mine.rank == theirs.rank and mine.age < theirs.age)

    def _remember(self, group: Group, before: dict[str, str]) -> None:
        """Note who leads the conversation of this group and its guests, before that changes."""
        leader = (group.top or group).leader
        for one in group.all() if group.guests else (group,):
            for unique_id in one.legs:
                if unique_id not in before:
                    before[unique_id] = leader

    def _moves(self, before: dict[str, str]) -> tuple[Move, ...]:
        legs = self._legs
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
        leg = self._legs.get(leader)
        if leg is None or leader in self._decided or leg.group.root().leader != leader:
            return
        if not leg.visits or (leg.visits[-1].position, leg.visits[-1].tie) != (self._position, LEFT):
            leg.visits = (*leg.visits, Visit(self._position, LEFT, unique_id))

    # weak links, which give way

    def _show(self, leg: BoardLeg, kind: str, event: Event, before: dict[str, str]) -> None:
        """Note by what the event makes the leg's call findable, and let those find it who look for it."""
        for trait in traits(kind, event, leg.unique_id, self.directory):
            if trait not in leg.traits:
                leg.traits = (*leg.traits, trait)
                self._known.setdefault(trait, []).append(leg.unique_id)
                if trait in self._tied:
                    self._call_guests(trait, leg, before)

    def _look_for_host(self, leg: BoardLeg, kind: str, event: Event, before: dict[str, str]) -> None:
        group, anew = leg.group, bool(before)
        for tie in ties(kind, event, leg.unique_id, self.directory):
            if tie not in leg.ties:
                anew = True
                leg.ties = (*leg.ties, tie)
                for name in _names(tie):
                    self._tied.setdefault(name, []).append(leg.unique_id)
        if kind == "start" or (kind == "dial" and not _is_forwarded(leg)):
            group.begins = True
            self._look_no_more(group)
            if group.host is not None:
                self._remember(group, before)
                self._leave_host(group)
        elif anew or group.tied is not None:
            self._settle(group, before, anew=anew)

    def _look_no_more(self, group: Group) -> None:
        """A group with a beginning of its own is nobody's guest."""
        for unique_id in group.legs:
            leg = self._legs[unique_id]
            if leg.ties:
                for tie in leg.ties:
                    _drop(self._tied, _names(tie), unique_id)
                leg.ties = ()

    def _call_guests(self, trait: str, newcomer: BoardLeg, before: dict[str, str]) -> None:
        """Somebody new is known under this number: those who look for it elsewhere may find their call."""
        for unique_id in tuple(self._tied[trait]):
            leg = self._legs[unique_id]
            group = leg.group
            if group.host is not None and not group.unsure:
                continue
            if leg.first_at > self._now or not self._is_candidate(newcomer, trait, leg):
                continue  # it came later: a call is being woken
            if self.forgets(unique_id, self._now) or (leg.hung is not None and self._is_past(group.root())):
                continue
            self._settle(group, before, anew=True)

    def _is_candidate(self, newcomer: BoardLeg, trait: str, leg: BoardLeg) -> bool:
        """Whether the newcomer's call may be what ``leg`` looks for, and is not the one it has found."""
        root = newcomer.group.root()
        if root is leg.group.root():
            return False
        for tie in leg.ties:
            if tie.key == trait:
                if self._may_host(newcomer, leg, tie):
                    return True
            elif tie.hint == trait:
                for other in self._known.get(tie.key, ()):
                    host = self._legs[other]
                    if host.group.root() is root and self._may_host(host, leg, tie):
                        return True
        return False

    def _settle(self, group: Group, before: dict[str, str], *, anew: bool) -> None:
        """Keep the host of a group while what ties it holds; else, or where there is something new, find one."""
        if group.tied is not None:
            unique_id, tie = group.tied
            if not self._holds(self._legs[unique_id], tie):
                self._remember(group, before)
                self._leave_host(group)
            elif not (anew and group.unsure):
                return
        elif not anew:
            return
        if self._undecided is not None and not self._undecided.issuperset(group.legs):
            return
        for unique_id in group.legs:
            leg = self._legs[unique_id]
            for place, tie in enumerate(leg.ties):
                host = self._find(leg, tie) if self._holds(leg, tie) else None
                if host is not None:
                    leg.visits = (*leg.visits, Visit(self._position, place, host.leader))
                    self._move_to(group, host, (unique_id, tie), before)
                    return

    def _move_to(self, group: Group, host: Group, tied: tuple[str, Tie], before: dict[str, str]) -> None:
        self._remember(group, before)
        self._leave_host(group)
        self._visit_host(group, host, tied)

    def _holds(self, leg: BoardLeg, tie: Tie) -> bool:
        """False where the leg has shown since that it is no lone end, or is not alone."""
        if tie.why == "hangup":
            return not (leg.bridges or leg.pairs or leg.dialled)
        if tie.why == "dial" and is_extension(tie.key):
            return not read_channel(leg.channel).inside  # a phone's own second line is a call of its own
        if tie.why == "channel" and len(leg.group.legs) > 1:
            return all(
                other == leg.unique_id or self._legs[other].pairs or not self._legs[other].bridges
                for other in leg.group.legs
            )
        return True

    def _find(self, leg: BoardLeg, tie: Tie) -> Group | None:
        """The one running call that fits; None where none does, or two equally well."""
        known = self._known.get(tie.key)
        if known is None:
            return None
        legs, mine, now = self._legs, leg.group, self._now
        decided: set[str] = set()
        fitting: dict[str, BoardLeg] = {}
        for other in reversed(known):
            host = legs[other]
            group = host.group
            leader = (root := group.top or group).leader
            if leader in decided or host.first_at > now or group is mine:
                continue  # what came later than the fact that is told: a call is being woken
            if (group.host is not None and group.visits(mine)) or not self._may_host(host, leg, tie):
                continue
            if self._placed and self._is_apart(other, leg.unique_id):
                continue
            decided.add(leader)
            if self._surely or not self._is_over(root, leg, tie):
                fitting[leader] = host
        if fitting and tie.why == "channel" and tie.hint:
            fitting = self._where(fitting, tie.hint)
        if not fitting:
            return None
        chosen = next(iter(fitting)) if len(fitting) == 1 else self._choose(fitting, tie)
        return fitting[chosen].group if chosen else None

    def _is_apart(self, one: str, other: str) -> bool:
        """True where it is known that they are legs of two calls."""
        placed = self._placed
        return one in placed and other in placed and placed[one] != placed[other]

    def _choose(self, fitting: dict[str, BoardLeg], tie: Tie) -> str | None:
        """Of several calls that fit, the only one in which the person talks, or the other number takes part too.

        A mobile's leg follows the dial that rings it: of two calls of one customer it is of the one that dialled last.
        """
        if tie.why == "sought" and len(fitting) > 1:
            return None
        running = {leader: host for leader, host in fitting.items() if self._legs[leader].hung is None}
        fitting = running or fitting
        if is_extension(tie.key):
            fitting = {leader: host for leader, host in fitting.items() if host.bridge}
        else:
            fitting = self._where(fitting, tie.hint)
        if len(fitting) > 1 and tie.why == "channel":
            fitting = {leader: host for leader, host in fitting.items() if self._legs[leader].rank == 1}
        if len(fitting) > 1 and tie.why == "dial":
            for other in reversed(self._known.get(tie.hint, ())):
                leader = self._legs[other].group.root().leader
                if leader in fitting:
                    return leader
        return next(iter(fitting)) if len(fitting) == 1 else None

    def _where(self, fitting: dict[str, BoardLeg], number: str) -> dict[str, BoardLeg]:
        """The calls in which this number takes part too, or is rung."""
        rung = RUNG + number
        if number not in self._known and rung not in self._known:
            return {}
        found: dict[str, BoardLeg] = {}
        for leader, host in fitting.items():
            for one in self.members(leader):
                shown = self._legs[one].traits
                if number in shown or rung in shown:
                    found[leader] = host
                    break
        return found

    @staticmethod
    def _may_host(host: BoardLeg, leg: BoardLeg, tie: Tie) -> bool:
        """Who asks or forwards was there first; a click-to-call rings its manager before it dials (1-2)."""
        return host.age <= leg.age or (
            tie.why == "channel" and host.rank == 1 and host.epoch - leg.epoch <= RINGS
        )

    def _is_over(self, root: Group, leg: BoardLeg, tie: Tie) -> bool:
        """The call was over before this leg began: by the host's clock, else by ours."""
        if root.silent is not None:
            return True
        lead = self._legs[root.leader]
        silent = leg.first_at - (root.last_at or leg.first_at)
        long_ago = silent > BEHIND
        if (lead.hung is None and not long_ago) or self._is_inside(root):
            return False
        if lead.hung is None:
            return root.leaves and silent > EMPTY
        if self._is_past(root):
            return True
        if root.went_on and not (root.leaves and tie.why == "hangup"):
            return long_ago
        epoch = leg.epoch
        if lead.hung_up is not None and epoch != NO_EPOCH:
            last = float(epoch)
            if tie.why == "hangup" and leg.hung_up is not None:
                last = leg.hung_up.timestamp()  # who was asked in vain hung up before who asked
            return last > (lead.hung_up + CLOCKS).timestamp()
        return leg.first_at - lead.hung > BEHIND

    def _is_past(self, root: Group) -> bool:
        """Nothing was heard of the call for so long that it may have been forgotten, if it is over."""
        return self._now - (root.last_at or self._now) > REMEMBERED

    def _is_inside(self, root: Group) -> bool:
        """Somebody is in a bridge, as far as a host tells who leaves."""
        groups = root.all() if root.guests else (root,)
        for group in groups:
            if group.leaves:
                break
        else:
            return False
        legs = self._legs
        for group in groups:
            for one in group.legs:
                if legs[one].bridge:
                    return True
        return False

    def _visit_host(self, group: Group, host: Group, tied: tuple[str, Tie] | None) -> None:
        top = host.top or host
        group.host, group.tied, group.top = host, tied, top
        if group.guests:
            for one in group.all():
                one.top = top
        lead = self._legs[top.leader]
        alone = tied is not None and tied[1].why == "channel"
        group.unsure = lead.hung is not None or (alone and lead.rank != 1)
        host.guests = (*host.guests, group)

    def _leave_host(self, group: Group) -> None:
        host = group.host
        if host is not None:
            host.guests = tuple([guest for guest in host.guests if guest is not group])
            group.host = group.tied = group.top = None
            if group.guests:
                for guest in group.all()[1:]:
                    guest.top = group


def _is_forwarded(leg: BoardLeg) -> bool:
    """It rings somebody's mobile on the way of another call."""
    for tie in leg.ties:
        if tie.why == "dial":
            return True
    return False


def _names(tie: Tie) -> tuple[str, ...]:
    """Where a leg with this tie is to be told of somebody new: also of the other number, which may decide."""
    return (tie.key, tie.hint) if tie.hint and not is_extension(tie.key) else (tie.key,)


def _drop(index: dict[str, list[str]], names: Iterable[str], unique_id: str) -> None:
    for name in names:
        known = index[name]
        if len(known) > 1:
            known.remove(unique_id)
        else:
            del index[name]
