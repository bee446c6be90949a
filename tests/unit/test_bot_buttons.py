"""Buttons below cards: which call has which, in which chat, and that nothing can be read off or made up."""

from datetime import UTC, datetime

import pytest

from adapters.bot.buttons import Buttons
from adapters.bot.listening import commands
from adapters.bot.texts import TEXTS
from adapters.secret import Secret
from calls.call import Call
from calls.directory import Directory
from calls.entries import Profile
from tests.botapi import wrong_markup

DIRECTORY = Directory(profile=Profile(number="0367", name="june"))
ENGLISH = Directory(profile=Profile(number="0367", name="june", language="en"))
PUBLIC = "https://calls.example.org"


def buttons(key="key", base=PUBLIC):
    return Buttons(Secret(key), lambda _: base)


def ended(**more):
    told = {"direction": "in", "outcome": "missed", "customer": "+375290000101", "phase": "ended", **more}
    return Call(enterprise="0367", call_id="1.1", started_at=datetime(2026, 5, 4, tzinfo=UTC), **told)


def texts(markup):
    return [button.text for row in markup or () for button in row]


def test_an_ended_incoming_call_has_details_and_call_back():
    markup = buttons().of_card(ended(), DIRECTORY, 1001)
    assert texts(markup) == ["📊 Подробнее", "📞 Перезвонить"]
    assert markup[0][0].url == f"{PUBLIC}/calls/0367/1.1"
    assert texts(buttons().of_card(ended(), ENGLISH, 1001)) == ["📊 Details", "📞 Call back"]


@pytest.mark.parametrize(
    "call",
    [
        ended(phase="talking", outcome="open"),
        ended(direction="out", outcome="not_answered"),
        ended(direction="internal"),
        ended(customer=None),
    ],
)
def test_other_calls_have_no_call_back(call):
    assert texts(buttons().of_card(call, DIRECTORY, 1001)) == ["📊 Подробнее"]
    assert buttons(base="").of_card(call, DIRECTORY, 1001) is None


def test_who_was_lost_on_the_way_to_another_can_be_called_back_whoever_had_called():
    call = ended(direction="out", outcome="lost_in_transfer")
    assert texts(buttons().of_card(call, DIRECTORY, 1001)) == ["📊 Подробнее", "📞 Перезвонить"]


def test_a_group_has_no_call_back():
    assert texts(buttons().of_card(ended(), DIRECTORY, -5)) == ["📊 Подробнее"]
    assert buttons(base="").of_card(ended(), DIRECTORY, -5) is None


def test_what_a_button_carries_is_short_tells_nothing_and_is_of_one_call_chat_and_key():
    data = buttons().of_card(ended(), DIRECTORY, 1001)[1][0].callback_data
    assert wrong_markup([[{"text": "x", "callback_data": data}]]) == ""
    assert all(told not in data for told in ("0367", "1.1", "1001", "375290000101"))
    told = [
        buttons(key).digest(*where)
        for key in ("key", "other")
        for where in (
            ("0367", 1001, "1.1"),
            ("0367", 1002, "1.1"),
            ("0367", 1001, "1.2"),
            ("0368", 1001, "1.1"),
        )
    ]
    assert len(set(told)) == 8
    assert data == f"c:{told[0]}"


def test_an_odd_id_of_a_call_stays_one_part_of_the_address():
    call = Call(
        enterprise="0367", call_id="a/b?c#d", direction="out", started_at=datetime(2026, 5, 4, tzinfo=UTC)
    )
    ((button,),) = buttons().of_card(call, DIRECTORY, 1001)
    assert button.url == f"{PUBLIC}/calls/0367/a%2Fb%3Fc%23d"


@pytest.mark.parametrize("language", TEXTS)
def test_commands_are_what_telegram_takes_and_the_same_in_each_language(language):
    listed = commands(language)
    assert [one.command for one in listed] == [one.command for one in commands("en")]
    assert all(1 <= len(one.description) <= 256 for one in listed)


@pytest.mark.parametrize("language", TEXTS)
def test_what_a_press_is_told_fits(language):
    told = TEXTS[language]
    said = (told.said_again, told.said_later, told.said_over, told.said_requested, told.said_stranger)
    assert all(0 < len(text) <= 200 for text in said)
