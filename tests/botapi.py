"""A Bot API stand-in over real HTTP for tests: keeps messages, counts requests, has scripted faults."""

import asyncio
import json
import re
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
    markup: Any = None
    """The buttons below it, as they were given last."""
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


LISTENING = frozenset(
    {
        "getUpdates",
        "setWebhook",
        "deleteWebhook",
        "getWebhookInfo",
        "setMyCommands",
        "answerCallbackQuery",
    }
)
"""Methods that are about no chat: kept in ``asked``, not in ``requests``."""
OTHER_POLLER = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
)
OTHER_WEBHOOK = (
    "Conflict: can't use getUpdates method while webhook is active; "
    "use deleteWebhook to delete the webhook first"
)


@dataclass
class Heard:
    """What one bot has heard and not yet been told, who waits for it, and what was set."""

    updates: list[dict[str, Any]] = field(default_factory=list)
    waiting: "asyncio.Future[str] | None" = None
    last_id: int = 7_000
    webhook: dict[str, Any] = field(default_factory=dict)
    commands: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the id of a callback query."""


class BotApiServer(AbstractAsyncContextManager["BotApiServer", None]):
    """Speaks the Bot API on a loopback port while it is entered."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.chats: dict[int, dict[int, Message]] = defaultdict(dict)
        self.requests: list[Request] = []
        self.asked: list[Request] = []
        self.heard: dict[str, Heard] = defaultdict(Heard)
        """By the bot's token."""
        self.arrived = asyncio.Event()
        self._faults: dict[tuple[str, int | None], deque[Fault]] = defaultdict(deque)
        self._last_id = 100
        self._over = False
        self._connections: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._over = True
        for heard in self.heard.values():
            if heard.waiting is not None and not heard.waiting.done():
                heard.waiting.set_result("")
        await asyncio.sleep(0.001)  # those that waited get their turn before their loop may end
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

    # what readers do

    def push(self, update: dict[str, Any], *, token: str | None = None) -> int:
        """Let a bot hear something; the number of the update."""
        heard = self.heard[token or self.token]
        heard.last_id += 1
        heard.updates.append({"update_id": heard.last_id, **update})
        if heard.waiting is not None and not heard.waiting.done():
            heard.waiting.set_result("")
        return heard.last_id

    def write(self, chat_id: int, text: str, *, user_id: int = 0, token: str | None = None) -> int:
        """Somebody writes; a command is marked as one."""
        self._last_id += 1
        message = _message(Message(chat_id, self._last_id, [text]))
        message["from"] = _reader(user_id or abs(chat_id))
        if text.startswith("/"):
            length = len(text.split(maxsplit=1)[0])
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        return self.push({"message": message}, token=token)

    def press(
        self, chat_id: int, message_id: int, data: str, *, user_id: int = 0, token: str | None = None
    ) -> str:
        """Somebody presses a button; the id of the query."""
        self._last_id += 1
        message = self.chats[chat_id].get(message_id) or Message(chat_id, message_id, [""])
        query = {
            "id": str(self._last_id),
            "from": _reader(user_id or abs(chat_id)),
            "message": _message(message),
            "chat_instance": str(chat_id),
            "data": data,
        }
        self.push({"callback_query": query}, token=token)
        return str(self._last_id)

    def member(self, chat_id: int, status: str, *, token: str | None = None) -> int:
        """The bot becomes something in a chat: member, kicked, left."""
        bot = {"id": 123456789, "is_bot": True, "first_name": "Stand-in", "username": "stand_in_bot"}
        more = {"until_date": 0} if status == "kicked" else {}
        change = {
            "chat": _message(Message(chat_id, 0, [""]))["chat"],
            "from": _reader(abs(chat_id)),
            "date": 1_700_000_000,
            "old_chat_member": {"user": bot, "status": "left" if status == "member" else "member"},
            "new_chat_member": {"user": bot, "status": status, **more},
        }
        return self.push({"my_chat_member": change}, token=token)

    async def answered(
        self, query_id: str, within: float = 5.0, *, token: str | None = None
    ) -> dict[str, Any]:
        """What a press was told."""
        async with asyncio.timeout(within):
            while query_id not in self.heard[token or self.token].answered:
                self.arrived.clear()
                await self.arrived.wait()
        return self.heard[token or self.token].answered[query_id]

    async def waited(self, within: float = 5.0, *, token: str | None = None) -> None:
        """Until somebody waits for what the bot hears."""
        heard = self.heard[token or self.token]
        async with asyncio.timeout(within):
            while heard.waiting is None or heard.waiting.done():
                await asyncio.sleep(0.002)  # polled, because nothing announces it

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
        (self.asked if method in LISTENING else self.requests).append(request)
        self.arrived.set()
        if bot != f"bot{self.token}":
            return _error(401, "Unauthorized")
        if method in LISTENING:
            return await self._listen(request)
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

    async def _listen(self, request: Request) -> tuple[int, dict[str, Any]]:
        fault = BotApiServer.fault_of(self, request)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            return _error(fault.status, fault.description, fault.parameters) if fault.status else (0, {})
        heard, fields = self.heard[request.bot], request.fields
        match request.method:
            case "getUpdates":
                return await self._updates(heard, fields)
            case "setWebhook":
                heard.webhook = fields if fields.get("url") else {}
            case "deleteWebhook":
                heard.webhook = {}
            case "getWebhookInfo":
                told = {"url": heard.webhook.get("url", ""), "has_custom_certificate": False}
                return _ok(told | {"pending_update_count": len(heard.updates)})
            case "setMyCommands":
                return self._commands(heard, fields)
            case _:
                heard.answered[str(fields["callback_query_id"])] = fields
                self.arrived.set()
        return _ok(True)

    def _commands(self, heard: Heard, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        told = fields["commands"]
        commands = json.loads(told) if isinstance(told, str) else told
        for one in commands:
            if not re.fullmatch("[a-z0-9_]{1,32}", one["command"]) or not 1 <= len(one["description"]) <= 256:
                return _error(400, "Bad Request: BOT_COMMAND_INVALID")
        heard.commands[fields.get("language_code", "")] = commands
        return _ok(True)

    async def _updates(self, heard: Heard, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Whoever comes later is served, whoever waited is told so; as Telegram does."""
        if heard.webhook:
            return _error(409, OTHER_WEBHOOK)
        if heard.waiting is not None and not heard.waiting.done():
            heard.waiting.set_result(OTHER_POLLER)
        offset = int(fields.get("offset", 0))
        heard.updates = [update for update in heard.updates if update["update_id"] >= offset]
        if not heard.updates and not self._over:
            mine = heard.waiting = asyncio.get_running_loop().create_future()
            await asyncio.wait([mine], timeout=float(fields.get("timeout", 0)))
            if mine.done() and mine.result():
                return _error(409, mine.result())
        allowed = fields.get("allowed_updates") or []
        allowed = json.loads(allowed) if isinstance(allowed, str) else allowed
        told = heard.updates[: int(fields.get("limit", 100))]
        return _ok([update for update in told if not allowed or allowed_kind(update, allowed)])

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
        if wrong := wrong_markup(_markup(fields)):
            return _error(400, f"Bad Request: {wrong}")
        self._last_id += 1
        silent = str(fields.get("disable_notification", "")).lower() == "true"
        now = asyncio.get_running_loop().time()
        message = Message(int(fields["chat_id"]), self._last_id, [fields["text"]], silent=silent, times=[now])
        message.markup = _markup(fields)
        self.chats[message.chat_id][message.message_id] = message
        return _ok(_message(message))

    def _edit(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        message = self.chats[int(fields["chat_id"])].get(int(fields["message_id"]))
        if message is None or message.deleted:
            return _error(400, "Bad Request: message to edit not found")
        if wrong := _wrong_html(fields):
            return _error(400, f"Bad Request: can't parse entities: {wrong}")
        markup = _markup(fields)
        if wrong := wrong_markup(markup):
            return _error(400, f"Bad Request: {wrong}")
        if message.text == fields["text"] and message.markup == markup:
            return _error(NOT_MODIFIED.status, NOT_MODIFIED.description)
        message.markup = markup
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


def allowed_kind(update: dict[str, Any], allowed: list[str]) -> bool:
    return any(kind in update for kind in allowed)


def _reader(user_id: int) -> dict[str, Any]:
    return {"id": user_id, "is_bot": False, "first_name": "Reader", "language_code": "ru"}


def _markup(fields: dict[str, Any]) -> Any:
    """The rows of an inline keyboard, None for none."""
    told = fields.get("reply_markup")
    keyboard = json.loads(told) if isinstance(told, str) else told
    return (keyboard or {}).get("inline_keyboard") or None


def wrong_markup(rows: Any) -> str:
    """What Telegram would say of these rows, "" where it takes them."""
    for button in (button for row in rows or [] for button in row):
        if not button.get("text"):
            return "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
        url, data = button.get("url"), button.get("callback_data")
        if (url is None) == (data is None):
            return "can't parse inline keyboard button: exactly one optional field must be used"
        if data is not None and not 1 <= len(data.encode()) <= 64:
            return "BUTTON_DATA_INVALID"
        if url is not None and not re.fullmatch(r"(https?|tg)://[\w-]+(\.[\w-]+)*(:\d+)?(/[^\s]*)?", url):
            return f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL"
    return ""


def _message(message: Message) -> dict[str, Any]:
    chat = {"id": message.chat_id, "type": "group" if message.chat_id < 0 else "private"}
    chat |= {"title": "Group"} if message.chat_id < 0 else {"first_name": "Reader"}
    markup = {"reply_markup": {"inline_keyboard": message.markup}} if message.markup else {}
    return markup | {
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
