"""Progress of long work (CONTRACT 2): a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Step = Callable[[str], None]
"""Says that one more part is done; a text that is not empty is printed as a line."""


@contextmanager
def steps(title: str, total: int | None) -> Iterator[Step]:
    """Steps of some work; ``total`` is how many there will be, None where nobody knows."""
    if not sys.stdout.isatty():
        yield _plain
        return
    # Loading rich takes as long as the rest of a small command.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(title, total=total)

        def step(line: str) -> None:
            if line:
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)

        yield step


def _plain(line: str) -> None:
    if line:
        click.echo(line)
