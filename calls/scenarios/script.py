"""The compact form of a scenario, and how it becomes the events of a host.

A script has one step a line; names of legs and bridges are the scenario's own. The cast: ``C`` a customer, ``M``
a manager's mobile, ``L1`` and ``L2`` lines.

    leg main L1 C                 a channel: SIP/<line or extension>, its party's number (default: the extension)
    start main                    an incoming call on the leg's line
    ncid main                     new_callerid
    dial main 0 150,151           kind of call; 0: who is rung, 1: who calls whom (``151 C``), optional ``via L2``
    create A / destroy A          a bridge as a whole
    enter A main 151              a channel enters, seeing a number; ``exten X`` where the channel carries one
    leave A main
    hangup main 0 2 151           CallType, CallStatus, Extensions (``-`` for none); ``phone X``, ``via L2``,
                                  ``began`` where StartTime is told
    wait 12                       seconds pass (every step takes one second by itself)
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
    device: str
    number: str
    line: str
    began: float


class _Player:
    def __init__(self, now: float, seed: int, token: str, zone: ZoneInfo, cast: Mapping[str, str]) -> None:
        self._now, self._token, self._zone, self._cast = now, token, zone, cast
        self._random = random.Random(seed)  # noqa: S311 - ids of a played call, not secrets
        self._counter = self._random.randrange(1, 900_000)
        self._offset = 0.0
        self._legs: dict[str, _Channel] = {}
        self._bridges: dict[str, str] = {}
        self._inside: dict[str, set[str]] = {}

    def play(self, script: str) -> list[Played]:
        played = []
        for line in script.strip().splitlines():
            words = line.split("#")[0].split()
            if not words:
                continue
            verb, arguments = words[0], words[1:]
            try:
                body = getattr(self, f"_{verb}")(*arguments)
            except (AttributeError, TypeError, KeyError, ValueError) as error:
                raise ScriptError(line, str(error)) from error
            if body is not None:
                kind = _KINDS.get(verb, verb)
                played.append(Played(self._offset, kind, {**body, "Token": self._token}))
                self._offset += 1.0
        return played

    def _say(self, name: str) -> str:
        return self._cast.get(name, name)

    def _wait(self, seconds: str) -> None:
        self._offset += float(seconds) - 1.0

    def _leg(self, name: str, device: str, number: str = "") -> None:
        self._counter += 1
        peer = self._say(device)
        self._legs[name] = _Channel(
            unique_id=f"{int(self._now + self._offset)}.{self._counter}",
            channel=f"SIP/{peer}-{self._random.getrandbits(32):08x}",
            device=peer,
            number=self._say(number or device),
            line=peer if device.startswith("L") else "",
            began=self._now + self._offset,
        )

    def _start(self, leg: str) -> dict[str, Any]:
        told = self._legs[leg]
        return {"CallType": 0, "Trunk": told.line, "UniqueId": told.unique_id, "Phone": told.number}

    def _ncid(self, leg: str) -> dict[str, Any]:
        told = self._legs[leg]
        return {
            "UniqueId": told.unique_id,
            "Channel": told.channel,
            "CallerIDNum": told.number,
            "CallerIDName": f"-{told.number}",
            "ConnectedLineNum": "<unknown>",
            "ConnectedLineName": "<unknown>",
            "Context": "from-out-office",
            "Exten": told.line or told.number,
        }

    def _dial(self, leg: str, kind: str, who: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        options = dict(zip(rest[-2::2], rest[-1::2], strict=True)) if "via" in rest else {}
        line = self._say(options.get("via", "")) or told.line or self._cast["L1"]
        phone = told.number if kind == "0" else self._say(rest[0])
        return {
            "CallType": int(kind),
            "UniqueId": told.unique_id,
            "Phone": phone,
            "Extensions": [self._say(name) for name in who.split(",")],
            "Trunk": "" if kind == "2" else line,
            "ExtTrunk": "",
            "ExtPhone": phone if kind == "0" else "",
        }

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
        self._inside[bridge].add(leg)
        exten = rest[rest.index("exten") + 1] if "exten" in rest else ""
        return {**self._in_bridge(bridge, leg, sees), "Exten": self._say(exten)}

    def _leave(self, bridge: str, leg: str, sees: str = "<unknown>") -> dict[str, Any]:
        self._inside[bridge].discard(leg)
        left = str(len(self._inside[bridge]))
        return {**self._in_bridge(bridge, leg, sees), "BridgeNumChannels": left}

    def _in_bridge(self, bridge: str, leg: str, sees: str) -> dict[str, Any]:
        told = self._legs[leg]
        return {
            "UniqueId": told.unique_id,
            "BridgeUniqueid": self._bridges[bridge],
            "Channel": told.channel,
            "CallerIDNum": told.number,
            "CallerIDName": "",
            "ConnectedLineNum": self._say(sees),
            "ConnectedLineName": "<unknown>",
        }

    def _hangup(self, leg: str, kind: str, status: str, who: str, *rest: str) -> dict[str, Any]:
        told = self._legs[leg]
        phone = self._say(rest[rest.index("phone") + 1]) if "phone" in rest else told.number
        body: dict[str, Any] = {
            "UniqueId": told.unique_id,
            "CallType": int(kind),
            "CallStatus": status,
            "Phone": phone,
            "Extensions": [""] if who == "-" else [self._say(name) for name in who.split(",")],
            "StartTime": "" if kind == "2" or "unbegun" in rest else self._wall_clock(told.began),
            "DateReceived": self._wall_clock(told.began),
            "EndTime": self._wall_clock(self._now + self._offset),
        }
        if kind != "2":
            line = self._say(rest[rest.index("via") + 1]) if "via" in rest else told.line or self._cast["L1"]
            body["Trunk"] = "" if line == "none" else line
        return body

    def _wall_clock(self, at: float) -> str:
        return datetime.fromtimestamp(at, UTC).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")


_KINDS: Final = {
    "ncid": "new_callerid",
    "create": "bridge_create",
    "destroy": "bridge_destroy",
    "enter": "bridge",
    "leave": "bridge_leave",
}
assert set(_KINDS.values()) <= set(EVENT_KINDS)
