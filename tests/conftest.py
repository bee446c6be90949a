"""A real PostgreSQL for the whole suite, and a database of its own for each test that asks for one.

The embedded server by default; CALLFOLD_TEST_DATABASE_URL names another (its user must be allowed to create
databases, and fsync must be on).
"""

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate

T = TypeVar("T")

ALONE = ("acceptance", "browser", "crash", "soak")
"""Folders of tests that run a service, a browser, or processes to be killed."""
BY_THE_CLOCK = frozenset(
    {
        "test_bot",
        "test_chats_that_go",
        "test_embedded_postgres",
        "test_history",
        "test_ingest",
        "test_outbox",
        "test_recordings",
        "test_refused_bots",
        "test_sender",
        "test_store_horizon",
        "test_store_restore",
        "test_store_writer",
        "test_subscriptions",
        "test_telegram_api",
        "test_traces",
    }
)
"""Others that a neighbour on the same core would make late. ``make test`` gives both the machine for themselves."""
SHARING = frozenset({"test_archive_crash", "test_histories", "test_rebuild_crash"})


def pytest_sessionstart(session: pytest.Session) -> None:
    """Tests of what was compiled before the source changed would be tests of something else."""
    for library in [
        *session.config.rootpath.glob("*/*.so"),
        *session.config.rootpath.glob("adapters/*/*.so"),
    ]:
        source = library.with_name(library.name.partition(".")[0] + ".py")
        if source.exists() and source.stat().st_mtime > library.stat().st_mtime:
            pytest.exit(f"{source} is newer than what is compiled of it: make setup", returncode=3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem not in SHARING and (
            item.path.parent.name in ALONE or item.path.stem in BY_THE_CLOCK
        ):
            item.add_marker("alone")


class LoopThread:
    """An event loop beside the tests' own, which come and go: the server lives through all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="postgres of the tests", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], within: float = 90) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True)
class TestDatabase:
    """A database of one test. ``dsn`` is what asyncpg.connect and DATABASE_URL take."""

    __test__ = False
    dsn: str
    name: str


class PostgresServer:
    """Makes and drops databases. ``embedded`` is None where the server is an external one."""

    def __init__(self, dsn: str, loop: LoopThread, embedded: EmbeddedPostgres | None) -> None:
        self.dsn = dsn
        self.embedded = embedded
        self._loop = loop
        self._names = (f"callfold_test_{os.getpid()}_{number}" for number in itertools.count())
        self._template: str | None = None

    def dsn_of(self, name: str) -> str:
        return (
            urlsplit(self.dsn)._replace(path=f"/{name}").geturl().replace("postgresql:/?", "postgresql:///?")
        )

    def create(self, *, migrated: bool = True, like: TestDatabase | None = None) -> TestDatabase:
        """A new database: empty, with callfold's schema, or with everything of another that nobody uses now."""
        name = next(self._names)
        template = like.name if like else self._migrated() if migrated else "template0"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return TestDatabase(self.dsn_of(name), name)

    def drop(self, database: TestDatabase) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def run(self, work: Coroutine[Any, Any, T], within: float = 90) -> T:
        """What fills a database that several tests share, beside the tests' own loops."""
        return self._loop.run(work, within)

    def execute(self, sql: str) -> None:
        async def once() -> None:
            connection = await asyncpg.connect(self.dsn, timeout=10)
            try:
                await connection.execute(sql)
            finally:
                await connection.close()

        self._loop.run(once())

    def _migrated(self) -> str:
        if self._template is None:
            template = self.create(migrated=False)
            try:
                self._loop.run(migrate(template.dsn))
            except BaseException:
                self.drop(template)
                raise
            self._template = template.name
        return self._template

    def close(self) -> None:
        if self._template is not None:
            self.drop(TestDatabase("", self._template))


def _fast_place() -> str | None:
    """Memory, where there is enough of it: an initdb is a thousand fsyncs, and no test can cut the power."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 << 30:
        return str(memory)
    return None


@contextmanager
def reachable_dir() -> Iterator[Path]:
    """A temporary directory that the embedded server's user can enter; pytest's own is closed to others."""
    path = Path(tempfile.mkdtemp(prefix="callfold-", dir=_fast_place()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server that the whole suite shares: do not stop it, make databases in it."""
    loop = LoopThread()
    external = os.environ.get("CALLFOLD_TEST_DATABASE_URL")
    try:
        if external:
            server = PostgresServer(external, loop, None)
            yield server
            server.close()
            return
        with reachable_dir() as path:
            embedded = EmbeddedPostgres(path / "data")
            loop.run(embedded.__aenter__())
            try:
                yield PostgresServer(embedded.dsn, loop, embedded)
            finally:
                loop.run(embedded.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """A fresh database with callfold's schema."""
    made = postgres_server.create()
    yield made
    postgres_server.drop(made)


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """A fresh database with nothing in it."""
    made = postgres_server.create(migrated=False)
    yield made
    postgres_server.drop(made)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A DATA_DIR for an embedded server of the test's own, not yet made."""
    with reachable_dir() as path:
        yield path / "data"
