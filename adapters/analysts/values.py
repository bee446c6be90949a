"""What a database gives out, for people and scripts: numbers, texts, times; everything else in the database's words.

Whatever has no equal here (intervals, addresses, ranges, rows, …) is asked for as text, and so is what Python's types
hold in part only: times before Christ and behind the year 9999, ``infinity``, ``NaN``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

Reading = Literal["value", "time", "float", "decimal"]
"""As it comes, or made of the text that the database writes."""
AFTER: Final = "; \t\r\n"
"""What may stand behind a question."""
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(\+00)?)?", re.ASCII
)


class Shown(msgspec.Struct, frozen=True):
    """How a column is asked for: cast to ``sql``, a list so many deep; and how its values are read then."""

    sql: str
    reading: Reading = "value"
    deep: int = 0

    @property
    def type(self) -> str:
        """What the column is cast to."""
        return self.sql + "[]" * self.deep


def read_rows(columns: Sequence[Shown], rows: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """Rows as answers take them."""
    made = [(place, _MAKE[one.reading]) for place, one in enumerate(columns) if one.reading != "value"]
    if not made:
        return [tuple(row) for row in rows]
    found = []
    for row in rows:
        values = list(row)
        for place, make in made:
            values[place] = _each(make, values[place])
        found.append(tuple(values))
    return found


def _each(make: Callable[[str], Any], value: Any) -> Any:
    if isinstance(value, list):
        return [_each(make, one) for one in value]
    return None if value is None else make(value)


def _time(text: str) -> datetime | date | str:
    if not _TIME.fullmatch(text):
        return text
    return datetime.fromisoformat(text) if " " in text else date.fromisoformat(text)


def _float(text: str) -> float | str:
    return float(text) if _is_finite(text) else text


def _decimal(text: str) -> Decimal | str:
    return Decimal(text) if _is_finite(text) else text


def _is_finite(text: str) -> bool:
    return text[-1].isdecimal()


_MAKE: Final[dict[Reading, Callable[[str], Any]]] = {"time": _time, "float": _float, "decimal": _decimal}
