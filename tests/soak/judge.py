"""What chats show against what they must show, and how often they were asked.

The truth is folded here from the stored facts, in one pass and by nobody's actor.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from adapters.store.reader import COLUMNS, fact
from adapters.telegram.posts import fingerprint, plain
from calls.call import Call
from calls.cards import render
from calls.deliveries import (
    DELIVERY_KINDS,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    Post,
    fold_delivery,
    read_delivery,
)
from calls.facts import EVENT_KINDS, Fact, delivery_stream, leg_stream
from projections.calls import CallsFold
from tests.botapi import CANT_PARSE, Message, Request
from tests.memory_log import MemoryLog, project_all
from tests.soak.load import ENTERPRISES, WHERE, Enterprise
from tests.soak.trouble import TroubledBotApi
from tests.storing import connected

LATE = 0.15
"""Seconds that a request may come later after it went out than another: windows are shorter by so much."""
_HISTORY = re.compile(r"\n🕘[^\n]*\Z")
"""What was with the customer before: it depends on what the rows told when it was read."""


async def facts_of(dsn: str) -> list[Fact]:
    """All facts, numbered without the gaps of batches that were not committed."""
    async with connected(dsn) as connection:
        rows = await connection.fetch(f"SELECT {COLUMNS} FROM facts ORDER BY position")
    return [msgspec.structs.replace(fact(row), position=place) for place, row in enumerate(rows, start=1)]


@dataclass
class Delivered:
    """A stream of deliveries: the message it amounts to, and the hash of each try that nobody knows the end of."""

    post: Post | None = None
    lost: list[str] = field(default_factory=list)

    def add(self, told: Fact) -> None:
        edited = self.post is not None and self.post.live
        self.post = fold_delivery(self.post, told)
        match read_delivery(told.kind, told.body):
            case DeliveryIntended(hash=shown):
                self.lost.append(shown)
            case DeliverySent() | DeliveryRefused(final=False):
                self.lost.pop()
            case DeliveryRefused(reason=reason) if reason != "ambiguous" and not edited:
                self.lost.pop()


class Truth:
    """Every call of every enterprise, as all facts together tell it."""

    @classmethod
    async def of_facts(cls, facts: list[Fact]) -> "Truth":
        """As a projection tells it that was never interrupted."""
        log, fold = MemoryLog(facts=facts), CallsFold()
        await project_all(log, fold)
        assert not log.parked, log.parked
        return cls(facts, fold, log.tables.calls.values())

    def __init__(self, facts: Iterable[Fact], fold: CallsFold, calls: Iterable[Call]) -> None:
        self.delivered: dict[tuple[str, str], Delivered] = defaultdict(Delivered)
        self.recorded: dict[int, float] = {}
        self._first: dict[tuple[str, str], float] = {}
        for told in facts:
            at = told.recorded_at.timestamp()
            if told.kind in DELIVERY_KINDS:
                self.delivered[told.enterprise, told.stream].add(told)
                continue
            if told.kind in EVENT_KINDS:
                self.recorded[told.position] = at
                self._first.setdefault((told.enterprise, told.stream), at)
        self.calls: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            self.calls[call.enterprise].append(call)
        self.directories = {number: fold.exchange(number).directory for number in self.calls}

    def of(self, one: Enterprise) -> list[Call]:
        return self.calls.get(one.number, [])

    def text(self, call: Call) -> str:
        return render(call, self.directories[call.enterprise])

    def streams(self, call: Call, chat_id: int) -> list[Delivered]:
        """What was delivered of the conversation, under whatever leg's name."""
        names = [delivery_stream(leg, chat_id) for leg in dict.fromkeys((call.call_id, *call.legs))]
        keys = [(call.enterprise, name) for name in names]
        return [self.delivered[key] for key in keys if key in self.delivered]

    def begun(self, call: Call) -> float:
        """When its first event was stored (seconds UTC)."""
        keys = [(call.enterprise, leg_stream(leg)) for leg in call.legs]
        return min(self._first[key] for key in keys if key in self._first)


class Judge:
    """Looks at each chat; ``wrong`` is what is not as it must be."""

    def __init__(self, truth: Truth, telegram: TroubledBotApi, *, deaths: int) -> None:
        self.truth, self.telegram, self.deaths = truth, telegram, deaths
        self.wrong: list[str] = list(telegram.broken)
        self.cards = self.twice = self.given_up = 0
        self.last: list[tuple[Call, Message]] = []
        self._unheard = Counter(
            request.chat_id
            for request, fault in telegram.told
            if fault.reset and request.method == "sendMessage"
        )
        self._html: dict[int, dict[str, str]] = defaultdict(dict)
        for request, fault in telegram.told:
            if fault is CANT_PARSE:
                text = request.fields["text"]
                self._html[request.chat_id][plain(text)] = text
        for one in ENTERPRISES:
            self.wrong += [
                f"{call.enterprise}/{call.call_id} is open" for call in truth.of(one) if not call.settled
            ]
            for chat_id in one.chats:
                if chat_id in telegram.moved:
                    self._look_after_a_move(one, chat_id)
                elif chat_id not in telegram.blocked and one.bot not in telegram.refused:
                    self._look(one, chat_id)

    def _look(self, one: Enterprise, chat_id: int) -> None:
        """Each call of the enterprise has one message with its last text; nothing else stands in the chat."""
        strays = {id_: one for id_, one in self.telegram.chats[chat_id].items() if not one.deleted}
        lost: list[str] = []
        for call in self.truth.of(one):
            where = f"{call.enterprise}/{call.call_id} in {chat_id}"
            self.cards += 1
            streams = self.truth.streams(call, chat_id)
            tries = [shown for stream in streams for shown in stream.lost]
            posts = [stream.post for stream in streams if stream.post]
            live = [post for post in posts if post.live]
            if not live and any(post.refused == "ambiguous" for post in posts) and len(tries) > 1:
                self.given_up += 1
                lost += tries
                continue
            if len(live) != 1:
                self.wrong.append(f"{where}: {len(live)} messages known: {posts}")
                continue
            lost += tries
            message = strays.pop(live[0].message_id or 0, None)
            if message is None:
                self.wrong.append(f"{where}: its message does not stand: {live}")
            elif not self._tells(message, call):
                self.wrong.append(f"{where}: shows {message.text!r}, the call is {self.truth.text(call)!r}")
            else:
                self.last.append((call, message))
        self._explain(chat_id, strays, lost)
        count = sum(len(one.lost) for one in self._streams_of(one, chat_id))
        if count > self._unheard[chat_id] + self.deaths:
            self.wrong.append(
                f"{chat_id}: {count} tries without a result, {self._unheard[chat_id]} not answered"
            )

    def _streams_of(self, one: Enterprise, chat_id: int) -> list[Delivered]:
        begin = delivery_stream("", chat_id)
        return [
            found
            for (number, name), found in self.truth.delivered.items()
            if number == one.number and name.startswith(begin)
        ]

    def _look_after_a_move(self, one: Enterprise, old: int) -> None:
        """A call is told to its end where the group is now, or was so before it moved."""
        new, moved_at = self.telegram.moved[old]
        for call in self.truth.of(one):
            self.cards += 1
            here = self._live(call, new)
            there = [message for message in self._live(call, old) if message.times[-1] < moved_at]
            if not any(self._tells(message, call) for message in here or there):
                self.wrong.append(f"{call.enterprise}/{call.call_id} of a group that moved: {here or there}")
            if len([one for one in here if not one.unheard]) > 1:
                self.wrong.append(f"{call.enterprise}/{call.call_id} of a group that moved: {here}")

    def _live(self, call: Call, chat_id: int) -> list[Message]:
        posts = [stream.post for stream in self.truth.streams(call, chat_id) if stream.post]
        return [self.telegram.chats[chat_id][post.message_id or 0] for post in posts if post.live]

    def _tells(self, message: Message, call: Call) -> bool:
        """True where it shows the call as it is: as HTML, or plain where Telegram did not take that."""
        text = self._html[message.chat_id].get(message.text, message.text)
        return not message.deleted and _HISTORY.sub("", text) == self.truth.text(call)

    def _explain(self, chat_id: int, strays: dict[int, Message], lost: list[str]) -> None:
        """A further message may stand where its sending was never answered: one a try."""
        for message in strays.values():
            text = message.texts[0]
            text = self._html[chat_id].get(text, text)
            shown = {fingerprint(text), fingerprint(_HISTORY.sub("", text))}
            tried = next((one for one in lost if one in shown), None)
            if tried is None or not (self.deaths or message.unheard):
                self.wrong.append(f"{chat_id}: nobody's message {message}")
            else:
                self.twice += 1
                lost.remove(tried)


# how often


def windows(requests: Iterable[Request]) -> Iterator[str]:
    """Every window with more requests than Telegram lets through: 30 a second a bot, 20 a minute a group, and of
    a chat three at once and then one a second."""
    bots: dict[str, list[float]] = defaultdict(list)
    chats: dict[int, list[float]] = defaultdict(list)
    for request in requests:
        bots[request.bot].append(request.at)
        chats[request.chat_id].append(request.at)
    for bot, times in bots.items():
        yield from _over(f"bot {bot}", times, 1.0, 30)
    for chat, times in chats.items():
        if chat < 0:
            yield from _over(f"group {chat}", times, 60.0, 20)
        for window in (1.0, 5.0, 20.0, 60.0):
            yield from _over(f"chat {chat}", times, window, 3 + window)


def _over(who: str, times: list[float], window: float, most: float) -> Iterator[str]:
    ahead = 0
    for place, at in enumerate(times):
        while times[ahead] <= at - (window - LATE):
            ahead += 1
        if place - ahead + 1 > most:
            yield f"{who}: {place - ahead + 1} within {window:g} s, {most:g} are allowed"


def most_within(times: list[float], window: float) -> int:
    """The fullest window."""
    ahead = most = 0
    for place, at in enumerate(times):
        while times[ahead] <= at - window:
            ahead += 1
        most = max(most, place - ahead + 1)
    return most


def impatient(telegram: TroubledBotApi, deaths: list[float]) -> list[str]:
    """Requests that came before ``retry_after`` was over; a process that died in between could not know of it."""
    asked: dict[int, list[float]] = defaultdict(list)
    for request in telegram.messages:
        asked[request.chat_id].append(request.at)
    following = {(chat, at): later for chat, times in asked.items() for at, later in pairwise(times)}
    found = []
    for request, fault in telegram.told:
        if "chat_id" not in request.fields:
            continue
        later = following.get((request.chat_id, request.at))
        wait = fault.parameters.get("retry_after", 0)
        if later is None or any(request.at < death < later for death in deaths):
            continue
        if later - request.at < wait - LATE / 2:
            found.append(f"{request.chat_id} was asked {later - request.at:.2f} s after a 429 of {wait} s")
    return found


def report(judge: Judge, clock: float) -> str:
    """API calls per call and chat, and the waits. ``clock``: UTC seconds at the loop's time 0."""
    telegram, truth = judge.telegram, judge.truth
    judged = [
        request
        for request in telegram.messages
        if request.chat_id not in telegram.blocked and request.bot not in telegram.refused
    ]
    cards = max(judge.cards, 1)
    first = [message.times[0] + clock - truth.begun(call) for call, message in judge.last]
    last = [
        message.times[-1] + clock - truth.recorded[call.last_position]
        for call, message in judge.last
        if call.last_position in truth.recorded
    ]
    fullest = {
        "bot, 1 s": max(most_within(times, 1.0) for times in _by(judged, "bot").values()),
        "chat, 5 s": max(most_within(times, 5.0) for times in _by(judged, "chat_id").values()),
        "group, 60 s": max(
            (most_within(times, 60.0) for chat, times in _by(judged, "chat_id").items() if int(chat) < 0),
            default=0,
        ),
    }
    return "\n".join(
        [
            f"{sum(map(len, truth.calls.values()))} calls, {judge.cards} cards in {len(WHERE)} chats",
            f"API calls per call and chat: {len(judged) / cards:.2f} {dict(Counter(r.method for r in judged))}",
            f"first message after the first event: {_spread(first)}",
            f"last text after the last event: {_spread(last)}",
            f"fullest windows: {fullest}",
            f"faults: {dict(telegram.faults)}",
            f"twice by an answer that was lost: {judge.twice}; given up after two of them: {judge.given_up}",
        ]
    )


def _by(requests: list[Request], name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for request in requests:
        found[str(getattr(request, name))].append(request.at)
    return found


def _spread(waits: list[float]) -> str:
    known = sorted(max(0.0, wait) for wait in waits)
    if not known:
        return "none"
    p50, p99 = known[len(known) // 2], known[len(known) * 99 // 100]
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {known[-1]:.2f} s"
