"""Events of realistic calls in any number: the built-in scenarios as templates, fresh ids filled in cheaply."""

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from calls.facts import bridge_stream, leg_stream
from calls.scenarios import Played, Scenario, catalogue

ENTERPRISES = 8
SLOTS = 8
"""Calls of one enterprise at the same time; each has four managers of its own."""
CUSTOMERS = 10_000
APART = 30
"""Seconds by the host's clock between the beginnings of two calls of one slot."""

# Marks that the templates hold in place of what differs from call to call, each as long as what replaces it.
_CUSTOMER, _TOKEN, _MOBILE = "@customer@@@", "@token@@@@@@", "@mobile@@@@@"
_MANAGERS = {"150": "@50", "151": "@51", "152": "@52", "153": "@53"}
_CAST = {"M": _MOBILE, "L1": "0007001", "L2": "0007002", "C": _CUSTOMER, **_MANAGERS}
_LOCAL = re.compile(r"Local/[^;\"]+-([0-9a-f]{8});")
_SIX_DIGITS = re.compile(r"(\d{10}\.\d{6})?")


def number_of(enterprise: int) -> str:
    return f"{enterprise + 1:04d}"


def token_of(enterprise: int) -> str:
    return f"3752910{enterprise:05d}"


def manager_of(slot: int, which: int) -> str:
    return str(100 + slot * len(_MANAGERS) + which)


@dataclass(frozen=True)
class Slot:
    """Where a call happens: an enterprise and four managers of it."""

    enterprise: int = 0
    slot: int = 0


@dataclass(frozen=True)
class HostEvent:
    """One event as a host sends it."""

    kind: str
    unique_id: str
    bridge_id: str
    body: bytes

    @cached_property
    def stream(self) -> str:
        whole = self.bridge_id and (not self.unique_id or self.kind in {"bridge_create", "bridge_destroy"})
        return bridge_stream(self.bridge_id) if whole else leg_stream(self.unique_id)


def _leg(event: Played) -> str:
    return str(event.body.get("UniqueId", ""))


class Template:
    """One scenario, played once; ``call`` fills in the ids, customer and managers of another call."""

    def __init__(self, scenario: Scenario, second: int | None = None) -> None:
        self.id = scenario.id
        # All epochs of a template are of one second; the counter of the UniqueId (six digits) tells calls apart.
        self._second = int(time.time()) if second is None else second
        runs = (scenario.events(self._second, seed, token=_TOKEN, cast=_CAST) for seed in range(1000))
        played = next(run for run in runs if all(_SIX_DIGITS.fullmatch(_leg(event)) for event in run))
        self.legs = list(dict.fromkeys(filter(None, map(_leg, played))))
        self.bridges = list(dict.fromkeys(filter(None, (e.body.get("BridgeUniqueid") for e in played))))
        told = json.dumps([event.body for event in played])
        self.pairs = list(dict.fromkeys(_LOCAL.findall(told)))
        marks = [*self.legs, *self.bridges, *self.pairs, _CUSTOMER, _TOKEN, _MOBILE, *_MANAGERS.values()]
        split = re.compile("|".join(f"({re.escape(mark)})" for mark in marks).encode())
        self._events = [
            (
                event.kind,
                _leg(event),
                event.body.get("BridgeUniqueid", ""),
                [part for part in split.split(json.dumps(event.body).encode()) if part],
            )
            for event in played
        ]
        self.offsets = [event.offset for event in played]

    def __len__(self) -> int:
        return len(self._events)

    def call(self, serial: int, place: Slot, later: int | None = None) -> list[HostEvent]:
        """The events of the call ``serial`` (fewer than 100,000 an enterprise and template's second).

        ``later``: seconds after the template's second at which it begins by its host's clock.
        """
        if later is None:
            later = serial // SLOTS * APART
        fresh = {
            leg: f"{int(leg[:10]) + later}.{100_000 + 9 * serial + n:06d}" for n, leg in enumerate(self.legs)
        }
        number = serial * 64 + place.enterprise * SLOTS + place.slot
        fresh |= {
            bridge: f"{self._second:08x}-{n:04x}-4000-8000-{number:012x}"
            for n, bridge in enumerate(self.bridges)
        }
        fresh |= {pair: f"{9 * number + n:08x}" for n, pair in enumerate(self.pairs)}
        names = {key.encode(): value.encode() for key, value in fresh.items()}
        names[_CUSTOMER.encode()] = b"37529%07d" % (1_000_000 + number * 7919 % CUSTOMERS)
        names[_MOBILE.encode()] = b"37533%07d" % (place.enterprise * SLOTS + place.slot)
        names[_TOKEN.encode()] = token_of(place.enterprise).encode()
        for which, mark in enumerate(_MANAGERS.values()):
            names[mark.encode()] = manager_of(place.slot, which).encode()
        return [
            HostEvent(
                kind, fresh.get(leg, ""), fresh.get(bridge, ""), b"".join(names.get(p, p) for p in parts)
            )
            for kind, leg, bridge, parts in self._events
        ]


def templates(*ids: str, second: int | None = None) -> list[Template]:
    """Templates of these scenarios, or of all that are built in."""
    known = catalogue()
    return [Template(known[name], second) for name in (ids or known)]


def calls(place: Slot, first: int = 0, *ids: str) -> Iterator[list[HostEvent]]:
    """Calls of one slot without end; ``first`` is the serial of the first, other slots' serials stay apart."""
    known = templates(*ids)
    chance = random.Random(place.enterprise * SLOTS + place.slot)
    serial = first + place.slot
    while True:
        yield chance.choice(known).call(serial, place)
        serial += SLOTS


def directory_toml(enterprises: int, bot_token: str, slots: int = SLOTS) -> str:
    """A directory file of sample-like enterprises; ``bot_token`` may hold ``{number}``."""
    return "\n".join(_enterprise(number, bot_token, slots) for number in range(enterprises))


def _enterprise(enterprise: int, bot_token: str, slots: int) -> str:
    lines = [
        "[[enterprise]]",
        f'number = "{number_of(enterprise)}"',
        f'name = "bench {enterprise}"',
        f'token = "{token_of(enterprise)}"',
        f'bot_token = "{bot_token.format(number=100_000_000 + enterprise)}"',
        'language = "ru"\ntimezone = "Europe/Minsk"\ncountry = "BY"',
        f"[[enterprise.subscriber]]\nchat_id = {chat_of(enterprise)}",
    ]
    managers = [manager_of(slot, which) for slot in range(slots) for which in range(len(_MANAGERS))]
    lines += [f'[[enterprise.manager]]\nextension = "{one}"\nname = "Сотрудник {one}"' for one in managers]
    lines += [
        '[[enterprise.line]]\nid = "0007001"\nname = "Основная линия"\nincoming_transform = "+375{9}"',
        '[[enterprise.line]]\nid = "0007002"\nname = "Запасная линия"',
        f'[[enterprise.department]]\nnumber = "901"\nname = "Продажи"\nmembers = ["{managers[0]}"]',
    ]
    return "\n".join(lines)


def chat_of(enterprise: int) -> int:
    return 500_000 + enterprise
