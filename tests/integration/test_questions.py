"""The ten questions of docs/analysts.md have one answer, whoever is asked: DuckDB, PostgreSQL, plain Python."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.exporting import exported, history, stored
from tests.questions import Asked, Question, ask_both, plain, questions

pytestmark = pytest.mark.asyncio(loop_scope="module")

Row = dict[str, Any]


class Asking:
    """A history, exported and live, and the rows of its calls."""

    def __init__(self, dsn: str, folder: Path, calls: list[Row], events: list[Row]) -> None:
        self.dsn, self.folder, self.calls, self.events = dsn, folder, calls, events

    async def ask(self, number: int) -> Asked:
        asked = await ask_both(self.dsn, self.folder, questions()[number - 1])
        assert asked.question.number == number
        assert asked.same
        return asked


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def asking(postgres_server, tmp_path_factory) -> AsyncIterator[Asking]:
    database = postgres_server.create()
    folder = tmp_path_factory.mktemp("export")
    async with stored(database.dsn, history(400)) as made:
        made_export = await exported(database.dsn, folder)
        assert made_export.rows["calls"] > 150
        assert made_export.left == 0
        calls = [dict(row) for row in await made.connection.fetch("SELECT * FROM calls")]
        events = [dict(row) for row in await made.connection.fetch("SELECT enterprise, source FROM facts")]
    yield Asking(database.dsn, folder, calls, events)
    postgres_server.drop(database)


def rows_of(*rows: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [plain(row) for row in rows]


def percent(part: int, whole: int) -> float:
    return int(1000 * part / whole + 0.5) / 10


def by_time(call: Row) -> tuple[Any, ...]:
    return call["started_at"], call["call_id"]


def of_customers(calls: list[Row], direction: str) -> dict[tuple[str, str], list[Row]]:
    """Calls of each customer in one direction, in the order they began."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for call in sorted(calls, key=by_time):
        if call["direction"] == direction and call["customer"]:
            found[call["enterprise"], call["customer"]].append(call)
    return found


async def test_there_are_ten_questions():
    assert [one.number for one in questions()] == list(range(1, 11))


@pytest.mark.parametrize("question", questions(), ids=lambda one: str(one.number))
async def test_an_export_and_the_live_tables_give_the_same_rows(asking: Asking, question: Question):
    asked = await ask_both(asking.dsn, asking.folder, question)
    assert asked.exported == asked.live
    assert asked.live, "a question that nothing answers proves nothing"


async def test_missed_calls_not_called_back_are_those_that_python_finds(asking: Asking):
    back = of_customers(asking.calls, "out")
    found = []
    for call in asking.calls:
        if call["direction"] != "in" or call["outcome"] != "missed" or not call["customer"]:
            continue
        until = call["started_at"] + timedelta(hours=1)
        calls_back = back.get((call["enterprise"], call["customer"]), [])
        if not any(call["started_at"] < one["started_at"] <= until for one in calls_back):
            found.append(call)
    found.sort(key=lambda call: (call["started_at"], call["enterprise"], call["call_id"]))
    wanted = [(one["enterprise"], one["customer"], one["started_at"], one["call_id"]) for one in found]
    assert (await asking.ask(1)).live == rows_of(*wanted)


async def test_first_calls_answered_are_those_that_python_counts(asking: Asking):
    settled = [call for call in asking.calls if call["outcome"] != "open"]
    firsts = [calls[0] for calls in of_customers(settled, "in").values()]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for call in firsts:
        groups[call["enterprise"], call["line"], call["started_at"].hour].append(call)
    wanted = [
        (*key, len(calls), percent(sum(call["outcome"] != "missed" for call in calls), len(calls)))
        for key, calls in sorted(groups.items(), key=lambda one: (one[0][0], one[0][1] or "~", one[0][2]))
    ]
    assert (await asking.ask(2)).live == rows_of(*wanted)


async def test_waits_by_department_are_those_that_python_orders(asking: Asking):
    department = {"150": "sales", "151": "sales", "152": "support"}
    waits: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for call in asking.calls:
        if call["direction"] == "in" and call["wait_s"] is not None and call["rung"]:
            waits[call["enterprise"], department.get(call["rung"][0], "others")].append(call["wait_s"])
    wanted = []
    for key, told in sorted(waits.items()):
        told.sort()
        wanted.append((*key, len(told), told[-(-len(told) // 2) - 1], told[-(-len(told) * 9 // 10) - 1]))
    assert (await asking.ask(3)).live == rows_of(*wanted)


async def test_who_loses_calls_is_who_talked_last_in_them(asking: Asking):
    lost = Counter(
        (call["enterprise"], call["talked"][-1])
        for call in asking.calls
        if call["outcome"] == "lost_in_transfer" and call["talked"]
    )
    asked = await asking.ask(4)
    assert {(row[0], row[1]): row[3] for row in asked.live} == lost


async def test_the_busiest_hours_are_those_that_python_counts(asking: Asking):
    began = Counter(
        call["started_at"].replace(minute=0, second=0, microsecond=0)
        for call in asking.calls
        if call["direction"] == "in"
    )
    wanted = sorted(began.items(), key=lambda one: (-one[1], one[0]))[:10]
    assert [row[:2] for row in (await asking.ask(5)).live] == rows_of(*wanted)


async def test_callers_again_are_those_that_python_counts(asking: Asking):
    calls: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for (enterprise, _), told in of_customers(asking.calls, "in").items():
        calls[enterprise] += len(told)
        again[enterprise] += sum(
            later["started_at"] - earlier["started_at"] <= timedelta(days=1)
            for earlier, later in pairwise(told)
        )
    wanted = [(one, calls[one], again[one], percent(again[one], calls[one])) for one in sorted(calls)]
    assert (await asking.ask(8)).live == rows_of(*wanted)


async def test_what_was_recovered_is_what_python_counts(asking: Asking):
    wanted = []
    for enterprise in sorted({call["enterprise"] for call in asking.calls}):
        events = [one["source"] for one in asking.events if one["enterprise"] == enterprise]
        calls = [one["source"] for one in asking.calls if one["enterprise"] == enterprise]
        shares = [percent(sources.count("recovery"), len(sources)) for sources in (events, calls)]
        wanted.append((enterprise, len(events), shares[0], len(calls), shares[1]))
    assert (await asking.ask(9)).live == rows_of(*wanted)


async def test_attempts_until_reached_are_those_that_python_counts(asking: Asking):
    settled = [call for call in asking.calls if call["outcome"] != "open"]
    attempts = Counter(
        next((place for place, one in enumerate(told, 1) if one["outcome"] != "not_answered"), None)
        for told in of_customers(settled, "out").values()
    )
    wanted = sorted(attempts.items(), key=lambda one: (one[0] is None, one[0] or 0))
    assert (await asking.ask(10)).live == rows_of(*wanted)
