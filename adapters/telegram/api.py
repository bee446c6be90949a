"""The Bot API over HTTP: the few methods callfold needs, and every failure as one of ``errors``.

The token is part of the address. It leaves this module in requests only: no exception, log line or repr
has it.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar

import httpx
import msgspec

from adapters.secret import Secret
from adapters.telegram.errors import (
    Ambiguous,
    Parameters,
    TelegramError,
    Unreachable,
    error_of_answer,
    error_of_stranger,
)
from adapters.telegram.updates import HEARD, Update, read_update, readable
from otel.redaction import redact_text

# Connect and wait for a free connection 3 s, each read 10 s; all of it never more than TOTAL seconds.
TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0, pool=3.0)
TOTAL: Final = 15.0
LEAVING: Final = "http11.send_request_body.started"
"""What httpcore tells when the connection is there, the head is written, and the body is about to be."""
Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]
POLL: Final = 25
"""Seconds for which Telegram keeps a question for updates open while there are none."""

_T = TypeVar("_T")

_TOKEN: Final = re.compile(r"[0-9A-Za-z:_-]+")
_NO_PARAMETERS: Final = Parameters()
_logger: Final = logging.getLogger(__name__)


class _Answer(msgspec.Struct):
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error_code: int | None = None
    description: str = ""
    parameters: Parameters = _NO_PARAMETERS


class SentMessage(msgspec.Struct, frozen=True):
    """What callfold reads of a Message."""

    message_id: int


class BotUser(msgspec.Struct, frozen=True):
    """What callfold reads of the User that getMe answers."""

    id: int
    username: str = ""


class WebhookInfo(msgspec.Struct, frozen=True):
    """What callfold reads of a WebhookInfo; ``url`` is "" where none is set."""

    url: str = ""
    pending_update_count: int = 0
    last_error_message: str = ""


class BotCommand(msgspec.Struct, frozen=True):
    """A command as chats list it, without the slash."""

    command: str
    description: str


class Button(msgspec.Struct, frozen=True, omit_defaults=True):
    """A button below a message: opens ``url``, or tells the bot ``callback_data`` (1 to 64 bytes)."""

    text: str
    url: str = ""
    callback_data: str = ""


Markup = tuple[tuple[Button, ...], ...]
"""The buttons below a message, row by row (InlineKeyboardMarkup)."""


class _Redaction(logging.Filter):
    """httpx writes the address of each request at INFO."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact_text(record.getMessage())
        record.args = ()
        return True


_REDACTION: Final = _Redaction()


def http_client() -> httpx.AsyncClient:
    """A client for a few bots, with keep-alive; to be closed by whoever asked for it (for many: clients.Clients)."""
    return httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


class BotApi:
    """One bot. ``base_url`` as TELEGRAM_API; the client is shared and stays open.

    ``key`` is equal for equal tokens and tells nothing of them, ``account`` is equal for equal bots, whose limits are
    Telegram's whatever tokens they have or had. Raises ValueError for a token that cannot
    stand in an address. Every method raises TelegramError and nothing else.
    """

    def __init__(
        self,
        token: Secret | str,
        base_url: str,
        client: httpx.AsyncClient,
        *,
        total: float = TOTAL,
        trace: Trace | None = None,
    ) -> None:
        self._token = token if isinstance(token, Secret) else Secret(token)
        if not _TOKEN.fullmatch(self._token.reveal()):
            raise ValueError("a bot token consists of digits, a colon, and letters, digits, _ or -")
        self._base = base_url.rstrip("/")
        self._client = client
        self._total = total
        self._extensions = {"trace": trace} if trace else {}
        self.key = blake2b(f"{self._base}/{self._token.reveal()}".encode(), digest_size=8).hexdigest()
        self.account = f"{self._base}/{self._token.reveal().partition(':')[0]}"
        logging.getLogger("httpx").addFilter(_REDACTION)

    def __repr__(self) -> str:
        return f"BotApi({self.key})"

    def paced(self, go: Callable[[], Awaitable[None]]) -> "BotApi":
        """The same bot, each of whose requests waits for ``go`` once it has a connection and could leave."""

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            if event == LEAVING:
                await go()

        return BotApi(self._token, self._base, self._client, total=self._total, trace=trace)

    async def send_message(
        self,
        chat_id: int,
        text: str,
        *,
        html: bool = True,
        silent: bool = False,
        markup: Markup | None = None,
        reply_to: int | None = None,
    ) -> SentMessage:
        """Send a message without link preview (sendMessage); ``html`` or plain, with a sound or ``silent``.

        ``reply_to``: message of the same chat, which may be gone.
        """
        fields = {"chat_id": chat_id, **_content(text, html, markup)}
        if reply_to is not None:
            fields["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
        if silent:
            fields["disable_notification"] = True
        return await self._call("sendMessage", fields, SentMessage)

    async def edit_message_text(
        self, chat_id: int, message_id: int, text: str, *, html: bool = True, markup: Markup | None = None
    ) -> None:
        """Let a message show another text and these buttons, or none. Raises NotModified where it does already."""
        fields = {"chat_id": chat_id, "message_id": message_id, **_content(text, html, markup)}
        await self._call("editMessageText", fields, msgspec.Raw)

    async def delete_message(self, chat_id: int, message_id: int) -> None:
        """Take a message back. Raises MessageGone where it is gone already, MessageLocked where it stays."""
        await self._call("deleteMessage", {"chat_id": chat_id, "message_id": message_id}, msgspec.Raw)

    async def get_me(self) -> BotUser:
        """Who the bot is (getMe): the cheapest check of its token."""
        return await self._call("getMe", {}, BotUser)

    async def get_updates(self, offset: int, *, wait: int = POLL) -> list[Update]:
        """What was heard from update ``offset`` on (getUpdates); those before it are done with.

        Waits up to ``wait`` seconds for the first. Raises Conflict where somebody else asks, or a webhook is set.
        What cannot be read at all is stepped over, which the log says.
        """
        fields = {"offset": offset, "timeout": wait, "allowed_updates": HEARD}
        found = await self._call("getUpdates", fields, list[msgspec.Raw], patience=float(wait))
        updates = []
        for raw in found:
            try:
                updates.append(read_update(raw))
            except msgspec.DecodeError as error:
                _logger.warning("something that is no update was heard and is left: %s", error)
        return updates

    async def set_webhook(self, url: str, secret: Secret) -> None:
        """Have updates sent to ``url``, each with ``secret`` in a header (setWebhook)."""
        fields = {"url": url, "secret_token": secret.reveal(), "allowed_updates": HEARD}
        await self._call("setWebhook", fields, bool)

    async def delete_webhook(self) -> None:
        """Have updates kept until they are asked for (deleteWebhook)."""
        await self._call("deleteWebhook", {}, bool)

    async def get_webhook_info(self) -> WebhookInfo:
        """Where updates are sent to (getWebhookInfo)."""
        return await self._call("getWebhookInfo", {}, WebhookInfo)

    async def set_my_commands(self, commands: Sequence[BotCommand], language_code: str = "") -> None:
        """What chats list as the bot's commands, for readers of a language, or for all others (setMyCommands)."""
        fields: dict[str, Any] = {"commands": commands}
        if language_code:
            fields["language_code"] = language_code
        await self._call("setMyCommands", fields, bool)

    async def answer_callback_query(self, query_id: str, text: str = "", *, alert: bool = False) -> None:
        """End the waiting of a pressed button; ``text`` (200 characters) is shown, briefly or as an ``alert``."""
        fields = {"callback_query_id": query_id, "text": text[:200], "show_alert": alert}
        await self._call("answerCallbackQuery", fields, msgspec.Raw)

    async def _call(
        self, method: str, fields: dict[str, Any], result: type[_T], *, patience: float = 0.0
    ) -> _T:
        answer = await self._request(method, fields, patience)
        if isinstance(answer, TelegramError):
            # raised here, not where it was caught: httpx's exception knows the address and would hang on it
            raise answer
        return _result(method, answer, result)

    async def _request(
        self, method: str, fields: dict[str, Any], patience: float
    ) -> httpx.Response | TelegramError:
        """``patience``: seconds for which no answer is no trouble, beside the usual."""
        try:
            async with asyncio.timeout(self._total + patience):
                return await self._client.post(
                    f"{self._base}/bot{self._token.reveal()}/{method}",
                    content=msgspec.json.encode(fields),
                    headers={"Content-Type": "application/json"},
                    timeout=_patient(patience) if patience else TIMEOUT,
                    extensions=self._extensions,
                )
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
        ) as error:
            return Unreachable(method, type(error).__name__)
        except (httpx.HTTPError, TimeoutError) as error:
            return Ambiguous(method, type(error).__name__)


def _patient(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(
        TIMEOUT.read + seconds if TIMEOUT.read else None, connect=TIMEOUT.connect, pool=TIMEOUT.pool
    )


def _content(text: str, html: bool, markup: Markup | None) -> dict[str, Any]:
    # a lone surrogate (a host may send one) has no UTF-8, and Telegram would not take it
    fields: dict[str, Any] = {
        "text": text.encode("utf-8", "replace").decode(),
        "link_preview_options": {"is_disabled": True},
    }
    if html:
        fields["parse_mode"] = "HTML"
    if markup:
        fields["reply_markup"] = {"inline_keyboard": markup}
    return fields


def _answer(content: bytes) -> _Answer | None:
    """An answer of the Bot API, also where a text in it is none; None for one that is of somebody else."""
    try:
        return msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = readable(content)
    try:
        return msgspec.json.decode(told, type=_Answer)
    except msgspec.DecodeError:
        return None


def _result(method: str, response: httpx.Response, result: type[_T]) -> _T:
    answer = _answer(response.content)
    if answer is None:
        if response.is_success:
            raise Ambiguous(method, "an answer that is none of the Bot API")
        raise error_of_stranger(method, response.status_code, response.reason_phrase)
    if not answer.ok:
        status = answer.error_code or response.status_code
        raise error_of_answer(method, status, redact_text(answer.description), answer.parameters)
    try:
        return msgspec.json.decode(answer.result, type=result)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Ambiguous(method, "an answer of another shape") from None
