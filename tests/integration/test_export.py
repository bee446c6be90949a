"""``callfold export``: one moment of the database as files by day, whole or not at all, without secrets."""

import asyncio
import csv
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from adapters.analysts import export as exporting
from adapters.analysts import folder as folders
from adapters.analysts import reading as readings
from adapters.analysts.errors import ExportError, ExtraMissing
from adapters.analysts.folder import MANIFEST, NEXT, READY, read_manifest, reading
from adapters.analysts.relations import EVENTS, RELATIONS
from adapters.analysts.snapshot import snapshot
from adapters.postgres.database import Database
from tests.exporting import DAYS, TOKEN, exported, history, stored
from tests.running import command, settings_env
from tests.storing import AT, arrival, connected, put

FACTS = history(40)
FIRST = AT.date()
LATER = arrival("1777886400.9", b'{"UniqueId":"1777886400.9","CallType":0,"Phone":"375291234567"}', at=AT)


@pytest.fixture
async def made(database):
    """Forty calls of three days, projected."""
    async with stored(database.dsn, FACTS) as made:
        yield made


def files(folder: Path) -> dict[str, bytes]:
    """What a reader sees in a folder, and its contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


async def count(connection, table: str, where: str = "true") -> int:
    return await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")


async def test_every_row_is_in_the_file_of_its_day_in_a_fixed_order(made, database, tmp_path):
    told = await exported(database.dsn, tmp_path)
    for relation in RELATIONS:
        assert told.rows[relation.name] == await count(made.connection, relation.table, relation.where)
    rows = await made.connection.fetch("SELECT *, (started_at AT TIME ZONE 'UTC')::date AS day FROM calls")
    for day in {row["day"] for row in rows}:
        table = pq.read_table(tmp_path / "calls" / f"day={day}" / "calls.parquet", partitioning=None)
        of_day = sorted(
            (row for row in rows if row["day"] == day), key=lambda row: (row["started_at"], row["enterprise"])
        )
        assert table["call_id"].to_pylist() == [row["call_id"] for row in of_day]
        assert table["rung"].to_pylist() == [row["rung"] for row in of_day]
        assert table["wait_s"].to_pylist() == [row["wait_s"] for row in of_day]
        assert table["started_at"].to_pylist() == [row["started_at"] for row in of_day]


async def test_parquet_is_typed_and_compressed_and_days_are_those_of_the_folders(made, database, tmp_path):
    await exported(database.dsn, tmp_path)
    told = pq.ParquetFile(next((tmp_path / "calls").rglob("*.parquet")))
    schema = told.schema_arrow
    assert schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("rung").type == pa.list_(pa.string())
    assert schema.field("wait_s").type == pa.decimal128(18, 6)
    assert told.metadata.row_group(0).column(0).compression == "ZSTD"
    agents = pa.dataset.dataset(
        tmp_path / "agents",
        partitioning=pa.dataset.partitioning(pa.schema([("day", pa.date32())]), flavor="hive"),
    ).to_table()
    days = {row["day"] for row in await made.connection.fetch("SELECT day FROM agents")}
    assert set(agents["day"].to_pylist()) == days


async def test_the_same_facts_give_the_same_files(made, database, tmp_path):
    await exported(database.dsn, tmp_path / "one")
    await exported(database.dsn, tmp_path / "other")
    one, other = files(tmp_path / "one"), files(tmp_path / "other")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == [MANIFEST]


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
async def test_text_files_need_no_pyarrow_and_hold_no_token(made, database, tmp_path, monkeypatch, format_):
    nested = json.dumps({"Token": TOKEN}).encode()
    body = b'{"UniqueId":"1777886400.8","Phone":"","x":{"tOken":"%b","y":[%b]}}' % (TOKEN.encode(), nested)
    await made.tell(arrival("1777886400.8", body))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = await exported(database.dsn, tmp_path, format_)
    content = files(tmp_path)
    assert told.rows["events"] == len(FACTS) + 1
    assert sum(name.startswith("events/") for name in content) >= DAYS
    assert not [name for name, held in content.items() if TOKEN.encode() in held]
    with pytest.raises(ExtraMissing, match=r"callfold\[analyst\]"):
        await exported(database.dsn, tmp_path / "parquet")


async def test_csv_and_json_lines_tell_the_same_as_parquet(made, database, tmp_path):
    for format_ in ("parquet", "csv", "jsonl"):
        await exported(database.dsn, tmp_path, format_)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.exports.keys() == {"parquet", "csv", "jsonl"}
    place = tmp_path / "calls" / f"day={FIRST}" / "calls"
    typed = pq.read_table(place.with_suffix(".parquet"), partitioning=None).to_pylist()
    lines = [json.loads(line) for line in place.with_suffix(".jsonl").read_text("utf-8").splitlines()]
    with place.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        fields = list(csv.DictReader(file))
    assert len(typed) == len(lines) == len(fields) > 0
    for row, line, field in zip(typed, lines, fields, strict=True):
        assert line["call_id"] == field["call_id"] == row["call_id"]
        assert line["legs"] == json.loads(field["legs"]) == row["legs"]
        assert datetime.fromisoformat(line["started_at"]) == row["started_at"]
        assert datetime.fromisoformat(field["started_at"]) == row["started_at"]
        assert field["wait_s"] == ("" if row["wait_s"] is None else str(row["wait_s"]))
    event = (tmp_path / "events" / f"day={FIRST}" / "events.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(event)["body"]["Token"] == "***"


# one moment


async def test_an_export_holds_no_projection_back(made, database):
    async with snapshot(Database(database.dsn, None), {"calls"}) as state, state.reading("calls") as (one, _):
        assert await count(one, "calls") > 0
        before = await count(made.connection, "calls")
        await made.tell(LATER)
        assert await count(made.connection, "calls") == before + 1
        assert await count(one, "calls") == before


async def test_events_that_are_not_folded_yet_are_left_for_the_next_one(made, database, tmp_path):
    await put(made.connection, [LATER])
    told = await exported(database.dsn, tmp_path)
    assert (told.rows["events"], told.left) == (len(FACTS), 1)
    await made.project()
    told = await exported(database.dsn, tmp_path)
    assert (told.rows["events"], told.left) == (len(FACTS) + 1, 0)


async def test_tables_that_a_rebuild_swaps_meanwhile_are_read_as_they_were(made, database):
    async with snapshot(Database(database.dsn, None), {"calls", "customers"}) as state:
        async with state.reading("customers") as (one, name):
            customers = await count(one, name)
        calls = await count(made.connection, "calls")
        # nobody is in its way: a table is locked while it is read, no longer
        await made.rebuild(check=False)
        async with state.reading("calls") as (one, name):
            assert name == "calls_old"
            assert await count(one, name) == calls > 0
        assert customers > 0
        await made.rebuild(check=False)
        with pytest.raises(ExportError, match="export again"):
            async with state.reading("calls"):
                pass


async def test_no_more_rows_are_in_memory_than_one_chunk(made, database, tmp_path, monkeypatch):
    written = []

    class Counting(exporting._OneFile):
        def write(self, chunk):
            written.append(len(chunk))
            super().write(chunk)

    monkeypatch.setattr(readings, "CHUNK", 7)
    monkeypatch.setattr(exporting, "_OneFile", Counting)
    told = await exported(database.dsn, tmp_path)
    assert max(written) == 7
    assert sum(written) == sum(told.rows.values())


# into a folder that has an older one


async def test_only_the_days_asked_for_are_replaced(made, database, tmp_path):
    await exported(database.dsn, tmp_path)
    before = files(tmp_path)
    second = FIRST + timedelta(days=1)
    await made.connection.execute(
        "UPDATE calls SET line = 'changed'; DELETE FROM traffic WHERE (hour AT TIME ZONE 'UTC')::date = $1".replace(
            "$1", f"'{second}'"
        )
    )
    since = datetime(second.year, second.month, second.day, tzinfo=UTC)
    told = await exported(database.dsn, tmp_path, since=since, until=since + timedelta(days=1))
    after = files(tmp_path)
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {f"calls/day={second}/calls.parquet", f"traffic/day={second}/traffic.parquet", MANIFEST} <= touched
    assert not [name for name in touched if "day=" in name and f"day={second}" not in name]
    assert f"traffic/day={second}/traffic.parquet" not in after
    assert {file.path for file in told.files} | {MANIFEST} == set(after)
    table = pq.read_table(tmp_path / "calls" / f"day={second}" / "calls.parquet", partitioning=None)
    assert set(table["line"].to_pylist()) == {"changed"}


async def test_a_time_within_a_day_leaves_out_what_was_before_it(made, database, tmp_path):
    since = AT + timedelta(hours=20)
    told = await exported(database.dsn, tmp_path, since=since, enterprise="0367")
    found = pa.dataset.dataset([str(path) for path in (tmp_path / "events").rglob("*.parquet")]).to_table()
    wanted = [fact for fact in FACTS if fact.occurred_at >= since and fact.enterprise == "0367"]
    assert found.num_rows == told.rows["events"] == len(wanted)
    assert set(found["enterprise"].to_pylist()) == {"0367"}


async def test_a_folder_holds_one_choice_of_enterprises(made, database, tmp_path):
    await exported(database.dsn, tmp_path)
    with pytest.raises(ExportError, match="all enterprises"):
        await exported(database.dsn, tmp_path, enterprise="0367")


class Killed(BaseException):
    """What a process that is killed does no more."""


async def test_who_is_killed_leaves_the_older_export_or_the_newer_one(made, database, tmp_path, monkeypatch):
    lines = ["a", "b"]
    killed = {True: 0, False: 0}
    for after in range(0, 1000, 5):
        await exported(database.dsn, tmp_path)
        older = files(tmp_path)
        lines.reverse()
        await made.connection.execute(f"UPDATE calls SET line = '{lines[0]}'")
        with monkeypatch.context() as patched:
            patched.setattr(folders.shutil, "rmtree", _nothing)  # nobody cleans up after himself
            steps = DiesAfter(patched, after)
            with suppress(Killed):
                await exported(database.dsn, tmp_path)
        with reading(tmp_path) as manifest:
            now = files(tmp_path)
            sizes = {file.path: file.bytes for file in manifest.exports["parquet"].files}
        assert {name: len(held) for name, held in now.items() if name != MANIFEST} == sizes
        assert (now == older) is not steps.decided
        assert not (tmp_path / READY).exists()
        if steps.left:
            break
        killed[steps.decided] += 1
    assert min(killed.values()) > 3, "killed while files were made, and while they were moved"
    await exported(database.dsn, tmp_path)
    assert not (tmp_path / NEXT).exists()


def _nothing(*_, **__):
    return None


class DiesAfter:
    """Lets so many files be synced, renamed or moved, and then nothing more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left, self.decided = steps, False
        for owner, name in ((folders.os, "fsync"), (Path, "rename"), (Path, "replace")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, real):
        def step(*arguments):
            if self.left == 0:
                raise Killed
            self.left -= 1
            done = real(*arguments)
            self.decided |= len(arguments) == 2 and Path(arguments[1]).name == READY
            return done

        return step


async def test_two_at_once_do_not_mix(database, tmp_path):
    with folders.making(tmp_path), pytest.raises(ExportError, match="another export"):
        await exported(database.dsn, tmp_path)


# the command


async def test_the_command_tells_what_the_folder_holds(made, database, tmp_path):
    env = settings_env(database.dsn)
    done = await command("export", "--json", env=env, folder=tmp_path)
    assert done.code == 0, done.errors
    told = json.loads(done.output)
    assert told["rows"]["events"] == len(FACTS)
    default = Path(env.get("CALLFOLD_DATA_DIR", tmp_path / "data")) / "exports"
    assert len(files(default)) == len(told["files"]) + 1
    day = (FIRST + timedelta(days=1)).isoformat()
    done = await command(
        "export",
        "--format",
        "csv",
        "--from",
        FIRST.isoformat(),
        "--to",
        day,
        "--out",
        "there",
        env=env,
        folder=tmp_path,
    )
    assert done.code == 0, done.errors
    assert f"events of {FIRST}" in done.output
    days = {
        date.fromisoformat(path.name.removeprefix("day="))
        for path in (tmp_path / "there" / "events").iterdir()
    }
    assert days == {FIRST}


@pytest.mark.parametrize("wrong", [("--from", "yesterday"), ("--from", "2026-05-05", "--to", "2026-05-04")])
async def test_a_wrong_range_is_wrong_usage(tmp_path, wrong):
    done = await command("export", *wrong, env={}, folder=tmp_path)
    assert (done.code, done.output) == (2, "")


async def test_a_folder_that_cannot_be_written_is_one_line(made, database, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = await command("export", "--out", "file/x", env=settings_env(database.dsn), folder=tmp_path)
    assert done.code == 1
    assert len(done.errors.splitlines()) == 1
    assert "file" in done.errors


async def test_ctrl_c_leaves_nothing_that_a_reader_would_take(made, database, tmp_path):
    async with connected(database.dsn) as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE hosts")  # the last table: the command waits there
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("callfold"),
            "export",
            "--out",
            "there",
            cwd=tmp_path,
            env={**os.environ, **settings_env(database.dsn)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while b"customers" not in await process.stdout.readline():
                pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.communicate()
    assert process.returncode == 1
    assert files(tmp_path / "there") == {}
    assert EVENTS.name not in {path.name for path in (tmp_path / "there").iterdir()}
