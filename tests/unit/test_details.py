"""Each leg's place in its call, and each person's share of it."""

from datetime import date, timedelta

import pytest

from calls.details import Details, Share
from calls.directory import Directory
from calls.entries import DirectoryChange
from calls.exchange import Exchange
from calls.scenarios import catalogue
from tests.folding import DIRECTORY, EPOCH, played_facts

DAY = date(2026, 5, 4)


def told(name: str, directory: Directory = DIRECTORY, seed: int = 7) -> Details:
    exchange = Exchange(directory, detailed=True)
    for fact in played_facts(catalogue()[name].events(EPOCH.timestamp(), seed)):
        exchange.apply(fact)
    [details] = exchange.take().details.values()
    return details


def shares(name: str, directory: Directory = DIRECTORY) -> dict[str, Share]:
    return {share.extension: share for share in told(name, directory).shares}


def flags(share: Share) -> str:
    """rung, answered, missed, lost by their first letters."""
    named = {"r": share.rung, "a": share.answered, "m": share.missed, "l": share.lost}
    return "".join(letter for letter, holds in named.items() if holds)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("2-1", {"150": "r", "151": "ra", "152": "r"}),
        ("2-2", {"150": "rm", "151": "rm", "152": "rm"}),
        ("2-11", {"150": "r", "151": "ral", "152": "r"}),
        ("2-18", {"150": "ra", "151": "ra", "152": "ra"}),
        ("1-1", {"151": ""}),
        ("1-7", {"151": "l", "152": "r"}),
        ("3-1", {"152": "", "150": "ra"}),
        ("3-3", {"152": "", "151": "ra"}),
    ],
)
def test_who_was_rung_who_answered_who_missed_and_who_lost_it(name, wanted):
    assert {one: flags(share) for one, share in shares(name).items()} == wanted


def test_a_chain_of_transfers_is_counted_at_both_ends():
    chain = {one: (share.transfers_in, share.transfers_out) for one, share in shares("2-18").items()}
    assert chain == {"151": (0, 1), "152": (1, 1), "150": (1, 0)}
    assert shares("2-11")["151"].transfers_out == 1, "also the one that nobody took"


def test_talk_is_the_time_in_one_room_with_the_other_party_and_holding_is_none():
    talks = {one: share.talked for one, share in shares("2-18").items()}
    assert talks == {"151": timedelta(seconds=5), "152": timedelta(seconds=9), "150": timedelta(seconds=6)}
    assert shares("2-2")["151"].talked is None


def test_both_ends_of_an_internal_call_talked():
    assert {share.talked for share in told("3-1").shares} == {timedelta(seconds=4)}


def test_a_mobile_counts_for_the_extension_of_its_owner():
    assert "+375290000102" not in shares("2-23")
    assert flags(shares("2-23")["150"]) == "ra"
    nobodys = DIRECTORY.fold(
        [
            DirectoryChange("manager", "150", {"extension": "150"}),
            DirectoryChange("follow_me", "300", None),
        ]
    )
    assert "+375290000102" in shares("2-23", nobodys)


def test_the_day_is_that_of_the_enterprises_zone():
    late = Exchange(DIRECTORY, detailed=True)
    begun = EPOCH.replace(hour=22)  # one o'clock of the next day in Minsk
    for fact in played_facts(catalogue()["2-1"].events(begun.timestamp(), 7), begun):
        late.apply(fact)
    [details] = late.take().details.values()
    assert {share.day for share in details.shares} == {DAY + timedelta(days=1)}
    assert {share.day for share in told("2-1").shares} == {DAY}


def test_legs_tell_who_is_at_their_end_and_when():
    places = told("2-7").legs
    assert sum(place.leads for place in places) == 1
    [leader] = [place for place in places if place.leads]
    assert (leader.role, leader.number, leader.answered) == ("customer", "+375290000101", True)
    assert leader.entered_at is not None
    assert leader.left_at is not None
    assert leader.entered_at < leader.left_at < leader.hung_up_at == leader.last_at
    roles = sorted(place.role for place in places)
    assert roles == ["customer", "local", "local", "local", "person", "person"], (
        "as the row of the call names them"
    )


def test_a_call_that_is_told_again_has_the_details_of_its_last_state():
    exchange = Exchange(DIRECTORY, detailed=True)
    counts = []
    for fact in played_facts(catalogue()["2-1"].events(EPOCH.timestamp(), 7)):
        exchange.apply(fact)
        counts += [len(details.legs) for details in exchange.take().details.values()]
    assert counts[0] == 1
    assert counts[-1] == 2
