"""The recordings of a forgotten person's calls: files, ids, and the facts that named them."""

import asyncio
from typing import Final

import asyncpg

from adapters.privacy.person import Person
from adapters.privacy.traces import legs_of
from adapters.recordings.files import Place, RecordingFiles
from calls.facts import RECORDING_ADDED, RECORDING_FORGOTTEN

_NO_CONTENT: Final = "0" * 64
_OF_LEGS: Final = "SELECT id, unique_id FROM recordings WHERE enterprise = $1 AND unique_id = ANY($2)"
_NO_LINK: Final = """
UPDATE calls SET recordings = array_remove(recordings, $2) FROM call_legs
WHERE calls.enterprise = $1 AND call_legs.enterprise = $1 AND call_legs.unique_id = $3
  AND calls.call_id = call_legs.call_id
"""
_UNSAY: Final = """
UPDATE facts SET kind = $3, body = '{}' WHERE enterprise = $1 AND month = facts_month($2) AND stream = $2 AND kind = $4
"""


async def forget_recordings(connection: asyncpg.Connection, files: RecordingFiles, person: Person) -> int:
    """Remove them; how many. The facts stay in their places and say that there was one: no call has a dead link."""
    legs = await legs_of(connection, person)
    found = await connection.fetch(_OF_LEGS, person.enterprise, legs)
    for row in found:
        place = Place(person.enterprise, row["id"], _NO_CONTENT)
        await asyncio.to_thread(files.settle, place, "")
        async with connection.transaction():
            await connection.execute(
                _UNSAY, person.enterprise, f"leg/{row['unique_id']}", RECORDING_FORGOTTEN, RECORDING_ADDED
            )
            await connection.execute("DELETE FROM recordings WHERE id = $1", row["id"])
            await connection.execute(_NO_LINK, person.enterprise, row["id"], row["unique_id"])
    return len(found)
