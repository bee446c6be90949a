"""What holds a number beside the facts: refused bodies, reasons, the preview, hashes of texts, tables of rebuilds."""

from collections.abc import Iterable
from typing import Any, Final

import asyncpg
import msgspec

from adapters.privacy.person import Person
from adapters.store.partitions import month_of
from adapters.store.reader import Connection
from calls.deliveries import DELIVERY_KINDS
from calls.facts import delivery_stream, notice_stream
from projections.names import TABLES

AT_ONCE: Final = 100

_REJECTED: Final = """
SELECT id, body, reason FROM rejected WHERE id > $1 AND (enterprise = $2 OR enterprise IS NULL) ORDER BY id LIMIT $3
"""
_PREVIEW: Final = """
SELECT chat_id, message_id, text, history::text AS history, markup::text AS markup FROM preview_messages
WHERE enterprise = $1 AND (chat_id, message_id) > ($2, $3) ORDER BY chat_id, message_id LIMIT $4
"""
_SHOW: Final = """
UPDATE preview_messages SET text = $3, history = $4::text::jsonb, markup = $5::text::jsonb
WHERE chat_id = $1 AND message_id = $2
"""
_LEGS_OF: Final = """
SELECT other.unique_id FROM forgotten_legs mine
JOIN call_legs place ON place.enterprise = mine.enterprise AND place.unique_id = mine.unique_id
JOIN call_legs other ON other.enterprise = place.enterprise AND other.call_id = place.call_id
WHERE mine.enterprise = $1 AND mine.pseudonym = $2
UNION SELECT unique_id FROM forgotten_legs WHERE enterprise = $1 AND pseudonym = $2
"""
_TOUCH: Final = """
INSERT INTO forgotten_legs (enterprise, pseudonym, unique_id) SELECT $1, $2, * FROM unnest($3::text[])
ON CONFLICT DO NOTHING
"""
_DELIVERIES: Final = """
SELECT position, month, body FROM facts
WHERE enterprise = $1 AND month = $2 AND stream = ANY($3) AND kind = ANY($4)
"""
_PROJECTED: Final = "|".join(table for tables in TABLES.values() for table in tables)
_ASIDE: Final = rf"^({_PROJECTED})(_old|_aside|_v[0-9]+|_as_of_[0-9a-z]+)$"
_TABLES: Final = (
    "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename ~ $1"
)
_VACUUMED: Final = (
    "facts",
    "rejected",
    "parked",
    "preview_messages",
    "forgotten_legs",
    "retired_legs",
    "idempotency",
)


async def touch(connection: Connection, person: Person, streams: Iterable[str]) -> None:
    """Note the legs among these streams as the person's."""
    legs = {stream.partition("/")[2] for stream in streams if stream.startswith("leg/")}
    await connection.execute(_TOUCH, person.enterprise, person.pseudonym, sorted(legs))


async def legs_of(connection: Connection, person: Person) -> list[str]:
    """Legs of the calls that the person was in."""
    return [row[0] for row in await connection.fetch(_LEGS_OF, person.enterprise, person.pseudonym)]


async def rewrite_rejected(connection: asyncpg.Connection, person: Person) -> None:
    """Refused bodies of the enterprise, and of nobody."""
    after = 0
    while rows := await connection.fetch(_REJECTED, after, person.enterprise, AT_ONCE):
        after = rows[-1]["id"]
        told = [
            (row["id"], person.renaming.rewrite(row["body"]), person.renaming.rewrite_text(row["reason"]))
            for row in rows
        ]
        await connection.executemany(
            "UPDATE rejected SET body = $2, reason = $3 WHERE id = $1",
            [new for new, row in zip(told, rows, strict=True) if new != tuple(row)],
        )


async def rewrite_parked(connection: asyncpg.Connection, person: Person) -> None:
    """Reasons why a fact could not be folded: they may tell what it holds."""
    rows = await connection.fetch(
        "SELECT place, position, reason FROM parked WHERE enterprise = $1", person.enterprise
    )
    await connection.executemany(
        "UPDATE parked SET reason = $3 WHERE place = $1 AND position = $2",
        [(row["place"], row["position"], person.renaming.rewrite_text(row["reason"])) for row in rows],
    )


async def rewrite_preview(connection: asyncpg.Connection, person: Person) -> None:
    """Messages of the preview, with what they showed before."""
    rename = person.renaming.rewrite_text
    chat, message = -(1 << 63), 0
    while rows := await connection.fetch(_PREVIEW, person.enterprise, chat, message, AT_ONCE):
        chat, message = rows[-1]["chat_id"], rows[-1]["message_id"]
        told = [(*tuple(row)[:2], *map(rename, tuple(row)[2:])) for row in rows]
        await connection.executemany(
            _SHOW, [new for new, row in zip(told, rows, strict=True) if new != tuple(row)]
        )


def rewrite_change(body: bytes, person: Person) -> bytes:
    """A fact of the directory: of the person's own entry stays the pseudonym, in others the number is replaced."""
    change: dict[str, Any] = msgspec.json.decode(body)
    if change.get("section") == "subscriber":
        return body
    if change.get("section") == "customer" and change.get("key") == person.renaming.number:
        value = None if change.get("value") is None else {"phone": person.pseudonym}
        return msgspec.json.encode({**change, "key": person.pseudonym, "value": value})
    return person.renaming.rewrite(body)


async def rewrite_deliveries(connection: asyncpg.Connection, person: Person) -> None:
    """Hashes of the texts that were shown: who knows all but the number can try them all."""
    legs = await legs_of(connection, person)
    for begin in range(0, len(legs), AT_ONCE):
        streams: dict[Any, list[str]] = {}
        for leg in legs[begin : begin + AT_ONCE]:
            for chat in person.chats:
                for stream in (delivery_stream(leg, chat), notice_stream(leg, chat)):
                    streams.setdefault(month_of(stream), []).append(stream)
        for month, some in streams.items():
            rows = await connection.fetch(_DELIVERIES, person.enterprise, month, some, sorted(DELIVERY_KINDS))
            await connection.executemany(
                "UPDATE facts SET body = $3 WHERE month = $2 AND position = $1",
                [(row["position"], row["month"], without_hash(row["body"])) for row in rows],
            )


def without_hash(body: bytes) -> bytes:
    """The body of a delivery fact without the hash of what was shown."""
    told: dict[str, Any] = msgspec.json.decode(body)
    return msgspec.json.encode({**told, "hash": ""}) if told.get("hash") else body


async def drop_aside(connection: asyncpg.Connection) -> list[str]:
    """Tables that rebuilds have left beside the live ones, of all enterprises; only while nobody rebuilds."""
    async with connection.transaction():
        tables = [row[0] for row in await connection.fetch(_TABLES, _ASIDE)]
        for table in tables:
            await connection.execute(f"DROP TABLE {table}")
        await connection.execute("DELETE FROM rebuilds")
        await connection.execute("DELETE FROM rebuild_shards")
        await connection.execute("DELETE FROM checkpoints WHERE projection ~ $1", _ASIDE)
    return tables


async def vacuum(connection: asyncpg.Connection) -> None:
    """Let go of the former versions of the rows, in tables and indexes; what reads meanwhile goes on."""
    tables = [*_VACUUMED, *(table for tables in TABLES.values() for table in tables)]
    for table in dict.fromkeys(tables):
        await connection.execute(f"VACUUM (INDEX_CLEANUP ON) {table}")
