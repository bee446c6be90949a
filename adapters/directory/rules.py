"""What a value of the directory file may be (CONTRACT 5): a rule says what is allowed and reads it."""

import difflib
import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import phonenumbers

from adapters.directory.bots import PREVIEW
from calls.entries import Ending, Language, Notify, Side
from calls.hours import FORM, HoursError, read_hours
from calls.numbers import is_extension, is_transform, to_e164

T = TypeVar("T")

_NUMBER: Final = re.compile(r"[0-9]{4}")
_LINE: Final = re.compile(r"[0-9A-Za-z_.@+-]{1,64}")
_TOKEN: Final = re.compile(r"[!-~]{1,128}")
_BOT_TOKEN: Final = re.compile(r"[0-9A-Za-z:_-]{3,128}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME: Final = 200
_SHORTEST_RETENTION: Final = 31
_LONGEST_RETENTION: Final = 36_500


class NotAllowed(Exception):
    """A value that is not allowed, with more to say of it than what would be."""


class Rule(msgspec.Struct, Generic[T], frozen=True):
    """``read`` gives the value as it is kept, None where it is not allowed; ``allowed`` says what is.

    ``read`` may raise NotAllowed instead. The value of a ``secret`` key is never shown.
    """

    allowed: str
    read: Callable[[Any], T | None]
    secret: bool = False


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str | None]:
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


def _one_of(words: tuple[T, ...]) -> Rule[T]:
    return Rule(" | ".join(map(str, words)), lambda value: value if value in words else None)


def phone(country: str) -> Rule[str]:
    """A possible telephone number, kept in E.164."""

    def read(value: Any) -> str | None:
        return to_e164(value, country) if isinstance(value, str) else None

    return Rule(f"a telephone number as +… or as it is dialled in {country}", read)


def no_phone_or(country: str) -> Rule[str]:
    """The same, or nothing."""
    rule = phone(country)
    return Rule(f"{rule.allowed}, or nothing", lambda value: "" if value == "" else rule.read(value))


def each(rule: Rule[T]) -> Rule[tuple[T, ...]]:
    """An array whose values each follow a rule; none twice."""

    def read(value: Any) -> tuple[T, ...] | None:
        if not isinstance(value, list):
            return None
        kept = tuple(item for item in map(rule.read, value) if item is not None)
        return kept if len(set(kept)) == len(value) else None

    return Rule(f"an array, none twice, of {rule.allowed}", read)


def _name(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        return None
    return value.strip()


def _timezone(value: Any) -> str | None:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError):
        return None


def _country(value: Any) -> str | None:
    return value if isinstance(value, str) and value in phonenumbers.SUPPORTED_REGIONS else None


def _network(value: Any) -> str | None:
    try:
        return str(ipaddress.ip_network(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _chat(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def _retention(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and _SHORTEST_RETENTION <= value <= _LONGEST_RETENTION else None


def _bot_token(value: Any) -> str | None:
    """Tokens of stand-ins may look like anything, but a misspelt ``preview`` is no token."""
    if not isinstance(value, str) or not _BOT_TOKEN.fullmatch(value):
        return None
    misspelt = value != PREVIEW and difflib.get_close_matches(value.casefold(), [PREVIEW], cutoff=0.75)
    return None if misspelt else value


def _extension(value: Any) -> str | None:
    return value if isinstance(value, str) and is_extension(value) else None


def _hours(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        return None
    text = value.strip()
    try:
        if text:
            read_hours(text)
    except HoursError as error:
        raise NotAllowed(str(error)) from error
    return text


def _transform(value: Any) -> str | None:
    return value if isinstance(value, str) and (not value or is_transform(value)) else None


NUMBER: Final = Rule("4 digits as text", _matching(_NUMBER))
NAME: Final = Rule("one line of at most 200 characters", _name)
FULL_NAME: Final = Rule("one line of 1 to 200 characters", lambda value: _name(value) or None)
TOKEN: Final = Rule("what Asterisk sends: 1 to 128 characters, no spaces", _matching(_TOKEN), secret=True)
BOT_TOKEN: Final = Rule(
    'the word "preview", or what BotFather gave: digits, a colon, letters', _bot_token, secret=True
)
VARIABLE: Final = Rule("the name of an environment variable", _matching(_VARIABLE))
FILE: Final = Rule("the path of a file", lambda value: _name(value) or None)
LANGUAGE: Final[Rule[Language]] = _one_of(get_args(Language))
TIMEZONE: Final = Rule('the name of a time zone, such as "Europe/Minsk"', _timezone)
COUNTRY: Final = Rule('an ISO code of two capitals, such as "BY"', _country)
NETWORKS: Final = each(Rule('networks such as "10.0.0.0/8" or addresses', _network))
RETENTION: Final[Rule[int | None]] = Rule(
    f"days, a whole number from {_SHORTEST_RETENTION} to {_LONGEST_RETENTION}; without the key for ever",
    _retention,
)
CHAT: Final = Rule("a chat's id: a whole number, not in quotes", _chat)
NOTIFY: Final[Rule[Notify]] = _one_of(get_args(Notify))
YES_OR_NO: Final = Rule("true | false", lambda value: value if isinstance(value, bool) else None)
SIDES: Final[Rule[tuple[Side, ...]]] = each(_one_of(get_args(Side)))
ENDINGS: Final[Rule[tuple[Ending, ...]]] = each(_one_of(get_args(Ending)))
HOURS: Final = Rule(f"hours such as {FORM}", _hours)
EXTENSION: Final = Rule("3 or 4 digits", _extension)
EXTENSIONS: Final = each(Rule("numbers of 3 or 4 digits", _extension))
LINE: Final = Rule("a line's id as Asterisk sends it, such as 0007001", _matching(_LINE))
LINES: Final = each(LINE)
TRANSFORM: Final = Rule('a prefix and how many last digits to keep, such as "+375{9}"', _transform)
