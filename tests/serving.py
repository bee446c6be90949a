"""Real ``callfold serve`` processes for tests: own folder, own port, own log; waited for, killed by pid."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

ADMIN_TOKEN = "admin-token-of-the-tests"
COMMAND = Path(sys.executable).with_name("callfold")
_numbers = itertools.count(1)


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_directory(folder: Path, *, bot_token: str) -> Path:
    """The sample directory (enterprise 0367, chat 1001) with this bot in the place of the preview."""
    sample = resources.files("adapters.directory").joinpath("sample.toml").read_text("utf-8")
    path = folder / "directory.toml"
    path.write_text(sample.replace('bot_token = "preview"', f'bot_token = "{bot_token}"'), "utf-8")
    return path


class ServiceProcess:
    """One process. It may be dead: everything about it is asked with a bound on the wait."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path, env: dict[str, str]) -> None:
        self.process, self.port, self.log = process, port, log
        self.env, self.folder = env, log.parent
        self.url = f"http://127.0.0.1:{port}"
        self.admin_token = ADMIN_TOKEN

    @property
    def pid(self) -> int:
        return self.process.pid

    def logs(self) -> str:
        """What it printed so far."""
        return self.log.read_text("utf-8", "replace")

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait, 10)

    async def stop(self, within: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, within)

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """A request with the admin token."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return await client.get(self.url + path, params=query, headers=self._bearer)

    async def ready(self, within: float = 60) -> None:
        """Wait until /readyz says so."""
        async with asyncio.timeout(within), httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while True:
                assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.logs()}"
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet, or no longer
                await asyncio.sleep(0.03)

    async def apply(self, directory: Path) -> list[str]:
        """Apply a directory file through the running service."""
        upload = {
            "name": directory.name,
            "text": directory.read_text("utf-8"),
            "folder": str(directory.parent),
        }
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.post(f"{self.url}/api/directory", json=upload, headers=self._bearer)
        assert answer.status_code == httpx.codes.OK, answer.text
        changes: list[str] = answer.json()["changes"]
        return changes

    async def command(self, *arguments: str, within: float = 60) -> "subprocess.CompletedProcess[str]":
        """``callfold …`` in the same folder with the same settings."""
        return await asyncio.to_thread(
            subprocess.run,
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}"}


@asynccontextmanager
async def service_process(
    folder: Path,
    *,
    telegram_api: str | None = None,
    database_url: str | None = None,
    port: int | None = None,
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
    wait: bool = True,
) -> AsyncIterator[ServiceProcess]:
    """``callfold serve`` in a folder, ready and with the directory applied unless ``wait`` is off.

    Without ``database_url`` it runs the embedded server in ``folder/data``: then the folder must be one that the
    server's user can enter (``data_dir.parent`` of conftest; pytest's tmp_path is closed to others). Several may
    share a folder. ``telegram_api`` None: a closed port. It is stopped at the end if it still lives.
    """
    assert database_url or os.geteuid() or folder.stat().st_mode & 0o001, f"nobody else can enter {folder}"
    port = port or free_port()
    settings = {
        "CALLFOLD_PORT": str(port),
        "CALLFOLD_DATA_DIR": str(folder / "data"),
        "CALLFOLD_DATABASE_URL": database_url or "",
        "CALLFOLD_ADMIN_TOKEN": ADMIN_TOKEN,
        "CALLFOLD_TELEGRAM_API": telegram_api or "http://127.0.0.1:9",
        "CALLFOLD_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("CALLFOLD_", "OTEL_"))
    }
    whole = {**inherited, **settings, **(env or {})}
    log = folder / f"serve-{next(_numbers)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(COMMAND), "serve"], cwd=folder, env=whole, stdout=output, stderr=subprocess.STDOUT
        )
    service = ServiceProcess(process, port, log, whole)
    try:
        if wait:
            await service.ready()
            if directory is not None:
                await service.apply(directory)
        yield service
    finally:
        if process.poll() is None:
            try:
                await service.stop()
            except subprocess.TimeoutExpired:
                await service.kill()
