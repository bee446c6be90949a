"""What an actor can be told."""

import msgspec

from calls.deliveries import Post
from calls.events import Event
from calls.facts import Fact
from calls.legs import Leg


class Told(msgspec.Struct, frozen=True, gc=False):
    """A fact of this leg, or of the bridge it is in. ``counts``: see calls.groups.Route."""

    fact: Fact
    event: Event | None
    counts: bool = True


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A fact about a message that was sent while this leg led."""

    fact: Fact


class Follow(msgspec.Struct, frozen=True, gc=False):
    """From now on another leg leads the conversation: hand your state and every change to it."""

    leader: str


class Lead(msgspec.Struct, frozen=True, gc=False):
    """From now on you lead. These legs have been told to follow: say nothing before each has handed its state over."""

    expect: tuple[str, ...]


class Part(msgspec.Struct, frozen=True, gc=False):
    """These legs follow you no longer: they belong to another call, or to none."""

    unique_ids: tuple[str, ...]


class LegChanged(msgspec.Struct, frozen=True):
    """A follower's state as it is now (None: nothing could be folded), and the messages sent while it led."""

    unique_id: str
    leg: Leg | None
    posts: tuple[Post, ...]


class Restored(msgspec.Struct, frozen=True):
    """This leg's state as the store has it."""

    leg: Leg
    version: int
    posts: tuple[Post, ...]


Mail = Told | Delivered | Follow | Lead | Part | LegChanged | Restored
