"""Turns: work that may wait gives way to hosts that wait for their answer.

A 200 means that the event is stored; what follows from it may come a moment later. While many hosts wait at once,
work behind the store takes a share of the time and no more, so that none of them runs into its timeout because of a
card or a row (DESIGN: commit, then answer; everything after it may be behind).
"""

import asyncio
from collections.abc import Callable

REST = 16.0
"""Most seconds of rest for a second of work while hosts wait: each worker has a seventeenth of the time then."""
HOSTS = 8
"""So many hosts that wait at once are worth as many seconds of rest as there were of work."""
LONGEST_REST = 0.25


class Turns:
    """Gives other tasks of the loop their turn; ``pressure`` says how many hosts wait just now."""

    def __init__(self, pressure: Callable[[], int]) -> None:
        self._pressure = pressure

    async def give_way(self, worked: float) -> None:
        """Returns when it is the worker's turn again, after ``worked`` seconds without a pause."""
        rest = worked * min(self._pressure() / HOSTS, REST)
        await asyncio.sleep(min(rest, LONGEST_REST))
