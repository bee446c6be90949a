"""Progress of long work (CONTRACT 2): a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

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


Portion = Callable[[int], None]
"""Says that so many more are done."""


@contextmanager
def portions(title: str, total: int) -> Iterator[Portion]:
    """Work of ``total`` equal parts: a bar with rate and time left on a terminal, a line every tenth elsewhere.

    The total grows where there is more to do than was expected.
    """
    if not sys.stdout.isatty():
        yield _Lines(title, total).portion
        return
    # Loading rich takes as long as the rest of a small command.
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    told = TextColumn("{task.completed:,.0f} of {task.total:,.0f}, {task.fields[rate]}")
    with Progress(TextColumn("{task.description}"), BarColumn(), told, TimeRemainingColumn()) as progress:
        task, begun = progress.add_task(title, total=total, rate=""), monotonic()

        def portion(more: int) -> None:
            progress.advance(task, more)
            done = progress.tasks[task].completed
            rate = f"{done / max(monotonic() - begun, 0.001):,.0f}/s"
            progress.update(task, rate=rate, total=max(done, total))

        yield portion


class _Lines:
    """A line for each tenth of the whole."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._done = self._tenth = 0
        self._begun = monotonic()

    def portion(self, more: int) -> None:
        self._done += more
        self._total = max(self._total, self._done)
        tenth = self._done * 10 // max(self._total, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            spent = max(monotonic() - self._begun, 0.001)
            left = (self._total - self._done) * spent / self._done
            rate = f"{self._done / spent:,.0f}/s"
            click.echo(f"{self._title}: {self._done:,} of {self._total:,}, {rate}, {left:.0f} s left")


def _plain(line: str) -> None:
    if line:
        click.echo(line)
