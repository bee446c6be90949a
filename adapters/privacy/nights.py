"""When the running service retires what is old: once a day, in the night of the enterprise, or soon after a start."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
import structlog

from actors.ports import Clock, LogError
from adapters.analysts.errors import ExtraMissing
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.privacy.digests import ForgetKeyError
from adapters.privacy.person import ForgetRefused
from adapters.privacy.retiring import Retired
from calls.entries import Profile

log = structlog.get_logger(__name__)

NIGHT: Final = range(2, 5)
"""Hours of an enterprise's clock."""
SETTLED: Final = timedelta(hours=1)
"""How long a service runs before it makes up for nights in which none ran."""
ONCE: Final = timedelta(hours=20)
"""Between two times at the least: a night may come a little early."""
MISSED: Final = timedelta(hours=30)
"""Since the last time, after which a night was missed."""
LOOK: Final = 600.0
"""Seconds between two looks at the clock."""

_DONE: Final = "SELECT enterprise, done_at, wanted IS NOT NULL FROM retention"
_TROUBLE: Final = (
    ForgetRefused,
    ForgetKeyError,
    LogError,
    ExtraMissing,
    OSError,
    asyncpg.PostgresError,
    *SERVER_TROUBLE,
)


def is_time(now: datetime, begun: datetime, last: datetime | None, zone: str, *, half: bool) -> bool:
    """True where an enterprise's turn has come.

    ``begun``: when the service started; ``last``: when it was done; ``half``: a run was broken off.
    """
    if last is not None and now - last < ONCE and not half:
        return False
    if now.astimezone(ZoneInfo(zone)).hour in NIGHT:
        return True
    return now - begun >= SETTLED and (half or last is None or now - last >= MISSED)


class Nights:
    """Has every enterprise that says for how many days retired, one after the other.

    ``profiles``: by number, of this moment; none while another instance leads.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        step: Callable[[str, int], Awaitable[Retired]],
        profiles: Callable[[], Mapping[str, Profile]],
        clock: Clock,
    ) -> None:
        self._pool, self._step, self._profiles, self._clock = pool, step, profiles, clock
        self._begun = clock.now()

    async def run(self) -> None:
        """Look at the clock again and again; until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            await self.look()

    async def look(self) -> None:
        """Do what is due now. What fails is said, and tried again at the next look."""
        wanted = {number: told for number, told in self._profiles().items() if told.retention_days}
        try:
            rows = await self._pool.fetch(_DONE) if wanted else []
        except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
            log.warning("retention waits for the store", reason=str(error))
            return
        done = {row[0]: (row[1], row[2]) for row in rows}
        for number, profile in sorted(wanted.items()):
            last, half = done.get(number, (None, False))
            if is_time(self._clock.now(), self._begun, last, profile.timezone, half=half):
                await self._retire(number, profile.retention_days or 0)

    async def _retire(self, number: str, days: int) -> None:
        try:
            while not (told := await self._step(number, days)).done:
                pass
        except _TROUBLE as error:
            log.warning("retention is put off", enterprise=number, reason=str(error))
        else:
            log.info("retention done", enterprise=number, upto=told.upto.isoformat(), facts=told.facts)
