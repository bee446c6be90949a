"""A Bot API stand-in in a process of its own: answers every request and notes when the first bytes of it came.

``python -m tests.bench.telegram PORT`` runs until its standard input ends, then prints one line a request: monotonic
time of arrival (shared by all processes of the machine), method, chat.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from typing import cast

import httptools
import uvloop

_CHAT = re.compile(rb'"?chat_id"?[:=]\s*"?(-?\d+)')
POLL = 25.0
"""Seconds for which a bot that listens waits: there is nothing to hear."""
_LISTENING = {"deleteWebhook": b'{"ok":true,"result":true}', "setMyCommands": b'{"ok":true,"result":true}'}
_BODY = (
    '{"ok":true,"result":{"message_id":%d,"date":1750000000,"chat":{"id":%d,"type":"private"},"text":"."}}'
)


class Stand(asyncio.Protocol):
    """One connection of the service."""

    ids = itertools.count(1)
    seen: list[tuple[float, str, int]] = []  # noqa: RUF012 - one list for all connections

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._at = time.monotonic()
        self._body = b""
        self._method = ""

    def on_url(self, url: bytes) -> None:
        self._method = url.rpartition(b"/")[2].decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._method == "getUpdates":
            asyncio.get_running_loop().call_later(POLL, self._answer, b'{"ok":true,"result":[]}')
        elif self._method in _LISTENING:
            self._answer(_LISTENING[self._method])
        else:
            found = _CHAT.search(self._body)
            chat = int(found.group(1)) if found else 0
            self.seen.append((self._at, self._method, chat))
            self._answer((_BODY % (next(self.ids), chat)).encode())

    def _answer(self, answer: bytes) -> None:
        if self._transport.is_closing():
            return
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(answer) + answer)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stand, "127.0.0.1", port)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()  # connections that the service keeps open end with the process
    for at, method, chat in Stand.seen:
        sys.stdout.write(json.dumps([at, method, chat]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
