"""Spans recorded with opentelemetry-sdk and exported by OTLP over HTTP (loaded only with an endpoint)."""

import asyncio
import os
import traceback as tracebacks
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from types import TracebackType
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import Span as SdkSpan

from otel.redaction import HIDDEN, redact_text, secret_name
from otel.tracing import (
    CALL_ID,
    ENTERPRISE,
    REQUEST,
    TELEGRAM,
    Span,
    SpanRef,
    Tracing,
    TracingError,
    Value,
    trace_id_of,
)

SHUTDOWN_SECONDS: Final = 3.0

_KINDS: Final[Mapping[str, SpanKind]] = {REQUEST: SpanKind.SERVER, TELEGRAM: SpanKind.CLIENT}
_NO_PARENT: Final = Context()
_NO_ATTRIBUTES: Final[Mapping[str, Value]] = {}
_next_trace_id: ContextVar[int] = ContextVar("next_trace_id")

_log = structlog.get_logger()


class _CallIds(RandomIdGenerator):
    """Gives a root span the trace id of its call, so that it needs no invented parent to be in that trace."""

    def generate_trace_id(self) -> int:
        return _next_trace_id.get()

    def is_trace_id_random(self) -> bool:
        return False


class RecordedSpan(Span):
    """A span that is recorded, if its trace is sampled."""

    __slots__ = ("_ref", "_span")

    def __init__(self, span: SdkSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self._ref = SpanRef(context.trace_id, context.span_id, context.trace_flags.sampled)

    @property
    def ref(self) -> SpanRef:
        return self._ref

    def set(self, key: str, value: Value) -> None:
        self._span.set_attribute(key, _clean(key, value))

    def link(self, to: SpanRef | None) -> None:
        if to is not None:
            self._span.add_link(_context_of(to))

    def error(self, error: BaseException) -> None:
        text = redact_text(str(error))
        stack = redact_text("".join(tracebacks.format_exception(error)))
        kind = type(error).__qualname__
        self._span.set_status(Status(StatusCode.ERROR, f"{kind}: {text}"))
        self._span.add_event(
            "exception", {"exception.type": kind, "exception.message": text, "exception.stacktrace": stack}
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._span.set_attribute("callfold.cancelled", True)
        elif error is not None:
            self.error(error)
        self._span.end()


class RecordingTracing(Tracing):
    """Tracing by the SDK."""

    enabled = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("callfold")
        self._closed = False

    def span(
        self,
        name: str,
        *,
        enterprise: str,
        call_id: str,
        parent: SpanRef | None = None,
        links: Sequence[SpanRef] = (),
        attributes: Mapping[str, Value] = _NO_ATTRIBUTES,
    ) -> Span:
        trace_id = trace_id_of(enterprise, call_id)
        context = _NO_PARENT
        pointed = [trace.Link(_context_of(ref)) for ref in links]
        if parent is not None and parent.trace_id == trace_id:
            context = trace.set_span_in_context(NonRecordingSpan(_context_of(parent)), _NO_PARENT)
        elif parent is not None:
            pointed.append(trace.Link(_context_of(parent)))
        cleaned = {key: _clean(key, value) for key, value in attributes.items()}
        cleaned[CALL_ID] = call_id
        cleaned[ENTERPRISE] = enterprise
        reset = _next_trace_id.set(trace_id)
        try:
            kind = _KINDS.get(name, SpanKind.INTERNAL)
            return RecordedSpan(self._tracer.start_span(name, context, kind, cleaned, pointed))
        finally:
            _next_trace_id.reset(reset)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # The SDK's own limit is 30 s and cannot be set; a thread of our own can be left behind.
        thread = Thread(target=self._provider.shutdown, name="callfold-tracing-close", daemon=True)
        thread.start()
        thread.join(SHUTDOWN_SECONDS)
        if thread.is_alive():
            _log.warning("last spans not sent", seconds=SHUTDOWN_SECONDS)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


def otlp_tracing(otel_env: Mapping[str, str]) -> RecordingTracing:
    """Tracing with the OTLP/HTTP exporter, a batch processor, and the sampler the variables name.

    Raises TracingError where the SDK cannot use a variable.
    """
    with _environment(otel_env):
        try:
            return recording_tracing(BatchSpanProcessor(OTLPSpanExporter()))
        except (ValueError, OSError) as error:
            # which variable it is the SDK says only in the text of some errors
            raise TracingError(
                "OTEL_*", redact_text(str(error)), "what the OpenTelemetry SDK documents"
            ) from error


def recording_tracing(processor: SpanProcessor) -> RecordingTracing:
    """Tracing into a span processor; sampler, limits and resource from the environment."""
    named = Resource.create().merge(Resource({"service.name": "callfold"}))
    provider = TracerProvider(
        resource=named.merge(OTELResourceDetector().detect()),  # what the operator says wins over our name
        id_generator=_CallIds(),
        shutdown_on_exit=False,  # closed by its owner, bounded
    )
    provider.add_span_processor(processor)
    return RecordingTracing(provider)


@contextmanager
def _environment(otel_env: Mapping[str, str]) -> Iterator[None]:
    """For a moment the process has exactly these ``OTEL_*`` variables.

    The SDK reads a few dozen of them from nowhere else than ``os.environ``, when its parts are built; ours
    may come from ``callfold.toml``.
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    for name in kept:
        del os.environ[name]
    os.environ.update(otel_env)
    try:
        yield
    finally:
        for name in otel_env:
            del os.environ[name]
        os.environ.update(kept)


def _context_of(ref: SpanRef) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if ref.sampled else TraceFlags.DEFAULT)
    return SpanContext(ref.trace_id, ref.span_id, is_remote=True, trace_flags=flags)


def _clean(key: str, value: Value) -> Value:
    if secret_name(key):
        return HIDDEN
    match value:
        case str():
            return redact_text(value)
        case bool() | int() | float():
            return value
        case _:
            return [redact_text(item) for item in value]
