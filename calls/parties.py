"""Who is at the end of a leg: a person of the enterprise, a mobile of one, the outside party, or only a Local half."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from calls.directory import Directory
from calls.legs import Leg, local_pair
from calls.numbers import is_extension

Role = Literal["person", "outside", "local", "unknown"]


class Party(msgspec.Struct, frozen=True, gc=False):
    """``number``: extension of a person, E.164 of an outside party, "" where nothing is told."""

    role: Role
    number: str = ""


NOBODY: Final = Party("unknown")
LOCAL: Final = Party("local")
_ORIGINATED: Final = re.compile(r"^Local/(?P<person>\d{3,4})@web-originate")
_PEER: Final = re.compile(r"^[A-Za-z0-9]+/(?P<peer>.+)-[0-9a-fA-F]+$")


def peer(channel: str) -> str:
    """``151`` of ``SIP/151-00000006``: the phone or trunk that a channel belongs to, "" for other forms."""
    found = _PEER.match(channel)
    return found["peer"] if found else ""


def party(leg: Leg, directory: Directory) -> Party:
    """Who is at the end of this leg.

    The trunk in Channel is not the line, but says that the leg is outside (events.md 3).
    """
    if leg.channel:
        if local_pair(leg.channel):
            rung = _ORIGINATED.match(leg.channel)
            return Party("person", rung["person"]) if rung else LOCAL
        device = peer(leg.channel)
        if is_extension(device):
            return Party("person", device)
    else:
        device = ""
    number = leg.number
    if is_extension(number) and not device:
        return Party("person", number)
    if leg.start:
        return Party("outside", incoming_number(leg, directory) or "")
    if device or number:
        return Party("outside", directory.e164(number) or "")
    return _dialling_party(leg)


def _dialling_party(leg: Leg) -> Party:
    """A leg known by its dial or hangup alone: an outgoing or internal one is the caller's own channel."""
    for dial in leg.dials:
        if dial.call_type == "1" and dial.numbers and is_extension(dial.numbers[0]):
            return Party("person", dial.numbers[0])
        if dial.call_type == "2" and is_extension(dial.phone):
            return Party("person", dial.phone)
    if leg.hangup and is_extension(leg.hangup.phone):
        return Party("person", leg.hangup.phone)
    return NOBODY


def incoming_number(leg: Leg, directory: Directory) -> str | None:
    """E.164 of the customer as start, dial or hangup of the incoming leg tell; a line's own id is no number."""
    told: list[tuple[str, str]] = []
    if leg.start:
        told.append((leg.start.phone, leg.start.trunk))
    told += [(dial.phone, dial.trunk) for dial in leg.dials]
    if leg.hangup:
        told.append((leg.hangup.phone, leg.hangup.trunk))
    line = next((trunk for _, trunk in told if trunk), None)
    told.append((leg.number, line or ""))
    for phone, trunk in told:
        number = directory.e164(phone, trunk or line)
        if number:
            return number
    return None


def parties(legs: Mapping[str, Leg], directory: Directory) -> dict[str, Party]:
    """Who is at the end of each leg."""
    return {unique_id: party(leg, directory) for unique_id, leg in legs.items()}


def named(numbers: Iterable[str], directory: Directory, customer: str | None) -> tuple[str, ...]:
    """Persons of the enterprise among numbers: extensions as such, mobiles in E.164; departments are none."""
    found: list[str] = []
    for number in numbers:
        if is_extension(number):
            name: str | None = number if directory.is_person(number) else None
        else:
            name = directory.e164(number)
            name = None if name == customer else name
        if name and name not in found:
            found.append(name)
    return tuple(found)
