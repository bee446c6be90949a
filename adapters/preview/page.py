"""The page of the preview: the chats as their subscribers would see them, live."""

import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader
from litestar import MediaType, Request, Response, Router, get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from adapters.preview.store import PreviewChat, PreviewMessage, PreviewStore

# A stream ends now and then, so that a page whose session is over notices; the browser comes back by itself.
STREAM_SECONDS: Final = 600.0
HEARTBEAT_SECONDS: Final = 15.0
_STEP_SECONDS: Final = 0.5

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, auto_reload=False
)


def preview_routes(store: PreviewStore, *, monotonic: Callable[[], float], path: str = "/preview") -> Router:
    """The page, its chats and messages as JSON, and its stream of changes. Who may see them is decided outside."""

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

    return Router(path, route_handlers=[preview_page, preview_chats, preview_messages, preview_stream])


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
