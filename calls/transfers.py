"""Transfers: who was asked or rung after somebody had talked, and whether the call was lost by it (CONTRACT 6).

An attended transfer makes a Local pair to its target. A blind one ends in a hangup of the other party's leg with
CallType 2, or rings on with dials of that leg (events.md 6). A call that nobody was seen talking in has none.
"""

from collections.abc import Collection
from typing import final

from mypy_extensions import mypyc_attr

from calls.evidence import Evidence
from calls.legs import Dial, Hangup, Leg
from calls.numbers import is_extension
from calls.parties import named
from calls.unique_ids import age
from calls.values import Value

CONSULT = "@dialexecute"
"""In the name of the Local pair that an attended transfer makes."""


@final
@mypyc_attr(acyclic=True)
class Transfers(Value):
    """What became of a call after its first talk.

    ``first_dials``: the leader's dials before it. ``asked``: everyone asked or rung later, in order. ``taken``: whom
    a hangup names who took the call, where no bridge shows it. ``refused``: the last blind transfer rang ``targets``
    in vain. ``under_way``: somebody is being rung by a blind transfer.
    """

    def __init__(
        self,
        *,
        first_dials: tuple[Dial, ...],
        asked: tuple[str, ...] = (),
        taken: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
        refused: bool = False,
        under_way: bool = False,
    ) -> None:
        self.first_dials = first_dials
        self.asked = asked
        self.taken = taken
        self.targets = targets
        self.refused = refused
        self.under_way = under_way

    def parts(self) -> tuple[object, ...]:
        return self.first_dials, self.asked, self.taken, self.targets, self.refused, self.under_way


def transfers(evidence: Evidence) -> Transfers:
    """Read the transfers of a call."""
    lead = evidence.leader
    if not evidence.met:
        if lead.hangup is None or not lead.hangup.answered:
            return Transfers(first_dials=lead.dials)
        asked = tuple([one for numbers in _asked(evidence) for one in _persons(evidence, numbers)])
        return Transfers(first_dials=lead.dials, asked=asked)
    # By the order of the leg's own events: those of other legs may arrive before or after them.
    talk = evidence.met[0]
    answer = talk.stay if lead.unique_id in evidence.other else talk.since.position
    first = tuple([dial for dial in lead.dials if dial.when.position < answer])
    if _is_plain(evidence, len(first)):
        return Transfers(first_dials=first)
    rung = _rung_on(evidence, len(first))
    blind = _Blind(evidence, rung)
    later = (*rung, *blind.named)
    asked = _persons(evidence, [number for numbers in _asked(evidence) for number in numbers])
    return Transfers(
        first_dials=first,
        asked=tuple(dict.fromkeys((*[one for one in asked if one not in later], *later))),
        taken=blind.taken(),
        targets=blind.named if set(blind.named) - set(rung) else rung,
        refused=blind.refused(),
        under_way=evidence.direction != "in" and _under_way(evidence),
    )


def _is_plain(evidence: Evidence, first: int) -> bool:
    """Everybody of it talked, nobody was rung later, and it ended as answered: by far the most calls."""
    lead, hangup = evidence.leader, evidence.leader.hangup
    for leg in evidence.legs.values():
        if leg.hangup is not None and leg is not lead:
            return False
    return (
        len(lead.dials) == first
        and (
            hangup is None
            or (hangup.answered and (hangup.call_type != "2" or evidence.direction == "internal"))
        )
        and len(evidence.legs) == len({meeting.leg for meeting in evidence.met}.union(evidence.other))
    )


def _persons(evidence: Evidence, numbers: Collection[str]) -> tuple[str, ...]:
    """Of a FollowMe the extension, which is rung first, of a department everybody."""
    if not numbers:
        return ()
    directory = evidence.directory
    found: list[str] = []
    for number in dict.fromkeys(numbers):
        if directory.is_person(number):
            found.append(number)
        elif number in directory.follow_mes:
            found.append(directory.follow_mes[number].extension)
        elif number in directory.departments:
            found += directory.departments[number].members
        else:
            found += named((number,), directory, evidence.customer)
    return tuple(dict.fromkeys(found))


def _rung_on(evidence: Evidence, first: int) -> tuple[str, ...]:
    """Whom the other party's legs rang after their first talk: a blind transfer to a FollowMe or department (2-27)."""
    dials: list[Dial] = []
    for unique_id in sorted(evidence.other, key=age):
        leg = evidence.legs[unique_id]
        dials += leg.dials[first:] if leg is evidence.leader else leg.dials
    return _persons(evidence, [number for dial in dials for number in dial.numbers])


def _asked(evidence: Evidence) -> list[tuple[str, ...]]:
    """The numbers that the legs beside the other party's tell of, in the order these came to be."""
    told: list[tuple[str, ...]] = []
    for unique_id in sorted(evidence.legs.keys() - evidence.other, key=age):
        leg, party = evidence.legs[unique_id], evidence.people[unique_id]
        if party.role == "local":
            if CONSULT in leg.channel:
                told.append((_target(leg),))
        elif leg.visits or leg.sought:
            told.append((party.number,))
        if leg is evidence.leader:
            continue
        told += [
            (dial.phone,)
            for dial in leg.dials
            if dial.call_type == "1" and dial.numbers and is_extension(dial.numbers[0])
        ]
        if leg.hangup and leg.hangup.call_type == "2":
            told.append(leg.hangup.numbers)
    return told


def _target(leg: Leg) -> str:
    """Whom an attended transfer rings."""
    return leg.local_pair.removeprefix("Local/").partition("@")[0]


class _Blind:
    """Blind transfers, as the hangups of the other party tell of them."""

    def __init__(self, evidence: Evidence, rung: tuple[str, ...]) -> None:
        self._evidence, self._rung = evidence, rung
        lead = evidence.leader
        self._hangup = lead.hangup if lead.unique_id in evidence.other else None
        self._moved = [
            leg.hangup
            for leg in evidence.legs.values()
            if leg.hangup
            and leg is not lead
            and leg.hangup.call_type in {"0", "2"}
            and self._is_theirs(leg, leg.hangup)
        ]
        told = list(self._moved)
        if self._hangup and self._hangup.call_type == "2" and (evidence.direction == "in" or self.refused()):
            told.append(self._hangup)
        self.named = _persons(evidence, [number for hangup in told for number in hangup.numbers])

    def _is_theirs(self, leg: Leg, hangup: Hangup) -> bool:
        """A leg of the other party: its channel (1-7), or what an attended transfer left to it unanswered."""
        evidence = self._evidence
        if leg.unique_id in evidence.other:
            return True
        if hangup.answered or evidence.direction != "out":
            return False
        return evidence.customer is not None and evidence.directory.e164(hangup.phone) == evidence.customer

    def refused(self) -> bool:
        """The last blind transfer was not answered, and nobody talked after it."""
        hangup, evidence = self._hangup, self._evidence
        if evidence.direction == "out":
            return bool(self._moved) and not any(moved.answered for moved in self._moved)
        if hangup is not None and hangup.answered:
            return False
        if self._moved and not any(moved.answered for moved in self._moved):
            return True
        if hangup is not None and (hangup.status == "0" or hangup.call_type == "2"):
            # A call that somebody talked in and that ends as not answered was moved on to somebody (2-11, 2-29).
            return evidence.direction == "in" or hangup.status == "0"
        return bool(self._rung) and self._rings_last()

    def _rings_last(self) -> bool:
        """No talk followed the last dial, by the order of the leader's own events."""
        lead = self._evidence.leader
        last = lead.dials[-1].when.position if lead.dials else 0
        return all(visit.entered.position < last for visit in lead.visits)

    def taken(self) -> tuple[str, ...]:
        """Who took the call by a hangup's word: believed where the other party was seen in one talk alone."""
        evidence = self._evidence
        talks = {meeting.leg for meeting in evidence.met}
        hangups = [*self._moved]
        if self._hangup and self._hangup.call_type == "2" and evidence.direction == "in":
            hangups.append(self._hangup)
        answered = [hangup for hangup in hangups if hangup.answered]
        if len(talks) > 1 or not answered:
            return ()
        return _persons(evidence, answered[-1].numbers)


def _under_way(evidence: Evidence) -> bool:
    """A phone is rung for the other party, and no hangup has told yet what came of it (1-6, 1-7)."""
    legs = evidence.legs
    if any(
        leg.hangup
        for unique_id, leg in legs.items()
        if unique_id in evidence.other and leg is not evidence.leader
    ):
        return False
    return any(leg.sought and not leg.visits for leg in legs.values())
