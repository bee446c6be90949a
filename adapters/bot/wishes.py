"""What a subscriber may wish for, and the menu that shows it: pure, by buttons or by a command.

A button says what shall be, not what shall change, so a press that is handled twice does nothing twice:
``w:<enterprise>:<view>:<page>:<field>:<value>`` is a wish made in a view, ``m:<enterprise>:<view>:<page>`` opens one.
"""

import html
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Literal, cast, get_args

import msgspec

from adapters.bot.texts import TEXTS, Texts
from adapters.telegram.api import Button, Markup
from adapters.telegram.errors import Blocked, Deactivated
from calls.card_texts import WORDS
from calls.cards import local_time
from calls.directory import Directory, shorten
from calls.entries import STOPPED, Ending, Notify, Side, Subscriber

View = Literal["main", "lines", "people", "hours", "silent"]

HOURS: Final = ("", "Mo-Fr 09:00-18:00", "Mo-Fr 08:00-20:00", "Mo-Sa 09:00-21:00")
"""Hours in which shown calls begin, that a button offers; others come by a directory file."""
SILENT: Final = ("", "22:00-08:00", "20:00-09:00", "Mo-Fr 18:00-09:00; Sa,Su 00:00-24:00")
PAGE: Final = 8
"""Lines or people that one message offers."""
LONGEST_MUTE: Final = timedelta(days=30)

_SPAN: Final = re.compile(r"(?P<count>[0-9]{1,5})\s*(?P<unit>[mhdмчд])", re.IGNORECASE)
_UNITS: Final = {"m": "minutes", "м": "minutes", "h": "hours", "ч": "hours", "d": "days", "д": "days"}
_OFF: Final = frozenset({"off", "выкл", "0"})
_PRESS: Final = re.compile(
    r"(?P<kind>[mw]):(?P<enterprise>[0-9]{4}):(?P<view>[a-z]{1,8}):(?P<page>[0-9]{1,3})"
    r"(?::(?P<field>[a-z]{1,10}):(?P<value>[0-9A-Za-z_+-]{1,24}))?"
)
_NO_CHOICE: Final = "any"
_MARK: Final = "✅ "


class Press(msgspec.Struct, frozen=True):
    """A button of the menu, as it was made. ``field`` is "" where it only opens a view."""

    enterprise: str
    view: View
    page: int
    field: str = ""
    value: str = ""


class Menu(msgspec.Struct, frozen=True):
    """A message of settings: HTML, and the buttons below."""

    text: str
    markup: Markup


def read_press(data: str) -> Press | None:
    """The button of this callback data; None for data that is of no menu."""
    found = _PRESS.fullmatch(data)
    if found is None or found["view"] not in get_args(View) or (found["kind"] == "w") != bool(found["field"]):
        return None
    view = cast(View, found["view"])
    return Press(found["enterprise"], view, int(found["page"]), found["field"] or "", found["value"] or "")


def wished(subscriber: Subscriber, press: Press, directory: Directory) -> Subscriber | None:
    """The subscriber with this wish; None where the button wishes for what is not there (any more)."""
    change = _FIELDS.get(press.field)
    return change(subscriber, press.value, directory) if change else None


def _notify(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    if value not in get_args(Notify):
        return None
    return msgspec.structs.replace(subscriber, notify=cast(Notify, value))


def _direction(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    if value == _NO_CHOICE:
        return msgspec.structs.replace(subscriber, directions=())
    if value not in get_args(Side):
        return None
    return msgspec.structs.replace(subscriber, directions=(cast(Side, value),))


def _internal(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    return msgspec.structs.replace(subscriber, internal=value != "0")


def _outcome(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    found = _chosen(subscriber.outcomes, value, {name: name for name in get_args(Ending)})
    if found is None:
        return None
    return msgspec.structs.replace(subscriber, outcomes=cast(tuple[Ending, ...], found))


def _line(subscriber: Subscriber, value: str, directory: Directory) -> Subscriber | None:
    offered = {short(line): line for line in _lines(subscriber, directory)}
    found = _chosen(subscriber.lines, value, offered)
    return None if found is None else msgspec.structs.replace(subscriber, lines=found)


def _person(subscriber: Subscriber, value: str, directory: Directory) -> Subscriber | None:
    found = _chosen(subscriber.people, value, {one: one for one in _people(subscriber, directory)})
    return None if found is None else msgspec.structs.replace(subscriber, people=found)


def _hours(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    text = _preset(value, HOURS)
    return None if text is None else msgspec.structs.replace(subscriber, hours=text)


def _silent(subscriber: Subscriber, value: str, _: Directory) -> Subscriber | None:
    text = _preset(value, SILENT)
    return None if text is None else msgspec.structs.replace(subscriber, silent=text)


_FIELDS: Final[Mapping[str, Callable[[Subscriber, str, Directory], Subscriber | None]]] = MappingProxyType(
    {
        "notify": _notify,
        "direction": _direction,
        "internal": _internal,
        "outcome": _outcome,
        "line": _line,
        "person": _person,
        "hours": _hours,
        "silent": _silent,
    }
)


def _chosen(known: tuple[str, ...], value: str, offered: Mapping[str, str]) -> tuple[str, ...] | None:
    """What is chosen after ``+name``, ``-name`` or ``any``, in an order of its own."""
    if value == _NO_CHOICE:
        return ()
    one = offered.get(value[1:])
    if one is None or value[0] not in "+-":
        return None
    return tuple(sorted({*known, one} if value[0] == "+" else {*known} - {one}))


def _preset(value: str, presets: tuple[str, ...]) -> str | None:
    return presets[int(value)] if value.isdecimal() and int(value) < len(presets) else None


def short(line: str) -> str:
    """A line in a button: its id may be longer than a button's data."""
    return blake2b(line.encode(), digest_size=6).hexdigest()


def _lines(subscriber: Subscriber, directory: Directory) -> list[str]:
    return sorted({*directory.lines, *subscriber.lines})


def _people(subscriber: Subscriber, directory: Directory) -> list[str]:
    """Departments first."""
    known = {*directory.departments, *directory.managers, *subscriber.people}
    return sorted(known, key=lambda number: (number not in directory.departments, number))


# commands


def joined(chat_id: int) -> Callable[[Subscriber | None], Subscriber]:
    """Who comes by invitation; who is known is on again and keeps the wishes."""

    def decide(known: Subscriber | None) -> Subscriber:
        if known is None:
            return Subscriber(chat_id=chat_id, invited=True)
        return msgspec.structs.replace(known, off="")

    return decide


def stopped(known: Subscriber | None) -> Subscriber | None:
    """Who wants nothing any more."""
    return msgspec.structs.replace(known, off=STOPPED) if known and not known.off else None


def lapsed(known: Subscriber) -> bool:
    """True where somebody, not a group, was switched off for what pressing Start undoes."""
    return known.chat_id > 0 and known.off in {Blocked.reason, Deactivated.reason}


def returned(known: Subscriber | None) -> Subscriber | None:
    """Who wants to be shown calls again; whoever was switched off by something else stays off."""
    comes_back = known is not None and (known.off == STOPPED or lapsed(known))
    return msgspec.structs.replace(known, off="") if known and comes_back else None


def unblocked(known: Subscriber | None) -> Subscriber | None:
    """Who lets the bot write again; who wished for nothing is asked for ``/start``."""
    return msgspec.structs.replace(known, off="") if known and lapsed(known) else None


def cleared(known: Subscriber | None) -> Subscriber | None:
    """All calls, with sound at any time; which messages make a sound stays."""
    if known is None:
        return None
    return Subscriber(chat_id=known.chat_id, off=known.off, notify=known.notify, invited=known.invited)


def muted(until: datetime | None) -> Callable[[Subscriber | None], Subscriber | None]:
    """Nothing rings before this time; None: from now on it does."""
    text = until.astimezone(UTC).isoformat(timespec="seconds") if until else ""
    return lambda known: msgspec.structs.replace(known, muted_until=text) if known else None


def read_mute(text: str, now: datetime) -> tuple[bool, datetime | None]:
    """Whether a text such as ``2h`` or ``off`` was understood, and until when there is no sound."""
    told = text.strip().lower()
    if told in _OFF:
        return True, None
    found = _SPAN.fullmatch(told)
    span = timedelta(**{_UNITS[found["unit"]]: int(found["count"])}) if found else timedelta()
    if not timedelta() < span <= LONGEST_MUTE:
        return False, None
    return True, now + span


def until(subscriber: Subscriber, directory: Directory) -> str:
    """Until when there is no sound, in words."""
    language = directory.profile.language
    when = local_time(datetime.fromisoformat(subscriber.muted_until), directory)
    return TEXTS[language].muted.format(f"{WORDS[language].day(when)} {when:%H:%M}")


# the menu


def menu(
    subscriber: Subscriber, directory: Directory, now: datetime, view: View = "main", page: int = 0
) -> Menu:
    """The settings as they are, with a button for what they may become."""
    return _VIEWS[view](_Menu(subscriber, directory, TEXTS[directory.profile.language], now, page))


class _Menu(msgspec.Struct, frozen=True):
    subscriber: Subscriber
    directory: Directory
    texts: Texts
    now: datetime
    page: int

    def main(self) -> Menu:
        one, texts = self.subscriber, self.texts
        lines, people = (f" ({len(chosen)})" if chosen else "" for chosen in (one.lines, one.people))
        rows = [
            *(self._radio("notify", [option], one.notify) for option in texts.notify.items()),
            self._radio("direction", texts.directions.items(), _side(one)),
            self._radio(
                "internal",
                ((str(int(value)), label) for value, label in texts.internal.items()),
                str(int(one.internal)),
            ),
            *self._outcomes(),
            (self._open("lines", texts.lines + lines), self._open("people", texts.people + people)),
            (self._open("hours", texts.hours), self._open("silent", texts.silent)),
        ]
        return Menu("\n".join([texts.settings, *self._summary()]), tuple(map(tuple, rows)))

    def lines(self) -> Menu:
        offered = [
            (short(line), self.directory.line_name(line), line)
            for line in _lines(self.subscriber, self.directory)
        ]
        return self._choice("lines", "line", offered, self.subscriber.lines)

    def people(self) -> Menu:
        label = self.directory.label
        language = self.directory.profile.language
        offered = [(one, label(one, language), one) for one in _people(self.subscriber, self.directory)]
        return self._choice("people", "person", offered, self.subscriber.people)

    def hours(self) -> Menu:
        return self._presets("hours", HOURS, self.subscriber.hours)

    def silent(self) -> Menu:
        return self._presets("silent", SILENT, self.subscriber.silent)

    def _summary(self) -> list[str]:
        """What buttons do not show: hours and mute in words."""
        one, texts = self.subscriber, self.texts
        said = [
            texts.chosen.format(texts.hours, self._spoken(one.hours) or texts.always),
            texts.chosen.format(texts.silent, self._spoken(one.silent) or texts.never),
        ]
        if one.muted(self.now):
            said.append(until(one, self.directory))
        return said

    def _outcomes(self) -> list[tuple[Button, ...]]:
        texts, chosen = self.texts, self.subscriber.outcomes
        buttons = [
            self._toggle("main", "outcome", name, label, on=name in chosen)
            for name, label in texts.outcomes.items()
        ]
        none = self._wish("main", "outcome", _NO_CHOICE, _marked(texts.any_outcome, on=not chosen))
        return [(none,), tuple(buttons[:2]), tuple(buttons[2:])]

    def _choice(
        self, view: View, field: str, offered: list[tuple[str, str, str]], chosen: tuple[str, ...]
    ) -> Menu:
        """``offered``: name in the button, label, value."""
        texts = self.texts
        last = max(0, (len(offered) - 1) // PAGE)
        page = min(self.page, last)
        title, no_choice = (
            (texts.by_line, texts.any_line) if view == "lines" else (texts.by_people, texts.anybody)
        )
        rows = [(self._wish(view, field, _NO_CHOICE, _marked(no_choice, on=not chosen)),)]
        rows += [
            (self._toggle(view, field, name, label, on=value in chosen),)
            for name, label, value in offered[page * PAGE : (page + 1) * PAGE]
        ]
        turning = [self._open(view, texts.earlier, page - 1)] if page else []
        turning += [self._open(view, texts.further, page + 1)] if page < last else []
        return Menu(title, tuple(row for row in (*rows, tuple(turning), (self._back(),)) if row))

    def _presets(self, view: View, presets: tuple[str, ...], now: str) -> Menu:
        texts = self.texts
        title, nothing = (texts.by_hours, texts.always) if view == "hours" else (texts.by_silent, texts.never)
        rows = [
            (self._wish(view, view, str(place), _marked(self._spoken(text) or nothing, on=text == now)),)
            for place, text in enumerate(presets)
        ]
        own = [] if now in presets else [html.escape(self._spoken(now), quote=False)]
        return Menu("\n".join([title, *own]), (*rows, (self._back(),)))

    def _spoken(self, hours: str) -> str:
        """Hours with the days of the reader's language."""
        days = dict(zip(TEXTS["en"].days, self.texts.days, strict=True))
        return re.sub("|".join(days), lambda found: days[found[0]], hours)

    def _radio(self, field: str, options: Iterable[tuple[str, str]], now: str) -> tuple[Button, ...]:
        return tuple(
            self._wish("main", field, value, _marked(label, on=value == now)) for value, label in options
        )

    def _toggle(self, view: View, field: str, name: str, label: str, *, on: bool) -> Button:
        return self._wish(view, field, f"{'-' if on else '+'}{name}", _marked(label, on=on))

    def _wish(self, view: View, field: str, value: str, label: str) -> Button:
        data = f"w:{self.directory.profile.number}:{view}:{self.page}:{field}:{value}"
        return Button(shorten(label), callback_data=data)

    def _open(self, view: View, label: str, page: int = 0) -> Button:
        return Button(label, callback_data=f"m:{self.directory.profile.number}:{view}:{page}")

    def _back(self) -> Button:
        return self._open("main", self.texts.back_button)


_VIEWS: Final[Mapping[View, Callable[[_Menu], Menu]]] = MappingProxyType(
    {
        "main": _Menu.main,
        "lines": _Menu.lines,
        "people": _Menu.people,
        "hours": _Menu.hours,
        "silent": _Menu.silent,
    }
)


def _side(subscriber: Subscriber) -> str:
    return subscriber.directions[0] if len(subscriber.directions) == 1 else _NO_CHOICE


def _marked(label: str, *, on: bool) -> str:
    return f"{_MARK}{label}" if on else label
