"""On which line of a TOML text a table or key stands; the standard library reads values without telling."""

import re
import tomllib
from typing import Any, Final

TomlPath = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*\[(?P<array>\[)?")
_MAY_END: Final = ("]", '"""', "'''")
_SYNTAX_LINE: Final = re.compile(r" \(at line (?P<line>\d+), column \d+\)$")


class TomlLines:
    """Lines of the tables and keys of a text that is known to be TOML.

    A path is keys and places in arrays of tables: ``("enterprise", 0, "manager", 1, "extension")``. What
    stands inside of an inline table or array is on the line where that begins.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[TomlPath, int] = {}
        self._tables: dict[TomlPath, int] = {}
        """How many tables of each array have begun."""
        here: TomlPath = ()
        statement: list[str] = []
        for number, line in enumerate(text.split("\n"), 1):
            statement.append(line)
            read = _complete(statement)
            if read is None:
                continue
            began = number - len(statement) + 1
            if header := _HEADER.match(line):
                here = self._enter(_names(read), began, is_array=header["array"] is not None)
            else:
                for name in read:
                    self._note((*here, name), read[name], began)
            statement = []

    def line(self, path: TomlPath) -> int:
        """The line of this path, or of the nearest thing around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _enter(self, names: list[str], line: int, *, is_array: bool) -> TomlPath:
        path: TomlPath = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        path = (*path, names[-1])
        self._lines.setdefault(path, line)
        if is_array:
            place = self._tables.get(path, 0)
            self._tables[path] = place + 1
            path = (*path, place)
            self._lines[path] = line
        return path

    def _note(self, path: TomlPath, value: Any, line: int) -> None:
        self._lines.setdefault(path, line)
        if isinstance(value, dict):
            for name in value:
                self._note((*path, name), value[name], line)


def syntax_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Line and reason of a text that is no TOML."""
    reason = str(error)
    if found := _SYNTAX_LINE.search(reason):
        return int(found["line"]), reason[: found.start()]
    return text.count("\n") + 1, reason.removesuffix(" (at end of document)")


def _complete(statement: list[str]) -> dict[str, Any] | None:
    """What a statement says, None while it goes on: over several lines it is TOML only with its last one."""
    if len(statement) > 1 and not any(sign in statement[-1] for sign in _MAY_END):
        return None
    try:
        return tomllib.loads("\n".join(statement) + "\n")
    except tomllib.TOMLDecodeError:
        return None


def _names(read: dict[str, Any]) -> list[str]:
    """Names of a header: ``[[a.b]]`` reads as ``{"a": {"b": [{}]}}``."""
    names: list[str] = []
    node: Any = read
    while isinstance(node, dict) and node:
        name, node = next(iter(node.items()))
        names.append(name)
    return names
