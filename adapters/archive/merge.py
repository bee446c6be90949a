"""What a rebuild's shard reads where something of its enterprises is archived: files and tables as one."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from adapters.archive.folder import Archive, Told
from calls.facts import Fact
from calls.order import place_of
from projections.ports import Checkpoint

Fetch = Callable[[Checkpoint], Awaitable[Sequence[Any]]]
"""The next rows behind a place: (position, enterprise, …, body, incarnation, xid), nothing of what is archived."""


class Merged:
    """Facts of files and of tables in the readers' order; ``most`` is how many rows ``fetch`` gives at once."""

    def __init__(self, archived: Iterator[Told], fetch: Fetch, after: Checkpoint, most: int) -> None:
        self._archived, self._fetch, self._after, self._most = archived, fetch, after, most
        self._told = next(archived, None)
        self._rows: deque[Any] = deque()
        self._over = False

    async def next(self, limit: int, after: Checkpoint) -> tuple[list[Any], Checkpoint]:
        """The next rows, (position, enterprise, …, body), and the place of the last; ``after`` where there is none."""
        taken: list[Any] = []
        while len(taken) < limit:
            if not self._rows and not self._over:
                await self._more()
            told = self._told
            if self._rows and (told is None or _place(self._rows[0]) < told[:3]):
                row = self._rows.popleft()
                after_row = _place(row)
                taken.append(row[:-2])
            elif told is not None:
                after_row = told[:3]
                taken.append(told[2:])
                self._told = next(self._archived, None)
            else:
                break
            after = Checkpoint(*after_row)
        return taken, after

    async def _more(self) -> None:
        rows = await self._fetch(self._after)
        self._over = len(rows) < self._most
        self._rows.extend(tuple(row) for row in rows)
        if rows:
            self._after = Checkpoint(*_place(rows[-1]))


def _place(row: Any) -> tuple[int, int, int]:
    return row[-2], row[-1], row[0]


class Recovered:
    """The archived ones of an enterprise's recovered facts, page by page in their order."""

    def __init__(self, archive: Archive, enterprise: str, after: int, upto: int) -> None:
        self._facts = archive.recovered(enterprise, after, upto)
        self._next = next(self._facts, None)

    def merged(self, page: list[Fact], *, last: bool) -> list[Fact]:
        """A page of the table's facts with those between them; ``last``: with all that come behind it too."""
        found: list[Fact] = []
        for fact in page:
            while self._next is not None and place_of(self._next) < place_of(fact):
                found.append(self._next)
                self._next = next(self._facts, None)
            found.append(fact)
        if last and self._next is not None:
            found += [self._next, *self._facts]
            self._next = None
        return found
