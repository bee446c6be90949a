"""Settings (CONTRACT 3): the environment, then ``callfold.toml`` in the working directory, then defaults."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from adapters.secret import Secret
from otel.redaction import redact_text

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

PREFIX: Final = "CALLFOLD_"
FILE_NAME: Final = "callfold.toml"
_TEST_PREFIX: Final = "CALLFOLD_TEST_"
_OTEL_PREFIX: Final = "OTEL_"
_DAY: Final = 86_400.0
_FILE: Final = "allowed: settings in TOML, UTF-8"


class SettingsError(Exception):
    """A setting that cannot be used; the text is one line and holds no secret.

    ``setting`` as its source spells it, ``origin`` ("environment", "callfold.toml"), ``problem`` with the
    value as far as it may be shown, ``allowed`` in words.
    """

    def __init__(self, setting: str, origin: str, problem: str, allowed: str) -> None:
        super().__init__(f"{setting} ({origin}): {problem}; {allowed}")
        self.setting = setting
        self.origin = origin
        self.problem = problem
        self.allowed = allowed


class OtelVariables(Mapping[str, str]):
    """The ``OTEL_*`` variables, by their full names. Values may hold keys, so only names are shown."""

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"OtelVariables({sorted(self._variables)})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked. ``data_dir`` is absolute; ``call_settle`` and ``call_silence`` are seconds.

    ``metrics_host`` and ``metrics_port``: where /metrics listens by itself (CONTRACT 4.2); without a port it
    is served beside the rest. ``public_url``: base under which readers reach recordings, "" for nowhere;
    ``telegram_webhook``: base under which Telegram reaches this service, "" to ask it instead.
    """

    database_url: Secret
    data_dir: Path
    host: str
    port: int
    admin_token: Secret
    telegram_api: str
    redis_url: Secret
    call_settle: float
    call_silence: float
    log_format: LogFormat
    log_level: LogLevel
    metrics_host: str
    metrics_port: int | None
    public_url: str
    telegram_webhook: str
    otel: OtelVariables

    @property
    def base_url(self) -> str:
        """Address at which a command on the same machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def metrics_bind(self) -> tuple[str, int] | None:
        """Address of a listener for /metrics alone, or None."""
        return None if self.metrics_port is None else (self.metrics_host or self.host, self.metrics_port)


class _Setting(msgspec.Struct, frozen=True):
    """One setting: its default as text, how a text becomes its value, what is allowed in words.

    ``parse`` raises ValueError for what is not allowed; ``secret`` values are never shown.
    """

    default: str
    parse: Callable[[str], Any]
    allowed: str
    secret: bool = False


def load_settings(env: Mapping[str, str], directory: Path) -> Settings:
    """Settings from an environment and the ``callfold.toml`` of a directory, if there is one.

    Raises SettingsError for a wrong value, an unknown name and a file that cannot be read.
    """
    in_file = _read_file(directory / FILE_NAME)
    _refuse_unknown_variables(env)
    values: dict[str, Any] = {}
    for name, setting in _SETTINGS.items():
        variable = PREFIX + name.upper()
        if variable in env:
            values[name] = _parsed(setting, variable, "environment", env[variable])
        elif name in in_file:
            values[name] = _parsed(setting, name, FILE_NAME, in_file[name])
        else:
            values[name] = setting.parse(setting.default)
    if values["metrics_host"] and values["metrics_port"] is None:
        origin = "environment" if PREFIX + "METRICS_HOST" in env else FILE_NAME
        raise SettingsError("metrics_host", origin, "given without metrics_port", "allowed: both or neither")
    values["data_dir"] = directory.absolute() / values["data_dir"]
    from_file = {name.upper(): value for name, value in in_file.items() if _is_otel(name)}
    from_env = {name: value for name, value in env.items() if name.startswith(_OTEL_PREFIX)}
    return Settings(**values, otel=OtelVariables(from_file | from_env))


def _read_file(path: Path) -> dict[str, str]:
    """The file's settings as texts; an absent file has none."""
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(FILE_NAME, str(path), f"cannot be read ({reason})", _FILE) from error
    except tomllib.TOMLDecodeError as error:
        # str(error) names line and column and what was expected; it quotes no value
        raise SettingsError(FILE_NAME, str(path), f"is not TOML: {error}", _FILE) from error
    texts: dict[str, str] = {}
    for name, value in document.items():
        if name not in _SETTINGS and not _is_otel(name):
            raise SettingsError(name, FILE_NAME, "no such setting", _did_you_mean(name, list(_SETTINGS)))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise SettingsError(name, FILE_NAME, f"a {_toml_type(value)}", "allowed: a text or a number")
        texts[name] = value if isinstance(value, str) else repr(value)
    return texts


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    known = [PREFIX + name.upper() for name in _SETTINGS]
    for variable in sorted(env):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(_TEST_PREFIX):
            raise SettingsError(variable, "environment", "no such setting", _did_you_mean(variable, known))


def _parsed(setting: _Setting, name: str, origin: str, text: str) -> Any:
    try:
        return setting.parse(text.strip())
    except ValueError:
        shown = "its value (not shown)" if setting.secret else _shown(text)
        # without its cause: the text of a ValueError may repeat a secret
        raise SettingsError(name, origin, f"{shown} is wrong", f"allowed: {setting.allowed}") from None


def _shown(text: str) -> str:
    text = redact_text(text)
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"


def _is_otel(name: str) -> bool:
    return name.startswith(_OTEL_PREFIX.lower())


def _toml_type(value: object) -> str:
    match value:
        case bool():
            return "true/false value"
        case dict():
            return "table"
        case list():
            return "list"
        case _:
            return "date or time"


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _host(text: str) -> str:
    _require(re.fullmatch(r"[A-Za-z0-9._:%-]+", text) is not None)
    return text


def _optional_host(text: str) -> str:
    return _host(text) if text else ""


def _port(text: str) -> int:
    _require(re.fullmatch(r"[0-9]{1,5}", text) is not None and int(text) <= 65_535)
    return int(text)


def _optional_port(text: str) -> int | None:
    return _port(text) if text else None


def _directory(text: str) -> Path:
    _require(bool(text) and "\0" not in text)
    path = Path(text).expanduser()
    _require(not path.exists() or path.is_dir())
    return path


def _database(text: str) -> Secret:
    _require(not text or text.startswith(("postgresql://", "postgres://")))
    return Secret(text)


def _redis(text: str) -> Secret:
    _require(not text or text.startswith(("redis://", "rediss://", "unix://")))
    return Secret(text)


def _bearer(text: str) -> Secret:
    _require(re.fullmatch(r"[\x21-\x7e]*", text) is not None)
    return Secret(text)


def _web_base(text: str) -> str:
    parts = urlsplit(text)
    _require(parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc)
    _require(not parts.query and not parts.fragment and not re.search(r"\s", text))
    _require(parts.port is None or parts.port > 0)  # reading the port raises ValueError where it is none
    _require(redact_text(text) == text)  # the base alone: what follows /bot is a secret
    return text.rstrip("/")


def _optional_web_base(text: str) -> str:
    return _web_base(text) if text else ""


def _optional_public_base(text: str) -> str:
    """A base that may stand in a message: Telegram takes no link to ``localhost`` or to a host without a dot."""
    if not text:
        return text
    base = _web_base(text)
    host = (urlsplit(base).hostname or "").rstrip(".")
    _require("." in host or ":" in host)  # a colon is of an IPv6 address alone
    _require(host.rpartition(".")[2] != "localhost")
    return base


def _seconds(text: str) -> float:
    _require(re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is not None)
    _require(0 < float(text) <= 7 * _DAY)
    return float(text)


def _one_of(alternatives: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        _require(text.lower() in alternatives)
        return text.lower()

    return parse


_FORMATS: Final = get_args(LogFormat)
_LEVELS: Final = get_args(LogLevel)
_SECONDS: Final = "seconds, above 0 and at most 604800 (a week)"
_BASE: Final = "http(s)://host[:port][/path] without user and query"
_PUBLIC: Final = (
    "http(s)://host[:port][/path] without user and query, the host an IP address or a name with a dot "
    "(Telegram takes no other in a link), or empty (no links to recordings)"
)
_PORT: Final = "a whole number from 0 to 65535 (0: any that is free)"

_SETTINGS: Final[Mapping[str, _Setting]] = {
    "database_url": _Setting("", _database, "postgresql://… or empty (embedded PostgreSQL)", secret=True),
    "data_dir": _Setting("./data", _directory, "the path of a directory, or of nothing yet"),
    "host": _Setting("127.0.0.1", _host, "an address or a host name"),
    "port": _Setting("8000", _port, _PORT),
    "admin_token": _Setting("", _bearer, "visible ASCII without spaces, or empty (one is made)", secret=True),
    "telegram_api": _Setting(
        "https://api.telegram.org",
        _web_base,
        "http(s)://host[:port][/path] without user, query and bot token",
    ),
    "redis_url": _Setting("", _redis, "redis://…, rediss://…, unix://… or empty", secret=True),
    "call_settle": _Setting("15", _seconds, _SECONDS),
    "call_silence": _Setting("7200", _seconds, _SECONDS),
    "log_format": _Setting("auto", _one_of(_FORMATS), ", ".join(_FORMATS)),
    "log_level": _Setting("info", _one_of(_LEVELS), ", ".join(_LEVELS)),
    "metrics_host": _Setting("", _optional_host, "an address or a host name, or empty"),
    "metrics_port": _Setting("", _optional_port, _PORT + ", or empty (beside the rest)"),
    "public_url": _Setting("", _optional_public_base, _PUBLIC),
    "telegram_webhook": _Setting("", _optional_web_base, _BASE + ", or empty (long polling)"),
}
