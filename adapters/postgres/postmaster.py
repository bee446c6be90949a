"""What runs on a cluster: the truth about ``postmaster.pid``, which survives kill -9 and power cuts.

The file names a pid, and that pid may be anybody's by now: it is believed when the process is a ``postgres``
that was started on this very cluster.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import msgspec

from adapters.postgres.errors import StartFailed
from adapters.postgres.place import SOCKET_FILE, Place

PROC: Final = Path("/proc")
READY: Final = "ready"


class PostmasterFile(msgspec.Struct, frozen=True):
    """Lines 1 and 8 of postmaster.pid (miscadmin.h). ``status``: starting, ready, stopping."""

    pid: int
    status: str


def read(cluster: Path) -> PostmasterFile | None:
    """None when there is no file, or one that says nothing yet."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        # A server in single-user mode writes its pid negative.
        return PostmasterFile(abs(int(lines[0])), lines[7].strip() if len(lines) > 7 else "starting")
    except (OSError, ValueError, IndexError):
        return None


def runs_on(cluster: Path, pid: int) -> bool:
    """True when the process is a live postmaster of this cluster. /proc where there is one, else ps(1)."""
    if (PROC / "self" / "cmdline").exists():
        try:
            argv = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.path.basename(argv[0]) == b"postgres" and os.fsencode(cluster) in argv  # noqa: PTH119  # bytes
    ps = shutil.which("ps") or "/bin/ps"
    said = subprocess.run(  # noqa: S603
        [ps, "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False, timeout=5
    ).stdout
    return b"postgres" in said and b"-D " + os.fsencode(cluster) + b" " in said


def leftovers(cluster: Path) -> list[int]:
    """Processes of a cluster whose postmaster is gone, as far as /proc shows them by their directory."""
    home = cluster.resolve()
    found = []
    for entry in PROC.glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == home and (entry / "comm").read_text().strip() == "postgres":
                found.append(int(entry.name))
        except OSError:
            continue  # ended since, or somebody else's
    return found


def clear(place: Place, *, patience: float) -> None:
    """End what a former owner left running, and disown its files. For the holder of the home's lock. Blocks.

    A server that is on its way down is given ``patience`` seconds before SIGQUIT (which costs a crash
    recovery and no data). Backends without a postmaster get SIGQUIT at once: they hold the shared memory that
    a new server must not share.
    """
    known = read(place.cluster)
    if known is not None and runs_on(place.cluster, known.pid):
        _end(known.pid, place.cluster, patience)
    for pid in leftovers(place.cluster):
        _send(pid, signal.SIGQUIT)
    _disown(place)
    for name in (SOCKET_FILE, f"{SOCKET_FILE}.lock"):
        (place.socket_dir / name).unlink(missing_ok=True)


def _end(pid: int, cluster: Path, patience: float) -> None:
    for number, seconds in ((signal.SIGINT, patience), (signal.SIGQUIT, 10.0)):
        _send(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not runs_on(cluster, pid):
                return
            time.sleep(0.02)
    raise StartFailed(f"of a former callfold (pid {pid}) does not end", "")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself, which is what was wanted


def _disown(place: Place) -> None:
    """Keep PostgreSQL from believing the pid in a stale file.

    The file stays, because its shared memory key is how the new server finds backends of the old one. It is
    given our own pid: a server never takes its parent for a rival (miscinit.c, CreateLockFile).
    """
    path = place.cluster / "postmaster.pid"
    try:
        content = path.read_text()
    except FileNotFoundError:
        return
    _, newline, rest = content.partition("\n")
    if not newline:  # torn by a crash: it holds no key, and PostgreSQL refuses to judge it
        path.unlink()
        return
    fresh = path.with_name("postmaster.pid.disowned")
    fresh.unlink(missing_ok=True)
    descriptor = place.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(descriptor, "w") as file:  # noqa: PTH123
        file.write(f"{os.getpid()}\n{rest}")
        file.flush()
        os.fchown(descriptor, place.account.uid, place.account.gid)
    fresh.replace(path)
