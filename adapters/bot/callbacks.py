"""A pressed "call back": which call it is of, a fact that it was asked for, and whoever calls."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg

from actors.ports import StoreUnavailable, VersionConflict
from adapters.bot.buttons import CALL_BACK, VALID, Buttons
from adapters.bot.lists import END
from adapters.bot.ports import CallBack, Facts
from calls.callbacks import CallbackRequested, write_callback
from calls.facts import CALLBACK_REQUESTED, NewFact, callback_stream

PAGE: Final = 500
WITHIN: Final = 2.0
"""Seconds for the fact."""
_RECENT: Final = """
SELECT call_id, customer, line, legs, started_at FROM calls
WHERE enterprise = $1 AND started_at > $2 AND (started_at, call_id) < ($3::timestamptz, $4::text)
ORDER BY started_at DESC, call_id DESC LIMIT $5
"""

Outcome = Literal["requested", "again", "over", "later"]
"""``again``: was asked for before; ``over``: of no call of the last day; ``later``: the store does not answer."""


class CallBacks:
    """Turns presses into facts, at most one a call and chat."""

    def __init__(
        self, pool: asyncpg.Pool, facts: Facts, buttons: Buttons, port: CallBack, now: Callable[[], datetime]
    ) -> None:
        self._pool, self._facts, self._buttons, self._port, self._now = pool, facts, buttons, port, now

    async def press(self, enterprises: Sequence[str], chat_id: int, user_id: int, data: str) -> Outcome:
        """Ask for the call back that a button of this chat means. Raises what asyncpg raises."""
        digest = data.removeprefix(CALL_BACK)
        for enterprise in enterprises:
            found = await self._find(enterprise, chat_id, user_id, digest)
            if found is not None:
                return await self._ask(enterprise, *found)
        return "over"

    async def _ask(self, enterprise: str, requested: CallbackRequested, legs: Sequence[str]) -> Outcome:
        """A call has one button in a chat, that of its leader; two where it was two calls when they were sent."""
        digests = [self._buttons.digest(enterprise, requested.chat_id, leg) for leg in legs]
        digest = self._buttons.digest(enterprise, requested.chat_id, requested.call_id)
        fact = NewFact(
            enterprise=enterprise,
            stream=callback_stream(digest),
            kind=CALLBACK_REQUESTED,
            source="service",
            occurred_at=self._now(),
            body=write_callback(requested),
            expected_version=0,
        )
        try:
            for other in digests:
                if other != digest and await self._facts.read_stream(enterprise, callback_stream(other)):
                    return "again"
            await self._facts.append(fact, within=WITHIN)
        except VersionConflict:
            return "again"
        except StoreUnavailable:
            return "later"
        await self._port.request(enterprise, requested)
        return "requested"

    async def _find(
        self, enterprise: str, chat_id: int, user_id: int, digest: str
    ) -> tuple[CallbackRequested, list[str]] | None:
        """The call of this button, also where another leg leads it since, and the call's legs."""
        since, before, last = self._now() - VALID, END, ""
        while rows := await self._pool.fetch(_RECENT, enterprise, since, before, last, PAGE):
            for row in rows:
                legs = {row["call_id"], *row["legs"]}
                if row["customer"] and any(
                    self._buttons.digest(enterprise, chat_id, leg) == digest for leg in legs
                ):
                    asked = CallbackRequested(
                        call_id=row["call_id"],
                        chat_id=chat_id,
                        user_id=user_id,
                        phone=row["customer"],
                        line=row["line"],
                    )
                    return asked, sorted(legs)
            if len(rows) < PAGE:
                return None
            before, last = rows[-1]["started_at"], rows[-1]["call_id"]
        return None
