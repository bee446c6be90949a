"""Who is at the end of a leg: a person of the enterprise, a mobile of one, the outside party, or only a Local half."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, final

from mypy_extensions import mypyc_attr

from calls.channels import read_channel
from calls.directory import Directory
from calls.legs import Leg
from calls.numbers import is_extension
from calls.values import Value

Role = Literal["person", "outside", "local", "unknown"]


@final
@mypyc_attr(acyclic=True)
class Party(Value):
    """``number``: extension of a person, E.164 of an outside party, "" where nothing is told."""

    def __init__(self, role: Role, number: str = "") -> None:
        self.role = role
        self.number = number

    def parts(self) -> tuple[object, ...]:
        return self.role, self.number


NOBODY: Final = Party("unknown")
LOCAL: Final = Party("local")
ORIGINATE: Final = "@web-originate"
"""In the name of the Local pair by which a CRM has a phone rung."""
_ORIGINATED: Final = re.compile(rf"^Local/(?P<person>\d{{3,4}}){ORIGINATE}")


def party(leg: Leg, directory: Directory) -> Party:
    """Who is at the end of this leg.

    The trunk in Channel is not the line, but says that the leg is outside (events.md 3).
    """
    channel, number = read_channel(leg.channel), leg.number
    if channel.inside:
        return Party("person", channel.device)
    if channel.pair:
        rung = _ORIGINATED.match(channel.pair) if ORIGINATE in channel.pair else None
        return Party("person", rung["person"]) if rung else LOCAL
    if not channel.device and is_extension(number):
        return Party("person", number)
    if leg.start:
        return Party("outside", incoming_number(leg, directory) or "")
    if channel.device or number:
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
        number = directory.e164(leg.start.phone, leg.start.trunk) if leg.start.trunk else None
        if number:
            return number  # by far the most calls: the first that is told, on its own line
        told.append((leg.start.phone, leg.start.trunk))
    told += [(dial.phone, dial.trunk) for dial in leg.dials]
    if hangup := leg.hangup:
        # A leg to somebody's mobile on the customer's behalf tells the customer in Extensions (events.md 6).
        behalf = [] if hangup.call_type != "1" else [one for one in hangup.numbers if not is_extension(one)]
        told += [(phone, hangup.trunk) for phone in (*behalf, hangup.phone)]
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
        # An extension that is no person is no number of E.164 either.
        name = number if directory.is_person(number) else directory.e164(number)
        if name and name != customer and name not in found:
            found.append(name)
    return tuple(found)
