"""A child process that does not outlive us: it gets SIGINT when we end, however we end.

A guard, a few lines of sh in a session of its own, reads a pipe that only we hold open: end of file means
that we are gone. Unlike the kernel's parent death signal it is not bound to the thread that forked, needs no
util-linux, and is the same on every POSIX system (docs/decisions/0003-postgres.md).
"""

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, Self

from adapters.postgres.account import Account, popen

# It outlives what a terminal or a service manager sends to everybody at once.
GUARD: Final = """
trap '' HUP INT TERM QUIT
read -r child || exit 0
read -r word && exit 0
kill -INT "$child"
"""


class GuardedChild:
    """A started process with its guard."""

    def __init__(
        self, process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes], account: Account
    ) -> None:
        self._process = process
        self._guard = guard
        self._account = account

    @classmethod
    def spawn(
        cls,
        argv: list[str],
        account: Account,
        *,
        stdin: int | IO[bytes],
        output: IO[bytes],
        holds: Sequence[int] = (),
    ) -> Self:
        """Start ``argv`` as ``account``; blocks for two forks, some milliseconds. Raises CannotRunServer.

        It keeps the descriptors ``holds``, and with them the locks on their files, for as long as it lives.
        """
        guard = _spawn_guard(account)  # first: from the fork on, next to nothing stands before the guard
        try:
            process = popen(argv, account, stdin=stdin, output=output, holds=holds)
            _tell(guard, b"%d\n" % process.pid)
        except BaseException:
            _dismiss(guard)
            raise
        return cls(process, guard, account)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    @property
    def returncode(self) -> int | None:
        """None while the process runs; afterwards its status, negative for a signal."""
        status = self._process.poll()
        if status is not None:
            _dismiss(self._guard, b"ended\n")  # at once: the pid may be anybody's from now on
        return status

    def keep_guarded(self) -> None:
        """Put a new guard in the place of one that somebody killed."""
        if self.returncode is None and self._guard.poll() is not None:
            guard = _spawn_guard(self._account)
            _tell(guard, b"%d\n" % self.pid)
            _dismiss(self._guard)
            self._guard = guard

    def wait(self, patience: float | None) -> int | None:
        """Wait for the end, at most ``patience`` seconds; None when it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # the answer below says so
            self._process.wait(patience)
        return self.returncode

    def stop(self, *, fast: float = 30.0, immediate: float = 5.0) -> None:
        """End the process and wait for it: SIGINT, after ``fast`` seconds SIGQUIT, then SIGKILL."""
        for number, patience in ((signal.SIGINT, fast), (signal.SIGQUIT, immediate), (signal.SIGKILL, None)):
            if self.returncode is None:
                self._process.send_signal(number)
                self.wait(patience)


def run_guarded(
    argv: list[str],
    account: Account,
    *,
    within: float,
    output: Path,
    said: bytes = b"",
    holds: Sequence[int] = (),
) -> int | None:
    """Run a command to its end and return its status; None when it was stopped after ``within`` seconds.

    What it says is added to the file ``output``; ``said`` is its standard input.
    """
    with output.open("ab") as log, tempfile.TemporaryFile() as stdin:
        stdin.write(said)
        stdin.seek(0)
        child = GuardedChild.spawn(argv, account, stdin=stdin, output=log, holds=holds)
    try:
        return child.wait(within)
    finally:
        child.stop(fast=1.0, immediate=1.0)


def _spawn_guard(account: Account) -> subprocess.Popen[bytes]:
    return popen(["/bin/sh", "-c", GUARD], account, stdin=subprocess.PIPE, output=subprocess.DEVNULL)


def _tell(guard: subprocess.Popen[bytes], word: bytes) -> None:
    assert guard.stdin is not None
    guard.stdin.write(word)
    guard.stdin.flush()


def _dismiss(guard: subprocess.Popen[bytes], word: bytes = b"") -> None:
    """Let the guard go; with a word, without a signal to its child."""
    assert guard.stdin is not None
    if guard.stdin.closed:
        return
    with contextlib.suppress(BrokenPipeError):  # somebody killed the guard: nobody left to tell
        _tell(guard, word)
    with contextlib.suppress(BrokenPipeError):  # close() flushes what was left unsaid
        guard.stdin.close()
    guard.wait()
