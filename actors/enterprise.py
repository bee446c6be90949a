"""The actors of one enterprise: whom a fact goes to, who shows the call, who is let go."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from actors.leg_actor import LegActor
from actors.mail import Delivered, Follow, Lead, Mail, Part, Restored, Told
from actors.ports import Cards
from calls.board import REMEMBERED
from calls.call import Call
from calls.conversation import awaits_settling
from calls.deliveries import DELIVERY_KINDS, Post, fold_delivery
from calls.directory import Directory
from calls.entries import Subscriber
from calls.exchange import (
    FORGET_LOST_AFTER,
    FORGET_SILENT_AFTER,
    UNKNOWN,
    Belonging,
    Exchange,
    event_of,
    read_change,
)
from calls.facts import DIRECTORY_CHANGED, Fact, leg_stream
from calls.groups import Move
from calls.observations import Silence
from calls.shapes import SHAPES
from calls.switchboard import Switchboard
from otel import tracing
from otel.tracing import SpanRef, Tracing

HOLD = 2.0
"""Seconds after which a call is shown that may yet prove to belong to another (DESIGN: Legs and conversations)."""
LINGER = REMEMBERED.total_seconds()
"""Seconds that the actors of a settled and shown call stay for late events."""
LINGER_SILENT = FORGET_SILENT_AFTER.total_seconds()
"""Likewise of a call that nothing but silence has ended."""
LOOK_AGAIN = 5.0
"""Seconds until a settled call is looked at again that cannot go yet."""
NEWS = 24 * 3600.0
"""Seconds after its last event in which a call that was recovered is still shown to whom it was not: somebody may have
to be called back today. A month that is imported is history, and would flood the chats."""
AROUND = REMEMBERED
"""How far from a recovered event a call may have begun or ended that has to do with it."""


class Patience(msgspec.Struct, frozen=True):
    """Seconds of CALL_SETTLE and CALL_SILENCE (CONTRACT 3)."""

    settle: float = 15.0
    silence: float = 7200.0


class House(Protocol):
    """What the actors of all enterprises share."""

    cards: Cards
    tracing: Tracing
    patience: Patience
    projected: int
    """Position up to which a call can be woken from the store."""

    def run_soon(self, actor: LegActor) -> None:
        """See that the actor's mail is drained."""
        ...

    def alarm(self, enterprise: str, unique_id: str, seconds: float) -> None:
        """Call ``Enterprise.ring`` for this leg in so many seconds; replaces an earlier alarm."""
        ...

    def no_alarm(self, enterprise: str, unique_id: str) -> None:
        """Take the alarm back."""
        ...

    def silent_for(self, leg_at: float) -> float:
        """Seconds since a wall clock time (UTC seconds)."""
        ...

    def observe(self, enterprise: str, actor: LegActor, silence: Silence) -> None:
        """Append the observation on the version that the actor has."""
        ...

    def parked(self, fact: Fact, error: Exception) -> None:
        """Keep a fact that could not be folded."""
        ...


class Enterprise:
    """Switchboard and actors of one enterprise."""

    def __init__(self, directory: Directory, house: House) -> None:
        self.board = Switchboard(directory)
        self.actors: dict[str, LegActor] = {}
        self.house = house
        self.quiet = False
        """True while facts are read again after a start: everything is folded, nothing shown."""
        self.renamed = False
        """The directory calls somebody otherwise than what chats were shown last."""
        self.recovering = False
        """True while calls that were taken up at a start are shown."""
        self._since: dict[int, int] = {}
        """Position since which each chat is shown calls: one that was over before is not for it."""
        self._wished: dict[int, int] = {}
        """Position of the last change of a chat's filters."""
        self._recalled: set[str] = set()
        """Leaders of calls that were over and shown long ago, and are back for their recording alone."""

    @property
    def number(self) -> str:
        """Number of the enterprise."""
        return self.board.directory.profile.number

    # facts

    def misses(self, fact: Fact) -> bool:
        """True where the fact belongs to a leg that was let go, or that every fold may have forgotten.

        Its call must be woken first, as it was told: else it would depend on how long it stays here what comes of it.
        """
        kind, _, unique_id = fact.stream.partition("/")
        if kind != "leg" or fact.version == 1:
            return False
        return unique_id not in self.actors or self.board.forgets(unique_id, fact.occurred_at)

    def take(self, fact: Fact) -> None:
        """Route one fact to the mailboxes it concerns."""
        if fact.kind in DELIVERY_KINDS:
            what, _, unique_id = fact.stream.split("/", 2)
            if what == "delivery" and unique_id in self.actors:
                self.actors[unique_id].tell(Delivered(fact))
            return
        if fact.kind == DIRECTORY_CHANGED:
            if self.learn(fact) != "subscriber":
                self.renamed = True
            elif not self.quiet:
                self._show_anew()
            return
        event = event_of(fact)
        route = self.board.route(fact, event)
        for unique_id in route.legs:
            self.actor(unique_id).tell(Told(fact, event, route.counts))
            if route.early is not None:
                self.actor(unique_id).tell(Told(route.early, None))
        self._introduce(route.moves)

    def learn(self, fact: Fact) -> str:
        """Take a fact of the directory; the section that it is about."""
        change = read_change(fact)
        before = self.directory
        self.board.directory = before.apply(change)
        if change.section == "subscriber":
            old, new = (known.subscribers.get(change.key) for known in (before, self.directory))
            if new is not None and not new.off:
                self._note(old, new, fact.position)
        return change.section

    def relearn(self, facts: Iterable[Fact]) -> None:
        """Take the directory that these facts make; what it said before was rewritten."""
        told = [read_change(fact) for fact in facts if SHAPES.knows(fact.kind, fact.body)]
        self.board.directory = Directory.empty(self.number).fold(told)

    def _note(self, old: Subscriber | None, new: Subscriber, position: int) -> None:
        """Since when a chat is shown calls, and by these filters; a group that moved goes on where it was."""
        if old is None or old.off:
            self._since[new.chat_id] = self._since.get(new.moved_from, position)
            self._wished[new.chat_id] = self._wished.get(new.moved_from, position)
        elif old.filters != new.filters:
            self._wished[new.chat_id] = position

    def _introduce(self, moves: tuple[Move, ...]) -> None:
        """Tell legs whom to follow, a leader whom to wait for, and one who leads on whom it has lost."""
        led: dict[str, list[str]] = {}
        lost: dict[str, list[str]] = {}
        for move in moves:
            if move.unique_id != move.new:
                led.setdefault(move.new, []).append(move.unique_id)
            elif move.old:
                led.setdefault(move.new, [])
            if move.old and move.old != move.unique_id and self.board.leader(move.old) == move.old:
                lost.setdefault(move.old, []).append(move.unique_id)
        for leader, gone in lost.items():
            self.actor(leader).tell(Part(tuple(gone)))
        for leader, followers in led.items():
            self.actor(leader).tell(Lead(tuple(followers)))
            for unique_id in followers:
                self.actor(unique_id).tell(Follow(leader))

    def actor(self, unique_id: str) -> LegActor:
        """The actor of a leg, spawned by its first fact."""
        actor = self.actors.get(unique_id)
        if actor is None:
            actor = self.actors[unique_id] = LegActor(unique_id, self)
        return actor

    def restore(self, facts: list[Fact], placed: Mapping[str, Belonging] = UNKNOWN) -> None:
        """Put calls back as the store has them: legs, leaders and messages, nothing shown yet.

        ``placed``: whose leg each is, where not all calls are put back beside which that was decided.
        """
        self._forget_all_of(facts)
        exchange = Exchange(self.directory)
        exchange.board = self.board
        posts: dict[str, dict[str, Post]] = {}
        versions: dict[str, int] = {}
        told = []
        failed: list[tuple[Fact, Exception]] = []
        for fact in facts:
            if fact.kind in DELIVERY_KINDS:
                own = posts.setdefault(fact.stream.split("/", 2)[2], {})
                try:
                    own[fact.stream] = fold_delivery(own.get(fact.stream), fact)
                except Exception as error:  # noqa: BLE001 - whatever it is, the fact is parked and the call comes back
                    failed.append((fact, error))
            else:
                told.append(fact)
                versions[fact.stream] = max(fact.version, versions.get(fact.stream, 0))
        for broken, reason in [*failed, *exchange.refold(told, placed)]:
            self.house.parked(broken, reason)
        for unique_id, leg in exchange.legs.items():
            messages = tuple(posts.get(unique_id, {}).values())
            self.actor(unique_id).tell(Restored(leg, versions.get(leg_stream(unique_id), 0), messages))
        for leader in {self.board.leader(unique_id) for unique_id in exchange.legs}:
            members = self.board.members(leader)
            self._introduce(tuple(Move(leg, self._left_by(leg, leader), leader) for leg in members))

    def places(self, unique_ids: Iterable[str]) -> dict[str, Belonging]:
        """Whose leg each of these is that are here."""
        board = self.board
        here = [leg for leg in unique_ids if board.knows(leg)]
        visits = board.visits(here)
        return {leg: Belonging(board.leader(leg), lost=False, visits=visits.get(leg, ())) for leg in here}

    def _left_by(self, unique_id: str, leader: str) -> str:
        """Whom a leg follows no longer now that it has this leader; itself where nobody has to be told of it."""
        before = self.actor(unique_id).leader
        return before if before != leader and before in self.actors else unique_id

    def around(self, since: datetime, until: datetime) -> set[str]:
        """Legs here whose call has to do with what happened between: it went on then, or nearly."""
        found: set[str] = set()
        for unique_id, actor in self.actors.items():
            if unique_id in found or actor.leg is None or actor.leg.first.at > until + AROUND:
                continue
            if self.board.last_heard(unique_id) >= since - AROUND:
                found.update(self.board.members(unique_id) or (unique_id,))
        return found

    def recall(self, unique_id: str, facts: list[Fact]) -> None:
        """Put a call back to tell of its recording, nothing else."""
        self.restore(facts)
        if self.board.knows(unique_id):
            self._recalled.add(self.board.leader(unique_id))

    def _forget_all_of(self, facts: list[Fact]) -> None:
        """Let the board fold these calls from their first fact on; a bridge that has ended would not count twice."""
        told = {name for kind, _, name in (fact.stream.partition("/") for fact in facts) if kind == "leg"}
        for unique_id in told:
            members = self.board.members(unique_id)
            if told.issuperset(members):
                self.board.forget(members)

    # the actors' desk

    @property
    def directory(self) -> Directory:
        """The directory as it is now."""
        return self.board.directory

    def parted(self, actor: LegActor) -> int:
        """Position of the last fact by which a leg left the call that this one leads, or 0."""
        return self.board.parted(actor.unique_id)

    def post(self, unique_id: str, mail: Mail) -> None:
        """Mail from one leg to another."""
        self.actor(unique_id).tell(mail)

    def ready(self, actor: LegActor) -> None:
        """An actor has mail."""
        self.house.run_soon(actor)

    def park(self, actor: LegActor, fact: Fact, error: Exception) -> None:
        """A fact could not be folded; the actor goes on without it."""
        del actor
        self.house.parked(fact, error)

    def led_before(self, actor: LegActor) -> None:
        """A leader became a follower: its messages are the new leader's now, and its trace goes on in that one's."""
        leader = self.board.leader(actor.unique_id)
        if actor.context is not None and leader != actor.unique_id:
            attributes = {tracing.UNIQUE_ID: actor.unique_id}
            with self.house.tracing.span(
                tracing.JOIN,
                enterprise=self.number,
                call_id=leader,
                links=(actor.context,),
                attributes=attributes,
            ):
                pass
        self.house.cards.drop(self.number, actor.unique_id)
        self.house.no_alarm(self.number, actor.unique_id)

    def told(self, actor: LegActor) -> None:
        """A leader told its call anew."""
        if self.quiet:
            return  # all are told once more when everything is known
        if actor.call is not None:
            self.show(actor, actor.call)
        self.watch(actor)

    def show(self, actor: LegActor, call: Call) -> None:
        """Let the chats show it, unless it may yet belong to another call."""
        if self._in_doubt(actor) and not actor.posts:
            return
        if (
            call.source == "recovery"
            and not call.settled
            and self._quiet_seconds(actor) >= self._limit(actor)
        ):
            return  # silence is observed at once, and then it is shown as it ended
        self.house.cards.show(call, self.directory, self._posts(actor, call), actor.context)

    def _posts(self, actor: LegActor, call: Call) -> dict[int, tuple[Post, ...]]:
        """The call's messages by chat, and what stands in their place in chats that it is not for."""
        posts = actor.posts_by_chat()
        for chat_id, found in posts.items():
            since = self._since.get(chat_id, 0)
            if any(0 < post.refused_at < since for post in found):
                posts[chat_id] = tuple(_without_refusal(post, since) for post in found)
        news = call.source != "recovery" or self._quiet_seconds(actor) <= NEWS
        if news and not call.settled:
            return posts
        for reader in self.directory.readers:
            chat_id = reader.chat_id
            if chat_id not in posts and (not news or self._was_over(actor, call, chat_id)):
                posts[chat_id] = (_not_for(call, chat_id),)
        return posts

    def _was_over(self, actor: LegActor, call: Call, chat_id: int) -> bool:
        """It was over before the chat was to be shown it, or is back for a recording that its messages tell of."""
        since = (self._wished if self.recovering else self._since).get(chat_id, 0)
        if since > call.last_position or actor.unique_id in self._recalled:
            return True
        if not call.recordings:
            return False
        # a recording, too, moves the call's last position; where all was shown, filters of since then are too late
        if self.house.cards.idle(self.number, call.call_id):
            since = max(since, self._wished.get(chat_id, 0))
        return since > max(leg.newest for leg in actor.legs().values())

    def show_renamed(self) -> None:
        """What the directory calls people, lines and departments has changed: one more state of what goes on."""
        self.renamed = False
        if not self.quiet:
            self._show_anew()

    def _show_anew(self) -> None:
        """Others are shown the calls from now on: who came sees the open ones, who left is asked nothing more."""
        for actor in self.actors.values():
            call = actor.call
            if call is None or actor.leader != actor.unique_id:
                continue
            if (
                not call.settled
                or not self.house.cards.idle(self.number, call.call_id)
                or self._is_behind(actor)
            ):
                self.show(actor, call)

    def _is_behind(self, actor: LegActor) -> bool:
        """A reader's message still shows the call as it went on: its chat was gone when it ended."""
        return any(
            post.live and post.phase != "ended"
            for chat_id, posts in actor.posts_by_chat().items()
            if chat_id in self._since
            for post in posts
        )

    def _in_doubt(self, actor: LegActor) -> bool:
        return self.board.in_doubt(actor.unique_id) and self._quiet_seconds(actor) < HOLD

    # looking after calls that fall silent

    def watch(self, actor: LegActor) -> None:
        """Set the alarm for what may come next of this call."""
        call = actor.call
        if call is not None and call.settled:
            late = self._quiet_seconds(actor) if call.source == "recovery" else 0.0
            silent = self.board.silent_since(actor.unique_id) is not None
            seconds = max((LINGER_SILENT if silent else LINGER) - late, LOOK_AGAIN)
        elif call is not None and self._in_doubt(actor):
            seconds = max(HOLD - self._quiet_seconds(actor), 0.01)
        else:
            limit = self._limit(actor)
            seconds = max(limit - self._quiet_seconds(actor), 0.01)
        self.house.alarm(self.number, actor.unique_id, seconds)

    def ring(self, unique_id: str) -> None:
        """The alarm of a leg: its call has been silent for long enough to decide something."""
        actor = self.actors.get(unique_id)
        if actor is None or actor.leg is None or actor.leader != unique_id:
            return
        call = actor.call
        if call is not None and call.settled:
            self._let_go_when_done(actor, call)
            return
        silent = self._quiet_seconds(actor)
        if call is not None and self.board.in_doubt(unique_id) and HOLD <= silent < self._limit(actor):
            self.show(actor, call)
            self.house.alarm(self.number, unique_id, max(self._limit(actor) - silent, 0.01))
            return
        if silent < self._limit(actor):
            self.watch(actor)
        elif call is None:
            self.let_go(actor)
        else:
            why: Literal["settle", "silence"] = "settle" if awaits_settling(call, actor.legs()) else "silence"
            upto = max(leg.newest for leg in actor.legs().values())
            self.house.observe(self.number, actor, Silence(why, round(silent, 1), upto))
            self.house.alarm(self.number, unique_id, LOOK_AGAIN)

    def _limit(self, actor: LegActor) -> float:
        patience = self.house.patience
        if actor.call is None:
            return FORGET_LOST_AFTER.total_seconds()  # as every fold remembers it
        return patience.settle if awaits_settling(actor.call, actor.legs()) else patience.silence

    def _quiet_seconds(self, actor: LegActor) -> float:
        last = max((leg.last.at.timestamp() for leg in actor.legs().values()), default=0.0)
        return self.house.silent_for(last)

    def _let_go_when_done(self, actor: LegActor, call: Call) -> None:
        idle = self.house.cards.idle(self.number, call.call_id)
        busy = any(self.actors[leg].mail for leg in self.board.members(actor.unique_id) if leg in self.actors)
        if idle and not busy and self.house.projected >= call.last_position:
            self.let_go(actor)
        else:
            self.house.alarm(self.number, actor.unique_id, LOOK_AGAIN)

    def let_go(self, actor: LegActor) -> None:
        """Forget a call; a later fact of it wakes it from the store."""
        members = self.board.members(actor.unique_id) or (actor.unique_id,)
        self._recalled.difference_update(members)
        self.house.cards.drop(self.number, actor.unique_id)
        for unique_id in members:
            self.house.no_alarm(self.number, unique_id)
            self.actors.pop(unique_id, None)
        self.board.forget(members)

    def chats(self) -> list[tuple[str, int]]:
        """Everybody who may have been sent a message of a call of ours."""
        return [(self.number, subscriber.chat_id) for subscriber in self.directory.subscribers.values()]

    def readers(self) -> list[tuple[str, int, int]]:
        """Everybody who is to be shown calls, and since which position by these filters."""
        chats = [subscriber.chat_id for subscriber in self.directory.readers]
        return [(self.number, chat_id, self._wished.get(chat_id, 0)) for chat_id in chats]

    def span(self, actor: LegActor, fact: Fact) -> tracing.Span:
        """The span of folding one fact, in the trace of who leads now."""
        return self.house.tracing.span(
            tracing.FOLD,
            enterprise=self.number,
            call_id=actor.leader,
            parent=parent_of(fact),
            attributes={
                tracing.UNIQUE_ID: actor.unique_id,
                tracing.POSITION: fact.position,
                tracing.KIND: fact.kind,
            },
        )


def _not_for(call: Call, chat_id: int) -> Post:
    """In the place of a message that a chat is not to be sent."""
    return Post(call_id=call.call_id, chat_id=chat_id, refused="over")


def _without_refusal(post: Post, position: int) -> Post:
    """A message as a chat has it that came back at this position: what it refused before says nothing any more."""
    return msgspec.structs.replace(post, refused=None) if post.refused_at < position else post


class _Meta(msgspec.Struct):
    traceparent: str = ""


_meta = msgspec.json.Decoder(_Meta)


def parent_of(fact: Fact) -> SpanRef | None:
    """The span under which a fact was stored, if its request was traced."""
    return SpanRef.parse(_meta.decode(fact.meta).traceparent) if fact.meta else None
