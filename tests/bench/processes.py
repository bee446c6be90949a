"""The processes of a benchmark: started with their place, watched for their processor time, ended by their id."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
ADMIN = "admin-token-of-the-benchmark-0000"
START_WITHIN = 60.0
STOP_WITHIN = 10.0


class BenchError(Exception):
    """A measure could not be taken; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def scratch() -> AsyncIterator[Path]:
    """A directory on a real disk that PostgreSQL's own user can reach."""
    with tempfile.TemporaryDirectory(prefix="callfold-bench-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@asynccontextmanager
async def child(
    *command: str, cwd: Path = ROOT, env: dict[str, str] | None = None, log: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is gone at the end: asked first, then killed."""
    output = log.open("ab") if log else None
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=output or asyncio.subprocess.PIPE,
            stderr=output,
        )
    finally:
        if output:
            output.close()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run_json(*arguments: str, within: float) -> dict[str, Any]:
    """Run ``python -m`` with these arguments; its last line of output, read as JSON."""
    async with child(sys.executable, "-m", *arguments) as process:
        try:
            async with asyncio.timeout(within):
                output, _ = await process.communicate()
        except TimeoutError:
            raise BenchError(f"{arguments[0]} did not end within {within:.0f} s") from None
    if process.returncode != 0:
        raise BenchError(f"{arguments[0]} ended with {process.returncode}")
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


async def get(port: int, path: str) -> tuple[int, Any]:
    """Status and JSON of a page of the service; 0 while nobody answers."""
    return await asyncio.to_thread(_get, port, path)


def _get(port: int, path: str) -> tuple[int, Any]:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {ADMIN}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, ValueError):
        return 0, None


async def until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until a process answers on its port."""
    try:
        async with asyncio.timeout(START_WITHIN):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)  # between two looks at a process that starts
                else:
                    writer.close()
                    return
    except TimeoutError as error:
        raise BenchError(f"nobody answers on port {port}") from error
    raise BenchError(f"the process that was to answer on port {port} has ended")


class Service:
    """A running ``callfold serve``."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port

    async def stats(self) -> dict[str, Any]:
        status, told = await get(self.port, "/stats")
        if status != 200:
            raise BenchError(f"/stats answered {status}")
        return dict(told)

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far: of the service, and of the PostgreSQL below it."""
        own = psutil.Process(self.process.pid)
        below = 0.0
        for one in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a backend that was just closed
                below += sum(one.cpu_times()[:2])
        return {"service": sum(own.cpu_times()[:2]), "postgres": below}

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    async def caught_up(self, position: int, within: float) -> None:
        """Wait until actors and projections have taken in all facts up to a position."""
        told: dict[str, Any] = {}
        try:
            async with asyncio.timeout(within):
                while True:
                    told = await self.stats()
                    if min(told["routed_position"], told["projected_position"]) >= position:
                        return
                    await asyncio.sleep(0.02)  # between two looks
        except TimeoutError:
            raise BenchError(f"not caught up with {position} within {within:.0f} s: {told}") from None

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)


@asynccontextmanager
async def service(
    place: Path, *, directory: str | None, telegram: int | None = None, port: int | None = None
) -> AsyncIterator[Service]:
    """``callfold serve`` with an embedded PostgreSQL in ``place``; ready, and with this directory applied."""
    port = port or free_port()
    env = {
        "CALLFOLD_DATA_DIR": str(place / "data"),
        "CALLFOLD_PORT": str(port),
        "CALLFOLD_ADMIN_TOKEN": ADMIN,
        "CALLFOLD_LOG_LEVEL": "warning",
    }
    if telegram is not None:
        env["CALLFOLD_TELEGRAM_API"] = f"http://127.0.0.1:{telegram}"
    command = str(Path(sys.executable).with_name("callfold"))
    async with child(command, "serve", cwd=place, env=env, log=place / "serve.log") as process:
        await until_ready(process, port)
        if directory is not None:
            (place / "bench.toml").write_text(directory, "utf-8")
            async with child(command, "apply", "bench.toml", cwd=place, env=env) as applying:
                await applying.communicate()
            if applying.returncode != 0:
                raise BenchError(f"callfold apply ended with {applying.returncode}")
        yield Service(process, port)


async def until_ready(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until ``/readyz`` says so."""
    try:
        async with asyncio.timeout(START_WITHIN):
            while process.returncode is None:
                status, _ = await get(port, "/readyz")
                if status == 200:
                    return
                await asyncio.sleep(0.02)  # between two looks at a service that starts
    except TimeoutError as error:
        raise BenchError("the service did not become ready") from error
    raise BenchError("the service ended before it was ready")
