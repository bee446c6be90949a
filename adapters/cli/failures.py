"""How a command fails: which errors are expected, and the one line that each becomes (CONTRACT 2)."""

import sys
from typing import IO, Any, Final

import click

# Errors whose text is a reason for people. Named, not imported: an error of a module that was never loaded
# cannot be the one at hand.
_EXPECTED: Final = (
    "adapters.settings:SettingsError",
    "adapters.http.admin_token:AdminTokenError",
    "adapters.asterisk.recorded:RecordedError",
    "otel.tracing:TracingError",
    "adapters.serving:CannotServe",
    "adapters.postgres.errors:DatabaseError",
    "adapters.directory.file:DirectoryFileError",
    "adapters.directory.apply:ApplyRefused",
    "adapters.recovery.files:BacklogError",
    "adapters.privacy.person:ForgetRefused",
    "adapters.privacy.digests:ForgetKeyError",
    "actors.ports:LogError",
    "projections.ports:ProjectionError",
    "calls.shapes:UnknownShape",
    "adapters.analysts.errors:AnalystError",
)


class CommandFailed(click.ClickException):
    """The work failed: one line on standard error, exit code 1."""

    exit_code = 1

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the reason."""
        click.echo(f"callfold: {self.message}", file=file or sys.stderr)


def reason_of(error: BaseException) -> str | None:
    """The reason to print for an expected error; None for one that shows a defect of ours."""
    for place in _EXPECTED:
        module, _, name = place.partition(":")
        expected = getattr(sys.modules.get(module), name, None)
        if expected is not None and isinstance(error, expected):
            return str(error)
    return None
