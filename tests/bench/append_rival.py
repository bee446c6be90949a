"""The rival of append: PyPI ``eventsourcing``, its PostgreSQL application recorder, one event an append.

The recorder alone, given bytes that are already made: no aggregate, no mapper, no cipher. The application recorder is
the one its applications use, and the one whose events can be followed in order, as ours can.
"""

import argparse
import itertools
import json
import threading
import time
import uuid
from urllib.parse import parse_qs, urlsplit

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from tests.bench.material import Slot, calls

FASTEST = 4_000
"""Events a second and thread that are made beforehand."""


def datastore(dsn: str, connections: int) -> PostgresDatastore:
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return PostgresDatastore(
        dbname=parts.path.lstrip("/") or query["dbname"],
        host=parts.hostname or query["host"],
        port=parts.port or query.get("port", "5432"),
        user=parts.username or query["user"],
        password=parts.password or "",
        pool_size=connections,
        max_overflow=connections,
        pre_ping=False,
    )


def events(number: int, count: int) -> list[StoredEvent]:
    """Events of calls; the stream of each is its leg's."""
    space = uuid.uuid4()
    versions: dict[str, int] = {}
    made = []
    source = itertools.chain.from_iterable(calls(Slot(number % 8, number // 8)))
    for event in itertools.islice(source, count):
        version = versions[event.stream] = versions.get(event.stream, 0) + 1
        made.append(StoredEvent(uuid.uuid5(space, event.stream), version, event.kind, event.body))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    store = datastore(given.dsn, given.threads)
    recorder = PostgresApplicationRecorder(store, events_table_name="stored_events")
    recorder.create_table()
    work = [events(number, int(given.seconds * FASTEST)) for number in range(given.threads)]
    done = [0] * given.threads
    until = time.perf_counter() + given.seconds

    def append(number: int) -> None:
        for event in work[number]:
            if time.perf_counter() >= until:
                return
            recorder.insert_events([event])
            done[number] += 1

    threads = [threading.Thread(target=append, args=(number,)) for number in range(given.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(given.seconds + 30)
    store.close()
    print(json.dumps({"per_second": sum(done) / given.seconds, "threads": given.threads}))


if __name__ == "__main__":
    main()
