"""Recorded and quoted calls, event by event as they stood on the wire: they run through and end in the truth.

The recordings are no part of this repository. CALLFOLD_TEST_CORPUS names their folder; without it they are looked
for beside the repository.
"""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.asterisk.recorded import read_recorded
from tests.running import EveryBot, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(
    os.environ.get("CALLFOLD_TEST_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "corpus")
)
NONE = f"no recorded events in {FOLDER.name}: set CALLFOLD_TEST_CORPUS to the folder that holds them"

# The recordings' own truth, beside them in README.md. total: seconds, told by the hosts' clock.
TRUTH: dict[str, dict[str, Any]] = {
    "doc-out-1-1": {
        "direction": "out",
        "outcome": "answered",
        "caller": "151",
        "answered_by": "151",
        "talked": ["151"],
        "customer": "+375290000102",
        "line": "0007001",
        "total": 18,
        "heading": r"✅ Завершен: Анна Серова \(151\) ↔ \+375 \(29\) 000-01-02, \d\d:\d\d",
    },
    "doc-in-2-2": {
        "direction": "in",
        "outcome": "missed",
        "rung": ["150", "151", "152"],
        "talked": [],
        "answered_by": None,
        "total": 23,
        "heading": r"❌ Не отвечен: .* → Пётр Петров \(150\), Анна Серова \(151\), Ольга Ким \(152\)",
    },
    "doc-in-2-4": {
        "direction": "in",
        "outcome": "missed",
        "talked": [],
        "answered_by": None,
        "total": 12,
        "heading": r"❌ Не отвечен: .*",
    },
    "doc-int-3-3": {
        "direction": "internal",
        "outcome": "answered",
        "caller": "152",
        "dialled": "901",
        "answered_by": "151",
        "talked": ["151"],
        "customer": None,
        "total": 9,
        "heading": r"✅ Завершен \(внутр\.\): Ольга Ким \(152\) ↔ Анна Серова \(151\), \d\d:\d\d",
    },
    "in-2-18": {
        "direction": "in",
        "outcome": "answered",
        "answered_by": "151",
        "talked": ["151", "152", "150"],
        "customer": "+375290000101",
        "line": "0007001",
        "call_id": "1757840723.6",
        "total": 50,
        "heading": r"✅ Завершен: \+375 \(29\) 000-01-01 ↔ Пётр Петров \(150\), \d\d:\d\d",
    },
}


def _files() -> list[Path]:
    return sorted(FOLDER.rglob("*.jsonl"))


FILES = _files()
if not FILES:
    pytestmark = [pytestmark, pytest.mark.skip(reason=NONE)]


class Played:
    """What became of each file, each in an enterprise of its own."""

    def __init__(self, service, bots):
        self.service, self.bots = service, bots

    async def rows(self, number):
        return (await self.service.get("/api/calls", enterprise=number))["items"]


NUMBERS = {path: f"{2000 + place}" for place, path in enumerate(FILES)}


def events_of(path, token):
    for recorded in read_recorded(path):
        yield recorded.event, recorded.raw.replace(b'"375290000000"', b'"%s"' % token.encode())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def played(postgres_server, tmp_path_factory):
    directory = "".join(
        enterprise(number, f"37529000{number}", bot_token=f"{number}:bot", chats=[int(number)])
        for number in NUMBERS.values()
    )
    async with EveryBot() as bots:
        folder = tmp_path_factory.mktemp("service")
        async with running_fresh(
            postgres_server, folder, directory, telegram_api=bots.base_url, call_settle="2"
        ) as service:
            await asyncio.gather(
                *(service.send(events_of(path, f"37529000{number}")) for path, number in NUMBERS.items())
            )
            await service.quiet(60)
            yield Played(service, bots)


async def test_every_file_runs_through_and_nothing_is_parked(played):
    parked = await played.service.pool.fetch("SELECT place, enterprise, reason FROM parked")
    assert [tuple(row) for row in parked] == []
    for path, number in NUMBERS.items():
        assert await played.rows(number), f"{path.name} made no call"


@pytest.mark.parametrize("name", TRUTH)
async def test_a_recorded_call_ends_in_its_truth(played, name):
    number = NUMBERS[FOLDER / f"{name}.jsonl"]
    (row,) = await played.rows(number)
    expected = {key: value for key, value in TRUTH[name].items() if key not in {"heading", "total"}}
    assert {key: row[key] for key in expected} == expected
    assert row["total_s"] == pytest.approx(TRUTH[name]["total"], abs=10)


@pytest.mark.parametrize("name", TRUTH)
async def test_a_recorded_call_has_one_message_that_says_so(played, name):
    chat_id = int(NUMBERS[FOLDER / f"{name}.jsonl"])
    (message,) = played.bots.chats[chat_id].values()
    assert re.fullmatch(TRUTH[name]["heading"], message.text.split("\n")[0]), message.text
    methods = [request.method for request in played.bots.requests if request.chat_id == chat_id]
    assert methods.count("sendMessage") == 1


async def test_the_chain_of_two_transfers_stands_below_the_heading(played):
    (message,) = played.bots.chats[int(NUMBERS[FOLDER / "in-2-18.jsonl"])].values()
    assert "151 → 152 → 150" in message.text


async def test_a_rebuild_of_all_of_them_finds_no_difference(played):
    done = await played.service.command("rebuild", "all", "--check")
    assert done.code == 0, done.output + done.errors


async def test_a_customer_of_a_recorded_call_is_counted_once(played):
    number = NUMBERS[FOLDER / "in-2-18.jsonl"]
    customer = await played.service.get(f"/api/customers/{number}/+375290000101")
    assert (customer["in_total"], customer["in_answered"], customer["out_total"]) == (1, 1, 0)
