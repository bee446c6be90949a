"""Where the bot token of an enterprise comes from, and the token itself when it is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

PREVIEW: Final = "preview"


class BotTokenMissingError(Exception):
    """The place that should hold a bot token holds none: variable or path, and why."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"no bot token in {place}: {reason}")
        self.place = place
        self.reason = reason


class BotSource(msgspec.Struct, frozen=True):
    """``literal``: value is the token; ``preview``: no value; ``env``: name of a variable; ``file``: a path.

    What is printed of it never holds the token.
    """

    kind: Literal["literal", "preview", "env", "file"]
    value: str = ""

    def __repr__(self) -> str:
        shown = "***" if self.kind == "literal" else self.value
        return f"BotSource({self.kind!r}, {shown!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("value", "***" if self.kind == "literal" else self.value)]

    def read(self, environ: Mapping[str, str]) -> str:
        """The token, or the word ``preview``. Raises BotTokenMissingError where its place gives none."""
        if self.kind == "preview":
            return PREVIEW
        if self.kind == "literal":
            return self.value
        if self.kind == "env":
            token, reason = environ.get(self.value, ""), "the variable is not set"
        else:
            token, reason = _read(Path(self.value)), "the file is empty"
        if not token.strip():
            raise BotTokenMissingError(self.value, reason)
        return token.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BotTokenMissingError(str(path), error.strerror or "cannot be read") from error
    except UnicodeDecodeError:
        raise BotTokenMissingError(str(path), "is no text") from None
