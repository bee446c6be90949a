"""The buttons below a call's message: where to read more, and "call back".

What a button of the second kind carries is computed, not stored: a keyed digest of enterprise, chat, call and purpose.
Nobody can make one, nothing can be read off it, and it is found again by computing it for the calls of the last day.
"""

from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b
from typing import Final
from urllib.parse import quote

from adapters.bot.texts import TEXTS
from adapters.secret import Secret
from adapters.telegram.api import Button, Markup
from calls.call import Call
from calls.directory import Directory

CALL_BACK: Final = "c:"
"""How the data of a call back begins."""
VALID: Final = timedelta(days=1)
"""How long after the beginning of its call a button is good."""
_LENGTH: Final = 16


class Buttons:
    """Makes them, and finds the call of one that was pressed.

    ``key``: secret and the same after a restart. ``page_base``: where the pages of an enterprise's calls can be
    reached by its readers, who are signed in there, "" for nowhere.
    """

    def __init__(self, key: Secret, page_base: Callable[[str], str]) -> None:
        self._key = blake2b(key.reveal().encode(), digest_size=32, person=b"callfold buttons").digest()
        self._page_base = page_base

    def of_card(self, call: Call, directory: Directory, chat_id: int) -> Markup | None:
        """What stands below the message of a call in a chat; None for nothing."""
        texts = TEXTS[directory.profile.language]
        rows = []
        if base := self._page_base(call.enterprise):
            url = f"{base}/calls/{quote(call.enterprise, safe='')}/{quote(call.call_id, safe='')}"
            rows.append((Button(texts.details, url=url),))
        theirs = call.direction == "in" or call.outcome == "lost_in_transfer"
        if call.phase == "ended" and theirs and call.customer and chat_id > 0:
            data = CALL_BACK + self.digest(call.enterprise, chat_id, call.call_id)
            rows.append((Button(texts.call_back, callback_data=data),))
        return tuple(rows) or None

    def digest(self, enterprise: str, chat_id: int, call_id: str) -> str:
        """What a call back of this call carries in this chat: 32 hexadecimal digits."""
        told = f"call back\0{enterprise}\0{chat_id}\0{call_id}".encode()
        return blake2b(told, digest_size=_LENGTH, key=self._key).hexdigest()
