"""The event store and the calls tables in memory: what actors and projections ask of them, and no more.

``tests/integration/test_log_conformance.py`` proves that it behaves as the store in PostgreSQL does.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from actors.ports import Appended, StoreUnavailable, VersionConflict
from calls.call import Call
from calls.deliveries import DELIVERY_KINDS, DeliveryEdited, DeliveryRefused, DeliverySent, read_delivery
from calls.events import EventError, read_event
from calls.exchange import FORGET_SILENT_AFTER, Belonging
from calls.facts import (
    DELIVERY_EDITED,
    DELIVERY_SENT,
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    SILENCE_OBSERVED,
    UNFOLDED_KINDS,
    Fact,
    NewFact,
    bridge_stream,
    delivery_stream,
    leg_stream,
)
from calls.order import Followed, in_order, place_between
from projections.calls import CallsFold
from projections.hosts import HostRow
from projections.live import project
from projections.ports import Checkpoint, Due, Fenced, NameOf, ReaderTrouble, Rows

BEGUN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
UNSHOWN_WINDOW = timedelta(hours=6)
UNFORGOTTEN_WINDOW = timedelta(minutes=5)
Key = tuple[str, str]


class MemoryTables:
    """Rows of the calls projection and its checkpoint (projections.ports.Tables)."""

    def __init__(self) -> None:
        self.calls: dict[Key, Call] = {}
        self.call_legs: dict[Key, Belonging] = {}
        self.at = Checkpoint()

    async def checkpoint(self) -> Checkpoint:
        return self.at

    async def due(self) -> dict[str, Due]:
        return {}

    async def write(
        self,
        rows: Rows,
        old: Checkpoint,
        new: Checkpoint,
        name_of: NameOf,
        due: Mapping[str, Due] | None = None,
    ) -> None:
        del name_of, due
        if old != self.at:
            raise Fenced(old)
        self.at = new
        for key in rows.gone:
            self.calls.pop(key, None)
        self.calls.update({(call.enterprise, call.call_id): call for call in rows.calls})
        self.call_legs |= {(enterprise, unique_id): place for enterprise, unique_id, place in rows.belongings}

    def members(self, legs: Iterable[Key]) -> set[Key]:
        """These legs and all that belong to the same calls."""
        wanted = set(legs)
        calls = {(leg[0], self.call_legs[leg].call_id) for leg in wanted if leg in self.call_legs}
        return wanted | {leg for leg, place in self.call_legs.items() if (leg[0], place.call_id) in calls}


class Places:
    """Where recovered facts of an enterprise stand, as they are stored."""

    def __init__(self) -> None:
        self._known: list[tuple[datetime, int]] = []
        self._first = 0
        self._begun = False
        self._followed: Followed | None = None

    def place(self, fact: Fact) -> Fact:
        """The fact, with its order where it was recovered."""
        if fact.kind != DIRECTORY_CHANGED:
            self._begun = True
        elif not self._begun:
            self._first = fact.position
        if fact.source == "recovery":
            self._followed = self._followed or Followed(self._known, self._first)
            follows = self._followed.by(fact.occurred_at) or self._first
            return msgspec.structs.replace(
                fact, order=place_between(follows, fact.occurred_at, fact.position)
            )
        if fact.kind not in UNFOLDED_KINDS:
            self._known.append((fact.occurred_at, fact.position))
            self._followed = None
        return fact


def placed(facts: Iterable[Fact]) -> list[Fact]:
    """Facts by position, the recovered ones as they would have been stored."""
    places: dict[str, Places] = defaultdict(Places)
    return [places[fact.enterprise].place(fact) for fact in facts]


class MemoryLog:
    """Facts in the order of their commit (actors.ports.FactLog, projections.ports.FactReader).

    ``committed`` is told of each batch as the writer tells its followers. While ``down`` is set, appends with a
    deadline are refused, those without wait, and reading fails.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: BEGUN, facts: Iterable[Fact] = ()) -> None:
        self.facts: list[Fact] = []
        self._of: dict[Key, list[Fact]] = {}
        self._places: dict[str, Places] = defaultdict(Places)
        self.tables = MemoryTables()
        self.parked: dict[tuple[str, int], str] = {}
        self.committed: Callable[[list[Fact]], None] = lambda _: None
        self.reads = 0
        """How often facts of calls were asked for."""
        self._now = now
        self._versions: dict[Key, int] = {}
        self._keys: dict[Key, Appended] = {}
        self._up = asyncio.Event()
        self._up.set()
        for fact in facts:
            self._take(fact)

    @property
    def head(self) -> int:
        """Position of the newest fact."""
        return len(self.facts)

    @property
    def down(self) -> bool:
        """True while the store does not answer."""
        return not self._up.is_set()

    @down.setter
    def down(self, value: bool) -> None:
        (self._up.clear if value else self._up.set)()

    # appending

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        if self.down and within is not None:
            raise StoreUnavailable("the store is down")
        await self._up.wait()
        await asyncio.sleep(0)  # a commit is never immediate
        if fact.idempotency_key is not None:
            known = self._keys.get((fact.enterprise, fact.idempotency_key))
            if known is not None:
                return msgspec.structs.replace(known, known=True)
        version = self._versions.get((fact.enterprise, fact.stream), 0)
        if fact.expected_version not in {None, version}:
            raise VersionConflict(fact.stream, fact.expected_version or 0)
        stored = self._store(fact)
        self.committed([stored])
        return Appended(stored.position, stored.version)

    def put(self, facts: Iterable[NewFact]) -> list[Fact]:
        """Store facts at once, as one batch of the writer, without telling anybody."""
        return [self._store(fact) for fact in facts]

    def _store(self, fact: NewFact) -> Fact:
        stream = (fact.enterprise, fact.stream)
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        stored = Fact(
            self.head + 1,
            fact.enterprise,
            fact.stream,
            version,
            fact.kind,
            fact.source,
            fact.occurred_at,
            self._now(),
            fact.body,
            fact.meta,
        )
        stored = self._take(stored)
        if fact.idempotency_key is not None:
            self._keys[fact.enterprise, fact.idempotency_key] = Appended(stored.position, version)
        return stored

    def _take(self, stored: Fact) -> Fact:
        stored = self._places[stored.enterprise].place(stored)
        self.facts.append(stored)
        self._of.setdefault((stored.enterprise, stored.stream), []).append(stored)
        return stored

    def _of_streams(self, streams: Iterable[Key], upto: int) -> list[Fact]:
        """By position, as the store finds them: by their index."""
        found = [fact for key in streams for fact in self._of.get(key, ()) if fact.position <= upto]
        return sorted(found, key=lambda fact: fact.position)

    # reading, for actors

    async def read_after(self, position: int, upto: int, limit: int) -> list[Fact]:
        await self._answers()
        return self.facts[position:upto][:limit]

    async def read_calls(
        self,
        legs: Sequence[Key],
        chats: Sequence[tuple[str, int]],
        upto: int,
        whose: Mapping[Key, Belonging] | None = None,
    ) -> list[Fact]:
        del whose
        await self._answers()
        return self._of_calls(legs, chats, upto)

    def _of_calls(self, legs: Sequence[Key], chats: Sequence[tuple[str, int]], upto: int) -> list[Fact]:
        self.reads += 1
        members = self.tables.members(legs)
        streams = {(enterprise, leg_stream(unique_id)) for enterprise, unique_id in members}
        streams |= {
            (enterprise, delivery_stream(unique_id, chat_id))
            for enterprise, unique_id in members
            for number, chat_id in chats
            if number == enterprise
        }
        own = self._of_streams(streams, upto)
        streams |= {
            (fact.enterprise, bridge_stream(bridge))
            for fact in own
            if fact.kind in {"bridge", "bridge_leave"} and (bridge := _bridge(fact.body))
        }
        return in_order(self._of_streams(streams, upto))

    async def whose(self, legs: Collection[Key]) -> dict[Key, Belonging]:
        await self._answers()
        members = self.tables.members(legs)
        return {leg: self.tables.call_legs[leg] for leg in members if leg in self.tables.call_legs}

    async def read_stream(self, enterprise: str, stream: str) -> list[Fact]:
        await self._answers()
        return list(self._of.get((enterprise, stream), ()))

    async def read_directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        await self._answers()
        return [
            fact
            for fact in self.facts[:upto]
            if fact.stream == DIRECTORY_STREAM and enterprise in {None, fact.enterprise}
        ]

    async def unsettled_calls(
        self, chats: Sequence[tuple[str, int, int]], lately: float, upto: int
    ) -> list[Key]:
        await self._answers()
        return sorted(
            {
                key
                for key, call in self.tables.calls.items()
                if not call.settled or call.last_position >= self._since(timedelta(seconds=lately), upto)
            }
            | {
                key
                for key, call in self.tables.calls.items()
                if call.settled and call.last_position >= self._since(UNSHOWN_WINDOW)
                for number, chat_id, since in chats
                if number == call.enterprise
                and call.last_position > since
                and (not self._shown(call, chat_id, since) or self._shown_twice(key, chat_id))
            }
            | {leg for leg, place in self.tables.call_legs.items() if place.lost}
            | self._silent(upto)
        )

    async def projected(self) -> int:
        await self._answers()
        return self.tables.at.position

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        await self._answers()
        self.parked[place, fact.position] = reason

    async def _answers(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("the store is down")

    def _since(self, window: timedelta, upto: int | None = None) -> int:
        """Position of the first fact within this time before the newest, or before this position."""
        facts = self.facts[:upto]
        if not facts:
            return 0
        since = facts[-1].recorded_at - window
        return min((fact.position for fact in facts if fact.recorded_at > since), default=self.head + 1)

    def _shown(self, call: Call, chat_id: int, since: int) -> bool:
        told = self._of.get((call.enterprise, delivery_stream(call.call_id, chat_id)))
        return bool(told) and _tells_the_end(told[-1], call, since)

    def _shown_twice(self, key: Key, chat_id: int) -> bool:
        """A message of a leg that came to belong to the call stands in the chat."""
        legs = [leg for leg, place in self.tables.call_legs.items() if (leg[0], place.call_id) == key != leg]
        streams = {delivery_stream(unique_id, chat_id) for _, unique_id in legs}
        last = {fact.stream: fact.kind for fact in self.facts if fact.enterprise == key[0]}
        return any(last.get(stream) in {DELIVERY_SENT, DELIVERY_EDITED} for stream in streams)

    # reading, for projections

    async def next(
        self, after: Checkpoint, limit: int, upto: Checkpoint | None = None
    ) -> tuple[list[Fact], Checkpoint]:
        await self._projects()
        end = self.head if upto is None else min(upto.position, self.head)
        facts = self.facts[after.position : end][:limit]
        return facts, Checkpoint(1, facts[-1].position, facts[-1].position) if facts else after

    async def calls_of(
        self, legs: Sequence[Key], upto: int, whose: Mapping[Key, Belonging] | None = None
    ) -> list[Fact]:
        del whose
        await self._projects()
        return self._of_calls(legs, (), upto)

    async def directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        await self._projects()
        return [
            fact
            for fact in self.facts[:upto]
            if fact.stream == DIRECTORY_STREAM and enterprise in {None, fact.enterprise}
        ]

    async def hosts(self) -> list[HostRow]:
        await self._projects()
        return []

    async def unforgotten(self, upto: int) -> list[Key]:
        await self._projects()
        since = self._since(UNFORGOTTEN_WINDOW, upto)
        calls = self.tables.calls
        return sorted(
            {key for key, call in calls.items() if not call.settled or call.last_position >= since}
            | {leg for leg, place in self.tables.call_legs.items() if place.lost}
            | self._silent(upto)
        )

    def _silent(self, upto: int) -> set[Key]:
        """Legs of which silence was observed a short while before."""
        since = self._since(FORGET_SILENT_AFTER, upto)
        observed = (
            [fact for fact in self.facts[since - 1 :] if fact.kind == SILENCE_OBSERVED] if since else []
        )
        return {(fact.enterprise, fact.stream.removeprefix("leg/")) for fact in observed}

    async def _projects(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise ReaderTrouble("the store is down")


def _bridge(body: bytes) -> str:
    try:
        return read_event(body).bridge_id.strip()
    except EventError:
        return ""


async def project_all(log: MemoryLog, fold: CallsFold, at_once: int = 1_000, upto: int | None = None) -> None:
    """Bring the tables up to this position, or to the newest fact, as the live runner does."""
    end = log.head if upto is None else upto
    while log.tables.at.position < end:
        facts, reached = await log.next(log.tables.at, at_once, Checkpoint(1, end, end))
        for fact in facts:
            await project(fold, fact, log, reached.position)
        await log.tables.write(fold.take(), log.tables.at, reached, fold.name)


def _tells_the_end(fact: Fact, call: Call, since: int) -> bool:
    if fact.kind not in DELIVERY_KINDS:
        return False
    match read_delivery(fact.kind, fact.body):
        case DeliverySent(phase="ended", upto=upto) | DeliveryEdited(phase="ended", upto=upto):
            return upto == call.last_position or (upto is None and fact.position > call.last_position)
        case DeliveryRefused(final=True):
            return fact.position > since
    return False
