"""Cards in all states, as a manager reads them in Telegram."""

import html
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from calls.call import Call
from calls.cards import History, history_line, notice, render
from calls.directory import Directory
from calls.entries import Customer, Department, FollowMe, Line, Manager, Profile

IVAN = "+375290000101"
MOBILE = "+375290000102"
BEGAN = datetime(2025, 9, 12, 11, 5, 40, tzinfo=UTC)


def june(language="ru", timezone="Europe/Minsk", **known) -> Directory:
    names = {"150": "Пётр Петров", "151": "Анна Серова", "152": "Ольга Ким", "153": "Игорь Лес"}
    managers = {extension: Manager(extension=extension, name=name) for extension, name in names.items()}
    managers["150"] = msgspec.structs.replace(managers["150"], mobile=MOBILE)
    lists = {
        "managers": managers,
        "lines": {"0007001": Line(id="0007001", name="Основная линия")},
        "departments": {"901": Department(number="901", name="Продажи", members=("150", "151", "153"))},
        "follow_mes": {"300": FollowMe(number="300", extension="150", mobile=MOBILE)},
        "customers": {IVAN: Customer(phone=IVAN, name="Иван Иванов")},
    }
    profile = Profile(number="0367", name="june", language=language, timezone=timezone)
    return Directory(profile=profile, **(lists | known))


def call(direction="in", **known) -> Call:
    if direction != "internal":
        known = {"customer": IVAN} | known
    return Call(enterprise="0367", call_id="1757675140.1", direction=direction, started_at=BEGAN, **known)


def ended(outcome, direction="in", **known) -> Call:
    return call(direction, outcome=outcome, phase="ended", **known)


def after(seconds) -> timedelta:
    return timedelta(seconds=seconds)


def card(*lines) -> str:
    return "\n".join(lines)


GOLDEN = {
    "in, begun": (
        call(line="0007001"),
        card(
            "📞 Звонок от +375 (29) 000-01-01",
            "💰 Иван Иванов",
            "📡 Основная линия",
            "⏰ Начало звонка 14:05",
        ),
        card("📞 Call from +375 (29) 000-01-01", "💰 Иван Иванов", "📡 Основная линия", "⏰ Began at 14:05"),
    ),
    "in, begun, somebody is rung": (
        call(rung=("151",)),
        card(
            "📞 Звонок от +375 (29) 000-01-01 → Анна Серова (151)", "💰 Иван Иванов", "⏰ Начало звонка 14:05"
        ),
        card("📞 Call from +375 (29) 000-01-01 → Анна Серова (151)", "💰 Иван Иванов", "⏰ Began at 14:05"),
    ),
    "in, ringing those of the last step": (
        call(phase="ringing", line="0007009", rung=("150", "151"), ringing=("150", MOBILE, "199")),
        card(
            "📞 Дозвон от +375 (29) 000-01-01 → Пётр Петров (150), 📱 Пётр Петров (+375 (29) 000-01-02), 199",
            "💰 Иван Иванов",
            "📡 Линия 0007009",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "📞 Ringing +375 (29) 000-01-01 → Пётр Петров (150), 📱 Пётр Петров (+375 (29) 000-01-02), 199",
            "💰 Иван Иванов",
            "📡 Line 0007009",
            "⏰ Began at 14:05",
        ),
    ),
    "in, ringing more than the heading can name": (
        call(phase="ringing", customer="+79161234567", rung=("150", "151", "152", "153", MOBILE)),
        card(
            "📞 Дозвон от +7 (916) 123-45-67 → 5 номеров",
            "<blockquote expandable>Кому звонили (5):",
            "Пётр Петров (150)",
            "Анна Серова (151)",
            "Ольга Ким (152)",
            "Игорь Лес (153)",
            "📱 Пётр Петров (+375 (29) 000-01-02)</blockquote>",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "📞 Ringing +7 (916) 123-45-67 → 5 numbers",
            "<blockquote expandable>Rung (5):",
            "Пётр Петров (150)",
            "Анна Серова (151)",
            "Ольга Ким (152)",
            "Игорь Лес (153)",
            "📱 Пётр Петров (+375 (29) 000-01-02)</blockquote>",
            "⏰ Began at 14:05",
        ),
    ),
    "in, talking": (
        call(phase="talking", talked=("151",), wait=after(8.9)),
        card(
            "🔗 Разговор: +375 (29) 000-01-01 ↔ Анна Серова (151)",
            "💰 Иван Иванов",
            "⌛ Ожидание 00:09",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "🔗 Talking: +375 (29) 000-01-01 ↔ Анна Серова (151)",
            "💰 Иван Иванов",
            "⌛ Waited 00:09",
            "⏰ Began at 14:05",
        ),
    ),
    "in, answered and transferred twice, one asked": (
        ended(
            "answered",
            answered_by="151",
            talked=("151", "152", "150"),
            consulted=("153",),
            wait=after(8),
            talk=after(42),
        ),
        card(
            "✅ Завершен: +375 (29) 000-01-01 ↔ Пётр Петров (150), 00:42",
            "💰 Иван Иванов",
            "🔀 Переводы: 151 → 152 → 150",
            "💬 Звонок коллегам: Игорь Лес (153)",
            "⌛ Ожидание 00:08, разговор 00:42",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "✅ Ended: +375 (29) 000-01-01 ↔ Пётр Петров (150), 00:42",
            "💰 Иван Иванов",
            "🔀 Transfers: 151 → 152 → 150",
            "💬 Colleagues rung: Игорь Лес (153)",
            "⌛ Waited 00:08, talked 00:42",
            "⏰ Began at 14:05",
        ),
    ),
    "in, answered on a mobile, recovered": (
        ended("answered", talked=("151", MOBILE), total=after(4000), source="recovery"),
        card(
            "✅🔄 Завершен: +375 (29) 000-01-01 ↔ 📱 Пётр Петров (+375 (29) 000-01-02), 66:40",
            "💰 Иван Иванов",
            "🔀 Перевод: 151 → 📱 +375 (29) 000-01-02",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "✅🔄 Ended: +375 (29) 000-01-01 ↔ 📱 Пётр Петров (+375 (29) 000-01-02), 66:40",
            "💰 Иван Иванов",
            "🔀 Transfer: 151 → 📱 +375 (29) 000-01-02",
            "⏰ Began at 14:05",
        ),
    ),
    "in, missed, number unknown": (
        ended("missed", customer=None, rung=("150", "151"), wait=after(23)),
        card(
            "❌ Не отвечен: Номер не определен → Пётр Петров (150), Анна Серова (151)",
            "⌛ Ожидание 00:23",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "❌ Not answered: unknown number → Пётр Петров (150), Анна Серова (151)",
            "⌛ Waited 00:23",
            "⏰ Began at 14:05",
        ),
    ),
    "in, lost in a transfer": (
        ended("lost_in_transfer", talked=("151",), consulted=("152",), talk=after(40)),
        card(
            "⚠️ Потерян при переводе: +375 (29) 000-01-01 ↔ Анна Серова (151) → Ольга Ким (152)",
            "💰 Иван Иванов",
            "⌛ Разговор 00:40",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "⚠️ Lost in transfer: +375 (29) 000-01-01 ↔ Анна Серова (151) → Ольга Ким (152)",
            "💰 Иван Иванов",
            "⌛ Talked 00:40",
            "⏰ Began at 14:05",
        ),
    ),
    "out, begun": (
        call("out", caller="151"),
        card(
            "📞 Звонок от Анна Серова (151) → +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Начало звонка 14:05"
        ),
        card("📞 Call from Анна Серова (151) → +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Began at 14:05"),
    ),
    "out, ringing": (
        call("out", caller="151", phase="ringing"),
        card(
            "📞 Дозвон от Анна Серова (151) → +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Начало звонка 14:05"
        ),
        card("📞 Ringing Анна Серова (151) → +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Began at 14:05"),
    ),
    "out, talking": (
        call("out", caller="151", phase="talking", talked=("151",)),
        card(
            "🔗 Разговор: Анна Серова (151) ↔ +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Начало звонка 14:05"
        ),
        card("🔗 Talking: Анна Серова (151) ↔ +375 (29) 000-01-01", "💰 Иван Иванов", "⏰ Began at 14:05"),
    ),
    "out, answered and transferred": (
        ended("answered", "out", caller="151", talked=("151", "152"), talk=after(61), total=after(70)),
        card(
            "✅ Завершен: Ольга Ким (152) ↔ +375 (29) 000-01-01, 01:01",
            "💰 Иван Иванов",
            "🔀 Перевод: 151 → 152",
            "⌛ Разговор 01:01",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "✅ Ended: Ольга Ким (152) ↔ +375 (29) 000-01-01, 01:01",
            "💰 Иван Иванов",
            "🔀 Transfer: 151 → 152",
            "⌛ Talked 01:01",
            "⏰ Began at 14:05",
        ),
    ),
    "out, not answered": (
        ended("not_answered", "out", caller="151", wait=after(24)),
        card(
            "❌ Не отвечен: Анна Серова (151) → +375 (29) 000-01-01",
            "💰 Иван Иванов",
            "⌛ Ожидание 00:24",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "❌ Not answered: Анна Серова (151) → +375 (29) 000-01-01",
            "💰 Иван Иванов",
            "⌛ Waited 00:24",
            "⏰ Began at 14:05",
        ),
    ),
    "out, lost in a transfer": (
        ended("lost_in_transfer", "out", caller="151", talked=("151",), consulted=("152",)),
        card(
            "⚠️ Потерян при переводе: Анна Серова (151) ↔ +375 (29) 000-01-01 → Ольга Ким (152)",
            "💰 Иван Иванов",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "⚠️ Lost in transfer: Анна Серова (151) ↔ +375 (29) 000-01-01 → Ольга Ким (152)",
            "💰 Иван Иванов",
            "⏰ Began at 14:05",
        ),
    ),
    "internal, begun, callee unknown": (
        call("internal", caller="152"),
        card("🛎️ Внутренний звонок", "Ольга Ким (152)", "⏰ Начало звонка 14:05"),
        card("🛎️ Internal call", "Ольга Ким (152)", "⏰ Began at 14:05"),
    ),
    "internal, ringing a department": (
        call("internal", caller="152", dialled="901", phase="ringing"),
        card("🛎️ Внутренний звонок", "Ольга Ким (152) → Продажи (901)", "⏰ Начало звонка 14:05"),
        card("🛎️ Internal call", "Ольга Ким (152) → Продажи (901)", "⏰ Began at 14:05"),
    ),
    "internal, talking": (
        call("internal", caller="152", callee="150", phase="talking", talked=("150",)),
        card("🔗 Разговор (внутр.): Ольга Ким (152) ↔ Пётр Петров (150)", "⏰ Начало звонка 14:05"),
        card("🔗 Talking (internal): Ольга Ким (152) ↔ Пётр Петров (150)", "⏰ Began at 14:05"),
    ),
    "internal, answered by one of a department": (
        ended("answered", "internal", caller="152", dialled="901", talked=("151",), talk=after(2.5)),
        card(
            "✅ Завершен (внутр.): Ольга Ким (152) ↔ Анна Серова (151), 00:03",
            "☎️ Набран: Продажи (901)",
            "⌛ Разговор 00:03",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "✅ Ended (internal): Ольга Ким (152) ↔ Анна Серова (151), 00:03",
            "☎️ Dialled: Продажи (901)",
            "⌛ Talked 00:03",
            "⏰ Began at 14:05",
        ),
    ),
    "internal, missed": (
        ended("missed", "internal", caller="152", callee="150"),
        card("❌ Не отвечен (внутр.): Ольга Ким (152) → Пётр Петров (150)", "⏰ Начало звонка 14:05"),
        card("❌ Not answered (internal): Ольга Ким (152) → Пётр Петров (150)", "⏰ Began at 14:05"),
    ),
    "internal, lost in a transfer": (
        ended("lost_in_transfer", "internal", caller="152", talked=("150",), consulted=("151",)),
        card(
            "⚠️ Потерян при переводе (внутр.): Ольга Ким (152) ↔ Пётр Петров (150) → Анна Серова (151)",
            "⏰ Начало звонка 14:05",
        ),
        card(
            "⚠️ Lost in transfer (internal): Ольга Ким (152) ↔ Пётр Петров (150) → Анна Серова (151)",
            "⏰ Began at 14:05",
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_card_reads_as_agreed_in_russian_and_english(name):
    shown, russian, english = GOLDEN[name]
    assert render(shown, june("ru")) == russian
    assert render(shown, june("en")) == english


def heading(shown, directory=None) -> str:
    return render(shown, directory or june()).splitlines()[0]


def test_the_other_headings_of_recovered_calls_are_marked_too():
    assert heading(call("internal", caller="152", source="recovery")) == "🛎️🔄 Внутренний звонок"
    assert heading(ended("missed", source="recovery")) == "❌🔄 Не отвечен: +375 (29) 000-01-01"


def test_a_side_that_nobody_knows_is_left_out():
    assert heading(ended("answered", total=after(5))) == "✅ Завершен: +375 (29) 000-01-01, 00:05"
    assert heading(ended("answered", "out")) == "✅ Завершен: +375 (29) 000-01-01"
    assert heading(call("out")) == "📞 Звонок → +375 (29) 000-01-01"
    assert heading(call("out", phase="ringing"), june("en")) == "📞 Ringing → +375 (29) 000-01-01"
    assert heading(ended("not_answered", "out")) == "❌ Не отвечен: +375 (29) 000-01-01"
    assert heading(ended("missed", "internal", callee="150")).endswith(
        ": Номер не определен → Пётр Петров (150)"
    )


def test_a_short_number_is_shown_as_it_came():
    short = ended("not_answered", "out", caller="151", customer=None, told="*100#")
    assert heading(short) == "❌ Не отвечен: Анна Серова (151) → *100#"


def test_nobody_alone_is_blamed_for_an_internal_call_that_rang_several():
    missed = ended("missed", "internal", caller="152", callee="150", rung=("150", "151"))
    assert heading(missed) == "❌ Не отвечен (внутр.): Ольга Ким (152) → Пётр Петров (150), Анна Серова (151)"


def test_who_answered_is_shown_where_no_bridge_told_who_talked():
    assert heading(ended("answered", answered_by="151")).endswith("↔ Анна Серова (151)")
    assert heading(ended("answered", "out", caller="151")).startswith("✅ Завершен: Анна Серова (151) ↔")


def test_who_talked_after_an_earlier_consult_has_not_lost_the_call():
    lost = ended("lost_in_transfer", talked=("151", "152"), consulted=("152", "150"))
    assert heading(lost).endswith("↔ Ольга Ким (152) → Пётр Петров (150)")
    assert "Звонок коллегам: Ольга Ким (152)" in render(lost, june())


def test_a_lost_call_names_whom_the_last_transfer_rang_and_those_asked_before_below():
    lost = ended(
        "lost_in_transfer", talked=("151",), consulted=("152", "150", MOBILE), lost_to=("150", MOBILE)
    )
    first, *below = render(lost, june()).splitlines()
    assert first.endswith("↔ Анна Серова (151) → Пётр Петров (150), 📱 Пётр Петров (+375 (29) 000-01-02)")
    assert "💬 Звонок коллегам: Ольга Ким (152)" in below
    assert not any("150" in line or "📱" in line for line in below)


def test_a_transfer_that_rang_a_whole_department_in_vain_is_counted_and_folded():
    rung = ("600", "601", "602", "603", "604")
    lost = ended("lost_in_transfer", talked=("151",), consulted=rung, lost_to=rung)
    assert heading(lost).endswith("↔ Анна Серова (151) → 5 номеров")
    assert "<blockquote expandable>Кому звонили (5):\n600\n" in render(lost, june())
    assert "💬" not in render(lost, june())


def test_who_called_is_not_taken_for_who_did_not_answer():
    silent = ended("missed", "internal", caller="152")
    assert heading(silent) == "❌ Не отвечен (внутр.): Ольга Ким (152)"
    assert "☎️ Кому звонили, неизвестно" in render(silent, june())
    assert "☎️ Whom they called is not known" in render(silent, june("en"))
    for known in ({"callee": "150"}, {"dialled": "901"}, {"rung": ("150", "151")}):
        assert "☎️" not in render(msgspec.structs.replace(silent, **known), june())


def test_a_talk_of_no_time_is_a_time_and_no_time_is_none():
    assert heading(ended("answered", talk=after(0), total=after(9))).endswith(", 00:00")
    assert heading(ended("answered", talk=after(-1))).endswith(", 00:00")
    assert heading(ended("answered")).endswith("000-01-01")


def test_the_company_goes_before_the_name():
    known = Customer(phone=IVAN, name="Иван", company="Ромашка")
    directory = june(customers={IVAN: known})
    assert "💰 Ромашка" in render(call(), directory)
    assert "Иван" not in render(call(), directory)


def test_a_zone_that_this_machine_does_not_know_is_no_reason_to_show_nothing():
    assert "⏰ Начало звонка 11:05 UTC" in render(call(), june(timezone="Mars/Olympus"))


@pytest.mark.parametrize(
    ("past", "russian", "english"),
    [
        (History(calls=0), "🕘 Первый звонок", "🕘 First call"),
        (History(calls=4), "🕘 Раньше звонков: 4", "🕘 Earlier calls: 4"),
        (
            History(calls=4, last_at=BEGAN, last_outcome="answered", last_talker="151"),
            "🕘 Раньше звонков: 4, последний 12.09.2025 14:05, отвечен, Анна Серова (151)",
            "🕘 Earlier calls: 4, the last on 2025-09-12 14:05, answered, Анна Серова (151)",
        ),
    ],
)
def test_the_history_is_the_last_line(past, russian, english):
    assert history_line(call(), june("ru"), past) == russian
    assert history_line(call(), june("en"), past) == english


@pytest.mark.parametrize(
    ("count", "words"), [(5, "5 номеров"), (11, "11 номеров"), (21, "21 номер"), (22, "22 номера")]
)
def test_russian_counts_agree(count, words):
    rung = tuple(str(number) for number in range(600, 600 + count))
    assert heading(ended("missed", rung=rung)).endswith(f"→ {words}")


def test_four_are_named_in_the_heading():
    assert heading(ended("missed", rung=("600", "601", "602", "603"))).endswith("→ 600, 601, 602, 603")


TAGS = re.compile(r"</?blockquote(?: expandable)?>")
ENTITIES = re.compile(r"&(?:lt|gt|amp);")


def assert_telegram_takes(text):
    bare = TAGS.sub("", text)
    assert not re.search(r"[<>]", bare)
    assert "&" not in ENTITIES.sub("", bare)
    opened = [tag for tag in TAGS.findall(text) if not tag.startswith("</")]
    assert len(opened) == text.count("</blockquote>") <= 1
    assert len(html.unescape(bare).encode("utf-16-le")) // 2 <= 4096


NASTY = ["<b>&</b>", "<unknown>", "&lt;", "x" * 5000, "😀" * 300, "&" * 300, "a\nb\u202e", "\ud800"]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("language", ["ru", "en"])
def test_no_outside_text_breaks_a_card(text, language):
    extensions = tuple(str(number) for number in range(200, 500))
    directory = Directory(
        profile=Profile(number="0367", name=text, language=language),
        managers={extension: Manager(extension=extension, name=text) for extension in extensions},
        lines={"1": Line(id="1", name=text)},
        departments={"901": Department(number="901", name=text)},
        customers={IVAN: Customer(phone=IVAN, company=text)},
    )
    known = {"rung": extensions, "consulted": extensions[1:], "talked": extensions, "wait": after(1)}
    past = History(calls=3, last_at=BEGAN, last_outcome="missed", last_talker="200")
    for direction in ("in", "out", "internal"):
        for outcome in ("answered", "missed", "not_answered", "lost_in_transfer"):
            shown = ended(outcome, direction, line="1", dialled="901", **known)
            for one in (shown, msgspec.structs.replace(shown, talked=("x",))):
                assert_telegram_takes(f"{render(one, directory)}\n{history_line(one, directory, past)}")
        ringing = call(direction, line=text, caller=text, customer=text, rung=(text,) * 300, phase="ringing")
        assert_telegram_takes(f"{render(ringing, directory)}\n{history_line(ringing, directory, past)}")


def test_a_name_is_shown_as_it_is_written():
    directory = june(managers={"151": Manager(extension="151", name="A <&> B")})
    assert heading(call(rung=("151",)), directory).endswith("→ A &lt;&amp;&gt; B (151)")


def test_a_long_list_says_how_many_it_leaves_out():
    rung = tuple(str(number) for number in range(600, 650))
    assert "619\n… и ещё 30</blockquote>" in render(ended("missed", rung=rung), june())


def test_a_long_chain_keeps_its_ends():
    talked = tuple(str(number) for number in range(600, 650))
    assert "600 → 601 → 602 → 603 → 604 → 605 → … → 644 →" in render(ended("answered", talked=talked), june())


@pytest.mark.parametrize(
    ("language", "of", "line"),
    [
        ("ru", ended("missed"), "🔔 Пропущенный звонок: +375 (29) 000-01-01, Иван Иванов"),
        ("en", ended("missed"), "🔔 Missed call: +375 (29) 000-01-01, Иван Иванов"),
        ("ru", ended("lost_in_transfer", "out"), "🔔 Потерян при переводе: +375 (29) 000-01-01, Иван Иванов"),
        ("en", ended("lost_in_transfer"), "🔔 Lost in transfer: +375 (29) 000-01-01, Иван Иванов"),
        (
            "ru",
            ended("missed", "internal", caller="151"),
            "🔔 Пропущенный звонок (внутр.): Анна Серова (151)",
        ),
        ("en", ended("missed", "internal", caller="152"), "🔔 Missed call (internal): Ольга Ким (152)"),
        ("en", ended("missed", customer=None), "🔔 Missed call: unknown number"),
    ],
)
def test_the_reply_that_rings_says_what_was_missed_in_one_line(language, of, line):
    assert notice(of, june(language)) == line
