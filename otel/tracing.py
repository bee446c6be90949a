"""Tracing: one trace for what happens to a call, found by ``callfold.call_id``, exported by OTLP over HTTP.

The id of a trace follows from the enterprise and the UniqueId that leads when a span begins, so the spans of
a call meet in one trace whatever process makes them and whenever. Without an endpoint nothing is recorded.

    with tracing.span(APPEND, enterprise="0367", call_id="1757840723.6", parent=request.ref) as span:
        span.set(POSITION, 17)
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from hashlib import blake2b
from types import MappingProxyType, TracebackType
from typing import Final, Self

import msgspec

# Names of spans
REQUEST: Final = "callfold.request"
APPEND: Final = "callfold.append"
FOLD: Final = "callfold.fold"
JOIN: Final = "callfold.join"
"""A leg came to another call: in that call's trace, linked to the leg's own until then."""
TELEGRAM: Final = "callfold.telegram"

# Names of attributes
CALL_ID: Final = "callfold.call_id"
ENTERPRISE: Final = "callfold.enterprise"
UNIQUE_ID: Final = "callfold.unique_id"
POSITION: Final = "callfold.position"
KIND: Final = "callfold.kind"
STATUS: Final = "callfold.status"
BATCH: Final = "callfold.batch"
REQUEST_ID: Final = "callfold.request_id"
CHAT_ID: Final = "callfold.chat_id"
METHOD: Final = "callfold.telegram_method"
OUTCOME: Final = "callfold.outcome"

Value = str | bool | int | float | Sequence[str]
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_NONE: Final[Mapping[str, Value]] = MappingProxyType({})


class TracingError(Exception):
    """An ``OTEL_*`` variable that cannot be used; the text is one line and holds no value of a secret."""

    def __init__(self, variable: str, problem: str, allowed: str) -> None:
        super().__init__(f"{variable}: {problem}; allowed: {allowed}")
        self.variable = variable
        self.problem = problem
        self.allowed = allowed


class SpanRef(msgspec.Struct, frozen=True, gc=False):
    """Where a span is: enough to be a parent or a link, here or after a restart."""

    trace_id: int
    span_id: int
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The W3C form, to be kept in the meta of a fact."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    @classmethod
    def parse(cls, traceparent: str) -> Self | None:
        """The reverse of ``traceparent``; None for what is none (W3C Trace Context: ignore it and go on)."""
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
            return None
        trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
        return cls(trace_id, span_id, bool(int(found["flags"], 16) & 1)) if trace_id and span_id else None


def trace_id_of(enterprise: str, call_id: str) -> int:
    """Trace id of a call: 128 bits of blake2b over enterprise and leading UniqueId, never 0."""
    digest = blake2b(f"{enterprise}\0{call_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest, "big") or 1


class Span(AbstractContextManager["Span", None]):
    """A span under way: leaving the ``with`` ends it, an exception marks it. This one records nothing."""

    __slots__ = ()

    @property
    def ref(self) -> SpanRef | None:
        """Where it is; None while tracing is off."""
        return None

    def set(self, key: str, value: Value) -> None:
        """Adds an attribute; the value under a secret's name is hidden, as are secrets within texts."""

    def link(self, to: SpanRef | None) -> None:
        """Points at a span of another trace (legs that join)."""

    def error(self, error: BaseException) -> None:
        """Marks the span as failed, with the error's type and text."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


_NOTHING: Final = Span()


class Tracing(AbstractContextManager["Tracing", None], AbstractAsyncContextManager["Tracing", None]):
    """Makes spans. This one is off: every operation is the same empty one.

    Leaving the ``with`` (or ``async with``) sends what is left, within 3 s.
    """

    enabled: bool = False

    def span(
        self,
        name: str,
        *,
        enterprise: str,
        call_id: str,
        parent: SpanRef | None = None,
        links: Sequence[SpanRef] = (),
        attributes: Mapping[str, Value] = _NONE,
    ) -> Span:
        """Begins a span in the trace of the call ``call_id`` (the UniqueId that leads now) of an enterprise.

        Without a parent it is a root of that trace. A parent in another trace (its leg has been joined to
        this call since) becomes a link.
        """
        del name, enterprise, call_id, parent, links, attributes
        return _NOTHING

    def close(self) -> None:
        """Sends what is left, bounded; blocks the caller's thread meanwhile."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def set_up_tracing(otel_env: Mapping[str, str]) -> Tracing:
    """Tracing as the standard ``OTEL_*`` variables say; off without an endpoint and where they disable it.

    Raises TracingError for a variable that cannot be obeyed.
    """
    if not _wanted(otel_env):
        return Tracing()
    # Loading the exporter takes a third of a second, which only those should pay who export.
    from otel.otlp import otlp_tracing  # noqa: PLC0415

    return otlp_tracing(otel_env)


def _wanted(env: Mapping[str, str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return False
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if not env.get(variable):
            continue
        if not env[variable].startswith(("http://", "https://")):
            raise TracingError(variable, "no address of HTTP", "http://… or https://…")
        if exporter != "otlp":
            raise TracingError("OTEL_TRACES_EXPORTER", f"{exporter!r} is unknown", "otlp, none")
        _check_protocol(env)
        return True
    return False


def _check_protocol(env: Mapping[str, str]) -> None:
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := env.get(variable):
            if protocol != "http/protobuf":
                raise TracingError(variable, f"{protocol!r} is unknown", "http/protobuf")
            return
