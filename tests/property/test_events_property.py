"""Whatever a host sends: it is refused with EventError, or it is kept and every fold of it works."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calls.call import Call
from calls.cards import render
from calls.events import Event, EventError, identity, read_event
from calls.exchange import Exchange
from calls.facts import EVENT_KINDS, SILENCE_OBSERVED, Fact, leg_stream
from calls.observations import Silence, write_silence
from calls.scenarios import catalogue
from calls.times import seconds
from calls.told import kind_of_call, numbers_of, status_of
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, facts

FIELDS = [field.encode_name for field in msgspec.structs.fields(Event)]
QUICK = settings(max_examples=300, deadline=None)

TIMES = [
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "9999-12-31T23:59:59-14:00",
    "1970-01-01 00:00:00",
    "2026-05-04 12:00:09",
    "2026-05-04T12:00:09Z",
    "2026-13-40 99:99:99",
    "24:00",
    "2026-W01",
]
CHANNELS = [
    "SIP/151-00000006",
    "SIP/0007001-0000000a",
    "SIP/-",
    "SIP/1-1-1-ff",
    "Local/152@dialexecute-00000000;1",
    "Local/152@dialexecute-00000000;2",
    "Local/;1",
    ";2",
]
NUMBERS = [
    "",
    " ",
    "<unknown>",
    "Anonymous",
    "\x00",
    "0\x007001",
    "\u202e151",
    "١٥١",
    "²",
    "151",
    "150",
    "901",
    "300",
    "0007001",
    "0001234",
    "375290000101",
    "+375290000102",
    "+" * 50,
    "9" * 400,
    "-1",
    "1e999",
    "2",
    "0",
    "5",
    "150&151&&<unknown>",
]
odd_texts = st.sampled_from(TIMES + CHANNELS + NUMBERS)
texts = odd_texts | st.text(max_size=20)
ids = st.sampled_from(
    ["1777885200.1", "1777885200.2", "0000000000.9", "9999999999.1", "x", "é/;", "1.", ".1", "-5.5"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=12)


@QUICK
@given(bodies)
@example({"UniqueId": 10**400})
@example({"BridgeUniqueid": "A", "Extensions": [None, ["151"]]})
@example({"CallType": True})
@example({"x": "\ud800", "CallType": 1.5})
@example({"x": float("nan"), "CallType": 1.5})
def test_any_object_is_an_event_or_refused_with_a_reason(body):
    written = json.dumps(body).encode()
    try:
        event = read_event(written)
        identity(event)
    except EventError:
        return
    assert event == read_event(written)
    for tell in (kind_of_call, status_of, numbers_of):
        hash(tell(event))
    for field in event.__struct_fields__:
        if isinstance(text := getattr(event, field), str):
            text.encode()


@QUICK
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(b"\xff\xfe{\x00}\x00")
@example(b'\xef\xbb\xbf{"UniqueId":"1"}')
@example(b'{"UniqueId":1,"x":01}')
@example(b'{"UniqueId":1}}')
def test_any_bytes_are_an_event_or_refused_with_a_reason(body):
    with suppress(EventError):  # the only exception that may come of it
        identity(read_event(body))


@pytest.mark.parametrize("nested", [b'{"UniqueId":"1","x":%s%s}', b'{"x":%s%s,"UniqueId":1,"CallType":1.5}'])
def test_nesting_is_accepted_at_every_depth_of_the_stack_or_at_none(nested):
    """A body that was answered 200 must be readable by a rebuild whose own stack is deeper."""

    def read_below(frames: int, body: bytes) -> Event:
        return read_event(body) if not frames else read_below(frames - 1, body)

    accepted = 0
    for depth in (1, 10, 60, 100, 300, 800, 5_000, 30_000):
        body = nested % (b"[" * depth, b"]" * depth)
        try:
            read_event(body)
        except EventError:
            continue
        read_below(600, body)
        accepted = depth
    assert accepted == 60


def test_brackets_within_texts_are_no_nesting():
    body = json.dumps({"UniqueId": "1", "x": '[{"\\' * 5_000}).encode()
    assert read_event(body).unique_id == "1"


# what is accepted can be folded

SCENARIOS = list(catalogue().values())
small = st.integers(0, 40)
FITTING = {"Time": TIMES, "Channel": CHANNELS, "Received": TIMES}


def odd(field: str) -> st.SearchStrategy[object]:
    """Values that a field of this name may have on a bad day, and some that it may not have."""
    fitting = next((values for ending, values in FITTING.items() if field.endswith(ending)), NUMBERS)
    return st.sampled_from([*fitting, None, 0, 2, 1.5, 10**30, [""], ["151", ""]]) | ids | values


fields = st.sampled_from(FIELDS)
mutations = st.lists(fields.flatmap(lambda field: st.tuples(st.just(field), odd(field), small)), max_size=5)
changed_kinds = st.lists(st.tuples(small, st.sampled_from(EVENT_KINDS)), max_size=2)


@st.composite
def distorted(draw: st.DrawFn) -> list[tuple[str, dict[str, object]]]:
    """A scenario's events with some fields replaced, some told as of another kind, and in any order."""
    played = draw(st.sampled_from(SCENARIOS)).events(EPOCH.timestamp(), 1, least=draw(st.booleans()))
    told = [(event.kind, dict(event.body)) for event in played]
    for field, value, place in draw(mutations):
        having = [event for _, event in told if field in event] or [told[place % len(told)][1]]
        for event in having if place % 2 else having[-1:]:
            event[field] = value
    for place, kind in draw(changed_kinds):
        told[place % len(told)] = (kind, told[place % len(told)][1])
    for one, other in draw(st.lists(st.tuples(small, small), max_size=3)):
        told[one % len(told)], told[other % len(told)] = told[other % len(told)], told[one % len(told)]
    return told


silences_after = st.lists(small, max_size=2)


def kept(told: list[tuple[str, dict[str, object]]]) -> list[Fact]:
    """Facts of those that the service would answer with 200."""
    accepted = []
    for kind, event in told:
        body = json.dumps(event).encode()
        try:
            identity(read_event(body))
        except EventError:
            continue
        accepted.append((kind, body, EPOCH + timedelta(seconds=len(accepted))))
    return facts(accepted)


def with_silences(told: list[Fact], after: list[int]) -> list[Fact]:
    """After some of the events it was observed that nothing more had come."""
    versions: dict[str, int] = {}
    order: list[Fact] = []
    for place, fact in enumerate(told):
        versions[fact.stream] = versions.get(fact.stream, 0) + 1
        order.append(msgspec.structs.replace(fact, position=len(order) + 1, version=versions[fact.stream]))
        unique_id = read_event(fact.body).unique_id.strip()
        if place in after and unique_id:
            stream = leg_stream(unique_id)
            versions[stream] = versions.get(stream, 0) + 1
            body = write_silence(Silence("silence" if place % 2 else "settle", 20.0, len(order)))
            at = fact.occurred_at
            order.append(
                Fact(
                    len(order) + 1,
                    ENTERPRISE,
                    stream,
                    versions[stream],
                    SILENCE_OBSERVED,
                    "service",
                    at,
                    at,
                    body,
                )
            )
    return order


def check(call: Call) -> None:
    """A row that PostgreSQL takes and a card that can be shown."""
    for text in msgspec.json.decode(msgspec.json.encode(call), type=dict).values():
        for one in text if isinstance(text, list) else [text]:
            if isinstance(one, str):
                assert "\x00" not in one
    for length in (call.wait, call.talk, call.total):
        assert length is None or seconds(length) >= 0
    for at in (call.started_at, call.answered_at, call.ended_at):
        assert at is None or at.tzinfo is UTC
        assert at is None or datetime.min.replace(tzinfo=UTC) <= at
    assert call.answered_by is None or call.answered_by in call.talked
    assert (call.outcome == "open") == (call.phase != "ended")
    assert render(call, DIRECTORY)


@settings(max_examples=500, deadline=None)
@given(distorted(), silences_after)
def test_whatever_was_accepted_can_be_folded(told, silences):
    exchange = Exchange(DIRECTORY)
    known: set[str] = set()
    for fact in with_silences(kept(told), silences):
        exchange.apply(fact)
        changes = exchange.take()
        assert not changes.gone & changes.calls.keys()
        assert changes.gone <= known
        known = (known | changes.calls.keys()) - changes.gone
        for call_id, call in changes.calls.items():
            assert call_id == call.call_id
            assert exchange.board.leader(call_id) == call_id
            check(call)


@QUICK
@given(distorted(), silences_after)
def test_rows_are_the_same_whether_taken_after_each_fact_or_at_the_end(told, silences):
    order = with_silences(kept(told), silences)
    stepwise: dict[str, Call] = {}
    exchange = Exchange(DIRECTORY)
    for fact in order:
        exchange.apply(fact)
        changes = exchange.take()
        for gone in changes.gone:
            del stepwise[gone]
        stepwise.update(changes.calls)
    at_once = Exchange(DIRECTORY)
    for fact in order:
        at_once.apply(fact)
    changes = at_once.take()
    assert changes.calls == stepwise
    assert not changes.gone & changes.calls.keys()


@QUICK
@given(distorted(), small, st.text(max_size=12), values)
def test_an_unknown_kind_and_an_unknown_field_change_nothing(told, place, name, value):
    order = kept(told)
    plain = Exchange(DIRECTORY)
    strange = Exchange(DIRECTORY)
    for number, fact in enumerate(order):
        plain.apply(fact)
        body = {**json.loads(fact.body), f"_{name}": value}
        try:
            written = json.dumps(body, allow_nan=False).encode()
            read_event(written)
        except (ValueError, EventError):
            written = fact.body
        strange.apply(msgspec.structs.replace(fact, body=written))
        if number == place % len(order):
            strange.apply(msgspec.structs.replace(fact, kind="channel_moved", body=b"\x00 no JSON"))
    assert strange.take() == plain.take()
