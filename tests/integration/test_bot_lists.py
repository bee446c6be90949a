"""What the bot answers to /calls, /missed, /open and /customer, word for word, over rows of a real table."""

import asyncpg
import pytest

from adapters.bot.lists import MOST, READ_AT_ONCE, Lists
from calls.directory import Directory
from calls.entries import Customer, Line, Manager, Profile, Subscriber

ALL = Subscriber(chat_id=1001)


def june(language="ru"):
    return Directory(
        profile=Profile(number="0367", name="june", language=language, timezone="Europe/Minsk"),
        managers={"150": Manager(extension="150", name="Пётр <Петров>"), "151": Manager(extension="151")},
        lines={"0007001": Line(id="0007001", name="Основная")},
        customers={"+375290000101": Customer(phone="+375290000101", name="Иван & Ко")},
    )


ROW = """
INSERT INTO calls (enterprise, call_id, direction, origin, outcome, customer, line, caller, dialled, rung,
  answered_by, talked, consulted, started_at, answered_at, ended_at, wait_s, talk_s, total_s, source,
  legs, last_position)
VALUES ($1, $2, $3, 'pbx', $4, $5, '0007001', $6, NULL, $7, NULL, $8, '{}', $9::text::timestamptz, NULL, NULL, 5, $10,
  70, 'live', ARRAY[$2], 1)
"""


async def row(
    pool, call_id, at, *, direction="in", outcome="answered", customer="+375290000101", enterprise="0367"
):
    caller = "150" if direction != "in" else None
    answered = outcome in {"answered", "lost_in_transfer"}
    rung = ["150", "151"] if direction == "in" else ["151"] if direction == "internal" else []
    talked = ["150"] if answered else []
    number = None if direction == "internal" else customer
    talk = 65 if answered else None
    await pool.execute(ROW, enterprise, call_id, direction, outcome, number, caller, rung, talked, at, talk)


@pytest.fixture
async def pool(database):
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=2) as pool:
        yield pool


@pytest.fixture
async def day(pool):
    """A day in the life of an enterprise."""
    await row(pool, "1.1", "2026-05-03T20:59:00Z")
    await row(pool, "2.2", "2026-05-03T21:00:00Z", outcome="missed", customer=None)
    await row(pool, "3.3", "2026-05-04T06:00:00Z", direction="out", outcome="not_answered")
    await row(pool, "4.4", "2026-05-04T07:00:00Z", direction="internal", outcome="missed")
    await row(pool, "5.5", "2026-05-04T08:00:00Z", outcome="lost_in_transfer")
    await row(pool, "6.6", "2026-05-04T09:00:00Z", outcome="open")
    await row(pool, "7.7", "2026-05-04T10:00:00Z", enterprise="0368")
    return pool


RU = """<b>Последние звонки</b>

<i>04.05.2026</i>
12:00 📞 +375 (29) 000-01-01 → Пётр &lt;Петров&gt; (150), 151
11:00 ⚠️ +375 (29) 000-01-01 ↔ Пётр &lt;Петров&gt; (150)
10:00 ❌ Пётр &lt;Петров&gt; (150) → 151
09:00 ❌ Пётр &lt;Петров&gt; (150) → +375 (29) 000-01-01
00:00 ❌ Номер не определен → Пётр &lt;Петров&gt; (150), 151

<i>03.05.2026</i>
23:59 ✅ +375 (29) 000-01-01 ↔ Пётр &lt;Петров&gt; (150), 01:05"""
EN_MISSED = """<b>Missed calls</b>

<i>2026-05-04</i>
11:00 ⚠️ +375 (29) 000-01-01 ↔ Пётр &lt;Петров&gt; (150)
10:00 ❌ Пётр &lt;Петров&gt; (150) → 151
00:00 ❌ unknown number → Пётр &lt;Петров&gt; (150), 151"""


async def test_the_last_calls_by_day_in_the_enterprises_time_and_language(day):
    assert await Lists(day).answer("calls", ALL, june()) == RU
    assert await Lists(day).answer("missed", ALL, june("en")) == EN_MISSED


async def test_the_open_calls(day):
    open_calls = await Lists(day).answer("open", ALL, june("en"))
    assert open_calls.splitlines()[3:] == ["12:00 📞 +375 (29) 000-01-01 → Пётр &lt;Петров&gt; (150), 151"]


async def test_a_list_has_what_the_subscriber_is_shown(day):
    out = Subscriber(chat_id=1001, directions=("out",), internal=False)
    shown = await Lists(day).answer("calls", out, june())
    assert [line[:5] for line in shown.splitlines() if line[:1].isdigit()] == ["09:00"]
    selected = "Здесь показываются не все звонки: /settings"
    assert await Lists(day).answer("missed", out, june()) == f"Пропущенных звонков нет.\n{selected}"


async def test_an_empty_list_says_so(pool):
    for which, said in (
        ("calls", "There have been no calls yet."),
        ("missed", "There are no missed calls."),
        ("open", "Nobody is talking right now."),
    ):
        assert await Lists(pool).answer(which, ALL, june("en")) == said


async def test_a_list_ends_after_ten_and_looks_far_enough_for_them(pool):
    for number in range(READ_AT_ONCE + 50):
        await row(pool, f"{number}.1", f"2026-05-04T06:{number % 60:02}:{number // 60:02}Z")
    for number in range(MOST + 2):
        await row(pool, f"{number}.2", f"2026-05-01T06:{number:02}:00Z", outcome="missed")
    lists = Lists(pool)
    assert len((await lists.answer("calls", ALL, june())).splitlines()) == MOST + 3
    missed = (await lists.answer("missed", ALL, june())).splitlines()
    assert [line[:5] for line in missed[3:]] == [f"09:{number:02}" for number in range(MOST + 1, 1, -1)]


COUNT = """
INSERT INTO customers (enterprise, phone, name, first_seen_at, last_seen_at, in_total, in_answered, in_missed,
  out_total, out_answered, out_missed, last_call_at, last_direction, last_outcome, last_talked)
VALUES ('0367', '+375290000101', 'Иван & Ко', now(), now(), 5, 3, 2, 4, 1, 3, now(), 'in', 'answered', '{}')
"""


@pytest.mark.parametrize(
    "typed", ["+375 29 000-01-01", "80290000101", "8 (029) 000 01 01", "290000101", "375290000101"]
)
async def test_a_customer_is_found_however_the_number_is_typed(day, typed):
    await day.execute(COUNT)
    said = (await Lists(day).customer(typed, ALL, june())).splitlines()
    assert said[:3] == [
        "💰 <b>+375 (29) 000-01-01</b> Иван &amp; Ко",
        "Входящих: 5, отвечено 3, пропущено 2",
        "Исходящих: 4, дозвонились 1, без ответа 3",
    ]
    assert [line[:5] for line in said if line[:1].isdigit()] == ["12:00", "11:00", "09:00", "23:59"]


async def test_what_is_no_customer_is_answered_politely(day):
    lists, directory = Lists(day), june("en")
    assert "/customer +375" in await lists.customer(" ", ALL, directory)
    assert "“&lt;b&gt;x” does not look like" in await lists.customer("<b>x", ALL, directory)
    assert "150” does not" in await lists.customer("150", ALL, directory)
    assert await lists.customer("+375290000999", ALL, directory) == (
        "There have been no calls from or to +375 (29) 000-09-99."
    )


async def test_a_customer_is_told_as_far_as_the_subscriber_is_shown_his_calls(day):
    await day.execute(COUNT)
    out, elsewhere = (
        Subscriber(chat_id=1001, directions=("out",)),
        Subscriber(chat_id=1001, lines=("0007009",)),
    )
    said = await Lists(day).customer("+375290000101", out, june())
    assert said.splitlines()[:2] == [
        "💰 <b>+375 (29) 000-01-01</b> Иван &amp; Ко",
        "Здесь показываются не все звонки: /settings",
    ]
    assert [line[:5] for line in said.splitlines() if line[:1].isdigit()] == ["09:00"]
    assert await Lists(day).customer("+375290000101", elsewhere, june("en")) == (
        "There have been no calls from or to +375 (29) 000-01-01.\nNot all calls are shown here: /settings"
    )
