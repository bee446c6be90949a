"""Where the embedded database lives: its directory, its socket, and who owns them.

The home of a database is ``DATA_DIR/postgres``. Where the server's user cannot get there (root in a 0700
home, CONTRACT 3) it is a directory named after DATA_DIR in a place that everybody can reach, and a pointer
file in DATA_DIR keeps the two together. Every process comes to the same answer without asking another.
"""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from adapters.postgres.account import Account, choose_account, may
from adapters.postgres.errors import ClusterGone, NoPlace

POINTER: Final = "postgres.location"
ELSEWHERE: Final = (Path("/var/lib"), Path("/var/db"), Path("/var/tmp"), Path(tempfile.gettempdir()))  # noqa: S108
"""Persistent places first; /var/db is macOS's /var/lib."""

SOCKET_FILE: Final = ".s.PGSQL.5432"
# sun_path holds 104 bytes on macOS and the BSDs, 108 on Linux; asyncpg and PostgreSQL split hosts at commas
SOCKET_PATH_BYTES: Final = 100
PLAIN_PATH: Final = re.compile(r"[\w/.+-]+", re.ASCII)


class Place(msgspec.Struct, frozen=True):
    """One database's directories. ``note`` says where it is when that is not where one would look."""

    home: Path
    socket_dir: Path
    account: Account
    note: str | None = None

    @property
    def cluster(self) -> Path:
        """PGDATA: absent, or whole."""
        return self.home / "cluster"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    def dsn(self, database: str) -> str:
        return f"postgresql://callfold@/{database}?host={self.socket_dir}&port=5432"

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file of the home; one that root makes is its user's, so that the user can go on alone."""
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        owner = self.home.stat()
        if os.fstat(descriptor).st_uid != owner.st_uid and os.geteuid() == 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


def settle(data_dir: Path, elsewhere: Sequence[Path] = ELSEWHERE) -> Place:
    """Find or make the home of the database of DATA_DIR. Blocks. Raises EmbeddedError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = data_dir.resolve(strict=True)
        pointer = data_dir / POINTER
        pointed = Path(pointer.read_text().strip()) if pointer.exists() else None
    except OSError as error:
        raise NoPlace(data_dir, (str(error),)) from error
    if pointed is not None and not pointed.is_dir():
        raise ClusterGone(pointer, pointed)

    beside = data_dir / "postgres"
    reasons: list[str] = []
    for home in _candidates(beside, pointed, data_dir, elsewhere):
        account = choose_account(home / "cluster", data_dir)
        reason = _prepare(home, account)
        if reason is not None:
            reasons.append(reason)
            continue
        if home == beside:
            return Place(home, _socket_dir(home), account)
        if pointed is None:
            _write_pointer(pointer, home)
        note = f"the database of {data_dir} is in {home}, where its user {account.name} can reach it"
        return Place(home, _socket_dir(home), account, note)
    raise NoPlace(data_dir, tuple(reasons))


def _candidates(beside: Path, pointed: Path | None, data_dir: Path, elsewhere: Sequence[Path]) -> list[Path]:
    if pointed is not None:
        return [pointed]
    # Only root's server is another user; and what has been begun here must not be begun anew elsewhere.
    if os.geteuid() != 0 or (beside / "cluster").exists():
        return [beside]
    named = "callfold-" + _digest(data_dir)
    return [beside, *(base / named for base in elsewhere if base.is_dir())]


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _socket_dir(home: Path) -> Path:
    inside = home / "socket"
    if len(os.fsencode(inside / SOCKET_FILE)) <= SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(str(inside)):
        return inside
    # /tmp by name: TMPDIR may differ between the processes that have to meet here.
    return Path("/tmp") / f"callfold-{_digest(home)}"  # noqa: S108  # owner and mode are checked below


def _prepare(home: Path, account: Account) -> str | None:
    """Make the home and the directory of the socket. Returns why they cannot be here, or None."""
    if not account.is_ours and not may(account, "-x", home.parent):
        return f"{account.name} cannot enter {home.parent}"
    socket_dir = _socket_dir(home)
    try:
        # A shared account gets nothing but its own parts of the home to write in.
        _make_dir(home, account, mode=0o711 if account.shared else 0o700, give=not account.shared)
        _make_dir(socket_dir, account, mode=0o700, give=True)
    except OSError as error:
        return str(error)
    if not account.is_ours and not may(account, "-w", socket_dir):
        return f"{account.name} cannot write in {socket_dir}"
    return None


def _make_dir(path: Path, account: Account, *, mode: int, give: bool) -> None:
    """Make a directory, or finish one of ours; a name in a shared place may have been taken by anybody."""
    with contextlib.suppress(FileExistsError):  # whose it is, is what the next lines ask
        path.mkdir(mode=0o700)
    found = path.lstat()
    if found.st_uid not in {os.geteuid(), account.uid}:
        raise PermissionError(f"{path} belongs to uid {found.st_uid}: run callfold as that user, or as root")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is no directory")
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        path.chmod(mode)
        if give and not account.is_ours:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _write_pointer(pointer: Path, home: Path) -> None:
    fresh = pointer.with_name(f"{POINTER}.{os.getpid()}")
    fresh.write_text(f"{home}\n")
    fresh.replace(pointer)
