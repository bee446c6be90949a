"""Bodies of events as analysts may read them: JSON text without secrets, wherever in it they stand (CONTRACT 3)."""

import json
import re
from functools import lru_cache
from typing import Any, Final

from otel.redaction import HIDDEN, redact, redact_text, secret_name

_SEPARATORS: Final = (",", ":")
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=_SEPARATORS).encode
_secret_name: Final = lru_cache(1024)(secret_name)
_TOKEN: Final = f'"Token":"{HIDDEN}"'
# Something of this is in every secret that otel.redaction knows, or in a text that is written otherwise than it reads.
# Real bodies have none of it, and looking through each of their texts would take ten times as long as the rest.
_WORDS: Final = ("\\", "/bot", "://", "%3a", "token", "authorization", "password", "api", "secret", "cookie")
_NUMBER_AND_COLON: Final = re.compile(r"\d:")


def shown_text(body: bytes) -> str:
    """A stored body as JSON text, its Token and other secrets hidden; what is no JSON becomes a JSON text of itself."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return _written(redact_text(body.decode("utf-8", "replace")))
    if isinstance(read, dict):
        for name in [name for name, value in read.items() if value and _secret_name(name)]:
            read[name] = HIDDEN
    text = _written(read)
    return _written(redact(read)) if _suspicious(text) else text


def _suspicious(text: str) -> bool:
    plain = text.replace(_TOKEN, "", 1).lower()
    for word in _WORDS:
        if word in plain:
            return True
    return _NUMBER_AND_COLON.search(plain) is not None


def _written(value: Any) -> str:
    text = _encode(value)
    if text.isascii() or _encodable(text):
        return text
    return json.dumps(value, separators=_SEPARATORS)  # half a character can only be written escaped


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
