"""The fold alone: microseconds an event of calls.exchange, each call told once a batch; decoding alone beside it.

``python -m tests.bench.fold`` measures in a process of its own.
"""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta

from adapters.memory import FOLDING, calm_collector
from calls.directory import Directory
from calls.events import read_event
from calls.exchange import Exchange
from calls.facts import SILENCE_OBSERVED, Fact
from calls.observations import Silence, write_silence
from tests.bench.material import HostEvent, Slot, calls, number_of
from tests.bench.processes import run_json
from tests.bench.results import Row

EVENTS = 60_000
BATCH = 2_000
SIDE_BY_SIDE = 8
BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def facts(count: int) -> list[Fact]:
    """Facts of one enterprise whose calls overlap, a second between two events of a call."""
    streams = [
        itertools.chain.from_iterable(map(noticed, calls(Slot(0, slot)))) for slot in range(SIDE_BY_SIDE)
    ]
    versions: dict[str, int] = {}
    made = []
    for position in range(count):
        stream, kind, body = next(streams[position % SIDE_BY_SIDE])
        version = versions[stream] = versions.get(stream, 0) + 1
        at = BEGUN + timedelta(seconds=position / SIDE_BY_SIDE)
        made.append(Fact(position + 1, number_of(0), stream, version, kind, "live", at, at, body))
    return made


def noticed(call: list[HostEvent]) -> list[tuple[str, str, bytes]]:
    """(stream, kind, body) of a call's facts: where its end is never told, also that it fell silent."""
    told = [(event.stream, event.kind, event.body) for event in call]
    leader = next((event.stream for event in call if event.kind in {"start", "dial"}), None)
    if leader and not any(stream == leader and kind == "hangup" for stream, kind, _ in told):
        told.append((leader, SILENCE_OBSERVED, write_silence(Silence("settle", 15.0, 1 << 40))))
    return told


def main() -> None:
    told = facts(EVENTS)
    calm_collector(FOLDING)  # as in a rebuild
    exchange = Exchange(Directory.empty(number_of(0)))
    decoded, folded = [], []
    found = 0
    for first in range(0, EVENTS, BATCH):
        batch = told[first : first + BATCH]
        begun = time.perf_counter()
        for fact in batch:
            read_event(fact.body)
        read = time.perf_counter()
        for fact in batch:
            exchange.apply(fact)
        found += len(exchange.take().calls)
        decoded.append(read - begun)
        folded.append(time.perf_counter() - read)
    print(json.dumps({"fold_s": folded, "decode_s": decoded, "told": found}))


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Of each batch the best of the rounds: a fold has no reason to be slower than at its best but the neighbours."""
    del seconds
    turns = [await run_json("tests.bench.fold", within=120) for _ in range(rounds)]
    fold, decode = (_best([turn[name] for turn in turns]) for name in ("fold_s", "decode_s"))
    passes = sorted(sum(turn["fold_s"]) / EVENTS * 1e6 for turn in turns)
    return [
        Row(
            name="fold",
            what="an event of calls.exchange, each call told once in 2,000 facts, of each batch the best of the rounds"
            f" (a whole round: {passes[0]:.1f} to {passes[-1]:.1f}); decoding its body alone",
            unit="µs",
            ours=fold,
            rival=decode,
            ratio=decode / fold,
            goal="25",
            met=fold <= 25,
            limit="one core",
            rounds=[{"fold_us": one} for one in passes],
        )
    ]


def _best(rounds: list[list[float]]) -> float:
    """Microseconds an event, of each batch the shortest time."""
    return sum(map(min, zip(*rounds, strict=True))) / EVENTS * 1e6


if __name__ == "__main__":
    main()
