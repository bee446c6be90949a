"""What the bot says: complete in each language, with the same places to be filled in, and HTML that Telegram takes."""

import re

import msgspec
import pytest

from adapters.bot.desk import read_command
from adapters.bot.texts import TEXTS
from tests.botapi import _wrong_html

FIELDS = [field.name for field in msgspec.structs.fields(TEXTS["ru"])]


def texts_of(value):
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, tuple) else list(value.values())


@pytest.mark.parametrize("name", FIELDS)
def test_each_text_is_there_in_both_languages_with_the_same_places(name):
    ru, en = (texts_of(getattr(TEXTS[language], name)) for language in ("ru", "en"))
    assert [text.count("{}") for text in ru] == [text.count("{}") for text in en]
    assert all(ru)
    assert all(en)
    for text in (*ru, *en):
        assert _wrong_html({"text": text, "parse_mode": "HTML"}) == ""
        assert re.sub("<[^>]*>", "", text).count("<") == 0


def test_help_in_both_languages():
    listed = "\n".join(f"/{name} — {does}" for name, does in TEXTS["ru"].commands.items())
    assert TEXTS["ru"].help.format("june", listed) == (
        "Я показываю звонки компании «june»: одно сообщение на звонок, оно меняется до конца разговора.\n\n"
        "/calls — последние звонки\n/missed — пропущенные звонки\n/open — звонки, которые идут сейчас\n"
        "/customer — история клиента по номеру\n/settings — какие звонки показывать и когда звучать\n"
        "/mute — без звука: 30m, 2h, 1d или off\n/clear — снять фильтры, тихие часы и mute\n"
        "/stop — больше ничего не присылать\n/help — что умеет бот\n\n"
        "/clear возвращает всё как было в начале: снимаются фильтры, тихие часы и mute. "
        "После /stop вернуться можно командой /start."
    )
    listed = "\n".join(f"/{name} — {does}" for name, does in TEXTS["en"].commands.items())
    assert TEXTS["en"].help.format("june", listed) == (
        "I show the calls of “june”: one message a call, which changes until the call is over.\n\n"
        "/calls — the last calls\n/missed — missed calls\n/open — calls going on right now\n"
        "/customer — history of a customer by number\n"
        "/settings — which calls to show, and when to make a sound\n"
        "/mute — no sound: 30m, 2h, 1d or off\n/clear — drop filters, silent hours and mute\n"
        "/stop — send nothing any more\n/help — what this bot can do\n\n"
        "/clear brings everything back to how it was at first: no filters, no silent hours, no mute. "
        "After /stop you can come back with /start."
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/calls", ("calls", "", "")),
        ("/Customer@Some_bot  +375 29\n000", ("customer", "Some_bot", "+375 29\n000")),
        (" /mute 2h ", ("mute", "", "2h")),
    ],
)
def test_a_command_is_read_with_the_bot_it_means_and_the_rest(text, told):
    command = read_command(text)
    assert (command.name, command.bot, command.rest) == told


@pytest.mark.parametrize("text", ["", "calls", "/", "//calls", "/calls!", "look: /calls"])
def test_other_texts_are_no_command(text):
    assert read_command(text) is None
