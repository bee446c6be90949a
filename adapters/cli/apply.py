"""``callfold apply``: makes the directory of each enterprise what a file says."""

import asyncio
import json
import os
from pathlib import Path

import click

from adapters.cli.writing import Upload, apply_somehow
from adapters.directory.bots import BotTokenMissingError
from adapters.directory.file import read_directory_file
from adapters.settings import load_settings
from otel.logs import configure_logs


@click.command(epilog="\b\nExample:\n  callfold apply june.toml")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.toml")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as a JSON list.")
def apply(*, file: Path, as_json: bool) -> None:
    """Make the directory of each enterprise in the file what the file says.

    Subscribers who came by invitation stay. A second run changes nothing. An error names file, line and key, and
    nothing is changed.
    """
    files = read_directory_file(file)
    for enterprise in files:
        try:
            enterprise.bot.read(os.environ)
        except BotTokenMissingError as error:
            number = enterprise.directory.profile.number
            click.echo(f"note: {number}: {error} here; the service needs it", err=True)
    settings = load_settings(os.environ, Path.cwd())
    configure_logs(settings.log_format, "warning")
    upload = Upload(file.name, file.read_text(encoding="utf-8"), str(file.resolve().parent))
    said = asyncio.run(apply_somehow(settings, upload, files))
    if as_json:
        click.echo(json.dumps(said, ensure_ascii=False))
        return
    for line in said:
        click.echo(line)
    click.echo(f"{len(said)} changes" if said else "nothing to change")
