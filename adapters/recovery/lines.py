"""One line of a host's backlog: ``{"t": …, "event": …, "body": {…}}``, or the body itself with ``event`` beside.

``t``: ISO time of the host's log, null or missing where none is known; without a zone it is the enterprise's.
``answered`` true: the host was answered 200 for it; it is there to be recognised, not to be fed.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from calls.events import Event, EventError, identity, read_event
from calls.facts import EVENT_KINDS, event_stream

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line, as of a body that comes live."""
BLANK: Final = b" \t\r"
BOM: Final = b"\xef\xbb\xbf"


class BadLine(Exception):
    """A line that is no event: ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Line(msgspec.Struct, frozen=True):
    """What one line says. ``told``: the time of the log, as it stands there; None where it tells none."""

    kind: str
    body: bytes
    event: Event
    stream: str
    told: datetime | None
    answered: bool


class _Wire(msgspec.Struct):
    event: str = ""
    t: Any = None
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    answered: bool = False


_wire: Final = msgspec.json.Decoder(_Wire)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BESIDE: Final = ("event", "t", "answered")


def read_line(raw: bytes) -> Line:
    """Read one line. Raises BadLine."""
    try:
        wire = _wire.decode(raw)
        body = bytes(wire.body) if isinstance(wire.body, msgspec.Raw) else _bare(raw)
    except msgspec.ValidationError as error:
        raise BadLine(f'not {{"t": …, "event": "…", "body": {{…}}}}: {error}') from None
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    except RecursionError:
        raise BadLine("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadLine(f"not JSON: {error}") from None
    if wire.event not in EVENT_KINDS:
        raise BadLine(f"event is {_short(wire.event)}, one of {', '.join(EVENT_KINDS)} is allowed")
    try:
        event = read_event(body)
        stream = event_stream(wire.event, *identity(event))
    except EventError as error:
        raise BadLine(error.reason) from None
    return Line(wire.event, body, event, stream, _time(wire.t), wire.answered)


def _bare(raw: bytes) -> bytes:
    """The body in a line that is itself the body: everything but what stands beside it."""
    fields = _fields.decode(raw)
    for name in _BESIDE:
        fields.pop(name, None)
    return msgspec.json.encode(fields)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…") if text else "missing"


def _time(told: Any) -> datetime | None:
    if not isinstance(told, str):
        return None
    try:
        return datetime.fromisoformat(told.strip())
    except ValueError:
        return None


class Splitter:
    """Cuts pieces of a stream into lines; never holds more than one line that is not complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._skipping = False
        self._number = 0

    def feed(self, piece: bytes) -> list[tuple[int, bytes | None]]:
        """(number, line) of the lines that are complete now, blank ones left out; None for one that is too long."""
        *whole, rest = piece.split(b"\n")
        found = [line for part in whole if (line := self._line(part)) is not None]
        self._keep(rest)
        return found

    def end(self) -> list[tuple[int, bytes | None]]:
        """The last line, if nothing ended it."""
        last = self._line(b"") if self._rest or self._skipping else None
        return [last] if last is not None else []

    def _line(self, part: bytes) -> tuple[int, bytes | None] | None:
        self._keep(part)
        line, skipped = bytes(self._rest), self._skipping
        self._rest.clear()
        self._skipping = False
        self._number += 1
        if skipped:
            return self._number, None
        if self._number == 1:
            line = line.removeprefix(BOM)
        line = line.strip(BLANK)
        return (self._number, line) if line else None

    def _keep(self, part: bytes) -> None:
        if not self._skipping:
            self._rest += part
            if len(self._rest) > LONGEST_LINE:
                self._skipping = True
                self._rest.clear()
