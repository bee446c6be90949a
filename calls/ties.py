"""Weak links: what an event says about whose call its leg is part of (events.md 6; DESIGN: Legs and conversations).

A leg without a beginning of its own (no start, no dial of somebody's own) may name, in the words of its events, a
number that takes part in a running call. The switchboard looks for that call; here stands what the events say. Each
rule names the scenario that falls apart without it.
"""

from sys import intern
from typing import Literal, final

from mypy_extensions import mypyc_attr

from calls.channels import Channel, read_channel
from calls.directory import Directory
from calls.events import Event
from calls.legs import OF_CHANNELS
from calls.numbers import is_extension, is_unknown
from calls.parties import ORIGINATE
from calls.told import kind_of_call, numbers_of, status_of
from calls.values import Value

Why = Literal["dial", "local", "hangup", "moved", "channel", "sought"]

NOTHING: tuple[str, ...] = ()
RUNG = "*"
SOUGHT = "inoffice"
"""Context of a phone that a blind transfer rings (events.md 4, new_callerid)."""


@final
@mypyc_attr(acyclic=True)
class Tie(Value):
    """The leg belongs to a running call in which ``key`` takes part; where two fit, to that of ``hint``.

    Both are extensions, numbers in E.164, or UniqueIds. ``why`` says what has to stay true for it to hold.
    """

    def __init__(self, key: str, hint: str, why: Why) -> None:
        self.key = key
        self.hint = hint
        self.why = why

    def parts(self) -> tuple[object, ...]:
        return self.key, self.hint, self.why


def ties(kind: str, event: Event, unique_id: str, directory: Directory) -> tuple[Tie, ...]:
    """What this event says about whose call its leg is part of, the surest first."""
    if kind in OF_CHANNELS:
        channel = read_channel(event.channel)
        return (_local if channel.pair else _lone)(event, channel, directory)
    if kind == "dial":
        return forwarded(event, directory)
    if kind == "hangup":
        return forwarded(event, directory) or _asked(event, unique_id, directory)
    return ()


def forwarded(event: Event, directory: Directory) -> tuple[Tie, ...]:
    """A leg to somebody's mobile, on the way of another call.

    Called for the customer, whose number stands in Extensions (2-6); or, by a transfer to a FollowMe, for the
    person who transfers: then only the directory tells that the number is a mobile of the enterprise (2-26).
    """
    if kind_of_call(event) != "1":
        return ()
    behalf = next(iter(numbers_of(event)), "")
    mobile = directory.e164(event.phone) or ""
    if is_unknown(behalf):
        # For a customer who withholds the number: the mobile itself is what is rung.
        return (Tie(mobile, "", "dial"),) if mobile and directory.manager_by_mobile(mobile) else ()
    if not is_extension(behalf):
        customer = directory.e164(behalf)
        return (Tie(customer, mobile, "dial"),) if customer else ()
    if mobile and directory.manager_by_mobile(mobile):
        return (Tie(behalf, mobile, "dial"),)
    return ()


def _asked(event: Event, unique_id: str, directory: Directory) -> tuple[Tie, ...]:
    """The end of an attended transfer's leg, of which nothing else came, or of a channel that was moved on.

    Phone is who asked (1-5), or the customer (2-8, 1-6): that is no internal call, whatever CallType says. The other
    half of a Local pair has the next UniqueId or the one before.
    """
    if kind_of_call(event) != "2":
        return ()
    target = next(iter(numbers_of(event)), "")
    found = Tie(unique_id, "", "hangup")
    key = _party(event.phone.strip(), directory)
    if not key:
        return (found,)
    return found, Tie(key, target, "hangup" if is_extension(key) else "moved")


def _local(event: Event, channel: Channel, directory: Directory) -> tuple[Tie, ...]:
    """A half of a Local pair speaks for who had it made: ``;2`` as itself, ``;1`` sees that party (2-9, 2-24, 2-29)."""
    target = channel.name.removeprefix("Local/").partition("@")[0]
    if ORIGINATE in channel.name:
        customer = directory.e164(event.connected)
        return (Tie(customer, target, "channel"),) if customer else ()
    told = (event.caller, event.connected) if channel.name.endswith(";2") else (event.connected, event.caller)
    for number in told:
        key = _party(number.strip(), directory)
        if key and key != target:
            hint = target if is_extension(target) else directory.e164(target) or ""
            return () if key == hint else (Tie(key, hint, "local"),)
    return ()


def _lone(event: Event, channel: Channel, directory: Directory) -> tuple[Tie, ...]:
    """A channel that says with whom it talks, while nobody is in its bridge: both sides of a click-to-call (1-2).

    Both numbers must then take part in the call. Of a phone that a blind transfer rings (1-7) only the customer does.
    """
    if channel.inside:
        customer = directory.e164(event.connected)
        why: Why = "sought" if event.context.strip() == SOUGHT else "channel"
        return (Tie(customer, channel.device, why),) if customer else ()
    if not channel.device:
        return ()
    number = directory.e164(event.caller)
    return (Tie(number, _party(event.connected.strip(), directory), "channel"),) if number else ()


def _party(number: str, directory: Directory) -> str:
    """A person's extension as such, an outside number in E.164, "" for anything else."""
    if is_extension(number):
        return number if directory.is_person(number) else ""
    return directory.e164(number) or ""


def traits(kind: str, event: Event, unique_id: str, directory: Directory) -> tuple[str, ...]:
    """Under which numbers this event makes its leg's call findable: who takes part, which mobiles are rung.

    Extensions that are only rung take no part, they may be busy with something else: they stand behind RUNG.
    """
    if kind in OF_CHANNELS:
        channel = read_channel(event.channel)
        if channel.pair:
            return _other_half(channel.name, unique_id)
        if kind == "new_callerid":
            return NOTHING
        if channel.inside:
            return (channel.device,)
        return _one(directory.e164(event.caller)) if channel.device else NOTHING
    if kind == "dial":
        return _dialled(event, directory)
    if kind == "hangup" and kind_of_call(event) == "0" and status_of(event) == "2":
        return tuple([number for number in numbers_of(event) if is_extension(number)])
    return _one(directory.e164(event.phone, event.trunk.strip())) if kind == "start" else NOTHING


def _dialled(event: Event, directory: Directory) -> tuple[str, ...]:
    numbers, phone = numbers_of(event), event.phone.strip()
    if kind_of_call(event) == "1":
        own = numbers[:1] if numbers and is_extension(numbers[0]) else NOTHING
        return own + _one(directory.e164(phone))
    known = [phone] if is_extension(phone) else [*_one(directory.e164(phone, event.trunk.strip()))]
    for number in numbers:
        rung = intern(RUNG + number) if is_extension(number) else directory.e164(number)
        if rung:
            known.append(rung)
    return tuple(known)


def _one(number: str | None) -> tuple[str, ...]:
    return (number,) if number else NOTHING


def _other_half(channel: str, unique_id: str) -> tuple[str, ...]:
    """UniqueIds of a Local pair follow each other (events.md 3)."""
    epoch, _, counter = unique_id.partition(".")
    if not (counter.isascii() and counter.isdigit()):
        return NOTHING
    return (f"{epoch}.{int(counter) + (1 if channel.endswith(';1') else -1)}",)
