"""What a subscriber may wish for: each button and command says what shall be, and the menu shows what is."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.bot import wishes
from adapters.bot.wishes import HOURS, PAGE, SILENT, Press, menu, read_mute, read_press, wished
from calls.directory import Directory
from calls.entries import Department, Line, Manager, Profile, Subscriber
from calls.hours import read_hours
from tests.botapi import wrong_markup

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
ONE = Subscriber(chat_id=1001)
LONG = "L" * 64


def june(**more):
    return Directory(profile=Profile(number="0367", name="june", timezone="Europe/Minsk", **more))


def full(lines=3, people=3):
    directory = june()
    return Directory(
        profile=directory.profile,
        lines={f"{LONG[:60]}{number:04}": Line(id=f"{LONG[:60]}{number:04}") for number in range(lines)},
        managers={str(150 + number): Manager(extension=str(150 + number)) for number in range(people)},
        departments={"901": Department(number="901", name="Продажи", members=("150",))},
    )


def pressed(shown, label, directory, subscriber):
    """The subscriber after a press on the button with this label."""
    (button,) = (one for row in shown.markup for one in row if label in one.text)
    press = read_press(button.callback_data)
    assert press
    return wished(subscriber, press, directory) if press.field else press


def labels(shown):
    return [button.text for row in shown.markup for button in row]


@pytest.mark.parametrize(
    ("label", "wish"),
    [
        ("🔔 Пропущенные", {"notify": "missed"}),
        ("🔔 Входящие и пропущенные", {"notify": "all"}),
        ("Исходящие", {"directions": ("out",)}),
        ("Без внутренних", {"internal": False}),
        ("Потерянные", {"outcomes": ("lost_in_transfer",)}),
    ],
)
def test_a_press_wishes_and_the_menu_shows_it_and_takes_it_back(label, wish):
    directory = june()
    before = menu(ONE, directory, NOW)
    wisher = pressed(before, label, directory, ONE)
    assert {name: getattr(wisher, name) for name in wish} == wish
    after = menu(wisher, directory, NOW)
    assert f"✅ {label}" in labels(after)
    assert f"✅ {label}" not in labels(before)
    for back in ("🔔 Все", "Все внешние", "С внутренними", "С любым итогом"):
        wisher = pressed(menu(wisher, directory, NOW), back, directory, wisher)
    assert wisher == ONE


def test_a_press_that_is_handled_twice_does_nothing_twice():
    press = Press("0367", "main", 0, "outcome", "+missed")
    once = wished(ONE, press, june())
    assert once.outcomes == ("missed",)
    assert wished(once, press, june()) == once
    assert wished(once, Press("0367", "main", 0, "outcome", "-missed"), june()) == ONE


def test_lines_and_people_are_chosen_on_pages_of_their_own():
    directory = full(lines=2 * PAGE + 1, people=1)
    first = menu(ONE, directory, NOW, "lines")
    assert sum("LLL" in label for label in labels(first)) == PAGE
    second = pressed(first, "›", directory, ONE)
    assert (second.view, second.page) == ("lines", 1)
    last = menu(ONE, directory, NOW, "lines", 99)
    assert sum("LLL" in label for label in labels(last)) == 1
    assert "›" not in labels(last)
    wisher = pressed(last, "LLL", directory, ONE)
    assert wisher.lines == (f"{LONG[:60]}{2 * PAGE:04}",)
    people = menu(wisher, directory, NOW, "people")
    wisher = pressed(people, "Продажи (901)", directory, wisher)
    assert wisher.people == ("901",)
    assert [label for label in labels(menu(wisher, directory, NOW)) if "(1)" in label] == [
        "📡 Линии (1)",
        "☎️ Сотрудники (1)",
    ]
    assert pressed(menu(wisher, directory, NOW, "people"), "Все сотрудники", directory, wisher).people == ()


def test_a_line_that_is_no_more_can_be_taken_back():
    directory, wisher = june(), Subscriber(chat_id=1001, lines=("0007001",))
    assert pressed(menu(wisher, directory, NOW, "lines"), "0007001", directory, wisher).lines == ()


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("view", ["main", "lines", "people", "hours", "silent"])
def test_every_menu_is_what_telegram_takes(view, language):
    directory = full(lines=50, people=50)
    directory = Directory(
        profile=Profile(number="0367", name="june", language=language),
        lines=directory.lines,
        managers=directory.managers,
    )
    wisher = Subscriber(chat_id=1001, outcomes=("lost_in_transfer", "missed"), hours="Tu 10:00-11:00")
    for page in (0, 1, 99):
        shown = menu(wisher, directory, NOW, view, page)
        rows = [
            [{"text": one.text, "callback_data": one.callback_data} for one in row] for row in shown.markup
        ]
        assert wrong_markup(rows) == ""
        assert all(read_press(one.callback_data) for row in shown.markup for one in row)


@pytest.mark.parametrize(
    ("view", "presets", "field"), [("hours", HOURS, "hours"), ("silent", SILENT, "silent")]
)
def test_hours_come_by_button_and_are_hours(view, presets, field):
    directory = june()
    for place, text in enumerate(presets):
        wisher = wished(ONE, Press("0367", view, 0, field, str(place)), directory)
        assert getattr(wisher, field) == text
        if text:
            assert read_hours(text)
    assert wished(ONE, Press("0367", view, 0, field, str(len(presets))), directory) is None
    own = Subscriber(chat_id=1001, hours="We 10:00-11:00", silent="We 10:00-11:00")
    assert "Ср 10:00-11:00" in menu(own, directory, NOW, view).text
    assert "Ср 10:00-11:00" in menu(own, directory, NOW).text


@pytest.mark.parametrize(
    "data",
    [
        "",
        "w:0367:main:0:notify",
        "w:0367:main:0",
        "m:0367:main:0:notify:all",
        "m:0367:cellar:0",
        "m:367:main:0",
        "w:0367:main:0:notify:all:x",
        "c:0123",
    ],
)
def test_what_no_menu_made_is_no_press(data):
    assert read_press(data) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notify", "loud"),
        ("direction", "up"),
        ("outcome", "+open"),
        ("outcome", "missed"),
        ("line", "+000000000000"),
        ("person", "+999"),
        ("hours", "x"),
        ("nothing", "1"),
        ("off", "1"),
    ],
)
def test_a_wish_for_what_is_not_there_is_none(field, value):
    assert wished(ONE, Press("0367", "main", 0, field, value), june()) is None


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("2h", timedelta(hours=2)),
        ("30 M", timedelta(minutes=30)),
        ("1д", timedelta(days=1)),
        ("30d", timedelta(days=30)),
    ],
)
def test_mute_is_told_in_minutes_hours_and_days(text, until):
    assert read_mute(text, NOW) == (True, NOW + until)


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "31d", "2h30m", "-1h", "99999d", "tomorrow", "2 weeks"])
def test_what_tells_no_time_is_not_understood(text):
    assert read_mute(text, NOW) == (False, None)


def test_a_mute_holds_until_its_end_and_off_ends_it():
    assert read_mute("OFF", NOW) == (True, None)
    quiet = wishes.muted(NOW + timedelta(hours=2))(ONE)
    assert quiet.muted_until == "2026-05-04T11:00:00+00:00"
    assert (quiet.muted(NOW), quiet.muted(NOW + timedelta(hours=2))) == (True, False)
    assert "04.05.2026 14:00" in menu(quiet, june(), NOW).text
    assert "14:00" not in menu(quiet, june(), NOW + timedelta(hours=2)).text
    assert wishes.muted(None)(quiet) == ONE
    assert wishes.muted(None)(None) is None


def test_who_stops_or_blocked_the_bot_comes_back_and_who_was_switched_off_otherwise_does_not():
    off = wishes.stopped(ONE)
    assert off.off == "stopped"
    assert wishes.returned(off) == ONE
    blocked = Subscriber(chat_id=1001, off="blocked")
    assert (wishes.stopped(blocked), wishes.returned(ONE), wishes.unblocked(ONE)) == (None, None, None)
    for lapsed in (blocked, Subscriber(chat_id=1001, off="deactivated")):
        assert wishes.returned(lapsed) == wishes.unblocked(lapsed) == ONE
    assert wishes.unblocked(off) is None
    for gone in (Subscriber(chat_id=1001, off="chat_not_found"), Subscriber(chat_id=-5, off="deactivated")):
        assert wishes.returned(gone) is wishes.unblocked(gone) is None
    assert wishes.joined(1001)(blocked) == ONE


def test_clear_takes_back_everything_but_who_and_which_sound():
    wisher = Subscriber(
        chat_id=1001,
        invited=True,
        notify="all",
        directions=("in",),
        internal=False,
        outcomes=("missed",),
        lines=("1",),
        people=("150",),
        hours=HOURS[1],
        silent=SILENT[1],
        muted_until=NOW.isoformat(),
    )
    assert wishes.cleared(wisher) == Subscriber(chat_id=1001, invited=True, notify="all")
    assert wishes.cleared(None) is None


def test_who_is_invited_is_marked_so_and_who_is_known_keeps_the_wishes():
    assert wishes.joined(7)(None) == Subscriber(chat_id=7, invited=True)
    known = Subscriber(chat_id=7, notify="all", off="stopped")
    assert wishes.joined(7)(known) == Subscriber(chat_id=7, notify="all")
