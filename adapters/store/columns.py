"""Columns of the tables that are made of calls, and their rows."""

from typing import Final

from calls.call import Call
from calls.details import LegPlace, Share
from calls.exchange import Belonging
from calls.times import seconds

CALL_COLUMNS: Final = (
    "enterprise",
    "call_id",
    "direction",
    "origin",
    "outcome",
    "customer",
    "line",
    "caller",
    "dialled",
    "rung",
    "answered_by",
    "talked",
    "consulted",
    "started_at",
    "answered_at",
    "ended_at",
    "wait_s",
    "talk_s",
    "total_s",
    "source",
    "legs",
    "last_position",
    "recordings",
)
CUSTOMER_COLUMNS: Final = (
    "enterprise",
    "phone",
    "name",
    "first_seen_at",
    "last_seen_at",
    "in_total",
    "in_answered",
    "in_missed",
    "out_total",
    "out_answered",
    "out_missed",
    "last_call_at",
    "last_direction",
    "last_outcome",
    "last_talked",
    "last_line",
)

LEG_COLUMNS: Final = (
    "enterprise",
    "unique_id",
    "call_id",
    "role",
    "number",
    "leads",
    "first_at",
    "last_at",
    "entered_at",
    "left_at",
    "hung_up_at",
    "answered",
)
SHARE_COLUMNS: Final = (
    "enterprise",
    "call_id",
    "extension",
    "day",
    "rung",
    "answered",
    "missed",
    "lost",
    "talked_s",
    "transfers_in",
    "transfers_out",
)
BELONGING_COLUMNS: Final = ("enterprise", "unique_id", "call_id", "lost", "visits")

OF_CALLS: Final = "(source.enterprise, source.call_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
"""Condition on the rows ``source``: those of calls given as arrays of enterprises and of ids."""


def belonging_row(enterprise: str, unique_id: str, place: Belonging) -> tuple[object, ...]:
    """Whose leg it is as a row of BELONGING_COLUMNS."""
    return enterprise, unique_id, place.call_id, place.lost, place.visits or None


def call_row(call: Call) -> tuple[object, ...]:
    """A call as a row of CALL_COLUMNS."""
    return (
        call.enterprise,
        call.call_id,
        call.direction,
        call.origin,
        call.outcome,
        call.customer,
        call.line,
        call.caller,
        call.dialled,
        list(call.rung),
        call.answered_by,
        list(call.talked),
        list(call.consulted),
        call.started_at,
        call.answered_at,
        call.ended_at,
        seconds(call.wait),
        seconds(call.talk),
        seconds(call.total),
        call.source,
        list(call.legs),
        call.last_position,
        list(call.recordings),
    )


def leg_row(enterprise: str, call_id: str, leg: LegPlace) -> tuple[object, ...]:
    """A leg as a row of LEG_COLUMNS."""
    return (
        enterprise,
        leg.unique_id,
        call_id,
        leg.role,
        leg.number,
        leg.leads,
        leg.first_at,
        leg.last_at,
        leg.entered_at,
        leg.left_at,
        leg.hung_up_at,
        leg.answered,
    )


def share_row(enterprise: str, call_id: str, share: Share) -> tuple[object, ...]:
    """A share as a row of SHARE_COLUMNS."""
    return (
        enterprise,
        call_id,
        share.extension,
        share.day,
        share.rung,
        share.answered,
        share.missed,
        share.lost,
        seconds(share.talked),
        share.transfers_in,
        share.transfers_out,
    )
