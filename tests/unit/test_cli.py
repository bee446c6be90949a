"""The command line: its verbs, its exit codes, and what play and scenarios print."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from adapters.cli import main
from adapters.cli.failures import CommandFailed
from adapters.cli.main import VERBS
from adapters.cli.progress import portions
from adapters.settings import SettingsError
from calls.scenarios import catalogue


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="callfold")


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("CALLFOLD_"):
            monkeypatch.delenv(name)


def test_help_lists_every_verb() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.does[:30])}", result.output, re.MULTILINE)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself_and_ends_with_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    example = result.output.partition("Example:\n")[2]
    assert f"callfold {name}" in example


def test_help_loads_nothing_that_takes_long() -> None:
    code = (
        "import sys\n"
        "from adapters.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(sorted({'asyncpg', 'httpx', 'litestar', 'opentelemetry', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("callfold")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0
    assert done.stdout.startswith("callfold")


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["play"], ["play", "2-1", "--speed", "fast"], ["scenarios", "x"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert result.stdout == ""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """A verb ``fail`` that raises what is in the list."""
    raised: list[Exception] = []

    @click.command()
    def fail() -> None:
        raise raised[0]

    monkeypatch.setattr("adapters.cli.scenarios.scenarios", fail)
    return raised


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CommandFailed("the store\nis gone"), "callfold: the store is gone\n"),
        (
            SettingsError("CALLFOLD_PORT", "environment", "'x' is wrong", "allowed: a number"),
            "callfold: CALLFOLD_PORT (environment): 'x' is wrong; allowed: a number\n",
        ),
        (ExceptionGroup("tasks", [CommandFailed("no room")]), "callfold: no room\n"),
        (ExceptionGroup("tasks", [SettingsError("a", "b", "c", "d")]), "callfold: a (b): c; d\n"),
    ],
)
def test_work_that_failed_is_1_and_one_line(verb: list[Exception], error: Exception, line: str) -> None:
    verb.append(error)
    result = run("scenarios")
    assert result.exit_code == 1
    assert result.stderr == line
    assert result.stdout == ""


def test_a_defect_of_ours_shows_itself(verb: list[Exception]) -> None:
    verb.append(ZeroDivisionError("ours"))
    assert isinstance(run("scenarios").exception, ZeroDivisionError)


def test_scenarios_are_listed_by_the_catalogues_ids() -> None:
    lines = run("scenarios").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(catalogue())
    assert any("incoming" in line for line in lines)


def test_scenarios_are_listed_for_scripts_with_the_row_they_end_in() -> None:
    listed = json.loads(run("scenarios", "--json").stdout)
    assert [one["id"] for one in listed] == list(catalogue())
    by_id = {one["id"]: one for one in listed}
    assert by_id["2-1"]["expected"]["answered_by"] == "151"
    assert by_id["2-1"]["events"] == 10


class Service(ThreadingHTTPServer):
    """Takes events; ``refused`` are the paths answered 401."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refused: set[str] = set()
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.bodies.append(json.loads(body))
        answer = b'{"title": "Token of no enterprise", "Token": "375290000000"}'
        self.send_response(401 if self.path in self.server.refused else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing on standard error."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def test_play_sends_a_scenario_and_says_what_became_of_each_event(service: Service) -> None:
    result = run("play", "2-1", "--url", service.url, "--speed", "max")
    assert result.exit_code == 0, result.stderr
    kinds = [event.kind for event in catalogue()["2-1"].events(0.0, 0)]
    assert service.paths == [f"/{kind}" for kind in kinds]
    *lines, last = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[kind, "200"] for kind in kinds]
    assert all(re.search(r" \d+ ms$", line) for line in lines)
    assert re.fullmatch(r"10 events in \d+\.\d s, slowest: \w+ \d+ ms", last)


def test_play_finds_the_service_by_the_settings(service: Service) -> None:
    port = str(service.server_address[1])
    result = run("play", "3-2", "--speed", "max", CALLFOLD_HOST="0.0.0.0", CALLFOLD_PORT=port)
    assert result.exit_code == 0
    assert service.paths == ["/hangup"]


def test_a_wrong_setting_is_a_reason_and_no_traceback() -> None:
    result = run("play", "3-2", CALLFOLD_PORT="x")
    assert result.exit_code == 1
    assert result.stderr.startswith("callfold: CALLFOLD_PORT (environment): 'x' is wrong; allowed: ")


def test_two_runs_of_a_scenario_are_two_calls(service: Service) -> None:
    for _ in range(2):
        run("play", "3-2", "--url", service.url, "--speed", "max")
    first, second = service.bodies
    assert first["UniqueId"] != second["UniqueId"]


def test_a_scenario_sent_fast_tells_no_time_that_is_yet_to_come(service: Service) -> None:
    run("play", "2-15", "--url", service.url, "--speed", "max")
    ended = datetime.fromisoformat(service.bodies[-1]["EndTime"]).replace(tzinfo=timezone(timedelta(hours=3)))
    assert -5 < time.time() - ended.timestamp() < 60


def test_a_scenario_that_begins_with_silence_is_not_waited_for(service: Service) -> None:
    began = time.monotonic()
    run("play", "3-2", "--url", service.url)
    assert time.monotonic() - began < 5
    ended = datetime.fromisoformat(service.bodies[-1]["EndTime"]).replace(tzinfo=timezone(timedelta(hours=3)))
    assert -5 < time.time() - ended.timestamp() < 60


def test_play_replaces_the_token_and_leaves_out_what_most_hosts_do_not_send(service: Service) -> None:
    run("play", "2-1", "--url", service.url, "--speed", "max", "--token", "375290000009", "--least")
    assert {body["Token"] for body in service.bodies} == {"375290000009"}
    assert set(service.paths) == {"/start", "/dial", "/bridge", "/hangup"}


def test_play_names_the_events_that_were_not_stored(service: Service) -> None:
    service.refused = {"/dial", "/hangup"}
    result = run("play", "2-1", "--url", service.url, "--speed", "max")
    assert result.exit_code == 1
    assert result.stderr == (
        "callfold: 2 of 10 events were not answered 200: dial #3 (401), hangup #10 (401)\n"
    )
    assert "Token of no enterprise" in result.stdout
    assert "375290000000" not in result.stdout
    assert len(service.paths) == 10


def test_play_asks_whether_a_service_that_is_not_there_is_running(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = run("play", "3-2", "--url", url)
    assert result.exit_code == 1
    assert result.stderr == (
        "callfold: 1 of 1 events were not answered 200: hangup #1 (no connection); "
        f"is the service running at {url}?\n"
    )


def test_play_tells_a_script_everything_in_one_object(service: Service) -> None:
    service.refused = {"/dial"}
    result = run("play", "2-4", "--url", service.url, "--speed", "max", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["count"], told["stored"]) == (4, 3)
    assert [event["status"] for event in told["events"]] == [200, 200, 401, 200]
    assert told["events"][0]["unique_id"] == service.bodies[0]["UniqueId"]
    assert told["slowest"]["event"] in {"start", "new_callerid", "dial", "hangup"}


def test_play_sends_a_recorded_file(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    file.write_text('{"t": null, "event": "start", "body": {"UniqueId": "1.1", "Token": "1"}}\n' * 3)
    result = run("play", str(file), "--url", service.url, "--speed", "max")
    assert result.exit_code == 0
    assert service.bodies == [{"UniqueId": "1.1", "Token": "1"}] * 3


def test_play_refuses_what_it_cannot_play(tmp_path: Path) -> None:
    assert "did you mean 2-3" in run("play", "2-31").stderr
    assert "callfold scenarios" in run("play", "nothing").stderr
    assert run("play", "nothing").exit_code == 2
    assert run("play", "2-1", "--url", "localhost").exit_code == 2
    (tmp_path / "empty.jsonl").write_text("\n")
    assert run("play", "empty.jsonl").stderr == "callfold: empty.jsonl holds no events\n"
    (tmp_path / "bad.jsonl").write_text("{\n")
    bad = run("play", "bad.jsonl")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("callfold: bad.jsonl, line 1: not JSON")


def test_a_terminal_is_shown_a_bar_and_the_same_lines(service: Service) -> None:
    ours, theirs = os.openpty()
    command = [
        Path(sys.executable).with_name("callfold"),
        "play",
        "2-1",
        "--url",
        service.url,
        "--speed",
        "max",
    ]
    with os.fdopen(ours, "rb", buffering=0) as screen:
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env) as process:
            os.close(theirs)
            shown = b""
            with suppress(OSError):  # how Linux says that the other end was closed
                while part := screen.read(65_536):
                    shown += part
            assert process.wait(30) == 0
    assert b"sending" in shown
    assert shown.count(b" 200 ") == 10


def test_progress_never_counts_past_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    with portions("facts", 10) as told:
        for more in (8, 8):
            told(more)
    counted = [re.findall(r"facts: (\d+) of (\d+),", line) for line in capsys.readouterr().out.splitlines()]
    assert counted == [[("8", "10")], [("16", "16")]]
