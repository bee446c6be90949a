"""What the bot says, in each language. ``{}`` stands for what is put in, already escaped."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from calls.entries import Language


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """Sentences and labels; answers are HTML, labels and notices (``said_…``) plain."""

    commands: Mapping[str, str]
    """By command, in the order in which they are listed: what it does."""

    help: str
    welcome: str
    back: str
    known: str
    stranger: str
    asleep: str
    void: str
    later: str
    unknown: str

    calls: str
    missed: str
    open: str
    no_calls: str
    no_missed: str
    no_open: str
    selected: str
    """Below an empty list of a subscriber who is not shown every call."""

    customer_usage: str
    customer_none: str
    customer_unknown: str
    incoming: str
    outgoing: str

    muted: str
    sounding: str
    mute_usage: str
    cleared: str
    stopped: str

    settings: str
    by_line: str
    by_people: str
    by_hours: str
    by_silent: str
    chosen: str
    notify: Mapping[str, str]
    directions: Mapping[str, str]
    internal: Mapping[bool, str]
    outcomes: Mapping[str, str]
    any_outcome: str
    lines: str
    people: str
    hours: str
    silent: str
    always: str
    never: str
    any_line: str
    anybody: str
    days: tuple[str, ...]
    """Monday to Sunday, as short as ``calls.hours`` has them."""
    back_button: str
    earlier: str
    further: str

    details: str
    call_back: str
    said_requested: str
    said_again: str
    said_over: str
    said_stranger: str
    said_later: str


_RU: Final = Texts(
    commands=MappingProxyType(
        {
            "calls": "последние звонки",
            "missed": "пропущенные звонки",
            "open": "звонки, которые идут сейчас",
            "customer": "история клиента по номеру",
            "settings": "какие звонки показывать и когда звучать",
            "mute": "без звука: 30m, 2h, 1d или off",
            "clear": "снять фильтры, тихие часы и mute",
            "stop": "больше ничего не присылать",
            "help": "что умеет бот",
        }
    ),
    help=(
        "Я показываю звонки компании «{}»: одно сообщение на звонок, оно меняется до конца разговора.\n\n{}\n\n"
        "/clear возвращает всё как было в начале: снимаются фильтры, тихие часы и mute. "
        "После /stop вернуться можно командой /start."
    ),
    welcome="Готово: здесь будут звонки компании «{}».\n/settings — какие показывать, /help — что ещё я умею.",
    back="С возвращением! Здесь снова будут звонки компании «{}».",
    known="Звонки компании «{}» уже показываются здесь. /help — что я умею.",
    stranger="Этот бот отвечает только подписчикам. Попросите у администратора приглашение.",
    asleep="Показ звонков выключен. Включить снова: /start",
    void="Приглашение недействительно: оно уже использовано или истёк срок. Попросите новое.",
    later="Сейчас не получилось. Попробуйте, пожалуйста, чуть позже.",
    unknown="Такой команды нет. /help — что я умею.",
    calls="<b>Последние звонки</b>",
    missed="<b>Пропущенные звонки</b>",
    open="<b>Сейчас идут</b>",
    no_calls="Звонков пока не было.",
    no_missed="Пропущенных звонков нет.",
    no_open="Сейчас никто не разговаривает.",
    selected="Здесь показываются не все звонки: /settings",
    customer_usage="Напишите номер после команды, например: <code>/customer +375 29 000-01-01</code>",
    customer_none="«{}» не похоже на номер клиента. Например: <code>/customer +375 29 000-01-01</code>",
    customer_unknown="С номера {} и на него звонков не было.",
    incoming="Входящих: {}, отвечено {}, пропущено {}",
    outgoing="Исходящих: {}, дозвонились {}, без ответа {}",
    muted="🔕 Без звука до {}. Включить звук: /mute off",
    sounding="🔔 Звук включён.",
    mute_usage=(
        "Напишите, на сколько выключить звук: <code>/mute 30m</code>, <code>/mute 2h</code>, <code>/mute 1d</code> "
        "(не дольше 30 дней), или <code>/mute off</code>."
    ),
    cleared="Готово: показываются все звонки, тихих часов нет, звук включён.",
    stopped="Больше ничего не пришлю. Вернуться: /start",
    settings="⚙️ <b>Настройки</b>",
    by_line="⚙️ <b>По каким линиям показывать звонки</b>",
    by_people="⚙️ <b>Чьи звонки показывать</b>",
    by_hours="⚙️ <b>В какие часы начинаются звонки, которые показывать</b>",
    by_silent="⚙️ <b>В какие часы — без звука</b>",
    chosen="{}: {}",
    notify=MappingProxyType(
        {"edit": "🔔 Все", "missed": "🔔 Пропущенные", "all": "🔔 Входящие и пропущенные"}
    ),
    directions=MappingProxyType({"any": "Все внешние", "in": "Входящие", "out": "Исходящие"}),
    internal=MappingProxyType({True: "С внутренними", False: "Без внутренних"}),
    outcomes=MappingProxyType(
        {
            "answered": "Отвеченные",
            "missed": "Пропущенные",
            "not_answered": "Не дозвонились",
            "lost_in_transfer": "Потерянные",
        }
    ),
    any_outcome="С любым итогом",
    lines="📡 Линии",
    people="☎️ Сотрудники",
    hours="🗓 Часы",
    silent="🌙 Тихие часы",
    always="всегда",
    never="нет",
    any_line="Все линии",
    anybody="Все сотрудники",
    days=("Пн", "Вт", "Ср", "Чт", "Пт", "Сб", "Вс"),
    back_button="‹ Назад",
    earlier="‹",
    further="›",
    details="📊 Подробнее",
    call_back="📞 Перезвонить",
    said_requested="Запрос на обратный звонок записан.",
    said_again="Обратный звонок уже запрошен.",
    said_over="Кнопка устарела.",
    said_stranger="Эта кнопка только для подписчиков.",
    said_later="Сейчас не получилось. Нажмите, пожалуйста, ещё раз чуть позже.",
)
_EN: Final = Texts(
    commands=MappingProxyType(
        {
            "calls": "the last calls",
            "missed": "missed calls",
            "open": "calls going on right now",
            "customer": "history of a customer by number",
            "settings": "which calls to show, and when to make a sound",
            "mute": "no sound: 30m, 2h, 1d or off",
            "clear": "drop filters, silent hours and mute",
            "stop": "send nothing any more",
            "help": "what this bot can do",
        }
    ),
    help=(
        "I show the calls of “{}”: one message a call, which changes until the call is over.\n\n{}\n\n"
        "/clear brings everything back to how it was at first: no filters, no silent hours, no mute. "
        "After /stop you can come back with /start."
    ),
    welcome="Done: the calls of “{}” will appear here.\n/settings says which ones, /help what else I can do.",
    back="Welcome back! The calls of “{}” will appear here again.",
    known="The calls of “{}” are shown here already. /help says what I can do.",
    stranger="This bot answers subscribers only. Please ask your administrator for an invitation.",
    asleep="Calls are switched off here. To switch them on again: /start",
    void="This invitation is not valid: it was used already or has expired. Please ask for a new one.",
    later="That did not work just now. Please try again a little later.",
    unknown="There is no such command. /help says what I can do.",
    calls="<b>The last calls</b>",
    missed="<b>Missed calls</b>",
    open="<b>Going on right now</b>",
    no_calls="There have been no calls yet.",
    no_missed="There are no missed calls.",
    no_open="Nobody is talking right now.",
    selected="Not all calls are shown here: /settings",
    customer_usage="Write the number after the command, such as <code>/customer +375 29 000-01-01</code>",
    customer_none="“{}” does not look like a customer's number. Try <code>/customer +375 29 000-01-01</code>",
    customer_unknown="There have been no calls from or to {}.",
    incoming="Incoming: {}, answered {}, missed {}",
    outgoing="Outgoing: {}, reached {}, not answered {}",
    muted="🔕 No sound until {}. To switch it on: /mute off",
    sounding="🔔 The sound is on.",
    mute_usage=(
        "Write for how long there should be no sound: <code>/mute 30m</code>, <code>/mute 2h</code>, "
        "<code>/mute 1d</code> (30 days at most), or <code>/mute off</code>."
    ),
    cleared="Done: all calls are shown, there are no silent hours, and the sound is on.",
    stopped="I will send nothing any more. To come back: /start",
    settings="⚙️ <b>Settings</b>",
    by_line="⚙️ <b>Show calls on these lines</b>",
    by_people="⚙️ <b>Show the calls of these people</b>",
    by_hours="⚙️ <b>Show calls that begin in these hours</b>",
    by_silent="⚙️ <b>Make no sound in these hours</b>",
    chosen="{}: {}",
    notify=MappingProxyType({"edit": "🔔 All", "missed": "🔔 Missed", "all": "🔔 Incoming and missed"}),
    directions=MappingProxyType({"any": "All outside", "in": "Incoming", "out": "Outgoing"}),
    internal=MappingProxyType({True: "With internal", False: "No internal"}),
    outcomes=MappingProxyType(
        {
            "answered": "Answered",
            "missed": "Missed",
            "not_answered": "Not reached",
            "lost_in_transfer": "Lost",
        }
    ),
    any_outcome="Any outcome",
    lines="📡 Lines",
    people="☎️ People",
    hours="🗓 Hours",
    silent="🌙 Silent hours",
    always="always",
    never="none",
    any_line="All lines",
    anybody="Everybody",
    days=("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"),
    back_button="‹ Back",
    earlier="‹",
    further="›",
    details="📊 Details",
    call_back="📞 Call back",
    said_requested="The call back was requested.",
    said_again="The call back has been requested already.",
    said_over="This button is out of date.",
    said_stranger="This button is for subscribers only.",
    said_later="That did not work just now. Please press again a little later.",
)

TEXTS: Final[Mapping[Language, Texts]] = MappingProxyType({"ru": _RU, "en": _EN})
