"""A rebuild with as many processes as there are cores: folding is Python's work, and one process has one core."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from adapters.store.beside import Beside
from adapters.store.shards import Work, fold_shards
from projections.ports import ProjectionError

BY_ITSELF: Final = 50_000
"""Fewer facts than these are folded sooner than other processes start."""
ENDS_WITHIN: Final = 10.0

Told = Callable[[int], None]
"""Is told how many facts more were folded."""


async def fold_beside(beside: Beside, dsn: str, jobs: int, told: Told) -> int:
    """Fold what is left of a rebuild's shards; all facts that they have folded, also before an interruption.

    Raises ProjectionError where a process ended before its work.
    """
    left = [shard for shard in await beside.shards() if not shard.done]
    facts = sum(shard.expected - shard.facts for shard in left)
    jobs = min(jobs, len(left))
    if jobs <= 1 or facts < BY_ITSELF:
        await fold_shards(beside.work(dsn, [one.shard for one in left]), lambda _, more: told(more))
    else:
        dealt = [[one.shard for one in left[job::jobs]] for job in range(jobs)]
        try:
            async with asyncio.TaskGroup() as group:
                for mine in dealt:
                    group.create_task(_fold_elsewhere(beside.work(dsn, mine), told))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
    return sum(shard.facts for shard in await beside.shards())


async def _fold_elsewhere(work: Work, told: Told) -> None:
    async with _process("-m", "adapters.store.shards") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with suppress(ConnectionError):  # it has ended already: its status says so
            process.stdin.write(msgspec.json.encode(work) + b"\n")
            await process.stdin.drain()
        async for line in process.stdout:
            told(int(line.split()[1]))
        said = (await process.stderr.read()).decode(errors="replace").strip()
        if await process.wait() != 0:
            why = said.splitlines()[-1] if said else f"a process that folded ended with {process.returncode}"
            raise ProjectionError(f"{why}; run the command again to go on from there")


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python of our own kind, gone at the end: the end of its input ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
