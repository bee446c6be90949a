"""The command ``callfold``: which verbs there are, and what becomes of their errors.

A verb is a click command named like its verb in a module that is loaded when the verb is used, so that
``callfold --help`` need not load a database driver.
"""

from importlib import import_module
from typing import Any, Final

import click
import msgspec

from adapters.cli.failures import CommandFailed, reason_of


class Verb(msgspec.Struct, frozen=True):
    """Where a verb's command is, and what the list of verbs says of it."""

    module: str
    does: str


# In the order of CONTRACT 2.
VERBS: Final[dict[str, Verb]] = {
    "serve": Verb("adapters.cli.serve", "Run the service."),
    "apply": Verb("adapters.cli.apply", "Make the directory of each enterprise what a file says."),
    "invite": Verb("adapters.cli.invite", "Make an invitation by which a chat subscribes."),
    "scenarios": Verb("adapters.cli.scenarios", "List the built-in call scenarios."),
    "play": Verb("adapters.cli.play", "Send a scenario or a recorded file as an Asterisk host would."),
    "rebuild": Verb("adapters.cli.rebuild", "Rebuild projections from the event store."),
    "events": Verb("adapters.cli.events", "Print stored events."),
    "export": Verb("adapters.cli.export", "Write events and projections into files for analysts."),
    "sql": Verb("adapters.cli.sql", "Answer a question in SQL, over an export or over the live tables."),
    "archive": Verb("adapters.cli.archive", "Move months that are over from the database into files."),
    "parked": Verb("adapters.cli.parked", "List the facts that could not be folded, and fold them again."),
    "recover": Verb("adapters.cli.recover", "Feed events that a host could not deliver."),
    "forget": Verb("adapters.cli.forget", "Put a pseudonym in the place of a person's number, everywhere."),
    "doctor": Verb("adapters.cli.doctor", "Check configuration and database, and say what to do."),
}


class _Verbs(click.Group):
    """The verbs, listed without being loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(VERBS[cmd_name].module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.does) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            alone = _alone(error)
            if isinstance(alone, click.ClickException):
                raise alone from error
            reason = reason_of(alone)
            if reason is None:
                raise
            raise CommandFailed(reason) from error


def _alone(error: Exception) -> Exception:
    """What a task group wrapped, where it wrapped one error only."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each verb has --help with an example. Settings: CALLFOLD_… or callfold.toml, see README.",
)
@click.version_option(package_name="callfold")
def main() -> None:
    """Asterisk call events folded into the truth about each call."""
