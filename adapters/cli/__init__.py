"""The command line (CONTRACT 2): one module a verb."""

from adapters.cli.main import main

__all__ = ["main"]
