"""Row 1: events a second, committed and answered by the full service, against a handler that stores nothing."""

import sys
import time
from statistics import median
from typing import Any

from tests.bench.material import ENTERPRISES, directory_toml
from tests.bench.processes import Service, child, free_port, run_json, scratch, service, until_listening
from tests.bench.results import Row

CATCH_UP = 120.0


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Rival and service in turns; both stay up, whoever is not asked is idle."""
    telegram, bare = free_port(), free_port()
    turns: list[dict[str, Any]] = []
    async with (
        scratch() as place,
        child(sys.executable, "-m", "tests.bench.telegram", str(telegram)) as stand,
        child(sys.executable, "-m", "tests.bench.bare", str(bare)) as rival,
        service(
            place, directory=directory_toml(ENTERPRISES, "{number}:bench"), telegram=telegram
        ) as ours,
    ):
        await until_listening(stand, telegram)
        await until_listening(rival, bare)
        for port in (bare, ours.port):  # a first look at every code path
            await _load(port, 1.0)
        for _ in range(rounds):
            turns.append({"rival": await _load(bare, seconds), **await _our_turn(ours, seconds)})
    return _rows(turns)


async def _load(port: int, seconds: float) -> dict[str, Any]:
    return await run_json("tests.bench.load", str(port), "--seconds", str(seconds), within=seconds + 60)


async def _our_turn(ours: Service, seconds: float) -> dict[str, Any]:
    before = ours.cpu()
    told = await _load(ours.port, seconds)
    spent = {name: (value - before[name]) / seconds for name, value in ours.cpu().items()}
    behind = await ours.stats()
    begun = time.monotonic()
    await ours.caught_up(told["position"], CATCH_UP)
    return {
        "ours": told,
        "cpu": spent | {"generator": told["generator_cpu_s"] / seconds},
        "behind_events": told["position"] - min(behind["routed_position"], behind["projected_position"]),
        "catch_up_s": time.monotonic() - begun,
        "memory_mb": ours.memory() / 1e6,
    }


def _rows(turns: list[dict[str, Any]]) -> list[Row]:
    def middle(*path: str) -> float:
        return median(_at(turn, path) for turn in turns)

    refused = [turn["ours"]["refused"] for turn in turns if turn["ours"]["refused"]]
    cores = ", ".join(f"{name} {middle('cpu', name):.2f}" for name in ("service", "postgres", "generator"))
    return [
        Row(
            name="ingest",
            what="events/s committed, full service; a bare Litestar handler storing nothing",
            unit="1/s",
            ours=middle("ours", "per_second"),
            rival=middle("rival", "per_second"),
            ratio=median(turn["ours"]["per_second"] / turn["rival"]["per_second"] for turn in turns),
            goal="at least 1.0",
            met=median(t["ours"]["per_second"] / t["rival"]["per_second"] for t in turns) >= 1.0 and not refused,
            limit=f"cores in use: {cores}",
            rounds=turns,
        ),
        Row(
            name="ingest p50",
            what="answer of the service; of the bare handler",
            unit="ms",
            ours=middle("ours", "p50_ms"),
            rival=middle("rival", "p50_ms"),
        ),
        Row(
            name="ingest p99",
            what="answer of the service; of the bare handler",
            unit="ms",
            ours=middle("ours", "p99_ms"),
            rival=middle("rival", "p99_ms"),
        ),
        Row(
            name="ingest lag",
            what="after the load, until actors and projections have taken everything in",
            unit="s",
            ours=middle("catch_up_s"),
            limit=f"{middle('behind_events'):.0f} events behind when the load ended",
        ),
    ]


def _at(turn: dict[str, Any], path: tuple[str, ...]) -> float:
    value: Any = turn
    for name in path:
        value = value[name]
    return float(value)
