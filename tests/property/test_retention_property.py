"""Retention finds every outside number that a fold reads, and renames it everywhere."""

import random
import re
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters.privacy.digests import Digests
from adapters.privacy.strangers import Strangers
from calls.drawing import pseudonym_of
from calls.entries import DirectoryChange
from calls.facts import Fact
from calls.pseudonyms import Renaming, rename
from calls.scenarios import Scenario, catalogue
from calls.scenarios.script import CAST
from calls.spellings import Reading, numbers_in, numbers_told
from tests.folding import DIRECTORY, EPOCH, played_facts
from tests.property.test_forgetting_property import READING, customers, folded, spelled

OWN = frozenset({"+375290000102", "+375290000000"})
"""A manager's mobile, the Token."""
RULES = ("+375{9}", "375{9}", "{9}", "+7{10}", "80{9}")


@pytest.mark.parametrize("scenario", list(catalogue().values()), ids=lambda scenario: scenario.id)
@settings(max_examples=6, deadline=None)
@given(number=customers(), how=st.integers(0, 3), seed=st.integers(1, 1_000), least=st.booleans())
def test_all_outside_numbers_renamed_make_renamed_rows(
    scenario: Scenario, number: str, how: int, seed: int, least: bool
) -> None:
    cast = {**CAST, "C": spelled(number, how)}
    facts = played_facts(scenario.events(EPOCH.timestamp(), seed, least=least, cast=cast))
    chance = random.Random(seed)
    names: dict[str, Renaming] = {}
    renamed = []
    for fact in facts:
        body = fact.body
        for told in sorted({one.number for one in numbers_told(body, READING)} - OWN):
            if told not in names:
                drawn = pseudonym_of(told, READING, chance.randrange, lambda drawn: drawn in OWN)
                names[told] = Renaming(told, drawn, READING)
            body = names[told].rewrite(body)
        renamed.append(msgspec.structs.replace(fact, body=body))
    expected = folded(facts, DIRECTORY)
    for told, one in names.items():
        expected = expected.replace(told, one.pseudonym)
    assert folded(renamed, DIRECTORY) == expected
    assert names.keys() <= {f"+{number}"}, "nothing else is taken for a number"
    assert f"+{number}" not in expected


class Nobody:
    """A store in which nobody has a pseudonym yet."""

    async def fetchval(self, *_: Any) -> bool:
        return False

    async def execute(self, *_: Any) -> None:
        return None


async def retired(facts: list[Fact], rules: dict[str, str]) -> tuple[list[Fact], dict[str, str], Reading]:
    """Facts as retention leaves them, and by number what became of it."""
    changes = [DirectoryChange("enterprise", "0367", {"number": "0367", "name": "e", "country": "BY"})]
    for line, rule in rules.items():
        changes.append(DirectoryChange("line", line, {"id": line, "incoming_transform": rule}))
    strangers = Strangers(Digests(b"k" * 32), changes, OWN, {})
    nobody = cast("asyncpg.Connection", Nobody())

    async def rest(_: float) -> None:
        return None

    renamed = []
    for fact in facts:
        told = strangers.in_body(fact.body)
        await strangers.learn(nobody, told, datetime(2030, 1, 1, tzinfo=UTC), rest)
        renamed.append(msgspec.structs.replace(fact, body=strangers.rewrite(fact.body, told)))
        assert not strangers.in_body(renamed[-1].body), "a second run finds nothing more"
    known = {number for fact in facts for number in numbers_in(fact.body, strangers.reading)}
    names = {number: name for number in known if (name := strangers.pseudonym(number)) not in {None, number}}
    for fact, new in zip(facts, renamed, strict=True):
        listed = sorted(numbers_in(fact.body, strangers.reading) & names.keys())
        assert rename(fact.body, [strangers.renaming(number) for number in listed]) == new.body, (
            "as recover does"
        )
    return renamed, cast("dict[str, str]", names), strangers.reading


@pytest.mark.parametrize("scenario", list(catalogue().values()), ids=lambda scenario: scenario.id)
@settings(max_examples=4, deadline=None)
@given(
    number=customers(),
    how=st.integers(0, 4),
    seed=st.integers(1, 1_000),
    least=st.booleans(),
    rules=st.lists(st.sampled_from(RULES), min_size=1, max_size=2, unique=True),
)
async def test_whatever_a_lines_rule_makes_of_a_number_all_its_texts_and_rows_are_renamed_alike(
    scenario: Scenario, number: str, how: int, seed: int, least: bool, rules: list[str]
) -> None:
    # No number of a subscriber begins so: it would be read as dialled abroad, which no rule of a line is for.
    assume(not number[-9:].startswith("00"))
    text = f"48{number[-9:]}" if how == 4 else spelled(number, how)
    cast = {**CAST, "C": text}
    facts = played_facts(scenario.events(EPOCH.timestamp(), seed, least=least, cast=cast))
    lines = dict(zip(("0007001", "0007002"), rules, strict=False))
    directory = DIRECTORY.fold(
        DirectoryChange("line", line, {"id": line, "incoming_transform": rule})
        for line, rule in lines.items()
    )
    renamed, names, _ = await retired(facts, lines)
    expected = re.sub(r"\+[0-9]+", lambda found: names.get(found[0], found[0]), folded(facts, directory))
    assert folded(renamed, directory) == expected
    told = {found for fact in renamed for found in re.findall(rb"[0-9]{9,}", fact.body)}
    assert not [one for one in told if one.decode().endswith(text[-9:])]
