"""The switchboard of one enterprise: which legs are in which bridge, which belong together, which one leads.

A small synchronous fold over the enterprise's facts in arrival order. It is asked before a mailbox is chosen, and
it is the same for actors and projections, so both reach the same calls from the same facts (DESIGN: Legs and
conversations; evidence: events.md 6).
"""

from collections.abc import Iterable
from functools import lru_cache

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


class _Leg(msgspec.Struct):
    """What decides who leads, and under which names the leg is known."""

    conversation: "_Conversation"
    rank: int = 3
    """0: has a start; 1: a dial that began a call; 2: the caller's channel; 3: anything else."""
    bridge: str = ""
    """The bridge it is in."""
    bridges: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()


class _Conversation(msgspec.Struct):
    """Legs that belong together, in the order they came, and the one that leads."""

    legs: list[str]
    leader: str


class _Bridge(msgspec.Struct):
    """Who was ever seen in a bridge, who is in it, and whether it is no more."""

    seen: list[str]
    inside: set[str]
    destroyed: bool = False


@lru_cache(maxsize=8192)
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
        gone = {unique_id: leg for unique_id in unique_ids if (leg := self._legs.pop(unique_id, None))}
        for leg in gone.values():
            for name in leg.bridges:
                bridge = self._bridges.get(name)
                if bridge is not None and all(unique_id in gone for unique_id in bridge.seen):
                    del self._bridges[name]
            for index, names in ((self._pairs, leg.pairs), (self._linked, leg.linked)):
                for name in names:
                    if index.get(name) in gone:
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
        leg = self._legs.get(unique_id)
        old = leg.conversation.leader if leg else ""
        if leg is None:
            leg = self._legs[unique_id] = _Leg(conversation=_Conversation([unique_id], unique_id))
        rank = leg.rank
        counts = self._note(leg, unique_id, fact.kind, event)
        joined = self._link(leg, unique_id, fact.kind, event, old)
        if joined or leg.rank != rank:
            self._elect(leg.conversation)
        if not joined and leg.conversation.leader == old:
            return Route((unique_id,), counts)
        before = joined or dict.fromkeys(leg.conversation.legs, old)
        return Route((unique_id,), counts, self._moves(leg.conversation, before))

    # what a fact says of its leg

    def _note(self, leg: _Leg, unique_id: str, kind: str, event: Event) -> bool:
        match kind:
            case "start":
                leg.rank = 0
            case "dial":
                if leg.rank > 1 and self._is_main_dial(event):
                    leg.rank = 1
            case "bridge":
                if leg.rank > 2 and self._is_callers_channel(event):
                    leg.rank = 2
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
        bridge = self._bridge(leg, unique_id, name)
        if bridge.destroyed:
            return False
        if leg.bridge and leg.bridge != name and leg.bridge in self._bridges:
            self._bridges[leg.bridge].inside.discard(unique_id)
        leg.bridge = name
        bridge.inside.add(unique_id)
        return True

    def _leave(self, leg: _Leg, unique_id: str, name: str) -> None:
        if name:
            self._bridge(leg, unique_id, name).inside.discard(unique_id)
        if leg.bridge == name:
            leg.bridge = ""

    def _bridge(self, leg: _Leg, unique_id: str, name: str) -> _Bridge:
        """A bridge that this leg was seen in."""
        bridge = self._bridges.get(name)
        if bridge is None:
            bridge = self._bridges[name] = _Bridge([], set())
        if unique_id not in bridge.seen:
            bridge.seen.append(unique_id)
            leg.bridges = (*leg.bridges, name)
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

    def _link(self, leg: _Leg, unique_id: str, kind: str, event: Event, old: str) -> dict[str, str]:
        """Strong links, never undone: one bridge, one Local name, one Linkedid (events.md 6).

        Legs that came together by this event and who led each before; empty where none did. ``old`` led this one.
        """
        others: list[str] = []
        if kind in {"bridge", "bridge_leave"} and (bridge := event.bridge_id.strip()):
            others += self._bridges[bridge].seen
        if (pair := local_pair(event.channel.strip())) and pair not in leg.pairs:
            leg.pairs = (*leg.pairs, pair)
            others.append(self._pairs.setdefault(pair, unique_id))
        if (linked := event.linked_id.strip()) and linked not in leg.linked:
            leg.linked = (*leg.linked, linked)
            others.append(self._linked.setdefault(linked, unique_id))
        joined: dict[str, str] = {}
        for other in others:
            self._join(leg, other, old, joined)
        return joined

    def _join(self, leg: _Leg, other: str, old: str, joined: dict[str, str]) -> None:
        met = self._legs.get(other)
        if met is None or met.conversation is leg.conversation:
            return
        mine, theirs = leg.conversation, met.conversation
        if not joined:
            joined.update(dict.fromkeys(mine.legs, old))
        joined.update(dict.fromkeys(theirs.legs, theirs.leader))
        for moved in theirs.legs:
            self._legs[moved].conversation = mine
        mine.legs = [*theirs.legs, *mine.legs]

    def _elect(self, conversation: _Conversation) -> None:
        """Who leads goes by rank, not by age (DESIGN: Legs and conversations)."""
        if len(conversation.legs) > 1:
            conversation.leader = min(conversation.legs, key=self._rank)

    def _rank(self, unique_id: str) -> tuple[int, tuple[int, int, str]]:
        return self._legs[unique_id].rank, age(unique_id)

    @staticmethod
    def _moves(conversation: _Conversation, before: dict[str, str]) -> tuple[Move, ...]:
        new = conversation.leader
        return tuple(Move(unique_id, old, new) for unique_id, old in before.items() if old != new)
