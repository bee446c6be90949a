"""What the rules of a conversation look at (calls.conversation, calls.transfers), computed once a fold."""

from collections.abc import Mapping
from typing import final

from calls.call import Direction, Origin
from calls.directory import Directory
from calls.legs import Leg
from calls.parties import Party
from calls.rooms import Meeting


@final
class Evidence:
    """The legs of a call, who is at the end of each, and who met whom.

    ``calling``: the channel that an internal call began on; ``caller``: who of the enterprise began it;
    ``customer``: E.164 of the other party of an incoming or outgoing call; ``other``: the legs of the party that the
    people of the enterprise talk with; ``met``: who was in one room with it, and when.
    """

    def __init__(
        self,
        *,
        legs: Mapping[str, Leg],
        leader: Leg,
        people: Mapping[str, Party],
        directory: Directory,
        direction: Direction,
        origin: Origin,
        calling: Leg | None,
        caller: str | None,
        customer: str | None,
        other: frozenset[str],
        met: tuple[Meeting, ...],
    ) -> None:
        self.legs = legs
        self.leader = leader
        self.people = people
        self.directory = directory
        self.direction = direction
        self.origin = origin
        self.calling = calling
        self.caller = caller
        self.customer = customer
        self.other = other
        self.met = met
