"""The installed command as people and scripts use it: output, exit codes, beside a running service and without."""

import json
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.cli.main import VERBS
from calls.scenarios import catalogue
from tests.running import (
    TOKEN,
    UNLIMITED,
    Running,
    command,
    enterprise,
    free_port,
    running_fresh,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENT_KEYS = {"position", "enterprise", "unique_id", "version", "kind", "source", "received_at", "body"}
OTHER = "375290000009"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(postgres_server, tmp_path_factory):
    directory = enterprise("0367") + enterprise("0368", OTHER, chats=())
    folder = tmp_path_factory.mktemp("service")
    async with running_fresh(postgres_server, folder, directory, rates=UNLIMITED) as service:
        yield service


async def test_help_and_wrong_usage(tmp_path):
    helped = await command("--help", env={}, folder=tmp_path)
    assert helped.code == 0
    assert set(VERBS) <= {line.split()[0] for line in helped.output.splitlines() if line.startswith("  ")}
    for arguments in (["sing"], ["play"], ["rebuild", "everything"]):
        wrong = await command(*arguments, env={}, folder=tmp_path)
        assert (wrong.code, wrong.output) == (2, ""), arguments
        assert wrong.errors


async def test_a_wrong_setting_names_itself_its_value_and_what_is_allowed(tmp_path):
    wrong = await command("serve", env={"CALLFOLD_PORT": "80000"}, folder=tmp_path)
    assert wrong.code == 1
    (line,) = wrong.errors.splitlines()
    assert "CALLFOLD_PORT" in line
    assert "80000" in line
    assert "65535" in line


async def test_a_database_that_is_not_there_is_one_line(postgres_server, tmp_path):
    env = {"CALLFOLD_DATABASE_URL": postgres_server.dsn_of("nothing_here") + "&application_name=hidden-word"}
    wrong = await command("events", env=env, folder=tmp_path)
    assert wrong.code == 1
    (line,) = wrong.errors.splitlines()
    assert "nothing_here" in line
    assert "hidden-word" not in line


async def test_scenarios_lists_the_catalogue(tmp_path):
    done = await command("scenarios", env={}, folder=tmp_path)
    assert [line.split()[0] for line in done.output.splitlines()] == list(catalogue())
    listed = json.loads((await command("scenarios", "--json", env={}, folder=tmp_path)).output)
    assert [one["id"] for one in listed] == list(catalogue())


# play


async def test_play_of_a_scenario_makes_its_call(service: Running):
    done = await service.command("play", "2-1", "--speed", "max", "--url", service.url)
    assert done.code == 0, done.errors
    await service.quiet()
    page = await service.get("/api/calls", enterprise="0367", limit=1)
    assert page["items"][0]["answered_by"] == "151"


async def test_play_at_the_settings_address_with_another_token_and_over_one_connection(service: Running):
    arguments = ("play", "2-2", "--speed", "max", "--token", OTHER, "--keep-alive", "--json")
    done = await service.command(*arguments)
    assert done.code == 0, done.errors
    told = json.loads(done.output)
    assert told["stored"] == told["count"] == len(catalogue()["2-2"].events(0.0, 0))
    await service.quiet()
    assert [row["outcome"] for row in (await service.get("/api/calls", enterprise="0368"))["items"]] == [
        "missed"
    ]


async def test_play_of_a_file_sends_it_as_it_stands(service: Running, tmp_path):
    bodies = [
        '{"Token": "375290000000", "UniqueId": "1757840799.1",  "Trunk":"0007001", "CallType": 0}',
        '{"UniqueId":"1757840799.1","Token":"375290000000","CallType":0,"CallStatus":"0","x":{"y":[ ]}}',
    ]
    lines = [
        f'{{"t": null, "event": "{kind}", "body": {body}}}'
        for kind, body in zip(("start", "hangup"), bodies, strict=True)
    ]
    path = tmp_path / "day.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    done = await service.command("play", str(path), "--speed", "max")
    assert done.code == 0, done.errors
    assert [body.decode() for body in await service.bodies("0367", "1757840799.1")] == bodies


async def test_play_of_a_recording_runs_through(service: Running):
    path = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "in-2-18.jsonl"
    if not path.exists():
        pytest.skip("no recorded events beside the repository")
    done = await service.command("play", str(path), "--speed", "max")
    assert done.code == 0, done.errors
    await service.quiet()
    assert (await service.get("/api/calls/0367/1757840723.6"))["talked"] == ["151", "152", "150"]


async def test_play_where_nobody_listens_is_1_and_says_so(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    done = await command("play", "3-2", "--speed", "max", "--url", url, env={}, folder=tmp_path)
    assert done.code == 1
    assert url in done.errors
    assert len(done.errors.splitlines()) == 1


async def test_play_with_an_unknown_token_is_1_and_does_not_repeat_it(service: Running):
    done = await service.command("play", "3-2", "--speed", "max", "--token", "375299999999")
    assert done.code == 1
    assert "401" in done.errors
    assert "375299999999" not in done.output + done.errors


# events


async def test_events_are_printed_one_a_line_without_their_tokens(service: Running):
    await service.store("start", {"UniqueId": "1757841000.1", "Token": TOKEN, "Phone": "Ж", "n": [1]})
    await service.store("dial", {"UniqueId": "1757841000.1", "Token": TOKEN, "Extensions": ["150"]})
    await service.store("start", {"UniqueId": "1757841000.1", "Token": OTHER})
    listed = await service.command("events", "--json")
    assert listed.code == 0, listed.errors
    told = [json.loads(line) for line in listed.output.splitlines()]
    assert all(set(event) == EVENT_KEYS for event in told)
    positions = [event["position"] for event in told]
    assert positions == sorted(positions)
    assert len(told) == await service.pool.fetchval(
        "SELECT count(*) FROM facts WHERE stream ~ '^(leg|bridge)/'"
    )
    mine = [event for event in told if event["unique_id"] == "1757841000.1"]
    assert [(one["enterprise"], one["kind"], one["version"]) for one in mine] == [
        ("0367", "start", 1),
        ("0367", "dial", 2),
        ("0368", "start", 1),
    ]
    assert mine[0]["body"] == {"UniqueId": "1757841000.1", "Token": "***", "Phone": "Ж", "n": [1]}
    assert TOKEN not in listed.output
    assert OTHER not in listed.output


async def test_events_of_one_enterprise_and_of_one_call(service: Running):
    await service.quiet()
    played = await service.play(catalogue()["2-1"], seed=4321)
    await service.quiet()
    leg = played[-1].body["UniqueId"]
    mine = await service.command("events", "--enterprise", "0367", "--call", leg, "--json")
    kinds = [json.loads(line)["kind"] for line in mine.output.splitlines()]
    assert kinds == [event.kind for event in played]
    plain = await service.command("events", "--call", leg)
    assert len(plain.output.splitlines()) == len(played)
    assert TOKEN not in plain.output
    nothing = await service.command("events", "--enterprise", "0368", "--call", leg)
    assert (nothing.code, nothing.output) == (0, "")


# rebuild


async def test_rebuild_check_agrees_with_the_live_tables_and_finds_what_differs(service: Running):
    await service.quiet()
    checked = await service.command("rebuild", "all", "--check", "--json")
    assert checked.code == 0, checked.errors + checked.output
    assert json.loads(checked.output)["differences"] == []
    await service.pool.execute("UPDATE calls SET outcome = 'missed' WHERE outcome = 'answered'")
    found = await service.command("rebuild", "all", "--check")
    assert found.code == 1
    assert "outcome" in found.output
    assert "differ" in found.errors
    assert await service.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'answered'") == 0


async def test_rebuild_puts_right_what_differs_while_the_service_goes_on(service: Running):
    await service.quiet()
    await service.pool.execute("UPDATE calls SET outcome = 'missed' WHERE outcome = 'answered'")
    rebuilt = await service.command("rebuild", "all")
    assert rebuilt.code == 0, rebuilt.errors
    await service.play(catalogue()["2-1"], seed=9_876)
    await service.quiet()
    assert await service.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'answered'") > 0
    checked = await service.command("rebuild", "all", "--check")
    assert checked.code == 0, checked.errors + checked.output


# doctor


async def test_doctor_finds_nothing_wrong_beside_a_running_service(service: Running):
    done = await service.command("doctor")
    assert done.code == 0, done.output + done.errors
    assert TOKEN not in done.output
