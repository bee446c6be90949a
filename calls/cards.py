"""A card: what a chat shows of a call, as Telegram's HTML (CONTRACT 8, domain/telegram.md)."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from calls.call import Call, Outcome
from calls.card_texts import WORDS, Words
from calls.directory import Directory, shorten
from calls.numbers import display, is_extension, is_unknown

State = Literal["begun", "ringing", "talking", "answered", "not_answered", "lost"]

LONGEST: Final = 4096
"""UTF-16 units of a message's text after its entities are parsed (Bot API, sendMessage)."""

_SIGNS: Final[Mapping[State, str]] = MappingProxyType(
    {"begun": "📞", "ringing": "📞", "talking": "🔗", "answered": "✅", "not_answered": "❌", "lost": "⚠️"}
)
_NAMED: Final = 4
"""How many the heading names; more are folded below it."""
_FOLDED: Final = (20, 10, 5)
"""How many the fold shows: the first of these with which the card is not too long."""
_CONSULTED: Final = 6
_MOVED_ONCE: Final = 2
"""Who talk in a call of one transfer."""
_CHAIN: Final = 12
_HISTORY: Final = 256
"""Units kept free for the line of history."""
_RECORDINGS: Final = 10
_TAG: Final = re.compile(r"</?(?:blockquote|a)\b[^>]*>")

Link = Callable[[str], str]
"""Id of a recording to the address where others can open it, "" where there is none."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was with this customer before this call. ``last_talker``: extension or mobile in E.164."""

    calls: int
    last_at: datetime | None = None
    last_outcome: Outcome | None = None
    last_talker: str | None = None


def nowhere(_: str) -> str:
    """The address of what others cannot reach."""
    return ""


def render(call: Call, directory: Directory, link: Link = nowhere) -> str:
    """The card of a call in the language of its enterprise: with its history at most 4096 units of parsed text."""
    text = ""
    for folded in _FOLDED:
        text = _Card(call, directory, WORDS[directory.profile.language], folded, link).text()
        if _length(text) <= LONGEST - _HISTORY:
            break
    return text


def history_line(call: Call, directory: Directory, history: History) -> str:
    """What was with the customer before, in one line below the card."""
    return _Card(call, directory, WORDS[directory.profile.language]).past(history)


def listed(call: Call, directory: Directory) -> str:
    """A call in one line of a list, as HTML: when it began, how it is, who with whom, how long it lasted."""
    return _Card(call, directory, WORDS[directory.profile.language]).listed()


def local_time(when: datetime, directory: Directory) -> datetime:
    """A moment on the enterprise's clock, on that of UTC where this machine does not know the zone."""
    return when.astimezone(_zone(directory.profile.timezone) or UTC)


def notice(call: Call, directory: Directory) -> str:
    """The reply that rings below the card of a call that was missed or lost: one line of Telegram's HTML."""
    return _Card(call, directory, WORDS[directory.profile.language]).notice()


def _length(text: str) -> int:
    if len(text) * 2 <= LONGEST:
        return len(text) * 2
    return len(html.unescape(_TAG.sub("", text)).encode("utf-16-le")) // 2


def state(call: Call) -> State:
    """Which heading the call has."""
    match call.outcome:
        case "answered":
            return "answered"
        case "missed" | "not_answered":
            return "not_answered"
        case "lost_in_transfer":
            return "lost"
        case "open":
            if call.phase != "ended":
                return call.phase
            return "answered" if call.talked else "not_answered"


class _Card(msgspec.Struct, frozen=True):
    call: Call
    directory: Directory
    words: Words
    folded: int = 0
    link: Link = nowhere

    def text(self) -> str:
        reached = self.reached()
        lines = [
            self.heading(reached),
            *self.fold(reached),
            *self.parties(reached),
            *self.times(),
            *self.recordings(),
        ]
        return "\n".join(lines)

    def person(self, person: str | None) -> str:
        return _safe(self.directory.label(person, self.directory.profile.language))

    def them(self) -> str:
        """The other party: the customer, or the caller of an internal call."""
        call = self.call
        if call.direction == "internal":
            return self.person(call.caller)
        if call.customer is None or is_unknown(call.customer):
            return _safe(shorten(call.told)) if call.told else self.person(None)
        return _safe(shorten(display(call.customer)))

    def talker(self) -> str:
        """Who talked last, else who is known to have answered or to be called; "" where nobody is known."""
        call = self.call
        known = call.talked[-1] if call.talked else call.answered_by
        if call.direction == "internal":
            known = known or call.callee or call.dialled
        if call.direction == "out":
            known = known or call.caller
        return self.person(known) if known else ""

    def reached(self) -> tuple[str, ...]:
        """Who was rung and does not talk (yet), where the heading names them."""
        call = self.call
        match state(call):
            case "talking" | "answered":
                return ()
            case "lost":
                if call.lost_to:
                    return call.lost_to
                # Who was asked by an earlier transfer and talked later has not lost the call.
                silent = tuple(person for person in call.consulted if person not in call.talked)
                return silent or call.consulted
            case "not_answered":
                rung = call.rung
            case "begun" | "ringing":
                rung = call.ringing or call.rung
        known = call.callee or call.dialled
        if call.direction == "internal" and known and len(rung) <= 1:
            return (known,)
        return () if call.direction == "out" else rung

    def listed(self) -> str:
        call, now = self.call, state(self.call)
        answered = now in {"talking", "answered", "lost"}
        us = self.talker() if answered else self.people(self.reached())
        if call.direction == "out" and not answered:
            us = self.caller()
        sign = "🛎️" if call.direction == "internal" and now in {"begun", "ringing"} else _SIGNS[now]
        lasted = call.talk if call.talk is not None else call.total
        time = f", {_clock(lasted)}" if now == "answered" and lasted is not None else ""
        return f"{self.hour(call.started_at)} {sign} {self.sides('↔' if answered else '→', us)}{time}"

    def heading(self, reached: tuple[str, ...]) -> str:
        call, words, now = self.call, self.words, state(self.call)
        recovered = "🔄" if call.source == "recovery" else ""
        sign = f"{_SIGNS[now]}{recovered}"
        rung = self.caller() if call.direction == "out" else self.people(reached)
        mark = f" {words.internal}" if call.direction == "internal" else ""
        match now:
            case "begun" | "ringing" if call.direction == "internal":
                return f"🛎️{recovered} {words.internal_call}\n{self.sides('→', rung)}"
            case "begun":
                unnamed = call.direction == "out" and not rung
                return f"{sign} {words.call if unnamed else words.call_from} {self.sides('→', rung)}"
            case "ringing":
                unnamed = call.direction == "out" and not rung
                return f"{sign} {words.ringing if unnamed else words.ringing_from} {self.sides('→', rung)}"
            case "talking":
                return f"{sign} {words.talking}{mark}: {self.sides('↔', self.talker())}"
            case "answered":
                lasted = call.talk if call.talk is not None else call.total
                time = f", {_clock(lasted)}" if lasted is not None else ""
                return f"{sign} {words.ended}{mark}: {self.sides('↔', self.talker())}{time}"
            case "not_answered":
                unknown = call.direction == "out" and not rung
                return (
                    f"{sign} {words.not_answered}{mark}: {self.them() if unknown else self.sides('→', rung)}"
                )
            case "lost":
                silent = f" → {self.people(reached)}" if reached else ""
                return f"{sign} {words.lost}{mark}: {self.sides('↔', self.talker())}{silent}"

    def notice(self) -> str:
        words = self.words
        what = words.lost if state(self.call) == "lost" else words.missed
        mark = f" {words.internal}" if self.call.direction == "internal" else ""
        return ", ".join([f"🔔 {what}{mark}: {self.them()}", *self.customer()])

    def caller(self) -> str:
        """Who of the enterprise began an outgoing call, "" where that is not known."""
        known = self.call.caller or self.call.answered_by
        return self.person(known) if known else ""

    def sides(self, arrow: str, us: str) -> str:
        """Both sides of the call, who began it on the left; a side that is not known is left out."""
        them = self.them()
        if self.call.direction != "out":
            return f"{them} {arrow} {us}" if us else them
        if us:
            return f"{us} {arrow} {them}"
        return f"→ {them}" if arrow == "→" else them

    def people(self, people: tuple[str, ...]) -> str:
        if len(people) > _NAMED:
            return self.words.people(len(people))
        return ", ".join(map(self.person, people))

    def fold(self, people: tuple[str, ...]) -> Iterator[str]:
        """All whom the heading only counts, in a quotation that opens at a touch."""
        if len(people) > _NAMED:
            names = "\n".join(self.first(people, self.folded))
            title = self.words.people_list.format(len(people))
            yield f"<blockquote expandable>{title}\n{names}</blockquote>"

    def first(self, people: tuple[str, ...], count: int) -> Iterator[str]:
        yield from map(self.person, people[:count])
        if len(people) > count:
            yield self.words.more.format(len(people) - count)

    def parties(self, reached: tuple[str, ...]) -> Iterator[str]:
        """Who and where, as far as the heading does not say it."""
        call, words = self.call, self.words
        yield from (f"💰 {name}" for name in self.customer())
        if call.line:
            name = self.directory.line_name(call.line)
            yield f"📡 {_safe(shorten(words.line.format(name) if name == call.line else name))}"
        if call.dialled and call.dialled not in reached:
            yield f"☎️ {words.dialled.format(self.person(call.dialled))}"
        if call.direction == "internal" and state(call) == "not_answered" and not (reached or call.dialled):
            yield f"☎️ {words.nobody_known}"
        if len(call.talked) > 1:
            moved = words.transfer if len(call.talked) == _MOVED_ONCE else words.transfers
            yield f"🔀 {moved.format(self.chain())}"
        consulted = tuple(person for person in call.consulted if person not in reached)
        if consulted:
            yield f"💬 {words.consulted.format(', '.join(self.first(consulted, _CONSULTED)))}"

    def customer(self) -> Iterator[str]:
        """Name of the other party, where the directory has one."""
        known = self.directory.customer(self.call.customer) if self.call.customer else None
        if known and (name := shorten(known.company) or shorten(known.name)):
            yield _safe(name)

    def chain(self) -> str:
        """Who talked after whom, by number alone: the heading names the last one."""
        chain = [_safe(_number(person)) for person in self.call.talked]
        if len(chain) > _CHAIN:
            chain = [*chain[: _CHAIN // 2], "…", *chain[-_CHAIN // 2 :]]
        return " → ".join(chain)

    def times(self) -> Iterator[str]:
        call, words = self.call, self.words
        wait = None if call.wait is None else _clock(call.wait)
        talk = None if call.talk is None else _clock(call.talk)
        if wait and talk:
            yield f"⌛ {words.wait_and_talk.format(wait, talk)}"
        elif wait:
            yield f"⌛ {words.wait.format(wait)}"
        elif talk:
            yield f"⌛ {words.talk.format(talk)}"
        yield f"⏰ {words.began.format(self.hour(call.started_at))}"

    def recordings(self) -> Iterator[str]:
        """A link to each recording, in the order of the legs; numbered where there are several."""
        words = self.words
        known = [url for recording in self.call.recordings if (url := self.link(recording))]
        for number, url in enumerate(known[:_RECORDINGS], 1):
            name = words.recording if len(known) == 1 else words.recording_of_several.format(number)
            yield f'🔉 <a href="{html.escape(url)}">{name}</a>'
        if len(known) > _RECORDINGS:
            yield words.more.format(len(known) - _RECORDINGS)

    def hour(self, when: datetime) -> str:
        zone = _zone(self.directory.profile.timezone)
        return f"{when.astimezone(zone):%H:%M}" if zone else f"{when.astimezone(UTC):%H:%M} UTC"

    def past(self, past: History) -> str:
        """What was with this customer before, in one line."""
        words = self.words
        if not past.calls:
            return f"🕘 {words.first_call}"
        parts = [words.earlier_calls.format(past.calls)]
        if past.last_at:
            day = words.day(past.last_at.astimezone(_zone(self.directory.profile.timezone) or UTC))
            parts.append(words.last_call.format(f"{day} {self.hour(past.last_at)}"))
        if past.last_outcome:
            parts.append(words.outcomes[past.last_outcome])
        if past.last_talker:
            parts.append(self.person(past.last_talker))
        return f"🕘 {', '.join(parts)}"


def _safe(text: str) -> str:
    return html.escape(text, quote=False)


def _number(person: str) -> str:
    return person if is_extension(person) else f"📱 {shorten(display(person))}"


def _clock(span: timedelta) -> str:
    """``MM:SS`` to the nearest second; minutes may exceed 59."""
    minutes, seconds = divmod(max(int(span.total_seconds() + 0.5), 0), 60)
    return f"{minutes:02}:{seconds:02}"


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo | None:
    """A time zone, None where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
