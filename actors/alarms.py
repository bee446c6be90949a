"""Alarms: at most one a call, kept in one heap and rung by one task."""

import asyncio
import heapq
from collections.abc import Callable, Hashable

from actors.ports import Clock


class Alarms:
    """Calls ``ring`` with a key when its time has come; setting a key again moves its alarm."""

    def __init__(self, clock: Clock, ring: Callable[[Hashable], None]) -> None:
        self._clock, self._ring = clock, ring
        self._times: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._changed = asyncio.Event()
        self._count = 0

    def __len__(self) -> int:
        """Number of alarms that are set."""
        return len(self._times)

    def set(self, key: Hashable, seconds: float) -> None:
        """Ring for this key ``seconds`` from now."""
        when = self._clock.monotonic() + seconds
        self._times[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if self._heap[0][2] == key:
            self._changed.set()
        if len(self._heap) > 2 * len(self._times) + 64:
            self._heap = [entry for entry in self._heap if self._times.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def clear(self, key: Hashable) -> None:
        """Do not ring for this key."""
        self._times.pop(key, None)

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            wait = self.ring_due()
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def ring_due(self) -> float | None:
        """Ring for everything whose time has come; seconds until the next, None where none is set."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._times.get(key) != when:
                heapq.heappop(self._heap)
                continue
            wait = when - self._clock.monotonic()
            if wait > 0:
                return wait
            heapq.heappop(self._heap)
            del self._times[key]
            self._ring(key)
        return None
