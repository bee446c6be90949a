"""Recorded, quoted and emulated calls, event by event as they stood on the wire: they end in the truth.

Each file is played in an enterprise of its own: at full speed as it is, and as the hosts send it that know only the
four oldest types; and in its recorded times, pressed together (CALLFOLD_TEST_PACE=1: not even that). The recordings
are no part of this repository. CALLFOLD_TEST_CORPUS names their folder; without it they are looked for beside the
repository.
"""

import asyncio
import os
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from adapters.asterisk.recorded import read_recorded
from adapters.asterisk.sender import Pace, Sender, TimedEvent, offsets, send_all
from calls.scenarios import catalogue
from calls.scenarios.script import LEAST_KINDS
from tests.running import EveryBot, Running, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = Path(
    os.environ.get("CALLFOLD_TEST_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "corpus")
)
NONE = f"no recorded events in {FOLDER.name}: set CALLFOLD_TEST_CORPUS to the folder that holds them"
AT_ONCE = 12
"""How many are played at the same time: more would keep each other waiting for longer than a call may be silent."""
PACE = float(os.environ.get("CALLFOLD_TEST_PACE", "20"))
"""How many times faster than recorded the files are played that keep their recorded times; 1 takes some minutes."""
SETTLE, SILENCE = max(2.0, 15 / PACE), max(4.0, 120 / PACE)
"""Seconds: at each pace longer than the recorded calls are silent."""

CUSTOMER = "+375290000101"
MOBILE = "+375290000102"
ANNA, OLGA, PETER = r"Анна Серова \(151\)", r"Ольга Ким \(152\)", r"Пётр Петров \(150\)"
ON_MOBILE = r"📱 Пётр Петров \(\+375 \(29\) 000-01-02\)"
THEM, TIME = r"\+375 \(29\) 000-01-0[12]", r"\d\d+:\d\d"
IN, OUT, INSIDE = f"{THEM} ↔ %s", f"%s ↔ {THEM}", f"{OLGA} ↔ %s"
TAKEN_BY_151 = {"answered_by": "151", "talked": ["151"]}

# The files' own truth, beside them in README.md, and of the emulated ones in the catalogue of call kinds.
# total: seconds, told by the hosts' clock; one second more or less where its texts are rounded.
TRUTH: dict[str, dict[str, Any]] = {
    "doc-out-1-1": {
        "direction": "out",
        "outcome": "answered",
        "caller": "151",
        **TAKEN_BY_151,
        "customer": MOBILE,
        "line": "0007001",
        "total": 18,
    },
    "doc-in-2-2": {
        "direction": "in",
        "outcome": "missed",
        "rung": ["150", "151", "152"],
        "talked": [],
        "answered_by": None,
        "total": 23,
    },
    "doc-in-2-4": {"direction": "in", "outcome": "missed", "talked": [], "answered_by": None, "total": 12},
    "doc-in-2-13": {
        "direction": "in",
        "outcome": "answered",
        "rung": ["150", "151", MOBILE],
        **TAKEN_BY_151,
        "customer": CUSTOMER,
        "consulted": [],
        "total": 46,
    },
    "doc-int-3-3": {
        "direction": "internal",
        "outcome": "answered",
        "caller": "152",
        "dialled": "901",
        **TAKEN_BY_151,
        "customer": None,
        "total": 9,
    },
    "in-2-18": {
        "direction": "in",
        "outcome": "answered",
        "answered_by": "151",
        "talked": ["151", "152", "150"],
        "consulted": [],
        "customer": CUSTOMER,
        "line": "0007001",
        "call_id": "1757840723.6",
        "total": 50,
    },
    "in-2-23": {
        "direction": "in",
        "outcome": "answered",
        "answered_by": "151",
        "talked": ["151", MOBILE],
        "consulted": ["150"],
        "customer": CUSTOMER,
        "line": "0007001",
        "call_id": "1757843259.138",
        "total": 48,
    },
}
# The emulation tells another ring list here than the field does; and bridges by six ids, none of which two share.
DEVIATIONS: dict[str, dict[str, Any]] = {
    "in-2-29": {"rung": ["151"]},
    "in-2-13": {"answered_by": None, "talked": []},
}
NOT_JOINED = "in-2-12"
"""Its dials have another UniqueId than its start: that these are one call, nobody can know."""

HEADINGS = {
    "doc-out-1-1": rf"✅ Завершен: {OUT % ANNA}, {TIME}",
    "doc-in-2-2": rf"❌ Не отвечен: {THEM} → {PETER}, {ANNA}, {OLGA}",
    "doc-in-2-4": rf"❌ Не отвечен: {THEM} → .*",
    "doc-in-2-13": rf"✅ Завершен: {IN % ANNA}, {TIME}",
    "doc-int-3-3": rf"✅ Завершен \(внутр\.\): {INSIDE % ANNA}, {TIME}",
    "in-2-18": rf"✅ Завершен: {IN % PETER}, {TIME}",
    "in-2-23": rf"✅ Завершен: {IN % ON_MOBILE}, {TIME}",
    "emulated/out-1-1": rf"✅ Завершен: {OUT % ANNA}, {TIME}",
    "emulated/out-1-2": rf"✅ Завершен: {OUT % ANNA}, {TIME}",
    "emulated/out-1-3": rf"✅ Завершен: {OUT % ANNA}, {TIME}",
    "emulated/out-1-5": rf"✅ Завершен: {OUT % ANNA}, {TIME}",
    "emulated/out-1-7": rf"⚠️ Потерян при переводе: {OUT % ANNA} → {OLGA}",
    "emulated/out-1-8": rf"❌ Не отвечен: {ANNA} → {THEM}",
    "emulated/out-1-10": rf"❌ Не отвечен: {ANNA} → {THEM}",
    "emulated/in-2-1": rf"✅ Завершен: {IN % ANNA}, {TIME}",
    "emulated/in-2-2": rf"❌ Не отвечен: {THEM} → {PETER}, {ANNA}, {OLGA}",
    "emulated/in-2-4": rf"❌ Не отвечен: {THEM} → {PETER}, {ANNA}, {OLGA}",
    "emulated/in-2-5": rf"✅ Завершен: {IN % ON_MOBILE}, {TIME}",
    "emulated/in-2-8": rf"✅ Завершен: {IN % OLGA}, {TIME}",
    "emulated/in-2-9": rf"✅ Завершен: {IN % ANNA}, {TIME}",
    "emulated/in-2-10": rf"✅ Завершен: {IN % OLGA}, {TIME}",
    "emulated/in-2-13": rf"✅ Завершен: {THEM}, {TIME}",
    "emulated/in-2-24": rf"✅ Завершен: {IN % ANNA}, {TIME}",
    "emulated/in-2-26": rf"✅ Завершен: {IN % ANNA}, {TIME}",
    "emulated/in-2-29": rf"⚠️ Потерян при переводе: {IN % ANNA} → {PETER}, {ON_MOBILE}",
    "emulated/int-3-1": rf"✅ Завершен \(внутр\.\): {INSIDE % PETER}, {TIME}",
    "emulated/int-3-3": rf"✅ Завершен \(внутр\.\): {INSIDE % ANNA}, {TIME}",
}


@dataclass(frozen=True)
class Run:
    """One file in one enterprise. ``how``: full, least (the four oldest types), timed."""

    path: Path
    how: str
    number: str

    @property
    def name(self) -> str:
        """The file's place in the folder, without what every name ends in."""
        return self.path.relative_to(FOLDER).with_suffix("").as_posix()

    @property
    def token(self) -> str:
        return f"37529000{self.number}"

    @property
    def truth(self) -> dict[str, Any]:
        """Columns of the row that the file fixes."""
        if self.name in TRUTH:
            return {key: value for key, value in TRUTH[self.name].items() if key != "total"}
        scenario = catalogue()[self.path.stem.split("-", 1)[1]]
        expected = (scenario.least if self.how == "least" else None) or scenario.expected
        truth = msgspec.json.decode(msgspec.json.encode(expected))
        truth.pop("phases")
        return {**truth, **DEVIATIONS.get(self.path.stem, {})}

    def events(self) -> list[TimedEvent]:
        recorded = list(read_recorded(self.path))
        told = zip(offsets([one.t for one in recorded]), recorded, strict=True)
        return [
            TimedEvent(offset, one.event, one.raw)
            for offset, one in told
            if self.how != "least" or one.event in LEAST_KINDS
        ]

    def __str__(self) -> str:
        return f"{self.name}-{self.how}"


def _runs() -> list[Run]:
    found = [(path, how) for path in sorted(FOLDER.rglob("*.jsonl")) for how in ("full", "least", "timed")]
    return [Run(path, how, f"{2000 + place}") for place, (path, how) in enumerate(found)]


RUNS = _runs()
KNOWN = [run for run in RUNS if run.path.parent.name != "templates" and run.path.stem != NOT_JOINED]
EACH = pytest.mark.parametrize("run", KNOWN, ids=str)
if not RUNS:
    pytestmark = [pytestmark, pytest.mark.skip(reason=NONE)]


class Played:
    """What became of each file, each in an enterprise of its own."""

    def __init__(self, service: Running, bots: EveryBot) -> None:
        self.service, self.bots = service, bots

    async def rows(self, run: Run) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.service.get("/api/calls", enterprise=run.number))["items"]
        return rows

    def text(self, run: Run) -> str:
        """Of the one message of the chat."""
        (message,) = self.bots.chats[int(run.number)].values()
        return message.text


async def _play(service: Running, run: Run, turns: asyncio.Semaphore) -> None:
    timed = run.how == "timed"
    pace = Pace.parse(str(PACE) if timed else "max")
    async with nullcontext() if timed else turns, Sender(service.url, token=run.token) as sender:
        sent = [one async for one in send_all(sender, run.events(), pace)]
    assert [one for one in sent if not one.stored] == []


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def played(postgres_server, tmp_path_factory):
    directory = "".join(
        enterprise(run.number, run.token, bot_token=f"{run.number}:bot", chats=[int(run.number)])
        for run in RUNS
    )
    async with EveryBot() as bots:
        folder = tmp_path_factory.mktemp("service")
        async with running_fresh(
            postgres_server,
            folder,
            directory,
            telegram_api=bots.base_url,
            call_settle=str(SETTLE),
            call_silence=str(SILENCE),
        ) as service:
            turns = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(_play(service, run, turns) for run in RUNS))
            await service.quiet(60)
            await _settled(service)
            yield Played(service, bots)


async def _settled(service: Running) -> None:
    """A call whose end is not told (2-5) ends by silence."""
    deadline = time.monotonic() + 30 + SILENCE
    while still := await service.pool.fetch("SELECT * FROM calls WHERE outcome = 'open'"):
        assert time.monotonic() < deadline, still
        await asyncio.sleep(0.1)  # between two looks
    await service.quiet(30)


async def test_every_file_runs_through_and_nothing_is_parked(played: Played):
    parked = await played.service.pool.fetch("SELECT place, enterprise, reason FROM parked")
    assert [tuple(row) for row in parked] == []
    for run in RUNS:
        assert await played.rows(run), f"{run} made no call"


@EACH
async def test_a_call_ends_in_its_truth(played: Played, run: Run):
    (row,) = await played.rows(run)
    assert {key: row[key] for key in run.truth} == run.truth
    if run.name in TRUTH:
        assert row["total_s"] == pytest.approx(TRUTH[run.name]["total"], abs=10)


@EACH
async def test_a_call_has_one_message_that_says_so(played: Played, run: Run):
    heading = played.text(run).split("\n")[0]
    assert re.fullmatch(HEADINGS[run.name], heading), heading
    requests = [request for request in played.bots.requests if request.chat_id == int(run.number)]
    assert [request.method for request in requests].count("sendMessage") == 1
    assert {request.method for request in requests} <= {"sendMessage", "editMessageText"}


@EACH
async def test_the_chain_of_those_who_talked_stands_below_the_heading(played: Played, run: Run):
    (row,) = await played.rows(run)
    chain = " → ".join("📱 +375 (29) 000-01-02" if one == MOBILE else one for one in row["talked"])
    assert (f": {chain}\n" in played.text(run)) == (len(row["talked"]) > 1)


@EACH
async def test_the_customer_of_a_call_is_counted_once(played: Played, run: Run):
    (row,) = await played.rows(run)
    customers = (await played.service.get("/api/customers", enterprise=run.number))["items"]
    assert [customer["phone"] for customer in customers] == [one for one in [row["customer"]] if one]
    for customer in customers:
        assert customer["in_total"] + customer["out_total"] == 1
        answered = customer["in_answered"] + customer["out_answered"]
        assert answered == int(row["outcome"] in {"answered", "lost_in_transfer"})


async def test_a_rebuild_of_all_of_them_finds_no_difference(played: Played):
    done = await played.service.command("rebuild", "all", "--check")
    assert done.code == 0, done.output + done.errors
    assert "no difference" in done.output
