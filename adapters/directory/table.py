"""Reading the tables of a TOML file key by key, and collecting all that is wrong with them."""

import difflib
import json
from typing import Any, Final, TypeVar

import msgspec

from adapters.directory.rules import NotAllowed, Rule
from adapters.directory.toml_lines import TomlLines, TomlPath

T = TypeVar("T")

_LONGEST_SHOWN: Final = 60


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: ``directory.toml:14: enterprise.manager.extension: "15a" is not allowed…``."""

    file: str
    line: int | None
    key: str
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(filter(None, (place, self.key, self.reason)))


class Findings:
    """What is wrong with one file so far."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._lines: TomlLines | None = None
        self._found: list[Finding] = []

    def line(self, path: TomlPath) -> int:
        """The line on which this path stands."""
        # Most files are right and need no lines.
        self._lines = self._lines or TomlLines(self._text)
        return self._lines.line(path)

    def add(self, path: TomlPath, reason: str) -> None:
        """Note what is wrong with the key or table of this path."""
        key = ".".join(name for name in path if isinstance(name, str))
        self._found.append(Finding(self._file, self.line(path), key, reason))

    def sorted(self) -> tuple[Finding, ...]:
        """All findings in the order of their lines."""
        return tuple(sorted(self._found, key=lambda finding: finding.line or 0))


class Table:
    """One table; keys are asked for, and ``close`` refuses those that nobody asked for."""

    def __init__(self, entries: dict[str, Any], path: TomlPath, findings: Findings) -> None:
        self._entries = entries
        self._path = path
        self._findings = findings
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def take(self, key: str, rule: Rule[T], default: T, *, required: bool = False) -> T:
        """The value of a key; the default where it is absent, or wrong, which is then a finding."""
        self._known.append(key)
        if key not in self._entries:
            if required:
                self.refuse(key, f"is missing; {rule.allowed}")
            return default
        value = self._entries[key]
        why = ""
        try:
            read = rule.read(value)
        except NotAllowed as error:
            read, why = None, f": {error}"
        if read is None:
            shown = "this value" if rule.secret else _shown(value)
            self.refuse(key, f"{shown} is not allowed{why}; {rule.allowed}")
            return default
        return read

    def tables(self, key: str) -> list["Table"]:
        """The tables ``[[… .key]]`` in this one, in their order."""
        self._known.append(key)
        found = self._entries.get(key, [])
        path = (*self._path, key)
        if not isinstance(found, list) or not all(isinstance(entries, dict) for entries in found):
            name = ".".join(part for part in path if isinstance(part, str))
            self.refuse(key, f"is not allowed like this; one table [[{name}]] for each")
            return []
        return [Table(entries, (*path, place), self._findings) for place, entries in enumerate(found)]

    def refuse(self, key: str, reason: str) -> None:
        """Note what is wrong with a key, or, for "", with the table."""
        self._findings.add((*self._path, key) if key else self._path, reason)

    def line(self, key: str) -> int:
        """The line on which a key stands."""
        return self._findings.line((*self._path, key))

    def close(self) -> None:
        """Refuse every key that was not asked for."""
        for key in self._entries:
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(self._known)}"
            self.refuse(key, f"is not known here; {hint}")


class Once:
    """Values that may be given once only: each remembers where it was first."""

    def __init__(self, *, secret: bool = False) -> None:
        self._secret = secret
        self._first: dict[str | int, tuple[Table, str]] = {}

    def check(self, table: Table, key: str, value: str | int) -> None:
        """Refuse a value that was given before; empty ones have been refused already."""
        if not value:
            return
        first, first_key = self._first.setdefault(value, (table, key))
        if first is not table:
            shown = "this value" if self._secret else _shown(value)
            table.refuse(key, f"{shown} is given twice; first on line {first.line(first_key)}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
