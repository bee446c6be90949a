"""Many bots over HTTP: each keeps its connection, whichever others there are (adapters.telegram.clients)."""

import asyncio
from contextlib import asynccontextmanager

from adapters.telegram.api import BotApi
from adapters.telegram.clients import Clients

BOTS = 120
ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"ok":true,"result":[]}'
)


class _Server:
    """Answers when all have asked, as a long poll does, and counts its connections."""

    def __init__(self) -> None:
        self.connections = self.open = 0
        self.together = asyncio.Barrier(BOTS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while head := await _head(reader):
                await reader.readexactly(_length(head))
                await self.together.wait()
                writer.write(ANSWER)
        finally:
            self.open -= 1
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _length(head: bytes) -> int:
    (line,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(line.partition(b":")[2])


@asynccontextmanager
async def server():
    told = _Server()
    async with await asyncio.start_server(told.serve, "127.0.0.1", 0) as listener:
        yield told, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def test_a_bot_that_listens_asks_again_on_the_connection_it_has():
    async with server() as (told, base):
        async with Clients.for_listening() as clients:
            bots = [BotApi(f"{number}:x", base, clients.of(f"{number}:x")) for number in range(BOTS)]
            for _ in range(3):
                async with asyncio.timeout(30):
                    await asyncio.gather(*[bot.get_updates(0) for bot in bots])
        assert told.connections == BOTS
        async with asyncio.timeout(5):
            while told.open:
                await asyncio.sleep(0.01)


async def test_all_requests_of_a_bot_go_through_one_client_and_bots_are_spread_over_several():
    async with Clients.for_cards() as clients:
        found = {token: clients.of(token) for token in (f"{number}:x" for number in range(BOTS))}
        assert all(clients.of(token) is client for token, client in found.items())
        each = [list(found.values()).count(client) for client in set(found.values())]
    assert len(each) > 16
    assert max(each) < BOTS // 8
    assert all(client.is_closed for client in found.values())
