"""Metrics: what is counted comes out in the form that Prometheus reads, and services do not share counts."""

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from otel.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_counted_things_are_rendered_with_their_labels() -> None:
    metrics = Metrics()
    metrics.events_received.labels(enterprise="0367", kind="dial").inc()
    metrics.answers.labels(status="503").inc(2)
    metrics.append_batch_events.observe(3)
    metrics.append_seconds.observe(0.004)
    metrics.projection_lag_events.labels(projection="calls").set(17)
    metrics.telegram_requests.labels(method="sendMessage", outcome="ok").inc()
    metrics.telegram_seconds.labels(method="sendMessage").observe(0.2)
    got = samples(metrics)
    assert got["callfold_events_received_total", (("enterprise", "0367"), ("kind", "dial"))] == 1
    assert got["callfold_answers_total", (("status", "503"),)] == 2
    assert got["callfold_append_batch_events_bucket", (("le", "4.0"),)] == 1
    assert got["callfold_append_seconds_sum", ()] == 0.004
    assert got["callfold_projection_lag_events", (("projection", "calls"),)] == 17
    assert got["callfold_telegram_requests_total", (("method", "sendMessage"), ("outcome", "ok"))] == 1


def test_what_has_no_labels_is_there_before_it_is_first_counted() -> None:
    got = samples(Metrics())
    for name in (
        "callfold_facts_pending",
        "callfold_leader",
        "callfold_actors_alive",
        "callfold_mailbox_overflows_total",
        "callfold_facts_parked",
        "callfold_fold_seconds_count",
        "callfold_telegram_pending",
    ):
        assert (name, ()) in got


def test_two_services_in_one_process_count_apart_and_touch_no_global() -> None:
    known = set(REGISTRY._names_to_collectors)
    one, other = Metrics(), Metrics()
    one.mailbox_overflows.inc()
    assert samples(one)["callfold_mailbox_overflows_total", ()] == 1
    assert samples(other)["callfold_mailbox_overflows_total", ()] == 0
    assert set(REGISTRY._names_to_collectors) == known
