"""Which bot speaks for each enterprise: a real one, or the built-in preview."""

import os
from collections.abc import Mapping

import httpx
import structlog

from adapters.directory.apply import SecretEntry
from adapters.directory.bots import PREVIEW, BotSource, BotTokenMissingError
from adapters.preview.botapi import PreviewBotApi
from adapters.secret import Secret
from adapters.telegram.api import BotApi
from adapters.telegram.outbox import Outbox

log = structlog.get_logger(__name__)


class Bots:
    """Gives the outbox a bot for every enterprise, anew whenever a secret changes."""

    def __init__(
        self,
        outbox: Outbox,
        preview: PreviewBotApi,
        telegram_api: str,
        client: httpx.AsyncClient,
        inside: httpx.AsyncClient,
    ) -> None:
        self._outbox, self._preview, self._base = outbox, preview, telegram_api
        self._client, self._inside = client, inside
        self._known: dict[str, tuple[BotSource, str]] = {}

    def replace(self, secrets: Mapping[str, SecretEntry]) -> None:
        """Make the outbox speak by these bots; a bot whose token cannot be read is reported and silent."""
        for number in self._known.keys() - secrets.keys():
            self._outbox.set_bot(number, None)
            del self._known[number]
        for number, entry in secrets.items():
            try:
                token = entry.bot.read(os.environ)
            except BotTokenMissingError as error:
                log.error("a bot cannot speak", enterprise=number, reason=str(error))  # noqa: TRY400 - the reason says all
                self._outbox.set_bot(number, None)
                self._known.pop(number, None)
                continue
            if self._known.get(number) == (entry.bot, token):
                continue
            self._known[number] = (entry.bot, token)
            if token == PREVIEW:
                self._outbox.set_bot(number, self._preview.bot(number, self._inside))
            else:
                self._outbox.set_bot(number, BotApi(Secret(token), self._base, self._client))
