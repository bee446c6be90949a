"""A long open transaction elsewhere is named: who, for how long, and what to do."""

from functools import partial

import asyncpg
import pytest

from adapters.cli import doctor
from adapters.postgres.database import Database
from adapters.store.horizon import Watch, first_words, look
from tests.running import enterprise, running
from tests.storing import arrival, connected, put


async def idle(dsn: str, *statements: str) -> asyncpg.Connection:
    """A connection that did these things in a transaction and then did nothing more."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "an analyst's notebook"})
    for statement in ("BEGIN", *statements):
        await connection.execute(statement)
    return connection


def mine(horizon, name):
    """Other tests' transactions on the same server are not ours."""
    return [one for one in horizon.holders if one.database == name]


async def test_an_idle_transaction_that_has_an_id_is_named_and_what_waits_for_it_has_an_age(database):
    holding = await idle(
        database.dsn, "CREATE TABLE notes (secret text)", "INSERT INTO notes VALUES ('+375290000101')"
    )
    async with connected(database.dsn) as connection:
        assert (await look(connection, 3_600)).holders == ()
        await put(connection, [arrival("1.1")])
        found = await look(connection, 0.0)
        (holder,) = mine(found, database.name)
        pid = holding.get_server_pid()
        assert (holder.pid, holder.application, holder.holds) == (pid, "an analyst's notebook", "readers")
        assert holder.query == "INSERT INTO notes VALUES"
        assert "375" not in holder.says
        assert f"pg_terminate_backend({pid})" in holder.do
        assert 0 < holder.age <= found.oldest
        assert found.behind > 0
        await holding.execute("ROLLBACK")
        assert mine(await look(connection, 0.0), database.name) == []
        assert (await look(connection, 3_600)).behind < found.behind + 5
    await holding.close()


async def test_one_that_only_reads_is_said_to_hold_up_vacuum(database):
    holding = await idle(
        database.dsn, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM facts"
    )
    async with connected(database.dsn) as connection:
        await put(connection, [arrival("1.1")])
        (holder,) = mine(await look(connection, 0.0), database.name)
        assert holder.holds == "vacuum"
        assert "vacuum waits" in holder.do
    holding.terminate()


async def test_the_watch_keeps_what_it_saw(database):
    holding = await idle(database.dsn, "CREATE TABLE notes (secret text)")
    async with Database(database.dsn, None).pool() as pool:
        watch = Watch(pool, long=0.0)
        await watch.look()
        assert [one.pid for one in mine(watch.last, database.name)] == [holding.get_server_pid()]
        holding.terminate()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT * FROM calls WHERE customer = '+375'", "SELECT * FROM calls WHERE customer"),
        ("UPDATE customers SET name='Ivan'", "UPDATE customers SET"),
        ("DELETE FROM facts WHERE position>100", "DELETE FROM facts WHERE"),
        ("select f(42)", "select"),
        ("", ""),
    ],
)
def test_of_a_query_its_first_words_are_shown_and_no_value(query, shown):
    assert first_words(query) == shown


async def test_stats_and_metrics_of_the_service_name_it(database, tmp_path):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        holding = await idle(database.dsn, "CREATE TABLE notes (secret text)")
        service.service.horizon._long = 0.0
        await service.service.horizon.look()
        told = (await service.get("/stats"))["horizon_held_by"]
        assert any(f"backend {holding.get_server_pid()} " in one["says"] for one in told)
        metrics = (await service.client.get("/metrics")).text
        oldest = next(
            line for line in metrics.splitlines() if line.startswith("callfold_oldest_transaction_seconds ")
        )
        assert float(oldest.split()[1]) > 0
        assert "callfold_horizon_behind_seconds" in metrics
        holding.terminate()


async def test_doctor_says_what_to_do_about_it(database, monkeypatch):
    monkeypatch.setattr("adapters.cli.doctor.look", partial(look, long=0.0))
    holding = await idle(database.dsn, "CREATE TABLE notes (secret text)")
    pid = holding.get_server_pid()
    async with connected(database.dsn) as connection:
        found = [one async for one in doctor._contents(connection)]
    (finding,) = [one for one in found if f"backend {pid} " in one.says]
    assert (finding.subject, finding.state) == ("readers", "wrong")
    assert f"pg_terminate_backend({pid})" in finding.do
    holding.terminate()
