"""What the switchboard keeps: legs, the groups that strong links join, bridges; and what it says of a fact."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from calls.facts import Fact
from calls.ties import Tie


class Move(msgspec.Struct, frozen=True, gc=False):
    """A leg that has a new leader. ``old`` is "" for a leg never seen before."""

    unique_id: str
    old: str
    new: str


LEFT: Final = -1
"""In the place of a tie: a guest left the conversation that the leg leads."""


class Visit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """That a leg's group became another's guest. It is stored, as what decided it is not known any more later."""

    position: int
    """Of the fact by which it was decided."""
    tie: int
    """Which of the leg's ties it was by, or LEFT."""
    host: str
    """A leg of the other group; of the one that left."""


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where a fact goes: ``legs`` fold it; ``counts`` is False for entering a bridge that is no more.

    ``early``: a recording that was there before its leg, to be folded behind the first event of it.
    """

    legs: tuple[str, ...]
    counts: bool = True
    moves: tuple[Move, ...] = ()
    early: Fact | None = None


NOWHERE: Final = Route(())


class BoardLeg(msgspec.Struct, gc=False):
    """What decides who leads, what it is tied to, and under which names the leg is known."""

    unique_id: str
    age: tuple[int, int, str]
    group: "Group"
    first_at: datetime
    rank: int = 3
    """0: has a start; 1: a dial that began a call; 2: the caller's channel; 3: anything else; 4: to a mobile."""
    bridge: str = ""
    """The bridge it is in."""
    bridges: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    channel: str = ""
    """As told last in a bridge: nothing new is to be learnt from the same again."""
    dialled: bool = False
    ties: tuple[Tie, ...] = ()
    visits: tuple[Visit, ...] = ()
    """What its group became the guest of by its ties, and who left it, in this order."""
    traits: tuple[str, ...] = ()
    hung: datetime | None = None
    """When its hangup came."""
    hung_up: datetime | None = None
    """When it hung up by its host's clock."""


class Group(msgspec.Struct, eq=False):
    """Legs that strong links join, in the order they came, and the one of them that leads."""

    legs: list[str]
    leader: str
    begins: bool = False
    """It has a beginning of its own: a start, or a dial that is nobody's mobile."""
    host: "Group | None" = None
    top: "Group | None" = None
    """Of a guest: the group that leads the conversation, its host or the host's."""
    guests: "tuple[Group, ...]" = ()
    tied: tuple[str, Tie] | None = None
    """The leg and the tie that made it a guest."""
    unsure: bool = False
    """Its host had hung up when it came, or did not dial its number: a running call that fits goes before."""
    leaves: bool = False
    """A bridge_leave or bridge_destroy was seen."""
    last_at: datetime | None = None
    """When it was heard of last, where it leads."""
    went_on: bool = False
    """It was heard of after its leader had hung up: somebody else is rung, or talks (1-4, 1-7)."""
    silent: datetime | None = None
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


class Bridge(msgspec.Struct, gc=False):
    """Who was ever seen in a bridge, who is in it, and whether it is no more."""

    seen: dict[str, str | None]
    """By leg, whom it saw when it entered; None where it was seen leaving alone."""
    inside: set[str]
    destroyed: bool = False
