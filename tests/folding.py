"""Facts for tests of the fold: made of scenarios or of recorded events, with a clock of their own."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from calls.call import Call
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.events import identity, read_event
from calls.exchange import Exchange
from calls.facts import SILENCE_OBSERVED, Fact, bridge_stream, leg_stream
from calls.observations import Silence, write_silence
from calls.scenarios import Expected, Played

ENTERPRISE = "0367"
EVERYTHING = 1 << 40
"""A position after all others, in a list of facts and in a store."""
EPOCH = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)

DIRECTORY = Directory.empty(ENTERPRISE).fold(
    [
        DirectoryChange("manager", "150", {"extension": "150", "name": "Пётр", "mobile": "+375290000102"}),
        DirectoryChange("manager", "151", {"extension": "151", "name": "Анна"}),
        DirectoryChange("manager", "152", {"extension": "152"}),
        DirectoryChange("line", "0007001", {"id": "0007001", "name": "Основная линия"}),
        DirectoryChange("department", "901", {"number": "901", "members": ["150", "151", "153"]}),
        DirectoryChange("follow_me", "300", {"number": "300", "extension": "150", "mobile": "+375290000102"}),
    ]
)


def played_facts(played: Iterable[Played], begun: datetime = EPOCH) -> list[Fact]:
    """Facts of a played scenario, as a store would have numbered them."""
    return facts(
        (event.kind, json.dumps(event.body).encode(), begun + timedelta(seconds=event.offset))
        for event in played
    )


def facts(events: Iterable[tuple[str, bytes, datetime]], enterprise: str = ENTERPRISE) -> list[Fact]:
    """Facts of (kind, body, occurred_at), positions and versions in this order."""
    versions: dict[str, int] = {}
    made = []
    for position, (kind, body, at) in enumerate(events, start=1):
        unique_id, bridge_id = identity(read_event(body))
        whole_bridge = kind in {"bridge_create", "bridge_destroy"} and bridge_id
        stream = bridge_stream(bridge_id) if whole_bridge or not unique_id else leg_stream(unique_id)
        versions[stream] = versions.get(stream, 0) + 1
        made.append(Fact(position, enterprise, stream, versions[stream], kind, "live", at, at, body))
    return made


def renumbered(order: Iterable[Fact]) -> list[Fact]:
    """The same events as if they had arrived in this order."""
    order = list(order)
    times = sorted(fact.occurred_at for fact in order)
    return facts(
        ((fact.kind, fact.body, at) for fact, at in zip(order, times, strict=True)),
        order[0].enterprise if order else ENTERPRISE,
    )


def settled(told: Iterable[Fact], directory: Directory = DIRECTORY) -> list[Call]:
    """Every call that these facts make, in the order they began."""
    exchange = Exchange(directory)
    calls: dict[str, Call] = {}
    for fact in told:
        exchange.apply(fact)
        changes = exchange.take()
        for gone in changes.gone:
            calls.pop(gone, None)
        calls.update(changes.calls)
    return sorted(calls.values(), key=lambda call: call.call_id)


def ended(told: Iterable[Fact], directory: Directory = DIRECTORY) -> list[Call]:
    """Every call when all is over: where nobody tells its end, silence was observed."""
    order = list(told)
    open_calls = [call for call in settled(order, directory) if not call.settled]
    return (
        settled([*order, *silences(order, open_calls)], directory)
        if open_calls
        else settled(order, directory)
    )


def silences(told: list[Fact], calls: Iterable[Call]) -> list[Fact]:
    """What is observed two hours after the last event of these calls."""
    found = []
    last = told[-1]
    for position, call in enumerate(calls, last.position + 1):
        stream = leg_stream(call.call_id)
        version = 1 + max((fact.version for fact in told if fact.stream == stream), default=0)
        at = last.occurred_at + timedelta(hours=2)
        body = write_silence(Silence("silence", 7200.0, EVERYTHING))
        found.append(
            Fact(position, last.enterprise, stream, version, SILENCE_OBSERVED, "service", at, at, body)
        )
    return found


def truth(call: Call) -> Expected:
    """What a scenario says of a call, read off the call."""
    return Expected(
        direction=call.direction,
        outcome=call.outcome,
        origin=call.origin,
        customer=call.customer,
        line=call.line,
        caller=call.caller,
        dialled=call.dialled,
        rung=call.rung,
        answered_by=call.answered_by,
        talked=call.talked,
        consulted=call.consulted,
    )
