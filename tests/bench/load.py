"""The load generator: so many keep-alive connections, each playing calls one event after the other, as hosts do.

``python -m tests.bench.load PORT --seconds 5`` prints one JSON object. It is a process of its own; requests are made
before the clock runs and answers are read by hand, so that it takes as little of the machine as it can.
"""

import argparse
import asyncio
import gc
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast

import uvloop

from tests.bench.material import ENTERPRISES, SLOTS, HostEvent, Slot, calls, token_of

FASTEST = 12_000
"""Events a second that are made beforehand; what goes beyond is made on the way."""
ANSWER_WITHIN = 10.0


def request(event: HostEvent, token: str) -> bytes:
    """What python-requests sends, over a kept connection."""
    return (
        b"POST /%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: python-requests/2.28.1\r\n"
        b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
        b"Content-Type: application/json\r\nToken: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (event.kind.encode(), token.encode(), len(event.body), event.body)
    )


class Answers(asyncio.Protocol):
    """One connection; ``ask`` sends a request and waits for its answer."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[bytes] | None = None
        self._read = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read = read = self._read + data if self._read else data
        end = read.find(b"\r\n\r\n")
        if end < 0:
            return
        at = read.find(b"ontent-length: ", 0, end)
        if at < 0:
            at = read.find(b"ontent-Length: ", 0, end)
        length = int(read[at + 15 : read.find(b"\r", at)])
        if len(read) >= end + 4 + length and self._waiting is not None:
            self._read = b""
            self._waiting.set_result(read)
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def ask(self, sent: bytes) -> "asyncio.Future[bytes]":
        self._waiting = answer = asyncio.get_running_loop().create_future()
        self._transport.write(sent)
        return answer

    def close(self) -> None:
        self._transport.close()


class Load:
    """A run: what was answered before its end, and how fast."""

    def __init__(self, port: int, seconds: float, connections: int) -> None:
        self._port, self._seconds = port, seconds
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.position = 0
        each = int(seconds * FASTEST / connections) + 1
        self._hosts = [_requests(number, each) for number in range(connections)]

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(Answers, "127.0.0.1", self._port) for _ in self._hosts]
        gc.freeze()
        gc.disable()
        self._end = time.perf_counter() + self._seconds
        async with asyncio.timeout(self._seconds + ANSWER_WITHIN), asyncio.TaskGroup() as group:
            for (_, protocol), host in zip(made, self._hosts, strict=True):
                group.create_task(self._play(protocol, host))

    async def _play(self, connection: Answers, host: Iterator[list[bytes]]) -> None:
        answer = b""
        for call in host:
            for sent in call:
                begun = time.perf_counter()
                answer = await connection.ask(sent)
                done = time.perf_counter()
                if done < self._end:  # the call's last events are sent, but not counted
                    self.latencies.append(done - begun)
                    self.statuses[answer[9:12].decode()] += 1
            if done >= self._end:
                break
        body = json.loads(answer[answer.find(b"\r\n\r\n") + 4 :])
        self.position = max(self.position, body.get("position", 0))
        connection.close()

    def result(self) -> dict[str, object]:
        told = sorted(self.latencies)
        good = self.statuses["200"]
        return {
            "answered": good,
            "refused": {status: count for status, count in self.statuses.items() if status != "200"},
            "per_second": good / self._seconds,
            "p50_ms": told[len(told) // 2] * 1000,
            "p99_ms": told[len(told) * 99 // 100] * 1000,
            "max_ms": told[-1] * 1000,
            "position": self.position,
        }


def _requests(number: int, each: int) -> Iterator[list[bytes]]:
    """Calls of one connection, as requests; ``each`` events of them are made now."""
    place = Slot(number % ENTERPRISES, number // ENTERPRISES % SLOTS)
    token = token_of(place.enterprise)
    fresh = ([request(event, token) for event in call] for call in calls(place))
    ready = []
    count = 0
    while count < each:
        ready.append(next(fresh))
        count += len(ready[-1])
    return itertools.chain(ready, fresh)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=ENTERPRISES * SLOTS)
    given = parser.parse_args()
    load = Load(given.port, given.seconds, given.connections)
    begun = time.process_time()
    uvloop.run(load.run())
    print(json.dumps(load.result() | {"generator_cpu_s": time.process_time() - begun}))


if __name__ == "__main__":
    main()
