"""Retention finds every outside number that a fold reads, and renames it everywhere."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.pseudonyms import Renaming, numbers_told, pseudonym_of
from calls.scenarios import Scenario, catalogue
from calls.scenarios.script import CAST
from tests.folding import DIRECTORY, EPOCH, played_facts
from tests.property.test_forgetting_property import READING, customers, folded, spelled

OWN = frozenset({"+375290000102", "+375290000000"})
"""A manager's mobile, the Token."""


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
        for told in sorted(numbers_told(body, READING) - OWN):
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
