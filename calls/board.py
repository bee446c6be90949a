"""The legs of one enterprise that are known, and what may be asked of their conversations.

Legs that strong links join are a group, for ever. A group without a beginning of its own may be the guest of another
by one weak link (calls.guests). A group that is nobody's guest leads: it and its guests are a conversation.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from calls.directory import Directory
from calls.groups import BoardLeg, Group
from calls.visits import LEFT, Visit

REMEMBERED: Final = timedelta(seconds=60)
"""How long after its last event a call that hung up may be found by a leg, or find one.

Then memory may let go of it. By the time of the facts, so that it makes no difference when memory does, or whether a
restart comes between.
"""
REMEMBERED_SILENT: Final = timedelta(minutes=10)
"""Likewise of a call that silence has ended, from that observation on.

What its host could not deliver may be on its way yet, and its new legs are known by what the call has shown.
"""
EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)


class Board:
    """Who belongs to whom, as of the fact that is being folded."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.legs: dict[str, BoardLeg] = {}
        self.now = EARLIEST
        """When the fact came that is being folded."""
        self.position = 0
        """Of that fact."""

    def __len__(self) -> int:
        """Number of legs that are known."""
        return len(self.legs)

    def knows(self, unique_id: str) -> bool:
        """False for a leg never seen, or forgotten."""
        return unique_id in self.legs

    def leader(self, unique_id: str) -> str:
        """UniqueId of the leg that leads this leg's conversation; the leg itself while nothing is known of it."""
        leg = self.legs.get(unique_id)
        return (leg.group.top or leg.group).leader if leg else unique_id

    def last_heard(self, unique_id: str) -> datetime:
        """When the newest event of this leg's conversation came; long ago for a leg never seen."""
        leg = self.legs.get(unique_id)
        return (leg and leg.group.root().last_at) or EARLIEST

    def silent_since(self, unique_id: str) -> datetime | None:
        """When silence was observed of this leg's conversation, if nothing was heard of it since."""
        leg = self.legs.get(unique_id)
        return leg.group.root().silent if leg else None

    def members(self, unique_id: str) -> tuple[str, ...]:
        """All legs of this leg's conversation."""
        leg = self.legs.get(unique_id)
        if leg is None:
            return ()
        root = leg.group.top or leg.group
        if not root.guests:
            return tuple(root.legs)
        found: list[str] = []
        for group in root.all():
            found += group.legs
        return tuple(found)

    def visits(self, unique_ids: Iterable[str]) -> dict[str, tuple[Visit, ...]]:
        """What each of these legs has tied its group to; without those that have not, or were never seen."""
        legs = self.legs
        return {one: leg.visits for one in unique_ids if (leg := legs.get(one)) is not None and leg.visits}

    def parted(self, unique_id: str) -> int:
        """Position of the last fact by which somebody left the conversation that this leg leads, or 0."""
        leg = self.legs.get(unique_id)
        return max((visit.position for visit in leg.visits if visit.tie == LEFT), default=0) if leg else 0

    def forgets(self, unique_id: str, now: datetime) -> bool:
        """True where this leg's call is over for so long that memory may have let go of it, or was never seen.

        Nothing new is part of it then; of what it was, the store tells. What shows no beginning may be waiting for it.
        """
        leg = self.legs.get(unique_id)
        if leg is None:
            return True
        root = leg.group.top or leg.group
        if root.last_at is None or now - root.last_at <= REMEMBERED or not root.begins:
            return False
        if root.silent is not None:
            return now - root.silent > REMEMBERED_SILENT
        return self.legs[root.leader].hung is not None and not self.is_inside(root)

    def is_past(self, root: Group) -> bool:
        """Nothing was heard of the call for so long that it may have been forgotten, if it is over."""
        return self.now - (root.last_at or self.now) > REMEMBERED

    def is_inside(self, root: Group) -> bool:
        """Somebody is in a bridge, as far as a host tells who leaves."""
        groups = root.all() if root.guests else (root,)
        for group in groups:
            if group.leaves:
                break
        else:
            return False
        legs = self.legs
        for group in groups:
            for one in group.legs:
                if legs[one].bridge:
                    return True
        return False
