"""The actor of one leg: what it folds, whom it tells, and what it does not do twice."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from actors.leg_actor import MAILBOX, LegActor, by_chat
from actors.mail import Delivered, Follow, Lead, LegChanged, Mail, Part, Restored, Told
from calls.call import Call
from calls.deliveries import Delivery, DeliveryIntended, DeliverySent, Post, write_delivery
from calls.directory import Directory
from calls.events import read_event
from calls.facts import SILENCE_OBSERVED, Fact, delivery_stream, leg_stream
from calls.observations import Silence, write_silence
from otel.tracing import Span, Tracing
from tests.folding import DIRECTORY, ENTERPRISE
from tests.sizes import grown_by, state_of

BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"


class Desk:
    """Actors that know each other, and a record of all that they asked for."""

    def __init__(self) -> None:
        self.actors: dict[str, LegActor] = {}
        self.shown: list[Call | None] = []
        self.parked: list[tuple[int, str]] = []
        self.left: list[str] = []
        self.waiting: list[LegActor] = []

    @property
    def directory(self) -> Directory:
        return DIRECTORY

    def parted(self, actor: LegActor) -> int:
        return 0

    def actor(self, unique_id: str) -> LegActor:
        if unique_id not in self.actors:
            self.actors[unique_id] = LegActor(unique_id, self)
        return self.actors[unique_id]

    def post(self, unique_id: str, mail: Mail) -> None:
        self.actor(unique_id).tell(mail)

    def told(self, actor: LegActor) -> None:
        self.shown.append(actor.call)

    def led_before(self, actor: LegActor) -> None:
        self.left.append(actor.unique_id)

    def park(self, actor: LegActor, fact: Fact, error: Exception) -> None:
        self.parked.append((fact.position, f"{type(error).__name__}: {error}"))

    def span(self, actor: LegActor, fact: Fact) -> Span:
        return Tracing().span("fold", enterprise=ENTERPRISE, call_id=actor.leader)

    def ready(self, actor: LegActor) -> None:
        self.waiting.append(actor)

    def drain(self) -> None:
        """Drain until nobody has mail."""
        while self.waiting:
            self.waiting.pop(0).drain()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def told(position: int, kind: str, unique_id: str, *, counts: bool = True, **fields: object) -> Told:
    body = json.dumps({"UniqueId": unique_id, **fields}).encode()
    at = BEGUN + timedelta(seconds=position)
    stream = leg_stream(unique_id)
    fact = Fact(position, ENTERPRISE, stream, position, kind, "live", at, at, body)
    return Told(fact, read_event(body), counts)


def start(position: int, unique_id: str) -> Told:
    return told(position, "start", unique_id, Phone="375290000101", Trunk="0007001")


def dial(position: int, unique_id: str, *numbers: str) -> Told:
    return told(position, "dial", unique_id, CallType=0, Extensions=list(numbers))


def delivered(position: int, version: int, delivery: Delivery) -> Delivered:
    kind, body = write_delivery(delivery)
    stream = delivery_stream(delivery.call_id, delivery.chat_id)
    return Delivered(Fact(position, ENTERPRISE, stream, version, kind, "service", BEGUN, BEGUN, body))


# mailbox


def test_mail_asks_for_one_drain_however_much_of_it_there_is(desk):
    actor = desk.actor(A)
    for position in range(1, 6):
        actor.tell(start(position, A))
    assert desk.waiting == [actor]
    actor.drain()
    assert actor.mail is None, "an idle actor has no mailbox"
    assert len(desk.shown) == 1, "a call is told once for all mail that waited"
    actor.tell(dial(9, A, "150"))
    assert desk.waiting == [actor, actor]


def test_a_full_mailbox_drops_facts_and_says_so_but_keeps_what_other_actors_say(desk):
    actor = desk.actor(A)
    for position in range(1, MAILBOX + 3):
        actor.tell(dial(position, A, str(position)))
    assert len(actor.mail) == MAILBOX
    assert actor.behind
    actor.tell(Lead((B,)))
    actor.tell(LegChanged(B, None, ()))
    assert len(actor.mail) == MAILBOX + 2


# folding


def test_a_fact_that_was_folded_already_is_not_folded_again(desk):
    actor = desk.actor(A)
    for mail in (start(1, A), dial(2, A, "150"), start(1, A), dial(2, A, "150")):
        actor.tell(mail)
    desk.drain()
    assert actor.leg.last.position == 2
    assert desk.shown[-1].rung == ("150",)
    assert actor.version == 2


def test_a_fact_that_cannot_be_folded_is_parked_with_its_reason_and_the_actor_goes_on(desk):
    actor = desk.actor(A)
    at = BEGUN + timedelta(seconds=2)
    broken = Fact(2, ENTERPRISE, leg_stream(A), 2, SILENCE_OBSERVED, "service", at, at, b"no JSON")
    for mail in (start(1, A), Told(broken, None), dial(3, A, "150")):
        actor.tell(mail)
    desk.drain()
    assert [position for position, _ in desk.parked] == [2]
    assert "JSON" in desk.parked[0][1]
    assert desk.shown[-1].rung == ("150",)


def test_what_it_decides_is_decided_on_the_newest_version_though_one_fact_was_parked(desk):
    """Otherwise no observation of this leg could ever be stored again."""
    actor = desk.actor(A)
    broken = Fact(2, ENTERPRISE, leg_stream(A), 2, SILENCE_OBSERVED, "service", BEGUN, BEGUN, b"no JSON")
    for mail in (start(1, A), Told(broken, None)):
        actor.tell(mail)
    desk.drain()
    assert actor.version == 2


def test_a_delivery_that_cannot_be_read_is_parked_as_well(desk):
    actor = desk.actor(A)
    actor.tell(start(1, A))
    bad = delivered(2, 1, DeliverySent(A, 1001, 7, "h", "begun")).fact
    actor.tell(Delivered(msgspec.structs.replace(bad, body=b"[]")))
    desk.drain()
    assert [position for position, _ in desk.parked] == [2]
    assert actor.posts == ()
    assert desk.shown[-1] is not None


def test_the_end_of_a_bridge_is_no_version_of_the_leg(desk):
    actor = desk.actor(A)
    actor.tell(told(1, "bridge", A, BridgeUniqueid="X"))
    end = told(5, "bridge_destroy", "", BridgeUniqueid="X")
    actor.tell(Told(msgspec.structs.replace(end.fact, stream="bridge/X", version=7), end.event))
    desk.drain()
    assert actor.leg.visits[0].left.position == 5
    assert actor.version == 1


def test_an_observation_is_folded_though_its_fact_is_no_newer_than_the_last_event(desk):
    actor = desk.actor(A)
    silence = Silence("silence", 7200.0, 2)
    observed = Fact(
        2, ENTERPRISE, leg_stream(A), 3, SILENCE_OBSERVED, "service", BEGUN, BEGUN, write_silence(silence)
    )
    for mail in (start(1, A), dial(2, A, "150"), Told(observed, None)):
        actor.tell(mail)
    desk.drain()
    assert (actor.leg.silence, actor.version) == (silence, 3)
    assert desk.shown[-1].outcome == "missed"


# deliveries


def test_posts_are_folded_by_chat_and_handed_on_by_chat(desk):
    actor = desk.actor(A)
    actor.tell(start(1, A))
    actor.tell(delivered(2, 1, DeliveryIntended(A, 1001, "h", "try-1")))
    actor.tell(delivered(3, 2, DeliverySent(A, 1001, 7, "h", "begun")))
    actor.tell(delivered(4, 1, DeliverySent(A, 2002, 8, "h", "begun")))
    actor.tell(delivered(4, 1, DeliverySent(A, 2002, 8, "h", "begun")))
    desk.drain()
    posts = actor.posts_by_chat()
    assert {chat: [post.message_id for post in found] for chat, found in posts.items()} == {
        1001: [7],
        2002: [8],
    }
    assert posts[1001][0].version == 2


def test_of_several_messages_the_one_sent_first_comes_first_and_unknown_ones_last():
    posts = [
        Post(call_id=C, chat_id=1, position=None, intents=1),
        Post(call_id=B, chat_id=1, position=9),
        Post(call_id=A, chat_id=1, position=4),
        Post(call_id=A, chat_id=2, position=5),
    ]
    assert [post.call_id for post in by_chat(posts)[1]] == [A, B, C]
    assert [post.call_id for post in by_chat(posts)[2]] == [A]


# leading and following


def joined(desk: Desk) -> tuple[LegActor, LegActor, LegActor]:
    """A leads B and C, each of which had been a call of its own with a message."""
    for number, unique_id in enumerate((B, C, A), 1):
        desk.actor(unique_id).tell(told(number, "bridge", unique_id, BridgeUniqueid="X", CallerIDNum="151"))
        desk.actor(unique_id).tell(
            delivered(10 + number, 1, DeliverySent(unique_id, 1001, number, "h", "begun"))
        )
    desk.drain()
    desk.shown.clear()
    desk.actor(A).tell(start(20, A))
    desk.actor(A).tell(Lead((B, C)))
    for unique_id in (B, C):
        desk.actor(unique_id).tell(Follow(A))
    return desk.actor(A), desk.actor(B), desk.actor(C)


def test_a_new_leader_says_nothing_before_every_follower_has_handed_over(desk):
    leader, one, other = joined(desk)
    leader.drain()
    assert desk.shown == []
    one.drain()
    leader.drain()
    assert desk.shown == []
    other.drain()
    leader.drain()
    (call,) = desk.shown
    assert call.legs == (A, B, C)
    assert call.last_position == 20
    assert desk.left == [B, C], "who led before gives up what was pending"
    assert [post.message_id for post in leader.posts_by_chat()[1001]] == [1, 2, 3]


def test_a_follower_hands_every_change_to_its_leader_and_tells_no_call(desk):
    leader, one, _ = joined(desk)
    desk.drain()
    desk.shown.clear()
    one.tell(told(30, "bridge_leave", B, BridgeUniqueid="X"))
    desk.drain()
    assert [call.last_position for call in desk.shown] == [30]
    assert one.call is None
    one.tell(delivered(31, 2, DeliverySent(B, 1001, 99, "h", "begun")))
    desk.drain()
    assert 99 in [post.message_id for post in leader.posts_by_chat()[1001]]


def test_whoever_leads_next_gets_everything_from_all(desk):
    leader, one, other = joined(desk)
    desk.drain()
    desk.shown.clear()
    fourth = desk.actor("1777885100.1")
    fourth.tell(start(40, fourth.unique_id))
    fourth.tell(Lead((A, B, C)))
    leader.tell(Follow(fourth.unique_id))
    one.tell(Follow(fourth.unique_id))
    other.tell(Follow(fourth.unique_id))
    other.tell(told(41, "bridge_leave", C, BridgeUniqueid="X"))
    desk.drain()
    (call,) = [call for call in desk.shown if call]
    assert call.legs == (fourth.unique_id, A, B, C)
    assert call.last_position == 41
    assert leader.call is None
    assert leader.followers is None


def test_a_leader_deposed_before_its_followers_answered_says_nothing(desk):
    leader, one, other = joined(desk)
    leader.tell(Follow(B))
    one.tell(Lead((A, C)))
    other.tell(Follow(B))
    desk.drain()
    assert {call.call_id for call in desk.shown if call} == {B}
    assert desk.shown[-1].legs == (A, B, C)


# parting


def parted(desk: Desk, unique_id: str, new: str) -> None:
    """A follower of A belongs to another leader, or leads on its own."""
    desk.actor(A).tell(Part((unique_id,)))
    desk.actor(A).tell(Lead(()))
    if new == unique_id:
        desk.actor(new).tell(Lead(()))
    else:
        desk.actor(new).tell(Lead((unique_id,)))
        desk.actor(unique_id).tell(Follow(new))


def calls_shown(desk: Desk) -> dict[str, tuple[str, ...]]:
    """The legs of every call as it was shown last."""
    return {call.call_id: call.legs for call in desk.shown if call}


def test_a_leg_that_leaves_its_leader_for_another_takes_its_state_and_messages_with_it(desk):
    leader, _, _ = joined(desk)
    desk.drain()
    desk.shown.clear()
    fourth = desk.actor("1777885100.1")
    fourth.tell(start(40, fourth.unique_id))
    parted(desk, B, fourth.unique_id)
    desk.drain()
    assert calls_shown(desk) == {A: (A, C), fourth.unique_id: (fourth.unique_id, B)}
    assert [post.message_id for post in leader.posts_by_chat()[1001]] == [2, 3]
    assert [post.message_id for post in fourth.posts_by_chat()[1001]] == [1]


def test_a_leg_that_leaves_its_leader_and_leads_is_a_call_of_its_own_again(desk):
    leader, one, _ = joined(desk)
    desk.drain()
    desk.shown.clear()
    one.tell(told(30, "dial", B, CallType=1, Phone="375290000101", Extensions=["151"]))
    parted(desk, B, B)
    desk.drain()
    assert calls_shown(desk) == {A: (A, C), B: (B,)}
    assert [post.message_id for post in one.posts_by_chat()[1001]] == [1]
    assert leader.leg.unique_id == A


@pytest.mark.parametrize("first", [A, B, C])
def test_in_whatever_order_they_are_drained_the_leg_that_left_is_in_one_call_alone(desk, first):
    joined(desk)
    desk.drain()
    desk.shown.clear()
    desk.actor(B).tell(told(30, "bridge_leave", B, BridgeUniqueid="X"))
    desk.actor(A).tell(Part((B, C)))
    desk.actor(A).tell(Lead(()))
    desk.actor(C).tell(Lead((B,)))
    desk.actor(B).tell(Follow(C))
    desk.waiting.sort(key=lambda actor: actor.unique_id != first)
    desk.drain()
    assert calls_shown(desk) == {A: (A,), C: (B, C)}
    assert next(call for call in reversed(desk.shown) if call.call_id == C).last_position == 30


def test_a_leader_that_waits_for_a_leg_which_has_left_waits_no_longer(desk):
    leader = desk.actor(A)
    leader.tell(start(1, A))
    leader.tell(Lead((B, C)))
    leader.tell(LegChanged(C, None, ()))
    desk.drain()
    assert desk.shown == []
    leader.tell(Part((B,)))
    desk.drain()
    (call,) = desk.shown
    assert call.legs == (A,)


def test_parting_from_somebody_who_never_followed_is_harmless(desk):
    leader = desk.actor(A)
    leader.tell(start(1, A))
    leader.tell(Part((B,)))
    desk.drain()
    assert calls_shown(desk) == {A: (A,)}


# restoring


def test_restored_state_is_what_the_events_had_made(desk):
    first, second = desk.actor(A), Desk()
    for mail in (start(1, A), dial(2, A, "150")):
        first.tell(mail)
    desk.drain()
    woken = second.actor(A)
    post = Post(call_id=A, chat_id=1001, version=2, message_id=7, position=3)
    woken.tell(Restored(first.leg, 2, (post,)))
    woken.tell(dial(3, A, "151"))
    second.drain()
    assert woken.version == 3
    assert woken.posts == (post,)
    assert [call.rung for call in second.shown] == [("150", "151")]


def test_what_is_restored_never_takes_back_what_is_newer(desk):
    actor = desk.actor(A)
    for mail in (start(1, A), dial(2, A, "150")):
        actor.tell(mail)
    actor.tell(delivered(3, 2, DeliverySent(A, 1001, 7, "h", "begun")))
    desk.drain()
    old = Desk()
    old.actor(A).tell(start(1, A))
    old.drain()
    stale = Post(call_id=A, chat_id=1001, version=1, intents=1)
    fresh = Post(call_id=A, chat_id=2002, version=1, message_id=8, position=4)
    actor.tell(Restored(old.actor(A).leg, 1, (stale, fresh)))
    desk.drain()
    assert actor.leg.last.position == 2
    assert actor.version == 2
    assert {post.chat_id: post.version for post in actor.posts} == {1001: 2, 2002: 1}


# memory


def test_an_idle_live_call_costs_less_than_two_kilobytes_beside_its_state():
    """DESIGN, Measures: against 4.6 kB for an asyncio Task with a Queue."""
    desk = Desk()
    calls = 500
    mail = []
    for number in range(calls):
        main, mgr = f"1777885200.{2 * number}", f"1777885200.{2 * number + 1}"
        mail.append((main, [start(1, main), Lead((mgr,)), LegChanged(mgr, None, ())]))
        mail.append((mgr, [told(2, "bridge", mgr, BridgeUniqueid=str(number)), Follow(main)]))

    def drain() -> None:
        for unique_id, told_to in mail:
            for one in told_to:
                desk.actor(unique_id).tell(one)
        desk.drain()
        desk.shown.clear()

    whole, _ = grown_by(drain)
    actors = [desk.actor(unique_id) for unique_id, _ in mail]
    facts = [one.fact for _, told_to in mail for one in told_to if isinstance(one, Told)]
    state = state_of(facts, [actor.call for actor in actors if actor.call])
    beside = whole - state
    assert beside / calls < 2_000
