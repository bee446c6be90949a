"""Locks that a connection holds for as long as it lives: the writer's, and that of whoever needs all facts as they are.

Exactly one service appends and notifies; a second one stands by. The lock is held by the very connection that writes:
who has lost the connection has lost the lock, and who has got the lock knows that the former holder's last transaction
is decided. Of those who rebuild, forget, archive and bring back, too, one is at work at a time.
"""

from typing import Final

import asyncpg

LOCK: Final = 0x63616C6C_77726974  # "callwrit"
REBUILD_LOCK: Final = 0x63616C6C_72656264  # "callrebd"
REBUILD_LOCK_MS: Final = 3_000
"""How long the lock is waited for: whoever has ended or was killed keeps it until the server has noticed."""


async def try_lock(connection: asyncpg.Connection) -> bool:
    """Take the writer's lock if nobody holds it."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))


async def lock_rebuild(connection: asyncpg.Connection) -> bool:
    """Take the lock of whoever needs all facts as they are; False where another one is at work."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {REBUILD_LOCK_MS}")
            await connection.execute(f"SELECT pg_advisory_lock({REBUILD_LOCK})")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def unlock_rebuild(connection: asyncpg.Connection) -> None:
    """Give it back; what has closed the connection has done so already."""
    if not connection.is_closed():
        await connection.execute(f"SELECT pg_advisory_unlock({REBUILD_LOCK})")


async def settle_incarnation(connection: asyncpg.Connection) -> int:
    """Number of the present incarnation; it grows when the database became another cluster's.

    Transaction ids start anew after a dump was restored, so that facts of an older incarnation have ids that say
    nothing about the snapshots of this one. The system identifier tells clusters apart.
    """
    identifier = str(await connection.fetchval("SELECT system_identifier FROM pg_control_system()"))
    last = await connection.fetchrow(
        "SELECT incarnation, system_identifier FROM incarnations ORDER BY incarnation DESC LIMIT 1"
    )
    if last and last["system_identifier"] == identifier:
        return int(last["incarnation"])
    number = int(last["incarnation"]) + 1 if last else 1
    await connection.execute(
        "INSERT INTO incarnations (incarnation, system_identifier) VALUES ($1, $2)", number, identifier
    )
    return number
