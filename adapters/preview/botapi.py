"""The Bot API stand-in of the preview: a plain ASGI application that answers as Telegram does.

Its tokens are ``{enterprise}:{secret of this process}``, so nobody else can write into the preview.
"""

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import httpx
import msgspec

from adapters.postgres.errors import SERVER_TROUBLE
from adapters.preview.entities import LONGEST, CantParseError, Parsed, from_html, from_plain, utf16
from adapters.preview.store import PreviewMessage, PreviewStore, Rows
from adapters.secret import Secret
from adapters.telegram.api import BotApi

_logger: Final = logging.getLogger(__name__)

_BODY_LIMIT: Final = 64 * 1024
_LONGEST_DATA: Final = 64
_TOLD: Final = 100
"""Presses whose answers are kept."""
_BASE: Final = "http://preview.invalid"
_SAME: Final = (
    "message is not modified: specified new message content and reply markup are exactly the same as "
    "a current content and reply markup of the message"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Button(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str = ""
    url: str = ""
    callback_data: str = ""


class _Keyboard(msgspec.Struct, frozen=True):
    inline_keyboard: tuple[tuple[_Button, ...], ...] = ()


class _Refused(Exception):
    """An answer with ``ok: false``."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


def _bad(description: str) -> _Refused:
    return _Refused(400, f"Bad Request: {description}")


class PreviewBotApi:
    """ASGI: ``/bot{token}/{method}`` for getMe, sendMessage, editMessageText, deleteMessage, and for listening.

    ``disable_notification`` is taken and does nothing: here no message makes a sound. Updates are not asked for:
    the page tells them at once (``hear`` of adapters.preview.page).
    """

    def __init__(self, store: PreviewStore, secret: Secret) -> None:
        self._store = store
        self._secret = secret
        self._methods: dict[str, Callable[[str, dict[str, Any]], Awaitable[Any]]] = {
            "getme": self._get_me,
            "getupdates": self._get_updates,
            "sendmessage": self._send_message,
            "editmessagetext": self._edit_message_text,
            "deletemessage": self._delete_message,
            "answercallbackquery": self._answer_callback_query,
            "setmycommands": self._done,
            "setwebhook": self._done,
            "deletewebhook": self._done,
            "getwebhookinfo": self._get_webhook_info,
        }
        self._told: OrderedDict[str, str] = OrderedDict()

    def token(self, enterprise: str) -> Secret:
        """The token with which an enterprise's bot speaks here."""
        return Secret(f"{enterprise}:{self._secret.reveal()}")

    def client(self) -> httpx.AsyncClient:
        """A client that reaches this application without a socket; to be closed by whoever asked for it."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self, raise_app_exceptions=False))

    def bot(self, enterprise: str, client: httpx.AsyncClient) -> BotApi:
        """The bot of an enterprise whose bot_token is the word ``preview``; ``client``: of ``client()``."""
        return BotApi(self.token(enterprise), _BASE, client)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            result = await self._answer(scope, receive)
            status, answer = 200, {"ok": True, "result": result}
        except _Refused as refused:
            status = refused.status
            answer = {"ok": False, "error_code": status, "description": refused.description}
        except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
            _logger.warning("the preview has no store: %s", error)
            status, answer = 500, {"ok": False, "error_code": 500, "description": "Internal Server Error"}
        body = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Any:
        bot, _, name = str(scope["path"]).rpartition("/bot")[2].partition("/")
        method = self._methods.get(name.lower())
        enterprise, _, secret = bot.partition(":")
        if not enterprise.isdecimal():
            raise _Refused(404, "Not Found")
        if not hmac.compare_digest(secret.encode(), self._secret.reveal().encode()):
            raise _Refused(401, "Unauthorized")
        if method is None:
            raise _Refused(404, "Not Found")
        return await method(enterprise, _fields(scope, await _body(receive)))

    async def _get_me(self, enterprise: str, _: dict[str, Any]) -> Any:
        return {
            "id": int(enterprise),
            "is_bot": True,
            "first_name": f"Preview {enterprise}",
            "username": f"preview_{enterprise}_bot",
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }

    async def _get_updates(self, _enterprise: str, _: dict[str, Any]) -> Any:
        return []

    async def _done(self, _enterprise: str, _: dict[str, Any]) -> Any:
        return True

    async def _get_webhook_info(self, _enterprise: str, _: dict[str, Any]) -> Any:
        return {"url": "", "has_custom_certificate": False, "pending_update_count": 0}

    async def _answer_callback_query(self, _enterprise: str, fields: dict[str, Any]) -> Any:
        self._told[str(fields.get("callback_query_id"))] = str(fields.get("text") or "")
        if len(self._told) > _TOLD:
            self._told.popitem(last=False)
        return True

    def told(self, query_id: str) -> str:
        """What a press was told, "" for nothing (yet); forgotten then."""
        return self._told.pop(query_id, "")

    async def _send_message(self, enterprise: str, fields: dict[str, Any]) -> Any:
        chat_id = _chat(fields)
        parsed = _parsed(fields, "message is too long")
        return _shape(await self._store.add(enterprise, chat_id, parsed.html, _markup(fields)), parsed)

    async def _edit_message_text(self, enterprise: str, fields: dict[str, Any]) -> Any:
        chat_id = _chat(fields)
        message = await self._store.get(
            enterprise, chat_id, _number(fields, "message_id", "message identifier is not specified")
        )
        if message is None:
            raise _bad("message to edit not found")
        parsed = _parsed(fields, "MESSAGE_TOO_LONG")
        markup = _markup(fields)
        if parsed.html == message.text and markup == message.markup:
            raise _bad(_SAME)
        edited = await self._store.edit(message, parsed.html, markup)
        if edited is None:
            raise _bad("message to edit not found")
        return _shape(edited, parsed)

    async def _delete_message(self, enterprise: str, fields: dict[str, Any]) -> Any:
        message_id = _number(fields, "message_id", "message identifier is not specified")
        if not await self._store.delete(enterprise, _chat(fields), message_id):
            raise _bad("message to delete not found")
        return True


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    async with asyncio.timeout(5):
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > _BODY_LIMIT:
                raise _Refused(413, "Request Entity Too Large")
    return body


def _fields(scope: Scope, body: bytes) -> dict[str, Any]:
    """Fields of the query and of a JSON or urlencoded body, as the Bot API takes them."""
    fields: dict[str, Any] = dict(parse_qsl(scope.get("query_string", b"").decode("utf-8", "replace")))
    kind = next((value for name, value in scope["headers"] if name.lower() == b"content-type"), b"")
    try:
        if b"json" in kind:
            fields |= msgspec.json.decode(body or b"{}", type=dict[str, Any])
        else:
            fields |= parse_qsl(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _bad("can't parse the request's body") from None
    return fields


def _number(fields: dict[str, Any], name: str, missing: str) -> int:
    try:
        return int(fields[name])
    except (KeyError, TypeError, ValueError):
        raise _bad(missing) from None


def _chat(fields: dict[str, Any]) -> int:
    if fields.get("chat_id") in {None, ""}:
        raise _bad("chat_id is empty")
    return _number(fields, "chat_id", "chat not found")


def _parsed(fields: dict[str, Any], too_long: str) -> Parsed:
    text = str(fields.get("text") or "")
    try:
        match str(fields.get("parse_mode") or "").lower():
            case "":
                parsed = from_plain(text)
            case "html":
                parsed = from_html(text)
            case _:
                raise _bad("unsupported parse_mode")
    except CantParseError as error:
        raise _bad(f"can't parse entities: {error}") from None
    if not parsed.text:
        raise _bad("message text is empty")
    if utf16(parsed.text) > LONGEST:
        raise _bad(too_long)
    return parsed


def _markup(fields: dict[str, Any]) -> Rows:
    """The inline keyboard of a message; its buttons open a page or tell the bot something."""
    given = fields.get("reply_markup") or {}
    try:
        told = msgspec.json.decode(given) if isinstance(given, str) else given
        keyboard = msgspec.convert(told, _Keyboard).inline_keyboard
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise _bad("can't parse inline keyboard") from None
    for button in (button for row in keyboard for button in row):
        _check(button)
    return tuple(tuple(msgspec.to_builtins(button) for button in row) for row in keyboard)


def _check(button: _Button) -> None:
    if not button.text:
        raise _bad("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    if bool(button.url) == bool(button.callback_data):
        raise _bad("can't parse inline keyboard button: exactly one optional field must be used")
    if len(button.callback_data.encode()) > _LONGEST_DATA:
        raise _bad("BUTTON_DATA_INVALID")
    if button.url and urlsplit(button.url).scheme not in {"http", "https"}:
        raise _bad(f"inline keyboard button URL '{button.url}' is invalid: Wrong HTTP URL")


def _shape(message: PreviewMessage, parsed: Parsed) -> dict[str, Any]:
    """A Message of the Bot API."""
    group = message.chat_id < 0
    shaped: dict[str, Any] = {
        "message_id": message.message_id,
        "from": {
            "id": int(message.enterprise),
            "is_bot": True,
            "first_name": f"Preview {message.enterprise}",
            "username": f"preview_{message.enterprise}_bot",
        },
        "chat": {"id": message.chat_id} | ({"type": "group", "title": "Preview"} if group else _PRIVATE),
        "date": int(message.sent_at.timestamp()),
        "text": parsed.text,
    }
    if message.edited_at is not None:
        shaped["edit_date"] = int(message.edited_at.timestamp())
    if message.markup:
        shaped["reply_markup"] = {"inline_keyboard": message.markup}
    if parsed.entities:
        shaped["entities"] = parsed.entities
    return shaped


_PRIVATE: Final = {"type": "private", "first_name": "Preview"}
