"""The writer's lock: exactly one service appends and notifies; a second one stands by.

It is a session advisory lock held by the very connection that writes: who has lost the connection has lost the
lock, and who has got the lock knows that the former holder's last transaction is decided.
"""

import asyncpg

LOCK = 0x63616C6C_77726974  # "callwrit"


async def try_lock(connection: asyncpg.Connection) -> bool:
    """Take the writer's lock if nobody holds it."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))


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
