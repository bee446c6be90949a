"""A Bot API stand-in over real HTTP for tests: keeps messages, counts requests, has scripted faults."""

import asyncio
import json
from collections import Counter, defaultdict, deque
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import parse_qsl

TOKEN = "123456789:stand-in-token-of-the-tests-00000000"
_TAGS = {
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "a",
    "code",
    "pre",
    "blockquote",
    "tg-spoiler",
}


@dataclass(frozen=True)
class Fault:
    """One scripted answer instead of the usual. ``effect``: the request is carried out all the same.

    ``reset``: the connection dies without an answer; ``delay``: seconds before anything is answered;
    ``vanished``: first a reader deletes the message that the request is about.
    """

    status: int = 0
    description: str = ""
    parameters: dict[str, int] = field(default_factory=dict)
    reset: bool = False
    delay: float = 0.0
    effect: bool = False
    vanished: bool = False


def too_many(retry_after: int) -> Fault:
    return Fault(429, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after})


BLOCKED = Fault(403, "Forbidden: bot was blocked by the user")
CHAT_NOT_FOUND = Fault(400, "Bad Request: chat not found")
UNAUTHORIZED = Fault(401, "Unauthorized")
BAD_GATEWAY = Fault(502, "Bad Gateway")
CANT_BE_DELETED = Fault(400, "Bad Request: message can't be deleted")
NOT_MODIFIED = Fault(
    400,
    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as "
    "a current content and reply markup of the message",
)
EDIT_NOT_FOUND = Fault(400, "Bad Request: message to edit not found")
CANT_PARSE = Fault(400, 'Bad Request: can\'t parse entities: Unsupported start tag "x" at byte offset 0')


@dataclass
class Message:
    chat_id: int
    message_id: int
    texts: list[str]
    deleted: bool = False
    silent: bool = False
    unheard: bool = False
    """True where nobody was told that it was sent."""
    times: list[float] = field(default_factory=list)
    """When it began to show each of the texts, by the loop's clock."""

    @property
    def text(self) -> str:
        return self.texts[-1]


@dataclass(frozen=True)
class Request:
    at: float
    method: str
    fields: dict[str, Any]
    bot: str = ""
    """The token it came with."""

    @property
    def chat_id(self) -> int:
        return int(self.fields["chat_id"])


class BotApiServer(AbstractAsyncContextManager["BotApiServer", None]):
    """Speaks the Bot API on a loopback port while it is entered."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.chats: dict[int, dict[int, Message]] = defaultdict(dict)
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self._faults: dict[tuple[str, int | None], deque[Fault]] = defaultdict(deque)
        self._last_id = 100
        self._connections: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def counts(self) -> Counter[str]:
        return Counter(request.method for request in self.requests)

    def script(self, method: str, *faults: Fault, chat_id: int | None = None) -> None:
        """The next requests of this method (to this chat, or to any) get these answers, then the usual."""
        self._faults[method, chat_id].extend(faults)

    def standing(self, chat_id: int) -> list[str]:
        """The texts a reader of the chat sees."""
        return [message.text for message in self.chats[chat_id].values() if not message.deleted]

    async def seen(self, method: str, count: int = 1, within: float = 5.0) -> None:
        """Wait until so many requests of a method have come."""
        async with asyncio.timeout(within):
            while self.counts[method] < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while (request := await _head(reader)) is not None:
                target, headers = request
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, answer = await self._answer(target, headers.get("content-type", ""), body)
                if status == 0:
                    writer.transport.abort()
                    return
                payload = json.dumps(answer).encode()
                head = (
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}"
                )
                writer.write(head.encode() + b"\r\n\r\n" + payload)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, target: str, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        _, bot, method = target.split("?", 1)[0].split("/")
        fields = json.loads(body or b"{}") if "json" in kind else dict(parse_qsl(body.decode()))
        request = Request(asyncio.get_running_loop().time(), method, fields, bot.removeprefix("bot"))
        self.requests.append(request)
        self.arrived.set()
        if bot != f"bot{self.token}":
            return _error(401, "Unauthorized")
        fault = self.fault_of(request)
        if fault is None:
            return self._carry_out(method, fields)
        if fault.vanished:
            self._message(fields).deleted = True
        if fault.effect:
            answer = self._carry_out(method, fields)
        if fault.effect and fault.reset and method == "sendMessage" and answer[0] == 200:
            self.chats[request.chat_id][answer[1]["result"]["message_id"]].unheard = True
        await asyncio.sleep(fault.delay)
        if fault.reset:
            return 0, {}
        if fault.status:
            return _error(fault.status, fault.description, fault.parameters)
        return answer if fault.effect else self._carry_out(method, fields)

    def fault_of(self, request: Request) -> Fault | None:
        """What goes wrong with this request, None for nothing."""
        method = request.method
        chat_id = request.chat_id if "chat_id" in request.fields else None
        for key in ((method, chat_id), (method, None)):
            if self._faults[key]:
                return self._faults[key].popleft()
        return None

    def _carry_out(self, method: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match method:
            case "getMe":
                return _ok(
                    {"id": 123456789, "is_bot": True, "first_name": "Stand-in", "username": "stand_in_bot"}
                )
            case "sendMessage":
                return self._send(fields)
            case "editMessageText":
                return self._edit(fields)
            case "deleteMessage":
                message = self.chats[int(fields["chat_id"])].get(int(fields["message_id"]))
                if message is None or message.deleted:
                    return _error(400, "Bad Request: message to delete not found")
                message.deleted = True
                return 200, {"ok": True, "result": True}
            case _:
                return _error(404, "Not Found")

    def _message(self, fields: dict[str, Any]) -> Message:
        return self.chats[int(fields["chat_id"])][int(fields["message_id"])]

    def _send(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if wrong := _wrong_html(fields):
            return _error(400, f"Bad Request: can't parse entities: {wrong}")
        self._last_id += 1
        silent = str(fields.get("disable_notification", "")).lower() == "true"
        now = asyncio.get_running_loop().time()
        message = Message(int(fields["chat_id"]), self._last_id, [fields["text"]], silent=silent, times=[now])
        self.chats[message.chat_id][message.message_id] = message
        return _ok(_message(message))

    def _edit(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        message = self.chats[int(fields["chat_id"])].get(int(fields["message_id"]))
        if message is None or message.deleted:
            return _error(400, "Bad Request: message to edit not found")
        if wrong := _wrong_html(fields):
            return _error(400, f"Bad Request: can't parse entities: {wrong}")
        if message.text == fields["text"]:
            return _error(NOT_MODIFIED.status, NOT_MODIFIED.description)
        message.texts.append(fields["text"])
        message.times.append(asyncio.get_running_loop().time())
        return _ok(_message(message) | {"edit_date": 1_700_000_001})


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    return lines[0].split(" ")[1], headers


def _message(message: Message) -> dict[str, Any]:
    chat = {"id": message.chat_id, "type": "group" if message.chat_id < 0 else "private"}
    chat |= {"title": "Group"} if message.chat_id < 0 else {"first_name": "Reader"}
    return {
        "message_id": message.message_id,
        "from": {"id": 123456789, "is_bot": True, "first_name": "Stand-in", "username": "stand_in_bot"},
        "chat": chat,
        "date": 1_700_000_000,
        "text": message.text,
    }


def _ok(result: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"ok": True, "result": result}


def _error(
    status: int, description: str, parameters: dict[str, int] | None = None
) -> tuple[int, dict[str, Any]]:
    answer: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    return status, answer | ({"parameters": parameters} if parameters else {})


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.wrong = ""
        self.nested: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.nested.append(tag)
        if tag not in _TAGS:
            self.wrong = f'Unsupported start tag "{tag}" at byte offset {self.getpos()[1]}'

    def handle_endtag(self, tag: str) -> None:
        if not self.nested or self.nested.pop() != tag:
            self.wrong = f"Unexpected end tag at byte offset {self.getpos()[1]}"


def _wrong_html(fields: dict[str, Any]) -> str:
    if fields.get("parse_mode") != "HTML":
        return ""
    parser = _Balance()
    parser.feed(fields["text"])
    parser.close()
    return parser.wrong or (
        f'Can\'t find end tag corresponding to start tag "{parser.nested[-1]}"' if parser.nested else ""
    )
