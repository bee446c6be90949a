"""Facts that only a newer version can read: counted live, an error in a rebuild (docs/decisions/0016-evolution.md)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from calls.facts import DIRECTORY_CHANGED, EVENT_KINDS, KNOWN_KINDS, RECORDING_ADDED, SILENCE_OBSERVED, Fact
from calls.shapes import SHAPES, UnknownShape
from otel.metrics import Metrics
from projections.ports import ProjectionError

EVENTS: Final = frozenset(EVENT_KINDS)
_FOLDED: Final = frozenset({SILENCE_OBSERVED, RECORDING_ADDED, DIRECTORY_CHANGED})
"""Kinds of ours that calls are told by."""
MOST: Final = 20
"""Kinds that are counted by name; of more, nobody could make use."""
OTHERS: Final = "other"


class UnknownKind(ProjectionError):
    """A rebuild by a version that does not know every kind would leave out what a newer one wrote."""

    def __init__(self, fact: Fact) -> None:
        super().__init__(
            f"the fact at position {fact.position} of enterprise {fact.enterprise} is of the kind {fact.kind!r},"
            " which this version does not know: use the version that wrote it, or a newer one"
        )


class NewerShape(ProjectionError):
    """Likewise of a shape."""

    def __init__(self, fact: Fact, unknown: UnknownShape) -> None:
        super().__init__(f"the fact at position {fact.position} of enterprise {fact.enterprise}: {unknown}")


def require_known(fact: Fact) -> None:
    """Raises UnknownKind or NewerShape for a fact by which a newer version may tell calls otherwise."""
    if fact.kind not in KNOWN_KINDS:
        raise UnknownKind(fact)
    if fact.kind in _FOLDED:
        try:
            SHAPES.shape_of(fact.kind, fact.body)
        except UnknownShape as unknown:
            raise NewerShape(fact, unknown) from unknown
        except msgspec.DecodeError:
            return  # of no shape at all: it is parked, as it was live


class UnknownFacts:
    """Facts of unknown kinds that were passed over since this began to count, by kind; ``since``: the first of them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.kinds: dict[str, int] = {}
        self.since: datetime | None = None

    def see(self, facts: Iterable[Fact]) -> None:
        """Count those of unknown kinds."""
        for fact in facts:
            if fact.kind not in KNOWN_KINDS:
                kind = fact.kind if fact.kind in self.kinds or len(self.kinds) < MOST else OTHERS
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                self.since = self.since or fact.recorded_at
                self._metrics.facts_unknown.labels(kind=kind).inc()

    def told(self) -> dict[str, object]:
        """As in ``/stats``."""
        since = self.since and self.since.isoformat()
        return {"facts": sum(self.kinds.values()), "since": since, "kinds": dict(self.kinds)}
