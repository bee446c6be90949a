"""The projections by name: what each is made from, its tables, its version."""

from collections.abc import Sequence
from typing import Final, Literal

Name = Literal["calls", "customers", "legs", "agents", "traffic", "hosts"]

NAMES: Final[tuple[Name, ...]] = ("calls", "customers", "legs", "agents", "traffic", "hosts")
SUMS: Final = ("customers", "agents", "traffic")
"""Counted from rows of other projections (adapters.store.sums)."""

TABLES: Final[dict[Name, tuple[str, ...]]] = {
    "calls": ("calls", "call_legs"),
    "customers": ("customers",),
    "legs": ("legs",),
    "agents": ("call_agents", "agents"),
    "traffic": ("traffic",),
    "hosts": ("hosts",),
}
"""Tables of each; a rebuild of it puts all of them in the place of the live ones."""


def needed(names: Sequence[Name]) -> tuple[Name, ...]:
    """These, and calls: a fold of all others makes them anyway."""
    return tuple([name for name in NAMES if name in names or name == "calls"])
