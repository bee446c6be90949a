"""Rooms: who was together with the other party of a call, and when.

Bridges joined by a Local pair are one room: who is in either talks with who is in the other (DESIGN: Legs and
conversations). Events of different bridges may arrive in another order than they happened, those of one leg and of
one bridge do not; so two stays are apart in time only where that order proves it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import final

from mypy_extensions import mypyc_attr

from calls.facts import Place
from calls.legs import Leg, Moment, Visit, closed
from calls.parties import Party
from calls.values import Value

END = 1 << 62
LONGEST_SEARCH = 2_000
"""Steps through Local pairs; calls of people need some ten. More is a bridge full of Local halves."""


@final
@mypyc_attr(acyclic=True)
class Meeting(Value):
    """From ``since`` to ``until`` (None: still) this leg was in one room with the other party.

    ``stay``: position at which the other party came into its bridge.
    """

    def __init__(self, since: Moment, until: Moment | None, leg: str, stay: Place) -> None:
        self.since = since
        self.until = until
        self.leg = leg
        self.stay = stay

    def parts(self) -> tuple[object, ...]:
        return self.since, self.until, self.leg, self.stay


@final
@mypyc_attr(acyclic=True)
class _Found(Value):
    """A meeting, and the position at which both were in the other party's bridge."""

    def __init__(self, came: Place, meeting: Meeting) -> None:
        self.came = came
        self.meeting = meeting

    def parts(self) -> tuple[object, ...]:
        return self.came, self.meeting


@final
@mypyc_attr(acyclic=True)
class _Stay(Value):
    def __init__(self, leg: str, visit: Visit) -> None:
        self.leg = leg
        self.visit = visit

    def parts(self) -> tuple[object, ...]:
        return self.leg, self.visit


def meetings(
    legs: Mapping[str, Leg], people: Mapping[str, Party], other: Collection[str], joined: Collection[str] = ()
) -> list[Meeting]:
    """Every stretch of time in which somebody was in one room with a leg of ``other``, in order.

    The legs ``joined`` are in one room with the other party though no event shows what joins their bridges.
    """
    party = [_Stay(unique_id, visit) for unique_id in other for visit in legs[unique_id].visits]
    if not party:
        return []
    bridges: dict[str, list[_Stay]] = {}
    for unique_id, leg in legs.items():
        for visit in leg.visits:
            if visit.bridge:
                bridges.setdefault(visit.bridge, []).append(_Stay(unique_id, visit))
    rooms = _Rooms(legs, people, bridges, other)
    for stay in party:
        rooms.seek(stay, joined)
    rooms.seek_through()
    return rooms.told()


def _order(found: "_Found") -> tuple[Place, Place, str]:
    """By the stays of the other party, then by who came into its bridge; events of other bridges prove no order."""
    return found.meeting.stay, found.came, found.meeting.leg


def _left(visit: Visit) -> Place:
    return visit.left.position if visit.left else END


def _met(one: Visit, other: Visit) -> bool:
    return (other.left is None or one.entered.position <= other.left.position) and (
        one.left is None or other.entered.position <= one.left.position
    )


def _meeting(leg: str, stay: Place, visits: Iterable[Visit]) -> Meeting:
    since: Moment | None = None
    until: Moment | None = None
    for visit in visits:
        entered, left = visit.entered, visit.left
        if since is None or entered.position > since.position:
            since = entered
        if left is not None and (until is None or left.position < until.position):
            until = left
    assert since is not None
    if until is not None and until.position < since.position:
        until = since
    return Meeting(since, until, leg, stay)


class _Rooms:
    """Looks for everybody whom the other party met, through Local pairs too."""

    def __init__(
        self,
        legs: Mapping[str, Leg],
        people: Mapping[str, Party],
        bridges: Mapping[str, list[_Stay]],
        other: Collection[str],
    ) -> None:
        self._legs, self._people, self._bridges, self._other = legs, people, bridges, other
        self.sure: list[_Found] = []
        self.likely: list[_Found] = []
        """Nothing proves that these did not meet."""
        self._ways: list[tuple[_Stay, _Stay]] = []
        self._halves: dict[str, list[str]] = {}
        self._proved: _Order | None = None
        self._steps = LONGEST_SEARCH

    def seek(self, party: _Stay, joined: Collection[str]) -> None:
        """Add whom the other party met in this stay."""
        for stay in self._bridges.get(party.visit.bridge, ()):
            if stay.leg in self._other:
                continue
            at_once = _met(party.visit, stay.visit)
            if not at_once and self._apart(party.visit, stay.visit):
                continue
            if self._people[stay.leg].role == "local":
                self._ways.append((party, stay))
            else:
                self._add(self.sure if at_once else self.likely, stay.leg, (party.visit, stay.visit))
        for manager in joined:
            for visit in self._legs[manager].visits:
                found = self.sure if _met(party.visit, visit) else self.likely
                self._add(found, manager, (party.visit, visit))

    def told(self) -> list[Meeting]:
        """All meetings found, in order; one that is only likely where its person is found in no other."""
        if len(self.sure) == 1 and not self.likely:
            return [self.sure[0].meeting]
        if self.likely:
            known = {self._people[found.meeting.leg].number for found in self.sure}
            for found in sorted(self.likely, key=_order):
                number = self._people[found.meeting.leg].number
                if number not in known:
                    known.add(number)
                    self.sure.append(found)
        return [found.meeting for found in sorted(self.sure, key=_order)]

    @staticmethod
    def _add(found: list[_Found], leg: str, path: Sequence[Visit]) -> None:
        stay, came = path[0].entered.position, path[1].entered.position
        found.append(_Found(max(stay, came), _meeting(leg, stay, path)))

    def seek_through(self) -> None:
        """Add who is reached through Local pairs alone."""
        if not self._ways:
            return
        direct = {found.meeting.leg for found in (*self.sure, *self.likely)}.union(self._other)
        for unique_id, leg in self._legs.items():
            if self._people[unique_id].role == "local":
                self._halves.setdefault(leg.local_pair, []).append(unique_id)
        for party, half in self._ways:
            self._behind(party, half, direct)

    def _behind(self, party: _Stay, half: _Stay, direct: Collection[str]) -> None:
        """Who was there at the same time by the order of arrival goes before who may only have been."""
        paths: list[list[_Stay]] = []
        self._seek_on([party, half], {party.leg, half.leg}, paths)
        found = [path for path in paths if path[-1].leg not in direct]
        there = [path for path in found if self._at_once(path)]
        for path in there:
            self._add(self.sure, path[-1].leg, [stay.visit for stay in path])
        if not there:
            for path in found:
                self._add(self.likely, path[-1].leg, (party.visit, half.visit))

    def _seek_on(self, path: list[_Stay], seen: set[str], found: list[list[_Stay]]) -> None:
        """Add to ``found`` the ways on from a half of a Local pair to somebody, through others perhaps.

        No two stays of a way are proved to be apart.
        """
        for twin in self._halves.get(self._legs[path[-1].leg].local_pair, ()):
            if twin in seen:
                continue
            seen.add(twin)
            for visit in self._legs[twin].visits:
                through = _Stay(twin, visit)
                if self._fits(path, through):
                    self._seek_beyond([*path, through], seen, found)

    def _seek_beyond(self, path: list[_Stay], seen: set[str], found: list[list[_Stay]]) -> None:
        for stay in self._bridges.get(path[-1].visit.bridge, ()):
            self._steps -= 1
            if self._steps < 0:
                return
            if stay.leg in seen or not self._fits(path, stay):
                continue
            if self._people[stay.leg].role == "local":
                seen.add(stay.leg)
                self._seek_on([*path, stay], seen, found)
            else:
                found.append([*path, stay])

    def _fits(self, path: list[_Stay], stay: _Stay) -> bool:
        for one in path:
            if self._apart(one.visit, stay.visit):
                return False
        return True

    def _apart(self, one: Visit, other: Visit) -> bool:
        """True where one of these stays is proved to have ended before the other began."""
        if one.entered.position < _left(other) and other.entered.position < _left(one):
            return False  # what arrived the other way round no order proves
        if self._proved is None:
            self._proved = _Order(self._legs)
        return self._proved.ended_before(one, other) or self._proved.ended_before(other, one)

    @staticmethod
    def _at_once(path: list[_Stay]) -> bool:
        return max([stay.visit.entered.position for stay in path]) <= min(
            [_left(stay.visit) for stay in path]
        )


class _Order:
    """Which stays ended before others began, by the order within legs and within bridges alone."""

    def __init__(self, legs: Mapping[str, Leg]) -> None:
        steps: list[tuple[Place, int, int, str, Visit]] = []
        for unique_id, leg in legs.items():
            for visit, following in zip_longest(leg.visits, leg.visits[1:]):
                steps.append((visit.entered.position, 1, len(steps), unique_id, visit))
                if visit.left is not None:
                    # Entering the next bridge implies leaving the last: that is no event of the last.
                    implied = following is not None and following.entered.position == visit.left.position
                    steps.append((visit.left.position, 0 if implied else 2, len(steps), unique_id, visit))
        steps.sort()
        self._began: dict[int, int] = {}
        self._over: dict[int, int] = {}
        of_leg: dict[str, int] = {}
        of_bridge: dict[str, int] = {}
        for place, (_, turn, _, unique_id, visit) in enumerate(steps):
            before = of_leg.get(unique_id, 0) | 1 << place
            if turn:
                before |= of_bridge.get(visit.bridge, 0)
                of_bridge[visit.bridge] = before
            of_leg[unique_id] = before
            if turn == 1:
                self._began[id(visit)] = before
            else:
                self._over[id(visit)] = 1 << place

    def ended_before(self, one: Visit, other: Visit) -> bool:
        """True where every arrival that keeps those orders has ``one`` end before ``other`` begins."""
        over = self._over.get(id(one))
        return over is not None and bool(self._began[id(other)] & over)


def without_leaves(legs: Mapping[str, Leg], leader: str) -> Mapping[str, Leg]:
    """The legs of a call that has shown no bridge_leave, as its hangups let them be read.

    There a hangup takes its leg and its Local pair out of their bridges, and who is then left alone counts as
    gone (DESIGN: hosts send start, dial, bridge, hangup at the least); after the leader's, also who was alone
    all the time.
    """
    for leg in legs.values():
        if leg.leaves:
            return legs
    gone = _hung_up(legs)
    if not gone or not any([leg.inside for leg in legs.values()]):
        return legs
    joined = _last_entered(legs)
    seen = {
        unique_id: _out(leg, gone[unique_id], joined) if unique_id in gone else leg
        for unique_id, leg in legs.items()
    }
    return _let_the_lonely_go(seen, joined, gone.get(leader))


def _hung_up(legs: Mapping[str, Leg]) -> dict[str, Moment]:
    """When each leg, or another half of its Local pair, hung up first."""
    gone: dict[str, Moment] = {}
    pairs: dict[str, Moment] = {}
    for unique_id, leg in legs.items():
        if leg.hangup:
            gone[unique_id] = when = leg.hangup.when
            if pair := leg.local_pair:
                pairs[pair] = min(pairs.get(pair, when), when)
    if pairs:
        for unique_id, leg in legs.items():
            if (pair := leg.local_pair) in pairs:
                gone[unique_id] = pairs[pair]
    return gone


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
    return leg.with_visits((*leg.visits[:-1], closed(last, left)))


def _let_the_lonely_go(
    legs: dict[str, Leg], joined: Mapping[str, Moment], over: Moment | None
) -> dict[str, Leg]:
    """Close the visit of whoever is alone in a bridge that somebody has left.

    After the call was ``over`` also of who was alone all the time, or only with Local halves that lead to nobody.
    """
    stays: dict[str, list[str]] = {}
    ends: dict[str, Moment] = {}
    for unique_id, leg in legs.items():
        for visit in leg.visits:
            if visit.left is None:
                stays.setdefault(visit.bridge, []).append(unique_id)
            else:
                ends[visit.bridge] = max(ends.get(visit.bridge, visit.left), visit.left)
    if not stays:
        return legs
    rooms = _joined(stays, legs)
    people = dict.fromkeys(rooms.values(), 0)
    for bridge, inside in stays.items():
        people[rooms[bridge]] += sum([not legs[one].local_pair for one in inside])
    for bridge, inside in stays.items():
        when = ends.get(bridge, over) if len(inside) == 1 else over
        if when is not None and (len(inside) == 1 or people[rooms[bridge]] < 2):
            for one in inside:
                legs[one] = _out(legs[one], when, joined)
    return legs


def _joined(stays: Mapping[str, list[str]], legs: Mapping[str, Leg]) -> Mapping[str, str]:
    """For each bridge, the one that stands for all that Local pairs join to it."""
    room = {bridge: bridge for bridge in stays}
    halves: dict[str, str] = {}
    for bridge, inside in stays.items():
        for one in inside:
            if pair := legs[one].local_pair:
                old, new = room[bridge], room[halves.setdefault(pair, bridge)]
                room = {name: new if known == old else known for name, known in room.items()}
    return room
