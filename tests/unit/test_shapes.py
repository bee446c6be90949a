"""Bodies that callfold itself wrote, in every shape that an earlier version stored, are read as meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.privacy.forgetting import Forgotten
from adapters.privacy.retiring import BodiesRetired
from calls.callbacks import CallbackRequested, read_callback, write_callback
from calls.chats import ChatAsked, ChatPaused, read_asked, read_paused, write_asked, write_paused
from calls.deliveries import (
    DELIVERY_KINDS,
    DeliveryEdited,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    DeliveryWithdrawn,
    read_delivery,
    write_delivery,
)
from calls.directory import Directory
from calls.entries import ENTRY_TYPES
from calls.exchange import read_change
from calls.facts import (
    BODIES_RETIRED,
    CALLBACK_REQUESTED,
    CHAT_ASKED,
    CHAT_PAUSED,
    CUSTOMER_FORGOTTEN,
    DIRECTORY_CHANGED,
    EVENT_KINDS,
    KNOWN_KINDS,
    RECORDING_ADDED,
    RECORDING_FORGOTTEN,
    SILENCE_OBSERVED,
    Fact,
)
from calls.observations import Silence, read_silence, write_silence
from calls.recordings import Recording, read_recording, write_recording
from calls.shapes import SHAPES, Shapes, UnknownShape
from tests.folding import EPOCH

STORED = Path(__file__).parents[1] / "histories" / "shapes"
LINES = [
    json.loads(line)
    for path in sorted(STORED.glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
"""``from``: the commit that first wrote such bodies, ``kind``, ``body``; ``read``: what it means today."""

SPOKEN: dict[str, msgspec.Struct] = {
    "delivery_intended": DeliveryIntended("7.1", 1, "ab", "7.1/1"),
    "delivery_sent": DeliverySent("7.1", 1, 2, "ab", "talking", 3, notice=True),
    "delivery_edited": DeliveryEdited("7.1", 1, 2, "ab", "ended", 3, notice=True),
    "delivery_withdrawn": DeliveryWithdrawn("7.1", 1, 2, "gone"),
    "delivery_refused": DeliveryRefused("7.1", 1, "blocked", "Forbidden", final=False),
    SILENCE_OBSERVED: Silence("settle", 15.0, 4),
    RECORDING_ADDED: Recording("r1", "https://pbx.example/1.mp3", "audio/mpeg", 5, "ab"),
    CALLBACK_REQUESTED: CallbackRequested(
        call_id="7.1", chat_id=1, user_id=2, phone="+375290000101", line="0007001"
    ),
    CHAT_ASKED: ChatAsked(-5, "stranger"),
    CHAT_PAUSED: ChatPaused(-5, 30.0),
    CUSTOMER_FORGOTTEN: Forgotten("+375290000199", 3),
    BODIES_RETIRED: BodiesRetired("2025-05-03T21:00:00+00:00", 40, 3),
}
"""One body of each kind with every field told, but for the directory, whose entries are of many types."""


def change_of(body: bytes) -> Any:
    """The entry that a change brings, as the directory has it afterwards; None where it takes one away."""
    change = read_change(Fact(1, "0367", "directory", 1, DIRECTORY_CHANGED, "service", EPOCH, EPOCH, body))
    after = Directory.empty("0367").apply(change)
    if change.section == "enterprise":
        return after.profile
    return getattr(after, f"{change.section}s").get(change.key)


def forgotten_of(body: bytes) -> Forgotten:
    return SHAPES.read(CUSTOMER_FORGOTTEN, body, msgspec.json.Decoder(Forgotten))


def retired_of(body: bytes) -> BodiesRetired:
    return SHAPES.read(BODIES_RETIRED, body, msgspec.json.Decoder(BodiesRetired))


def nothing_of(body: bytes) -> msgspec.Struct:
    return SHAPES.read(RECORDING_FORGOTTEN, body, msgspec.json.Decoder(msgspec.defstruct("Nothing", [])))


def reader_of(kind: str) -> Callable[[bytes], Any]:
    if kind in DELIVERY_KINDS:
        return lambda body: read_delivery(kind, body)
    return {
        SILENCE_OBSERVED: read_silence,
        RECORDING_ADDED: read_recording,
        RECORDING_FORGOTTEN: nothing_of,
        CALLBACK_REQUESTED: read_callback,
        CHAT_ASKED: read_asked,
        CHAT_PAUSED: read_paused,
        CUSTOMER_FORGOTTEN: forgotten_of,
        BODIES_RETIRED: retired_of,
        DIRECTORY_CHANGED: change_of,
    }[kind]


def meant(line: dict[str, Any]) -> Any:
    """What the body of a line says today, every field of it."""
    told = reader_of(line["kind"])(json.dumps(line["body"], ensure_ascii=False).encode())
    return None if told is None else json.loads(msgspec.json.encode(msgspec.structs.asdict(told)))


@pytest.mark.parametrize(
    "line", LINES, ids=[f"{place}-{line['kind']}-{line['from']}" for place, line in enumerate(LINES)]
)
def test_a_body_of_every_shape_that_was_ever_stored_is_read_as_meant(line):
    told = meant(line)
    if line["read"] is None:
        assert told is None
    else:
        # a field that came after the line was written is not in it
        assert {field: told[field] for field in line["read"]} == line["read"]


def test_every_kind_of_ours_has_a_shape_and_stored_bodies():
    ours = KNOWN_KINDS - set(EVENT_KINDS)
    assert SHAPES.present.keys() == ours, "a kind is named in calls/shapes.py with its shape"
    assert {line["kind"] for line in LINES} == ours, "a stored body of it stands in tests/histories/shapes"


def test_every_field_of_todays_shapes_stands_in_a_stored_body():
    told: dict[str, set[str]] = {}
    for line in LINES:
        body, name = line["body"], line["kind"]
        if name == DIRECTORY_CHANGED:
            body, name = body["value"] or {}, f"{name} {body['section']}"
        told.setdefault(name, set()).update(body)
    types = {kind: type(body) for kind, body in SPOKEN.items()}
    types |= {f"{DIRECTORY_CHANGED} {section}": entry for section, entry in ENTRY_TYPES.items()}
    for name, shape in types.items():
        assert told[name] - {"v"} >= set(shape.__struct_fields__), (
            f"{name}: write a line with the new field into tests/histories/shapes"
        )


@pytest.mark.parametrize("kind", SPOKEN)
def test_what_is_written_today_is_read_back(kind):
    body = SPOKEN[kind]
    if kind in DELIVERY_KINDS:
        assert write_delivery(body) == (kind, SHAPES.write(kind, body))
    write = {
        SILENCE_OBSERVED: write_silence,
        RECORDING_ADDED: write_recording,
        CALLBACK_REQUESTED: write_callback,
        CHAT_ASKED: write_asked,
        CHAT_PAUSED: write_paused,
    }.get(kind)
    if write is not None:
        assert write(body) == SHAPES.write(kind, body)
    assert reader_of(kind)(SHAPES.write(kind, body)) == body


@pytest.mark.parametrize("kind", sorted(SHAPES.present))
def test_a_body_of_a_newer_shape_is_refused_with_both_numbers(kind):
    newer = SHAPES.present[kind] + 1
    body = json.dumps({"section": "enterprise", "key": "0367", "v": newer}).encode()
    with pytest.raises(
        UnknownShape, match=rf"'{kind}' has the shape {newer}, this version knows .* {newer - 1}:"
    ):
        reader_of(kind)(body)


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"v": "2"}', b'{"v": 0}', b'{"v": null}', b'{"why": "x"}']
)
def test_what_is_of_no_shape_is_refused(body):
    with pytest.raises(msgspec.DecodeError):
        read_silence(body)


def test_a_v_that_an_entry_of_the_directory_has_is_not_its_shape():
    body = b'{"section": "customer", "key": "v", "value": {"phone": "v", "name": "v", "v": 9}}'
    assert change_of(body).name == "v"


# Upcasters, by a kind that there is not.


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Shape 1 said ``name`` and ``floor``; 2 split the name; 3 counts floors from 0."""

    house: str
    room: str
    floor: int = 0


def split(body: dict[str, Any]) -> dict[str, Any]:
    house, room = body.pop("name").split("/")
    return {**body, "house": house, "room": room}


def from_ground(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "floor": body["floor"] - 1}


PLACES = Shapes({"place_seen": 3}, {("place_seen", 1): split, ("place_seen", 2): from_ground})
PLACE = msgspec.json.Decoder(Place)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "A/12", "floor": 3}',
        b'{"v": 1, "name": "A/12", "floor": 3}',
        b'{"v": 2, "house": "A", "room": "12", "floor": 3}',
        b'{"v": 3, "house": "A", "room": "12", "floor": 2}',
    ],
)
def test_an_older_shape_is_read_through_every_upcaster_after_it(body):
    assert PLACES.read("place_seen", body, PLACE) == Place("A", "12", 2)


def test_from_shape_2_on_the_shape_is_written_into_the_body_also_beside_defaults():
    assert PLACES.write("place_seen", Place("A", "12")) == b'{"house":"A","room":"12","v":3}'
    assert Shapes({"place_seen": 1}, {}).write("place_seen", Place("A", "12")) == b'{"house":"A","room":"12"}'
    assert PLACES.read("place_seen", PLACES.write("place_seen", Place("A", "12")), PLACE) == Place("A", "12")


def test_what_an_upcaster_makes_is_checked_as_what_is_read():
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        PLACES.read("place_seen", b'{"v": 2, "house": "A", "room": "12", "floor": 1.5}', PLACE)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {("place_seen", 1): split, ("place_seen", 3): split},
        {("place_seen", 1): split, ("other", 1): split},
    ],
)
def test_upcasters_lead_from_every_shape_to_the_present_one(given):
    with pytest.raises(ValueError, match=r"missing, or lead nowhere: \[\("):
        Shapes({"place_seen": 2 if given else 3}, given)
