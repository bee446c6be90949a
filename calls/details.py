"""What analysts ask about a call beyond its row: the place of each leg in it, and each person's share of it.

Rows of ``legs`` and ``call_agents`` (docs/analysts.md). Computed from the same evidence as the call itself.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from calls.call import Call
from calls.directory import Directory
from calls.evidence import Evidence
from calls.legs import Leg, Moment
from calls.numbers import is_extension

LegRole = Literal["customer", "person", "mobile", "outside", "local", "unknown"]
"""Who is at the end of a leg; ``mobile``: of somebody of the enterprise, ``outside``: anybody else."""


class LegPlace(msgspec.Struct, frozen=True, gc=False):
    """One leg of a call, of those that its row names; times are ``occurred_at`` of its events, None where none told.

    ``number``: extension or E.164. ``entered_at``, ``left_at``: its first bridge, its last; None while inside.
    ``answered``: by its own hangup, None where that was never told.
    """

    unique_id: str
    role: LegRole
    number: str | None
    leads: bool
    first_at: datetime
    last_at: datetime
    entered_at: datetime | None
    left_at: datetime | None
    hung_up_at: datetime | None
    answered: bool | None


class Share(msgspec.Struct, frozen=True, gc=False):
    """One person's part in a call, by extension (a mobile in E.164 where nobody's is known).

    ``day`` on which the call began in the enterprise's zone. ``talked``: time in one room with the other party, None
    where only a hangup tells that they talked. ``lost``: handed the call over to somebody who did not take it.
    """

    extension: str
    day: date
    rung: bool
    answered: bool
    missed: bool
    lost: bool
    talked: timedelta | None
    transfers_in: int
    transfers_out: int


class Details(msgspec.Struct, frozen=True, gc=False):
    """Rows beside the call's own."""

    legs: tuple[LegPlace, ...]
    shares: tuple[Share, ...]


def details(call: Call, evidence: Evidence) -> Details:
    """The details of a call, from what it was told by."""
    return Details(
        tuple([_place(leg, evidence) for leg in evidence.legs.values() if leg.counts]),
        _shares(call, evidence),
    )


def _place(leg: Leg, evidence: Evidence) -> LegPlace:
    party = evidence.people[leg.unique_id]
    role: LegRole = party.role
    if role == "outside":
        if leg.unique_id in evidence.other and evidence.direction != "internal":
            role = "customer"
        elif evidence.directory.manager_by_mobile(party.number):
            role = "mobile"
    visits, hangup = leg.visits, leg.hangup
    left = visits[-1].left if visits else None
    return LegPlace(
        unique_id=leg.unique_id,
        role=role,
        number=party.number or None,
        leads=leg is evidence.leader or leg.unique_id == evidence.leader.unique_id,
        first_at=leg.first.at,
        last_at=leg.last.at,
        entered_at=visits[0].entered.at if visits else None,
        left_at=left.at if left else None,
        hung_up_at=hangup.when.at if hangup else None,
        answered=hangup.answered if hangup else None,
    )


def _shares(call: Call, evidence: Evidence) -> tuple[Share, ...]:
    directory = evidence.directory
    chain = [_who(one, directory) for one in call.talked]
    caller = _who(call.caller, directory) if call.caller else None
    talks = _talks(call, evidence)
    if caller and call.direction == "internal" and call.talk is not None:
        talks[caller] = call.talk
    called = [_who(one, directory) for one in call.rung]
    asked = [_who(one, directory) for one in call.consulted]
    people = dict.fromkeys([*([caller] if caller else []), *called, *chain, *asked])
    rung = {*called, *asked, *chain[1:]} - ({caller} if call.direction == "out" else set())
    day = call.started_at.astimezone(ZoneInfo(directory.profile.timezone)).date()
    lost_by = chain[-1] if chain and call.outcome == "lost_in_transfer" else None
    return tuple(
        [
            Share(
                extension=one,
                day=day,
                rung=one in rung,
                answered=one in chain and one != caller,
                missed=one in rung and call.outcome == "missed",
                lost=one == lost_by,
                talked=talks.get(one),
                transfers_in=chain[1:].count(one),
                transfers_out=chain[:-1].count(one) + (one == lost_by),
            )
            for one in people
        ]
    )


def _who(number: str, directory: Directory) -> str:
    """By the extension of whose mobile it is."""
    manager = None if is_extension(number) else directory.manager_by_mobile(number)
    return manager.extension if manager else number


def _talks(call: Call, evidence: Evidence) -> dict[str, timedelta]:
    """How long each was in one room with the other party; several legs of one person count once."""
    if not evidence.met:
        return {}
    end = evidence.met[0].since.at + call.talk if call.talk is not None else None
    stretches: dict[str, list[tuple[datetime, datetime]]] = {}
    for meeting in evidence.met:
        number = evidence.people[meeting.leg].number
        until = _at(meeting.until) or end
        if number and until is not None:
            who = _who(number, evidence.directory)
            stretches.setdefault(who, []).append((meeting.since.at, until))
    return {who: _length(parts) for who, parts in stretches.items()}


def _at(moment: Moment | None) -> datetime | None:
    return moment.at if moment else None


def _length(stretches: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """How long they are together, overlaps once."""
    total, reached = timedelta(0), None
    for since, until in sorted(stretches):
        begin = since if reached is None or since > reached else reached
        if until > begin:
            total += until - begin
            reached = until
    return total
