"""The fold of one enterprise: merges and retractions, forgetting and waking, a directory that changes meanwhile."""

import gc
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.call import Call
from calls.callbacks import CallbackRequested, write_callback
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.events import identity, read_event
from calls.exchange import FORGET_AFTER, FORGET_LOST_AFTER, FORGET_SILENT_AFTER, Belonging, Exchange
from calls.facts import (
    CALLBACK_REQUESTED,
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    SILENCE_OBSERVED,
    Fact,
    callback_stream,
    leg_stream,
)
from calls.observations import Silence, write_silence
from calls.scenarios import catalogue
from calls.scenarios.script import CAST
from calls.visits import Visit
from projections.calls import CallsFold
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, facts, played_facts, settled, silences
from tests.memory_log import MemoryLog, project_all
from tests.storing import again

A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"


def event(kind: str, unique_id: str, second: float = 0, **fields: object) -> tuple[str, bytes, object]:
    return kind, json.dumps({"UniqueId": unique_id, **fields}).encode(), EPOCH + timedelta(seconds=second)


def start(unique_id: str, second: float = 0) -> tuple[str, bytes, object]:
    return event("start", unique_id, second, Phone="375290000101", Trunk="0007001")


def enter(unique_id: str, bridge: str, second: float = 0, **fields: object) -> tuple[str, bytes, object]:
    return event("bridge", unique_id, second, BridgeUniqueid=bridge, **fields)


def hangup(unique_id: str, second: float = 0, **fields: object) -> tuple[str, bytes, object]:
    return event("hangup", unique_id, second, **{"CallType": 0, "CallStatus": "0", **fields})


def exchange_of(order: Iterable[Fact]) -> Exchange:
    exchange = Exchange(DIRECTORY)
    for fact in order:
        exchange.apply(fact)
    return exchange


# merges and retractions


def test_two_calls_that_prove_to_be_one_leave_one_row():
    order = facts([start(A), event("dial", B, CallType=1, Extensions=["151"]), enter(A, "X"), enter(B, "X")])
    exchange = exchange_of(order[:3])
    first = exchange.take()
    assert set(first.calls) == {A, B}
    assert first.gone == frozenset()
    assert first.legs == {A: Belonging(A, lost=False), B: Belonging(B, lost=False)}
    exchange.apply(order[3])
    merged = exchange.take()
    assert set(merged.calls) == {A}
    assert merged.calls[A].legs == (A, B)
    assert merged.gone == {B}
    assert merged.legs == {B: Belonging(A, lost=False)}
    assert exchange.take().calls == {}


def test_a_row_that_was_never_given_out_needs_no_retraction():
    order = facts([start(A), event("dial", B, CallType=1, Extensions=["151"]), enter(A, "X"), enter(B, "X")])
    changes = exchange_of(order).take()
    assert set(changes.calls) == {A}
    assert changes.legs == {A: Belonging(A, lost=False), B: Belonging(A, lost=False)}


def test_a_call_whose_leader_changes_moves_its_row():
    order = facts(
        [enter(B, "X"), enter(C, "X", CallerIDNum="151"), enter(A, "X", CallerIDNum="152", Exten="151")]
    )
    exchange = exchange_of(order[:2])
    assert set(exchange.take().calls) == {B}
    exchange.apply(order[2])
    moved = exchange.take()
    assert (set(moved.calls), moved.gone) == ({A}, {B})
    assert {leg: place.call_id for leg, place in moved.legs.items()} == {A: A, B: A, C: A}


def test_legs_that_make_no_call_are_lost_until_they_do():
    order = facts(
        [event("new_callerid", A), start(A), event("new_callerid", B), enter(B, "X"), enter(A, "X")]
    )
    exchange = exchange_of(order[:1])
    assert exchange.take().legs == {A: Belonging(A, lost=True)}
    exchange.apply(order[1])
    assert exchange.take().legs == {A: Belonging(A, lost=False)}
    exchange.apply(order[2])
    exchange.apply(order[3])
    assert exchange.take().legs == {B: Belonging(B, lost=True)}
    exchange.apply(order[4])
    joined = exchange.take()
    assert joined.legs == {B: Belonging(A, lost=False)}
    assert joined.gone == frozenset()


def test_kinds_that_are_not_known_are_skipped():
    exchange = exchange_of(facts([start(A)]))
    exchange.take()
    strange = Fact(9, ENTERPRISE, leg_stream(A), 2, "channel_moved", "live", EPOCH, EPOCH, b"\xff")
    exchange.apply(strange)
    assert exchange.take().calls == {}


# the directory as of a fact's position


def test_a_call_back_that_was_asked_for_changes_no_call():
    told = facts([start("1.1"), hangup("1.1", 5)])
    body = write_callback(CallbackRequested(call_id="1.1", chat_id=1, user_id=1, phone="+375290000101"))
    asked = Fact(
        99, ENTERPRISE, callback_stream("0" * 32), 1, CALLBACK_REQUESTED, "service", EPOCH, EPOCH, body
    )
    exchange, fold = exchange_of(told), CallsFold()
    before = exchange.call("1.1")
    assert not exchange.misses(asked)
    exchange.take()
    exchange.apply(asked)
    changes = exchange.take()
    assert (changes.calls, changes.gone, changes.legs) == ({}, frozenset(), {})
    assert exchange.call("1.1") == before
    fold.apply(asked)
    rows = fold.take()
    assert (rows.calls, rows.gone, rows.belongings) == ([], [], [])


def change(position: int, told: DirectoryChange) -> Fact:
    body = msgspec.json.encode(told)
    return Fact(
        position, ENTERPRISE, DIRECTORY_STREAM, position, DIRECTORY_CHANGED, "service", EPOCH, EPOCH, body
    )


def test_a_call_is_told_by_the_directory_as_of_the_last_fact_that_touched_it():
    dial = event("dial", A, CallType=0, Extensions=["150", "777"])
    order = facts(
        [start(A), dial, start(B), event("dial", B, CallType=0, Extensions=["150", "777"]), hangup(B)]
    )
    department = change(10, DirectoryChange("department", "777", {"number": "777"}))
    exchange = exchange_of([*order[:4], department, order[4]])
    calls = exchange.take().calls
    assert calls[A].rung == ("150", "777"), "told before there was such a department"
    assert calls[B].rung == ("150",)
    assert exchange.directory.department("777") is not None


def test_a_change_of_the_directory_touches_no_call():
    exchange = exchange_of(facts([start(A)]))
    exchange.take()
    exchange.apply(change(9, DirectoryChange("line", "0007001", {"id": "0007001", "name": "other"})))
    assert exchange.take().calls == {}


def test_rows_do_not_depend_on_when_they_are_taken_beside_a_directory_change():
    order = facts([start(A), event("dial", A, CallType=0, Extensions=["777"]), hangup(A)])
    department = change(10, DirectoryChange("department", "777", {"number": "777"}))
    for cut in range(len(order) + 1):
        told = [*order[:cut], department, *order[cut:]]
        stepwise: dict[str, Call] = {}
        exchange = Exchange(DIRECTORY)
        for fact in told:
            exchange.apply(fact)
            stepwise.update(exchange.take().calls)
        assert exchange_of(told).take().calls == stepwise


# silence


def observed(exchange: Exchange, unique_id: str, why: str, second: float = 20) -> Fact:
    last = max(leg.last.position for leg in exchange.legs.values())
    at = EPOCH + timedelta(seconds=second)
    body = write_silence(Silence(why, second, last))
    return Fact(last + 1, ENTERPRISE, leg_stream(unique_id), 9, SILENCE_OBSERVED, "service", at, at, body)


def test_silence_ends_a_call_and_a_later_event_opens_it_again():
    exchange = exchange_of(facts([start(A), event("dial", A, CallType=0, Extensions=["150"])]))
    exchange.apply(observed(exchange, A, "silence"))
    assert exchange.take().calls[A].outcome == "missed"
    late = facts([start(A), event("dial", A, CallType=0, Extensions=["151"])])[1]
    exchange.apply(msgspec.structs.replace(late, position=9, version=4))
    reopened = exchange.take().calls[A]
    assert (reopened.outcome, reopened.rung) == ("open", ("150", "151"))


def test_silence_of_a_leg_that_nobody_knows_is_nobodys():
    exchange = exchange_of(facts([start(A)]))
    exchange.take()
    exchange.apply(observed(exchange, B, "silence"))
    assert exchange.take().calls == {}
    assert B not in exchange.legs


# forgetting and waking


def test_a_settled_call_is_forgotten_after_a_while_and_an_open_one_is_not():
    later = FORGET_AFTER.total_seconds() + 16
    exchange = exchange_of(
        facts([start(A), hangup(A), start(B, 1), start(C, later), start("1.9", later + 16)])
    )
    assert not exchange.board.knows(A)
    assert A not in exchange.legs
    assert exchange.board.knows(B)
    assert set(exchange.take().calls) == {A, B, C, "1.9"}, "what was forgotten is given out all the same"


def test_a_new_leg_finds_the_bridge_of_a_call_that_silence_has_ended():
    order = facts([start(A), enter(A, "X"), start("1.9", 400), enter(B, "X", 440)])
    exchange = exchange_of(order[:2])
    exchange.apply(observed(exchange, A, "silence"))
    for fact in order[2:]:
        exchange.apply(fact)
    assert exchange.board.members(A) == exchange.board.members(B)


def test_a_call_that_silence_has_ended_is_forgotten_in_the_end():
    later = 20 + FORGET_SILENT_AFTER.total_seconds()
    order = facts([start(A), start(B, later - 40), start(C, later + 10)])
    exchange = exchange_of(order[:1])
    exchange.apply(observed(exchange, A, "silence"))
    exchange.apply(order[1])
    assert exchange.board.knows(A)
    exchange.apply(order[2])
    assert not exchange.board.knows(A)


def test_legs_that_never_came_to_be_a_call_are_forgotten_at_last():
    later = FORGET_LOST_AFTER.total_seconds()
    order = facts([event("new_callerid", A), start(B, later - 60), start(C, later + 60)])
    exchange = exchange_of(order[:2])
    assert exchange.board.knows(A)
    assert exchange.take().legs[A] == Belonging(A, lost=True)
    exchange.apply(order[2])
    assert not exchange.board.knows(A)
    assert exchange.take().legs[A] == Belonging(A, lost=False), "nobody need look after it any more"


def test_only_a_later_fact_of_an_unknown_leg_misses_its_call():
    first, second = facts([start(A), hangup(A)])
    exchange = Exchange(DIRECTORY)
    assert not exchange.misses(first)
    assert exchange.misses(second)
    exchange.wake([first])
    assert not exchange.misses(second)
    assert exchange.take().calls == {}, "nothing of a woken call counts as changed"
    exchange.apply(second)
    assert set(exchange.take().calls) == {A}


def test_a_woken_call_that_joins_another_is_retracted():
    order = facts([enter(B, "X"), enter(C, "X", CallerIDNum="151"), start(A), enter(A, "X")])
    exchange = Exchange(DIRECTORY)
    exchange.wake(order[:2])
    exchange.apply(order[2])
    exchange.apply(order[3])
    changes = exchange.take()
    assert set(changes.calls) == {A}
    assert changes.gone == {B}


def test_a_leg_that_is_woken_elsewhere_than_it_was_told_has_both_calls_told_anew():
    order = facts([start(A), hangup(A, 5), event("dial", B, 600, CallType=1, Phone="375290000102")])
    exchange = Exchange(DIRECTORY)
    exchange.wake(order, {A: Belonging(A, lost=False), B: Belonging(A, lost=False)})
    changes = exchange.take()
    assert set(changes.calls) == {A, B}
    assert changes.legs[B] == Belonging(B, lost=False)


def mobile(unique_id: str, second: float) -> tuple[str, bytes, object]:
    """A leg to a manager's mobile for the customer of ``start``: by a weak link of the customer's call."""
    return event("dial", unique_id, second, CallType=1, Phone="375290000102", Extensions=["375290000101"])


def test_what_is_put_back_is_not_decided_again():
    order = facts([start(A), mobile(C, 3), hangup(A, 5), event("new_callerid", C, 6)])
    legs = exchange_of(order).take().legs
    assert legs[C] == Belonging(A, lost=False, visits=(Visit(position=2, tie=0, host=A),))
    again, apart = Exchange(DIRECTORY), Exchange(DIRECTORY)
    assert again.refold(order, legs) == []
    assert (again.board.leader(C), again.board.visits([C])) == (A, {C: legs[C].visits})
    assert again.board.last_heard(A) == order[-1].occurred_at
    assert apart.refold(order, {A: legs[A], C: Belonging(C, lost=False)}) == []
    assert apart.board.leader(C) == C


def test_a_call_that_loses_a_leg_is_told_by_the_fact_that_took_it_also_when_it_is_put_back():
    order = facts([start(A), enter(A, "X", 1), mobile(C, 3), start(C, 4), hangup(A, 5)])
    exchange = exchange_of(order[:3])
    assert exchange.take().legs[C].call_id == A
    exchange.apply(order[3])
    changes = exchange.take()
    assert (set(changes.calls), changes.calls[A].last_position) == ({A, C}, order[3].position)
    again = Exchange(DIRECTORY)
    assert again.wake(order[:2], {A: changes.legs[A]}) == []
    assert again.call(A) == changes.calls[A]
    again.apply(order[4])
    assert again.take().calls[A].last_position == order[4].position


def test_a_call_that_is_over_for_long_takes_part_in_nothing_new_whether_it_is_in_memory_or_not():
    gone = [start(A), enter(A, "X", 1), hangup(A, 5)]
    late = [enter(B, "X", 130, CallerIDNum="151"), enter(C, "X", 131)]
    for exchange, kept in ((Exchange(DIRECTORY), False), (never_forgets(), True)):
        for fact in facts([*gone, start("1777885310.9", 120), *late]):
            exchange.apply(fact)
        assert exchange.board.knows(A) is kept
        assert exchange.board.leader(B) == exchange.board.leader(C) != A


def test_a_late_event_of_a_call_that_is_over_for_long_has_it_woken_though_it_is_in_memory():
    *order, soon = facts([start(A), hangup(A, 5), hangup(A, 60)])
    late = facts([start(A), hangup(A, 5), hangup(A, 66)])[-1]
    exchange = exchange_of(order)
    assert not exchange.misses(soon)
    assert exchange.board.knows(A)
    assert exchange.misses(late)
    assert not exchange.board.knows(A)
    assert set(exchange.take().calls) == {A}, "it was told before"


def test_a_call_that_leads_no_longer_when_it_is_woken_has_no_row():
    exchange = Exchange(DIRECTORY)
    exchange.wake(
        facts([enter(B, "X"), enter(C, "X", CallerIDNum="151"), start(A), enter(A, "X")]),
        {B: Belonging(B, lost=False), A: Belonging(B, lost=False)},
    )
    changes = exchange.take()
    assert set(changes.calls) == {A}
    assert changes.gone == {B}


def test_a_fact_that_cannot_be_folded_does_not_keep_its_call_asleep():
    first, second = facts([start(A), hangup(A)])
    broken = msgspec.structs.replace(first, kind="dial", body=b"no JSON")
    exchange = Exchange(DIRECTORY)
    failed = exchange.wake([broken, first])
    assert [fact for fact, _ in failed] == [broken]
    exchange.apply(second)
    assert exchange.take().calls[A].settled


def test_a_call_woken_beside_a_later_one_of_the_same_people_keeps_its_legs():
    """A click-to-call is woken by a repeated event, while 151 talks with the same customer again."""
    mobile = {"CallType": 1, "Phone": "375290000101", "Extensions": ["151"]}
    phone = {"Channel": "SIP/151-1", "CallerIDNum": "151", "ConnectedLineNum": "375290000101"}
    later = "1777888800.9"
    order = facts(
        [
            enter(A, "X", **phone),
            event("dial", B, 1, **mobile),
            hangup(B, 9, CallType=1),
            event("dial", later, 3600, **mobile),
        ]
    )
    first = exchange_of(order[:3])
    assert first.board.members(A) == (B, A)
    second = exchange_of(order[3:])
    second.wake(order[:3])
    assert second.board.members(A) == (B, A)


SCENARIOS = list(catalogue().values())


def spread(order: list[Fact], gaps: dict[int, float]) -> list[Fact]:
    """The same facts with so many seconds more before some of them."""
    made, late = [], 0.0
    for place, fact in enumerate(order):
        late += gaps.get(place, 0.0)
        made.append(msgspec.structs.replace(fact, occurred_at=fact.occurred_at + timedelta(seconds=late)))
    return made


def by_its_own_clock(order: list[Fact]) -> list[Fact]:
    """The same facts as a host tells them whose clock goes as ours: ids and texts of the time of their events.

    What happens by ``occurred_at``, a channel is made when the first event after it in its scenario is told.
    """
    first: dict[bytes, Fact] = {}
    for fact in order:
        first.setdefault(fact.body, fact)
    happened: dict[str, list[tuple[int, datetime]]] = {}
    for fact in first.values():
        if unique_id := identity(read_event(fact.body))[0]:
            epoch, _, counter = unique_id.partition(".")
            happened.setdefault(counter, []).append((int(epoch), fact.occurred_at))
    new_ids = {}
    for counter, events in happened.items():
        epoch, at = events[0]
        # Channels made at one time, as both halves of a Local pair, stay together.
        same = [at for times in happened.values() for other, at in times[:1] if abs(other - epoch) == 0]
        new_ids[f"{epoch}.{counter}"] = f"{int(min([at, *same]).timestamp())}.{counter}"
    made = []
    for fact in order:
        text = fact.body.decode()
        for old, new in new_ids.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        body = json.loads(text)
        if fact.kind == "hangup":
            at = first[fact.body].occurred_at.astimezone(ZoneInfo("Europe/Minsk"))
            began = datetime.fromtimestamp(int(body["UniqueId"].partition(".")[0]), at.tzinfo)
            form = "%Y-%m-%d %H:%M:%S"
            body |= {"EndTime": f"{at:{form}}", "DateReceived": f"{began:{form}}"}
            body |= {"StartTime": f"{began:{form}}"} if body["StartTime"] else {}
        made.append((fact.kind, json.dumps(body).encode(), fact.occurred_at))
    return facts(made)


@st.composite
def long_histories(draw: st.DrawFn) -> list[Fact]:
    """Calls one after the other, repeated and late events among them, with pauses in which calls are forgotten."""
    order: list[Fact] = []
    for seed in range(draw(st.integers(1, 3))):
        # An hour apart: no two of them have a channel made in the same second.
        begun = EPOCH + timedelta(hours=seed)
        # A weak link that two calls of the same people compete for depends on which of them is remembered.
        cast = {**CAST, "C": f"37529000030{seed}", "M": f"37529000040{seed}"}
        scenario = draw(st.sampled_from(SCENARIOS))
        played = scenario.events(begun.timestamp(), seed, least=draw(st.booleans()), cast=cast)
        own = played_facts(played, begun)
        order += own
        order += draw(st.lists(st.sampled_from(own), max_size=3))
        order += draw(st.lists(st.sampled_from(order), max_size=2))
    pauses = draw(
        st.dictionaries(st.integers(1, len(order)), st.sampled_from([20.0, 61.0, 300.0]), max_size=8)
    )
    numbered = facts(
        (fact.kind, fact.body, EPOCH + timedelta(seconds=second)) for second, fact in enumerate(order)
    )
    return by_its_own_clock(spread(numbered, pauses))


def never_forgets() -> Exchange:
    exchange = Exchange(DIRECTORY)
    exchange._next_sweep = datetime.max.replace(tzinfo=UTC)
    return exchange


@pytest.mark.parametrize("batch", [1, 7, 1000])
@settings(max_examples=120, deadline=None)
@given(order=long_histories())
async def test_forgetting_and_waking_give_the_rows_of_never_forgetting(batch, order):
    log, fold = MemoryLog(), CallsFold()
    fold.exchange(ENTERPRISE).board.directory = DIRECTORY
    for begin in range(0, len(order), batch):
        log.put(again(order[begin : begin + batch]))
        await project_all(log, fold)
    assert log.parked == {}
    kept = never_forgets()
    for fact in order:
        kept.apply(fact)
    told = kept.take()
    assert told.calls == {call_id: call for (_, call_id), call in log.tables.calls.items()}
    places = {leg: place for (_, leg), place in log.tables.call_legs.items()}
    assert places == told.legs


@settings(max_examples=100, deadline=None)
@given(order=long_histories(), cut=st.integers(0, 60))
async def test_a_fold_made_again_from_the_tables_goes_on_as_if_nothing_had_been(order, cut):
    """What a restart does: the unforgotten calls are woken, everything else waits in the store."""
    log, fold = MemoryLog(), CallsFold()
    fold.exchange(ENTERPRISE).board.directory = DIRECTORY
    log.put(again(order[:cut]))
    await project_all(log, fold)
    fold = CallsFold()
    fold.exchange(ENTERPRISE).board.directory = DIRECTORY
    recent = await log.unforgotten(log.head)
    fold.wake(ENTERPRISE, await log.calls_of(recent, log.head))
    log.put(again(order[cut:]))
    await project_all(log, fold)
    assert {call_id: call for (_, call_id), call in log.tables.calls.items()} == {
        call.call_id: call for call in settled_without_forgetting(order)
    }


def settled_without_forgetting(order: list[Fact]) -> list[Call]:
    kept = never_forgets()
    for fact in order:
        kept.apply(fact)
    return list(kept.take().calls.values())


def test_memory_follows_the_open_calls_and_not_the_history():
    exchange = Exchange(DIRECTORY)
    told: set[str] = set()
    position = calls = 0
    for hour in range(200):
        begun = EPOCH + timedelta(minutes=2 * hour)
        scenario = SCENARIOS[hour % len(SCENARIOS)]
        played = played_facts(scenario.events(begun.timestamp(), hour), begun)
        own = [msgspec.structs.replace(fact, position=position + fact.position) for fact in played]
        for fact in own:
            exchange.apply(fact)
        changes = exchange.take()
        told = (told - changes.gone) | set(changes.calls)
        still_open = [call for call in changes.calls.values() if not call.settled]
        for fact in silences(own, still_open):
            exchange.apply(msgspec.structs.replace(fact, occurred_at=own[-1].occurred_at))
        position += len(own) + len(still_open)
        calls += 1 + len(scenario.beside)
    assert len(told) == calls
    # a few legs of new_callerid alone stay for FORGET_LOST_AFTER: they may still come to belong to a call
    assert len(exchange.legs) == len(exchange.board) <= 20
    for index in (exchange._placed, exchange._rows, exchange._ended, exchange._lost, exchange.board._bridges):
        assert len(index) <= 20


def test_the_empty_directory_is_enough_to_fold():
    played = catalogue()["2-1"].events(EPOCH.timestamp(), 1)
    (call,) = settled(played_facts(played), Directory.empty("0999"))
    assert (call.enterprise, call.talked) == ("0999", ("151",))


def test_a_forgotten_call_leaves_nothing_to_pythons_collector():
    """Millions of calls pass: what they leave in cycles would be walked again and again, and cool the caches."""
    played = [played_facts(scenario.events(EPOCH.timestamp(), 1)) for scenario in catalogue().values()]
    exchanges = [Exchange(DIRECTORY) for _ in played]
    while gc.collect():  # exchanges of other tests, and then what only these had
        pass
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for exchange, told in zip(exchanges, played, strict=True):
            for fact in told:
                exchange.apply(fact)
            exchange._sweep(told[-1].occurred_at + timedelta(days=1))
            exchange.take()
        gc.collect()
        left = [one for one in gc.garbage if type(one).__module__.startswith("calls.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left
    assert sum(len(exchange.board) for exchange in exchanges) < len(exchanges)
