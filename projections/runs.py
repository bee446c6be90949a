"""The inner loop of a rebuild: rows of facts that need nothing but memory are folded in one go.

Compiled with the fold (docs/decisions/0017-compiled.md); whatever has to wait for the store is left to its caller.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any, Final, final

from calls.exchange import Exchange
from calls.facts import EVENT_KINDS, Fact

_EVENTS: Final = frozenset(EVENT_KINDS)


@final
class Run:
    """Folds rows: position, enterprise, stream, version, kind, source, occurred_at, body.

    ``exchange`` gives the fold of an enterprise, the same each time; ``see`` is told each fact; what is of enterprises
    ``apart`` is left.
    """

    def __init__(
        self, exchange: Callable[[str], Exchange], see: Callable[[Fact], None] | None, apart: Container[str]
    ) -> None:
        self._exchange, self._see, self._apart = exchange, see, apart
        self._known: dict[str, Exchange] = {}
        self.begun: set[tuple[str, str]] = set()
        """(enterprise, stream) of the legs of which the first fact was folded."""
        self.failed: list[tuple[Fact, Exception]] = []
        """Facts that could not be folded, and why."""

    def fold(self, rows: Sequence[Any], begin: int) -> int:
        """Fold rows from there on; gives the index of the first that is left.

        That is one whose enterprise is apart, that is no event of a host, or whose call must be woken first.
        """
        known, begun, see = self._known, self.begun, self._see
        for index in range(begin, len(rows)):
            row = rows[index]
            enterprise: str = row[1]
            kind: str = row[4]
            if kind not in _EVENTS or enterprise in self._apart:
                return index
            mine = known.get(enterprise)
            if mine is None:
                mine = known[enterprise] = self._exchange(enterprise)
            at = row[6]
            fact = Fact(row[0], enterprise, row[2], row[3], kind, row[5], at, at, row[7])
            if mine.misses(fact):
                return index
            if fact.version == 1:
                begun.add((enterprise, fact.stream))
            if see is not None:
                see(fact)
            try:
                mine.apply(fact)
            except Exception as error:  # noqa: BLE001 - whatever it is, the fact is parked and the folding goes on
                self.failed.append((fact, error))
        return len(rows)
