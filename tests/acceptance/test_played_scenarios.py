"""Every built-in scenario, full and as most hosts send it, over real HTTP at full speed: its row, its one message.

Each run has an enterprise of its own with two subscribers, so that several are played at once and none waits for
another's chat. At full speed a chat may skip what was shown for a moment only: how a card goes through all its
texts is what tests/golden tells.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
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
AT_ONCE = 12
"""How many are played at the same time: more would keep each other waiting for longer than a call may be silent."""
SIGNS = {"answered": "✅", "lost_in_transfer": "⚠️", "missed": "❌", "not_answered": "❌"}


@dataclass(frozen=True)
class Run:
    """One scenario in one enterprise."""

    scenario: Scenario
    least: bool
    language: str
    number: str

    @property
    def truths(self) -> tuple[Expected, ...]:
        """What the rows must say, the main call's first."""
        return (
            (self.scenario.least if self.least else None) or self.scenario.expected,
            *self.scenario.beside,
        )

    @property
    def token(self) -> str:
        return f"37529000{self.number}"

    @property
    def chats(self) -> tuple[int, int]:
        return int(self.number), 500_000 + int(self.number)

    @property
    def most_requests(self) -> int:
        """To one chat: each further step of a ring plan and each person of a transfer is shown, too."""
        events = self.scenario.events(0.0, 0)
        rung = {str(event.body["Extensions"]) for event in events if event.kind == "dial"}
        moves = sum(len(truth.talked) + len(truth.consulted) for truth in self.truths)
        return CALLS_TO_OUTSIDE * len(self.truths) + max(len(rung) - 1, 0) + moves

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
CALM = {"2-1": "0998", "2-18": "0999"}
"""Scenarios played slowly, each in an enterprise whose chat has nothing else to show."""
BY_HAND = "0997"
"""The enterprise that a scenario is played to by the command."""
GOLDEN = Path(__file__).parents[1] / "golden"
EACH = pytest.mark.parametrize("run", RUNS, ids=str)


class Stage:
    """The service after all scenarios, and the chats as the Bot API stand-in has them."""

    def __init__(self, service: Running, bots: EveryBot) -> None:
        self.service, self.bots = service, bots

    async def rows(self, run: Run) -> list[tuple[Expected, dict[str, Any]]]:
        """Each truth of a run and the row it is the truth of."""
        found = (await self.service.get("/api/calls", enterprise=run.number))["items"]
        assert len(found) == len(run.truths), found
        # Two calls that go on at the same time are of two directions.
        rows = {row["direction"]: row for row in found}
        assert set(rows) == {truth.direction for truth in run.truths}
        return [(truth, rows[truth.direction]) for truth in run.truths]

    async def shown(self, run: Run, row: dict[str, Any]) -> dict[int, Message]:
        """The message of a call in each chat, as the API tells which it is."""
        call = await self.service.get(f"/api/calls/{run.number}/{row['call_id']}")
        assert {message["phase"] for message in call["messages"]} == {"ended"}
        return {
            message["chat_id"]: self.bots.chats[message["chat_id"]][message["message_id"]]
            for message in call["messages"]
        }

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
    ) + "".join(
        enterprise(number, f"37529000{number}", bot_token=f"{number}:bot", language="en", chats=[int(number)])
        for number in (*CALM.values(), BY_HAND)
    )
    async with EveryBot() as bots:
        folder = tmp_path_factory.mktemp("service")
        async with running_fresh(
            postgres_server,
            folder,
            directory,
            telegram_api=bots.base_url,
            call_settle="2",
            call_silence="4",
        ) as service:
            turns = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(_play(service, run, turns) for run in RUNS))
            await service.quiet(60)
            await _settled(service)
            yield Stage(service, bots)


async def _play(service: Running, run: Run, turns: asyncio.Semaphore) -> None:
    async with turns:
        await service.play(run.scenario, token=run.token, least=run.least, seed=int(run.number))


async def _settled(service: Running) -> None:
    """Calls whose end is never told end by silence: CALL_SETTLE later, CALL_SILENCE where no leave was told."""
    deadline = time.monotonic() + 30
    while still := await service.pool.fetch("SELECT * FROM calls WHERE outcome = 'open'"):
        assert time.monotonic() < deadline, still
        await asyncio.sleep(0.1)  # between two looks
    await service.quiet(30)


# what must be seen


@EACH
async def test_the_rows_are_the_scenarios_truth(stage: Stage, run: Run):
    for truth, row in await stage.rows(run):
        expected = msgspec.json.decode(msgspec.json.encode(truth))
        expected.pop("phases")
        assert {key: row[key] for key in expected} == expected
        assert row["enterprise"] == run.number
        assert row["source"] == "live"
        assert row["ended_at"] is not None


@EACH
async def test_each_subscriber_has_one_message_a_call_that_was_sent_once(stage: Stage, run: Run):
    for chat_id in run.chats:
        requests = [request for request in stage.bots.requests if request.chat_id == chat_id]
        assert [request.method for request in requests].count("sendMessage") == len(run.truths)
        assert {request.method for request in requests} <= {"sendMessage", "editMessageText"}
        assert len(requests) <= run.most_requests
        assert len(stage.bots.standing(chat_id)) == len(run.truths)


@EACH
async def test_the_last_text_of_each_message_is_the_calls_final_one(stage: Stage, run: Run):
    for truth, row in await stage.rows(run):
        messages = await stage.shown(run, row)
        assert set(messages) == set(run.chats)
        for message in messages.values():
            heading = message.text.split("\n")[0]
            assert re.fullmatch(final_heading(run, truth), heading), heading
            assert chain(truth) in message.text
            assert asked_below(run, truth) in message.text


@EACH
async def test_a_text_that_was_shown_is_of_a_phase_that_the_call_has(stage: Stage, run: Run):
    for truth, row in await stage.rows(run):
        for message in (await stage.shown(run, row)).values():
            assert all(phases_of(text) & set(truth.phases) for text in message.texts), message.texts


@EACH
async def test_the_customer_counts_the_call_once(stage: Stage, run: Run):
    truth = next((truth for truth in run.truths if truth.customer), None)
    if truth is None:
        assert (await stage.service.get("/api/customers", enterprise=run.number))["items"] == []
        return
    (customer,) = (await stage.service.get("/api/customers", enterprise=run.number))["items"]
    assert customer["phone"] == truth.customer
    unanswered = truth.outcome in {"missed", "not_answered"}
    side = (1, int(not unanswered), int(unanswered))
    counted = [
        tuple(customer[f"{way}_{what}"] for what in ("total", "answered", "missed")) for way in ("in", "out")
    ]
    assert counted == ([(0, 0, 0), side] if truth.direction == "out" else [side, (0, 0, 0)])
    assert customer["last_outcome"] == truth.outcome
    assert customer["last_talked"] == list(truth.talked)
    assert customer["last_line"] == truth.line
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


@pytest.mark.parametrize(("name", "number"), CALM.items())
async def test_a_scenario_at_its_own_pace_shows_each_of_its_texts(stage: Stage, name: str, number: str):
    """Every text is shown where there is time for it: the next event comes when the last is on the screen."""
    for event in catalogue()[name].events(time.time() - 60, 7, token=f"37529000{number}"):
        await stage.service.store(event.kind, event.body)
        await stage.service.shown(30)
    golden = (GOLDEN / f"{name}.en.txt").read_text(encoding="utf-8")
    told = [without_times(text) for text in golden.split("\n---\n")]
    assert [without_times(text) for text in stage.message(int(number)).texts] == told
    requests = [request for request in stage.bots.requests if request.chat_id == int(number)]
    assert len(requests) == len(told)


async def test_the_command_plays_a_scenario_of_two_calls_as_two(stage: Stage):
    """And says beforehand that it is of two."""
    listed = (await stage.service.command("scenarios")).output.splitlines()
    assert [
        line.split()[0] for line in listed if line.endswith(("(two calls)", "(two calls, plausible)"))
    ] == [f"2-{number}" for number in range(19, 23)]
    done = await stage.service.command("play", "2-19", "--speed", "max", "--token", f"37529000{BY_HAND}")
    assert done.code == 0, done.errors
    await stage.service.quiet(30)
    rows = (await stage.service.get("/api/calls", enterprise=BY_HAND))["items"]
    assert {row["direction"]: row["outcome"] for row in rows} == {
        "internal": "answered",
        "in": "lost_in_transfer",
    }
    assert sorted(text[0] for text in stage.bots.standing(int(BY_HAND))) == ["⚠", "✅"]


async def test_every_answer_to_a_host_was_quick(stage: Stage):
    answer: httpx.Response = await stage.service.client.get("/metrics")
    assert 'callfold_answers_total{status="503"}' not in answer.text


def without_times(text: str) -> list[str]:
    """What a card says but for clocks and history."""
    lines = re.sub(r", \d\d:\d\d$", "", text, flags=re.MULTILINE).splitlines()
    return [line for line in lines if line[0] not in "⌛⏰🕘"]


# CONTRACT 8, written once more


def person(number: str) -> str:
    if number in MOBILES:
        return f"📱 {MOBILES[number]} ({display(number)})"
    return f"{NAMES[number]} ({number})" if number in NAMES else number


def final_heading(run: Run, truth: Expected) -> str:
    """Pattern of the first line at the end."""
    russian, inside = run.language == "ru", truth.direction == "internal"
    mark = re.escape((" (внутр.)" if russian else " (internal)") if inside else "")
    them = person(truth.caller) if inside else display(truth.customer)
    sign = SIGNS[truth.outcome]
    match truth.outcome:
        case "answered":
            word = "Завершен" if russian else "Ended"
            return f"{sign} {word}{mark}: {_sides(them, '↔', truth.talked[-1], truth)}, \\d\\d+:\\d\\d"
        case "lost_in_transfer":
            word = "Потерян при переводе" if russian else "Lost in transfer"
            lost = ", ".join(map(person, truth.consulted))
            return f"{sign} {word}{mark}: {_sides(them, '↔', truth.talked[-1], truth)} → {re.escape(lost)}"
        case _:
            word = "Не отвечен" if russian else "Not answered"
            if inside:
                reached = person(truth.dialled or truth.rung[0]) if truth.dialled or truth.rung else None
            elif truth.direction == "out":
                reached = person(truth.caller)
            else:
                reached = ", ".join(map(person, truth.rung))
            return f"{sign} {word}{mark}: {_two(them, '→', reached, truth)}"


def chain(truth: Expected) -> str:
    """What stands below of transfers that were taken."""
    numbers = (one if one not in MOBILES else f"📱 {display(one)}" for one in truth.talked)
    return " → ".join(numbers) if len(truth.talked) > 1 else ""


def asked_below(run: Run, truth: Expected) -> str:
    """The line of those who were asked or rung and did not take the call over."""
    if not truth.consulted or truth.outcome == "lost_in_transfer":
        return ""
    word = "Звонок коллегам" if run.language == "ru" else "Colleagues rung"
    return f"\n💬 {word}: {', '.join(map(person, truth.consulted))}\n"


def _sides(them: str, arrow: str, us: str, expected: Expected) -> str:
    return _two(them, arrow, person(us), expected)


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
