"""Rows of calls whose events came by recovery: as if they had come live, whatever was imported when."""

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from calls.call import Call
from calls.directory import changes
from calls.facts import NewFact
from calls.scenarios import catalogue
from calls.times import seconds
from tests.folding import DIRECTORY, EPOCH, facts, played_facts, settled
from tests.storing import Projected, again, change_facts, projected

KNOWN = change_facts(changes(None, DIRECTORY))
NAMES = sorted(catalogue())


def mixed(chance: random.Random, names: list[str], apart: float = 1.0) -> list[NewFact]:
    """Calls that overlap, as they mix on the wire; no two events at the same time."""
    runs = []
    for number, name in enumerate(names):
        begun = EPOCH + timedelta(seconds=chance.uniform(0, apart * len(names)))
        seed = chance.randrange(1 << 30)
        runs.append(played_facts(catalogue()[name].events(begun.timestamp(), seed), begun))
        runs[-1] = [
            msgspec.structs.replace(fact, occurred_at=fact.occurred_at + timedelta(milliseconds=number))
            for fact in runs[-1]
        ]
    together = sorted(itertools.chain(*runs), key=lambda fact: fact.occurred_at)
    late = EPOCH - timedelta(days=1)
    told = []
    for fact in again(together):
        late = max(fact.occurred_at, late + timedelta(microseconds=1))
        told.append(msgspec.structs.replace(fact, occurred_at=late))
    return told


def expected(told: list[NewFact]) -> dict[str, Call]:
    known = facts((fact.kind, fact.body, fact.occurred_at) for fact in told)
    return {call.call_id: call for call in settled(known)}


def imports(lost: list[NewFact], chance: random.Random) -> Iterator[list[NewFact]]:
    """The lost events in pieces, the pieces in any order."""
    cuts = sorted(chance.sample(range(len(lost) + 1), min(len(lost), chance.randint(1, 4))))
    pieces = [lost[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(lost)])]
    chance.shuffle(pieces)
    for piece in filter(None, pieces):
        yield [msgspec.structs.replace(fact, source="recovery") for fact in piece]


async def same(here: Projected, told: list[NewFact]) -> None:
    """The rows are those of an undisturbed day, and a rebuild makes the same of them."""
    wanted = expected(told)
    rows = {row["call_id"]: row for row in await here.rows("calls")}
    assert rows.keys() == wanted.keys()
    for call_id, call in wanted.items():
        row = rows[call_id]
        for column in (
            "direction",
            "outcome",
            "customer",
            "line",
            "caller",
            "answered_by",
            "started_at",
            "ended_at",
        ):
            assert row[column] == getattr(call, column), (call_id, column)
        for column, value in (("wait_s", call.wait), ("talk_s", call.talk), ("total_s", call.total)):
            assert row[column] == seconds(value), (call_id, column)
        for column in ("rung", "talked", "consulted", "legs"):
            assert tuple(row[column]) == getattr(call, column), (call_id, column)
    assert (await here.rebuild(jobs=1)).differences == []


@pytest.mark.parametrize("seed", range(16))
async def test_what_was_lost_and_recovered_makes_the_rows_of_an_undisturbed_day(database, seed):
    chance = random.Random(seed)
    told = mixed(chance, [chance.choice(NAMES) for _ in range(6)], apart=chance.choice([1, 20, 90]))
    lost = {place for place in range(len(told)) if chance.random() < chance.choice([0.1, 0.5])}
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        await here.tell(*[fact for place, fact in enumerate(told) if place not in lost])
        if chance.random() < 0.5:
            await here.restart()
        for piece in imports([told[place] for place in sorted(lost)], chance):
            await here.tell(*piece)
            if chance.random() < 0.3:
                await here.restart()
        await same(here, told)


def half_lost(chance: random.Random) -> Iterator[list[NewFact]]:
    """A day of a host whose clock is minutes behind, as a store is told of it; of two events in five its log knows."""
    told = mixed(chance, [chance.choice(NAMES) for _ in range(24)], apart=chance.choice([1, 3, 10]))
    behind = timedelta(seconds=chance.choice([70, 110, 200]))
    live, lost = [], []
    for fact in told:
        if chance.random() < 0.4:
            lost.append(fact)
        else:
            live.append(msgspec.structs.replace(fact, occurred_at=fact.occurred_at + behind))
    some = [live, *imports(lost, chance)]
    while some:
        left = some[0] if chance.random() < 0.6 else chance.choice(some)
        size = chance.choice([1, 5, 20, 60, 200])
        yield left[:size]
        del left[:size]
        some = [one for one in some if one]


@pytest.mark.parametrize("seed", range(12))
async def test_live_and_rebuilt_agree_where_legs_are_woken_by_what_was_recovered(database, seed):
    chance = random.Random(f"woken {seed}")
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for some in half_lost(chance):
            await here.tell(*some)
            if chance.random() < 0.1:
                await here.restart()
        assert (await here.rebuild(jobs=1)).differences == []


async def test_a_day_that_was_never_heard_of_live_is_told_by_the_first_directory(database):
    chance = random.Random(3)
    told = mixed(chance, ["2-1", "2-20", "1-8"])
    ago = [msgspec.structs.replace(fact, occurred_at=fact.occurred_at - timedelta(days=40)) for fact in told]
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for piece in imports(ago, chance):
            await here.tell(*piece)
        rows = await here.rows("calls")
        assert {row["source"] for row in rows} == {"recovery"}
        assert sorted(row["outcome"] for row in rows) == sorted(
            call.outcome for call in expected(told).values()
        )
        assert (await here.rebuild()).differences == []


async def test_a_call_recovered_from_long_after_the_last_card_is_told(database):
    told = mixed(random.Random(4), ["2-1"])
    later = [msgspec.structs.replace(fact, occurred_at=fact.occurred_at + timedelta(days=1)) for fact in told]
    another = mixed(random.Random(7), ["2-1"])
    sent = NewFact(
        enterprise="0367",
        stream="delivery/1/1777885200.1",
        kind="delivery_sent",
        source="service",
        occurred_at=told[-1].occurred_at,
        body=b"{}",
    )
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *another, sent)
        assert len(await here.rows("calls")) == 1
        await here.tell(*[msgspec.structs.replace(fact, source="recovery") for fact in later])
        assert len(await here.rows("calls")) == 2
        assert (await here.rebuild()).differences == []


async def test_sums_follow_what_recovery_changes(database):
    told = mixed(random.Random(5), ["2-1"])
    async with projected(database.dsn) as here:
        await here.tell(
            *KNOWN, *[fact for fact in told if fact.kind not in {"hangup", "bridge", "bridge_leave"}]
        )
        assert [row["outcome"] for row in await here.rows("calls")] == ["open"]
        assert await here.rows("customers") == []
        await here.tell(
            *[
                msgspec.structs.replace(fact, source="recovery")
                for fact in told
                if fact.kind in {"hangup", "bridge", "bridge_leave"}
            ]
        )
        assert [row["in_answered"] for row in await here.rows("customers")] == [1]
        assert [(row["begun"], row["answered"]) for row in await here.rows("traffic")] == [(1, 1)]
        agents = {row["extension"]: row["answered"] for row in await here.rows("agents")}
        assert agents["151"] == 1
        [host] = await here.rows("hosts")
        assert (host["events"], host["recovered"]) == (
            len(told),
            sum(fact.kind in {"hangup", "bridge", "bridge_leave"} for fact in told),
        )
        assert (await here.rebuild()).differences == []
