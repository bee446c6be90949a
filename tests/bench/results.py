"""What the measures found: a table for people, JSON for scripts."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure beside its rival's. ``what``: ours; the rival's. ``ratio``: above 1 where ours is the better."""

    name: str
    what: str
    unit: str
    ours: float
    rival: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    limit: str = ""
    rounds: list[Any] = field(default_factory=list)


def print_table(rows: list[Row]) -> None:
    table = Table(title="callfold: measures (docs/decisions/0004-measures.md)")
    for column in ("measure", "ours", "rival", "unit", "ratio", "goal", "met"):
        table.add_column(column, justify="left" if column in {"measure", "unit", "goal"} else "right")
    table.add_column("what, and what limits it", overflow="fold")
    for row in rows:
        told = f"{row.what}. {row.limit}" if row.limit else row.what
        met = "" if row.met is None else ("yes" if row.met else "NO")
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.name, _short(row.ours), _short(row.rival), row.unit, ratio, row.goal, met, told)
    Console(width=None if os.isatty(1) else 160).print(table)


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
