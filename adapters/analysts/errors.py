"""What keeps analysts from their answer, in one line each."""

from typing import Final

EXTRA: Final = "pip install 'callfold[analyst]'"


class AnalystError(Exception):
    """The text is a reason for people."""


class ExtraMissing(AnalystError):
    """A library of the extra ``analyst`` is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(f"{library} is not installed: {EXTRA}")
        self.library = library


class ExportError(AnalystError):
    """An export cannot be written, or read."""


class QueryError(AnalystError):
    """A query was refused, or failed."""
