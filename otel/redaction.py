"""What must never be written down (CONTRACT 3), taken out of texts and structures on their way out.

Two nets, because either alone has holes: names under which a secret is kept (``Token``, ``bot_token``, …)
and shapes by which one is known wherever it stands (a Bot API token, the address that carries it).
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

HIDDEN: Final = "***"

_SECRET_NAMES: Final = frozenset(
    {
        "token",
        "bot_token",
        "admin_token",
        "access_token",
        "authorization",
        "proxy_authorization",
        "cookie",
        "set_cookie",
        "password",
        "secret",
        "secret_token",
        "x_telegram_bot_api_secret_token",
        "api_key",
    }
)

# Bot API: "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"; the colon may be escaped in an address.
_BOT_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9])\d+(?::|%3[Aa])[A-Za-z0-9_-]{30,}")
# /bot{token}/{method}: methods are camelCase, which "/bottles/list" is not. A token of digits, colon and
# anything is hidden whatever follows it, so that short ones of tests and mistyped ones are caught as well.
_BOT_PATH: Final = re.compile(r"""/bot(?:\d+(?::|%3[Aa])[^/\s"'?#]+|[^/\s"'?#]+(?=/[a-z]+[A-Z]))""")
# "Token": "…", token='…', Token: …, \"Token\": \"…\" (a body inside of a JSON line), (b'token', b'…') (a
# header as ASGI has it), Authorization: Bearer …
_NAMED: Final = re.compile(
    r"""(?ix)
    (?<![a-z0-9])
    ((?:bot_|admin_|access_|secret_)?token|(?:proxy-)?authorization|password|api_key)
    (\\*["']\s*[:=,]\s*b? | \s*[:=]\s*b?(?=["']) | \s*[:=]\s*)
    (?:
        (?P<quote>\\*["']) .*? (?P=quote)       # up to the quote of the same kind
      | (?:(?:bearer|basic)\s+)? [^\s,;&"'}\])<>\\]+
    )
    """
)
_NAMED_WORDS: Final = ("token", "authorization", "password", "api_key")
_USERINFO: Final = re.compile(r"(://[^/\s:@\"']*:)[^@/\s\"']+@")


def secret_name(name: str) -> bool:
    """True when a value under this name (key, header, attribute) is never shown, whatever it is."""
    plain = name.lower().replace("-", "_")
    return plain in _SECRET_NAMES or plain.rpartition(".")[2] in _SECRET_NAMES


def redact_text(text: str) -> str:
    """The text with every secret that can be told by its shape or by the name before it hidden."""
    text = _BOT_PATH.sub("/bot" + HIDDEN, text)
    text = _BOT_TOKEN.sub(HIDDEN, text)
    text = _USERINFO.sub(rf"\g<1>{HIDDEN}@", text)
    lowered = text.lower()  # most texts have none of the words, and looking for words is ten times cheaper
    if any(word in lowered for word in _NAMED_WORDS):
        text = _NAMED.sub(_hide_value, text)
    return text


def redact(value: Any) -> Any:
    """The same structure of mappings and lists with secrets hidden; other objects are left as they are."""
    match value:
        case str():
            return redact_text(value)
        case bytes() | bytearray():
            return redact_text(bytes(value).decode("utf-8", "replace"))
        case Mapping():
            return {
                key: HIDDEN if isinstance(key, str) and secret_name(key) and item else redact(item)
                for key, item in value.items()
            }
        case (str() as name, str() | bytes()) if secret_name(name):
            return [name, HIDDEN]
        case Sequence() | AbstractSet():
            return [redact(item) for item in value]
        case _:
            return value


def _hide_value(found: re.Match[str]) -> str:
    quote = found.group("quote") or ""
    return f"{found.group(1)}{found.group(2)}{quote}{HIDDEN}{quote}"
