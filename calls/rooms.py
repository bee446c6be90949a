"""Rooms: who was together with whom, and when.

Bridges joined by a Local pair are one room: who is in either talks with who is in the other (DESIGN: Legs and
conversations). Presence is read from the visits of all legs of a call, in the order of facts.
"""

from collections.abc import Mapping

import msgspec

from calls.legs import Leg, Moment, closed
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
        inside.pop(unique_id, None)
        if bridge is not None:
            inside[unique_id] = bridge
        together = set(_rooms(inside, legs, people))
        over = [room for room in open_since if room not in together]
        found += [Gathering(open_since.pop(room), when, room) for room in over]
        for room in together:
            open_since.setdefault(room, when)
    found += [Gathering(since, None, room) for room, since in open_since.items()]
    found.sort(key=lambda gathering: (gathering.since.position, gathering.legs))
    return found


def _moves(legs: Mapping[str, Leg]) -> list[tuple[Moment, str, str | None]]:
    """Every entering (bridge) and leaving (None), by position.

    At one position a channel leaves its bridge before it enters the next; but who leaves a bridge at the very
    position at which it was entered (see ``without_leaves``) leaves it after that.
    """
    visits = [(unique_id, visit) for unique_id, leg in legs.items() for visit in leg.visits]
    entered = {(visit.entered.position, visit.bridge) for _, visit in visits}
    moves: list[tuple[int, int, Moment, str, str | None]] = []
    for unique_id, visit in visits:
        came, left = visit.entered, visit.left
        moves.append((came.position, 1, came, unique_id, visit.bridge or f"?{unique_id}"))
        if left is not None:
            turn = 2 if (left.position, visit.bridge) in entered else 0
            moves.append((left.position, turn, left, unique_id, None))
    moves.sort(key=lambda move: move[:2])
    return [move[2:] for move in moves]


def _rooms(
    inside: Mapping[str, str], legs: Mapping[str, Leg], people: Mapping[str, Party]
) -> list[tuple[str, ...]]:
    """The people of each room that holds two of them or more, in the order they came in."""
    if len(inside) < 2:
        return []
    joined = _joined(inside, legs)
    rooms: dict[str, list[str]] = {}
    for unique_id, bridge in inside.items():
        if people[unique_id].role != "local":
            rooms.setdefault(joined.get(bridge, bridge), []).append(unique_id)
    return [tuple(room) for room in rooms.values() if len(room) > 1]


def _joined(inside: Mapping[str, str], legs: Mapping[str, Leg]) -> Mapping[str, str]:
    """For bridges that Local pairs join: the one of them that stands for all."""
    halves: dict[str, str] = {}
    room_of: dict[str, str] = {}

    def root(bridge: str) -> str:
        while room_of.setdefault(bridge, bridge) != bridge:
            bridge = room_of[bridge]
        return bridge

    for unique_id, bridge in inside.items():
        pair = legs[unique_id].local_pair
        if pair:
            room_of[root(bridge)] = root(halves.setdefault(pair, bridge))
    return {bridge: root(bridge) for bridge in list(room_of)}


def without_leaves(legs: Mapping[str, Leg]) -> Mapping[str, Leg]:
    """The legs of a call that has shown no bridge_leave, as its hangups let them be read.

    There a hangup takes its leg and its Local pair out of their bridges, and who is then left alone counts as
    gone (DESIGN: hosts send start, dial, bridge, hangup at the least).
    """
    if any(leg.leaves for leg in legs.values()):
        return legs
    gone: dict[str, Moment] = {}
    for unique_id, leg in legs.items():
        if leg.hangup:
            pair = leg.local_pair
            for other, half in legs.items():
                if other == unique_id or (pair and half.local_pair == pair):
                    gone[other] = min(gone.get(other, leg.hangup.when), leg.hangup.when)
    if not any(unique_id in gone and leg.inside for unique_id, leg in legs.items()):
        return legs
    joined = _last_entered(legs)
    seen = {
        unique_id: _out(leg, gone[unique_id], joined) if unique_id in gone else leg
        for unique_id, leg in legs.items()
    }
    return _let_the_lonely_go(seen, joined)


def _last_entered(legs: Mapping[str, Leg]) -> dict[str, Moment]:
    """When each bridge was entered last, by whomever."""
    joined: dict[str, Moment] = {}
    for leg in legs.values():
        for visit in leg.visits:
            joined[visit.bridge] = max(joined.get(visit.bridge, visit.entered), visit.entered)
    return joined


def _out(leg: Leg, when: Moment, joined: Mapping[str, Moment]) -> Leg:
    """The leg with its last visit closed at ``when``, but not before everybody had come into that bridge.

    A hangup may overtake the bridge events of its call; that they were in one bridge is true all the same.
    """
    last = leg.inside
    if last is None:
        return leg
    left = max(when, joined[last.bridge]) if last.bridge else max(when, last.entered)
    return msgspec.structs.replace(leg, visits=(*leg.visits[:-1], closed(last, left)))


def _let_the_lonely_go(legs: dict[str, Leg], joined: Mapping[str, Moment]) -> dict[str, Leg]:
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
            legs[alone] = _out(legs[alone], ends[bridge], joined)
    return legs
