"""How the stored histories were made: of the built-in scenarios, with fixed seeds and numbers of nobody.

What is stored stays as it is when a scenario changes: a history is what hosts sent once. This is for new ones.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from calls.callbacks import CallbackRequested, write_callback
from calls.deliveries import Delivery, DeliveryEdited, DeliveryIntended, DeliverySent, write_delivery
from calls.directory import Directory, changes
from calls.entries import DirectoryChange
from calls.events import identity, read_event
from calls.facts import (
    CALLBACK_REQUESTED,
    CUSTOMER_FORGOTTEN,
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    RECORDING_ADDED,
    RECORDING_FORGOTTEN,
    SILENCE_OBSERVED,
    Fact,
    Source,
    callback_stream,
    delivery_stream,
    event_stream,
    forgotten_stream,
    leg_stream,
)
from calls.observations import Silence, write_silence
from calls.recordings import Recording, write_recording
from calls.scenarios import catalogue
from calls.scenarios.script import CAST
from calls.shapes import SHAPES
from tests.folding import DIRECTORY, EPOCH, facts, settled
from tests.memory_log import placed

NAMES = sorted(catalogue())
CUSTOMERS = ("375290000101", "375290000103", "375290000104")
LAG = timedelta(milliseconds=40)
"""From an event at the host to its fact."""
DAY_BEFORE = EPOCH - timedelta(days=1)


class Told(NamedTuple):
    """A fact to be. ``recorded_at``: None for at once."""

    at: datetime
    enterprise: str
    stream: str
    kind: str
    body: bytes
    source: Source = "live"
    recorded_at: datetime | None = None


def call(
    name: str,
    begun: datetime,
    chance: random.Random,
    *,
    enterprise: str = "0367",
    customer: str = CUSTOMERS[0],
    least: bool = False,
) -> list[Told]:
    """One run of a scenario; no two events at the same time."""
    cast = {**CAST, "C": customer}
    played = catalogue()[name].events(
        begun.timestamp(), chance.randrange(1 << 30), token="***", least=least, cast=cast
    )
    run = []
    for event in played:
        body = json.dumps(event.body, ensure_ascii=False).encode()
        stream = event_stream(event.kind, *identity(read_event(body)))
        at = begun + timedelta(seconds=event.offset, microseconds=chance.randrange(200_000))
        run.append(Told(at, enterprise, stream, event.kind, body))
    return sorted(run)


def with_end(run: list[Told], after: float = 15.0, why: str = "settle") -> list[Told]:
    """A run whose calls all end: where nobody tells it, silence is observed."""
    told = facts(((one.kind, one.body, one.at) for one in run), run[0].enterprise)
    return [
        *run,
        *(silence(run, one.call_id, after, why) for one in settled(told) if not one.settled),
    ]


def silence(run: Sequence[Told], call_id: str, after: float, why: str = "settle") -> Told:
    """The observation so many seconds after the last event of a run."""
    at = run[-1].at + timedelta(seconds=after)
    body = write_silence(Silence("settle" if why == "settle" else "silence", after, 0))
    return Told(at, run[-1].enterprise, leg_stream(call_id), SILENCE_OBSERVED, body, "service")


def directory(enterprise: str, at: datetime, told: Iterable[DirectoryChange]) -> list[Told]:
    """What ``callfold apply`` stores."""
    return [
        Told(
            at,
            enterprise,
            DIRECTORY_STREAM,
            DIRECTORY_CHANGED,
            SHAPES.write(DIRECTORY_CHANGED, one),
            "service",
        )
        for one in told
    ]


def known(enterprise: str = "0367", **profile: str) -> list[Told]:
    """The directory at the beginning."""
    renamed = msgspec.structs.replace(DIRECTORY.profile, number=enterprise, name=f"e{enterprise}", **profile)
    wanted = DIRECTORY.of(renamed)
    return directory(enterprise, DAY_BEFORE, changes(None, wanted))


def stored(told: Iterable[Told]) -> list[Fact]:
    """Facts as the store numbered them, in the order in which they were recorded."""
    order = sorted(told, key=lambda one: one.recorded_at or one.at)
    versions: dict[tuple[str, str], int] = {}
    made = []
    for position, one in enumerate(order, start=1):
        key = (one.enterprise, one.stream)
        versions[key] = versions.get(key, 0) + 1
        body = one.body
        if one.kind == SILENCE_OBSERVED:
            body = body.replace(b'"upto":0', b'"upto":%d' % (position - 1))
        recorded_at = one.recorded_at or one.at + LAG
        made.append(
            Fact(
                position,
                one.enterprise,
                one.stream,
                versions[key],
                one.kind,
                one.source,
                one.at,
                recorded_at,
                body,
            )
        )
    return placed(made)


def every_kind(chance: random.Random) -> list[Told]:
    """Each built-in scenario once, one after the other."""
    told = known()
    for number, name in enumerate(catalogue()):
        told += with_end(call(name, EPOCH + timedelta(minutes=4 * number), chance))
    return told


def overlap(chance: random.Random) -> list[Told]:
    """Calls of the same people at the same time; events twice, hangups late, silence before a late end."""
    told = known()
    for number in range(16):
        begun = EPOCH + timedelta(seconds=9 * number + 600 * (number // 8))
        run = call(chance.choice(NAMES), begun, chance, customer=chance.choice(CUSTOMERS[:2]))
        ends = [place for place, one in enumerate(run) if one.kind == "hangup"]
        if chance.random() < 0.5 and len(run) > 4:
            late = run.pop(ends[-1])
            told.append(late._replace(at=late.at + timedelta(minutes=chance.choice([2, 20, 200]))))
        run = with_end(run)
        told += run
        again = [one for one in run if one.source == "live" and chance.random() < 0.12]
        told += [
            one._replace(at=one.at + timedelta(seconds=chance.choice([0.05, 1.5, 130]))) for one in again
        ]
    return told


def least(chance: random.Random) -> list[Told]:
    """A host that sends start, dial, bridge and hangup alone; some calls overlap."""
    told = known()
    for number in range(16):
        begun = EPOCH + timedelta(seconds=31 * number + chance.uniform(0, 20))
        run = call(chance.choice(NAMES), begun, chance, customer=chance.choice(CUSTOMERS), least=True)
        why, after = chance.choice([("settle", 15.0), ("silence", 7200.0)])
        told += with_end(run, after, why)
    return told


def recovered(chance: random.Random) -> list[Told]:
    """Events that a host could not deliver, imported afterwards in pieces, while calls go on; a whole day before it."""
    told, lost = known(), []
    for number in range(14):
        run = call(
            chance.choice(NAMES),
            EPOCH + timedelta(seconds=25 * number),
            chance,
            customer=chance.choice(CUSTOMERS),
        )
        for one in run:
            (lost if chance.random() < 0.3 else told).append(one)
    begun = EPOCH - timedelta(days=3)
    lost += call("2-20", begun, chance) + call("1-8", begun + timedelta(minutes=5), chance)
    lost.sort()
    pieces = [lost[place::4] for place in range(2)] + [lost[2::4] + lost[3::4]]
    chance.shuffle(pieces)
    for number, piece in enumerate(pieces):
        at = EPOCH + timedelta(hours=number + 1)
        told += call("2-1", at - timedelta(seconds=10), chance, customer=CUSTOMERS[2])
        told += [
            one._replace(source="recovery", recorded_at=at + timedelta(milliseconds=place))
            for place, one in enumerate(sorted(piece))
        ]
    return told


def directory_changes(chance: random.Random) -> list[Told]:
    """Names, mobiles, lines, departments and zone change while calls go on."""
    told = known()
    mobile = "+375290000102"
    spoken = [
        DirectoryChange("manager", "150", {"extension": "150", "name": "Пётр"}),
        DirectoryChange("manager", "151", {"extension": "151", "name": "Анна", "mobile": mobile}),
        DirectoryChange("customer", "+375290000101", {"phone": "+375290000101", "name": "Иван"}),
        DirectoryChange("department", "901", {"number": "901", "members": ["152", "153"]}),
        DirectoryChange("follow_me", "300"),
        DirectoryChange("line", "0007001", {"id": "0007001", "incoming_transform": "+375{9}"}),
        DirectoryChange("customer", "+375290000101", {"phone": "+375290000101", "company": "Рога"}),
        DirectoryChange("enterprise", "0367", {"number": "0367", "name": "june", "timezone": "Asia/Tokyo"}),
        DirectoryChange("manager", "152"),
        DirectoryChange("subscriber", "1001", {"chat_id": 1001, "people": ["150", "901"], "moved_from": -5}),
        DirectoryChange("follow_me", "300", {"number": "300", "extension": "151", "mobile": mobile}),
        DirectoryChange("customer", "+375290000101"),
    ]
    for number, one in enumerate(spoken):
        begun = EPOCH + timedelta(seconds=47 * number)
        told += with_end(call(chance.choice(NAMES), begun, chance))
        told += directory("0367", begun + timedelta(seconds=chance.uniform(3, 40)), [one])
    return told


def two_enterprises(chance: random.Random) -> list[Told]:
    """The same UniqueIds at two enterprises, with what callfold adds of calls: deliveries, recordings, call backs."""
    other = Directory.empty("0412").fold(
        [
            DirectoryChange(
                "enterprise", "0412", {"number": "0412", "name": "acme", "timezone": "Europe/Warsaw"}
            ),
            DirectoryChange("manager", "152", {"extension": "152", "name": "Ян"}),
        ]
    )
    told = known() + directory("0412", DAY_BEFORE, changes(None, other))
    for number in range(9):
        name, seed = chance.choice(NAMES), chance.randrange(1 << 30)
        begun = EPOCH + timedelta(seconds=40 * number)
        for enterprise in ("0367", "0412"):
            run = with_end(call(name, begun, random.Random(seed), enterprise=enterprise))
            told += run
            told += beside(run, chance)
    return told


def beside(run: list[Told], chance: random.Random) -> list[Told]:
    """What the service stored of a call: its message in a chat, its recording, a call back, what was forgotten."""
    enterprise, call_id = run[0].enterprise, run[0].stream.partition("/")[2]
    at = run[-1].at
    later = [at + timedelta(seconds=chance.uniform(0.1, 90)) for _ in range(3)]
    hashed = f"{chance.randrange(1 << 60):064x}"
    said: list[tuple[datetime, Delivery]] = [
        (run[0].at + LAG, DeliveryIntended(call_id, 1001, hashed, f"{call_id}/1")),
        (run[0].at + 2 * LAG, DeliverySent(call_id, 1001, 7, hashed, "ringing")),
        (at + LAG, DeliveryEdited(call_id, 1001, 7, hashed, "ended", 5, notice=True)),
    ]
    told = []
    for when, delivery in said:
        kind, body = write_delivery(delivery)
        told.append(Told(when, enterprise, delivery_stream(call_id, 1001), kind, body, "service"))
    leg = leg_stream(call_id)
    if run[0].stream == leg and chance.random() < 0.7:
        recording = write_recording(Recording(f"r{hashed[-8:]}", "https://pbx.example/1.mp3"))
        told.append(Told(later[0], enterprise, leg, RECORDING_ADDED, recording))
        told.append(Told(later[1], enterprise, leg, RECORDING_ADDED, recording))
        if chance.random() < 0.4:
            told = [
                one._replace(kind=RECORDING_FORGOTTEN, body=b"{}") if one.kind == RECORDING_ADDED else one
                for one in told
            ]
            body = b'{"pseudonym":"+375290000199","facts":2}'
            stream = forgotten_stream("+375290000199")
            told.append(Told(later[2], enterprise, stream, CUSTOMER_FORGOTTEN, body, "service"))
    asked = write_callback(CallbackRequested(call_id=call_id, chat_id=1001, user_id=7, phone="+375290000101"))
    told.append(
        Told(later[2], enterprise, callback_stream(hashed[-12:]), CALLBACK_REQUESTED, asked, "service")
    )
    return told


MADE: dict[str, tuple[int, Callable[[random.Random], list[Told]]]] = {
    "every-kind": (1, every_kind),
    "overlap": (100, overlap),
    "least": (3, least),
    "recovered": (4, recovered),
    "directory-changes": (5, directory_changes),
    "two-enterprises": (6, two_enterprises),
}
"""By name: seed, and what makes it."""


def make(name: str) -> list[Fact]:
    """The facts of a history."""
    seed, told = MADE[name]
    return stored(told(random.Random(seed)))
