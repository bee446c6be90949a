"""uvicorn's HTTP protocol, which lends the hosts' routes a short way to answer.

An answer to a host is one small JSON with four headers. Through ASGI it is two messages, each header matched against
two regular expressions and looked at for its meaning: 15 of the 120 µs that an event takes. The short way writes the
same bytes at once and leaves everything else - parsing, pipelining, keep-alive, slow senders, shutdown - to uvicorn.
"""

import secrets
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from adapters.http.problems import CONTENT_TYPE, problem_body

ANSWER: Final = "callfold.answer"
"""Where a scope holds the short way: a callable of head (without the blank line) and body; False if it is shut."""


class HostProtocol(HttpToolsProtocol):
    """Puts the short way into every scope; what is no HTTP gets the same kind of problem as everything else."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read as a request."""
        ident = secrets.token_hex(8)
        body = problem_body(400, msg, ident)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {ident}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.scope[ANSWER] = ShortWay(cycle)  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)


class ShortWay:
    """Answers one request by one write."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def __call__(self, head: bytes, body: bytes) -> bool:
        """Write a whole 200; False, and nothing is written, where only the long way will do."""
        cycle = self._cycle
        if cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
            return False
        parts = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in cycle.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(head)
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join(parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True
