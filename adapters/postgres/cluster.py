"""The files of one embedded cluster: made whole or not at all, configured at every start, a bounded log."""

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from adapters.postgres.account import account_of
from adapters.postgres.child import run_guarded
from adapters.postgres.errors import InitFailed
from adapters.postgres.place import Place

DATABASE: Final = "callfold"
INIT_SECONDS: Final = 120.0
LOG_BYTES: Final = 4 * 1024 * 1024
LOG_KEPT_BYTES: Final = 1024 * 1024

# In single-user mode a statement ends with a semicolon and an empty line. `terse` keeps DETAIL, where the
# value of a violated key may be a secret, out of the log of our sessions; the server's own troubles
# are told in full.
FIRST_WORDS: Final = f"""\
ALTER ROLE {DATABASE} SET log_error_verbosity = terse;

CREATE DATABASE {DATABASE};

"""

# Durable first: fsync, full_page_writes and synchronous_commit are PostgreSQL's defaults, said here so that
# nobody has to know.
SETTINGS: Final = """\
listen_addresses = ''
port = 5432
unix_socket_permissions = 0700
max_connections = 50
shared_buffers = 128MB
fsync = on
full_page_writes = on
synchronous_commit = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_min_error_statement = panic
"""


def make(place: Place, programs: Path, lock: int) -> None:
    """initdb, and the database ``callfold`` in it; under another name first, so that it is whole or absent.

    For the holder of the home's ``lock``, a descriptor that initdb and its children keep: should we be killed,
    nobody else makes a cluster while they still write. Blocks for about a second. Raises InitFailed.
    """
    for torn in place.home.glob("cluster.new-*"):
        shutil.rmtree(torn, ignore_errors=True)
    fresh = place.home / f"cluster.new-{secrets.token_hex(4)}"
    fresh.mkdir(mode=0o700)
    if not place.account.is_ours:
        os.chown(fresh, place.account.uid, place.account.gid)
    try:
        # C.UTF-8 of the builtin provider: lower('Ё') is right, and the same on every machine and release.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = [f"--username={DATABASE}", "--auth=reject", "--no-instructions"]
        _run(place, [str(programs / "initdb"), "-D", str(fresh), *locale, *access], lock)
        alone = ["--single", "-j", "-c", "exit_on_error=true", "-D", str(fresh), "postgres"]
        _run(place, [str(programs / "postgres"), *alone], lock, said=FIRST_WORDS.encode())
        fresh.rename(place.cluster)
        _sync(place.home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def configure(place: Place) -> list[str]:
    """Write the configuration where the server's user may read it alone; returns the server's options."""
    _write(place, "postgresql.conf", SETTINGS + f"unix_socket_directories = '{place.socket_dir}'\n")
    _write(place, "pg_hba.conf", "local all callfold peer map=callfold\n")
    # Who may reach the socket at all is in the mode of its directory; this keeps a shared account out.
    users = {account_of(0).name, account_of(os.geteuid()).name}
    if not place.account.shared:
        users.add(place.account.name)
    _write(place, "pg_ident.conf", "".join(f'callfold "{user}" callfold\n' for user in sorted(users)))
    files = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
    options = [word for name, file in files.items() for word in ("-c", f"{name}={place.home / file}")]
    return ["-D", str(place.cluster), *options]


def log_tail(place: Place, since: int = 0, lines: int = 12) -> str:
    """The last lines that the server wrote after byte ``since`` of its log, joined with `` | ``."""
    try:
        with place.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(since, end - 8192) if since <= end else 0)
            said = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in said[-lines:] if line.strip())


def trim_log(place: Place) -> None:
    """Keep the newest part of a log that has grown too long. The server appends: it may write meanwhile."""
    if not place.log.exists() or place.log.stat().st_size <= LOG_BYTES:
        return
    with open(place.open(place.log, os.O_RDWR), "r+b") as log:  # noqa: PTH123
        log.seek(-LOG_KEPT_BYTES, os.SEEK_END)
        kept = log.read()
        log.truncate(0)
    with open(place.open(place.log, os.O_WRONLY | os.O_APPEND), "ab") as log:  # noqa: PTH123
        log.write(kept[kept.find(b"\n") + 1 :])


def _run(place: Place, argv: list[str], lock: int, said: bytes = b"") -> None:
    begun = place.log.stat().st_size if place.log.exists() else 0
    os.close(place.open(place.log, os.O_WRONLY | os.O_CREAT))
    status = run_guarded(argv, place.account, within=INIT_SECONDS, output=place.log, said=said, holds=(lock,))
    if status != 0:
        what = Path(argv[0]).name
        ended = (
            f"{what} took more than {INIT_SECONDS:g} s" if status is None else f"{what} ended with {status}"
        )
        raise InitFailed(f"{ended}: {log_tail(place, begun)}")


def _write(place: Place, name: str, text: str) -> None:
    fresh = place.home / f"{name}.new"
    with open(place.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w") as file:  # noqa: PTH123
        os.fchmod(file.fileno(), 0o644)  # whatever our umask
        file.write(text)
    fresh.replace(place.home / name)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
