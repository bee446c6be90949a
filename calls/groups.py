"""What the switchboard keeps: legs, the groups that strong links join, bridges; and what it says of a fact."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, final

from mypy_extensions import mypyc_attr

from calls.facts import Fact
from calls.ties import Tie
from calls.unique_ids import age, epoch_of
from calls.values import Value
from calls.visits import Visit


@final
@mypyc_attr(acyclic=True)
class Move(Value):
    """A leg that has a new leader. ``old`` is "" for a leg never seen before."""

    def __init__(self, unique_id: str, old: str, new: str) -> None:
        self.unique_id = unique_id
        self.old = old
        self.new = new

    def parts(self) -> tuple[object, ...]:
        return self.unique_id, self.old, self.new


@final
@mypyc_attr(acyclic=True)
class Route(Value):
    """Where a fact goes: ``legs`` fold it; ``counts`` is False for entering a bridge that is no more.

    ``early``: a recording that was there before its leg, to be folded behind the first event of it. ``decided_by``:
    legs whose ties have found a call by the fact, be it the one that they were of.
    """

    def __init__(
        self,
        legs: tuple[str, ...],
        counts: bool = True,
        moves: tuple[Move, ...] = (),
        early: Fact | None = None,
        decided_by: tuple[str, ...] = (),
    ) -> None:
        self.legs = legs
        self.counts = counts
        self.moves = moves
        self.early = early
        self.decided_by = decided_by

    def parts(self) -> tuple[object, ...]:
        return self.legs, self.counts, self.moves, self.early, self.decided_by


NOWHERE: Final = Route(())


@final
@mypyc_attr(acyclic=True)
class BoardLeg:
    """What decides who leads, what it is tied to, and under which names the leg is known."""

    def __init__(self, unique_id: str, group: "Group", first_at: datetime) -> None:
        self.unique_id = unique_id
        self.age = age(unique_id)
        self.epoch = epoch_of(unique_id)
        self.group = group
        self.first_at = first_at
        self.rank = 3
        """0: has a start; 1: a dial that began a call; 2: the caller's channel; 3: anything else; 4: to a mobile."""
        self.bridge = ""
        """The bridge it is in."""
        self.bridges: tuple[str, ...] = ()
        self.pairs: tuple[str, ...] = ()
        self.linked: tuple[str, ...] = ()
        self.channel = ""
        """As told last in a bridge: nothing new is to be learnt from the same again."""
        self.dialled = False
        self.ties: tuple[Tie, ...] = ()
        self.visits: tuple[Visit, ...] = ()
        """What its group became the guest of by its ties, and who left it, in this order."""
        self.traits: tuple[str, ...] = ()
        self.hung: datetime | None = None
        """When its hangup came."""
        self.hung_up: datetime | None = None
        """When it hung up by its host's clock."""


@final
class Group:
    """Legs that strong links join, in the order they came, and the one of them that leads."""

    def __init__(self, leader: str) -> None:
        self.legs = [leader]
        self.leader = leader
        self.begins = False
        """It has a beginning of its own: a start, or a dial that is nobody's mobile."""
        self.host: Group | None = None
        self.top: Group | None = None
        """Of a guest: the group that leads the conversation, its host or the host's."""
        self.guests: tuple[Group, ...] = ()
        self.tied: tuple[str, Tie] | None = None
        """The leg and the tie that made it a guest."""
        self.unsure = False
        """Its host had hung up when it came, or did not dial its number: a running call that fits goes before."""
        self.leaves = False
        """A bridge_leave or bridge_destroy was seen."""
        self.last_at: datetime | None = None
        """When it was heard of last, where it leads."""
        self.went_on = False
        """It was heard of after its leader had hung up: somebody else is rung, or talks (1-4, 1-7)."""
        self.silent: datetime | None = None
        """When silence was observed since the last event."""

    def root(self) -> "Group":
        """The group that leads the conversation."""
        return self.top or self

    def visits(self, other: "Group") -> bool:
        """True where ``other`` is this group, its host, or the host's."""
        group: Group | None = self
        while group is not None and group is not other:
            group = group.host
        return group is other

    def all(self) -> "Sequence[Group]":
        """The group and its guests, and theirs."""
        if not self.guests:
            return (self,)
        found = [self]
        for group in found:
            found.extend(group.guests)
        return found


@final
@mypyc_attr(acyclic=True)
class Bridge:
    """Who was ever seen in a bridge, who is in it, and whether it is no more."""

    def __init__(self) -> None:
        self.seen: dict[str, str | None] = {}
        """By leg, whom it saw when it entered; None where it was seen leaving alone."""
        self.inside: tuple[str, ...] = ()
        self.destroyed = False

    def enter(self, leg: str) -> None:
        """This leg is in it from now on."""
        if leg not in self.inside:
            self.inside = (*self.inside, leg)

    def leave(self, leg: str) -> None:
        """This leg is in it no more."""
        if leg in self.inside:
            self.inside = tuple([other for other in self.inside if other != leg])


def remember(group: Group, before: dict[str, str]) -> None:
    """Note who leads the conversation of this group and its guests, before that changes."""
    leader = (group.top or group).leader
    for one in group.all() if group.guests else (group,):
        for unique_id in one.legs:
            if unique_id not in before:
                before[unique_id] = leader
