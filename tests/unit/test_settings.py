"""Settings: where each comes from, what is refused and how, and that no secret shows."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from adapters.http.admin_token import AdminTokenError, admin_token, same_token
from adapters.secret import Secret
from adapters.settings import Settings, SettingsError, load_settings


def settings(directory: Path, file: str | None = None, **env: str) -> Settings:
    if file is not None:
        (directory / "callfold.toml").write_text(file, "utf-8")
    return load_settings({f"CALLFOLD_{name.upper()}": value for name, value in env.items()}, directory)


def refused(directory: Path, file: str | None = None, **env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(directory, file, **env)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    got = settings(tmp_path)
    assert not got.database_url
    assert got.data_dir == tmp_path / "data"
    assert (got.host, got.port) == ("127.0.0.1", 8000)
    assert not got.admin_token
    assert got.telegram_api == "https://api.telegram.org"
    assert not got.redis_url
    assert (got.call_settle, got.call_silence) == (15, 7200)
    assert (got.log_format, got.log_level) == ("auto", "info")
    assert got.metrics_bind is None
    assert (got.public_url, got.telegram_webhook) == ("", "")
    assert dict(got.otel) == {}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    got = settings(tmp_path, 'port = 8100\nhost = "::"\n', port="8200")
    assert (got.host, got.port) == ("::", 8200)


def test_an_empty_variable_takes_back_what_the_file_says(tmp_path: Path) -> None:
    assert not settings(tmp_path, 'database_url = "postgresql://h/d"\n', database_url="").database_url


def test_numbers_in_the_file_may_be_numbers_or_text(tmp_path: Path) -> None:
    got = settings(tmp_path, 'port = "8100"\ncall_settle = 0.5\ncall_silence = 60\n')
    assert (got.port, got.call_settle, got.call_silence) == (8100, 0.5, 60.0)


def test_a_relative_data_dir_lies_in_the_working_directory(tmp_path: Path) -> None:
    assert settings(tmp_path, data_dir="here").data_dir == tmp_path / "here"
    assert settings(tmp_path, data_dir="/there").data_dir == Path("/there")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("port", "80a", "a whole number from 0 to 65535"),
        ("port", "65536", "a whole number from 0 to 65535"),
        ("port", "", "a whole number from 0 to 65535"),
        ("host", "a b", "an address or a host name"),
        ("telegram_api", "api.telegram.org", "http(s)://host"),
        ("telegram_api", "https://host:x", "http(s)://host"),
        ("call_settle", "0", "above 0"),
        ("call_settle", "nan", "above 0"),
        ("call_silence", "-1", "above 0"),
        ("log_format", "xml", "auto, text, json"),
        ("log_level", "loud", "debug, info, warning, error, critical"),
        ("metrics_port", "x", "a whole number"),
        ("public_url", "calls.example.org", "http(s)://host"),
        ("public_url", "https://localhost", "an IP address or a name with a dot"),
        ("public_url", "https://callfold:8000/x", "an IP address or a name with a dot"),
        ("public_url", "https://callfold.", "an IP address or a name with a dot"),
        ("public_url", "http://here.LOCALHOST:8000", "an IP address or a name with a dot"),
        ("telegram_webhook", "ftp://example.org", "or empty (long polling)"),
    ],
)
def test_a_wrong_value_is_named_with_its_origin_and_what_is_allowed(
    tmp_path: Path, name: str, value: str, says: str
) -> None:
    text = refused(tmp_path, **{name: value})
    assert text.startswith(f"CALLFOLD_{name.upper()} (environment): {value!r} is wrong; allowed: ")
    assert says in text


@pytest.mark.parametrize(
    "url", ["https://calls.example.org/x", "http://192.0.2.7:8000", "http://[2001:db8::7]:8000"]
)
def test_a_public_url_is_one_that_telegram_takes_in_a_link(tmp_path: Path, url: str) -> None:
    assert settings(tmp_path, public_url=url).public_url == url


def test_a_wrong_value_of_the_file_is_named_as_the_file_spells_it(tmp_path: Path) -> None:
    assert refused(tmp_path, "port = 70000").startswith("port (callfold.toml): '70000' is wrong; allowed: ")
    assert refused(tmp_path, "port = true") == (
        "port (callfold.toml): a true/false value; allowed: a text or a number"
    )
    assert "a table" in refused(tmp_path, "[port]\n")


def test_the_value_of_a_secret_is_not_in_the_error(tmp_path: Path) -> None:
    for name, value in (
        ("database_url", "mysql://user:hunter2@host/db"),
        ("redis_url", "http://:hunter2@host"),
        ("admin_token", "hunter2 hunter2"),
        ("telegram_api", "https://api.telegram.org/bot123:hunter2/"),
    ):
        assert "hunter2" not in refused(tmp_path, **{name: value})


def test_a_file_that_is_no_toml_is_named_with_the_line(tmp_path: Path) -> None:
    text = refused(tmp_path, "port = 8000\nadmin_token = hunter2\n")
    assert "callfold.toml" in text
    assert "line 2" in text
    assert "hunter2" not in text


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "callfold.toml").write_bytes(b'host = "\xff"')
    assert "not UTF-8" in refused(tmp_path)


def test_an_unknown_name_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    assert refused(tmp_path, databse_url="x") == (
        "CALLFOLD_DATABSE_URL (environment): no such setting; did you mean CALLFOLD_DATABASE_URL?"
    )
    assert refused(tmp_path, "log_levle = 'info'") == (
        "log_levle (callfold.toml): no such setting; did you mean log_level?"
    )


def test_names_of_the_test_suite_and_of_others_are_let_through(tmp_path: Path) -> None:
    load_settings({"CALLFOLD_TEST_DATABASE_URL": "x", "HOME": "/", "CALLFOLDER": "x"}, tmp_path)


def test_database_url_is_of_postgresql(tmp_path: Path) -> None:
    for url in ("postgresql://u:p@h:5432/d", "postgres:///d?host=/tmp"):
        assert settings(tmp_path, database_url=url).database_url.reveal() == url


def test_otel_variables_come_from_both_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "callfold.toml").write_text(
        'otel_exporter_otlp_endpoint = "http://file"\notel_bsp_schedule_delay = 100\n'
    )
    got = load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env", "OTHER": "x"}, tmp_path)
    assert dict(got.otel) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://env",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def test_no_secret_shows_when_settings_are_printed(tmp_path: Path) -> None:
    got = load_settings(
        {
            "CALLFOLD_DATABASE_URL": "postgresql://u:hunter2@h/d",
            "CALLFOLD_REDIS_URL": "redis://:hunter2@h",
            "CALLFOLD_ADMIN_TOKEN": "hunter2",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=hunter2",
        },
        tmp_path,
    )
    assert "hunter2" not in f"{got!r} {got} {got.admin_token:>20} {got.database_url}"
    assert got.admin_token.reveal() == "hunter2"


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_command_finds_a_service_that_listens_everywhere(tmp_path: Path) -> None:
    assert settings(tmp_path, host="0.0.0.0", port="1").base_url == "http://127.0.0.1:1"
    assert settings(tmp_path, host="::", port="1").base_url == "http://[::1]:1"
    assert settings(tmp_path, host="pbx.example", port="1").base_url == "http://pbx.example:1"


def test_metrics_may_have_an_address_of_their_own(tmp_path: Path) -> None:
    assert settings(tmp_path, metrics_port="9100").metrics_bind == ("127.0.0.1", 9100)
    assert settings(tmp_path, metrics_host="::1", metrics_port="0").metrics_bind == ("::1", 0)
    assert "both or neither" in refused(tmp_path, metrics_host="::1")


def test_an_admin_token_that_is_set_is_used_and_not_written(tmp_path: Path) -> None:
    assert admin_token(settings(tmp_path, admin_token="mine")) == "mine"
    assert not (tmp_path / "data").exists()


def test_an_admin_token_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        first = admin_token(settings(tmp_path))
    finally:
        os.umask(old_mask)
    assert len(first) >= 32
    assert admin_token(settings(tmp_path)) == first
    path = tmp_path / "data" / "admin-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_have_the_same_admin_token(tmp_path: Path) -> None:
    got = settings(tmp_path)
    gate = Barrier(8)

    def start() -> str:
        gate.wait(10)
        return admin_token(got)

    with ThreadPoolExecutor(8) as pool:
        tokens = {future.result() for future in [pool.submit(start) for _ in range(8)]}
    assert len(tokens) == 1


def test_an_admin_token_file_that_others_may_read_is_closed(tmp_path: Path) -> None:
    token = admin_token(settings(tmp_path))
    path = tmp_path / "data" / "admin-token"
    path.chmod(0o644)
    assert admin_token(settings(tmp_path)) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_admin_token_file_is_an_error_and_no_open_door(tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin-token"
    path.parent.mkdir()
    path.write_text("\n")
    with pytest.raises(AdminTokenError, match=r"holds no token.*CALLFOLD_ADMIN_TOKEN"):
        admin_token(settings(tmp_path))


def test_tokens_are_the_same_only_when_there_is_one() -> None:
    assert same_token("a", "a")
    assert not same_token("a", "b")
    assert not same_token("", "")
    assert not same_token("\udcff", "a")
    assert not same_token("ключ", "a")
