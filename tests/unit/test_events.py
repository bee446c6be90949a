"""Reading an event: as hosts write it, as others write it, and what is refused."""

import json

import pytest

from calls.events import MAX_ID, Event, EventError, identity, read_event
from calls.told import kind_of_call, numbers_of, status_of


def read(**body: object) -> Event:
    return read_event(json.dumps(body).encode())


def test_a_body_as_hosts_send_it():
    event = read(
        Token="375290000000",
        UniqueId="1757840723.10",
        CallType=0,
        CallStatus="2",
        Phone="<unknown>",
        Extensions=["150", "151"],
        ExternalInitiated=True,
    )
    assert event.token == "375290000000"
    assert kind_of_call(event) == "0"
    assert status_of(event) == "2"
    assert event.phone == "<unknown>"
    assert numbers_of(event) == ("150", "151")
    assert event.external_initiated is True
    assert event.bridge_id == event.channel == event.exten == ""


@pytest.mark.parametrize(
    ("body", "unique_id"),
    [
        (b'{"UniqueId": 1757840723.10}', "1757840723.10"),
        (b'{"UniqueId": 17578407231757840723175784072317578407231757840723}', "1757840723" * 5),
        (b'{"UniqueId": " 1757840723.10 "}', "1757840723.10"),
    ],
)
def test_an_id_that_came_as_a_number_keeps_its_digits(body, unique_id):
    assert identity(read_event(body)) == (unique_id, "")


@pytest.mark.parametrize(
    ("told", "meant"),
    [(2, "2"), ("2", "2"), (" 2 ", "2"), (None, ""), ("", ""), (2.0, "2.0"), (10**30, str(10**30))],
)
def test_call_type_and_status_are_texts_whatever_they_came_as(told, meant):
    event = read(UniqueId="1.1", CallType=told, CallStatus=told)
    assert (kind_of_call(event), status_of(event)) == (meant, meant)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (["150", "151"], ("150", "151")),
        (["152&151&153"], ("152", "151", "153")),
        ("152&151", ("152", "151")),
        ([""], ()),
        ([], ()),
        (None, ()),
        ("", ()),
        ([150, None, " 151 "], ("150", "151")),
        (150, ("150",)),
    ],
)
def test_extensions_in_every_form_that_hosts_sent(told, meant):
    assert numbers_of(read(UniqueId="1.1", Extensions=told)) == meant


@pytest.mark.parametrize(
    ("told", "meant"),
    [(True, True), (False, False), ("true", True), ("0", False), (1, True), ("", False), (None, None)],
)
def test_external_initiated_in_every_form(told, meant):
    assert read(UniqueId="1.1", ExternalInitiated=told).external_initiated is meant


def test_null_is_as_good_as_absent_and_unknown_fields_do_not_matter():
    assert read(UniqueId="1.1", Phone=None, Trunk=None, Cause=16, Extra={"deep": [1]}) == read(UniqueId="1.1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"start",
        b"[]",
        b'"1757840723.10"',
        b"null",
        b"17",
        b'{"UniqueId":"1.1"',
        b'{"UniqueId":"1.1"} {}',
        b'{"UniqueId":"\xff"}',
        b'{"UniqueId":"1.1","Phone":5,"x":NaN}',
        b'{"UniqueId":"1.1","Phone":5,"Trunk":"\\ud800"}',
        '{"UniqueId":"1.1"}'.encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(EventError, match="the body"):
        read_event(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("UniqueId", ["1.1"]),
        ("Token", {}),
        ("Phone", True),
        ("CallType", False),
        ("CallStatus", [2]),
        ("Extensions", {"150": 1}),
        ("Extensions", [["150"]]),
        ("Extensions", True),
        ("ExternalInitiated", "perhaps"),
        ("ExternalInitiated", [True]),
    ],
)
def test_a_known_field_of_a_wrong_type_is_refused_by_its_name(field, value):
    with pytest.raises(EventError, match=field):
        read(**{"UniqueId": "1.1", field: value})


def test_a_refusal_does_not_repeat_the_token():
    with pytest.raises(EventError) as refused:
        read_event(b'{"Token":"375290000000","UniqueId":["1.1"]}')
    assert "375290000000" not in str(refused.value)


def test_either_id_is_enough():
    assert identity(read(UniqueId="", BridgeUniqueid="b-1")) == ("", "b-1")
    assert identity(read(UniqueId="1.1", BridgeUniqueid=" ")) == ("1.1", "")


@pytest.mark.parametrize("body", [{}, {"UniqueId": " "}, {"UniqueId": None, "BridgeUniqueid": ""}])
def test_an_event_of_nobody_is_refused(body):
    with pytest.raises(EventError, match="both missing"):
        identity(read(**body))


@pytest.mark.parametrize("wrong", ["x" * (MAX_ID + 1), "1.1\n2", "1\x001", "a\u2028b"])
@pytest.mark.parametrize("field", ["UniqueId", "BridgeUniqueid"])
def test_an_id_that_can_be_no_key_is_refused(field, wrong):
    with pytest.raises(EventError, match=field):
        identity(read(**{"UniqueId": "1.1", field: wrong}))
