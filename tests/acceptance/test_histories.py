"""Stored histories come out as they did: by the fold alone, live step by step with restarts, and rebuilt."""

import itertools
import random
import re

import pytest

from adapters.store.beside import COMPARED
from projections.calls import FOLD_VERSION
from tests import histories
from tests.histories import making
from tests.storing import projected

DECLARE = (
    "count FOLD_VERSION up (projections/calls.py), say in tests/histories/CHANGES.md what comes out otherwise and why,"
    " and run python -m tests.histories"
)
every_history = pytest.mark.parametrize("name", histories.NAMES)


def same(name: str, wanted: histories.Tables, found: histories.Tables, how: str) -> None:
    told = histories.apart(wanted, found)
    shown = [*told[:20], *([f"and {len(told) - 20} more"] if len(told) > 20 else [])]
    assert not told, "\n".join(
        [f"{name}, {how}, does not come out as it did:", *shown, f"If that is meant: {DECLARE}."]
    )


@every_history
async def test_the_fold_alone_makes_the_stored_rows(name):
    chance = random.Random(f"{name} by the fold alone")
    found = await histories.fold(histories.facts_of(name), histories.sizes(chance))
    same(name, histories.rows_of(name)[1], found, "by the fold alone")


@every_history
async def test_live_with_restarts_and_rebuilt_it_makes_the_stored_rows(database, name):
    chance = random.Random(f"{name} live")
    wanted = histories.rows_of(name)[1]
    async with projected(database.dsn) as here:
        await histories.live(here, histories.facts_of(name), histories.sizes(chance), chance)
        same(name, wanted, await histories.tables_of(here), "live")
        outcome = await here.rebuild(check=False)
        same(name, wanted, await histories.tables_of(here), "rebuilt")
        assert outcome.differences == []
        assert await here.connection.fetchval("SELECT count(*) FROM parked") == 0


@every_history
async def test_rebuilt_without_ever_having_been_live_it_makes_the_stored_rows(database, name):
    async with projected(database.dsn) as here:
        await histories.store(here.connection, histories.facts_of(name))
        await here.rebuild(check=False, jobs=1)
        same(name, histories.rows_of(name)[1], await histories.tables_of(here), "rebuilt at once")


@every_history
def test_stored_rows_are_those_of_this_fold(name):
    version, _ = histories.rows_of(name)
    assert version == FOLD_VERSION, (
        f"the rows of {name} were made by fold {version}, this is fold {FOLD_VERSION}: say in"
        " tests/histories/CHANGES.md what it changes, and run python -m tests.histories"
    )


def test_every_version_of_the_fold_says_what_it_changes():
    told = dict(
        re.findall(r"^## Fold (\d+)\n+(\S.*)$", histories.CHANGES.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert str(FOLD_VERSION) in told, (
        f"tests/histories/CHANGES.md has no words under a heading '## Fold {FOLD_VERSION}': say there which rows of the"
        " stored histories come out otherwise, and why; or that none does"
    )


def test_the_stored_histories_hold_what_they_are_for():
    facts = {name: histories.facts_of(name) for name in histories.NAMES}
    every = [fact for told in facts.values() for fact in told]
    assert {fact.source for fact in every} == {"live", "recovery", "service"}
    assert {fact.kind for fact in facts["least"] if fact.source == "live"} == {
        "start",
        "dial",
        "bridge",
        "hangup",
    }
    names = [
        {(fact.stream, fact.version) for fact in facts["two-enterprises"] if fact.enterprise == number}
        for number in ("0367", "0412")
    ]
    assert len(names[0] & names[1]) > 100, "two enterprises have the same UniqueIds"
    assert {"delivery_sent", "recording_added", "recording_forgotten", "callback_requested"} <= {
        fact.kind for fact in facts["two-enterprises"]
    }
    assert any(fact.kind == "directory_changed" and fact.position > 20 for fact in facts["directory-changes"])
    assert {fact.kind for fact in facts["overlap"]} >= {"silence_observed", "hangup"}
    for name, told in facts.items():
        assert [fact.position for fact in told] == list(range(1, len(told) + 1)), name
        wanted = histories.rows_of(name)[1]
        assert wanted.keys() == COMPARED.keys()
        assert all(wanted.values()), f"{name} makes rows of every table"


def test_a_difference_names_the_row_the_column_and_both_values():
    wanted = histories.rows_of("least")[1]
    first, *others = wanted["calls"]
    found = {**wanted, "calls": [{**first, "outcome": "lost"}, *others], "hosts": []}
    assert histories.apart(wanted, found) == [
        f"calls 0367 {first['call_id']}: outcome was {first['outcome']!r}, is 'lost'",
        "hosts 0367: is gone",
    ]
    with pytest.raises(AssertionError, match=r"outcome was .*is 'lost'\n(.|\n)*count FOLD_VERSION up"):
        same("least", wanted, found, "live")


async def test_a_leg_is_of_one_call_also_where_another_call_of_the_same_people_is_woken():
    # a mobile's leg is drawn from a call that is awake into the one that a late hangup wakes
    facts = making.stored(making.overlap(random.Random(2)))
    for batches in (itertools.repeat(1), histories.sizes(random.Random("overlap"))):
        legs = [
            (row["enterprise"], row["unique_id"]) for row in (await histories.fold(facts, batches))["legs"]
        ]
        assert len(legs) == len(set(legs))


async def test_late_ends_of_overlapping_calls_do_not_stop_the_runner_after_a_restart(database):
    # a woken leg is drawn into a call that is awake, away from the one that the tables have it in
    facts, chance = making.stored(making.overlap(random.Random(112))), random.Random(2)
    async with projected(database.dsn) as here:
        await histories.live(here, facts, histories.sizes(chance), chance)
        assert len(await here.rows("calls")) > 10
        assert await here.connection.fetchval("SELECT max(position) FROM checkpoints") == len(facts)
