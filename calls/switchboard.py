"""The switchboard of one enterprise: which legs are in which bridge, which belong together, which one leads.

A small synchronous fold over the enterprise's facts in arrival order. It is asked before a mailbox is chosen, and
it is the same for actors and projections, so both reach the same calls from the same facts (DESIGN: Legs and
conversations; evidence: events.md 6).
"""

from collections.abc import Iterable

import msgspec

from calls.directory import Directory
from calls.events import Event
from calls.facts import Fact
from calls.legs import local_pair
from calls.numbers import is_extension


class Move(msgspec.Struct, frozen=True, gc=False):
    """A leg that has a new leader. ``old`` is "" for a leg never seen before."""

    unique_id: str
    old: str
    new: str


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where a fact goes: ``legs`` fold it; ``counts`` is False for entering a bridge that is no more."""

    legs: tuple[str, ...]
    counts: bool = True
    moves: tuple[Move, ...] = ()


class _Leg(msgspec.Struct, gc=False):
    """What decides who leads, nothing more."""

    conversation: "_Conversation"
    has_start: bool = False
    has_dial: bool = False
    calls_out: bool = False
    bridge: str = ""


class _Conversation(msgspec.Struct):
    """Legs that belong together, in the order they came, and the one that leads."""

    legs: list[str]
    leader: str


class _Bridge(msgspec.Struct):
    """Who was ever seen in a bridge, who is in it, and whether it is no more."""

    seen: list[str]
    inside: set[str]
    destroyed: bool = False


def age(unique_id: str) -> tuple[int, int, str]:
    """Order of UniqueIds: epoch, then counter as a number; ids of other shapes come last, by text."""
    epoch, _, counter = unique_id.partition(".")
    if epoch.isascii() and epoch.isdigit() and (not counter or (counter.isascii() and counter.isdigit())):
        return int(epoch), int(counter or 0), unique_id
    return 1 << 62, 0, unique_id


class Switchboard:
    """Who belongs to whom in one enterprise."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._legs: dict[str, _Leg] = {}
        self._bridges: dict[str, _Bridge] = {}
        self._pairs: dict[str, str] = {}
        self._linked: dict[str, str] = {}

    def __len__(self) -> int:
        """Number of legs that are known."""
        return len(self._legs)

    def knows(self, unique_id: str) -> bool:
        """False for a leg never seen, or forgotten."""
        return unique_id in self._legs

    def leader(self, unique_id: str) -> str:
        """UniqueId of the leg that leads this leg's conversation; the leg itself while nothing is known of it."""
        leg = self._legs.get(unique_id)
        return leg.conversation.leader if leg else unique_id

    def members(self, unique_id: str) -> tuple[str, ...]:
        """All legs of this leg's conversation, in the order they came."""
        leg = self._legs.get(unique_id)
        return tuple(leg.conversation.legs) if leg else ()

    def forget(self, unique_ids: Iterable[str]) -> None:
        """Let go of legs whose call is settled; a later fact of theirs wakes them from the store."""
        gone = {unique_id for unique_id in unique_ids if self._legs.pop(unique_id, None)}
        for name, bridge in list(self._bridges.items()):
            if gone.issuperset(bridge.seen):
                del self._bridges[name]
        for index in (self._pairs, self._linked):
            for name in [name for name, unique_id in index.items() if unique_id in gone]:
                del index[name]

    def route(self, fact: Fact, event: Event | None) -> Route:
        """Fold one fact and say whom it concerns. ``event`` is None for what is no event of a host."""
        if event is None:
            unique_id = fact.stream.partition("/")[2]
            return Route((unique_id,)) if self.knows(unique_id) else Route(())
        unique_id = event.unique_id.strip()
        if fact.kind in {"bridge_create", "bridge_destroy"} and (event.bridge_id.strip() or not unique_id):
            return self._whole_bridge(fact.kind, event.bridge_id.strip())
        if not unique_id:
            return Route(())
        before = self._leaders(unique_id)
        leg = self._legs.get(unique_id)
        if leg is None:
            leg = _Leg(conversation=_Conversation([unique_id], unique_id))
            self._legs[unique_id] = leg
        counts = self._note(leg, unique_id, fact.kind, event)
        self._link(unique_id, fact.kind, event, before)
        self._elect(leg.conversation)
        return Route((unique_id,), counts, self._moves(leg.conversation, before))

    # what a fact says of its leg

    def _note(self, leg: _Leg, unique_id: str, kind: str, event: Event) -> bool:
        match kind:
            case "start":
                leg.has_start = True
            case "dial":
                leg.has_dial = leg.has_dial or self._is_main_dial(event)
            case "bridge":
                leg.calls_out = leg.calls_out or self._is_callers_channel(event)
                return self._enter(leg, unique_id, event.bridge_id.strip())
            case "bridge_leave":
                self._leave(leg, unique_id, event.bridge_id.strip())
            case _:
                pass
        return True

    def _is_main_dial(self, event: Event) -> bool:
        """The dial that began a call, not one to somebody's mobile on the way of another (events.md 6).

        A mobile's leg names whom it is called for in Extensions: the customer's number in place of an extension.
        """
        if event.kind_of_call != "1":
            return True
        return not event.numbers or any(is_extension(number) for number in event.numbers)

    @staticmethod
    def _is_callers_channel(event: Event) -> bool:
        """A phone of the enterprise whose channel carries what was dialled (events.md 4, bridge)."""
        return bool(event.exten.strip()) and is_extension(event.caller.strip())

    def _enter(self, leg: _Leg, unique_id: str, name: str) -> bool:
        if not name:
            return True
        bridge = self._bridge(name, unique_id)
        if bridge.destroyed:
            return False
        if leg.bridge and leg.bridge != name and leg.bridge in self._bridges:
            self._bridges[leg.bridge].inside.discard(unique_id)
        leg.bridge = name
        bridge.inside.add(unique_id)
        return True

    def _leave(self, leg: _Leg, unique_id: str, name: str) -> None:
        if name:
            self._bridge(name, unique_id).inside.discard(unique_id)
        if leg.bridge == name:
            leg.bridge = ""

    def _bridge(self, name: str, unique_id: str) -> _Bridge:
        bridge = self._bridges.get(name)
        if bridge is None:
            bridge = self._bridges[name] = _Bridge([], set())
        if unique_id not in bridge.seen:
            bridge.seen.append(unique_id)
        return bridge

    def _whole_bridge(self, kind: str, name: str) -> Route:
        bridge = self._bridges.get(name)
        if bridge is None or kind == "bridge_create":
            return Route(())
        bridge.destroyed = True
        inside = tuple(sorted(bridge.inside, key=age))
        bridge.inside.clear()
        for unique_id in inside:
            if unique_id in self._legs:
                self._legs[unique_id].bridge = ""
        return Route(tuple(unique_id for unique_id in inside if unique_id in self._legs))

    # which legs belong together

    def _link(self, unique_id: str, kind: str, event: Event, before: dict[str, str]) -> None:
        """Strong links, never undone: one bridge, one Local name, one Linkedid (events.md 6)."""
        others: list[str] = []
        bridge = event.bridge_id.strip()
        if bridge and kind in {"bridge", "bridge_leave"}:
            others += self._bridges[bridge].seen
        pair = local_pair(event.channel.strip())
        if pair:
            others.append(self._pairs.setdefault(pair, unique_id))
        linked = event.linked_id.strip()
        if linked:
            others.append(self._linked.setdefault(linked, unique_id))
        for other in others:
            self._join(unique_id, other, before)

    def _join(self, unique_id: str, other: str, before: dict[str, str]) -> None:
        mine = self._legs[unique_id].conversation
        met = self._legs.get(other)
        if met is None or met.conversation is mine:
            return
        theirs = met.conversation
        before.update(dict.fromkeys(theirs.legs, theirs.leader))
        for moved in theirs.legs:
            self._legs[moved].conversation = mine
        mine.legs = [*theirs.legs, *mine.legs]

    def _elect(self, conversation: _Conversation) -> None:
        """Who leads goes by rank, not by age (DESIGN: Legs and conversations)."""
        if len(conversation.legs) > 1:
            conversation.leader = min(conversation.legs, key=self._rank)

    def _rank(self, unique_id: str) -> tuple[int, tuple[int, int, str]]:
        leg = self._legs[unique_id]
        rank = 0 if leg.has_start else 1 if leg.has_dial else 2 if leg.calls_out else 3
        return rank, age(unique_id)

    # who has a new leader

    def _leaders(self, unique_id: str) -> dict[str, str]:
        leg = self._legs.get(unique_id)
        return dict.fromkeys(leg.conversation.legs, leg.conversation.leader) if leg else {unique_id: ""}

    @staticmethod
    def _moves(conversation: _Conversation, before: dict[str, str]) -> tuple[Move, ...]:
        new = conversation.leader
        return tuple(Move(unique_id, old, new) for unique_id, old in before.items() if old != new)
