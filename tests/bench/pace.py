"""Hosts at a steady rate: calls begin at random moments, each sends its events one after the other.

``python -m tests.bench.pace PORT --rate 100 --seconds 15`` prints one JSON object: for each call its chat and the
monotonic time (shared by all processes of the machine) at which its first event was written.
"""

import argparse
import asyncio
import gc
import json
import random
import time

import uvloop

from tests.bench.load import Answers, request
from tests.bench.material import Slot, chat_of, templates, token_of

BEGINS_WITH_A_CARD = ("2-1", "2-2", "2-3", "2-4", "2-12", "2-15")
"""Scenarios whose first event, the start of an incoming call, is shown at once."""
APART = 0.3
"""Seconds between two events of a call: hosts take 1 to 1.5, but calls are then long and a short run all ramp."""
ANSWER_WITHIN = 10.0


class Pace:
    """A run of calls; each goes to an enterprise, and so a chat, that is not asked for again for long."""

    def __init__(self, port: int, rate: float, seconds: float, enterprises: int) -> None:
        self._port = port
        self.begun: list[tuple[int, float]] = []
        self.refused = 0
        self._free: list[Answers] = []
        chance = random.Random(1)
        known = templates(*BEGINS_WITH_A_CARD)
        mean = sum(map(len, known)) / len(known)
        self._plan: list[tuple[float, int, bool, bytes]] = []
        at, serial = 0.0, 0
        while (at := at + chance.expovariate(rate / mean)) < seconds:
            place = Slot(serial % enterprises, 0)
            for number, event in enumerate(chance.choice(known).call(serial, place)):
                sent = request(event, token_of(place.enterprise))
                self._plan.append((at + number * APART, place.enterprise, number == 0, sent))
            serial += 1
        self._plan.sort(key=lambda step: step[0])

    async def run(self) -> None:
        gc.freeze()
        gc.disable()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for at, enterprise, first, sent in self._plan:
                if (wait := begun + at - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._send(enterprise, first, sent))
        for connection in self._free:
            connection.close()

    async def _send(self, enterprise: int, first: bool, sent: bytes) -> None:
        loop = asyncio.get_running_loop()
        if self._free:
            connection = self._free.pop()
        else:
            _, connection = await loop.create_connection(Answers, "127.0.0.1", self._port)
        if first:
            self.begun.append((chat_of(enterprise), time.monotonic()))
        async with asyncio.timeout(ANSWER_WITHIN):
            answer = await connection.ask(sent)
        self.refused += answer[9:12] != b"200"
        self._free.append(connection)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--enterprises", type=int, required=True)
    given = parser.parse_args()
    pace = Pace(given.port, given.rate, given.seconds, given.enterprises)
    uvloop.run(pace.run())
    print(json.dumps({"begun": pace.begun, "refused": pace.refused}))


if __name__ == "__main__":
    main()
