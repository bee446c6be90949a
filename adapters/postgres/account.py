"""The user of this machine that the embedded server runs as: PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from adapters.postgres.errors import CannotRunServer

ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours: PGPORT or PGDATA of a developer's shell would bend the server."""

UNPRIVILEGED: Final = "nobody"


class Account(msgspec.Struct, frozen=True):
    """A user by number and name. ``shared``: also used by programs that have nothing to do with us."""

    uid: int
    gid: int
    name: str
    shared: bool = False

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()


def account_of(uid: int) -> Account:
    """Raises CannotRunServer for a number without a name: initdb looks its own user up."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise CannotRunServer(f"uid {uid}", "this uid has no name in the user database") from error
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, shared=entry.pw_name == UNPRIVILEGED)


def choose_account(*belongings: Path) -> Account:
    """Ourselves; for root, the first owner of ``belongings`` who is not root, else ``nobody``."""
    if os.geteuid() != 0:
        return account_of(os.geteuid())
    for path in belongings:
        if path.exists() and path.stat().st_uid != 0:
            return account_of(path.stat().st_uid)
    try:
        return account_of(pwd.getpwnam(UNPRIVILEGED).pw_uid)
    except KeyError as error:
        raise CannotRunServer(UNPRIVILEGED, "there is no such user") from error


def popen(
    argv: list[str],
    account: Account,
    *,
    stdin: int | IO[bytes],
    output: int | IO[bytes],
    holds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program as ``account``, in a session of its own, with the descriptors ``holds`` kept open.

    Raises CannotRunServer.
    """
    switch: dict[str, Any] = (
        {} if account.is_ours else {"user": account.uid, "group": account.gid, "extra_groups": []}
    )
    try:
        return subprocess.Popen(  # noqa: S603  # our own binaries and sh, no words from outside
            argv,
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd="/",  # ours may be closed to the account
            env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for us; we stop our children
            umask=0o077,
            pass_fds=holds,
            **switch,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRunServer(account.name, str(error)) from error


def may(account: Account, test: str, path: Path) -> bool:
    """What ``test(1)`` answers the account about a path (``-x``, ``-w``): the kernel knows, modes hint."""
    argv = ["/bin/sh", "-c", f'test {test} "$1"', "sh", str(path)]
    with popen(argv, account, stdin=subprocess.DEVNULL, output=subprocess.DEVNULL) as process:
        return process.wait() == 0
