"""The eight events of a host, as they arrive (events.md 4): tolerant reading of a verbatim body."""

import json
import re
from typing import Any, Final

import msgspec

MAX_ID: Final = 200
"""Longest UniqueId or BridgeUniqueid accepted, in characters (real ones have 10 to 36)."""
MAX_NESTED: Final = 64
"""Deepest nesting accepted. Decoders fail at a depth that depends on their caller's; whoever reads a stored body must
be able to."""


class EventError(ValueError):
    """A body that is no event: ``reason`` names the field, what it holds and what is allowed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Event(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={
        "token": "Token",
        "unique_id": "UniqueId",
        "bridge_id": "BridgeUniqueid",
        "linked_id": "Linkedid",
        "call_type": "CallType",
        "call_status": "CallStatus",
        "phone": "Phone",
        "extensions": "Extensions",
        "trunk": "Trunk",
        "channel": "Channel",
        "caller": "CallerIDNum",
        "caller_name": "CallerIDName",
        "connected": "ConnectedLineNum",
        "connected_name": "ConnectedLineName",
        "exten": "Exten",
        "context": "Context",
        "start_time": "StartTime",
        "end_time": "EndTime",
        "date_received": "DateReceived",
        "external_initiated": "ExternalInitiated",
        "ext_phone": "ExtPhone",
        "ext_trunk": "ExtTrunk",
        "bridge_num_channels": "BridgeNumChannels",
    },
):
    """One event. Every text is as received; what a host left out is empty.

    What its fields of several forms tell: calls.told.
    """

    token: str = ""
    unique_id: str = ""
    bridge_id: str = ""
    linked_id: str = ""
    call_type: str | int | None = ""
    call_status: str | int | None = ""
    phone: str = ""
    extensions: list[str] | str | None = None
    trunk: str = ""
    channel: str = ""
    caller: str = ""
    caller_name: str = ""
    connected: str = ""
    connected_name: str = ""
    exten: str = ""
    context: str = ""
    start_time: str = ""
    end_time: str = ""
    date_received: str = ""
    external_initiated: bool | None = None
    ext_phone: str = ""
    ext_trunk: str = ""
    bridge_num_channels: str | int | None = ""


DECODER: Final = msgspec.json.Decoder(Event)
"""Of what hosts send today."""
_well_formed: Final = msgspec.json.Decoder(msgspec.Raw)
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')

_TEXTS: Final = frozenset(
    field.encode_name
    for field in msgspec.structs.fields(Event)
    if field.name not in {"extensions", "external_initiated"}
)


def read_event(body: bytes) -> Event:
    """Read a body; numbers as text and text as numbers are fine, null is as good as absent.

    Raises EventError for what is not JSON, not an object, or has a known field of a wrong type.
    """
    event = reread_event(body)
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the texts of fields it does not know
    except UnicodeDecodeError as error:
        raise _refusal(error) from None
    if body.count(b"[") + body.count(b"{") > MAX_NESTED and _depth(body) > MAX_NESTED:
        raise _refusal(RecursionError())
    return event


def reread_event(body: bytes) -> Event:
    """Read a body that was an event when it came: what no field tells was looked at then.

    Raises EventError as ``read_event``.
    """
    try:
        return DECODER.decode(body)
    except msgspec.ValidationError:
        return _read_otherwise(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error) from None


def bridge_named(body: bytes) -> str:
    """The bridge that an event names, "" where it names none, or is none that can be read."""
    try:
        return read_event(body).bridge_id.strip()
    except EventError:
        return ""


def _read_otherwise(body: bytes) -> Event:
    try:
        _well_formed.decode(body)  # json lets through NaN and halves of a character
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error) from None
    return _read_leniently(body)


def _refusal(error: Exception) -> EventError:
    if isinstance(error, RecursionError):
        return EventError("the body is nested too deeply")
    return EventError(f"the body is not JSON: {error}")


def _depth(body: bytes) -> int:
    """How deeply a body of well-formed JSON is nested."""
    depth = deepest = 0
    for mark in _TEXT.sub(b"", body):
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _read_leniently(body: bytes) -> Event:
    """The way of the few bodies whose types differ from what hosts send today."""
    try:
        # Numbers stay the text they were: 1757840723.10 must not become …23.1.
        told = json.loads(body.decode(), parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise _refusal(error) from None
    if not isinstance(told, dict):
        raise EventError(f"the body is {_kind(told)}, an object is needed")
    fields: dict[str, Any] = {}
    for name, value in told.items():
        if value is None:
            continue
        if name in _TEXTS:
            if not isinstance(value, str):
                raise EventError(f"{name} is {_kind(value)}, text or a number is allowed")
            fields[name] = value
        elif name == "Extensions":
            fields[name] = _numbers(value)
        elif name == "ExternalInitiated":
            fields[name] = _flag(value)
    try:
        return msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise EventError(str(error)) from None


def _numbers(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(entry, str) or entry is None for entry in value):
        return [entry for entry in value if entry]
    raise EventError(f"Extensions is {_kind(value)}, a list of texts or one text is allowed")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false", "1", "0", ""}:
        return value.strip().lower() in {"true", "1"}
    raise EventError(f"ExternalInitiated is {_kind(value)}, true or false is allowed")


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return "a text or a number"
        case _:
            return "null"


def identity(event: Event) -> tuple[str, str]:
    """(UniqueId, BridgeUniqueid) of an event, stripped.

    Raises EventError where both are missing or one cannot be a key.
    """
    unique_id = event.unique_id.strip()
    bridge_id = event.bridge_id.strip()
    if not unique_id and not bridge_id:
        raise EventError("UniqueId and BridgeUniqueid are both missing, one of them is needed")
    for name, value in (("UniqueId", unique_id), ("BridgeUniqueid", bridge_id)):
        if len(value) > MAX_ID or not value.isprintable():
            raise EventError(f"{name} has {len(value)} characters, up to {MAX_ID} printable ones are allowed")
    return unique_id, bridge_id
