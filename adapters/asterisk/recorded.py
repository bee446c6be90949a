"""Recorded events (CONTRACT 7): JSON Lines of ``{"t": ISO time or null, "event": type, "body": {…}}``."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import msgspec

HOST_TIME: Final = timezone(timedelta(hours=3))
"""Hosts write local time, UTC+3, without a zone mark (events.md 2)."""


class RecordedError(Exception):
    """A file of recorded events that cannot be read; ``line`` counts from 1, None is the file as a whole."""

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        super().__init__(f"{path}{'' if line is None else f', line {line}'}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


class Recorded(msgspec.Struct, frozen=True):
    """One recorded event. ``t``: when the host had sent it; ``raw``: the body as it stands in the file."""

    line: int
    t: datetime | None
    event: str
    body: dict[str, Any]
    raw: bytes


class _Line(msgspec.Struct):
    event: str
    body: msgspec.Raw
    t: str | None = None


_lines: Final = msgspec.json.Decoder(_Line)
_bodies: Final = msgspec.json.Decoder(dict[str, Any])


def read_recorded(path: Path) -> Iterator[Recorded]:
    """The events of a file in its order; blank lines are skipped.

    Raises RecordedError, when it comes to the line that is wrong.
    """
    try:
        with path.open("rb") as file:
            yield from _read(path, file)
    except OSError as error:
        raise RecordedError(path, None, error.strerror or type(error).__name__) from error


def _read(path: Path, lines: Iterable[bytes]) -> Iterator[Recorded]:
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            parsed = _lines.decode(text)
            body = _bodies.decode(parsed.body)
            sent_at = _time(parsed.t)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordedError(path, number, _in_words(error)) from error
        except ValueError as error:
            raise RecordedError(path, number, f"t is no ISO time: {parsed.t!r}") from error
        if not parsed.event:
            raise RecordedError(path, number, "event is empty")
        yield Recorded(number, sent_at, parsed.event, body, bytes(parsed.body))


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=HOST_TIME)


def _in_words(error: Exception) -> str:
    match error:
        case msgspec.ValidationError():
            return f'not {{"t": …, "event": "…", "body": {{…}}}}: {error}'
        case UnicodeDecodeError():
            return "not UTF-8"
        case _:
            return f"not JSON: {error}"
