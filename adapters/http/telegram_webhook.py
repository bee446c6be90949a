"""Where Telegram sends updates, if it was told to (setting TELEGRAM_WEBHOOK)."""

from typing import Any, Final, Protocol

import msgspec
import structlog
from litestar import Request, Router, post

from adapters.bot.listening import NotListeningError
from adapters.http.admin_token import same_token
from adapters.http.problems import Problem
from adapters.secret import Secret
from adapters.telegram.updates import Update, read_update

log = structlog.get_logger(__name__)

HEADER: Final = "x-telegram-bot-api-secret-token"


class Hears(Protocol):
    """Where updates go (adapters.bot.listening.Listening)."""

    def secret(self, key: str) -> Secret | None:
        """What an update of this bot has to carry; None for a bot that is told none."""
        ...

    async def take(self, key: str, update: Update) -> None:
        """Take one; raises NotListeningError where another instance leads."""
        ...


def webhook_route(hears: Hears) -> Router:
    """``POST /telegram/{bot key}``: 403 without the secret, 503 where Telegram should come again."""

    @post("/telegram/{key:str}", status_code=200)
    async def telegram_update(request: Request[Any, Any, Any]) -> dict[str, bool]:
        key = str(request.path_params["key"])
        secret = hears.secret(key)
        # an unknown bot is refused like a wrong secret: nobody learns which bots there are
        if not same_token(request.headers.get(HEADER, ""), secret.reveal() if secret else ""):
            raise Problem(403, "this is not the secret that the bot's webhook was set with")
        try:
            update = read_update(await request.body())
        except msgspec.DecodeError:
            # an error would only bring it again
            log.warning("something that is no update came by a webhook")
            return {"ok": True}
        try:
            await hears.take(key, update)
        except NotListeningError:
            raise Problem(503, "another instance hears updates", {"retry-after": "1"}) from None
        return {"ok": True}

    return Router("/", route_handlers=[telegram_update], include_in_schema=False)
