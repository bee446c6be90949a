"""A history over several months for tests of the archive: scenarios played on many days, some of them recovered."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from adapters.archive.moving import Moved, Mover, Wanted, alone
from adapters.store.partitions import MOST_MOVED, later
from calls.directory import changes
from calls.facts import NewFact
from calls.scenarios import catalogue
from tests.folding import DIRECTORY, played_facts, settled, silences
from tests.storing import Projected, again, change_facts, put

FIRST = date(2024, 1, 1)
MONTHS = 4
NOW = datetime(2024, 7, 1, tzinfo=UTC)
ENTERPRISES = ("0367", "0368")
MIDNIGHT = datetime(2024, 2, 1, tzinfo=UTC)


def directory_facts() -> list[NewFact]:
    """What both enterprises are told first."""
    found: list[NewFact] = []
    for number in ENTERPRISES:
        profile = msgspec.structs.replace(DIRECTORY.profile, number=number)
        known = DIRECTORY.of(profile)
        facts = change_facts(changes(None, known), number)
        begun = datetime(2023, 12, 31, tzinfo=UTC)
        found += [msgspec.structs.replace(fact, occurred_at=begun) for fact in facts]
    return found


def calls(at: datetime, seed: int, enterprise: str) -> list[NewFact]:
    """One scenario, begun at a time."""
    names = list(catalogue())
    scenario = catalogue()[names[seed % len(names)]]
    played = played_facts(scenario.events(at.timestamp(), seed), at)
    played += silences(played, [call for call in settled(played) if not call.settled])
    facts = again(played)
    return [msgspec.structs.replace(fact, enterprise=enterprise) for fact in facts]


def history(seed: int = 3, each: int = 6) -> Iterator[list[NewFact]]:
    """Runs of facts in the order of their times: ``each`` calls a month and enterprise, one over midnight."""
    chance = random.Random(seed)
    begun: list[tuple[datetime, str]] = []
    for place in range(MONTHS):
        month = later(FIRST, place)
        for _ in range(each):
            day = datetime(month.year, month.month, chance.randint(2, 27), chance.randint(6, 18), tzinfo=UTC)
            begun += [
                (day + timedelta(minutes=chance.randint(0, 59)), enterprise) for enterprise in ENTERPRISES
            ]
    begun += [(MIDNIGHT - timedelta(seconds=9), enterprise) for enterprise in ENTERPRISES]
    for place, (at, enterprise) in enumerate(sorted(begun)):
        yield calls(at, seed + place, enterprise)


async def store(here: Projected, facts: Sequence[NewFact]) -> None:
    """Store facts as if it were then, and project them."""
    await put(here.connection, facts, recorded_at=facts[-1].occurred_at)
    await here.project()


async def filled(here: Projected, each: int = 6) -> None:
    """The history, each third call recovered a day late, with one more call at the end of all."""
    for place in range(MONTHS + 3):
        month = later(FIRST, place)
        assert await here.connection.fetchval("SELECT make_facts_partition($1, $2)", month, MOST_MOVED)
    await put(here.connection, directory_facts(), recorded_at=datetime(2023, 12, 31, tzinfo=UTC))
    await here.project()
    late: list[tuple[datetime, list[NewFact]]] = []
    for place, run in enumerate(history(each=each)):
        while late and late[0][0] < run[0].occurred_at:
            await recover(here, *late.pop(0))
        if place % 7 == 3:
            late.append((run[-1].occurred_at + timedelta(days=1), run))
        else:
            await store(here, run)
    for at, run in late:
        await recover(here, at, run)
    await last_calls(here)


async def recover(here: Projected, at: datetime, facts: Sequence[NewFact]) -> None:
    """Store facts as recovered at a time, and have them folded in."""
    recovered = [msgspec.structs.replace(fact, source="recovery") for fact in facts]
    await put(here.connection, recovered, recorded_at=at)
    await here.project()


async def last_calls(here: Projected) -> None:
    """A last call, long after: so that what went before has ended for every fold."""
    for enterprise in ENTERPRISES:
        await store(here, calls(datetime(2024, 6, 20, 9, tzinfo=UTC), 1, enterprise))


async def archive(
    connection: asyncpg.Connection,
    folder: Path,
    before: date = date(2024, 3, 1),
    *,
    enterprise: str | None = None,
    now: datetime = NOW,
) -> Moved:
    """What ``callfold archive --before`` does."""
    async with alone(connection):
        return await Mover(connection, folder, Wanted(before, enterprise, now)).run(lambda _: None)
