"""``callfold serve``: the service."""

import asyncio
import logging
import os
import sys
from importlib.resources import files
from pathlib import Path

import click
import msgspec
import uvloop

from adapters.composition import Service, open_service
from adapters.directory.file import read_directory_text
from adapters.serving import Serving
from adapters.settings import Settings, load_settings
from otel.logs import configure_logs


@click.command(
    epilog="\b\nExample:\n  callfold serve\n  callfold serve --host 0.0.0.0 --port 8080",
)
@click.option("--host", help="Address to listen on.  [default: HOST of the settings]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: PORT of the settings]")
@click.option("--sample", is_flag=True, help="Apply the sample directory if there is none yet.")
def serve(*, host: str | None, port: int | None, sample: bool) -> None:
    """Run the service until Ctrl-C.

    A second one beside it stands by and takes over when the first is gone.
    """
    settings = load_settings(os.environ, Path.cwd())
    settings = msgspec.structs.replace(
        settings, host=host or settings.host, port=settings.port if port is None else port
    )
    configure_logs(settings.log_format, settings.log_level)
    logging.getLogger("uvicorn.error").setLevel(
        logging.WARNING
    )  # its starts and stops are told by the service
    uvloop.run(_serve(settings, sample=sample))


async def _serve(settings: Settings, *, sample: bool) -> None:
    async with open_service(settings) as service:
        listening = asyncio.Event()
        serving = Serving(service, listening.set)
        greeting = asyncio.ensure_future(_greet(service, listening, sample=sample))
        try:
            await serving.run()
        finally:
            greeting.cancel()


async def _greet(service: Service, listening: asyncio.Event, *, sample: bool) -> None:
    """Say what to open and what to type next, once calls are taken."""
    click.echo(f"callfold: {service.database.describe()}")
    if service.database.embedded is not None and service.database.embedded.location_note:
        click.echo(f"callfold: {service.database.embedded.location_note}")
    await service.house.recovered.wait()
    if sample and not await service.pool.fetchval("SELECT EXISTS (SELECT 1 FROM secrets)"):
        source = files("adapters.directory").joinpath("sample.toml")
        said = await service.apply(read_directory_text(source.read_text("utf-8"), "sample.toml", Path.cwd()))
        click.echo(f"callfold: the sample directory was applied ({len(said)} changes)")
    await listening.wait()
    base = service.settings.base_url
    click.echo(f"callfold: ready on {base}")
    click.echo(f"    open  {base}/login?key={service.sessions.new_link()}")
    command = f"{_own_name()} play 2-1"
    if base != load_settings({}, Path.cwd()).base_url:
        command += f" --url {base}"
    click.echo(f"    type  {command}        (in a second terminal)")


def _own_name() -> str:
    """How this command was called, as somebody in the same folder would type it."""
    command = Path(sys.argv[0])
    here = Path.cwd()
    return str(command.relative_to(here)) if command.is_relative_to(here) else str(command)
