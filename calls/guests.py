"""Weak links: groups of legs without a beginning of their own look for the call that they are part of.

By the numbers that they tell (calls.ties) a group becomes the guest of a call that shows the same; it is on its own
again as soon as it shows a beginning or loses what tied it (DESIGN: Legs and conversations; evidence: events.md 6).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, final

from calls.board import Board
from calls.channels import read_channel
from calls.events import Event
from calls.groups import BoardLeg, Group, remember
from calls.numbers import is_extension
from calls.ties import RUNG, Tie, ties, traits
from calls.unique_ids import NO_EPOCH
from calls.visits import Visit

RINGS: Final = 120
"""Seconds that a manager's phone may ring before a click-to-call dials the customer."""
BEHIND: Final = timedelta(seconds=30)
"""A call that hung up longer than this before a leg came is not the leg's, where no host's clock tells."""
EMPTY: Final = timedelta(minutes=10)
"""Likewise where its last hangup was never told: somebody may still be rung."""
CLOCKS: Final = timedelta(seconds=1)
"""EndTime and the epoch in UniqueId are both whole seconds of one host."""


@final
class Guests:
    """Who looks for whom, and what was found."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: dict[str, list[str]] = {}
        """By trait, the legs that show it."""
        self._tied: dict[str, list[str]] = {}
        """By the numbers of a tie, the legs that have it."""
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
        self._came: list[Group] = []
        """Groups that became guests by the fact that is being folded."""
        self._decided_by: list[str] = []
        """Legs by whose ties they did."""

    def in_doubt(self, unique_id: str) -> bool:
        """True while this leg's conversation may well prove to be part of another: no card yet.

        That is a leg to a mobile whose call was not found, a Local pair alone, and a dial of somebody who talks.
        """
        legs = self._board.legs
        leg = legs.get(unique_id)
        if leg is None:
            return False
        group = leg.group.root()
        members = [legs[member] for member in group.legs]
        if any(member.bridges or member.hung for member in members):
            return False
        if not group.begins:
            return any(
                tie.why in {"dial", "local"} and self._holds(one, tie) for one in members for tie in one.ties
            )
        return leg.rank == 1 and any(
            legs[other].bridge and legs[other].group.root() is not group
            for trait in leg.traits
            if is_extension(trait)
            for other in self._known.get(trait, ())
        )

    def forget(self, leg: BoardLeg, gone: Mapping[str, BoardLeg]) -> None:
        """Let go of a leg, one of these."""
        _drop(self._known, leg.traits, leg.unique_id)
        for tie in leg.ties:
            _drop(self._tied, _names(tie), leg.unique_id)
        host = leg.group.host
        if host is not None and host.legs[0] not in gone:
            self.leave_host(leg.group)

    def show(self, leg: BoardLeg, kind: str, event: Event, before: dict[str, str]) -> None:
        """Note by what the event makes the leg's call findable, and let those find it who look for it."""
        for trait in traits(kind, event, leg.unique_id, self._board.directory):
            if trait not in leg.traits:
                leg.traits = (*leg.traits, trait)
                self._known.setdefault(trait, []).append(leg.unique_id)
                if trait in self._tied:
                    self._call_guests(trait, leg, before)

    def look_for_host(self, leg: BoardLeg, kind: str, event: Event, before: dict[str, str]) -> None:
        """Note by what the event ties the leg, whose group has no beginning yet, and find its call; or see it begin."""
        group, anew = leg.group, bool(before)
        for tie in ties(kind, event, leg.unique_id, self._board.directory):
            if tie not in leg.ties:
                anew = True
                leg.ties = (*leg.ties, tie)
                for name in _names(tie):
                    self._tied.setdefault(name, []).append(leg.unique_id)
        if kind == "start" or (kind == "dial" and not _is_forwarded(leg)):
            group.begins = True
            self.look_no_more(group)
            if group.host is not None:
                remember(group, before)
                self.leave_host(group)
        elif anew or group.tied is not None:
            self._settle(group, before, anew=anew)

    def look_no_more(self, group: Group) -> None:
        """A group with a beginning of its own is nobody's guest."""
        for unique_id in group.legs:
            leg = self._board.legs[unique_id]
            if leg.ties:
                for tie in leg.ties:
                    _drop(self._tied, _names(tie), unique_id)
                leg.ties = ()

    def _call_guests(self, trait: str, newcomer: BoardLeg, before: dict[str, str]) -> None:
        """Somebody new is known under this number: those who look for it elsewhere may find their call."""
        board = self._board
        for unique_id in tuple(self._tied[trait]):
            leg = board.legs[unique_id]
            group = leg.group
            if group.host is not None and not group.unsure:
                continue
            if leg.first_at > board.now or not self._is_candidate(newcomer, trait, leg):
                continue  # it came later: a call is being woken
            if board.forgets(unique_id, board.now) or (leg.hung is not None and board.is_past(group.root())):
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
                    host = self._board.legs[other]
                    if host.group.root() is root and self._may_host(host, leg, tie):
                        return True
        return False

    def _settle(self, group: Group, before: dict[str, str], *, anew: bool) -> None:
        """Keep the host of a group while what ties it holds; else, or where there is something new, find one."""
        if group.tied is not None:
            unique_id, tie = group.tied
            if not self._holds(self._board.legs[unique_id], tie):
                remember(group, before)
                self.leave_host(group)
            elif not (anew and group.unsure):
                return
        elif not anew:
            return
        if self._undecided is not None and not self._undecided.issuperset(group.legs):
            return
        for unique_id in group.legs:
            leg = self._board.legs[unique_id]
            for place, tie in enumerate(leg.ties):
                host = self._find(leg, tie) if self._holds(leg, tie) else None
                if host is not None:
                    leg.visits = (*leg.visits, Visit(self._board.position, place, host.leader))
                    self._decided_by.append(unique_id)
                    self._move_to(group, host, (unique_id, tie), before)
                    return

    def _move_to(self, group: Group, host: Group, tied: tuple[str, Tie], before: dict[str, str]) -> None:
        remember(group, before)
        self.leave_host(group)
        self.visit_host(group, host, tied)
        self._came.append(group)

    def _holds(self, leg: BoardLeg, tie: Tie) -> bool:
        """False where the leg has shown since that it is no lone end, or is not alone."""
        if tie.why == "hangup":
            return not (leg.bridges or leg.pairs or leg.dialled)
        if tie.why == "dial" and is_extension(tie.key):
            return not read_channel(leg.channel).inside  # a phone's own second line is a call of its own
        if tie.why == "channel" and len(leg.group.legs) > 1:
            others = [self._board.legs[other] for other in leg.group.legs if other != leg.unique_id]
            return all(other.pairs or not other.bridges for other in others)
        return True

    def _find(self, leg: BoardLeg, tie: Tie) -> Group | None:
        """The one running call that fits; None where none does, or two equally well."""
        known = self._known.get(tie.key)
        if known is None:
            return None
        legs, mine, now = self._board.legs, leg.group, self._board.now
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
        legs = self._board.legs
        running = {leader: host for leader, host in fitting.items() if legs[leader].hung is None}
        fitting = running or fitting
        if is_extension(tie.key):
            fitting = {leader: host for leader, host in fitting.items() if host.bridge}
        else:
            fitting = self._where(fitting, tie.hint)
        if len(fitting) > 1 and tie.why == "channel":
            fitting = {leader: host for leader, host in fitting.items() if legs[leader].rank == 1}
        if len(fitting) > 1 and tie.why == "dial":
            for other in reversed(self._known.get(tie.hint, ())):
                leader = legs[other].group.root().leader
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
            for one in self._board.members(leader):
                shown = self._board.legs[one].traits
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
        lead = self._board.legs[root.leader]
        silent = leg.first_at - (root.last_at or leg.first_at)
        long_ago = silent > BEHIND
        if (lead.hung is None and not long_ago) or self._board.is_inside(root):
            return False
        if lead.hung is None:
            return root.leaves and silent > EMPTY
        if self._board.is_past(root):
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

    def visit_host(self, group: Group, host: Group, tied: tuple[str, Tie] | None) -> None:
        """Make a group, which is nobody's guest, one of ``host``."""
        top = host.top or host
        group.host, group.tied, group.top = host, tied, top
        if group.guests:
            for one in group.all():
                one.top = top
        group.unsure = self._is_unsure(tied, top)
        host.guests = (*host.guests, group)

    def begin(self) -> None:
        """A fact is folded from here on; one that could not be leaves nothing."""
        if self._came or self._decided_by:
            self._came.clear()
            self._decided_by.clear()

    def finish(self) -> tuple[str, ...]:
        """When all of a fact is folded: the legs whose ties have found a call by it."""
        self._weigh()
        decided_by = tuple(self._decided_by)
        self._decided_by.clear()
        return decided_by

    def _weigh(self) -> None:
        """Who came by a fact is unsure or not by what it is part of when all of that is folded.

        So it makes no difference who came first where the host of one is a guest since the same fact: of calls that are
        put back nobody knows that.
        """
        for group in self._came:
            if group.top is not None:
                group.unsure = self._is_unsure(group.tied, group.top)
        self._came.clear()

    def _is_unsure(self, tied: tuple[str, Tie] | None, top: Group) -> bool:
        lead = self._board.legs[top.leader]
        alone = tied is not None and tied[1].why == "channel"
        return lead.hung is not None or (alone and lead.rank != 1)

    def leave_host(self, group: Group) -> None:
        """Let a group be on its own, with its guests."""
        host = group.host
        if host is not None:
            host.guests = tuple([guest for guest in host.guests if guest is not group])
            group.host = group.tied = group.top = None
            if group.guests:
                for guest in group.all()[1:]:
                    guest.top = group

    # calls that are put back

    @property
    def waiting(self) -> bool:
        """True while there is something to ``visit_again``."""
        return bool(self._visits)

    def decided(self, unique_id: str) -> bool:
        """True of a leg that is being put back where it is known to belong."""
        return unique_id in self._decided

    def meet(self, unique_id: str) -> None:
        """A leg was never seen before."""
        if self._undecided is not None and unique_id not in self._decided:
            self._undecided.add(unique_id)

    def begin_placed(self, placed: Mapping[str, str], visits: Mapping[str, Sequence[Visit]]) -> None:
        """As the switchboard's."""
        self._placed = placed
        self._decided = frozenset(unique_id for unique_id in placed if unique_id not in self._board.legs)
        self._undecided = set() if placed else None
        known = [(leg, visit) for leg, theirs in visits.items() if leg in self._decided for visit in theirs]
        self._visits = deque(sorted(known, key=lambda one: one[1].position))

    def settle_placed(self, before: dict[str, str]) -> None:
        """As the switchboard's."""
        if self._visits:
            self.visit_again(self._visits[-1][1].position, before)
        self._decided, self._undecided = frozenset(), None
        self._surely = True
        board = self._board
        for unique_id, call_id in self._placed.items():
            leg = board.legs.get(unique_id)
            if leg is not None and not leg.group.begins and board.leader(unique_id) != board.leader(call_id):
                self._settle(leg.group, before, anew=True)
        self.finish()
        self._surely = False
        self._placed = {}

    def visit_again(self, upto: int, before: dict[str, str]) -> None:
        """Let groups become the guests that they became by facts up to this position."""
        visits, legs = self._visits, self._board.legs
        at = self._board.position
        while visits and visits[0][1].position <= upto:
            unique_id, visit = visits.popleft()
            if visit.position != at:
                self._weigh()
                at = visit.position
            leg, host = legs.get(unique_id), legs.get(visit.host)
            if leg is None:
                continue
            leg.visits = (*leg.visits, visit)
            if host is None or not 0 <= visit.tie < len(leg.ties):
                continue  # it is with another call now, that is not here
            if not leg.group.begins and not host.group.visits(leg.group):
                self._move_to(leg.group, host.group, (unique_id, leg.ties[visit.tie]), before)
        self._weigh()


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
