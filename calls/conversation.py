"""The truth of a call, told by all legs that belong to it (CONTRACT 6; DESIGN: Legs and conversations, Times).

Computed from the set of legs, never patched: another order of arrival, a repetition or a late join ends in the
same call. State only moves up: what bridges or an answering hangup have shown no later event takes back.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from calls.call import Call, Direction, Outcome, Phase
from calls.directory import Directory
from calls.legs import Hangup, Leg
from calls.numbers import is_extension, is_line_id, is_unknown
from calls.parties import Party, Role, incoming_number, parties
from calls.rooms import Gathering, gatherings, without_leaves
from calls.switchboard import age
from calls.times import Times, tell_times


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that the rules below look at, computed once a fold.

    ``calling``: the channel that an internal call began on; ``caller``: who of the enterprise began it;
    ``customer``: E.164 of the other party of an incoming or outgoing call.
    """

    legs: Mapping[str, Leg]
    leader: Leg
    people: Mapping[str, Party]
    gathered: tuple[Gathering, ...]
    directory: Directory
    direction: Direction
    calling: Leg | None
    caller: str | None
    customer: str | None


def conversation(legs: Mapping[str, Leg], leader: str, directory: Directory) -> Call | None:
    """The call these legs make, or None where they make none.

    ``legs`` by UniqueId, ``leader`` one of them. A leg known by new_callerid alone makes no call, nor does the
    lone parasite hangup of a click-to-call (events.md 5).
    """
    counting = sorted((leg.unique_id for leg in legs.values() if leg.counts), key=age)
    if not counting or leader not in legs or all(_is_parasite(leg) for leg in legs.values() if leg.counts):
        return None
    evidence = _look(without_leaves(legs), leader, directory)
    return None if _says_nothing(evidence) else _tell(evidence, tuple(counting))


def _look(legs: Mapping[str, Leg], leader: str, directory: Directory) -> Evidence:
    lead = legs[leader]
    people = parties(legs, directory)
    direction = _direction(legs, lead, people, directory)
    calling = _calling(legs, lead) if direction == "internal" else None
    return Evidence(
        legs=legs,
        leader=lead,
        people=people,
        gathered=tuple(gatherings(legs, people)),
        directory=directory,
        direction=direction,
        calling=calling,
        caller=_caller(direction, lead, calling, people),
        customer=_customer(direction, lead, legs, people, directory),
    )


def _tell(evidence: Evidence, counting: tuple[str, ...]) -> Call:
    lead, directory = evidence.leader, evidence.directory
    other = _other_party(evidence)
    talks = tuple(gathering for gathering in evidence.gathered if other & set(gathering.legs))
    talked = _talked(evidence, other, talks)
    answered_by = talked[0] if talked else _answerer_by_hangup(evidence)
    answered = bool(talked) or _answered_by_hangup(lead)
    ended = _ended(evidence)
    outcome = _outcome(evidence, answered=answered, ended=ended)
    phase = _phase(evidence, answered=answered, ended=ended)
    if evidence.direction == "out" and answered:
        talked = talked or ((answered_by,) if answered_by else ())
    if answered and not talked and answered_by:
        talked = (answered_by,)
    rung, ringing = _rung(evidence, talks, answered_by)
    times: Times = tell_times(evidence.legs, lead, talks, directory.profile.timezone, ended=ended)
    return Call(
        enterprise=directory.profile.number,
        call_id=lead.unique_id,
        direction=evidence.direction,
        outcome=outcome,
        customer=evidence.customer,
        told=None if evidence.customer else _told_number(evidence),
        line=_line(evidence),
        caller=evidence.caller,
        dialled=_dialled(evidence, answered_by),
        rung=rung,
        answered_by=answered_by if answered else None,
        talked=talked if answered else (),
        started_at=times.started_at,
        answered_at=times.answered_at,
        ended_at=times.ended_at,
        wait=times.wait,
        talk=times.talk,
        total=times.total,
        source="recovery" if any(leg.recovered for leg in evidence.legs.values()) else "live",
        legs=counting,
        phase=phase,
        ringing=ringing,
        callee=_callee(evidence, talked, rung),
        held=_held(evidence),
        last_position=max(leg.last.position for leg in evidence.legs.values()),
    )


# direction: who began it, whatever the last hangup's CallType says


_CALL_TYPES: Final[Mapping[str, Direction]] = MappingProxyType({"0": "in", "1": "out", "2": "internal"})


def _direction(
    legs: Mapping[str, Leg], lead: Leg, people: Mapping[str, Party], directory: Directory
) -> Direction:
    if any(leg.start for leg in legs.values()):
        return "in"
    for dial in lead.dials:
        if dial.call_type in _CALL_TYPES:
            return _CALL_TYPES[dial.call_type]
    roles = {people[unique_id].role for unique_id, leg in legs.items() if leg.visits or leg.leaves}
    if "outside" in roles:
        callers = [leg for leg in legs.values() if people[leg.unique_id].role == "person" and leg.exten]
        return "out" if callers else "in"
    if lead.hangup is None and any(directory.e164(dial.phone) for dial in lead.dials):
        return "in"
    return _direction_by_hangup(lead.hangup, roles, directory)


def _direction_by_hangup(hangup: Hangup | None, roles: set[Role], directory: Directory) -> Direction:
    """Only where neither start, dial nor an outside party's bridge tells: CallType may be that of a transfer."""
    if hangup is None or is_extension(hangup.phone):
        return "internal"
    if hangup.call_type == "1":
        return "out"
    if hangup.call_type == "0" or directory.e164(hangup.phone):
        return "in"
    return "internal" if hangup.call_type == "2" or roles == {"person"} else "in"


def _other_party(evidence: Evidence) -> set[str]:
    """Legs of the party that the people of the enterprise talk with: the customer, or the internal caller."""
    people = evidence.people
    if evidence.direction == "internal":
        return {evidence.calling.unique_id} if evidence.calling else set()
    outside = {unique_id for unique_id, party in people.items() if party.role == "outside"}
    mobiles = {
        unique_id
        for unique_id in outside
        if unique_id != evidence.leader.unique_id
        and people[unique_id].number
        and people[unique_id].number != evidence.customer
        and evidence.directory.manager_by_mobile(people[unique_id].number) is not None
    }
    return outside - mobiles


def _calling(legs: Mapping[str, Leg], lead: Leg) -> Leg | None:
    """The channel an internal call began on: the one that dialled, else the oldest."""
    return min(
        (leg for leg in legs.values() if leg.counts),
        key=lambda leg: (not leg.exten, leg is not lead),
        default=None,
    )


# people


def _name(evidence: Evidence, unique_id: str) -> str | None:
    """Extension or E.164 of who is at the end of a leg."""
    return evidence.people[unique_id].number or None


def _talked(evidence: Evidence, other: set[str], talks: Iterable[Gathering]) -> tuple[str, ...]:
    """Everyone of the enterprise who was in one room with the other party, in order; equal neighbours are one."""
    chain: list[str] = []
    present: set[str] = set()
    for gathering in talks:
        people = [leg for leg in gathering.legs if leg not in other]
        names = [name for name in (_name(evidence, leg) for leg in people) if name]
        chain += [name for name in names if name not in present and chain[-1:] != [name]]
        present = set(names)
    if evidence.direction == "out" and not chain and any(True for _ in talks):
        return (evidence.caller,) if evidence.caller else ()
    return tuple(chain)


def _answered_by_hangup(lead: Leg) -> bool:
    return lead.hangup is not None and lead.hangup.answered


def _answerer_by_hangup(evidence: Evidence) -> str | None:
    """Whom the leading hangup names, where no bridge has shown who answered."""
    hangup = evidence.leader.hangup
    if hangup is None or not hangup.answered:
        return None
    if evidence.direction == "out":
        return evidence.caller
    named = _people(evidence, hangup.numbers)
    return named[0] if named else None


def _people(evidence: Evidence, numbers: Iterable[str]) -> tuple[str, ...]:
    """Persons of the enterprise among numbers: extensions as such, mobiles in E.164; departments are none."""
    found: list[str] = []
    for number in numbers:
        if is_extension(number):
            name: str | None = number if evidence.directory.is_person(number) else None
        else:
            name = evidence.directory.e164(number)
            name = None if name == evidence.customer else name
        if name and name not in found:
            found.append(name)
    return tuple(found)


def _rung(
    evidence: Evidence, talks: tuple[Gathering, ...], answered_by: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everyone rung before the first answer, and whom the newest of those dials rings; empty for outgoing calls."""
    if evidence.direction == "out":
        return (), ()
    first_answer = min((talk.since.position for talk in talks), default=None)
    rung: list[str] = []
    ringing: tuple[str, ...] = ()
    for dial in evidence.leader.dials:
        if first_answer is None or dial.when.position < first_answer:
            numbers = dial.numbers if dial.call_type != "2" or dial.numbers else ()
            ringing = _people(evidence, numbers)
            rung += [person for person in ringing if person not in rung]
    if not rung:
        # Nobody told who was rung: the one who answered, or whom the hangup names.
        hangup = evidence.leader.hangup
        named = (answered_by,) if answered_by else _people(evidence, hangup.numbers if hangup else ())
        rung = [person for person in named if person != evidence.caller]
    return tuple(rung), ringing


def _caller(direction: Direction, lead: Leg, calling: Leg | None, people: Mapping[str, Party]) -> str | None:
    """Who of the enterprise began it; None for incoming calls."""
    if direction == "in":
        return None
    if direction == "internal":
        told = [people[calling.unique_id].number] if calling else []
        told += [dial.phone for dial in lead.dials if dial.call_type == "2"]
        told += [lead.hangup.phone] if lead.hangup else []
    else:
        told = [number for dial in lead.dials for number in dial.numbers]
        told.append(people[lead.unique_id].number)
        told += lead.hangup.numbers if lead.hangup else ()
        told += [party.number for party in people.values() if party.role == "person"]
    return next((number for number in told if is_extension(number)), None)


def _dialled(evidence: Evidence, answered_by: str | None) -> str | None:
    """What the caller of an internal call dialled, if it is no person: a department, a FollowMe number."""
    if evidence.direction != "internal":
        return None
    exten = evidence.calling.exten if evidence.calling else ""
    for number in (exten, *(number for dial in evidence.leader.dials for number in dial.numbers)):
        if is_extension(number) and number != evidence.caller and not evidence.directory.is_person(number):
            return number
    # A number that nobody named and that somebody else answered is no person either.
    if (
        is_extension(exten)
        and exten != evidence.caller
        and answered_by not in {None, exten}
        and evidence.directory.manager(exten) is None
    ):
        return exten
    return None


def _callee(evidence: Evidence, talked: tuple[str, ...], rung: tuple[str, ...]) -> str | None:
    """Whom the caller of an internal call reaches, as far as known."""
    if evidence.direction != "internal":
        return None
    if talked:
        return talked[-1]
    told = [evidence.calling.exten if evidence.calling else "", *rung]
    return next((number for number in told if is_extension(number) and number != evidence.caller), None)


# numbers and lines


def _customer(
    direction: Direction,
    lead: Leg,
    legs: Mapping[str, Leg],
    people: Mapping[str, Party],
    directory: Directory,
) -> str | None:
    if direction == "internal":
        return None
    if direction == "in":
        number = incoming_number(lead, directory)
        if number:
            return number
    for dial in lead.dials:
        number = directory.e164(dial.phone)
        if number:
            return number
    told = [lead.exten] if direction == "out" else []
    told += [lead.hangup.phone] if lead.hangup else []
    told += [leg.number for leg in legs.values() if people[leg.unique_id].role == "outside"]
    told += [leg.connected for leg in legs.values()]
    return next((number for number in map(directory.e164, told) if number), None)


def _told_number(evidence: Evidence) -> str | None:
    """What a host gave for the other party where it is no number of E.164: a short code, a service number."""
    if evidence.direction == "internal":
        return None
    lead = evidence.leader
    told = [lead.start.phone] if lead.start else []
    told += [dial.phone for dial in lead.dials]
    told += [lead.hangup.phone] if lead.hangup else []
    for text in told:
        if text.isprintable() and not (
            is_unknown(text) or is_line_id(text) or text in evidence.directory.lines
        ):
            return text
    return None


def _line(evidence: Evidence) -> str | None:
    """Line from Trunk, never from Channel; after a failover the one that worked, the last (events.md 3)."""
    if evidence.direction == "internal":
        return None
    lead = evidence.leader
    if evidence.direction == "in":
        told = [lead.start.trunk] if lead.start else []
        told += [dial.trunk for dial in lead.dials]
        told += [lead.hangup.trunk] if lead.hangup else []
        told += [
            leg.exten
            for leg in evidence.legs.values()
            if evidence.people[leg.unique_id].role == "outside" and not is_extension(leg.exten)
        ]
    else:
        told = [lead.hangup.trunk] if lead.hangup else []
        told += [dial.trunk for dial in reversed(lead.dials)]
    return next((trunk for trunk in told if trunk.isprintable() and not is_unknown(trunk)), None)


# ending


def _is_parasite(leg: Leg) -> bool:
    """The lone hangup that the first leg of a click-to-call gives beside the call (events.md 5)."""
    hangup: Hangup | None = leg.hangup
    return (
        hangup is not None
        and hangup.call_type == "2"
        and hangup.external_initiated
        and is_unknown(hangup.phone)
        and not (leg.start or leg.dials or leg.visits or leg.leaves)
    )


def _ended(evidence: Evidence) -> bool:
    """Nobody of it is left in a bridge and its leading leg hung up, or silence was observed since its last event."""
    last = max(leg.last.position for leg in evidence.legs.values())
    talking = any(gathering.until is None for gathering in evidence.gathered)
    for leg in evidence.legs.values():
        silence = leg.silence
        if silence and silence.upto >= last and (silence.why == "silence" or not talking):
            return True
    if evidence.leader.hangup is None:
        return False
    return not talking and not any(
        leg.inside and leg.hangup is None and evidence.people[leg.unique_id].role != "local"
        for leg in evidence.legs.values()
    )


def awaits_settling(call: Call, legs: Mapping[str, Leg]) -> bool:
    """True where CALL_SETTLE applies: an open call whose bridges are empty and whose last hangup was not told."""
    seen = without_leaves(legs)
    return (
        not call.settled
        and any(leg.visits or leg.leaves or leg.hangup for leg in seen.values())
        and not any(leg.inside for leg in seen.values())
    )


def _outcome(evidence: Evidence, *, answered: bool, ended: bool) -> Outcome:
    if not ended:
        return "open"
    if answered:
        return "answered"
    return "not_answered" if evidence.direction == "out" else "missed"


def _phase(evidence: Evidence, *, answered: bool, ended: bool) -> Phase:
    if ended:
        return "ended"
    if answered:
        return "talking"
    return "ringing" if evidence.leader.dials else "begun"


def _says_nothing(evidence: Evidence) -> bool:
    """A channel alone in a bridge, that neither dialled nor hung up, waits for whoever comes to it."""
    return not evidence.gathered and not any(
        leg.start
        or leg.dials
        or leg.hangup
        or (leg.exten and evidence.people[leg.unique_id].role == "person")
        for leg in evidence.legs.values()
    )


def _held(evidence: Evidence) -> bool:
    """May well belong to another call: no card until a bridge, a hangup or two seconds have decided.

    That is a dial on behalf of no extension: a mobile's leg, called for the customer of another call.
    """
    lead = evidence.leader
    if lead.start or lead.hangup or evidence.gathered or not lead.dials:
        return False
    return all(
        dial.call_type == "1" and bool(dial.numbers) and not is_extension(dial.numbers[0])
        for dial in lead.dials
    )
