"""The ten questions of docs/analysts.md: asked of an export and of the live tables, and compared row by row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

from adapters.analysts import duck, live
from adapters.postgres.database import Database

DOCS = Path(__file__).parents[1] / "docs" / "analysts.md"
_QUESTION = re.compile(r"^### (\d+)\. (.+?)\n(.*?)```sql\n(.+?)```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Question:
    number: int
    title: str
    sql: str


@dataclass
class Kept:
    """An answer (adapters.analysts.answers.Answer) that is kept; numbers are comparable whatever their type."""

    columns: Sequence[str] = ()
    told: list[tuple[Any, ...]] | None = None

    def begin(self, columns: Sequence[str]) -> None:
        self.columns, self.told = list(columns), []

    def rows(self, rows: Sequence[Sequence[Any]]) -> None:
        assert self.told is not None
        self.told += [tuple(plain(value) for value in row) for row in rows]

    def end(self) -> None:
        assert self.told is not None


def plain(value: Any) -> Any:
    """A value whose equality says that it is the same: 1 of any type, one moment of any zone."""
    match value:
        case bool() | None | str():
            return value
        case int() | Decimal():
            return Fraction(value)
        case float():
            return Fraction(repr(value))
        case datetime():
            return value.timestamp(), value.microsecond
        case date():
            return value
        case list() | tuple():
            return tuple(plain(one) for one in value)
        case _:
            raise TypeError(f"{value!r} of {type(value)} is in no answer")


def questions() -> list[Question]:
    """As they stand in the docs."""
    found = _QUESTION.findall(DOCS.read_text("utf-8"))
    return [Question(int(number), title, sql.strip()) for number, title, _, sql in found]


@dataclass(frozen=True)
class Asked:
    """What both said, and how many seconds each took."""

    question: Question
    columns: Sequence[str]
    exported: list[tuple[Any, ...]]
    live: list[tuple[Any, ...]]
    exported_s: float
    live_s: float

    @property
    def same(self) -> bool:
        return self.exported == self.live


async def ask_both(dsn: str, folder: Path, question: Question, *, seconds: float = 600) -> Asked:
    """Ask one question of the export in a folder, and of the live tables."""
    of_export, of_live = Kept(), Kept()
    begun = perf_counter()
    duck.ask(folder, question.sql, of_export)
    between = perf_counter()
    await live.ask(Database(dsn, None), question.sql, of_live, seconds=seconds)
    ended = perf_counter()
    assert of_export.told is not None
    assert of_live.told is not None
    assert of_export.columns == of_live.columns
    return Asked(question, of_live.columns, of_export.told, of_live.told, between - begun, ended - between)
