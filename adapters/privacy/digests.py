"""The key of the suppression list, ``DATA_DIR/forget-key``: without it nobody can tell whose number a digest is.

Numbers are few: who has list and key can try them all. So the key stands beside the database, not in it, and belongs
into no backup that holds the database.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from calls.spellings import name_words

FILE_NAME: Final = "forget-key"
_SHAPE: Final = re.compile(r"[0-9a-f]{64}")


class ForgetKeyError(Exception):
    """The key cannot be made or used; tells where, never the content."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class Digests:
    """Digests of (enterprise, number in E.164) under one key. ``key_id`` tells keys apart and nothing of the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id = self._of("key")[:8]

    @classmethod
    def open(cls, data_dir: Path) -> "Digests":
        """By the key of this DATA_DIR, made now if there is none. Raises ForgetKeyError."""
        path = data_dir / FILE_NAME
        try:
            if not path.exists():
                _make(path)
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            told = path.read_text("ascii", "replace").strip()
        except OSError as error:
            raise ForgetKeyError(path, error.strerror or type(error).__name__) from error
        if not _SHAPE.fullmatch(told):
            raise ForgetKeyError(
                path, "holds no key of 64 hexadecimal digits; put back the one that was there"
            )
        return cls(bytes.fromhex(told))

    def digest(self, enterprise: str, number: str) -> bytes:
        """32 bytes."""
        return self._of(f"{enterprise}\x1f{number}")

    def name(self, enterprise: str, name: str) -> bytes:
        """The same of what somebody is called, by its words."""
        return self._of(f"{enterprise}\x1fname\x1f{name_words(name)}")

    def namer(self, enterprise: str, names: Collection[bytes]) -> Callable[[str], bool] | None:
        """Whether words are one of these names; None where there are none."""
        known = frozenset(names) - {self.name(enterprise, "")}
        return (lambda words: self.name(enterprise, words) in known) if known else None

    def _of(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), "sha256")


def _make(path: Path) -> None:
    """A whole file in its place, or the one that another process put there first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
    finally:
        draft.unlink()
