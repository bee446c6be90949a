"""Tracing: one trace a call, links where legs join, nothing without an endpoint, no secret anywhere."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel import otlp
from otel.otlp import RecordingTracing, recording_tracing
from otel.tracing import (
    APPEND,
    CALL_ID,
    ENTERPRISE,
    FOLD,
    POSITION,
    REQUEST,
    TELEGRAM,
    SpanRef,
    Tracing,
    TracingError,
    set_up_tracing,
    trace_id_of,
)

BOT_TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
TOKEN = "375290000000"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CALL = {"enterprise": "0367", "call_id": "1757840723.6"}


class Recorder:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing: RecordingTracing = recording_tracing(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_without_an_endpoint_every_operation_is_the_same_empty_one() -> None:
    tracing = set_up_tracing({"OTEL_SERVICE_NAME": "x"})
    assert not tracing.enabled
    with tracing.span(REQUEST, **CALL) as one, tracing.span(FOLD, **CALL, parent=one.ref) as other:
        assert one is other
        assert one.ref is None
        one.set(POSITION, 1)
        one.link(one.ref)
        one.error(ValueError("x"))


def test_an_empty_operation_costs_less_than_a_microsecond() -> None:
    tracing = set_up_tracing({})

    def hundred() -> float:
        began = time.perf_counter()
        for _ in range(100):
            with tracing.span(APPEND, enterprise="0367", call_id="1757840723.6", parent=None):
                pass
        return (time.perf_counter() - began) / 100

    assert min(hundred() for _ in range(200)) < 1e-6


@pytest.mark.parametrize(
    "env",
    [
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {ENDPOINT: ""},
    ],
)
def test_the_standard_variables_switch_it_off(env: dict[str, str]) -> None:
    assert not set_up_tracing(env).enabled


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({ENDPOINT: "127.0.0.1:4318"}, ENDPOINT),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://h"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({ENDPOINT: "http://h", "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({ENDPOINT: "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({ENDPOINT: "http://h", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_*"),
    ],
)
def test_a_variable_that_cannot_be_obeyed_is_named(env: dict[str, str], variable: str) -> None:
    with pytest.raises(TracingError) as caught:
        set_up_tracing(env)
    assert caught.value.variable == variable
    assert "\n" not in str(caught.value)


def test_the_trace_of_a_call_is_the_same_after_a_restart() -> None:
    before, after = Recorder(), Recorder()
    with before.tracing.span(REQUEST, **CALL) as span:
        kept = span.ref.traceparent
    with after.tracing.span(FOLD, **CALL, parent=SpanRef.parse(kept)):
        pass
    request, fold = before.spans[REQUEST], after.spans[FOLD]
    assert fold.context.trace_id == request.context.trace_id == trace_id_of("0367", "1757840723.6")
    assert fold.parent.span_id == request.context.span_id


def test_a_span_without_a_parent_is_a_root_and_points_at_nothing_that_is_not_there(
    recorder: Recorder,
) -> None:
    with recorder.tracing.span(REQUEST, **CALL):
        pass
    root = recorder.spans[REQUEST]
    assert root.parent is None
    assert root.context.trace_id == trace_id_of(**CALL)


def test_spans_of_two_tasks_at_once_stay_in_their_traces(recorder: Recorder) -> None:
    with (
        recorder.tracing.span(REQUEST, enterprise="0367", call_id="1.1") as one,
        recorder.tracing.span(FOLD, enterprise="0368", call_id="1.1") as other,
    ):
        assert one.ref.trace_id == trace_id_of("0367", "1.1")
        assert other.ref.trace_id == trace_id_of("0368", "1.1")
    assert recorder.spans[FOLD].parent is None


def test_a_parent_in_another_trace_becomes_a_link(recorder: Recorder) -> None:
    with recorder.tracing.span(REQUEST, enterprise="0367", call_id="2.2") as request:
        pass
    with recorder.tracing.span(FOLD, enterprise="0367", call_id="1.1", parent=request.ref):
        pass
    fold = recorder.spans[FOLD]
    assert fold.parent is None
    assert fold.context.trace_id == trace_id_of("0367", "1.1")
    (link,) = fold.links
    assert (link.context.trace_id, link.context.span_id) == (request.ref.trace_id, request.ref.span_id)


def test_links_may_be_given_at_the_beginning_and_later(recorder: Recorder) -> None:
    first, second = SpanRef(1, 1), SpanRef(2, 2)
    with recorder.tracing.span(APPEND, **CALL, links=[first]) as span:
        span.link(second)
        span.link(None)
    assert [link.context.trace_id for link in recorder.spans[APPEND].links] == [1, 2]


def test_call_and_enterprise_are_on_every_span(recorder: Recorder) -> None:
    for name in (REQUEST, APPEND, FOLD, TELEGRAM):
        with recorder.tracing.span(name, **CALL, attributes={POSITION: 7}):
            pass
    for span in recorder.spans.values():
        assert span.attributes == {CALL_ID: "1757840723.6", ENTERPRISE: "0367", POSITION: 7}
    assert recorder.spans[REQUEST].kind is SpanKind.SERVER
    assert recorder.spans[TELEGRAM].kind is SpanKind.CLIENT
    assert recorder.spans[FOLD].kind is SpanKind.INTERNAL


def test_an_exception_marks_its_span_and_goes_on(recorder: Recorder) -> None:
    with pytest.raises(ValueError), recorder.tracing.span(FOLD, **CALL):
        raise ValueError("no such leg")
    span = recorder.spans[FOLD]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: no such leg"
    assert span.events[0].attributes["exception.type"] == "ValueError"


def test_a_cancelled_span_is_ended_and_no_error(recorder: Recorder) -> None:
    def cancelled() -> None:
        with recorder.tracing.span(TELEGRAM, **CALL):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        cancelled()
    span = recorder.spans[TELEGRAM]
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["callfold.cancelled"] is True


def test_no_secret_in_attributes_and_errors(recorder: Recorder) -> None:
    attributes = {
        "Token": TOKEN,
        "url": f"http://h/bot{BOT_TOKEN}/getMe",
        "body": [f'{{"Token": "{TOKEN}"}}'],
    }
    with recorder.tracing.span(TELEGRAM, **CALL, attributes=attributes) as span:
        span.set("bot_token", "x1y2z3")
        span.error(RuntimeError(f"POST http://h/bot{BOT_TOKEN}/getMe Token: {TOKEN}"))
    text = recorder.spans[TELEGRAM].to_json()
    for secret in (TOKEN, BOT_TOKEN, "x1y2z3"):
        assert secret not in text


@given(st.text(max_size=20), st.text(max_size=20))
def test_trace_ids_are_valid_and_keep_enterprises_apart(enterprise: str, call_id: str) -> None:
    assert 0 < trace_id_of(enterprise, call_id) < 2**128
    assert trace_id_of(enterprise, call_id) != trace_id_of(enterprise + "0", call_id)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_reference_survives_its_text(trace_id: int, span_id: int, sampled: bool) -> None:
    ref = SpanRef(trace_id, span_id, sampled)
    assert SpanRef.parse(ref.traceparent) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"ff-{'1' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'1' * 16}-01-more",
        f"00-{'G' * 32}-{'1' * 16}-01",
        f"00-{'1' * 30}-{'1' * 16}-01",
    ],
)
def test_a_text_that_is_no_reference_is_none(text: str) -> None:
    assert SpanRef.parse(text) is None


def test_a_reference_of_a_later_version_is_understood() -> None:
    assert SpanRef.parse(f"01-{'1' * 32}-{'1' * 16}-03-more") == SpanRef(
        int("1" * 32, 16), int("1" * 16, 16), True
    )


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP as a collector does; ``status`` is what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.status = 200
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def service_names(self) -> set[str]:
        return {
            attribute.value.string_value
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            self.server.bodies.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing on standard error."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def exporting(collector: Collector, **env: str) -> Iterator[Tracing]:
    with set_up_tracing({ENDPOINT: collector.url, **env}) as tracing:
        assert tracing.enabled
        yield tracing


def one_call(tracing: Tracing, call_id: str = "1757840723.6") -> None:
    with tracing.span(REQUEST, enterprise="0367", call_id=call_id, attributes={"Token": TOKEN}) as request:
        pass
    with tracing.span(FOLD, enterprise="0367", call_id=call_id, parent=request.ref) as fold:
        pass
    where = f"http://h/bot{BOT_TOKEN}/sendMessage"
    with tracing.span(TELEGRAM, enterprise="0367", call_id=call_id, parent=fold.ref) as telegram:
        telegram.set("url", where)
        telegram.error(RuntimeError(f'{where} {{"Token": "{TOKEN}"}}'))


async def test_a_collector_receives_one_trace_a_call_and_no_secret(collector: Collector) -> None:
    async with set_up_tracing({ENDPOINT: collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=k1"}) as tracing:
        one_call(tracing)
    request, fold, telegram = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert {span.trace_id for span in collector.spans} == {trace_id_of(**CALL).to_bytes(16, "big")}
    assert request.parent_span_id == b""
    assert fold.parent_span_id == request.span_id
    assert telegram.parent_span_id == fold.span_id
    assert collector.service_names == {"callfold"}
    assert collector.headers[0]["x-key"] == "k1"
    for body in collector.bodies:
        for secret in (TOKEN, BOT_TOKEN):
            assert secret.encode() not in body


def test_the_operator_may_name_the_service(collector: Collector) -> None:
    with exporting(collector, OTEL_SERVICE_NAME="calls-minsk") as tracing:
        one_call(tracing)
    assert collector.service_names == {"calls-minsk"}


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_sampling_keeps_a_trace_whole_or_not_at_all(collector: Collector, sampler: str) -> None:
    with exporting(collector, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.5") as tracing:
        for number in range(200):
            one_call(tracing, f"1757840723.{number}")
    traces = [span.trace_id for span in collector.spans]
    assert 40 < len(set(traces)) < 160
    assert {traces.count(trace_id) for trace_id in traces} == {3}


def test_a_collector_that_fails_disturbs_nobody(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    with caplog.at_level(logging.CRITICAL), exporting(collector) as tracing:
        one_call(tracing)
    assert collector.bodies


async def test_a_collector_that_does_not_answer_holds_up_the_end_no_longer_than_its_limit(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 503  # asks to be tried again, for ten seconds
    monkeypatch.setattr(otlp, "SHUTDOWN_SECONDS", 0.2)
    began = time.monotonic()
    with caplog.at_level(logging.CRITICAL):
        async with asyncio.timeout(3):
            async with set_up_tracing(
                {ENDPOINT: collector.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
            ) as tracing:
                one_call(tracing)
    assert time.monotonic() - began < 2


def test_setting_up_leaves_the_environment_as_it_was(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of-the-process")
    with exporting(collector, OTEL_BSP_SCHEDULE_DELAY="100") as tracing:
        one_call(tracing)
    assert collector.service_names == {"callfold"}
    assert {name: value for name, value in os.environ.items() if name.startswith("OTEL_")} == {
        "OTEL_SERVICE_NAME": "of-the-process"
    }
