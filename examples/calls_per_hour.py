"""Calls per hour, and how long callers waited, drawn from an export.

    callfold export
    python examples/calls_per_hour.py data/exports calls.png
    python examples/calls_per_hour.py data/exports calls.png --enterprise 0367 --timezone Europe/Minsk

Needs the extra: pip install 'callfold[analyst]'. Any export will do, the folder's Parquet is read as it lies there.
"""

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
P50, P90 = "#264653", "#e76f51"
OUTCOMES = {
    "answered": ("answered", "#2a9d8f"),
    "lost_in_transfer": ("lost in transfer", "#e9c46a"),
    "missed": ("missed", "#d1495b"),
}
CALLS = """
SELECT epoch(date_trunc('hour', started_at)) AS hour, outcome, count(*) AS calls
FROM read_parquet($files)
WHERE direction = 'in' AND outcome <> 'open' AND ($enterprise IS NULL OR enterprise = $enterprise)
GROUP BY ALL ORDER BY hour
"""
# Waits that ended with an answer: who was missed has waited too, but for nothing.
WAITS = """
SELECT epoch(date_trunc($bucket, started_at)) AS since, count(*) AS calls,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY wait_s) AS p50,
       percentile_disc(0.9) WITHIN GROUP (ORDER BY wait_s) AS p90
FROM read_parquet($files)
WHERE direction = 'in' AND answered_at IS NOT NULL AND wait_s IS NOT NULL
  AND ($enterprise IS NULL OR enterprise = $enterprise)
GROUP BY since ORDER BY since
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws calls per hour and waits of an export.")
    parser.add_argument("export", type=Path, help="folder of an export")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--enterprise", help="this one alone")
    parser.add_argument("--timezone", type=ZoneInfo, default=ZoneInfo("UTC"), help="of the axis [UTC]")
    given = parser.parse_args()
    files = str(given.export / "calls" / "*" / "*.parquet")
    if not any(given.export.glob("calls/*/*.parquet")):
        parser.exit(1, f"no call in {files}\n")
    told = {"files": files, "enterprise": given.enterprise}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        calls = connection.execute(CALLS, told).fetchall()
        if not calls:
            parser.exit(1, f"no incoming call of this enterprise in {files}\n")
        # Of a few calls an hour no percentile says anything: then by day.
        span = timedelta(seconds=calls[-1][0] - calls[0][0])
        bucket = "hour" if span <= 4 * DAY else "day"
        waits = connection.execute(WAITS, {**told, "bucket": bucket}).fetchall()
    whose = f"enterprise {given.enterprise}" if given.enterprise else "all enterprises"
    draw(calls, waits, bucket, given.timezone, whose).savefig(given.picture)


def draw(
    calls: list[tuple[Any, ...]], waits: list[tuple[Any, ...]], bucket: str, zone: ZoneInfo, whose: str
) -> Figure:
    """Both charts, one above the other, over the same time."""
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(12, 7.5), dpi=120, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    begin, end = _at(calls[0][0], zone), _at(calls[-1][0], zone) + HOUR
    count = sum(row[2] for row in calls)
    figure.suptitle(
        f"Incoming calls of {whose}, {begin:%d %b %Y} to {end:%d %b %Y}: {count:,} calls",
        fontsize=14,
        fontweight="bold",
    )
    _calls_per_hour(above, calls, zone)
    _waits(below, waits, bucket, zone)
    locator = AutoDateLocator(tz=zone)
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    below.set_xlim(begin, end)
    below.set_xlabel(f"time ({zone.key})")
    return figure


def _calls_per_hour(axes: Axes, calls: list[tuple[Any, ...]], zone: ZoneInfo) -> None:
    hours = sorted({row[0] for row in calls})
    counted = {(hour, outcome): number for hour, outcome, number in calls}
    left = [_at(hour, zone) for hour in hours]
    below = [0] * len(hours)
    for outcome, (name, colour) in OUTCOMES.items():
        mine = [counted.get((hour, outcome), 0) for hour in hours]
        total = sum(mine)
        axes.bar(left, mine, width=HOUR, bottom=below, align="edge", color=colour, label=f"{name}: {total:,}")
        below = [low + more for low, more in zip(below, mine, strict=True)]
    axes.set_title("Calls per hour, by how they ended", loc="left")
    axes.set_ylabel("calls an hour")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)


def _waits(axes: Axes, waits: list[tuple[Any, ...]], bucket: str, zone: ZoneInfo) -> None:
    width = HOUR if bucket == "hour" else DAY
    edges = [_at(row[0], zone) for row in waits]
    median, most = [float(row[2]) for row in waits], [float(row[3]) for row in waits]
    between = [high - low for low, high in zip(median, most, strict=True)]
    axes.bar(edges, between, width=width, bottom=median, align="edge", color=P90, alpha=0.2)
    for values, name, colour in (
        (most, "nine of ten waited no longer (p90)", P90),
        (median, "half waited no longer (p50)", P50),
    ):
        ends = [edge + width for edge in edges]
        axes.hlines(values, edges, ends, colors=colour, linewidth=3, label=name)
    axes.set_title(f"Wait until the answer, by {bucket}", loc="left")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, borderaxespad=0.2)


def _at(seconds: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(seconds, zone)


if __name__ == "__main__":
    main()
