"""A fact that waits for its commit."""

import asyncio

import msgspec

from actors.ports import Appended
from calls.facts import NewFact


class Pending(msgspec.Struct, eq=False):
    """``deadline``: loop time after which the caller no longer waits, None where it waits for ever."""

    fact: NewFact
    answer: "asyncio.Future[Appended]"
    deadline: float | None = None
