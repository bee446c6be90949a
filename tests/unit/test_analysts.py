"""What analysts are told: every column is documented, answers are printed as they are."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.analysts.answers import MOST, answer
from adapters.analysts.files import csv_field
from adapters.analysts.reading import Wanted
from adapters.analysts.relations import RELATIONS, Kind

DOCS = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text("utf-8")
TOLD: dict[Kind, str] = {
    "text": "text",
    "json": "text (JSON)",
    "texts": "text[]",
    "integer": "bigint",
    "count": "integer",
    "boolean": "boolean",
    "time": "timestamp",
    "date": "date",
    "seconds": "seconds",
}
COLUMNS = ("name", "n", "at")
ROW = ("a\nb", Decimal("1.500000"), datetime(2026, 5, 4, 9, tzinfo=UTC))


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_every_column_is_documented_with_its_type(relation):
    section = re.search(rf"^### {relation.name}\n(.*?)^##", DOCS, re.MULTILINE | re.DOTALL)
    assert section, relation.name
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]+) \|$", section[1], re.MULTILINE)
    told = [(name, kind) for name, kind, meaning in rows if name != "column" and meaning]
    assert told == [(column.name, TOLD[column.kind]) for column in relation.columns]


def printed(form, *chunks):
    told = []
    made = answer(form, told.append)
    made.begin(COLUMNS)
    for chunk in chunks:
        made.rows(chunk)
    made.end()
    return "".join(told)


def test_a_table_is_aligned_with_numbers_to_the_right():
    assert printed("table", [ROW, ("x", None, None)]).splitlines() == [
        "name         n  at",
        "----  --------  --------------------",
        "a b   1.500000  2026-05-04 09:00:00Z",
        "x",
    ]


def test_a_table_says_how_many_rows_it_leaves_out():
    told = printed("table", [ROW] * MOST, [ROW] * 5).splitlines()
    assert len(told) == 2 + MOST + 1
    assert "5 more rows" in told[-1]


def test_json_is_one_array_also_without_rows():
    assert printed("json") == "[]\n"
    assert printed("json", [ROW], [ROW]).count('"n":1.500000') == 2


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, ""),
        ("", '""'),
        ('a"b,\nc', '"a""b,\nc"'),
        (True, "true"),
        (["150", "+375"], '"[""150"",""+375""]"'),
        (Decimal("0.000001"), "0.000001"),
        (datetime(2026, 5, 4, 9, tzinfo=UTC), "2026-05-04T09:00:00Z"),
        (date(2026, 5, 4), "2026-05-04"),
    ],
)
def test_a_csv_field_tells_an_empty_text_from_none(value, field):
    assert csv_field(value) == field


def test_a_range_touches_the_days_that_it_cuts_and_no_other():
    wanted = Wanted(since=datetime(2026, 5, 4, 12, tzinfo=UTC), until=datetime(2026, 5, 6, tzinfo=UTC))
    days = [day for day in range(1, 10) if wanted.covers(date(2026, 5, day))]
    assert days == [4, 5]
    assert Wanted(until=datetime(2026, 5, 6, 1, tzinfo=UTC)).covers(date(2026, 5, 6))
    assert Wanted().covers(date(1970, 1, 1))
