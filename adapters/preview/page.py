"""The page of the preview: the chats as their subscribers would see them, live; they may write and press buttons."""

import html
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from jinja2 import Environment, FileSystemLoader
from litestar import MediaType, Request, Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from litestar.response import ServerSentEvent, ServerSentEventMessage

from adapters.http.problems import Problem
from adapters.preview.store import PreviewChat, PreviewMessage, PreviewStore
from adapters.telegram.updates import CallbackQuery, Chat, Message, Update, User

# A stream ends now and then, so that a page whose session is over notices; the browser comes back by itself.
STREAM_SECONDS: Final = 600.0
HEARTBEAT_SECONDS: Final = 15.0
_STEP_SECONDS: Final = 0.5
_LONGEST_SAID: Final = 4096

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, auto_reload=False
)


class Bots(Protocol):
    """The bots of the preview, as its readers talk to them."""

    def previews(self) -> tuple[str, ...]:
        """Numbers of the enterprises whose bot is the preview."""
        ...

    async def hear(self, enterprise: str, update: Update) -> bool:
        """Let a bot hear something; returns when it was handled. False where nobody listens right now."""
        ...

    def told(self, query_id: str) -> str:
        """What a press was told, "" for nothing."""
        ...


class Said(msgspec.Struct, frozen=True):
    """What a reader writes in a chat."""

    chat_id: int
    text: str


class Pressed(msgspec.Struct, frozen=True):
    """A button below a message, by what it carries."""

    chat_id: int
    message_id: int
    data: str


def _talking(store: PreviewStore, bots: Bots) -> list[HTTPRouteHandler]:
    @post("/say", status_code=200)
    async def preview_say(data: JSONBody[Said]) -> dict[str, bool]:
        text = data.text.strip()[:_LONGEST_SAID]
        known = {chat.chat_id: chat.enterprises for chat in await store.chats()}
        numbers = [one for one in known.get(data.chat_id, bots.previews()) if one in bots.previews()]
        if not text or not data.chat_id or not numbers:
            raise Problem(400, "a chat_id, a text, and an enterprise whose bot is the preview are needed")
        shown = html.escape(text, quote=False)
        for number in numbers:
            own = await store.add(number, data.chat_id, shown, own=True)
            sender = User(abs(data.chat_id))
            message = Message(own.message_id, Chat(data.chat_id), sender, text)
            await _heard(bots, number, Update(own.message_id, message=message))
        return {"ok": True}

    @post("/press", status_code=200)
    async def preview_press(data: JSONBody[Pressed]) -> dict[str, str]:
        messages = await store.messages(data.chat_id)
        found = next((one for one in messages if one.message_id == data.message_id), None)
        if found is None:
            raise Problem(404, f"chat {data.chat_id} has no message {data.message_id}")
        query_id = secrets.token_hex(8)
        message = Message(found.message_id, Chat(data.chat_id))
        query = CallbackQuery(query_id, User(abs(data.chat_id)), message, data.data)
        await _heard(bots, found.enterprise, Update(0, callback_query=query))
        return {"text": bots.told(query_id)}

    return [preview_say, preview_press]


async def _heard(bots: Bots, enterprise: str, update: Update) -> None:
    if not await bots.hear(enterprise, update):
        raise Problem(503, "another instance listens", {"retry-after": "1"})


def preview_routes(
    store: PreviewStore, bots: Bots, *, monotonic: Callable[[], float], path: str = "/preview"
) -> Router:
    """The page, its chats and messages as JSON, its stream of changes, and what readers do.

    Who may see and do it is decided outside.
    """

    @get("/", media_type=MediaType.HTML)
    async def preview_page() -> Response[str]:
        nonce = secrets.token_urlsafe(16)
        text = _templates.get_template("preview.html").render(nonce=nonce, path=path)
        return Response(
            text,
            media_type=MediaType.HTML,
            headers={
                # the texts come from outside: should one slip through as markup, it still runs nothing
                "Content-Security-Policy": (
                    f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
                    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                ),
                "Cache-Control": "no-store",
            },
        )

    @get("/chats")
    async def preview_chats() -> list[PreviewChat]:
        return await store.chats()

    @get("/messages/{chat_id:int}")
    async def preview_messages(request: Request[Any, Any, Any]) -> list[PreviewMessage]:
        return await store.messages(int(request.path_params["chat_id"]))

    @get("/stream")
    async def preview_stream() -> ServerSentEvent:
        return ServerSentEvent(_changes(store, monotonic), headers={"Cache-Control": "no-store"})

    shown: list[HTTPRouteHandler] = [preview_page, preview_chats, preview_messages, preview_stream]
    return Router(path, route_handlers=[*shown, *_talking(store, bots)])


async def _changes(store: PreviewStore, monotonic: Callable[[], float]) -> AsyncIterator[Any]:
    """Every change as a ``message`` event; ``again`` where some were lost and the page must ask anew."""
    end = monotonic() + STREAM_SECONDS
    with store.watch() as watch:
        yield ServerSentEventMessage(event="again", data="all", retry=1000)
        beat = monotonic()
        while not watch.over and monotonic() < end:
            message = await watch.next(_STEP_SECONDS)
            if watch.missed:
                watch.missed = False
                yield ServerSentEventMessage(event="again", data="all")
            elif message is not None:
                yield ServerSentEventMessage(event="message", data=msgspec.json.encode(message).decode())
            elif monotonic() - beat < HEARTBEAT_SECONDS:
                continue
            else:
                yield ServerSentEventMessage(comment="alive")
            beat = monotonic()
