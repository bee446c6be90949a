"""Every built-in scenario, full and as most hosts send it, over real HTTP at full speed: its row, its one message.

Each run has an enterprise of its own with two subscribers, so that all are played at once and none waits for
another's chat.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from calls.numbers import display
from calls.scenarios import Expected, Scenario, catalogue
from tests.botapi import Message
from tests.running import EveryBot, Running, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = {
    "150": "Пётр Петров",
    "151": "Анна Серова",
    "152": "Ольга Ким",
    "901": "Продажи",
    "300": "Пётр Петров",
}
MOBILES = {"+375290000102": "Пётр Петров"}
CALLS_TO_OUTSIDE = 4
"""Requests to the Bot API for a simple call and chat at the most (DESIGN, Measures)."""


@dataclass(frozen=True)
class Run:
    """One scenario in one enterprise."""

    scenario: Scenario
    least: bool
    language: str
    number: str

    @property
    def expected(self) -> Expected:
        return (self.scenario.least if self.least else None) or self.scenario.expected

    @property
    def token(self) -> str:
        return f"37529000{self.number}"

    @property
    def chats(self) -> tuple[int, int]:
        return int(self.number), 500_000 + int(self.number)

    @property
    def more_steps(self) -> int:
        """Steps of the ring plan behind the first: each rings somebody else, which the card shows."""
        events = self.scenario.events(0.0, 0)
        rung = {str(event.body["Extensions"]) for event in events if event.kind == "dial"}
        return max(len(rung) - 1, 0)

    def __str__(self) -> str:
        return f"{self.scenario.id}-{'least' if self.least else 'full'}-{self.language}"


def _runs() -> list[Run]:
    variants = [
        (scenario, least, language)
        for scenario in catalogue().values()
        for least, language in ((False, "ru"), (True, "en"))
    ]
    return [Run(*variant, f"{1000 + place}") for place, variant in enumerate(variants)]


RUNS = _runs()
CALM = "0999"
"""An enterprise whose chat has nothing else to show."""
EACH = pytest.mark.parametrize("run", RUNS, ids=str)


class Stage:
    """The service after all scenarios, and the chats as the Bot API stand-in has them."""

    def __init__(self, service: Running, bots: EveryBot) -> None:
        self.service, self.bots = service, bots

    async def row(self, run: Run) -> dict[str, Any]:
        """The one call of a run."""
        page = await self.service.get("/api/calls", enterprise=run.number)
        (row,) = page["items"]
        found: dict[str, Any] = row
        return found

    def message(self, chat_id: int) -> Message:
        """The one message of a chat."""
        (message,) = self.bots.chats[chat_id].values()
        return message


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(postgres_server, tmp_path_factory):
    directory = "".join(
        enterprise(
            run.number, run.token, bot_token=f"{run.number}:bot", language=run.language, chats=run.chats
        )
        for run in RUNS
    ) + enterprise(CALM, f"37529000{CALM}", bot_token=f"{CALM}:bot", language="en", chats=[int(CALM)])
    async with EveryBot() as bots:
        folder = tmp_path_factory.mktemp("service")
        async with running_fresh(
            postgres_server, folder, directory, telegram_api=bots.base_url, call_settle="2"
        ) as service:
            plays = (
                service.play(run.scenario, token=run.token, least=run.least, seed=int(run.number))
                for run in RUNS
            )
            await asyncio.gather(*plays)
            await service.quiet(60)
            await _settled(service)
            yield Stage(service, bots)


async def _settled(service: Running) -> None:
    """Calls whose last hangup is never told end by silence, CALL_SETTLE seconds later."""
    deadline = time.monotonic() + 20
    while await service.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'open'"):
        assert time.monotonic() < deadline, await service.pool.fetch(
            "SELECT * FROM calls WHERE outcome = 'open'"
        )
        await asyncio.sleep(0.1)  # between two looks
    await service.quiet(30)


# what must be seen


@EACH
async def test_the_row_is_the_scenarios_truth(stage: Stage, run: Run):
    row = await stage.row(run)
    expected = msgspec.json.decode(msgspec.json.encode(run.expected))
    expected.pop("phases")
    assert {key: row[key] for key in expected} == expected
    assert row["enterprise"] == run.number
    assert row["source"] == "live"
    assert row["ended_at"] is not None


@EACH
async def test_each_subscriber_has_one_message_that_was_sent_once(stage: Stage, run: Run):
    for chat_id in run.chats:
        requests = [request for request in stage.bots.requests if request.chat_id == chat_id]
        assert [request.method for request in requests].count("sendMessage") == 1
        assert {request.method for request in requests} <= {"sendMessage", "editMessageText"}
        assert len(requests) <= CALLS_TO_OUTSIDE + run.more_steps
        assert len(stage.bots.standing(chat_id)) == 1


@EACH
async def test_the_last_text_is_the_final_heading(stage: Stage, run: Run):
    for chat_id in run.chats:
        heading = stage.message(chat_id).text.split("\n")[0]
        assert re.fullmatch(final_heading(run), heading), heading


@EACH
async def test_phases_are_seen_in_their_order(stage: Stage, run: Run):
    told = ("begun", "ringing", "talking", "ended")
    for chat_id in run.chats:
        seen = [phases_of(text) for text in stage.message(chat_id).texts]
        place = 0
        for shown in seen:
            place = next((at for at in range(place, len(told)) if told[at] in shown), -1)
            assert place >= 0, stage.message(chat_id).texts
        assert "ended" in seen[-1]
        assert all(shown & set(run.expected.phases) for shown in seen)


@EACH
async def test_the_api_tells_the_same_of_the_messages(stage: Stage, run: Run):
    row = await stage.row(run)
    call = await stage.service.get(f"/api/calls/{run.number}/{row['call_id']}")
    shown = {message["chat_id"]: message for message in call["messages"]}
    assert set(shown) == set(run.chats)
    for chat_id in run.chats:
        assert shown[chat_id]["message_id"] == stage.message(chat_id).message_id
        assert shown[chat_id]["phase"] == "ended"


@EACH
async def test_the_customer_counts_the_call_once(stage: Stage, run: Run):
    expected = run.expected
    if expected.customer is None:
        assert (await stage.service.get("/api/customers", enterprise=run.number))["items"] == []
        return
    customer = await stage.service.get(f"/api/customers/{run.number}/{expected.customer}")
    unanswered = expected.outcome in {"missed", "not_answered"}
    side = (1, int(not unanswered), int(unanswered))
    counted = [
        tuple(customer[f"{way}_{what}"] for what in ("total", "answered", "missed")) for way in ("in", "out")
    ]
    assert counted == ([(0, 0, 0), side] if expected.direction == "out" else [side, (0, 0, 0)])
    assert customer["last_outcome"] == expected.outcome
    assert customer["name"] == "Иван Иванов"


async def test_nothing_was_parked_and_a_rebuild_finds_no_difference(stage: Stage):
    assert await stage.service.pool.fetchval("SELECT count(*) FROM parked") == 0
    done = await stage.service.command("rebuild", "all", "--check")
    assert done.code == 0, done.output
    assert "no difference" in done.output


async def test_a_subscriber_added_by_an_apply_gets_the_next_call(stage: Stage, tmp_path):
    run = next(run for run in RUNS if run.scenario.id == "2-1" and not run.least)
    text = enterprise(
        run.number, run.token, bot_token=f"{run.number}:bot", language="ru", chats=[*run.chats, 777_001]
    )
    upload = {"name": "more.toml", "text": text, "folder": str(tmp_path)}
    answer = await stage.service.client.post("/api/directory", json=upload)
    assert answer.json() == {"changes": [f"{run.number}: subscriber 777001 added"]}
    await stage.service.play(run.scenario, token=run.token, seed=99_999)
    await stage.service.quiet(30)
    assert len(stage.bots.chats[777_001]) == 1
    assert "✅" in stage.message(777_001).text
    assert len(stage.bots.chats[run.chats[0]]) == 2


async def test_a_scenario_at_its_own_pace_shows_every_phase(stage: Stage):
    """Every state is shown where there is time for it: the next event comes when the last is on the screen."""
    for event in catalogue()["2-1"].events(time.time() - 60, 7, token=f"37529000{CALM}"):
        await stage.service.store(event.kind, event.body)
        await stage.service.shown(30)
    texts = stage.message(int(CALM)).texts
    assert [text.split(" ")[0] + " " + text.split(" ")[1] for text in texts] == [
        "📞 Call",
        "📞 Ringing",
        "🔗 Talking:",
        "✅ Ended:",
    ]
    requests = [request for request in stage.bots.requests if request.chat_id == int(CALM)]
    assert len(requests) == CALLS_TO_OUTSIDE


async def test_every_answer_to_a_host_was_quick(stage: Stage):
    answer: httpx.Response = await stage.service.client.get("/metrics")
    assert 'callfold_answers_total{status="503"}' not in answer.text


# CONTRACT 8, written once more


def person(number: str) -> str:
    if number in MOBILES:
        return f"📱 {MOBILES[number]} ({display(number)})"
    return f"{NAMES[number]} ({number})" if number in NAMES else number


def final_heading(run: Run) -> str:
    """Pattern of the first line at the end."""
    expected, russian = run.expected, run.language == "ru"
    inside = expected.direction == "internal"
    mark = (" (внутр.)" if russian else " (internal)") if inside else ""
    unknown = "Номер не определен" if russian else "unknown number"
    if inside:
        them = person(expected.caller) if expected.caller else unknown
    else:
        them = display(expected.customer) if expected.customer else unknown
    match expected.outcome:
        case "answered":
            last = expected.talked[-1] if expected.talked else expected.answered_by
            word = "Завершен" if russian else "Ended"
            return f"✅ {word}{re.escape(mark)}: {_sides(them, '↔', last, expected)}, \\d\\d+:\\d\\d"
        case "lost_in_transfer":
            word = "Потерян при переводе" if russian else "Lost in transfer"
            lost = ", ".join(person(one) for one in expected.consulted if one not in expected.talked)
            sides = _sides(them, "↔", expected.talked[-1], expected)
            return f"⚠️ {word}{re.escape(mark)}: {sides}( → {re.escape(lost)})?"
        case _:
            word = "Не отвечен" if russian else "Not answered"
            if inside:
                reached = person(expected.dialled or (expected.rung[0] if expected.rung else "")) or None
            elif expected.direction == "out":
                reached = person(expected.caller) if expected.caller else None
            else:
                reached = ", ".join(map(person, expected.rung)) or None
            return f"❌ {word}{re.escape(mark)}: {_two(them, '→', reached, expected)}"


def _sides(them: str, arrow: str, us: str | None, expected: Expected) -> str:
    return _two(them, arrow, person(us) if us else None, expected)


def _two(them: str, arrow: str, us: str | None, expected: Expected) -> str:
    if us is None:
        return re.escape(them)
    left, right = (us, them) if expected.direction == "out" else (them, us)
    return f"{re.escape(left)} {arrow} {re.escape(right)}"


def phases_of(text: str) -> set[str]:
    """Which phases a text may be of."""
    match text[0]:
        case "🛎":
            return {"begun", "ringing"}
        case "📞":
            return {"begun"} if text.split()[1] in {"Звонок", "Call"} else {"ringing"}
        case "🔗":
            return {"talking"}
        case "✅" | "❌" | "⚠":
            return {"ended"}
        case _:
            return set()
