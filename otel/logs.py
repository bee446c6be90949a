"""Logs: structlog for our own lines and for those of libraries, without secrets.

log = structlog.get_logger()
log.warning("fact parked", enterprise="0367", unique_id="1757840723.6", reason=str(error))
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.types import Processor

from otel.redaction import redact, redact_text

# Lowest levels. httpx and httpcore name every address they ask, and the Bot API's holds the bot token. The
# exporter of spans warns at each attempt while nobody listens; its error at the end of them is enough.
_QUIET: Final = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "opentelemetry.exporter": logging.ERROR,
}
# These set up handlers of their own when they are let; their lines go the way of all others.
_GUESTS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar")


class _HouseHandler(logging.StreamHandler[TextIO]):
    """The handler of ``configure_logs``: known by its type, so that a second call replaces the first."""


def configure_logs(
    format: Literal["auto", "text", "json"],  # noqa: A002 - the setting's own name
    level: str,
    stream: TextIO | None = None,
) -> None:
    """Sends every log line to ``stream`` (default: standard error) as text or as one JSON object.

    ``auto`` is text where the stream is a terminal. ``level``: the lowest that is written, by its name in
    logging, in any case. Times are ISO 8601 in UTC. May be called again.
    """
    stream = sys.stderr if stream is None else stream
    as_text = format == "text" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # the loggers of modules are older than the settings
    )
    handler = _HouseHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _render_exception,
                _redact_fields,
                _text_renderer(colors=stream.isatty()) if as_text else _json_renderer(),
                _redact_line,
            ],
        )
    )
    _install(handler, number)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _HouseHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, lowest))
    for name in _GUESTS:
        guest = logging.getLogger(name)
        guest.handlers.clear()
        guest.propagate = True
    logging.captureWarnings(capture=True)


def _text_renderer(*, colors: bool) -> Processor:
    # the renderer of the exception is ours: structlog's pretty one prints local variables, secrets among them
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(ensure_ascii=False)


_render_exception: Final = structlog.processors.ExceptionRenderer()


def _redact_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides by name, while names and values are still apart."""
    cleaned: MutableMapping[str, Any] = redact(dict(event))
    return cleaned


def _redact_line(_logger: Any, _method: str, line: Any) -> str:
    """Hides by shape, in the finished line: what an object's own text may have brought in."""
    return redact_text(str(line))
