"""The page of one call: what is known of it, its events, what became of its messages."""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg
from jinja2 import Environment, FileSystemLoader
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from adapters.http.problems import Problem
from adapters.store.queries import one_call
from calls.card_texts import WORDS
from calls.directory import Directory
from calls.numbers import display

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, auto_reload=False
)
_PEOPLE: Final = frozenset({"caller", "dialled", "rung", "answered_by", "talked", "consulted"})
_TIMES: Final = frozenset({"started_at", "answered_at", "ended_at"})
_BESIDE: Final = frozenset({"events", "messages", "deliveries", "recordings", "last_position", "archived"})
_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "ru": {
        "title": "Звонок",
        "events": "События",
        "archived": "События этого звонка — в архиве за",
        "messages": "Сообщения",
        "recording": "Запись разговора",
        "time": "Время",
        "kind": "Вид",
        "leg": "Канал",
        "body": "Содержание",
        "chat": "Чат",
        "message": "Сообщение",
        "shows": "Показывает",
        "enterprise": "Компания",
        "call_id": "Номер звонка",
        "direction": "Направление",
        "origin": "Источник",
        "outcome": "Итог",
        "customer": "Клиент",
        "line": "Линия",
        "caller": "Кто звонил",
        "dialled": "Набран",
        "rung": "Кому звонили",
        "answered_by": "Ответил",
        "talked": "Говорили",
        "consulted": "Звонок коллегам",
        "started_at": "Начало",
        "answered_at": "Ответ",
        "ended_at": "Конец",
        "wait_s": "Ожидание, с",
        "talk_s": "Разговор, с",
        "total_s": "Всего, с",
        "source": "Откуда известно",
        "legs": "Каналы",
    },
    "en": {
        "title": "Call",
        "events": "Events",
        "archived": "Events of this call are in the archive:",
        "messages": "Messages",
        "recording": "Recording",
        "time": "Time",
        "kind": "Kind",
        "leg": "Leg",
        "body": "Content",
        "chat": "Chat",
        "message": "Message",
        "shows": "Shows",
        "enterprise": "Enterprise",
        "call_id": "Call id",
        "direction": "Direction",
        "origin": "Origin",
        "outcome": "Outcome",
        "customer": "Customer",
        "line": "Line",
        "caller": "Caller",
        "dialled": "Dialled",
        "rung": "Rung",
        "answered_by": "Answered by",
        "talked": "Talked",
        "consulted": "Colleagues rung",
        "started_at": "Began",
        "answered_at": "Answered",
        "ended_at": "Ended",
        "wait_s": "Waited, s",
        "talk_s": "Talked, s",
        "total_s": "Whole, s",
        "source": "Known by",
        "legs": "Legs",
    },
}


_DIRECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "ru": {"in": "входящий", "out": "исходящий", "internal": "внутренний"},
    "en": {"in": "incoming", "out": "outgoing", "internal": "internal"},
}


class Inside(Protocol):
    """What the page needs of the running service."""

    pool: asyncpg.Pool

    def directory(self, enterprise: str) -> Directory:
        """The directory of an enterprise as it is now."""
        ...


def call_page_route(inside: Inside) -> HTTPRouteHandler:
    """``/calls/{enterprise}/{call_id}``. Who may see it is decided outside."""

    @get("/calls/{enterprise:str}/{call_id:str}", media_type=MediaType.HTML)
    async def call_page(enterprise: FromPath[str], call_id: FromPath[str]) -> Response[str]:
        directory = inside.directory(enterprise)
        chats = [(enterprise, chat.chat_id) for chat in directory.subscribers.values()]
        found = await one_call(inside.pool, enterprise, call_id, chats)
        if found is None:
            raise Problem(404, f"enterprise {enterprise} has no call with a leg {call_id}")
        nonce = secrets.token_urlsafe(16)
        page = _Page(found, directory)
        text = _templates.get_template("call.html").render(
            nonce=nonce,
            language=directory.profile.language,
            labels=page.labels,
            call_id=found["call_id"],
            rows=page.rows(),
            events=page.events(),
            archived=found.get("archived", ()),
            messages=found["messages"],
            recordings=found["recordings"],
        )
        headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"
            ),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return Response(text, media_type=MediaType.HTML, headers=headers)

    return call_page


class _Page:
    """One call in words of its enterprise's language."""

    def __init__(self, found: dict[str, Any], directory: Directory) -> None:
        self._found, self._directory = found, directory
        self.labels = _LABELS[directory.profile.language]

    def rows(self) -> list[tuple[str, str]]:
        """What is known, a label and a text each."""
        return [
            (self.labels.get(name, name), self._shown(name, value))
            for name, value in self._found.items()
            if name not in _BESIDE and value not in (None, "", [])
        ]

    def events(self) -> list[tuple[str, str, str, str]]:
        """Time, kind, leg and body of each."""
        return [
            (self._clock(event["received_at"]), event["kind"], event["unique_id"], _body(event["body"]))
            for event in self._found["events"]
        ]

    def _shown(self, name: str, value: Any) -> str:
        directory = self._directory
        language = directory.profile.language
        if name in _PEOPLE:
            people = value if isinstance(value, list) else [value]
            between = " → " if name == "talked" else ", "
            return between.join(directory.label(one, language) for one in people)
        if name in _TIMES:
            return self._clock(value)
        if name == "customer":
            known = directory.customer(value)
            return " ".join(filter(None, (display(value), (known.company or known.name) if known else "")))
        if name == "line":
            return directory.line_name(value)
        if name == "outcome":
            return WORDS[language].outcomes[value]
        if name == "direction":
            return _DIRECTIONS[language][value]
        return ", ".join(value) if isinstance(value, list) else str(value)

    def _clock(self, iso: str) -> str:
        try:
            zone = ZoneInfo(self._directory.profile.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return iso
        return f"{datetime.fromisoformat(iso).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _body(body: Any) -> str:
    if not isinstance(body, dict):
        return str(body)
    shown = {key: value for key, value in body.items() if value not in ("", "<unknown>", None)}
    return json.dumps(shown, ensure_ascii=False)
