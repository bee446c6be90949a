"""What a chat shows of every scenario, text after text, as the files of tests/golden have it in Russian and English.

A file holds one call's different texts in their order, ``---`` between two of them; of a scenario of two calls
those of both, ``===`` between, who began first first. ``UPDATE_GOLDEN=1 pytest tests/unit/test_golden_cards.py``
writes the files anew: read what changed, aloud, before it is committed.
"""

import os
from pathlib import Path

import pytest

from calls.cards import render
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.exchange import Exchange
from calls.facts import Fact
from calls.scenarios import Scenario, catalogue
from tests.botapi import _wrong_html
from tests.folding import DIRECTORY, ENTERPRISE, EPOCH, played_facts, silences

GOLDEN = Path(__file__).parents[1] / "golden"
NEXT_TEXT, NEXT_CALL = "\n---\n", "\n===\n"
MOBILE = "+375290000102"
CUSTOMER = "+375290000101"
LANGUAGES = ("ru", "en")

every_card = pytest.mark.parametrize("language", LANGUAGES)
every_scenario = pytest.mark.parametrize("scenario", catalogue().values(), ids=lambda scenario: scenario.id)


def named(language: str) -> Directory:
    """The cast with the names that a manager knows them by; the reserve line has none."""
    entries = (
        ("enterprise", {"number": ENTERPRISE, "name": "june", "language": language}),
        ("manager", {"extension": "150", "name": "Пётр Петров", "mobile": MOBILE}),
        ("manager", {"extension": "151", "name": "Анна Серова"}),
        ("manager", {"extension": "152", "name": "Ольга Ким"}),
        ("manager", {"extension": "153", "name": "Игорь Лес"}),
        ("department", {"number": "901", "name": "Продажи", "members": ["150", "151", "153"]}),
        ("customer", {"phone": CUSTOMER, "name": "Иван Иванов"}),
    )
    return DIRECTORY.fold(
        DirectoryChange(section, next(iter(entry.values())), entry) for section, entry in entries
    )


def shown(scenario: Scenario, language: str) -> list[list[str]]:
    """The different texts of each call's card, calls in the order they were first shown."""
    exchange = Exchange(named(language))
    cards: dict[str, list[str]] = {}

    def tell(fact: Fact) -> None:
        exchange.apply(fact)
        changes = exchange.take()
        assert not changes.gone, "a card that was shown is taken back"
        for call_id, call in changes.calls.items():
            text = render(call, exchange.directory)
            texts = cards.setdefault(call_id, [])
            if texts[-1:] != [text]:
                texts.append(text)

    facts = played_facts(scenario.events(EPOCH.timestamp(), 1))
    for fact in facts:
        tell(fact)
    calls = [call for call in map(exchange.call, cards) if call is not None and not call.settled]
    for fact in silences(facts, calls):
        tell(fact)
    return list(cards.values())


@every_card
@every_scenario
def test_the_card_of_a_scenario_reads_as_agreed(scenario, language):
    text = NEXT_CALL.join(NEXT_TEXT.join(texts) for texts in shown(scenario, language)) + "\n"
    path = GOLDEN / f"{scenario.id}.{language}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@every_card
@every_scenario
def test_telegram_takes_every_text_of_a_scenario(scenario, language):
    for text in (text for texts in shown(scenario, language) for text in texts):
        assert not _wrong_html({"parse_mode": "HTML", "text": text}), text


@every_scenario
def test_both_languages_tell_the_same_of_as_many_calls_as_there_are(scenario):
    russian, english = (
        [[[line[0] for line in text.splitlines()] for text in texts] for texts in shown(scenario, language)]
        for language in LANGUAGES
    )
    assert russian == english
    assert len(russian) == 1 + len(scenario.beside)


def test_every_golden_file_is_of_a_scenario():
    expected = {f"{name}.{language}.txt" for name in catalogue() for language in LANGUAGES}
    assert {path.name for path in GOLDEN.iterdir()} == expected
