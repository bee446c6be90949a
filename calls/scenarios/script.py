"""The compact form of a scenario, and how it becomes the events of a host.

A script has one step a line; names of legs and bridges are the scenario's own. The cast: ``C`` a customer, ``M``
a manager's mobile, ``L1`` and ``L2`` lines.

    leg main L1 C                 a channel: SIP/<line or extension>, its party's number (default: the extension)
    leg ask1 152@dialexecute;1 152    a Local half, its number; the other half of the pair is declared next
    start main                    an incoming call on the leg's line, or ``via L1`` where the channel is another's
    ncid main                     new_callerid; ``sees X``, ``context X``, ``exten X``, ``as X``: its new number
    dial main 0 150,151           kind of call; 0: who is rung, 1: who calls whom (``151 C``); ``via L2``
    create A / destroy A          a bridge as a whole
    enter A main 151              a channel enters, seeing a number; ``exten X`` where it is not the usual one
    leave A main                  a channel leaves; what it sees may follow
    hangup main 0 2 151           CallType, CallStatus, Extensions (``-`` for none); ``phone X``, ``via L2``,
                                  ``began none`` where StartTime is not told
    unseen enter A main 151       the step happens, but the host does not tell
    external                      from here on every event has ExternalInitiated
    wait 12                       seconds pass (every event takes one second by itself)

Usual are in Exten: the line on an incoming channel, on a Local half the number in its name. Entering a bridge is
leaving the last one.
"""

import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from calls.facts import EVENT_KINDS

CAST: Final = MappingProxyType(
    {"C": "375290000101", "M": "375290000102", "L1": "0007001", "L2": "0007002"},
)
TOKEN: Final = "375290000000"  # noqa: S105 - the Token of the sample directory
LEAST_KINDS: Final = frozenset({"start", "dial", "bridge", "hangup"})
"""What 49 of 51 hosts send (events.md 1)."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The truth at the end: columns of ``calls`` that the scenario fixes, and the phases that a card may show."""

    direction: str
    outcome: str
    origin: str = "pbx"
    customer: str | None = None
    line: str | None = None
    caller: str | None = None
    dialled: str | None = None
    rung: tuple[str, ...] = ()
    answered_by: str | None = None
    talked: tuple[str, ...] = ()
    consulted: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    """In order; an end that a later event takes back is in it too."""


class Played(msgspec.Struct, frozen=True):
    """One event to send ``offset`` seconds after the first."""

    offset: float
    kind: str
    body: dict[str, Any]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of call. ``plausible``: no recording exists, the most likely sequence was written."""

    id: str
    title: str
    script: str
    expected: Expected
    least: Expected | None = None
    """What must still hold with start, dial, bridge and hangup alone; None: the same."""
    beside: tuple[Expected, ...] = ()
    """The truths of other calls that go on meanwhile, in the order they began; ``expected`` is the main call's."""
    plausible: bool = False

    def events(
        self,
        now: float,
        seed: int,
        *,
        token: str = TOKEN,
        timezone: str = "Europe/Minsk",
        least: bool = False,
        cast: Mapping[str, str] = CAST,
    ) -> tuple[Played, ...]:
        """The events of one run that begins at ``now`` (UTC seconds), its ids drawn from ``seed``.

        ``least`` leaves out the four newer types.
        """
        played = _Player(now, seed, token, ZoneInfo(timezone), cast).play(self.script)
        if least:
            played = [event for event in played if event.kind in LEAST_KINDS]
        return tuple(played)


class ScriptError(ValueError):
    """A step that is not of the form above."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step!r}: {reason}")


class _Channel(msgspec.Struct):
    unique_id: str
    channel: str
    context: str
    number: str
    began: float
    line: str = ""
    exten: str = ""


class _Player:
    def __init__(self, now: float, seed: int, token: str, zone: ZoneInfo, cast: Mapping[str, str]) -> None:
        self._now, self._zone, self._cast = now, zone, cast
        self._random = random.Random(seed)  # noqa: S311 - ids of a played call, not secrets
        self._counter = self._random.randrange(1, 900_000)
        self._offset = 0.0
        self._marks: dict[str, Any] = {"Token": token}
        self._legs: dict[str, _Channel] = {}
        self._awaited: dict[str, str] = {}
        """The Local half that is to be declared next, and the name that both have."""
        self._bridges: dict[str, str] = {}
        self._inside: dict[str, set[str]] = {}
        self._incoming = ""

    def play(self, script: str) -> list[Played]:
        played = []
        for line in script.strip().splitlines():
            words = line.split("#")[0].split()
            if not words:
                continue
            seen = words[0] != "unseen"
            verb, *arguments = words if seen else words[1:] or [""]
            kind = _STEPS.get(verb)
            if kind is None:
                raise ScriptError(line, "no such step")
            try:
                body = getattr(self, f"_{verb}")(*arguments)
            except (TypeError, LookupError, ValueError) as error:
                raise ScriptError(line, str(error)) from error
            if kind and seen:
                played.append(Played(self._offset, kind, {**body, **self._marks}))
                self._offset += 1.0
        return played

    def _say(self, name: str) -> str:
        return self._cast.get(name, name)

    def _name_of(self, number: str, otherwise: str = "<unknown>") -> str:
        """The dialplan names who calls in by the number."""
        return f"-{number}" if number == self._incoming else otherwise

    # steps that no event tells

    def _wait(self, seconds: str) -> None:
        self._offset += float(seconds) - 1.0

    def _external(self) -> None:
        self._marks["ExternalInitiated"] = True

    def _leg(self, name: str, device: str, number: str = "") -> None:
        if self._awaited and device not in self._awaited:
            raise ValueError(f"the next leg is {', '.join(self._awaited)}")
        self._counter += 1
        called, is_local, rest = device.partition("@")
        self._legs[name] = told = _Channel(
            unique_id=f"{int(self._now + self._offset)}.{self._counter}",
            channel=self._local(device) if is_local else f"SIP/{self._say(device)}-{self._hexadecimal()}",
            context="inoffice",
            number=self._say(number or called),
            began=self._now + self._offset,
        )
        if is_local:
            told.context, told.exten = rest.partition(";")[0], self._say(called)
        elif device.startswith("L"):
            told.context, told.line = "from-out-office", self._say(device)

    def _local(self, device: str) -> str:
        pair, _, half = device.partition(";")
        if half not in {"1", "2"}:
            raise ValueError("the halves of a Local pair are ;1 and ;2")
        name = self._awaited.pop(device, "")
        if not name:
            called, _, context = pair.partition("@")
            name = f"Local/{self._say(called)}@{context}-{self._hexadecimal()}"
            self._awaited[f"{pair};{3 - int(half)}"] = name
        return f"{name};{half}"

    def _hexadecimal(self) -> str:
        return f"{self._random.getrandbits(32):08x}"

    # what happens to a channel

    def _start(self, leg: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        told.line = told.exten = self._options(rest, "via").get("via", told.line)
        self._incoming = told.number
        return {"CallType": 0, "Trunk": told.line, "UniqueId": told.unique_id, "Phone": told.number}

    def _ncid(self, leg: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        options = self._options(rest, "sees", "context", "exten", "as")
        told.number = options.get("as", told.number)
        rung_by = self._cast["C"] if told.context == "inoffice" else "<unknown>"
        sees = options.get("sees", rung_by)
        return {
            "UniqueId": told.unique_id,
            "Channel": told.channel,
            "CallerIDNum": told.number,
            "CallerIDName": self._name_of(told.number),
            "ConnectedLineNum": sees,
            "ConnectedLineName": self._name_of(sees),
            "Context": options.get("context", told.context),
            "Exten": options.get("exten", told.exten or told.number),
        }

    def _dial(self, leg: str, kind: str, who: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        called, options = ("", rest) if kind == "0" else (rest[0], rest[1:])
        phone = self._say(called) or told.number
        line = self._options(options, "via").get("via", told.line or self._cast["L1"])
        told.line = line
        return {
            "CallType": int(kind),
            "UniqueId": told.unique_id,
            "Phone": phone,
            "Extensions": [self._say(name) for name in who.split(",")],
            "Trunk": "" if kind == "2" else line,
            "ExtTrunk": "",
            "ExtPhone": phone if kind == "0" else "",
        }

    def _hangup(self, leg: str, kind: str, status: str, who: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        options = self._options(rest, "phone", "via", "began")
        body: dict[str, Any] = {
            "UniqueId": told.unique_id,
            "CallType": int(kind),
            "CallStatus": status,
            "Phone": options.get("phone", told.number),
            "Extensions": [""] if who == "-" else [self._say(name) for name in who.split(",")],
            "StartTime": "" if kind == "2" or "began" in options else self._wall_clock(told.began),
            "DateReceived": self._wall_clock(told.began),
            "EndTime": self._wall_clock(self._now + self._offset),
        }
        if kind != "2":
            body["Trunk"] = options.get("via", told.line or self._cast["L1"])
        return body

    # bridges

    def _create(self, bridge: str) -> dict[str, Any]:
        self._bridges[bridge] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self._inside[bridge] = set()
        return self._bridge_as_whole(bridge)

    def _destroy(self, bridge: str) -> dict[str, Any]:
        return self._bridge_as_whole(bridge)

    def _bridge_as_whole(self, bridge: str) -> dict[str, Any]:
        return {
            "UniqueId": "",
            "BridgeUniqueid": self._bridges[bridge],
            "BridgeType": "",
            "BridgeTechnology": "simple_bridge",
            "BridgeCreator": "<unknown>",
            "BridgeName": "<unknown>",
            "BridgeNumChannels": "0",
        }

    def _enter(self, bridge: str, leg: str, sees: str, *rest: str) -> dict[str, Any]:
        exten = self._options(rest, "exten").get("exten", self._legs[leg].exten)
        for left in self._inside.values():
            left.discard(leg)
        self._inside[bridge].add(leg)
        return {**self._in_bridge(bridge, leg, sees, ""), "Exten": exten}

    def _leave(self, bridge: str, leg: str, sees: str = "<unknown>") -> dict[str, Any]:
        self._inside[bridge].remove(leg)
        left = str(len(self._inside[bridge]))
        return {**self._in_bridge(bridge, leg, sees, "<unknown>"), "BridgeNumChannels": left}

    def _in_bridge(self, bridge: str, leg: str, sees: str, unnamed: str) -> dict[str, Any]:
        told = self._legs[leg]
        return {
            "UniqueId": told.unique_id,
            "BridgeUniqueid": self._bridges[bridge],
            "Channel": told.channel,
            "CallerIDNum": told.number,
            "CallerIDName": self._name_of(told.number, unnamed),
            "ConnectedLineNum": self._say(sees),
            "ConnectedLineName": self._name_of(self._say(sees)),
        }

    # words

    def _options(self, words: tuple[str, ...], *known: str) -> dict[str, str]:
        """What pairs of words say, names of the cast replaced; ``none`` is an empty text."""
        options = dict(zip(words[::2], words[1::2], strict=True))
        if not options.keys() <= set(known):
            raise ValueError(f"only {', '.join(known)} may stand here")
        return {name: "" if value == "none" else self._say(value) for name, value in options.items()}

    def _wall_clock(self, at: float) -> str:
        return datetime.fromtimestamp(at, UTC).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")


_STEPS: Final = {
    "leg": "",
    "wait": "",
    "external": "",
    "start": "start",
    "ncid": "new_callerid",
    "dial": "dial",
    "create": "bridge_create",
    "enter": "bridge",
    "leave": "bridge_leave",
    "destroy": "bridge_destroy",
    "hangup": "hangup",
}
"""Verbs, and the kind of event each becomes ("": none)."""
assert set(_STEPS.values()) - {""} == set(EVENT_KINDS)
