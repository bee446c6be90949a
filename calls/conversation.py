"""The truth of a call, told by all legs that belong to it (CONTRACT 6; DESIGN: Legs and conversations, Times).

Computed from the set of legs, never patched: another order of arrival, a repetition or a late join ends in the
same call. State only moves up: what bridges or an answering hangup have shown no later event takes back.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec.structs import replace

from calls.call import Call, Direction, Outcome, Phase
from calls.directory import Directory
from calls.evidence import Evidence
from calls.facts import Place
from calls.legs import Hangup, Leg
from calls.numbers import is_extension, is_line_id, is_unknown
from calls.parties import ORIGINATE, Party, Role, incoming_number, named, parties
from calls.rooms import Meeting, meetings, without_leaves
from calls.times import Times, tell_times
from calls.transfers import Transfers, transfers
from calls.unique_ids import age


def conversation(legs: Mapping[str, Leg], leader: str, directory: Directory) -> Call | None:
    """The call these legs make, or None where they make none (``tell_call``)."""
    whole = tell_call(legs, leader, directory)
    return whole[0] if whole else None


def tell_call(legs: Mapping[str, Leg], leader: str, directory: Directory) -> tuple[Call, Evidence] | None:
    """The call these legs make, and what it was told by; None where they make none.

    ``legs`` by UniqueId, ``leader`` one of them. A leg known by new_callerid alone makes no call, nor does the
    lone parasite hangup of a click-to-call (events.md 5).
    """
    counting = [unique_id for unique_id, leg in legs.items() if leg.counts]
    if not counting or leader not in legs or (len(counting) == 1 and _is_parasite(legs[counting[0]])):
        return None
    evidence = _look(without_leaves(legs, leader), leader, directory)
    if _says_nothing(evidence):
        return None
    call = _tell(evidence, tuple(sorted(counting, key=age)))
    recorded = [unique_id for unique_id, leg in legs.items() if leg.recording]
    return (_with_recordings(call, legs, recorded) if recorded else call), evidence


def told_by(call: Call, position: int) -> Call:
    """The call, told by this fact too: somebody left it, which none of its own facts says."""
    return replace(call, last_position=position) if position > call.last_position else call


def _with_recordings(call: Call, legs: Mapping[str, Leg], recorded: list[str]) -> Call:
    """The call with its recordings, of which it is known from their facts on."""
    told = [recording for unique_id in sorted(recorded, key=age) if (recording := legs[unique_id].recording)]
    return replace(
        call,
        recordings=tuple([recording.id for recording in told]),
        last_position=max(call.last_position, *[recording.position for recording in told]),
    )


def _look(legs: Mapping[str, Leg], leader: str, directory: Directory) -> Evidence:
    lead = legs[leader]
    people = parties(legs, directory)
    direction = _direction(legs, lead, people, directory)
    calling = _calling(legs, lead) if direction == "internal" else None
    caller = _caller(direction, lead, calling, people)
    customer = _customer(direction, lead, legs, people, directory)
    other = _other_party(direction, lead, calling, people, customer, directory)
    managers = _rung_first(legs, lead, people, caller, customer, directory) if direction == "out" else ()
    by_crm = direction == "out" and (managers or any([ORIGINATE in leg.channel for leg in legs.values()]))
    return Evidence(
        legs=legs,
        leader=lead,
        people=people,
        directory=directory,
        direction=direction,
        origin="crm" if by_crm else "pbx",
        calling=calling,
        caller=caller,
        customer=customer,
        other=other,
        met=tuple(meetings(legs, people, other, managers)),
    )


def _tell(evidence: Evidence, counting: tuple[str, ...]) -> Call:
    legs, lead, directory = evidence.legs, evidence.leader, evidence.directory
    moved = transfers(evidence)
    talked = _talked(evidence, moved)
    answered_by = talked[0] if talked else _answerer_by_hangup(evidence)
    answered = bool(talked) or _answered_by_hangup(lead)
    if answered and not talked and answered_by:
        talked = (answered_by,)
    last = max([leg.last.position for leg in legs.values()])
    ended = _ended(evidence, moved, last)
    lost = ended and bool(evidence.met) and moved.refused
    rung, ringing = _rung(evidence, moved, answered_by)
    times: Times = tell_times(legs, lead, evidence.met, directory.profile.timezone, ended=ended)
    return Call(
        enterprise=directory.profile.number,
        call_id=lead.unique_id,
        direction=evidence.direction,
        origin=evidence.origin,
        outcome=_outcome(evidence, answered=answered, ended=ended, lost=lost),
        customer=evidence.customer,
        told=None if evidence.customer else _told_number(evidence),
        line=_line(evidence),
        caller=evidence.caller,
        dialled=_dialled(evidence, answered_by),
        rung=rung,
        answered_by=answered_by if answered else None,
        talked=talked if answered else (),
        consulted=_consulted(evidence, moved, talked),
        lost_to=tuple([one for one in moved.targets if one not in talked[-1:]]) if lost else (),
        started_at=times.started_at,
        answered_at=times.answered_at,
        ended_at=times.ended_at,
        wait=times.wait,
        talk=times.talk,
        total=times.total,
        source=_source(legs),
        legs=counting,
        phase=_phase(evidence, answered=answered, ended=ended),
        ringing=ringing,
        callee=_callee(evidence, talked, rung),
        last_position=max([leg.newest for leg in legs.values()]),
        heard_at=max([leg.last.at for leg in legs.values()]),
    )


def _source(legs: Mapping[str, Leg]) -> Literal["live", "recovery"]:
    for leg in legs.values():
        if leg.recovered:
            return "recovery"
    return "live"


# direction: who began it, whatever the last hangup's CallType says


_CALL_TYPES: Final[Mapping[str, Direction]] = MappingProxyType({"0": "in", "1": "out", "2": "internal"})


def _direction(
    legs: Mapping[str, Leg], lead: Leg, people: Mapping[str, Party], directory: Directory
) -> Direction:
    for leg in legs.values():
        if leg.start:
            return "in"
    for dial in lead.dials:
        if dial.call_type in _CALL_TYPES:
            return _CALL_TYPES[dial.call_type]
    there = [people[unique_id] for unique_id, leg in legs.items() if leg.visits or leg.leaves]
    outside = [party for party in there if party.role == "outside"]
    if outside:
        return _direction_by_channels(legs, people, outside, directory)
    if lead.hangup is None and any(directory.e164(dial.phone) for dial in lead.dials):
        return "in"
    return _direction_by_hangup(lead.hangup, {party.role for party in there}, directory)


def _direction_by_channels(
    legs: Mapping[str, Leg], people: Mapping[str, Party], outside: Iterable[Party], directory: Directory
) -> Direction:
    """By what the phones of the enterprise dialled: inside of it one reaches a FollowMe, and by it a mobile."""
    dialled = [
        leg.exten for unique_id, leg in legs.items() if people[unique_id].role == "person" and leg.exten
    ]
    if not dialled:
        return "in"
    ours = all(map(is_extension, dialled)) and all(directory.manager_by_mobile(one.number) for one in outside)
    return "internal" if ours else "out"


def _direction_by_hangup(hangup: Hangup | None, roles: set[Role], directory: Directory) -> Direction:
    """Only where neither start, dial nor an outside party's bridge tells: CallType may be that of a transfer."""
    if hangup is None or is_extension(hangup.phone):
        return "internal"
    if hangup.call_type == "1":
        return "out"
    if hangup.call_type == "0" or directory.e164(hangup.phone):
        return "in"
    return "internal" if hangup.call_type == "2" or roles == {"person"} else "in"


def _other_party(
    direction: Direction,
    lead: Leg,
    calling: Leg | None,
    people: Mapping[str, Party],
    customer: str | None,
    directory: Directory,
) -> frozenset[str]:
    """Legs of the party that the people of the enterprise talk with: the customer, or the internal caller.

    Any other outside leg is a mobile of theirs, whether the directory knows it or not.
    """
    if direction == "internal":
        return frozenset({calling.unique_id} if calling else ())
    if direction == "in" and (lead.start or any([dial.call_type == "0" for dial in lead.dials])):
        return frozenset({lead.unique_id})
    outside = {unique_id for unique_id, party in people.items() if party.role == "outside"}
    theirs = {unique_id for unique_id in outside if customer and people[unique_id].number == customer}
    return frozenset(
        theirs
        or {
            unique_id
            for unique_id in outside
            if directory.manager_by_mobile(people[unique_id].number) is None
        }
    )


def _rung_first(
    legs: Mapping[str, Leg],
    lead: Leg,
    people: Mapping[str, Party],
    caller: str | None,
    customer: str | None,
    directory: Directory,
) -> tuple[str, ...]:
    """The caller's phone where a CRM had it rung before the customer was dialled on another channel (1-2)."""
    if lead.visits or caller is None:
        return ()
    return tuple(
        unique_id
        for unique_id, leg in legs.items()
        if leg is not lead
        and people[unique_id] == Party("person", caller)
        and not leg.exten
        and directory.e164(leg.connected) == customer
    )


def _calling(legs: Mapping[str, Leg], lead: Leg) -> Leg | None:
    """The channel an internal call began on: the one that dialled, else the oldest."""
    found: Leg | None = None
    for leg in legs.values():
        if leg.counts and (
            found is None or (not leg.exten, leg is not lead) < (not found.exten, found is not lead)
        ):
            found = leg
    return found


# people


def _talked(evidence: Evidence, moved: Transfers) -> tuple[str, ...]:
    """Everyone of the enterprise who was in one room with the other party, in order; equal neighbours are one."""
    chain: list[str] = []
    for meeting in evidence.met:
        name = evidence.people[meeting.leg].number
        if name and not (chain and chain[-1] == name):
            chain.append(name)
    if (
        evidence.direction == "out"
        and evidence.caller
        and not chain
        and (evidence.met or _answered_by_hangup(evidence.leader))
    ):
        chain.append(evidence.caller)
    # The hangup of a blind transfer that was answered names who took it, whatever bridges were lost.
    if chain and moved.taken:
        chain += [one for one in moved.taken if one not in chain]
    return tuple(chain)


def _consulted(evidence: Evidence, moved: Transfers, talked: tuple[str, ...]) -> tuple[str, ...]:
    """Who was asked or rung after the first talk, but never talked with the other party."""
    if not talked or not moved.asked:
        return ()
    return tuple([one for one in moved.asked if one not in talked and one != evidence.caller])


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
    return named(numbers, evidence.directory, evidence.customer)


def _rung(
    evidence: Evidence, moved: Transfers, answered_by: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everyone rung before the first answer, and whom the newest of those dials rings; empty for outgoing calls."""
    if evidence.direction == "out":
        return (), ()
    rung: list[str] = []
    ringing: tuple[str, ...] = ()
    for dial in moved.first_dials:
        ringing = _people(evidence, dial.numbers)
        rung += ringing
    if not rung:
        # Nobody told who was rung: the one who answered, or whom the hangup names.
        hangup = evidence.leader.hangup
        told = (answered_by,) if answered_by else _people(evidence, hangup.numbers if hangup else ())
        rung = [person for person in told if person != evidence.caller]
    return tuple(dict.fromkeys(rung)), ringing


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
    for number in told:
        if is_extension(number):
            return number
    return None


def _dialled(evidence: Evidence, answered_by: str | None) -> str | None:
    """What the caller of an internal call dialled, if it is no person: a department, a FollowMe number."""
    if evidence.direction != "internal":
        return None
    exten = evidence.calling.exten if evidence.calling else ""
    hangup = evidence.leader.hangup
    told = [number for dial in evidence.leader.dials for number in dial.numbers]
    for number in (exten, *told, *(hangup.numbers if hangup else ())):
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
    for number in (evidence.calling.exten if evidence.calling else "", *rung):
        if is_extension(number) and number != evidence.caller:
            return number
    return None


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
        party = people[lead.unique_id]
        # What an incoming channel's own start, dial or hangup tell is known as its party.
        started = lead.start and party.role == "outside"
        number = party.number if started else incoming_number(lead, directory)
        if number:
            return number
    for dial in lead.dials:
        number = directory.e164(dial.phone)
        if number:
            return number
    told = [lead.exten] if direction == "out" else []
    told += [lead.hangup.phone] if lead.hangup else []
    if direction == "in" and (lead.start or lead.dials):
        told.append(lead.number)  # other outside channels are mobiles of ours
    else:
        told += [leg.number for leg in legs.values() if people[leg.unique_id].role == "outside"]
        told += [leg.connected for leg in legs.values()]
    numbers = [number for text in told if (number := directory.e164(text))]
    for number in numbers:
        if directory.manager_by_mobile(number) is None:
            return number
    return numbers[0] if numbers else None


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
    for trunk in _trunks(evidence):
        if trunk.isprintable() and not is_unknown(trunk):
            return trunk
    return None


def _trunks(evidence: Evidence) -> list[str]:
    """Whatever names the line, the surest first."""
    lead = evidence.leader
    dialled = [dial.trunk for dial in lead.dials]
    hung_up = [lead.hangup.trunk] if lead.hangup else []
    if evidence.direction == "out":
        return [*hung_up, *dialled[::-1]]
    return [
        *([lead.start.trunk] if lead.start else []),
        *dialled,
        *hung_up,
        *[
            leg.exten
            for unique_id, leg in evidence.legs.items()
            if evidence.people[unique_id].role == "outside" and not is_extension(leg.exten)
        ],
    ]


# ending


def _is_parasite(leg: Leg) -> bool:
    """The lone hangup that the first leg of a click-to-call gives beside the call (events.md 5)."""
    hangup: Hangup | None = leg.hangup
    return (
        hangup is not None
        and hangup.call_type == "2"
        and (hangup.external_initiated or not hangup.numbers)
        and is_unknown(hangup.phone)
        and not (leg.start or leg.dials)
    )


def _ended(evidence: Evidence, moved: Transfers, last: Place) -> bool:
    """Nobody of it is left in a bridge and its leading leg hung up, or silence was observed since its last event."""
    legs, people = evidence.legs, evidence.people
    inside = [leg for unique_id, leg in legs.items() if leg.inside and people[unique_id].role != "local"]
    talking = _is_talking(evidence.met, inside)
    for leg in legs.values():
        silence = leg.silence
        if silence and silence.upto >= last and (silence.why == "silence" or not talking):
            return True
    if evidence.leader.hangup is None:
        return False
    return not talking and not moved.under_way and None not in [leg.hangup for leg in inside]


def _is_talking(met: Iterable[Meeting], inside: Collection[Leg]) -> bool:
    for meeting in met:
        if meeting.until is None:
            return True
    return len(inside) > 1 and len({leg.visits[-1].bridge or leg.unique_id for leg in inside}) < len(inside)


def awaits_settling(call: Call, legs: Mapping[str, Leg]) -> bool:
    """True where CALL_SETTLE applies: an open call whose bridges are empty and whose last hangup was not told.

    Not while a blind transfer is seen to ring: who is called may answer later than that.
    """
    seen = without_leaves(legs, call.call_id)
    lead = seen[call.call_id]
    if lead.hangup is None and lead.visits and lead.dials and lead.dials[-1].when > lead.visits[-1].entered:
        return False
    if any(leg.sought and not leg.visits for leg in seen.values()) and call.direction != "in":
        return False
    return (
        not call.settled
        and any(leg.visits or leg.leaves or leg.hangup for leg in seen.values())
        and not any(leg.inside for leg in seen.values())
    )


def _outcome(evidence: Evidence, *, answered: bool, ended: bool, lost: bool) -> Outcome:
    if not ended:
        return "open"
    if lost:
        return "lost_in_transfer"
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
    if evidence.met:
        return False
    people = evidence.people
    seen: dict[str, str] = {}
    for unique_id, leg in evidence.legs.items():
        if leg.start or leg.dials or leg.hangup or (leg.exten and people[unique_id].role == "person"):
            return False
        if people[unique_id].role != "local" and any(
            visit.bridge and seen.setdefault(visit.bridge, unique_id) != unique_id for visit in leg.visits
        ):
            return False
    return True
