"""``callfold sql``: a question in SQL, over an export or over the live tables."""

import asyncio
import os
from pathlib import Path

import click

from adapters.analysts import duck, live
from adapters.analysts.absent import archived_months, archived_said, asks_events
from adapters.analysts.answers import FORMS, Answer, Form, answer
from adapters.cli.export import FOLDER
from adapters.opening import open_store
from adapters.settings import Settings, load_settings
from otel.logs import configure_logs


@click.command(
    epilog="\b\nExample:\n"
    '  callfold sql "SELECT outcome, count(*) FROM calls GROUP BY outcome"\n'
    '  callfold sql --live --format csv "SELECT * FROM customers ORDER BY last_call_at DESC LIMIT 10"'
)
@click.argument("question", metavar="SQL")
@click.option("--live", "is_live", is_flag=True, help="Ask the live tables in PostgreSQL, not an export.")
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the export [DATA_DIR/exports].",
)
@click.option("--format", "form", type=click.Choice(FORMS), default="table", show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=86_400),
    default=live.SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="After which a live question is stopped.",
)
@click.option(
    "--memory",
    default=duck.MEMORY,
    show_default=True,
    metavar="SIZE",
    help="What DuckDB may take; what is more goes to a temporary folder.",
)
def sql(
    *, question: str, is_live: bool, folder: Path | None, form: Form, timeout: float, memory: str
) -> None:
    """Answer one SELECT over the tables of docs/analysts.md; times are UTC.

    Asks the newest export in DATA_DIR/exports, by DuckDB, or with --live the tables as they are now. Changes
    nothing, and reaches nothing but those tables.
    """
    if is_live and folder:
        raise click.UsageError("either --live or --export")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError("the question is no UTF-8") from error
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    told = answer(form, lambda text: click.echo(text, nl=False))
    if is_live:
        archived = asyncio.run(_ask_live(settings, question, told, timeout))
    else:
        archived = duck.ask(folder or settings.data_dir / FOLDER, question, told, memory=memory)
    if archived and asks_events(question):
        click.echo(archived_said(archived), err=True)


async def _ask_live(settings: Settings, question: str, told: Answer, seconds: float) -> list[str]:
    """The months whose events were not asked, because they are archived."""
    async with open_store(settings) as (database, pool):
        await live.ask(database, question, told, seconds=seconds)
        return await archived_months(pool)
