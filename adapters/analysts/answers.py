"""Answers to questions as text: an aligned table, CSV or JSON, written row by row as they come."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, get_args

import msgspec

from adapters.analysts.errors import QueryError
from adapters.analysts.files import csv_field

Form = Literal["table", "csv", "json"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
Row = Sequence[Any]
Write = Callable[[str], None]
MOST: Final = 1_000
"""Rows of a table that people read; a script asks for CSV or JSON."""


class Answer(Protocol):
    """Takes an answer: the names of its columns, its rows in stretches, its end."""

    def begin(self, columns: Sequence[str]) -> None:
        """Names of the columns."""
        ...

    def rows(self, rows: Sequence[Row]) -> None:
        """Some more rows."""
        ...

    def end(self) -> None:
        """There are no more."""
        ...


def answer(form: Form, write: Write) -> Answer:
    """An answer that goes to ``write``, a piece of text at a time."""
    match form:
        case "table":
            return _Table(write)
        case "csv":
            return _Csv(write)
        case "json":
            return _Json(write)


class _Csv:
    def __init__(self, write: Write) -> None:
        self._write = write

    def begin(self, columns: Sequence[str]) -> None:
        self._write(",".join([csv_field(name) for name in columns]) + "\n")

    def rows(self, rows: Sequence[Row]) -> None:
        self._write("".join([",".join([csv_field(value) for value in row]) + "\n" for row in rows]))

    def end(self) -> None:
        return


class _Json:
    """One array of objects, a line each."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._encode = msgspec.json.Encoder(decimal_format="number").encode
        self._columns: Sequence[str] = ()
        self._between = "["

    def begin(self, columns: Sequence[str]) -> None:
        twice = next((name for name, count in Counter(columns).items() if count > 1), None)
        if twice is not None:
            raise QueryError(f"two columns are named {twice}, which JSON cannot tell apart: name one with AS")
        self._columns = columns

    def rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            told = self._encode(dict(zip(self._columns, row, strict=True))).decode()
            self._write(f"{self._between}\n{told}")
            self._between = ","

    def end(self) -> None:
        self._write("[]\n" if self._between == "[" else "\n]\n")


class _Table:
    """As wide as it has to be; numbers to the right."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._columns: Sequence[str] = ()
        self._kept: list[Row] = []
        self._more = 0

    def begin(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def rows(self, rows: Sequence[Row]) -> None:
        room = MOST - len(self._kept)
        self._kept += rows[:room]
        self._more += max(len(rows) - room, 0)

    def end(self) -> None:
        texts = [[_text(value) for value in row] for row in self._kept]
        widths = [
            max([len(name), *[len(row[place]) for row in texts]]) for place, name in enumerate(self._columns)
        ]
        right = [_is_number(self._kept, place) for place in range(len(widths))]
        for row in (list(self._columns), ["-" * width for width in widths], *texts):
            cells = [
                text.rjust(width) if numeric else text.ljust(width)
                for text, width, numeric in zip(row, widths, right, strict=True)
            ]
            self._write("  ".join(cells).rstrip() + "\n")
        if self._more:
            self._write(f"… and {self._more} more rows: --format csv prints all\n")


def _is_number(rows: Sequence[Row], place: int) -> bool:
    values = [row[place] for row in rows if row[place] is not None]
    return bool(values) and all(type(value) in {int, float, Decimal} for value in values)


def _item(value: Any) -> str:
    """A value in a list."""
    if isinstance(value, list):
        return f"[{_text(value)}]"
    return "NULL" if value is None else _text(value)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join([_item(one) for one in value])
        case datetime():
            return value.isoformat(sep=" ").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return " ".join(str(value).split())
