"""Row 1: events a second, committed and answered by the full service, against a handler that stores nothing."""

import sys
import time
from statistics import median
from typing import Any

import psutil

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
        service(place, directory=directory_toml(ENTERPRISES, "{number}:bench"), telegram=telegram) as ours,
    ):
        await until_listening(stand, telegram)
        await until_listening(rival, bare)
        for port in (bare, ours.port):  # a first look at every code path
            await _load(port, 1.0)
        for _ in range(rounds):
            rivals = await _rivals_turn(rival.pid, bare, seconds)
            turns.append(rivals | await _our_turn(ours, seconds))
    return _rows(turns, seconds)


async def _load(port: int, seconds: float) -> dict[str, Any]:
    return await run_json("tests.bench.load", str(port), "--seconds", str(seconds), within=seconds + 60)


async def _rivals_turn(pid: int, port: int, seconds: float) -> dict[str, Any]:
    before = sum(psutil.Process(pid).cpu_times()[:2])
    told = await _load(port, seconds)
    spent = sum(psutil.Process(pid).cpu_times()[:2]) - before
    return {"rival": told, "rival_us": spent / told["answered"] * 1e6}


async def _our_turn(ours: Service, seconds: float) -> dict[str, Any]:
    before = ours.cpu()
    told = await _load(ours.port, seconds)
    spent = {name: (value - before[name]) / seconds for name, value in ours.cpu().items()}
    behind = await ours.stats()
    begun = time.monotonic()
    await ours.caught_up(told["position"], CATCH_UP)
    took = time.monotonic() - begun
    whole = {name: value - before[name] for name, value in ours.cpu().items()}
    return {
        "ours": told,
        "cpu": spent | {"generator": told["generator_cpu_s"] / seconds},
        "behind_events": told["position"] - min(behind["routed_position"], behind["projected_position"]),
        "catch_up_s": took,
        "us": {name: value / told["answered"] * 1e6 for name, value in whole.items()},
        "memory_mb": ours.memory() / 1e6,
    }


def _rows(turns: list[dict[str, Any]], seconds: float) -> list[Row]:
    def middle(*path: str) -> float:
        return median(_at(turn, path) for turn in turns)

    refused = [turn["ours"]["refused"] for turn in turns if turn["ours"]["refused"]]
    whole = [turn["ours"]["answered"] / (seconds + turn["catch_up_s"]) for turn in turns]
    rival = [turn["rival"]["per_second"] for turn in turns]
    ratio = median(turn["ours"]["per_second"] / turn["rival"]["per_second"] for turn in turns)
    cores = ", ".join(f"{name} {middle('cpu', name):.2f}" for name in ("service", "postgres", "generator"))
    return [
        Row(
            name="ingest",
            what="events/s committed, full service; a bare Litestar handler storing nothing",
            unit="1/s",
            ours=middle("ours", "per_second"),
            rival=middle("rival", "per_second"),
            ratio=ratio,
            goal="at least 1.0",
            met=ratio >= 1.0 and not refused,
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
            name="ingest whole",
            what="the same events, until actors and projections have taken in the last of them",
            unit="1/s",
            ours=median(whole),
            rival=median(rival),
            ratio=median(one / other for one, other in zip(whole, rival, strict=True)),
        ),
        Row(
            name="ingest cpu",
            what="processor time an event, service alone, everything taken in; the bare handler's",
            unit="µs",
            ours=middle("us", "service"),
            rival=middle("rival_us"),
            ratio=median(turn["rival_us"] / turn["us"]["service"] for turn in turns),
            limit=f"PostgreSQL besides: {middle('us', 'postgres'):.0f} µs",
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
