"""Running the service: sockets, signals, who starts after whom and who stops before whom."""

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Final

import structlog
import uvicorn

from adapters.composition import Service
from adapters.http.protocol import HostProtocol
from adapters.memory import FOLDING, SERVING, calm_collector

log = structlog.get_logger(__name__)

BACKLOG: Final = 2048
STOP_WITHIN: Final = 25.0
"""Seconds in which everything that was taken must be finished at a stop."""
PORT_WITHIN: Final = 10.0
"""Seconds for which a port is waited for that the instance before may still hold."""


class CannotServe(Exception):
    """The service cannot run here; the text says why and what to do."""


class _Server(uvicorn.Server):
    """uvicorn without handlers of its own: signals are the service's business."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


def bind(host: str, port: int) -> socket.socket | None:
    """A listening socket, None where another process has the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named as TCP: asyncio's own loop else leaves Nagle's algorithm on, 40 ms for an answer of two packets
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise CannotServe(f"{host}:{port} cannot be listened on: {error.strerror or error}") from error
    bound.setblocking(False)
    return bound


class Serving:
    """One run of the service, from the first socket to the last commit."""

    def __init__(self, service: Service, started: Callable[[], None]) -> None:
        self._service = service
        self._started = started
        self._stop = asyncio.Event()
        self._servers: list[_Server] = []

    def stop(self) -> None:
        """Finish what was taken, then end ``run``."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or ``stop``; then drain."""
        service = self._service
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        settings = service.settings
        bound = bind(settings.host, settings.port)
        metrics = bind(*settings.metrics_bind) if settings.metrics_bind else None
        if bound is None:
            log.warning(
                "the address is taken, standing by without listening", host=settings.host, port=settings.port
            )
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(service.writer.run(), name="writer")
                rejecting = group.create_task(service.rejects.run(), name="rejected bodies")
                watching = group.create_task(service.horizon.run(), name="horizon")
                async with service.outbox, service.past:
                    projecting = group.create_task(service.live.run(), name="projection of calls")
                    acting = group.create_task(service.house.run(), name="actors")
                    listening = group.create_task(self._listen(bound, metrics), name="http")
                    hearing = group.create_task(service.listening.run(), name="bots that listen")
                    leading = group.create_task(self._lead(), name="lead")
                    retiring = group.create_task(service.nights.run(), name="retention")
                    await self._stop.wait()
                    log.info("stopping")
                    leading.cancel()
                    retiring.cancel()
                    service.listening.stop()
                    service.preview_store.end_watches()
                    for server in self._servers:
                        server.should_exit = True
                    await self._finish(listening)
                    await self._finish(hearing)
                    service.house.stop()
                    await self._finish(acting)
                service.live.stop()
                await self._finish(projecting)
                service.writer.stop()
                await self._finish(writing)
                await self._flush_rejects()
                rejecting.cancel()
                watching.cancel()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _finish(self, task: "asyncio.Task[None]") -> None:
        """Wait for a part to finish by itself; one that does not is cut off, and says so."""
        done, _ = await asyncio.wait([task], timeout=STOP_WITHIN)
        if not done:
            log.error("a part did not finish in time", part=task.get_name())
            task.cancel()

    async def _flush_rejects(self) -> None:
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self._service.rejects.flush()
        except TimeoutError:
            log.error("refused bodies were not kept in time")  # noqa: TRY400 - there is no more to tell

    async def _lead(self) -> None:
        await self._service.writer.leading.wait()
        calm_collector(FOLDING)
        await self._service.begin()
        gc.collect()
        calm_collector(SERVING)
        log.info("leading", instance=self._service.instance)
        await self._service.lead_again()

    async def _listen(self, bound: socket.socket | None, metrics: socket.socket | None) -> None:
        """Serve requests; an address that another instance had is taken over once this one leads."""
        service = self._service
        settings = service.settings
        if bound is None:
            await self._leading_or_stopped()
            if self._stop.is_set():
                return
            bound = await self._take_over(settings.host, settings.port)
        async with asyncio.TaskGroup() as group:
            if metrics is not None:
                group.create_task(self._serve(metrics, service.metrics_application(), None), name="metrics")
            application = service.application()
            slow = group.create_task(service.ingest.give_up_slow(), name="slow senders")
            await self._serve(bound, application, self._started)
            slow.cancel()

    async def _leading_or_stopped(self) -> None:
        waiting = [
            asyncio.ensure_future(self._service.writer.leading.wait()),
            asyncio.ensure_future(self._stop.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _take_over(self, host: str, port: int) -> socket.socket:
        try:
            async with asyncio.timeout(PORT_WITHIN):
                while (bound := bind(host, port)) is None:  # noqa: ASYNC110 - nobody tells when its holder gives it back
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise CannotServe(
                f"{host}:{port} is used by another program; set CALLFOLD_PORT to a free one"
            ) from None
        return bound

    async def _serve(
        self, bound: socket.socket, application: Any, started: Callable[[], None] | None
    ) -> None:
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
            loop="none",
            http=HostProtocol,
            ws="none",
            proxy_headers=False,
        )
        server = _Server(config)
        self._servers.append(server)
        if started is not None:
            started()
        await server.serve(sockets=[bound])
