"""The example of docs/analysts.md draws what an export holds."""

import asyncio
import sys
from pathlib import Path

import matplotlib.image

from tests.exporting import exported, history, stored

EXAMPLE = Path(__file__).parents[2] / "examples" / "calls_per_hour.py"


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", EXAMPLE, *arguments, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


def colours(picture: Path) -> set[tuple[int, ...]]:
    """Which colours a picture has, and that it is as large as it should be."""
    drawn = matplotlib.image.imread(picture)
    assert drawn.shape[:2] == (900, 1440)
    return {tuple(round(part * 255) for part in pixel[:3]) for row in drawn[::2] for pixel in row[::2]}


async def test_the_picture_shows_every_outcome_and_both_percentiles(database, tmp_path):
    async with stored(database.dsn, history(60)):
        await exported(database.dsn, tmp_path)
    code, errors = await run(str(tmp_path), str(tmp_path / "calls.png"), "--timezone", "Europe/Minsk")
    assert code == 0, errors
    drawn = colours(tmp_path / "calls.png")
    for colour in ("2a9d8f", "e9c46a", "d1495b", "264653", "e76f51"):
        assert tuple(bytes.fromhex(colour)) in drawn, colour
    code, errors = await run(str(tmp_path), str(tmp_path / "one.png"), "--enterprise", "0367")
    assert code == 0, errors
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "calls.png").read_bytes()


async def test_an_export_without_calls_is_said_in_one_line(database, tmp_path):
    await exported(database.dsn, tmp_path)
    code, errors = await run(str(tmp_path), str(tmp_path / "calls.png"))
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "calls.png").exists()
