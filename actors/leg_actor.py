"""The actor of one leg: its only writer and its only reader.

It folds its own facts. A follower hands every change to its leader's mailbox; the leader tells the call from all
legs, has it shown, and watches for silence. A drain runs only while there is mail, so an idle leg is an object and
its state, no task.
"""

from collections.abc import Iterable
from typing import Protocol

from actors.mail import Delivered, Follow, Lead, LegChanged, Mail, Part, Restored, Told
from calls.call import Call
from calls.conversation import conversation, told_by
from calls.deliveries import Post, fold_delivery
from calls.directory import Directory
from calls.facts import Fact, leg_stream
from calls.legs import Leg, fold
from otel.tracing import Span, SpanRef

MAILBOX = 256
"""Facts that may wait in a mailbox; a fuller one drops them and reads them again from the store."""

NOBODY: frozenset[str] = frozenset()


class Desk(Protocol):
    """What an actor needs of its surroundings: other actors, the chats, somebody to call when it fails."""

    @property
    def directory(self) -> Directory:
        """The enterprise's directory as it is now."""
        ...

    def parted(self, actor: "LegActor") -> int:
        """Position of the last fact by which a leg left the call that this one leads, or 0."""
        ...

    def post(self, unique_id: str, mail: Mail) -> None:
        """Put mail into another leg's mailbox."""
        ...

    def told(self, actor: "LegActor") -> None:
        """The leader's call changed: show it, and look after it when it falls silent."""
        ...

    def led_before(self, actor: "LegActor") -> None:
        """The actor leads no longer: forget what was pending for it."""
        ...

    def park(self, actor: "LegActor", fact: Fact, error: Exception) -> None:
        """Keep a fact that could not be folded, with its reason."""
        ...

    def span(self, actor: "LegActor", fact: Fact) -> Span:
        """The span of folding one fact."""
        ...

    def ready(self, actor: "LegActor") -> None:
        """There is mail: see that the actor's ``drain`` runs soon."""
        ...


class LegActor:
    """State and mailbox of one UniqueId."""

    __slots__ = (
        "behind",
        "call",
        "context",
        "desk",
        "expected",
        "followers",
        "leader",
        "leg",
        "mail",
        "posts",
        "unique_id",
        "version",
    )

    def __init__(self, unique_id: str, desk: Desk) -> None:
        self.unique_id = unique_id
        self.desk = desk
        self.leader = unique_id
        self.leg: Leg | None = None
        self.version = 0
        """Last version of the leg's stream that was folded."""
        self.posts: tuple[Post, ...] = ()
        """Messages that were sent while this leg led."""
        self.followers: dict[str, LegChanged] | None = None
        self.expected: frozenset[str] = NOBODY
        """Followers that have not yet handed their state over."""
        self.call: Call | None = None
        self.mail: list[Mail] | None = None
        self.context: SpanRef | None = None
        """Span of the newest fold, so that what it leads to is traced under it."""
        self.behind = False
        """Facts were dropped from a full mailbox."""

    def tell(self, mail: Mail) -> None:
        """Put mail into the mailbox; never waits."""
        if self.mail is None:
            self.mail = [mail]
            self.desk.ready(self)
        elif len(self.mail) >= MAILBOX and isinstance(mail, Told):
            self.behind = True
        else:
            self.mail.append(mail)

    def drain(self) -> None:
        """Fold all mail; afterwards tell the call, or the leader."""
        mail, self.mail = self.mail, None
        for one in mail or ():
            self._take(one)
        self._speak()

    def _take(self, mail: Mail) -> None:
        match mail:
            case Told(fact=fact):
                try:
                    with self.desk.span(self, fact) as span:
                        self._fold(mail)
                        self.context = span.ref
                except Exception as error:  # noqa: BLE001 - whatever it is, the fact is parked and the leg goes on
                    self.desk.park(self, fact, error)
            case Delivered(fact=fact):
                try:
                    self._deliver(fact)
                except Exception as error:  # noqa: BLE001 - as above
                    self.desk.park(self, fact, error)
            case Follow(leader=leader):
                self._follow(leader)
            case Lead(expect=expect):
                self.leader = self.unique_id
                self.expected = self.expected.union(expect)
            case Part(unique_ids=unique_ids):
                self._part(unique_ids)
            case LegChanged(unique_id=unique_id):
                self.followers = self.followers or {}
                self.followers[unique_id] = mail
                self.expected = self.expected.difference((unique_id,))
            case Restored():
                self._restore(mail)

    def _part(self, unique_ids: tuple[str, ...]) -> None:
        self.expected = self.expected.difference(unique_ids)
        for unique_id in unique_ids:
            (self.followers or {}).pop(unique_id, None)

    def _restore(self, mail: Restored) -> None:
        if self.leg is None or mail.leg.newest >= self.leg.newest:
            self.leg = mail.leg
        self.version = max(mail.version, self.version)
        known = {(post.call_id, post.chat_id): post.version for post in self.posts}
        fresh = [post for post in mail.posts if post.version > known.get((post.call_id, post.chat_id), 0)]
        replaced = {(post.call_id, post.chat_id) for post in fresh}
        kept = [post for post in self.posts if (post.call_id, post.chat_id) not in replaced]
        self.posts = (*kept, *fresh)

    def _fold(self, mail: Told) -> None:
        fact = mail.fact
        if fact.stream == leg_stream(self.unique_id):
            # Also of a fact that will be parked: what this leg decides later is decided on the newest version.
            self.version = max(fact.version, self.version)
        seen = self.leg is not None and fact.position <= self.leg.newest
        if seen and mail.event is not None:
            return  # read again after an overflow or a lost connection
        self.leg = fold(self.leg, fact, mail.event, self.unique_id, counts=mail.counts)

    def _deliver(self, fact: Fact) -> None:
        chat_id = int(fact.stream.split("/", 2)[1])
        others = tuple(post for post in self.posts if post.chat_id != chat_id)
        mine = next((post for post in self.posts if post.chat_id == chat_id), None)
        self.posts = (*others, fold_delivery(mine, fact))

    def _follow(self, leader: str) -> None:
        if self.leader == self.unique_id:
            self.followers = None
            self.expected = NOBODY
            self.call = None
            self.desk.led_before(self)
        self.leader = leader

    def _speak(self) -> None:
        if self.leader != self.unique_id:
            self.desk.post(self.leader, LegChanged(self.unique_id, self.leg, self.posts))
            return
        if self.leg is None or self.expected:
            return
        self.call = self.tell_call()
        self.desk.told(self)

    def legs(self) -> dict[str, Leg]:
        """All legs of the conversation that this leg leads, as far as its followers have told."""
        legs = {unique_id: told.leg for unique_id, told in (self.followers or {}).items() if told.leg}
        if self.leg is not None:
            legs[self.unique_id] = self.leg
        return legs

    def tell_call(self) -> Call | None:
        """The call as it is now."""
        call = conversation(self.legs(), self.unique_id, self.desk.directory)
        return told_by(call, self.desk.parted(self)) if call else None

    def posts_by_chat(self) -> dict[int, tuple[Post, ...]]:
        """Every known message of this conversation by chat, the one sent first in front."""
        return by_chat(
            [*self.posts, *(post for told in (self.followers or {}).values() for post in told.posts)]
        )


def by_chat(posts: Iterable[Post]) -> dict[int, tuple[Post, ...]]:
    """Messages by chat, oldest first; those of which nobody knows whether they were sent come last."""
    chats: dict[int, list[Post]] = {}
    for post in posts:
        chats.setdefault(post.chat_id, []).append(post)
    last = 1 << 62
    return {
        chat_id: tuple(sorted(found, key=lambda post: (post.position or last, post.call_id)))
        for chat_id, found in chats.items()
    }
