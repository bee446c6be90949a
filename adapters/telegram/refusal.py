"""A bot that was refused: whether it is, and when Telegram takes it again, getMe says."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from adapters.telegram.api import BotApi
from adapters.telegram.errors import TelegramError, Unauthorized
from adapters.telegram.limits import Backoff

_logger: Final = logging.getLogger(__name__)

KNOCK: Final = Backoff(first=120.0, most=300.0)
"""Seconds between two questions whether a bot is taken again: 1 to 5 minutes, ever more seldom."""


async def outlast(
    bot: BotApi, refused: Callable[[str], None], chance: Callable[[], float], knock: Backoff = KNOCK
) -> bool:
    """Ask a bot who it is, at once and then again and again, until it answers. ``chance`` from [0, 1).

    True where it had been refused: ``refused`` was told once, with Telegram's words. False where nothing but the
    request was, or nobody can say: that is a trouble like another.
    """
    times = 0
    while True:
        try:
            await bot.get_me()
        except Unauthorized as error:
            if not times:
                refused(error.description)
        except TelegramError as error:
            if not times:
                return False
            _logger.info("whether a bot is taken again is not known: %s", error)
        else:
            return times > 0
        times += 1
        await asyncio.sleep(knock.after(times, chance()))
