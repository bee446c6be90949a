"""Forgetting renames and does nothing else: renamed facts fold into renamed rows."""

import json
import random
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.store.columns import belonging_row
from calls.directory import Directory
from calls.drawing import pseudonym_of
from calls.entries import DirectoryChange
from calls.facts import Fact
from calls.numbers import to_e164
from calls.pseudonyms import Renaming
from calls.scenarios import Scenario, catalogue
from calls.scenarios.script import CAST
from calls.spellings import Reading
from projections.calls import CallsFold
from tests.folding import DIRECTORY, EPOCH, played_facts

READING = Reading(("BY",))
COUNTRIES = ("375291", "375172", "7916", "4915", "1202555", "39061")
LENGTHS = {"375291": 12, "375172": 12, "7916": 11, "4915": 13, "1202555": 11, "39061": 12}


def folded(facts: list[Fact], directory: Directory) -> str:
    """Every row that these facts make, as text."""
    fold = CallsFold()
    for enterprise in {fact.enterprise for fact in facts}:
        fold.exchange(enterprise).board.directory = directory
    for fact in facts:
        fold.hosts.see(fact)
        fold.apply(fact)
    rows = fold.take()
    belongings = [belonging_row(*belonging) for belonging in rows.belongings]
    told = (rows.calls, sorted(rows.gone), belongings, rows.legs, rows.shares, rows.hosts)
    return msgspec.json.encode(told).decode()


@st.composite
def customers(draw: st.DrawFn) -> str:
    """A possible number, as a host tells it."""
    begin = draw(st.sampled_from(COUNTRIES))
    left = LENGTHS[begin] - len(begin)
    told = begin + "".join(draw(st.lists(st.sampled_from("0123456789"), min_size=left, max_size=left)))
    return told if to_e164(f"+{told}", "BY") == f"+{told}" else CAST["C"]


def spelled(number: str, how: int) -> str:
    """The customer in one of the ways that hosts spell it."""
    national = number[3:] if number.startswith("375") else ""
    return (number, f"+{number}", f"80{national}" if national else number, f"00{number}")[how]


@pytest.mark.parametrize("scenario", list(catalogue().values()), ids=lambda scenario: scenario.id)
@settings(max_examples=8, deadline=None)
@given(number=customers(), how=st.integers(0, 3), seed=st.integers(1, 1_000), least=st.booleans())
def test_renamed_facts_make_renamed_rows(
    scenario: Scenario, number: str, how: int, seed: int, least: bool
) -> None:
    cast = {**CAST, "C": spelled(number, how)}
    facts = played_facts(scenario.events(EPOCH.timestamp(), seed, least=least, cast=cast))
    chance = random.Random(seed)
    told = f"+{number}"
    pseudonym = pseudonym_of(told, READING, chance.randrange, lambda drawn: drawn == "+375290000102")
    person = Renaming(told, pseudonym, READING)
    renamed = [msgspec.structs.replace(fact, body=person.rewrite(fact.body)) for fact in facts]
    assert folded(renamed, DIRECTORY) == folded(facts, DIRECTORY).replace(told, pseudonym)
    assert sum(new.body != old.body for new, old in zip(renamed, facts, strict=True)) == sum(
        number[-7:] in json.dumps(json.loads(fact.body)) for fact in facts
    )


def test_an_enterprises_many_calls_fold_alike_when_one_of_their_customers_is_forgotten() -> None:
    directory = DIRECTORY.fold([DirectoryChange("customer", "+375290000101", {"phone": "+375290000101"})])
    facts: list[Fact] = []
    versions: dict[str, int] = {}
    others = ["375290000101", "375291111111", "375290000101", "79161234567"]
    for place, scenario in enumerate(catalogue().values()):
        begun = EPOCH + timedelta(minutes=2 * place)
        cast = {**CAST, "C": others[place % len(others)]}
        for fact in played_facts(scenario.events(begun.timestamp(), place + 1, cast=cast), begun):
            version = versions[fact.stream] = versions.get(fact.stream, 0) + 1
            facts.append(msgspec.structs.replace(fact, version=version))
    facts.sort(key=lambda fact: fact.occurred_at)
    facts = [msgspec.structs.replace(fact, position=place) for place, fact in enumerate(facts, 1)]
    pseudonym = pseudonym_of("+375290000101", READING, random.Random(1).randrange, lambda _: False)
    person = Renaming("+375290000101", pseudonym, READING)
    renamed = [msgspec.structs.replace(fact, body=person.rewrite(fact.body)) for fact in facts]
    assert folded(renamed, directory) == folded(facts, directory).replace("+375290000101", pseudonym)
