"""A text that must not be printed (CONTRACT 3): only who asks gets it, so nothing shows it by chance."""

import hmac
from typing import Final

_SHOWN: Final = "***"


class Secret:
    """A secret text: printed in any way it shows ``***``; empty is false; compared in constant time."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return f"Secret({_SHOWN if self._text else ''!r})"

    def __str__(self) -> str:
        return _SHOWN if self._text else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)
