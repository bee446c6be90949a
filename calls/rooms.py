"""Rooms: who was together with whom, and when.

Bridges joined by a Local pair are one room: who is in either talks with who is in the other (DESIGN: Legs and
conversations). Presence is read from the visits of all legs of a call, in the order of facts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from calls.legs import Leg, Moment, Visit
from calls.parties import Party


class Gathering(msgspec.Struct, frozen=True, gc=False):
    """From ``since`` to ``until`` (None: still) these legs were together in one room, oldest comer first."""

    since: Moment
    until: Moment | None
    legs: tuple[str, ...]


def gatherings(legs: Mapping[str, Leg], people: Mapping[str, Party]) -> list[Gathering]:
    """Every stretch of time in which two or more people were in one room, in order."""
    found: list[Gathering] = []
    open_since: dict[tuple[str, ...], Moment] = {}
    inside: dict[str, str] = {}
    for when, unique_id, bridge in _moves(legs):
        if bridge is None:
            inside.pop(unique_id, None)
        else:
            inside.pop(unique_id, None)
            inside[unique_id] = bridge
        together = set(_rooms(inside, legs, people))
        for room in [room for room in open_since if room not in together]:
            found.append(Gathering(open_since.pop(room), when, room))
        for room in together:
            open_since.setdefault(room, when)
    found += [Gathering(since, None, room) for room, since in open_since.items()]
    found.sort(key=lambda gathering: (gathering.since.position, gathering.legs))
    return found


def _moves(legs: Mapping[str, Leg]) -> list[tuple[Moment, str, str | None]]:
    """Every entering (bridge) and leaving (None), by position."""
    moves: list[tuple[Moment, str, str | None]] = []
    for unique_id, leg in legs.items():
        for visit in leg.visits:
            moves.append((visit.entered, unique_id, visit.bridge or f"?{unique_id}"))
            left = visit.left
            if left is not None:
                moves.append((left, unique_id, None))
    # A move is a leaving and an entering at one position: the leaving comes first.
    moves.sort(key=lambda move: (move[0].position, move[2] is not None))
    return moves


def _rooms(
    inside: Mapping[str, str], legs: Mapping[str, Leg], people: Mapping[str, Party]
) -> list[tuple[str, ...]]:
    """The people of each room that holds two of them or more, in the order they came in."""
    room_of = {bridge: bridge for bridge in inside.values()}

    def root(bridge: str) -> str:
        while room_of[bridge] != bridge:
            bridge = room_of[bridge]
        return bridge

    halves: dict[str, str] = {}
    for unique_id, bridge in inside.items():
        pair = legs[unique_id].local_pair
        if pair:
            other = halves.setdefault(pair, bridge)
            if root(other) != root(bridge):
                room_of[root(bridge)] = root(other)
    rooms: dict[str, list[str]] = {}
    for unique_id, bridge in inside.items():
        if people[unique_id].role != "local":
            rooms.setdefault(root(bridge), []).append(unique_id)
    return [tuple(room) for room in rooms.values() if len(room) > 1]


def without_leaves(legs: Mapping[str, Leg]) -> dict[str, Leg]:
    """The legs of a call that has shown no bridge_leave, as its hangups let them be read.

    There a hangup takes its leg and its Local pair out of their bridges, and who is then left alone counts as
    gone (DESIGN: hosts send start, dial, bridge, hangup at the least).
    """
    if any(leg.leaves for leg in legs.values()):
        return dict(legs)
    gone: dict[str, Moment] = {}
    for unique_id, leg in legs.items():
        if leg.hangup:
            pair = leg.local_pair
            for other, half in legs.items():
                if other == unique_id or (pair and half.local_pair == pair):
                    gone[other] = min(gone.get(other, leg.hangup.when), leg.hangup.when)
    seen = {unique_id: _out(leg, gone.get(unique_id)) for unique_id, leg in legs.items()}
    return _let_the_lonely_go(seen)


def _out(leg: Leg, when: Moment | None) -> Leg:
    """The leg with its last visit closed at ``when``, or at once where the hangup arrived before it."""
    if when is None or leg.inside is None:
        return leg
    last = leg.visits[-1]
    left = max(when, last.entered)
    return msgspec.structs.replace(
        leg, visits=(*leg.visits[:-1], Visit(last.bridge, last.entered, left, last.with_number))
    )


def _let_the_lonely_go(legs: dict[str, Leg]) -> dict[str, Leg]:
    """Close the visit of whoever is left alone in a bridge that somebody has been in and left."""
    stays: dict[str, list[str]] = {}
    ends: dict[str, Moment] = {}
    for unique_id, leg in legs.items():
        for visit in leg.visits:
            if visit.left is None:
                stays.setdefault(visit.bridge, []).append(unique_id)
            else:
                ends[visit.bridge] = max(ends.get(visit.bridge, visit.left), visit.left)
    for bridge, left_in in stays.items():
        if len(left_in) == 1 and bridge in ends:
            alone = left_in[0]
            legs[alone] = _out(legs[alone], ends[bridge])
    return legs


def span(gathered: Sequence[Gathering]) -> tuple[datetime, datetime | None] | None:
    """When the first of these began and the last ended (None: one still goes on)."""
    if not gathered:
        return None
    since = min(gathering.since.at for gathering in gathered)
    if any(gathering.until is None for gathering in gathered):
        return since, None
    return since, max(gathering.until.at for gathering in gathered if gathering.until)
