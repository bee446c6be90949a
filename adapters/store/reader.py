"""Reading facts: below the horizon in the readers' order, and by call for whoever wakes one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

import asyncpg
import asyncpg.pool
import msgspec

from adapters.archive.folder import Archive
from adapters.archive.index import Stream, places_of
from adapters.store.partitions import OF_DIRECTORY, month_of
from calls.chats import read_paused
from calls.events import EventError, read_event
from calls.exchange import FORGET_SILENT_AFTER, Belonging
from calls.facts import (
    CHAT_PAUSED,
    DIRECTORY_STREAM,
    NEWEST,
    Fact,
    bridge_stream,
    delivery_stream,
    leg_stream,
)
from calls.order import in_order, place_between
from calls.shapes import SHAPES
from calls.visits import Visit
from projections.ports import Checkpoint

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection of one's own, or one lent by a pool."""

COLUMNS = "position, enterprise, stream, version, kind, source, occurred_at, recorded_at, body, meta, follows"

# Position alone would skip rows of transactions that are slower than later ones. A transaction of the present
# incarnation below xmin is decided; those of older incarnations all are. In ORDER BY a bare xid would be the column
# given out, which no index knows.
BELOW_HORIZON = f"""
SELECT {COLUMNS}, incarnation, xid::text::bigint AS xid FROM facts
WHERE (incarnation, xid, position) > ($1, $2::text::xid8, $3)
  AND (incarnation < (SELECT max(incarnation) FROM incarnations)
       OR (incarnation = (SELECT max(incarnation) FROM incarnations)
           AND xid < pg_snapshot_xmin(pg_current_snapshot())))
  AND ($5::integer IS NULL OR (incarnation, xid, position) <= ($5, $6::text::xid8, $7))
ORDER BY facts.incarnation, facts.xid, facts.position
LIMIT $4
"""

# The months are merged in order, each read from the checkpoint on. What PostgreSQL knows of a comparison of rows makes
# it expect a handful of them, and sort all facts behind the checkpoint instead, for each batch anew.
MERGED = "SET enable_sort = off"
NO_LONGER_MERGED = "RESET enable_sort"

# Only for whoever follows the one writer of this process: its transactions commit in the order of their positions.
AFTER_POSITION = (
    f"SELECT {COLUMNS} FROM facts WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"
)

# Probe by probe: joined at once, a table that PostgreSQL has no figures of yet is read whole for each leg. OFFSET 0
# keeps the planner from joining at once after all.
OF_STREAMS = f"""
SELECT {COLUMNS} FROM unnest($1::text[], $2::text[], $4::date[]) AS wanted (in_enterprise, in_stream, in_month)
CROSS JOIN LATERAL (
    SELECT * FROM facts
    WHERE month = in_month AND enterprise = in_enterprise AND stream = in_stream AND position <= $3 OFFSET 0
) AS told
ORDER BY position
"""

OF_DIRECTORIES = (
    f"SELECT {COLUMNS} FROM facts WHERE month = $4 AND stream = $1 AND position <= $2"
    " AND ($3::text IS NULL OR enterprise = $3) ORDER BY position"
)

_visits = msgspec.json.Decoder(tuple[Visit, ...]).decode
LEGS_OF_CALLS = """
SELECT other.enterprise, other.unique_id, other.call_id, other.lost, other.visits
FROM unnest($1::text[], $2::text[]) AS wanted (in_enterprise, leg)
CROSS JOIN LATERAL (
    SELECT enterprise, call_id FROM {call_legs} WHERE enterprise = in_enterprise AND unique_id = leg OFFSET 0
) AS mine
CROSS JOIN LATERAL (
    SELECT enterprise, unique_id, call_id, lost, visits FROM {call_legs} legs
    WHERE legs.enterprise = mine.enterprise AND legs.call_id = mine.call_id OFFSET 0
) AS other
"""

# Calls that may still need something done: open ones, those that a late leg may belong to, as their actors would still
# be here, and recent ones whose last state a chat was not shown. What was under way when the call ended may be recorded
# after its end, and shows an earlier state; a leg that was told of may belong elsewhere since. So a delivery says upto
# which position it tells. Those that silence has ended, as every fold remembers them.
UNSETTLED = """
SELECT enterprise, call_id FROM calls WHERE outcome = 'open'
UNION
SELECT enterprise, call_id FROM calls WHERE last_position > $4
UNION
SELECT calls.enterprise, calls.call_id FROM calls
JOIN unnest($1::text[], $2::text[], $5::bigint[]) AS chat (enterprise, chat_id, since)
     ON chat.enterprise = calls.enterprise
WHERE calls.outcome <> 'open' AND calls.last_position > $3 AND calls.last_position > chat.since
  AND NOT coalesce((
      SELECT CASE
          WHEN kind IN ('delivery_sent', 'delivery_edited')
              THEN told @> '{"phase": "ended"}'
                   AND coalesce((told ->> 'upto')::bigint = calls.last_position, position > calls.last_position)
                   AND NOT (
                       told @> '{"notice": true}' AND NOT EXISTS (
                           SELECT FROM facts rung WHERE rung.enterprise = calls.enterprise
                           AND rung.month = facts_month('leg/' || calls.call_id)
                           AND rung.stream = 'notice/' || chat.chat_id || '/' || calls.call_id AND rung.version > 1
                       )
                   )
          ELSE kind = 'delivery_refused' AND told @> '{"final": true}' AND position > chat.since
      END
      FROM (
          SELECT kind, position, convert_from(body, 'UTF8')::jsonb AS told FROM facts
          WHERE facts.month = facts_month('leg/' || calls.call_id) AND facts.enterprise = calls.enterprise
            AND facts.stream = 'delivery/' || chat.chat_id || '/' || calls.call_id
          ORDER BY version DESC LIMIT 1
      ) AS last_word
  ), false)
UNION
SELECT calls.enterprise, calls.call_id FROM calls
JOIN unnest($1::text[], $2::text[]) AS chat (enterprise, chat_id) ON chat.enterprise = calls.enterprise
JOIN call_legs legs ON legs.enterprise = calls.enterprise AND legs.call_id = calls.call_id
WHERE calls.outcome <> 'open' AND calls.last_position > $3 AND legs.unique_id <> calls.call_id
  AND (
      SELECT kind FROM facts told
      WHERE told.month = facts_month('leg/' || legs.unique_id) AND told.enterprise = legs.enterprise
        AND told.stream = 'delivery/' || chat.chat_id || '/' || legs.unique_id
      ORDER BY version DESC LIMIT 1
  ) IN ('delivery_sent', 'delivery_edited')
UNION
SELECT enterprise, unique_id FROM call_legs WHERE lost
UNION
SELECT enterprise, substr(stream, 5) FROM facts WHERE position > $6 AND kind = 'silence_observed'
"""

# The newest fact that is older than the window before a position. From the end backwards: min() of what is in the
# window would be looked for from the first fact on.
BEFORE_WINDOW = """
WITH latest AS MATERIALIZED (
    SELECT recorded_at - $1::interval AS at FROM facts WHERE position <= $2 ORDER BY position DESC LIMIT 1
)
SELECT greatest(0, (
    SELECT position FROM facts WHERE position <= $2 AND recorded_at <= (SELECT at FROM latest)
    ORDER BY position DESC LIMIT 1
), (
    SELECT max(last_position) FROM archived WHERE last_position <= $2 AND last_recorded_at <= (SELECT at FROM latest)
))
"""


# What was asked of Telegram lately, as far as it was recorded (of a first message that it was intended), and what it
# wants not to be asked yet.
REQUESTS = """
SELECT enterprise, split_part(stream, '/', 2)::bigint AS chat_id,
       extract(epoch FROM clock_timestamp() - recorded_at)::float8 AS age,
       CASE kind WHEN 'chat_paused' THEN body END
FROM facts
WHERE position > $1
  AND kind IN ('delivery_intended', 'delivery_edited', 'delivery_withdrawn', 'chat_asked', 'chat_paused')
  AND recorded_at > clock_timestamp() - $2::interval
"""


UNFORGOTTEN_WINDOW = timedelta(minutes=5)
"""How far back a fold is made again at start; more than exchange.FORGET_AFTER, what is too much is forgotten again."""


class Read(msgspec.Struct, frozen=True):
    """Facts in the readers' order, and the checkpoint behind the last of them."""

    facts: list[Fact]
    checkpoint: Checkpoint


def fact(row: asyncpg.Record) -> Fact:
    """A row of COLUMNS as a fact."""
    told = Fact(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9])
    if row[10] is None:
        return told
    return msgspec.structs.replace(told, order=place_between(row[10], told.occurred_at, told.position))


async def read_below_horizon(
    connection: Connection, after: Checkpoint, limit: int, upto: Checkpoint | None = None
) -> Read:
    """The next facts that nothing can come before any more, none of them behind ``upto``."""
    last_wanted = (upto.incarnation, str(upto.xid), upto.position) if upto else (None, None, None)
    await connection.execute(MERGED)
    rows = await connection.fetch(
        BELOW_HORIZON, after.incarnation, str(after.xid), after.position, limit, *last_wanted
    )
    await connection.execute(NO_LONGER_MERGED)
    if not rows:
        return Read([], after)
    last = rows[-1]
    return Read([fact(row) for row in rows], Checkpoint(last["incarnation"], last["xid"], last["position"]))


async def read_after(connection: Connection, position: int, upto: int, limit: int) -> list[Fact]:
    """Facts of the writer's own order, after one position and up to another."""
    return [fact(row) for row in await connection.fetch(AFTER_POSITION, position, upto, limit)]


async def read_streams(connection: Connection, streams: Iterable[tuple[str, str]], upto: int) -> list[Fact]:
    """All facts of these (enterprise, stream), by position."""
    wanted = list(streams)
    rows = await connection.fetch(
        OF_STREAMS,
        [enterprise for enterprise, _ in wanted],
        [stream for _, stream in wanted],
        upto,
        [month_of(stream) for _, stream in wanted],
    )
    return [fact(row) for row in rows]


async def read_calls(
    connection: Connection,
    legs: Sequence[tuple[str, str]],
    chats: Sequence[tuple[str, int]],
    upto: int,
    *,
    call_legs: str = "call_legs",
    call_of: Mapping[tuple[str, str], Belonging] | None = None,
    archive: Archive | None = None,
) -> list[Fact]:
    """All facts of the calls that these (enterprise, UniqueId) belong to, in the order of the fold.

    Legs, their bridges, and deliveries to ``chats`` (enterprise, chat_id). Which legs make a call is read off
    ``call_legs``, unless it was before (``call_of``, as ``whose`` gives it); a leg that is not there comes alone. A
    call of which anything is archived is read from the ``archive`` too; without one it is left out as a whole.
    """
    if call_of is None:
        call_of = await whose(connection, legs, call_legs=call_legs)
    members = {*legs, *call_of}
    streams = {(enterprise, leg_stream(unique_id)) for enterprise, unique_id in members}
    chats_of: dict[str, list[int]] = {}
    for enterprise, chat_id in chats:
        chats_of.setdefault(enterprise, []).append(chat_id)
    streams |= {
        (enterprise, delivery_stream(unique_id, chat_id))
        for enterprise, unique_id in members
        for chat_id in chats_of.get(enterprise, ())
    }
    facts = await read_streams(connection, streams, upto)
    facts += await archive.streams(connection, streams, upto) if archive else []
    bridges = {(told.enterprise, bridge_stream(bridge)) for told in facts if (bridge := _bridge_of(told))}
    if bridges:
        facts += await read_streams(connection, bridges, upto)
        facts += await archive.streams(connection, bridges, upto) if archive else []
    if archive is None and (archived := await places_of(connection, streams | bridges)):
        facts = _without_archived(facts, archived.keys(), call_of)
    return in_order(facts)


async def whose(
    connection: Connection, legs: Collection[tuple[str, str]], *, call_legs: str = "call_legs"
) -> dict[tuple[str, str], Belonging]:
    """The place of each (enterprise, UniqueId) of the calls that these legs belong to."""
    rows = await connection.fetch(
        LEGS_OF_CALLS.format(call_legs=call_legs),
        [enterprise for enterprise, _ in legs],
        [unique_id for _, unique_id in legs],
    )
    return {(row[0], row[1]): Belonging(row[2], row[3], _visits(row[4]) if row[4] else ()) for row in rows}


def _without_archived(
    facts: list[Fact], archived: Collection[Stream], call_of: Mapping[Stream, Belonging]
) -> list[Fact]:
    """Leave out calls that are archived in part; ``call_of``: of each (enterprise, UniqueId)."""

    def call(enterprise: str, stream: str) -> Stream:
        kind, _, leg = stream.partition("/")
        leg = leg if kind == "leg" else leg.partition("/")[2]
        place = call_of.get((enterprise, leg))
        return enterprise, place.call_id if place else leg

    gone = {call(*stream) for stream in archived}
    users: dict[Stream, set[Stream]] = {}
    for told in facts:
        if bridge := _bridge_of(told):
            users.setdefault((told.enterprise, bridge_stream(bridge)), set()).add(
                call(told.enterprise, told.stream)
            )
    for stream in archived:
        gone |= users.get(stream, set())
    return [
        told
        for told in facts
        if not users.get((told.enterprise, told.stream), {call(told.enterprise, told.stream)}) <= gone
    ]


def _bridge_of(told: Fact) -> str:
    """The bridge that a leg's fact names, or nothing."""
    return _bridge(told.body) if told.kind in {"bridge", "bridge_leave"} else ""


def _bridge(body: bytes) -> str:
    """The bridge that an event names, as every fold reads it; a body that none can read names none."""
    try:
        return read_event(body).bridge_id.strip()
    except EventError:
        return ""


async def read_directories(connection: Connection, upto: int, enterprise: str | None = None) -> list[Fact]:
    """The directory facts of one enterprise or of all, by position."""
    rows = await connection.fetch(OF_DIRECTORIES, DIRECTORY_STREAM, upto, enterprise, OF_DIRECTORY)
    return [fact(row) for row in rows]


async def unsettled_calls(
    connection: Connection,
    chats: Sequence[tuple[str, int, int]],
    window: timedelta,
    lately: timedelta,
    upto: int = NEWEST,
) -> list[tuple[str, str]]:
    """(enterprise, UniqueId) of calls that may still need something done, and of legs that make none yet.

    ``chats``: (enterprise, chat_id, position since which it is shown calls).
    ``window``: how far back before the newest fact a settled call is looked at whose last state a chat
    may not have been shown. ``lately``: how far back before position ``upto`` one is not forgotten whatever was
    shown of it.
    """
    rows = await connection.fetch(
        UNSETTLED,
        [enterprise for enterprise, _, _ in chats],
        [str(chat_id) for _, chat_id, _ in chats],
        await connection.fetchval(BEFORE_WINDOW, window, NEWEST),
        await connection.fetchval(BEFORE_WINDOW, lately, upto),
        [since for _, _, since in chats],
        await connection.fetchval(BEFORE_WINDOW, FORGET_SILENT_AFTER, upto),
    )
    return [(row[0], row[1]) for row in rows]


class Asked(msgspec.Struct, frozen=True):
    """What Telegram was asked within a window, by (enterprise, chat_id)."""

    requests: dict[tuple[str, int], list[float]]
    """How many seconds ago each was made."""
    pauses: dict[tuple[str, int], tuple[float, float]]
    """For how many seconds Telegram wants nothing asked yet, and how many seconds ago it said so."""


async def recent_requests(connection: Connection, window: timedelta) -> Asked:
    """What was asked of Telegram within the window, and what it said of it."""
    since = await connection.fetchval(BEFORE_WINDOW, window, NEWEST)
    asked = Asked({}, {})
    for enterprise, chat_id, age, paused in await connection.fetch(REQUESTS, since, window):
        chat = (enterprise, chat_id)
        if paused is None:
            asked.requests.setdefault(chat, []).append(max(age, 0.0))
        elif SHAPES.knows(CHAT_PAUSED, paused) and (left := read_paused(paused).seconds - age) > 0.0:
            asked.pauses[chat] = max((left, age), asked.pauses.get(chat, (0.0, 0.0)))
    return asked


async def park(connection: Connection, place: str, told: Fact, reason: str) -> None:
    """Keep a fact that could not be folded at this place; once more counts as another attempt."""
    await connection.execute(
        "INSERT INTO parked (place, position, enterprise, reason) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (place, position) DO UPDATE SET reason = excluded.reason,"
        " attempts = parked.attempts + 1, parked_at = clock_timestamp()",
        place,
        told.position,
        told.enterprise,
        reason.replace("\0", ""),
    )
