"""Metrics: the instruments of the house, in a registry of their own, in the text form that Prometheus reads.

    metrics = Metrics()
    metrics.events_received.labels(enterprise="0367", kind="dial").inc()
    body, content_type = metrics.render()

Labels are bounded: enterprises are hundreds, kinds and methods a handful. No label holds a phone number, a
UniqueId or anything else that a sender can make up.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

# A commit takes milliseconds, a host gives up after 3 s (events.md 1), a fold takes microseconds.
_COMMIT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FOLD_SECONDS: Final = (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0)
_TELEGRAM_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_EVENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Every instrument, each with its labels; names begin with ``callfold_``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._declare_ingest()
        self._declare_actors()
        self._declare_projections()
        self._declare_telegram()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> tuple[bytes, str]:
        """What /metrics answers: body and content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def _declare_ingest(self) -> None:
        self.events_received = self._counter(
            "events_received", "Events of hosts that were stored", "enterprise", "kind"
        )
        self.answers = self._counter("answers", "Answers to hosts", "status")
        self.append_batch_events = self._histogram(
            "append_batch_events", "Facts committed together", _BATCH_EVENTS
        )
        self.append_seconds = self._histogram(
            "append_seconds", "From the begin of a commit to its end", _COMMIT_SECONDS
        )
        self.facts_pending = self._gauge("facts_pending", "Facts that wait for their commit")
        self.leader = self._gauge("leader", "1 while this instance is the one that writes, else 0")

    def _declare_actors(self) -> None:
        self.actors_alive = self._gauge("actors_alive", "Legs in memory")
        self.mailbox_overflows = self._counter(
            "mailbox_overflows", "Facts that found a full mailbox and were read again from the store"
        )
        self.actors_failed = self._counter("actors_failed", "Calls that could not be told from their legs")
        self.facts_parked = self._gauge("facts_parked", "Facts set aside because their fold failed")
        self.facts_unknown = self._counter(
            "facts_unknown", "Facts of kinds that this version does not know, passed over", "kind"
        )
        self.fold_seconds = self._histogram("fold_seconds", "One fact folded into its call", _FOLD_SECONDS)

    def _declare_projections(self) -> None:
        self.projection_lag_events = self._gauge(
            "projection_lag_events", "Facts a projection has not yet read", "projection"
        )
        self.projection_lag_seconds = self._gauge(
            "projection_lag_seconds", "Age of the oldest fact a projection has not yet read", "projection"
        )

        self.horizon_behind = self._gauge(
            "horizon_behind_seconds", "Age of the oldest fact that readers may not yet have"
        )
        self.oldest_transaction = self._gauge(
            "oldest_transaction_seconds",
            "Age of the oldest transaction that readers wait for; 0 below a minute",
        )

    def _declare_telegram(self) -> None:
        self.telegram_requests = self._counter(
            "telegram_requests", "Requests to the Bot API", "method", "outcome"
        )
        self.telegram_seconds = self._histogram(
            "telegram_seconds", "One request to the Bot API", _TELEGRAM_SECONDS, "method"
        )
        self.telegram_pending = self._gauge(
            "telegram_pending", "Cards that differ from what their chat shows"
        )

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"callfold_{name}", says, labels, registry=self._registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"callfold_{name}", says, labels, registry=self._registry)

    def _histogram(self, name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"callfold_{name}", says, labels, buckets=buckets, registry=self._registry)
