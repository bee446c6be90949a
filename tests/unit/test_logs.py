"""Logs: text or JSON, libraries' lines among ours, and no secret in any of them."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from otel.logs import configure_logs
from otel.redaction import redact, redact_text, secret_name

BOT_TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
TOKEN = "375290000000"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    for name in ("httpx", "httpcore", "opentelemetry.exporter"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_auto_is_json_where_nobody_watches_and_text_on_a_terminal() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        configure_logs("auto", "info", stream)
        structlog.get_logger("test").info("fact parked", unique_id="1757840723.6")
    (line,) = lines(pipe)
    assert line["event"] == "fact parked"
    assert line["unique_id"] == "1757840723.6"
    assert line["level"] == "info"
    assert line["logger"] == "test"
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())
    assert "1757840723.6" in terminal.getvalue()


def test_text_may_be_asked_for_where_nobody_watches_and_has_no_colours() -> None:
    pipe = io.StringIO()
    configure_logs("text", "info", pipe)
    structlog.get_logger().info("fact parked", reason="why")
    assert "reason=why" in pipe.getvalue()
    assert "\x1b" not in pipe.getvalue()


def test_times_are_iso_8601_in_utc(out: io.StringIO) -> None:
    structlog.get_logger().info("x")
    assert lines(out)[0]["timestamp"].endswith("Z")


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logs("json", "WARNING", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_second_call_replaces_the_first(out: io.StringIO) -> None:
    second = io.StringIO()
    log = structlog.get_logger()
    log.info("one")
    configure_logs("json", "info", second)
    log.info("two")
    assert [line["event"] for line in lines(out)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]


def test_lines_of_libraries_have_the_same_shape(out: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)  # a server of another test may have set it
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    (line,) = lines(out)
    assert line["event"] == "Started server process [7]"
    assert line["logger"] == "uvicorn.error"
    assert line["level"] == "info"


def test_libraries_that_set_up_their_own_handlers_are_not_heard_twice() -> None:
    own, stream = io.StringIO(), io.StringIO()
    guest = logging.getLogger("uvicorn")
    guest.addHandler(logging.StreamHandler(own))
    guest.propagate = False
    configure_logs("json", "info", stream)
    guest.warning("once")
    assert own.getvalue() == ""
    assert [line["event"] for line in lines(stream)] == ["once"]


def test_warnings_are_log_lines(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated thing", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "deprecated thing" in lines(out)[0]["event"]


def test_what_is_bound_to_the_context_is_on_every_line(out: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("ours")
        logging.getLogger("theirs").info("theirs")
    assert [line["request_id"] for line in lines(out)] == ["r-1", "r-1"]


async def test_httpx_does_not_name_the_addresses_it_asks(out: io.StringIO) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with httpx.AsyncClient(transport=transport) as client:
        await client.post(f"https://api.telegram.org/bot{BOT_TOKEN}/sendMessage")
    assert out.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_in_any_field(form: Any) -> None:
    stream = io.StringIO()
    configure_logs(form, "info", stream)
    log = structlog.get_logger()
    log.info("by name", token=TOKEN, Token=TOKEN, headers={"Authorization": "Bearer hunter2"})
    log.info("in a body", body=f'{{"Token": "{TOKEN}"}}'.encode(), copy=f'{{"Token": "{TOKEN}"}}')
    log.info("as headers", headers=[(b"token", TOKEN.encode())], pairs=[("Token", TOKEN)])
    in_the_text = f"asked https://api.telegram.org/bot{BOT_TOKEN}/getMe"
    log.info(in_the_text, bot=BOT_TOKEN)
    log.info("in an object", request=httpx.Request("POST", f"http://h/bot{BOT_TOKEN}/getMe"))
    log.info("in an address", store="postgresql://user:hunter2@host/db")
    logging.getLogger("library").warning("asked %s", f"http://h/bot{BOT_TOKEN}/getMe", extra={"token": TOKEN})
    written = stream.getvalue()
    assert len(written.splitlines()) == 7
    for secret in (TOKEN, BOT_TOKEN, "AAHdq", "hunter2"):
        assert secret not in written


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_in_a_traceback_and_no_local_variables(form: Any) -> None:
    stream = io.StringIO()
    configure_logs(form, "info", stream)

    def ask(secret_local: str) -> None:
        raise ValueError(f"cannot reach http://h/bot{BOT_TOKEN}/getMe with 'Token': '{TOKEN}'")

    for log in (structlog.get_logger(), logging.getLogger("library")):
        try:
            ask(BOT_TOKEN[::-1])
        except ValueError:
            log.exception("failed")
    written = stream.getvalue()
    assert written.count("cannot reach") >= 2
    for secret in (TOKEN, BOT_TOKEN, BOT_TOKEN[::-1]):
        assert secret not in written


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/bot1:short/sendMessage", "/bot***/sendMessage"),
        ("/botany-name/getUpdates?x=1", "/bot***/getUpdates?x=1"),
        (f"/bot{BOT_TOKEN.replace(':', '%3A')}/getMe", "/bot***/getMe"),
        ("/bottles/list", "/bottles/list"),
        (r'{"body":"{\"Token\": \"3752\"}"}', r'{"body":"{\"Token\": \"***\"}"}'),
        ('{"Token": 3752, "UniqueId": "1"}', '{"Token": ***, "UniqueId": "1"}'),
        ("token=3752 call=1", "token=*** call=1"),
        ("Authorization: Bearer abc.def\nHost: h", "Authorization: ***\nHost: h"),
        ("1757840723.6 at 12:05:23", "1757840723.6 at 12:05:23"),
        ("tokens left: 5", "tokens left: 5"),
    ],
)
def test_secrets_are_told_by_name_and_shape(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted


def test_structures_keep_their_shape() -> None:
    assert redact({"a": [1, {"bot_token": "x"}], "Token": "", "n": None}) == {
        "a": [1, {"bot_token": "***"}],
        "Token": "",
        "n": None,
    }


def test_names_of_secrets_are_told_in_any_spelling() -> None:
    for name in ("Token", "bot_token", "Admin-Token", "AUTHORIZATION", "http.request.header.authorization"):
        assert secret_name(name)
    for name in ("tokens", "unique_id", "call_id"):
        assert not secret_name(name)
