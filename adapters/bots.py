"""Which bot speaks for each enterprise, and listens: a real one, or the built-in preview."""

import os
from collections.abc import Mapping

import httpx
import structlog

from adapters.bot.listening import Listener, Listening
from adapters.directory.apply import SecretEntry
from adapters.directory.bots import PREVIEW, BotSource, BotTokenMissingError
from adapters.preview.botapi import PreviewBotApi
from adapters.secret import Secret
from adapters.telegram.api import BotApi
from adapters.telegram.clients import Clients
from adapters.telegram.outbox import Outbox

log = structlog.get_logger(__name__)


class Bots:
    """Gives the outbox a bot for every enterprise, anew whenever a secret changes, and lets each bot listen.

    ``mouths`` speak, ``ears`` ask for updates (each bot keeps a connection), ``inside`` does both in the preview.
    """

    def __init__(
        self,
        outbox: Outbox,
        preview: PreviewBotApi,
        telegram_api: str,
        mouths: Clients,
        inside: httpx.AsyncClient,
        listening: Listening,
        ears: Clients,
    ) -> None:
        self._outbox, self._preview, self._base = outbox, preview, telegram_api
        self._mouths, self._inside = mouths, inside
        self._listening, self._ears = listening, ears
        self._known: dict[str, tuple[BotSource, str]] = {}

    def previewed(self, enterprise: str) -> bool:
        """True where the built-in preview speaks for the enterprise: its readers are on this machine."""
        known = self._known.get(enterprise)
        return known is not None and known[1] == PREVIEW

    def bot(self, enterprise: str) -> BotApi | None:
        """The bot of an enterprise; None where it has none that can speak."""
        known = self._known.get(enterprise)
        return None if known is None else self._bot(enterprise, known[1], self._mouths)

    def replace(self, secrets: Mapping[str, SecretEntry]) -> None:
        """Make the outbox speak by these bots; a bot whose token cannot be read is reported and silent.

        One that Telegram has refused is tried anew, also with the same token.
        """
        for number in self._known.keys() - secrets.keys():
            self._outbox.set_bot(number, None)
            del self._known[number]
        for number, entry in secrets.items():
            try:
                token = entry.bot.read(os.environ)
            except BotTokenMissingError as error:
                log.error("a bot cannot speak", enterprise=number, reason=str(error))  # noqa: TRY400 - the reason says all
                self._outbox.set_bot(number, None, awaited=True)
                self._known.pop(number, None)
                continue
            if self._known.get(number) == (entry.bot, token) and not self._outbox.bot_off(number):
                continue
            self._known[number] = (entry.bot, token)
            self._outbox.set_bot(number, self._bot(number, token, self._mouths))
        self._listening.replace(self._listeners())

    def _bot(self, number: str, token: str, clients: Clients) -> BotApi:
        if token == PREVIEW:
            return self._preview.bot(number, self._inside)
        return BotApi(Secret(token), self._base, clients.of(token))

    def _listeners(self) -> dict[str, Listener]:
        """Each bot once, for all enterprises that it speaks for."""
        found: dict[str, Listener] = {}
        for number, (_, token) in sorted(self._known.items()):
            bot = self._bot(number, token, self._ears)
            before = found[bot.key].enterprises if bot.key in found else ()
            found[bot.key] = Listener(bot, (*before, number), polled=token != PREVIEW)
        return found
