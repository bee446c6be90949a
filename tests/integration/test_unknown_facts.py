"""What a newer version wrote: kept, passed over and counted live, an error of a rebuild that says where."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from adapters.rebuilding import fold_beside
from adapters.store.beside import Beside
from calls.facts import DIRECTORY_CHANGED, DIRECTORY_STREAM, SILENCE_OBSERVED, NewFact
from calls.scenarios import catalogue
from otel.metrics import Metrics
from projections.calls import FOLD_VERSION
from projections.names import NAMES
from projections.ports import ProjectionError
from projections.rebuild import Plan, rebuild
from projections.unknown import MOST, UnknownFacts
from tests.folding import EPOCH, played_facts
from tests.running import command, enterprise, running
from tests.storing import Projected, again, arrival, connected, projected, put

NEWER = b'{"v": 2, "section": "manager", "key": "150", "value": {"extensions": ["150", "250"]}}'
CALL = again(played_facts(catalogue()["2-1"].events(EPOCH.timestamp(), 7)))
LEG = CALL[0].stream


def written(kind: str, body: bytes, stream: str = DIRECTORY_STREAM) -> NewFact:
    return NewFact(
        enterprise="0367", stream=stream, kind=kind, source="service", occurred_at=EPOCH, body=body
    )


async def nothing() -> None:
    """Nothing happens while the shards are folded."""


async def rebuilt(here: Projected, plan: Plan, meanwhile: Callable[[], Awaitable[None]] = nothing) -> None:
    """A rebuild up to the swap; ``meanwhile``: what happens once its shards are folded."""
    async with connected(here.dsn) as connection:
        beside = await Beside.open(here.pool, connection, plan, 1)

        async def fold_shards() -> int:
            folded = await fold_beside(beside, here.dsn, 1, lambda _: None)
            await meanwhile()
            return folded

        await rebuild(beside, beside.upto, fold_shards, check=False)


def counted(service) -> float:
    exposed = service.service.exposition()[0].decode()
    lines = [line for line in exposed.splitlines() if line.startswith("callfold_facts_unknown_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_facts_of_unknown_kinds_are_counted_with_their_first_time_and_doctor_names_them(
    database, tmp_path
):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        assert (await service.get("/stats"))["unknown_kinds"] == {"facts": 0, "since": None, "kinds": {}}
        for kind, number in (("of_the_future", 2), ("queue_joined", 1)):
            for _ in range(number):
                await service.service.store.append(arrival("7.8", b"{}", kind=kind), within=5)
        await service.quiet()
        rows = await service.pool.fetch(
            "SELECT kind, recorded_at FROM facts WHERE stream = 'leg/7.8' ORDER BY position"
        )
        told = (await service.get("/stats"))["unknown_kinds"]
        assert told == {
            "facts": 3,
            "since": rows[0]["recorded_at"].isoformat(),
            "kinds": {"of_the_future": 2, "queue_joined": 1},
        }
        assert counted(service) == 3
        findings = json.loads((await service.command("doctor", "--json")).output)
        [finding] = [one for one in findings if one["subject"] == "unknown kinds"]
        assert finding["state"] == "note"
        assert f"3 facts since {told['since']}" in finding["says"]
        assert "of_the_future (2), queue_joined (1)" in finding["says"]
        printed = (await service.command("events", "--all", "--json")).output.splitlines()
        assert [json.loads(line)["kind"] for line in printed].count("of_the_future") == 2


async def test_an_export_says_how_many_facts_it_left_out_because_nobody_here_knows_their_kind(
    database, tmp_path
):
    env = {"CALLFOLD_DATABASE_URL": database.dsn, "CALLFOLD_DATA_DIR": str(tmp_path)}
    async with projected(database.dsn) as here:
        await here.tell(*CALL, arrival("7.8", b"{}", kind="of_the_future"))
        await put(here.connection, [arrival("7.9", b"{}", kind="not_folded_yet")])
        done = await command("export", "--json", env=env, folder=tmp_path)
        told = json.loads(done.output)
        assert (done.code, told["unknown"], told["rows"]["events"]) == (0, {"of_the_future": 1}, len(CALL))
        assert "of_the_future (1)" in done.errors
        before = json.loads(
            (await command("export", "--json", "--to", "2020-01-01", env=env, folder=tmp_path)).output
        )
        assert before["unknown"] == {}


def test_only_so_many_kinds_are_counted_by_name():
    unknown = UnknownFacts(Metrics())
    facts = played_facts(catalogue()["1-8"].events(EPOCH.timestamp(), 7))
    for number in range(MOST + 5):
        unknown.see([msgspec.structs.replace(facts[0], kind=f"odd_{number}"), *facts])
    told = unknown.told()
    assert told["facts"] == MOST + 5
    assert (len(told["kinds"]), told["kinds"]["other"]) == (MOST + 1, 5)
    assert told["since"] == facts[0].recorded_at.isoformat()


@pytest.mark.parametrize(
    ("kind", "stream", "body"),
    [
        (DIRECTORY_CHANGED, DIRECTORY_STREAM, NEWER),
        (SILENCE_OBSERVED, LEG, b'{"v": 2, "reason": "quiet"}'),
    ],
)
async def test_a_newer_shape_is_parked_live_and_an_error_of_a_rebuild_that_names_place_kind_and_shapes(
    database, kind, stream, body
):
    async with projected(database.dsn) as here:
        await here.tell(*CALL[:4], written(kind, body, stream), *CALL[4:])
        assert [one["outcome"] for one in await here.rows("calls")] == ["answered"]
        [parked] = await here.connection.fetch("SELECT place, position, reason FROM parked")
        assert parked["place"] == "calls"
        assert (
            f"UnknownShape: a body of '{kind}' has the shape 2, this version knows shapes up to 1"
            in parked["reason"]
        )
        rows = await here.rows("calls")
        await here.restart()  # an entry of the directory that cannot be read stops no start
        await here.project()
        assert await here.rows("calls") == rows
        wanted = f"at position {parked['position']} of enterprise 0367: a body of '{kind}' has the shape 2, .* up to 1"
        with pytest.raises(ProjectionError, match=wanted):
            await here.rebuild()


async def test_a_newer_shape_of_the_directory_stops_a_rebuild_also_where_the_latest_directory_is_asked_for(
    database,
):
    async with projected(database.dsn) as here:
        await here.tell(*CALL, written(DIRECTORY_CHANGED, NEWER))
        with pytest.raises(ProjectionError, match=r"at position 11 .* has the shape 2"):
            await rebuilt(here, Plan(NAMES, FOLD_VERSION, latest=True))


async def test_what_a_newer_version_writes_while_a_rebuild_goes_on_stops_it_before_the_swap(database):
    async with projected(database.dsn) as here:
        await here.tell(*CALL[:-1])
        later = msgspec.structs.replace(CALL[-1], occurred_at=EPOCH + timedelta(hours=1))

        async def meanwhile() -> None:
            await here.tell(arrival("7.8", b"{}", kind="of_the_future"), later)

        with pytest.raises(ProjectionError, match="the kind 'of_the_future'"):
            await rebuilt(here, Plan(NAMES, FOLD_VERSION), meanwhile)
        assert (
            await here.connection.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'calls_old'") == 0
        )


async def test_the_service_serves_on_with_an_entry_that_it_cannot_read_and_does_not_change_the_directory(
    database, tmp_path
):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        await service.service.store.append(written(DIRECTORY_CHANGED, NEWER), within=5)
        await service.quiet()
    async with running(database.dsn, tmp_path) as service:
        await service.play(catalogue()["2-1"])
        await service.quiet()
        [call] = (await service.get("/api/calls"))["items"]
        assert call["outcome"] == "answered"
        places = await service.pool.fetch("SELECT DISTINCT place FROM parked ORDER BY place")
        assert [row["place"] for row in places] == ["actors", "calls"]
        file = tmp_path / "other.toml"
        file.write_text(enterprise("0367", language="en"))
        refused = await service.command("apply", str(file))
        assert refused.code == 1
        assert "has the shape 2, this version knows shapes up to 1" in refused.errors
