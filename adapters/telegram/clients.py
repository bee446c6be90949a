"""HTTP clients for many bots: several with few connections each, as httpx looks at all of a client's for each request.

Hundreds of bots that all listen keep hundreds of connections open. With one client for all, each request would cost
more the more bots there are, and connections beyond ``max_keepalive_connections`` would never be used twice: httpcore
1.0 counts those in use among the idle ones.
"""

import ssl
from contextlib import AsyncExitStack
from functools import cache
from types import TracebackType
from typing import Self
from zlib import crc32

import httpx

from adapters.telegram.api import TIMEOUT


class Clients:
    """``count`` clients with these ``limits`` each, made when first needed; all requests of a bot go through one."""

    def __init__(self, count: int, limits: httpx.Limits) -> None:
        self._count, self._limits = count, limits
        self._clients: dict[int, httpx.AsyncClient] = {}
        self._stack = AsyncExitStack()

    @classmethod
    def for_cards(cls) -> Self:
        """For requests that are answered soon.

        A bot may have hundreds of chats, and Telegram may let all of them wait: what had its turn may not wait for a
        connection, or it would go out together with what has its turn later.
        """
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=100, keepalive_expiry=30.0)
        return cls(31, limits)

    @classmethod
    def for_listening(cls) -> Self:
        """For polls, each of which takes a connection all the time: those may not come out of the cards' number."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0)
        return cls(61, limits)

    def of(self, token: str) -> httpx.AsyncClient:
        """The client for a bot."""
        place = crc32(token.encode()) % self._count
        client = self._clients.get(place)
        if client is None:
            client = self._clients[place] = httpx.AsyncClient(
                verify=_certificates(), timeout=TIMEOUT, limits=self._limits, follow_redirects=False
            )
            self._stack.push_async_callback(client.aclose)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()


@cache
def _certificates() -> ssl.SSLContext:
    """Whom all clients trust: reading the certificates takes 50 ms."""
    return httpx.create_ssl_context()
