"""All actors of all enterprises on a log in memory: following, recovering, letting go, waking, stopping."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby

import msgspec
import pytest

from actors import house as house_module
from actors.enterprise import HOLD, LINGER, LINGER_SILENT, LOOK_AGAIN, Patience
from actors.leg_actor import MAILBOX, LegActor
from actors.ports import StoreUnavailable
from calls import is_compiled
from calls.call import Call, Phase
from calls.deliveries import DeliverySent, write_delivery
from calls.entries import DirectoryChange
from calls.exchange import FORGET_LOST_AFTER
from calls.facts import (
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    RECORDING_ADDED,
    SILENCE_OBSERVED,
    NewFact,
    bridge_stream,
    delivery_stream,
    leg_stream,
)
from calls.observations import Silence
from calls.recordings import Recording, write_recording
from calls.scenarios import Expected, catalogue
from projections.calls import CallsFold
from projections.live import load
from tests.acting import Acting, TestClock, acting
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, ended, played_facts, settled, truth
from tests.memory_log import MemoryLog, project_all
from tests.sizes import state_of
from tests.storing import again

A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"
CHAT = 1001


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def log(clock: TestClock) -> MemoryLog:
    """A log whose enterprise has the people of the scenarios and one subscriber."""
    made = MemoryLog(clock.now)
    made.put(directory_facts())
    return made


def directory_facts() -> list[NewFact]:
    changes = [
        DirectoryChange("subscriber", str(CHAT), {"chat_id": CHAT}),
        DirectoryChange("manager", "150", {"extension": "150", "mobile": "+375290000102"}),
        DirectoryChange("department", "901", {"number": "901", "members": ["150", "151", "153"]}),
        DirectoryChange("follow_me", "300", {"number": "300", "extension": "150", "mobile": "+375290000102"}),
    ]
    return [change(told) for told in changes]


def change(told: DirectoryChange) -> NewFact:
    return NewFact(
        enterprise=ENTERPRISE,
        stream=DIRECTORY_STREAM,
        kind=DIRECTORY_CHANGED,
        source="service",
        occurred_at=EPOCH,
        body=msgspec.json.encode(told),
    )


def event(kind: str, unique_id: str, second: float = 0, bridge: str = "", **fields: object) -> NewFact:
    body = json.dumps({"UniqueId": unique_id, "BridgeUniqueid": bridge, **fields}).encode()
    return NewFact(
        enterprise=ENTERPRISE,
        stream=leg_stream(unique_id) if unique_id else bridge_stream(bridge),
        kind=kind,
        source="live",
        occurred_at=EPOCH + timedelta(seconds=second),
        body=body,
    )


def start(unique_id: str = A, second: float = 0) -> NewFact:
    return event("start", unique_id, second, Phone="375290000101", Trunk="0007001")


def dial(unique_id: str = A, *numbers: str, second: float = 0) -> NewFact:
    return event("dial", unique_id, second, CallType=0, Extensions=list(numbers or ["150", "151"]))


def enter(unique_id: str, second: float = 0, bridge: str = "X", **fields: object) -> NewFact:
    return event("bridge", unique_id, second, bridge, **fields)


def hangup(unique_id: str = A, second: float = 0, status: str = "0") -> NewFact:
    return event("hangup", unique_id, second, CallType=0, CallStatus=status)


def sent(call_id: str, message_id: int = 7, phase: Phase = "begun") -> NewFact:
    kind, body = write_delivery(DeliverySent(call_id, CHAT, message_id, "h", phase))
    stream = delivery_stream(call_id, CHAT)
    return NewFact(
        enterprise=ENTERPRISE, stream=stream, kind=kind, source="service", occurred_at=EPOCH, body=body
    )


def played(scenario: str, begun: float = 0, seed: int = 1) -> list[NewFact]:
    told = catalogue()[scenario].events(EPOCH.timestamp() + begun, seed)
    return again(played_facts(told, EPOCH + timedelta(seconds=begun)))


def plain(call: Call) -> Call:
    """Without the places of its facts, which another log numbers otherwise."""
    return msgspec.structs.replace(call, last_position=0)


def without_phases(expected: Expected) -> Expected:
    return msgspec.structs.replace(expected, phases=())


def bare(calls: Iterable[Call]) -> list[Call]:
    return [plain(call) for call in calls]


# following


@pytest.mark.parametrize("scenario", catalogue(), ids=str)
async def test_actors_tell_every_scenario_as_the_projection_does(log, clock, scenario):
    async with acting(log, clock) as acts:
        facts = played(scenario)
        for fact in facts:
            clock.passed = (fact.occurred_at - EPOCH).total_seconds()
            await acts.told(fact)
        shown = acts.cards.newest()
        if not all(call.settled for call in shown.values()):
            await acts.pass_time(acts.house.patience.silence)  # nobody tells its end
        shown = acts.cards.newest()
        expected = [catalogue()[scenario].expected, *catalogue()[scenario].beside]
        assert sorted(map(truth, shown.values()), key=repr) == sorted(map(without_phases, expected), key=repr)
        told = ended(played_facts(catalogue()[scenario].events(EPOCH.timestamp(), 1)))
        assert sorted(bare(shown.values()), key=repr) == sorted(bare(told), key=repr)
        for one in expected:
            (call_id,) = (call.call_id for call in shown.values() if call.direction == one.direction)
            phases = tuple(phase for phase, _ in groupby(call.phase for call in acts.cards.of(call_id)))
            assert phases == one.phases
        assert log.parked == {}


async def test_a_drain_runs_only_while_there_is_mail(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start())
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert "drain" not in names
        assert acts.actor(A).mail is None
        await acts.told(dial())
        assert acts.cards.shown[-1].ringing == ("150", "151")


async def test_events_that_wait_are_told_at_once_and_the_newest_is_shown(log, clock):
    async with acting(log, clock) as acts:
        facts = log.put(played("2-1"))
        acts.house.offer(facts)
        await acts.quiet()
        assert [call.phase for call in acts.cards.shown] == ["ended"]


async def test_facts_dropped_from_memory_are_read_from_the_store(log, clock, monkeypatch):
    monkeypatch.setattr(house_module, "IN_MEMORY", 3)
    async with acting(log, clock) as acts:
        facts = log.put(played("2-1"))
        acts.house.offer(facts)
        assert len(acts.house._offered) < len(facts)
        await acts.quiet()
        assert acts.cards.shown[-1].talked == ("151",)
        assert acts.house.position == log.head


async def test_facts_that_were_never_offered_are_caught_up_with(log, clock, monkeypatch):
    monkeypatch.setattr(house_module, "PAGE", 3)
    async with acting(log, clock) as acts:
        facts = log.put(played("2-1"))
        acts.house.offer(facts[-2:-1])  # one of them came both ways
        acts.house.catch_up(log.head)
        await acts.quiet()
        assert acts.cards.shown[-1].talked == ("151",)
        await acts.told(start("1777885300.1"))
        assert acts.cards.shown[-1].call_id == "1777885300.1"


async def test_a_store_that_does_not_answer_is_waited_for(log, clock, monkeypatch):
    monkeypatch.setattr(house_module, "RETRY", 0)
    async with acting(log, clock) as acts:
        log.put(played("2-1"))
        log.down = True
        acts.house.catch_up(log.head)
        for _ in range(50):
            await asyncio.sleep(0)
        assert acts.cards.shown == []
        log.down = False
        await acts.quiet()
        assert acts.cards.shown[-1].talked == ("151",)


async def test_equal_ids_of_two_enterprises_have_actors_of_their_own(log, clock):
    async with acting(log, clock) as acts:
        other = msgspec.structs.replace(start(), enterprise="0999")
        await acts.told(start(), other, dial(), hangup())
        assert acts.house.enterprise("0999").actors[A].call.outcome == "open"
        assert acts.actor(A).call.outcome == "missed"


async def test_a_change_of_the_directory_counts_for_what_is_told_after_it(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start(), dial(A, "150", "777"))
        assert acts.cards.shown[-1].rung == ("150", "777")
        await acts.told(change(DirectoryChange("department", "777", {"number": "777"})), hangup())
        assert acts.cards.shown[-1].rung == ("150",)
        assert acts.house.enterprise(ENTERPRISE).chats() == [(ENTERPRISE, CHAT)]


# joining


async def test_two_calls_that_join_are_shown_by_one_leader_that_knows_both(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start(A), event("dial", B, CallType=1, Extensions=["151"]), sent(A, 1), sent(B, 2))
        acts.cards.shown.clear()
        await acts.told(enter(A, CallerIDNum="375290000101"))
        acts.house.offer(log.put([enter(B, CallerIDNum="151"), enter(C, CallerIDNum="152")]))
        await acts.quiet()
        assert B in acts.cards.dropped
        assert A not in acts.cards.dropped
        joined = [call for call in acts.cards.shown if len(call.legs) > 1]
        assert joined
        assert all(call.legs[:2] == (A, B) for call in joined), "never a half-known call"
        assert acts.cards.shown[-1].legs == (A, B, C)
        assert [post.message_id for post in acts.cards.posts[A][CHAT]] == [1, 2]
        assert (acts.actor(B).leader, acts.actor(C).leader) == (A, A)


async def test_a_leg_that_outranks_its_leader_takes_the_call_over(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(
            enter(B, CallerIDNum="151"), enter(C, CallerIDNum="375290000101", Channel="SIP/0007001-1")
        )
        await acts.told(sent(B))
        await acts.told(start(A), enter(A, CallerIDNum="375290000101"))
        last = acts.cards.shown[-1]
        assert (last.call_id, last.legs) == (A, (A, B, C))
        assert B in acts.cards.dropped
        assert [post.call_id for post in acts.cards.posts[A][CHAT]] == [B]
        clear = len(acts.cards.shown)
        await acts.told(event("bridge_destroy", "", 9, "X"))
        assert {call.call_id for call in acts.cards.shown[clear:]} == {A}


# failures


async def test_a_fact_that_cannot_be_folded_is_parked_and_everything_else_goes_on(log, clock):
    async with acting(log, clock) as acts:
        broken = msgspec.structs.replace(start(A), kind=SILENCE_OBSERVED, body=b"no JSON")
        unreadable = msgspec.structs.replace(start(B), body=b"no JSON")
        (place,) = await acts.store(start(A))
        one, other = await acts.store(broken, unreadable)
        await acts.told(dial(), start(C))
        assert {position for _, position in log.parked} == {one.position, other.position}
        assert all(place == "actors" and reason for (place, _), reason in log.parked.items())
        assert acts.cards.of(A)[-1].ringing == ("150", "151")
        assert acts.cards.of(C)
        assert acts.count("facts_parked") == 2
        assert place.position < one.position


async def test_a_call_that_cannot_be_told_is_counted_and_the_others_go_on(log, clock, monkeypatch):
    real = LegActor.tell_call

    def fails(self: LegActor) -> Call | None:
        if self.unique_id == A:
            raise RuntimeError("no")
        return real(self)

    async with acting(log, clock) as acts:
        monkeypatch.setattr(LegActor, "tell_call", fails)
        await acts.told(start(A), start(B))
        assert {call.call_id for call in acts.cards.shown} == {B}
        assert acts.count("actors_failed_total") >= 1
        monkeypatch.undo()
        await acts.told(dial(A))
        assert acts.cards.shown[-1].call_id == A


async def test_a_full_mailbox_loses_nothing(log, clock, monkeypatch):
    monkeypatch.setattr(house_module, "AT_ONCE", 1000)
    async with acting(log, clock) as acts:
        await acts.told(start(), enter(A, 1), enter(B, 2, CallerIDNum="151"))
        steps = [dial(A, str(1000 + number), second=3) for number in range(MAILBOX + 40)]
        ending = [
            event("bridge_leave", B, 4, "X"),
            event("bridge_leave", A, 4, "X"),
            event("bridge_destroy", "", 5, "X"),
            hangup(A, 6, "2"),
        ]
        acts.house.offer(log.put([*steps, *ending]))
        await acts.quiet()
        assert acts.count("mailbox_overflows_total") >= 1
        call = acts.actor(A).call
        kept = settled([fact for fact in log.facts if fact.stream != DIRECTORY_STREAM], DIRECTORY)
        assert plain(call) == plain(kept[0])
        assert len(acts.actor(A).leg.dials) == MAILBOX + 40
        assert (call.outcome, call.talked) == ("answered", ("151",))
        await acts.project()
        assert log.tables.calls[ENTERPRISE, A] == call


async def test_a_mailbox_that_is_full_while_the_store_is_down_is_read_again_later(log, clock, monkeypatch):
    monkeypatch.setattr(house_module, "RETRY", 0)
    monkeypatch.setattr(house_module, "AT_ONCE", 1000)
    async with acting(log, clock) as acts:
        await acts.told(start())
        acts.house.offer(log.put(dial(A, str(1000 + number)) for number in range(MAILBOX + 40)))
        log.down = True
        for _ in range(100):
            await asyncio.sleep(0)
        log.down = False
        await acts.quiet()
        assert len(acts.actor(A).leg.dials) == MAILBOX + 40
        await acts.told(hangup(A, 9))
        assert acts.cards.shown[-1].outcome == "missed"


# letting go and waking


async def test_a_call_goes_when_it_ended_was_shown_and_is_in_the_tables(log, clock):
    async with acting(log, clock) as acts:
        facts = played("2-1")
        await acts.told(*facts)
        call_id = acts.cards.shown[-1].call_id
        acts.cards.busy.add(call_id)
        await acts.pass_time(LINGER)
        assert acts.knows(call_id), "a chat does not show its end yet"
        acts.cards.busy.clear()
        await acts.pass_time(LOOK_AGAIN)
        assert acts.knows(call_id), "the tables do not have it yet"
        await acts.project()
        await acts.pass_time(LOOK_AGAIN)
        enterprise = acts.house.enterprise(ENTERPRISE)
        assert enterprise.actors == {}
        assert len(enterprise.board) == 0
        assert len(acts.house._alarms) == 0


async def test_an_open_call_stays_however_long_it_is_silent_below_the_limit(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start())
        await acts.project()
        await acts.pass_time(7000)
        assert acts.knows(A)
        assert log.head == 5


async def let_go(acts: Acting, *facts: NewFact, after: float = LINGER) -> None:
    """Tell a call to its end and forget it."""
    await acts.told(*facts)
    await acts.project()
    await acts.pass_time(after)
    await acts.pass_time(LOOK_AGAIN)
    assert acts.house.enterprise(ENTERPRISE).actors == {}


@pytest.mark.parametrize("scenario", ["2-1", "2-2", "1-1", "3-1", "3-2"])
async def test_a_late_event_wakes_the_call_to_the_same_state(log, clock, scenario):
    facts = played(scenario)
    late = facts[-1]
    async with acting(log, clock) as acts:
        await acts.told(*facts)
        call_id = acts.cards.shown[-1].call_id
        await acts.told(sent(call_id))
        before = acts.actor(call_id)
        leg, call, posts, version = before.leg, before.call, before.posts, before.version
        await let_go(acts)
        await acts.told(late)
        woken = acts.actor(call_id)
        assert woken is not before
        known = woken.leg.copy()
        known.last = leg.last
        assert known == leg
        assert plain(woken.call) == plain(call)
        assert (woken.posts, woken.version) == (posts, version + 1)
        assert [post.message_id for post in acts.cards.posts[call_id][CHAT]] == [7]


async def test_a_late_event_may_open_a_forgotten_call_again(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start(), dial())
        await acts.pass_time(7200)
        await acts.pass_time(1)
        assert acts.cards.shown[-1].outcome == "missed"
        await acts.project()
        await acts.pass_time(LINGER + LOOK_AGAIN)
        assert acts.knows(A), "what silence has ended may go on when its host is heard again"
        await let_go(acts, after=LINGER_SILENT - LINGER)
        await acts.told(dial(A, "152", second=7300))
        assert (acts.cards.shown[-1].outcome, acts.cards.shown[-1].rung) == ("open", ("150", "151", "152"))


async def test_a_leg_known_by_new_callerid_alone_stays_for_as_long_as_every_fold_remembers_it(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(event("new_callerid", A, Channel="SIP/0007001-1"))
        await acts.pass_time(FORGET_LOST_AFTER.total_seconds() - 1)
        assert acts.knows(A)
        await acts.pass_time(1)
        assert not acts.knows(A)
        assert acts.cards.shown == []


# calls that wait


TO_A_MOBILE = event("dial", A, CallType=1, Phone="375290000102", Extensions=["375290000101"])


@pytest.mark.parametrize("behalf", ["375290000101", "151"], ids=["for the customer", "for a person"])
async def test_a_call_in_doubt_is_shown_after_two_seconds(log, clock, behalf):
    async with acting(log, clock) as acts:
        await acts.told(event("dial", A, CallType=1, Phone="375290000102", Extensions=[behalf]))
        assert acts.house.enterprise(ENTERPRISE).board.in_doubt(A)
        assert acts.cards.shown == []
        await acts.pass_time(HOLD / 2)
        assert acts.cards.shown == []
        await acts.pass_time(HOLD / 2)
        (call,) = acts.cards.shown
        assert (call.call_id, call.outcome) == (A, "open")


async def test_a_dial_of_somebody_who_talks_is_held_and_then_shown_beside_the_talk(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(start(A), enter(A, CallerIDNum="375290000101"))
        await acts.told(enter(B, Channel="SIP/151-00000001", CallerIDNum="151"))
        await acts.told(event("dial", C, 0, CallType=1, Phone="375290000103", Extensions=["151"]))
        assert set(acts.cards.newest()) == {A}
        await acts.pass_time(HOLD)
        assert set(acts.cards.newest()) == {A, C}


async def test_a_call_in_doubt_whose_end_is_told_is_shown_once_only(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(TO_A_MOBILE)
        await acts.told(event("hangup", A, 1, CallType=1, CallStatus="0", Phone="375290000102"))
        await acts.pass_time(HOLD * 2)
        assert [call.outcome for call in acts.cards.shown] == ["not_answered"]


async def test_a_call_in_doubt_that_has_a_message_already_is_not_held(log, clock):
    """After a restart the chat shows it: what is new of it must not wait."""
    async with acting(log, clock) as acts:
        await acts.told(TO_A_MOBILE)
        await acts.told(sent(A))
        await acts.told(
            event(
                "dial", A, 1, CallType=1, Phone="375290000102", Extensions=["375290000101"], Trunk="0007002"
            )
        )
        assert [call.line for call in acts.cards.shown][-1] == "0007002"


async def test_a_leg_whose_tie_no_longer_holds_takes_its_state_to_a_call_of_its_own(log, clock):
    """Only a hangup was known of it, then its dial comes: it was no end of the talk's question."""
    async with acting(log, clock) as acts:
        await acts.told(enter(A, Channel="SIP/151-00000001", CallerIDNum="151", Exten="152"))
        await acts.told(enter(B, Channel="SIP/152-00000002", CallerIDNum="152"))
        await acts.told(event("hangup", C, 1, CallType=2, CallStatus="0", Phone="151", Extensions=["153"]))
        assert acts.cards.newest()[A].legs == (A, B, C)
        await acts.told(event("dial", C, 2, CallType=2, Phone="151", Extensions=["153"]))
        shown = acts.cards.newest()
        assert shown[A].legs == (A, B)
        assert shown[C].legs == (C,)
        assert (shown[C].caller, shown[C].rung, shown[C].outcome) == ("151", ("153",), "missed")
        assert acts.actor(C).leader == C
        await acts.told(event("bridge_leave", A, 3, "X"), event("bridge_leave", B, 3, "X"))
        await acts.told(event("hangup", A, 4, CallType=2, CallStatus="2", Phone="151", Extensions=["152"]))
        assert acts.cards.newest()[A].consulted == ()


async def test_a_leg_that_leaves_its_leader_for_another_takes_its_state_with_it(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(enter(A, Channel="SIP/151-00000001", CallerIDNum="151", Exten="152"))
        await acts.told(enter(B, Channel="SIP/152-00000002", CallerIDNum="152"))
        await acts.told(event("hangup", C, 1, CallType=2, CallStatus="0", Phone="151", Extensions=["153"]))
        await acts.told(start("1777885100.1", 2), enter("1777885100.1", 2, "Y"), enter(C, 3, "Y"))
        shown = acts.cards.newest()
        assert shown[A].legs == (A, B)
        assert shown["1777885100.1"].legs == ("1777885100.1", C)
        assert acts.actor(C).leader == "1777885100.1"
        assert set(acts.actor("1777885100.1").legs()) == {"1777885100.1", C}
        assert set(acts.actor(A).legs()) == {A, B}


async def test_a_held_call_that_joins_another_within_two_seconds_is_never_shown(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(
            event("dial", B, CallType=1, Phone="375290000102", Extensions=["375290000101"]), start(A)
        )
        await acts.told(enter(A), enter(B))
        await acts.pass_time(HOLD * 2)
        assert {call.call_id for call in acts.cards.shown} == {A}


async def test_a_held_call_that_hangs_up_is_shown_at_once(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(event("dial", A, CallType=1, Phone="375290000102", Extensions=["375290000101"]))
        await acts.told(event("hangup", A, 1, CallType=1, CallStatus="0", Phone="375290000102"))
        assert [call.outcome for call in acts.cards.shown] == ["not_answered"]


# silence


def observations(log: MemoryLog) -> list[tuple[str, int, Silence]]:
    return [
        (fact.stream, fact.version, msgspec.json.decode(fact.body, type=Silence))
        for fact in log.facts
        if fact.kind == SILENCE_OBSERVED
    ]


async def test_an_answered_call_whose_hangup_never_comes_is_settled_after_settle_seconds(log, clock):
    async with acting(log, clock, Patience(settle=15, silence=7200)) as acts:
        await acts.told(start(), enter(A, CallerIDNum="375290000101"), enter(B, CallerIDNum="151"))
        await acts.told(event("bridge_leave", B, 0, "X"), event("bridge_leave", A, 0, "X"))
        await acts.pass_time(14)
        assert observations(log) == []
        await acts.pass_time(1)
        head = log.head - 1
        assert observations(log) == [(leg_stream(A), 4, Silence("settle", 15.0, head))]
        assert (acts.cards.shown[-1].outcome, acts.cards.shown[-1].talked) == ("answered", ("151",))


async def test_a_call_that_looks_alive_is_ended_by_long_silence_and_opened_by_a_later_event(log, clock):
    async with acting(log, clock, Patience(settle=15, silence=600)) as acts:
        await acts.told(start(), enter(A, CallerIDNum="375290000101"), enter(B, CallerIDNum="151"))
        await acts.pass_time(599)
        assert observations(log) == []
        await acts.pass_time(1)
        assert [silence.why for _, _, silence in observations(log)] == ["silence"]
        assert acts.cards.shown[-1].outcome == "answered"
        await acts.told(dial(A, "152", second=601))
        assert acts.cards.shown[-1].outcome == "open"


async def test_an_event_restarts_the_patience(log, clock):
    async with acting(log, clock, Patience(silence=600)) as acts:
        await acts.told(start())
        await acts.pass_time(400)
        await acts.told(dial(second=400))
        await acts.pass_time(400)
        assert observations(log) == []
        await acts.pass_time(200)
        assert len(observations(log)) == 1


async def test_an_observation_that_an_event_overtook_is_refused_and_harmless(log, clock):
    async with acting(log, clock, Patience(silence=600)) as acts:
        await acts.told(start())
        clock.passed += 600
        log.put([dial(second=600)])  # committed, but the actor has not heard of it
        acts.house._alarms.ring_due()
        for _ in range(20):
            await asyncio.sleep(0)
        assert observations(log) == []
        acts.house.catch_up(log.head)
        await acts.quiet()
        assert acts.cards.shown[-1].outcome == "open"
        await acts.pass_time(600)
        assert len(observations(log)) == 1
        assert acts.cards.shown[-1].outcome == "missed"


async def test_an_observation_that_cannot_be_stored_is_made_again(log, clock):
    async with acting(log, clock, Patience(silence=600)) as acts:
        await acts.told(start())
        log.down = True
        clock.passed += 600
        acts.house._alarms.ring_due()
        for _ in range(20):
            await asyncio.sleep(0)
        log.down = False
        assert observations(log) == []
        await acts.pass_time(LOOK_AGAIN)
        assert len(observations(log)) == 1


# recovery


async def later_fact(acts: Acting) -> None:
    """So much later that no late leg is waited for, something else is stored."""
    acts.clock.passed += LINGER + LOOK_AGAIN + 1
    await acts.told(change(DirectoryChange("manager", "159", {"extension": "159"})))


async def test_a_leg_told_of_late_finds_its_call_though_a_restart_came_between(log, clock):
    """The consult of 1-5 is known by its hangup alone: whose it is tells the talk that was on when it began."""

    async def play(*lives: list[NewFact]) -> Call:
        made = MemoryLog(clock.now)
        made.put(directory_facts())
        for facts in lives:
            async with acting(made, clock) as acts:
                await load(acts.projection, made, made.tables.at)
                await acts.told(*facts)
                await acts.told(*(sent(call.call_id, 7, "ended") for call in acts.cards.newest().values()))
                await acts.project()
        (call,) = made.tables.calls.values()
        assert acts.cards.newest()[call.call_id] == call, "what is shown is what the row tells"
        return msgspec.structs.replace(call, last_position=0)

    facts = played("1-5")
    (late,) = (fact for fact in facts if [other.stream for other in facts].count(fact.stream) == 1)
    rest = [fact for fact in facts if fact is not late]
    undisturbed, interrupted = await play([*rest, late]), await play(rest, [late])
    assert undisturbed == interrupted
    assert undisturbed.consulted


async def test_unsettled_calls_come_back_with_their_messages_and_are_shown_once(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(*played("2-1")[:-3], *played("2-2", 5, seed=2))
        first, second = sorted({call.call_id for call in acts.cards.shown})
        await acts.told(sent(first, 1), sent(second, 2, "ended"))
        before = {call.call_id: call for call in acts.cards.shown}
        await later_fact(acts)
        await acts.project()
    async with acting(log, clock) as acts:
        assert acts.house.recovered.is_set()
        shown = {call.call_id: call for call in acts.cards.shown}
        assert set(shown) == {first}, "the settled one was shown to its end"
        assert shown[first] == before[first]
        assert [post.message_id for post in acts.cards.posts[first][CHAT]] == [1]
        await acts.told(*played("2-1")[-3:])
        assert acts.cards.shown[-1].outcome == "answered"
        assert len(acts.cards.of(first)) <= 4


def reads(chat_id: int, **wishes: object) -> NewFact:
    return change(DirectoryChange("subscriber", str(chat_id), {"chat_id": chat_id, **wishes}))


def shown_to(acts: Acting, call_id: str, chat_id: int) -> bool:
    """False where the chat gets no more of the call."""
    return not any(post.refused for post in acts.cards.posts[call_id].get(chat_id, ()))


@pytest.mark.parametrize("restart", [True, False])
async def test_who_comes_is_shown_open_calls_and_none_that_was_over_before(log, clock, restart):
    async with acting(log, clock) as acts:
        await acts.told(*played("2-2"), start(B, 100))
        over = next(call.call_id for call in acts.cards.newest().values() if call.settled)
        acts.cards.busy = {over}  # not all chats show its end yet
        await acts.told(reads(2002))
        await acts.project()
        if not restart:
            assert (shown_to(acts, over, CHAT), shown_to(acts, over, 2002)) == (True, False)
            assert shown_to(acts, B, 2002)
    if restart:
        async with acting(log, clock) as acts:
            assert (shown_to(acts, over, CHAT), shown_to(acts, over, 2002)) == (True, False)
            assert shown_to(acts, B, 2002)


async def test_names_that_come_later_are_one_more_state_of_what_goes_on(log, clock):
    names = {"301": "Anna", "302": "Boris"}
    async with acting(log, clock) as acts:
        await acts.told(*played("2-2"), start(B, 100))
        before = len(acts.cards.shown)
        managers = [DirectoryChange("manager", key, {"extension": key, "name": names[key]}) for key in names]
        await acts.told(*map(change, managers))
        assert {call.call_id for call in acts.cards.shown[before:]} == {B}, "what is over stays as it is"


async def test_after_a_restart_calls_that_a_filter_hid_stay_hidden_though_it_is_gone(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(reads(2002, directions=["out"]), *played("2-2"), reads(2002))
        call_id = acts.cards.shown[-1].call_id
        await acts.project()
    async with acting(log, clock) as acts:
        assert (shown_to(acts, call_id, CHAT), shown_to(acts, call_id, 2002)) == (True, False)


async def test_a_group_that_moved_is_shown_what_its_old_self_was_to_be_shown(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(reads(-5), *played("2-2"))
        call_id = acts.cards.shown[-1].call_id
        acts.cards.busy = {call_id}
        await acts.told(reads(-1005, moved_from=-5), change(DirectoryChange("subscriber", "-5")))
        assert shown_to(acts, call_id, -1005)


async def test_a_settled_call_whose_end_was_not_shown_comes_back(log, clock):
    async with acting(log, clock) as acts:
        facts = played("2-2")
        await acts.told(*facts[:1])
        call_id = acts.cards.shown[-1].call_id
        await acts.told(sent(call_id), *facts[1:])
        await acts.project()
    async with acting(log, clock) as acts:
        (call,) = acts.cards.shown
        assert (call.call_id, call.outcome) == (call_id, "missed")
        assert [post.message_id for post in acts.cards.posts[call_id][CHAT]] == [7]


@pytest.mark.parametrize("scenario", ["2-1", "1-1", "3-1", "2-12"])
async def test_recovery_at_any_point_ends_in_the_same_row_wherever_the_projection_stood(log, clock, scenario):
    facts = played(scenario)
    (expected,) = settled(played_facts(catalogue()[scenario].events(EPOCH.timestamp(), 1)))
    for cut in range(len(facts) + 1):
        for projected in {0, cut // 2, cut}:
            own = MemoryLog(clock.now)
            own.put(directory_facts())
            async with acting(own, clock) as acts:
                await acts.told(*facts[:projected])
                await acts.project()
                await acts.told(*facts[projected:cut])
            async with acting(own, clock) as acts:
                await acts.told(*facts[cut:])
                told = [
                    actor.call for actor in acts.house.enterprise(ENTERPRISE).actors.values() if actor.call
                ]
                assert bare(call for call in told if call.settled) == [plain(expected)], (cut, projected)
                assert plain(acts.cards.shown[-1]) == plain(expected)
                assert own.parked == {}


async def test_nothing_is_shown_before_recovery_is_done_and_new_facts_wait(log, clock):
    log.put(played("2-1")[:4])
    await project_all(log, CallsFold())
    async with acting(log, clock, recovered=False) as acts:
        acts.house.offer(log.put(played("2-1")[4:]))
        for _ in range(50):
            await asyncio.sleep(0)
        assert acts.cards.shown == []
        await acts.house.recover(log.head)
        await acts.quiet()
        assert [call.phase for call in acts.cards.shown] == ["ended"]


async def test_a_recovery_that_was_cut_off_begins_anew(log, clock):
    log.put(played("2-1")[:-2])
    await project_all(log, CallsFold())
    async with acting(log, clock, recovered=False) as acts:
        log.down = True
        with pytest.raises(StoreUnavailable):
            await acts.house.recover(log.head)
        assert not acts.house.recovered.is_set()
        log.down = False
        await acts.house.recover(log.head)
        assert [call.phase for call in acts.cards.shown] == ["talking"]


async def test_facts_that_cannot_be_folded_are_parked_and_their_calls_come_back(log, clock):
    broken = [
        msgspec.structs.replace(start(A), kind=SILENCE_OBSERVED, body=b"no JSON"),
        msgspec.structs.replace(dial(A), body=b"no JSON"),
        msgspec.structs.replace(sent(A), body=b"[]"),
    ]
    log.put([start(A), *broken, dial(A, "150"), sent(A)])
    await project_all(log, CallsFold())
    log.parked.clear()
    async with acting(log, clock) as acts:
        await acts.quiet()
        assert [call.rung for call in acts.cards.shown] == [("150",)]
        assert [post.message_id for post in acts.cards.posts[A][CHAT]] == [7]
        assert len(log.parked) == len(broken)
        assert all(place == "actors" for place, _ in log.parked)


# memory


@pytest.mark.skipif(not is_compiled(), reason="objects of classes that are not compiled are larger")
async def test_an_idle_live_call_takes_less_than_two_kilobytes_beside_its_state(log, clock):
    """DESIGN, Measures: actors, mailboxes, switchboard and alarms of a call of two legs that is being talked."""
    calls = 300
    async with acting(log, clock) as acts:
        await acts.told(*played("2-1"))  # what is made once
        acts.cards.shown.clear()
        acts.cards.show = lambda *_: None
        known = set(acts.house.enterprise(ENTERPRISE).actors)
        stored = log.put([fact for seed in range(calls) for fact in played("2-1", seed=2 + seed)[:7]])
        settled(stored)  # what is kept of their numbers is not of the calls
        gc.collect()
        tracemalloc.start()
        try:
            acts.house.offer(stored)
            await acts.quiet()
            gc.collect()
            whole = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        everyone = acts.house.enterprise(ENTERPRISE).actors
        actors = [actor for name, actor in everyone.items() if actor.leg and name not in known]
        assert sum(actor.call is not None and actor.call.phase == "talking" for actor in actors) == calls
        told = [actor.call for actor in actors if actor.call]
        beside = (whole - state_of(stored, told)) / calls
    assert beside < 2_000


# stopping


async def test_stopping_folds_and_shows_what_was_committed(log, clock):
    acts = Acting(log, clock)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(acts.house.run())
        await asyncio.sleep(0)
        await acts.house.recover(log.head)
        acts.house.offer(log.put(played("2-1")))
        acts.house.stop()
        await task
    assert acts.cards.shown[-1].outcome == "answered"
    assert acts.house.position == log.head
    assert acts.at_rest()


async def test_a_house_that_never_recovered_stops_as_well(log, clock):
    async with acting(log, clock, recovered=False) as acts:
        assert not acts.house.recovered.is_set()


async def test_a_call_taken_from_the_store_again_is_what_it_was(log, clock):
    """``callfold parked --replay``; also while new events of the same call arrive."""
    async with acting(log, clock) as acts:
        await acts.told(start(), enter(A, 1), enter(B, 2, CallerIDNum="151"), sent(A))
        await acts.told(event("bridge_leave", B, 3, "X"), event("bridge_destroy", "", 3, "X"))
        await acts.project()
        before = acts.actor(A).call
        assert before.talked == ("151",)
        await acts.house.replay([(ENTERPRISE, leg_stream(B)), (ENTERPRISE, delivery_stream(A, CHAT))])
        assert acts.actor(A).call == before
        assert (acts.actor(B).leader, acts.actor(A).version) == (A, 2)
        async with asyncio.TaskGroup() as group:
            group.create_task(acts.house.replay([(ENTERPRISE, leg_stream(A))]))
            group.create_task(acts.store(hangup(A, 9, "2")))
        await acts.quiet()
        call = acts.cards.shown[-1]
        assert (call.outcome, call.talked, call.legs) == ("answered", ("151",), (A, B))
        assert [post.message_id for post in acts.cards.posts[A][CHAT]] == [7]


async def test_a_parked_fact_counts_once_it_can_be_folded(log, clock, monkeypatch):
    from actors import leg_actor

    real = leg_actor.fold

    def fails(leg, fact, *rest, **options):
        if fact.kind == "dial":
            raise RuntimeError("a defect of this version")
        return real(leg, fact, *rest, **options)

    async with acting(log, clock) as acts:
        monkeypatch.setattr(leg_actor, "fold", fails)
        await acts.told(start(), dial(A, "150"), hangup(A, 5))
        assert list(log.parked.values()) == ["RuntimeError: a defect of this version"]
        assert acts.cards.shown[-1].rung == ()
        monkeypatch.undo()
        await acts.house.replay([(ENTERPRISE, leg_stream(A))])
        assert acts.cards.shown[-1].rung == ("150",)
        assert len(log.parked) == 1


# recordings, which are of a call and no event of it


def recording(unique_id: str, ident: str = "1" * 32) -> NewFact:
    return NewFact(
        enterprise=ENTERPRISE,
        stream=leg_stream(unique_id),
        kind=RECORDING_ADDED,
        source="live",
        occurred_at=EPOCH,
        body=write_recording(Recording(ident, url="https://pbx.example/a.wav")),
    )


async def test_a_recording_is_shown_at_once_and_keeps_nobody_awake(log, clock):
    async with acting(log, clock, Patience(silence=600)) as acts:
        await acts.told(start())
        clock.passed += 599
        await acts.told(recording(A))
        assert acts.cards.shown[-1].recordings == ("1" * 32,)
        await acts.pass_time(1)
        assert [fact.kind for fact in log.facts].count(SILENCE_OBSERVED) == 1
        assert acts.cards.shown[-1].outcome == "missed"
        assert acts.cards.shown[-1].recordings == ("1" * 32,)


async def test_a_recording_that_comes_before_its_leg_has_no_actor_and_waits(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(recording(A), recording(A, "2" * 32))
        assert acts.cards.shown == []
        assert not acts.knows(A)
        await acts.told(start())
        assert acts.cards.shown[-1].recordings == ("2" * 32,)
        await acts.project()
    async with acting(log, clock) as acts:
        assert acts.cards.shown[-1].recordings == ("2" * 32,)


async def test_a_recording_before_its_leg_is_found_again_after_a_restart(log, clock):
    async with acting(log, clock) as acts:
        await acts.told(recording(A))
        await acts.project()
    async with acting(log, clock) as acts:
        await acts.told(start())
        assert acts.cards.shown[-1].recordings == ("1" * 32,)
        await acts.project()
    assert [call.recordings for call in log.tables.calls.values()] == [("1" * 32,)]


async def test_a_call_that_was_let_go_is_shown_with_its_recording_where_its_message_stands(log, clock):
    async with acting(log, clock) as acts:
        told = played("2-1")
        await let_go(acts, *told, sent(json.loads(told[0].body)["UniqueId"]))
        (before,) = acts.cards.newest().values()
        newcomer = DirectoryChange("subscriber", "2002", {"chat_id": 2002})
        await acts.told(change(newcomer))
        shown = len(acts.cards.shown)
        await acts.told(recording(before.call_id))
        assert len(acts.cards.shown) == shown + 1
        call = acts.cards.shown[-1]
        assert msgspec.structs.replace(call, recordings=(), last_position=before.last_position) == before
        assert call.last_position == log.head
        posts = acts.cards.posts[call.call_id]
        assert [post.message_id for post in posts[CHAT]] == [7]
        assert [post.refused for post in posts[2002]] == ["over"], "who came later is not told of an old call"
        await acts.project()
        await acts.pass_time(LINGER)
        assert not acts.knows(before.call_id)
