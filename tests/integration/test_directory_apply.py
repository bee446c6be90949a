"""``callfold apply``: alone or through the running service, twice, wrong, and what it means for calls under way."""

import json
import re
from pathlib import Path

import pytest

from adapters.cli.writing import apply_somehow
from adapters.directory.file import read_directory_file
from adapters.settings import load_settings
from calls.scenarios import catalogue
from tests.running import (
    TOKEN,
    UNLIMITED,
    EveryBot,
    command,
    enterprise,
    running,
    settings_env,
)

OTHER = "375290000009"


@pytest.fixture
def file(tmp_path):
    def write(text, name="june.toml"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return write


@pytest.fixture
def apply(database, tmp_path):
    """Run the command on this database, as it is where no service runs."""

    async def run(*arguments, **env):
        return await command("apply", *arguments, env={**settings_env(database.dsn), **env}, folder=tmp_path)

    return run


@pytest.fixture
def change(database, file, tmp_path):
    """The same without a process of its own: the changes that it says."""

    async def run(text):
        path = Path(file(text))
        settings = load_settings(settings_env(database.dsn), tmp_path)
        return await apply_somehow(settings, path, read_directory_file(path))

    return run


async def test_alone_it_changes_once_and_the_second_run_changes_nothing(apply, file):
    path = file(enterprise("0367", chats=(1001, -5)))
    first = await apply(path)
    assert first.code == 0, first.errors
    lines = first.output.splitlines()
    assert "0367: token set" in lines
    assert "0367: bot set (preview)" in lines
    assert {"0367: subscriber 1001 added", "0367: manager 151 added"} <= set(lines)
    assert lines[-1] == f"{len(lines) - 1} changes"
    assert TOKEN not in first.output + first.errors
    second = await apply(path)
    assert (second.code, second.output) == (0, "nothing to change\n")


async def test_json_is_a_list_of_the_changes(apply, file):
    done = await apply(file(enterprise("0367")), "--json")
    assert "0367: manager 150 added" in json.loads(done.output)


async def test_what_the_file_no_longer_names_goes_and_what_differs_changes(change):
    await change(enterprise("0367", chats=(1001, 1002)))
    text = enterprise("0367", chats=(1002, 1003)).replace("Анна Серова", "Анна Новая")
    assert await change(text) == [
        "0367: subscriber 1001 removed",
        "0367: subscriber 1003 added",
        "0367: manager 151 changed",
    ]
    assert await change(text) == []


WRONG = {
    "number": ('number = "0367"', 'number = "367"', "4 digits"),
    "chat_id": ("chat_id = 1001", 'chat_id = "1001"', "whole number"),
    "timezone": ('timezone = "Europe/Minsk"', 'timezone = "Minsk"', "time zone"),
    "lanuage": ('language = "ru"', 'lanuage = "ru"', "language"),
    "extension": ('extension = "151"', 'extension = "150"', "given twice"),
    "allowed_networks": ("allowed_networks = []", 'allowed_networks = ["10.0.0.0/33"]', "networks"),
}


async def test_errors_name_file_line_key_and_what_is_allowed_and_nothing_is_changed(apply, change, file):
    good = text = enterprise("0367")
    for right, wrong, _ in WRONG.values():
        assert right in text
        text = text.replace(right, wrong, 1)
    bad = await apply(file(text))
    assert (bad.code, bad.output) == (1, "")
    for key, (right, _, allowed) in WRONG.items():
        line = good[: good.index(right)].count("\n") + 1
        found = [
            told for told in re.split(r"(?=june\.toml:)", bad.errors) if told.startswith(f"june.toml:{line}:")
        ]
        assert any(key in told and allowed in told for told in found), (key, line, bad.errors)
    assert TOKEN not in bad.errors
    assert (await change(good))[0] == "0367: token set"


async def test_a_syntax_error_is_one_line(apply, file):
    broken = await apply(file('[[enterprise]]\nnumber = "0367\n'))
    assert broken.code == 1
    assert len(broken.errors.splitlines()) == 1
    assert "june.toml:2" in broken.errors


async def test_a_token_of_another_enterprise_is_refused(apply, change, file):
    await change(enterprise("0367"))
    refused = await apply(file(enterprise("0368")))
    assert refused.code == 1
    assert "0367" in refused.errors
    assert TOKEN not in refused.errors
    swapped = await change(enterprise("0367", OTHER) + enterprise("0368", TOKEN))
    assert {"0367: token changed", "0368: token set"} <= set(swapped)


async def test_beside_a_running_service_the_service_applies_it(database, file, tmp_path):
    async with running(database.dsn, tmp_path, rates=UNLIMITED) as service:
        path = file(enterprise("0367"))
        refused = await service.post("start", {"UniqueId": "1757840723.1", "Token": TOKEN})
        assert refused.status_code == 401
        done = await service.command("apply", path)
        assert done.code == 0, done.errors
        assert "0367: token set" in done.output
        await service.store("start", {"UniqueId": "1757840723.1", "Token": TOKEN, "CallType": 0})
        upload = {"name": "june.toml", "text": enterprise("0367"), "folder": str(tmp_path)}
        answer = await service.client.post("/api/directory", json=upload)
        assert answer.json() == {"changes": []}


async def test_a_new_token_is_asked_for_at_once(database, tmp_path):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        upload = {"name": "x.toml", "text": enterprise("0367", OTHER), "folder": str(tmp_path)}
        answer = await service.client.post("/api/directory", json=upload)
        assert answer.json()["changes"] == ["0367: token changed"]
        event = {"UniqueId": "1757840723.1"}
        assert (await service.post("start", {**event, "Token": TOKEN})).status_code == 401
        assert (await service.post("start", {**event, "Token": OTHER})).status_code == 200


async def test_networks_count_from_the_apply_on(database, tmp_path):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        event = {"UniqueId": "1757840723.1", "Token": TOKEN}
        await service.store("start", event)
        closed = enterprise("0367", networks=["10.0.0.0/8"])
        upload = {"name": "x.toml", "text": closed, "folder": str(tmp_path)}
        assert (await service.client.post("/api/directory", json=upload)).status_code == 200
        assert (await service.post("start", event)).status_code == 403


async def test_a_card_under_way_is_told_with_the_new_names_and_a_new_chat_sees_it(database, tmp_path):
    async with (
        EveryBot() as bots,
        running(
            database.dsn,
            tmp_path,
            enterprise("0367", bot_token="1:bot"),
            rates=UNLIMITED,
            telegram_api=bots.base_url,
        ) as service,
    ):
        *begun, last = catalogue()["2-1"].events(1_777_885_200.0, 1)
        for event in begun:
            await service.store(event.kind, event.body)
        await service.quiet()
        text = enterprise("0367", bot_token="1:bot", chats=(1001, 1002)).replace("Анна Серова", "Анна Новая")
        upload = {"name": "x.toml", "text": text, "folder": str(tmp_path)}
        assert (await service.client.post("/api/directory", json=upload)).status_code == 200
        await service.store(last.kind, last.body)
        await service.quiet()
        for chat_id in (1001, 1002):
            (shown,) = bots.standing(chat_id)
            assert shown.startswith("✅ Завершен")
            assert "Анна Новая (151)" in shown


async def test_the_bot_token_is_no_fact_and_in_no_answer(database, tmp_path):
    secret = "123456:" + "S" * 35
    async with running(
        database.dsn, tmp_path, enterprise("0367", bot_token=secret), telegram_api="http://127.0.0.1:9"
    ) as service:
        assert (
            await service.pool.fetchval(
                "SELECT count(*) FROM facts WHERE position(convert_to($1, 'UTF8') IN body) > 0", secret
            )
            == 0
        )
        assert (
            await service.pool.fetchval(
                "SELECT count(*) FROM facts WHERE kind = 'directory_changed' AND position($1::bytea IN body) > 0",
                TOKEN.encode(),
            )
            == 0
        )
        listed = await service.command("events", "--all", "--json")
        assert secret not in listed.output
        assert TOKEN not in listed.output
