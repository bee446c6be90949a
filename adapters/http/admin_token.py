"""The admin token (CONTRACT 3): from the settings, else made once and kept in ``DATA_DIR/admin-token``."""

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final

from adapters.settings import Settings

FILE_NAME: Final = "admin-token"
_SHAPE: Final = re.compile(r"[\x21-\x7e]+")


class AdminTokenError(Exception):
    """The file of the admin token cannot be made or used; tells where and what to do, never the content."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; mend or remove the file, or set CALLFOLD_ADMIN_TOKEN")
        self.path = path
        self.problem = problem


def admin_token(settings: Settings) -> str:
    """Bearer token of /api, /cache and /stats, login of the pages; the same for processes that start at once.

    Raises AdminTokenError.
    """
    if settings.admin_token:
        return settings.admin_token.reveal()
    path = settings.data_dir / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise AdminTokenError(path, error.strerror or type(error).__name__) from error


def same_token(given: str, expected: str) -> bool:
    """True when both are the same token and there is one; takes the same time wherever they differ."""
    equal = hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )
    return equal and bool(expected)


def _make(path: Path) -> None:
    """Puts a whole file in its place, or leaves the one that another process put there first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file created in place could be read before it is written, and would stay empty after a crash between.
    # A link appears complete, and it is refused where the name is taken.
    draft = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return  # the other process's token is as good
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    token = path.read_text("utf-8", "replace").strip()
    if not _SHAPE.fullmatch(token):
        raise AdminTokenError(path, "holds no token (visible ASCII without spaces)")
    return token
