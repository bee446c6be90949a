"""Retention: outside numbers of long ago give way to pseudonyms, and everything else is as it was."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from adapters.archive.files import FactFile
from adapters.asterisk.sender import host_json
from adapters.privacy import retiring
from adapters.privacy.digests import FILE_NAME, Digests
from calls.guests import EMPTY
from calls.scenarios import catalogue
from tests.conftest import PostgresServer, TestDatabase
from tests.integration.test_forget import ESCAPE, TABLES, recover, rows, settled, unordered
from tests.running import TOKEN, Running, command, enterprise, running, settings_env

CUSTOMER = """  [[enterprise.customer]]
  phone = "+375290000101"
  name = "Иван Иванов"
"""
OTHER = "375290000009"
DIRECTORY = (enterprise("0367") + enterprise("0368", OTHER, chats=())).replace(CUSTOMER, "")
CAST = "375290000101"
OLD, ABROAD, SHARED = "+375291110011", "+4915112345678", "+375290000101"
NAME = "Марфа Посадница"
AGO = timedelta(days=400)
DAYS = 365
ZONE = "Europe/Minsk"
TOUCHED = (("2-1", OLD), ("2-9", ABROAD), ("2-18", SHARED), ("2-24", OLD), ("1-2", SHARED), ("3-1", OLD))
FRESH = (("2-1", SHARED), ("2-9", "+375297654321"))
CURIOUS = (
    b'{"Token":"375290000000","UniqueId":"%d.77","CallType":0,"Trunk":"0007001","Phone":"80291110011"}',
    (
        b'{"Token":"375290000000","UniqueId":"%d.77","Channel":"Local/375291110011@ctx-0000000a;1",'
        b'"CallerIDNum":"375290000101","CallerIDName":"\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd","x":[["8 029 111 00 11"]],'
        b'"note":"2026-05-04 12:46:50, +49 1511 2345678","url":"https://pbx.example/1777895200.1-\\u003375291110011.wav"}'
    ),
    (
        b'{"Token":"375290000000","UniqueId":"%d.77","CallType":0,"CallStatus":"0","Phone":"291110011","Trunk":"0007001",'
        b'"Extensions":["152&375290000102"],"StartTime":"2026-05-04 12:46:40","EndTime":"2026-05-04 12:46:50"}'
    ),
)


def spelling(number: str) -> re.Pattern[str]:
    national = number[3:] if number.startswith("+49") else number[4:]
    return re.compile(
        r"(?<![0-9])(?:[0-9+]{0,5}\W{0,3})" + r"[^0-9a-zA-Z]{0,4}".join(national) + r"(?![0-9])"
    )


def tells(text: str, numbers: Collection[str]) -> bool:
    plain = ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return NAME in plain or any(spelling(number).search(plain) for number in numbers)


async def telling(pool: asyncpg.Pool, numbers: Collection[str], of: str = "0367") -> dict[str, list[str]]:
    """By table and column, every value of an enterprise that tells one of these numbers, or the name."""
    found: dict[str, list[str]] = {}
    for (table,) in await pool.fetch(TABLES):
        for row in await pool.fetch(f"SELECT * FROM {table}"):
            for column, value in row.items():
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                if row.get("enterprise", of) == of and tells(text, numbers):
                    found.setdefault(f"{table}.{column}", []).append(text)
    return found


async def play(service: Running, cast: Collection[tuple[str, str]], at: datetime, token: str = TOKEN) -> None:
    """Each scenario with its customer, one after the other from then on; of each moment bridges of their own."""
    for place, (name, number) in enumerate(cast):
        begun = at.timestamp() + 1_000 * place
        events = catalogue()[name].events(begun, int(begun), token=token)
        told = [(event.kind, host_json(event.body)) for event in events]
        await service.send(
            [(kind, body.replace(CAST.encode(), number[1:].encode())) for kind, body in told], token=token
        )


async def history(service: Running) -> None:
    """Calls of long ago, in two enterprises."""
    long_ago = datetime.now(UTC).replace(microsecond=0) - AGO
    await play(service, TOUCHED, long_ago)
    await play(service, TOUCHED[:2], long_ago, OTHER)
    epoch = int(long_ago.timestamp()) + 9_000
    for kind, body in zip(("start", "new_callerid", "hangup"), CURIOUS, strict=True):
        await service.store(kind, body % epoch, idempotency_key=f"{kind}-375291110011")
    url = {"Token": TOKEN, "UniqueId": f"{epoch}.77", "url": "https://pbx.example/375291110011.mp3"}
    assert (await service.client.post("/recordings", json=url)).status_code == 200
    await settled(service)


async def grow_old(pool: asyncpg.Pool) -> None:
    """As if everything that there is had come when it began."""
    await pool.execute(
        "UPDATE facts SET occurred_at = occurred_at - $1::interval, recorded_at = recorded_at - $1::interval"
        " WHERE kind <> 'directory_changed'",
        AGO,
    )
    await pool.execute("UPDATE preview_messages SET sent_at = sent_at - $1::interval", AGO)


async def fill(dsn: str, folder: Path) -> None:
    """A year-old history."""
    async with running(dsn, folder, DIRECTORY, call_settle="1") as before:
        await history(before)
        await grow_old(before.pool)
    assert (await command("rebuild", "all", env=settings_env(dsn), folder=folder)).code == 0


@pytest.fixture(scope="module")
def year_old(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestDatabase, Path]]:
    """Made once; each test has a copy."""
    made, folder = postgres_server.create(), tmp_path_factory.mktemp("year_old")
    asyncio.run(fill(made.dsn, folder))
    yield made, folder
    postgres_server.drop(made)


@pytest.fixture
def old_database(
    year_old: tuple[TestDatabase, Path], postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[TestDatabase]:
    """With the year-old history, its DATA_DIR in ``tmp_path``."""
    kept, folder = year_old
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    made = postgres_server.create(like=kept)
    yield made
    postgres_server.drop(made)


@pytest.fixture
async def service(old_database: TestDatabase, tmp_path: Path) -> AsyncIterator[Running]:
    """A year-old history and a fresh one."""
    async with running(old_database.dsn, tmp_path, call_settle="1") as service:
        await play(service, FRESH, datetime.now(UTC) - timedelta(hours=2))
        await settled(service)
        yield service


async def retire(service: Running, days: int = DAYS, number: str = "0367") -> dict[str, Any]:
    """As the command does beside a running service."""
    while True:
        asked = {"enterprise": number, "older_than_days": days}
        answer = await service.client.post("/api/retire", json=asked, timeout=60)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        if told["done"]:
            return told


async def pseudonyms(service: Running, numbers: Collection[str], of: str = "0367") -> dict[str, str]:
    digests = Digests.open(service.folder / "data")
    listed = {row[0]: row[1] for row in await service.pool.fetch("SELECT digest, pseudonym FROM forgotten")}
    return {number: listed[digests.digest(of, number)] for number in numbers}


def renamed(told: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
    text = json.dumps(told, ensure_ascii=False)
    for number, pseudonym in names.items():
        text = text.replace(f'"{number}"', f'"{pseudonym}"')
    result: list[dict[str, Any]] = json.loads(text)
    return result


def is_old(row: dict[str, Any]) -> bool:
    """By the time in a call's or leg's id."""
    return float(row["call_id"].partition(".")[0]) < (datetime.now(UTC) - timedelta(days=DAYS)).timestamp()


def parted(told: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(old ones of 0367, the others)."""
    old = [row for row in told if row["enterprise"] == "0367" and is_old(row)]
    return old, [row for row in told if row not in old]


COUNTS = ("in_total", "in_answered", "in_missed", "out_total", "out_answered", "out_missed")


def counted(told: list[dict[str, Any]], *phones: str) -> list[int]:
    mine = [row for row in told if row["enterprise"] == "0367" and row["phone"] in phones]
    return [sum(row[name] for row in mine) for name in COUNTS]


async def test_no_outside_number_of_long_ago_stands_anywhere_and_every_count_is_the_same(service: Running):
    numbers = (OLD, ABROAD)
    there = await telling(service.pool, numbers)
    assert {"facts.body", "facts.idempotency_key", "idempotency.key", "calls.customer"} <= there.keys()
    assert {"customers.phone", "legs.number", "preview_messages.text", "calls_old.customer"} <= there.keys()
    before = await rows(service.pool)
    last = await service.pool.fetchval("SELECT max(position) FROM facts")
    fresh = (
        "SELECT position, body, meta FROM facts"
        " WHERE (enterprise = '0368' OR recorded_at > now() - interval '9 days')"
    )
    untouched = await service.pool.fetch(f"{fresh} AND position <= {last} ORDER BY position")
    told = await retire(service)
    assert await telling(service.pool, numbers) == {}
    assert await service.pool.fetch(f"{fresh} AND position <= {last} ORDER BY position") == untouched
    after = await rows(service.pool)
    names = await pseudonyms(service, (OLD, ABROAD, SHARED))
    for table in ("calls", "legs", "call_agents"):
        old, others = parted(before[table])
        assert unordered({table: [*renamed(old, names), *others]}) == unordered({table: after[table]})
    for table in ("agents", "traffic", "hosts"):
        assert unordered({table: before[table]}) == unordered({table: after[table]})
    for number in (OLD, ABROAD):
        assert counted(after["customers"], names[number]) == counted(before["customers"], number)
    assert counted(after["customers"], SHARED, names[SHARED]) == counted(before["customers"], SHARED)
    assert 0 < sum(counted(after["customers"], SHARED)) < sum(counted(before["customers"], SHARED))
    assert told["numbers"] == 3
    assert "calls_old" in told["removed"]
    checked = await service.command("rebuild", "all", "--check", "--json")
    assert checked.code == 0, checked.errors
    assert json.loads(checked.output)["differences"] == []


async def test_it_is_a_fact_that_tells_no_number_and_a_second_run_does_nothing(service: Running):
    told = await retire(service)
    (body,) = [r[0] for r in await service.pool.fetch("SELECT body FROM facts WHERE kind = 'bodies_retired'")]
    assert json.loads(body) == {
        "upto": told["upto"].replace("Z", "+00:00"),
        "facts": told["facts"],
        "numbers": 3,
    }
    dump = "SELECT position, xmin, body FROM facts ORDER BY position"
    before = await service.pool.fetch(dump)
    listed = await service.pool.fetch("SELECT * FROM forgotten ORDER BY pseudonym")
    again = await retire(service)
    assert (again["facts"], again["numbers"], again["removed"]) == (0, 0, [])
    assert await service.pool.fetch(dump) == before
    assert await service.pool.fetch("SELECT * FROM forgotten ORDER BY pseudonym") == listed


async def test_people_lines_and_times_of_the_enterprise_stay(service: Running):
    before = await service.pool.fetch("SELECT position, body FROM facts WHERE enterprise = '0367'")
    await retire(service)
    names = await pseudonyms(service, (OLD, ABROAD, SHARED))
    after = dict(await service.pool.fetch("SELECT position, body FROM facts WHERE enterprise = '0367'"))
    mobiles = [row for row in before if b"375290000102" in row["body"]]
    assert mobiles
    assert all(
        after[row["position"]].count(b"375290000102") == row["body"].count(b"375290000102") for row in mobiles
    )
    (note,) = [row["position"] for row in before if b'"note"' in row["body"]]
    own = names[OLD][4:]
    assert json.loads(after[note]) == {
        "Token": TOKEN,
        "UniqueId": json.loads(after[note])["UniqueId"],
        "Channel": f"Local/{names[OLD][1:]}@ctx-0000000a;1",
        "CallerIDNum": names[SHARED][1:],
        "CallerIDName": "",
        "x": [[f"8 0{own[:2]} {own[2:5]} {own[5:7]} {own[7:]}"]],
        "note": f"2026-05-04 12:46:50, +49 {names[ABROAD][3:7]} {names[ABROAD][7:]}",
        "url": f"https://pbx.example/1777895200.1-{names[OLD][1:]}.wav",
    }
    (end,) = [row["position"] for row in before if b'"152&375290000102"' in row["body"]]
    assert json.loads(after[end])["EndTime"] == "2026-05-04 12:46:50"
    assert await telling(service.pool, ("+375290000102",)) != {}


async def test_killed_in_the_middle_it_goes_on_and_comes_to_the_same_end(
    service: Running, monkeypatch: pytest.MonkeyPatch
):
    before = await rows(service.pool)
    monkeypatch.setattr(retiring, "PAGE", 7)
    monkeypatch.setattr(retiring, "LONGEST", 0.0001)
    asked = {"enterprise": "0367", "older_than_days": DAYS}
    first = (await service.client.post("/api/retire", json=asked)).json()
    assert not first["done"]

    async def killed(*_: object) -> bool:
        raise asyncpg.InterfaceError("killed here")

    with monkeypatch.context() as broken:
        broken.setattr(retiring, "_rename", killed)
        broken.setattr(retiring, "LONGEST", 60.0)
        assert (await service.client.post("/api/retire", json=asked)).status_code == 500
    assert await telling(service.pool, (OLD,)) != {}
    assert "gave way to pseudonyms in half" in (await service.command("doctor")).output
    await retire(service)
    assert await telling(service.pool, (OLD, ABROAD)) == {}
    names = await pseudonyms(service, (OLD, ABROAD, SHARED))
    old, others = parted(before["calls"])
    after = await rows(service.pool)
    assert unordered({"calls": [*renamed(old, names), *others]}) == unordered({"calls": after["calls"]})
    assert await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = 'bodies_retired'") == 1
    assert (await service.command("rebuild", "all", "--check")).code == 0


async def test_who_calls_again_is_stored_with_the_real_number_and_gets_the_same_pseudonym_later(
    service: Running,
):
    await retire(service)
    (first,) = (await pseudonyms(service, (OLD,))).values()
    await play(service, (("2-1", OLD),), datetime.now(UTC) - timedelta(days=60))
    await settled(service)
    assert (await service.get(f"/api/customers/0367/{OLD}"))["in_total"] == 1
    was = await service.get(f"/api/customers/0367/{first}")
    await service.pool.execute(
        "UPDATE facts SET occurred_at = occurred_at - interval '60 days',"
        " recorded_at = recorded_at - interval '60 days'"
        " WHERE recorded_at > now() - interval '9 days' AND kind <> 'directory_changed'"
    )
    await service.pool.execute("UPDATE preview_messages SET sent_at = sent_at - interval '60 days'")
    assert (await service.command("rebuild", "all")).code == 0
    await retire(service, 31)
    assert await telling(service.pool, (OLD,)) == {}
    assert (await service.get(f"/api/customers/0367/{first}"))["in_total"] == was["in_total"] + 1


def day_of(at: datetime, number: str, seed: int = 40) -> list[bytes]:
    """A host's day file."""
    events = catalogue()["2-18"].events(at.timestamp(), seed, token=TOKEN)
    return [
        msgspec.json.encode(
            {
                "t": datetime.fromtimestamp(at.timestamp() + event.offset, UTC).isoformat(),
                "event": event.kind,
                "body": event.body,
            }
        ).replace(CAST.encode(), number[1:].encode())
        for event in events
    ]


async def test_recover_of_an_old_day_is_recognised_and_of_another_comes_as_the_pseudonym(service: Running):
    at = datetime.now(UTC).replace(microsecond=0) - AGO + timedelta(days=3)
    day = day_of(at, OLD)
    assert (await recover(service, day))["stored"] == len(day)
    await settled(service)
    await retire(service)
    (name,) = (await pseudonyms(service, (OLD,))).values()
    again = await recover(service, day)
    assert (again["stored"], again["known"]) == (0, len(day))
    total = (await service.get(f"/api/customers/0367/{name}"))["in_total"]
    assert (await recover(service, day_of(at + timedelta(days=1), OLD, 41)))["stored"] == len(day)
    unknown = "+375295556677"
    assert (await recover(service, day_of(at + timedelta(days=2), unknown, 42)))["stored"] == len(day)
    await settled(service)
    assert await telling(service.pool, (OLD,)) == {}
    assert (await service.get(f"/api/customers/0367/{name}"))["in_total"] == total + 1
    assert (await service.get(f"/api/customers/0367/{unknown}"))["in_total"] == 1
    await retire(service)  # what nobody knew a pseudonym of is taken by the next run
    assert await telling(service.pool, (unknown,)) == {}
    assert (await service.command("rebuild", "all", "--check")).code == 0


def abroad(at: datetime) -> list[bytes]:
    """Of one foreign number: it is called, it calls, and it stands in a colleague's place."""
    text = ABROAD[1:]

    def ids(place: int) -> dict[str, str]:
        return {"Token": TOKEN, "UniqueId": f"{int(at.timestamp()) + 600 * place}.{place}"}

    line = {"Trunk": "0007001"}
    told: list[tuple[int, str, dict[str, Any]]] = [
        (0, "dial", {**ids(0), **line, "CallType": 1, "Phone": text, "Extensions": ["151"]}),
        (5, "bridge", {**ids(0), "Channel": "SIP/151-f4444ae2", "CallerIDNum": "151", "Exten": text}),
        (
            20,
            "hangup",
            {**ids(0), **line, "CallType": 1, "CallStatus": "2", "Phone": text, "Extensions": ["151"]},
        ),
        (600, "start", {**ids(1), **line, "CallType": 0, "Phone": text}),
        (603, "new_callerid", {**ids(1), "Channel": "SIP/0007001-91b7584a", "CallerIDNum": text}),
        (
            620,
            "hangup",
            {**ids(1), **line, "CallType": 0, "CallStatus": "0", "Phone": text, "Extensions": ["151"]},
        ),
        (1200, "dial", {**ids(2), **line, "CallType": 1, "Phone": "375290000102", "Extensions": [text]}),
        (1220, "hangup", {**ids(2), **line, "CallType": 1, "CallStatus": "0", "Phone": "375290000102"}),
    ]
    return [
        msgspec.json.encode({"t": (at + timedelta(seconds=after)).isoformat(), "event": kind, "body": body})
        for after, kind, body in told
    ]


async def test_a_number_that_a_lines_rule_reads_as_another_gets_one_pseudonym_in_all_its_places(
    database: TestDatabase, tmp_path: Path
):
    ruled = DIRECTORY.replace("Основная линия", 'Основная линия"\n  incoming_transform = "+375{9}')
    day = abroad(datetime.now(UTC).replace(microsecond=0) - AGO)
    async with running(database.dsn, tmp_path, ruled, call_settle="1") as service:
        assert (await recover(service, day))["stored"] == len(day)
        await settled(service)
        before = await rows(service.pool)
        assert sorted(row["phone"] for row in before["customers"]) == [
            "+375112345678",
            "+375290000102",
            ABROAD,
        ]
        assert (await retire(service))["numbers"] == 1
        assert await telling(service.pool, (ABROAD,)) == {}
        names = await pseudonyms(service, (ABROAD, "+375112345678"))
        assert names["+375112345678"][-9:] == names[ABROAD][-9:]
        bodies = b"".join(
            [row[0] for row in await service.pool.fetch("SELECT body FROM facts ORDER BY position")]
        )
        assert bodies.count(names[ABROAD][1:].encode()) == b"".join(day).count(ABROAD[1:].encode())
        after = await rows(service.pool)
        for table in ("calls", "legs", "customers"):
            assert unordered({table: renamed(before[table], names)}) == unordered({table: after[table]})
        assert (await service.command("rebuild", "all", "--check")).code == 0
        again = await recover(service, day)
        assert (again["stored"], again["known"]) == (0, len(day))


async def test_forgetting_somebody_who_was_retired_joins_both_under_one_pseudonym(service: Running):
    before = counted((await rows(service.pool))["customers"], SHARED)
    await retire(service)
    (name,) = (await pseudonyms(service, (SHARED,))).values()
    done = await service.command("forget", "--enterprise", "0367", "--phone", SHARED, "--yes", "--json")
    assert json.loads(done.output)["pseudonym"] == name
    assert await telling(service.pool, (SHARED,)) == {}
    assert counted((await rows(service.pool))["customers"], name) == before


async def test_a_call_that_goes_on_at_midnight_waits_as_a_whole(service: Running):
    legs = await service.pool.fetch(
        "SELECT unique_id FROM legs WHERE enterprise = '0367' AND call_id ="
        " (SELECT call_id FROM calls WHERE enterprise = '0367' AND customer = $1 LIMIT 1)",
        ABROAD,
    )
    streams = [f"leg/{row[0]}" for row in legs]
    told = await service.pool.fetch(
        "SELECT position FROM facts WHERE enterprise = '0367' AND stream = ANY($1) ORDER BY position", streams
    )
    # the second half of the call comes three days later than the first
    await service.pool.execute(
        "UPDATE facts SET occurred_at = occurred_at + interval '38 days'"
        " WHERE enterprise = '0367' AND position = ANY($1)",
        [row[0] for row in told[len(told) // 2 :]],
    )
    assert (await service.command("rebuild", "all")).code == 0
    await retire(service, 380)
    assert "calls.customer" in await telling(service.pool, (ABROAD,))
    bodies = await service.pool.fetch("SELECT body FROM facts WHERE stream = ANY($1)", streams)
    assert [row for row in bodies if b"4915112345678" in row[0]]
    assert await telling(service.pool, (OLD,)) == {}
    await retire(service, 31)
    assert await telling(service.pool, (ABROAD,)) == {}
    assert (await service.command("rebuild", "all", "--check")).code == 0


async def test_the_cut_is_the_last_moment_before_midnight_at_which_nobody_talked(service: Running):
    spans = await service.pool.fetch(
        "SELECT min(first_at) AS first, max(last_at) AS last FROM legs WHERE enterprise = '0367'"
        " GROUP BY call_id ORDER BY 1"
    )
    first, last = spans[0]
    async with service.pool.acquire() as connection:
        moment, staying, whole = await retiring._quiet(connection, "0367", first + (last - first) / 2)
        assert (moment, staying, whole) == (first - EMPTY, frozenset(), moment)
        late = spans[-1]["first"] - timedelta(days=3)
        assert await retiring._quiet(connection, "0367", late) == (late, frozenset(), late)


async def test_archived_months_tell_nothing_either(service: Running):
    month = (datetime.now(UTC) - AGO + timedelta(days=40)).strftime("%Y-%m-01")
    before = await rows(service.pool)
    moved = await service.command("archive", "--before", month)
    assert moved.code == 0, moved.errors
    assert await service.pool.fetchval("SELECT count(*) FROM archived WHERE enterprise = '0367'") > 0
    await retire(service)
    assert await telling(service.pool, (OLD, ABROAD)) == {}
    for path in (service.folder / "data" / "archive").rglob("0367.*.parquet"):
        file = FactFile(path)
        archived = list(file.all())
        file.close()
        assert archived
        assert [row for row in archived if tells(row.body.decode(), (OLD, ABROAD, SHARED))] == []
    names = await pseudonyms(service, (OLD, ABROAD, SHARED))
    old, others = parted(before["calls"])
    after = await rows(service.pool)
    assert unordered({"calls": [*renamed(old, names), *others]}) == unordered({"calls": after["calls"]})
    checked = await service.command("rebuild", "all", "--check", "--json")
    assert checked.code == 0, checked.errors


async def test_the_service_does_it_by_itself_for_who_says_for_how_many_days(service: Running):
    number = await service.pool.fetchval("SELECT count(*) FROM retention")
    assert number == 0
    await service.service.nights.look()
    assert await service.pool.fetchval("SELECT count(*) FROM retention") == 0
    text = DIRECTORY.replace('name = "e0367"', f'name = "e0367"\nretention_days = {DAYS}')
    upload = {"name": "again.toml", "text": text, "folder": str(service.folder)}
    assert (await service.client.post("/api/directory", json=upload)).status_code == 200
    await service.quiet()
    service.service.nights._begun -= timedelta(hours=2)
    await service.service.nights.look()
    assert await telling(service.pool, (OLD, ABROAD)) == {}
    assert [row[0] for row in await service.pool.fetch("SELECT enterprise FROM retention")] == ["0367"]


async def test_the_command_retires_without_a_service_and_too_few_days_are_wrong_usage(
    old_database: TestDatabase, tmp_path: Path
):
    env = settings_env(old_database.dsn)
    asked = ("forget", "--enterprise", "0367", "--yes")
    assert (await command(*asked, "--older-than-days", "30", env=env, folder=tmp_path)).code == 2
    assert (await command(*asked, env=env, folder=tmp_path)).code == 2
    done = await command(*asked, "--older-than-days", str(DAYS), env=env, folder=tmp_path)
    assert done.code == 0, done.errors
    assert "3 numbers new on the list" in done.output
    assert (tmp_path / "data" / FILE_NAME).exists()
    async with asyncpg.create_pool(old_database.dsn, min_size=1, max_size=2) as pool:
        assert await telling(pool, (OLD, ABROAD)) == {}
    refused = await command(
        "forget", "--enterprise", "9999", "--yes", "--older-than-days", "99", env=env, folder=tmp_path
    )
    assert (refused.code, len(refused.errors.splitlines())) == (1, 1)
