"""``callfold forget``: nothing leads to the person any more, and everything else is as it was."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from adapters.archive import moving
from adapters.archive.files import FactFile, sha256_of
from adapters.privacy import forgetting
from adapters.privacy.digests import FILE_NAME
from adapters.store.beside import COMPARED
from calls.scenarios import catalogue
from calls.scenarios.script import CAST
from tests.conftest import TestDatabase
from tests.running import TOKEN, Running, command, enterprise, running, settings_env
from tests.storing import connected

NUMBER = "+375290000101"
NAME = "Иван Иванов"
OTHER = "375290000009"
OTHER_CUSTOMER = "+375291234567"
DIRECTORY = enterprise("0367")
SOUND = b"RIFF\x24\x00\x00\x00WAVEfmt sound"
BEGUN = 1_777_885_200.0
TOUCHED = ("1-1", "2-1", "2-9", "2-18", "2-24", "3-1")
# However it is written: the digits with whatever may stand between two of them.
SPELLED = re.compile(
    r"(?<![0-9])(?:00|8\W{0,3}0|\+?375\W{0,3})?" + r"[^0-9a-zA-Z]{0,4}".join("290000101") + r"(?![0-9])"
)
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"


def spelled(text: str) -> bool:
    """True where a text tells the number or the name."""
    plain = ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return bool(SPELLED.search(plain)) or NAME in plain


async def telling(pool: asyncpg.Pool) -> dict[str, list[str]]:
    """By table and column, every value that tells the number or the name."""
    found: dict[str, list[str]] = {}
    for (table,) in await pool.fetch(TABLES):
        for row in await pool.fetch(f"SELECT * FROM {table}"):
            for column, value in row.items():
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                if spelled(text):
                    found.setdefault(f"{table}.{column}", []).append(text)
    return found


def telling_files(folder: Path) -> list[str]:
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and (spelled(path.name) or spelled(path.read_text("utf-8", "replace")))
    ]


async def rows(pool: asyncpg.Pool) -> dict[str, list[dict[str, Any]]]:
    """Rows of every projection, without recordings and the place of the last fact, which may be that of one."""
    found = {}
    for table, (_, columns) in COMPARED.items():
        told = await pool.fetch(f"SELECT {', '.join(columns)} FROM {table}")
        values = json.loads(json.dumps([dict(row) for row in told], default=str, ensure_ascii=False))
        for row in values:
            row.pop("recordings", None)
            row.pop("last_position", None)
        found[table] = values
    return found


def renamed(before: dict[str, list[dict[str, Any]]], pseudonym: str) -> dict[str, list[str]]:
    """What the rows are to be afterwards."""
    text = json.dumps(before, ensure_ascii=False)
    return unordered(json.loads(text.replace(NUMBER, pseudonym).replace(f'"{NAME}"', "null")))


def unordered(told: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    return {table: sorted(map(str, values)) for table, values in told.items()}


@pytest.fixture
async def service(database, tmp_path) -> AsyncIterator[Running]:
    async with running(database.dsn, tmp_path, DIRECTORY, call_settle="1") as service:
        yield service


async def forget(service: Running, phone: str = NUMBER, number: str = "0367") -> dict[str, Any]:
    """As the command does beside a running service."""
    while True:
        answer = await service.client.post(
            "/api/forget", json={"enterprise": number, "phone": phone}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        if told["done"]:
            return told


async def play(service: Running, token: str = TOKEN) -> None:
    for place, scenario in enumerate(TOUCHED):
        await service.play(catalogue()[scenario], token=token, seed=place + 1, begun=BEGUN + 1_000 * place)


async def hang_up_all(service: Running) -> None:
    async with asyncio.timeout(20):
        while await service.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'open'"):
            await asyncio.sleep(0.05)
    await service.quiet()


async def settled(service: Running) -> None:
    """Every call has ended and is shown."""
    await service.quiet()
    await hang_up_all(service)


CURIOUS = [
    b'{"Token":"375290000000","UniqueId":"1777895200.1","CallType":0,"Trunk":"0007001","Phone":"80290000101"}',
    (
        b'{"Token": "375290000000", "UniqueId":"1777895200.1","Channel":"Local/375290000101@ctx-0000000a;1",'
        b'"CallerIDNum": 375290000101, "CallerIDName":"-\\u003375290000101","ConnectedLineNum":"+375 (29) 000-01-01",'
        b'"ConnectedLineName":"Petya","Exten":"00375290000101","x":{"deep":[["8 029 000 01 01"]]},"y":"375290000101"}'
    ),
    (
        b'{"Token":"375290000000","UniqueId":"1777895200.1","CallType":0,"CallStatus":"2","Phone":"290000101",'
        b'"Extensions":["152&375290000101"],"Trunk":"0007001","EndTime":"2026-05-04 12:46:50",'
        b'"url":"https://pbx.example/1777895200.1-375290000101.wav","StartTime":"2026-05-04 12:46:40"}'
    ),
]


async def everything(service: Running) -> None:
    """Calls of many kinds and whatever else there may be of a person."""
    await play(service)
    for kind, body in zip(("start", "new_callerid", "hangup"), CURIOUS, strict=True):
        await service.store(kind, body, idempotency_key=f"{kind}-375290000101")
    legs = await service.pool.fetch("SELECT unique_id FROM call_legs WHERE enterprise = '0367' LIMIT 3")
    for row in legs[:2]:
        told = {"Token": TOKEN, "UniqueId": row[0]}
        answer = await service.client.post("/recordings", data=told, files={"file": ("a.wav", SOUND)})
        assert answer.status_code == 200
    told = {"Token": TOKEN, "UniqueId": "1777895200.1", "url": "https://pbx.example/375290000101.mp3"}
    assert (await service.client.post("/recordings", json=told)).status_code == 200
    assert (
        await service.post("start", b'{"Token":"375290000000","Phone":"375290000101"}')
    ).status_code == 400
    assert (await service.post("start", b'{"Token":"nobodys","Phone": 80290000101')).status_code == 400
    await service.service.rejects.flush()
    await settled(service)
    assert (await service.command("rebuild", "all")).code == 0
    assert (await service.command("rebuild", "calls", "--as-of", "2036-05-04")).code == 0
    exports = service.folder / "data" / "exports"
    exports.mkdir(parents=True)
    (exports / "calls.csv").write_text(NUMBER)


async def test_nothing_tells_the_person_any_more_and_every_count_is_the_same(service: Running):
    await everything(service)
    await service.pool.execute(
        "INSERT INTO parked (place, position, enterprise, reason) VALUES ('calls', 1, '0367', 'Phone 375290000101')"
    )
    there = await telling(service.pool)
    assert {
        "facts.body",
        "facts.idempotency_key",
        "idempotency.key",
        "rejected.body",
        "calls.customer",
    } <= there.keys()
    assert {
        "customers.phone",
        "customers.name",
        "legs.number",
        "preview_messages.text",
        "calls_old.customer",
    } <= (there.keys())
    before = await rows(service.pool)
    positions = await service.pool.fetch("SELECT position, stream, version FROM facts ORDER BY position")
    told = await forget(service)
    assert await telling(service.pool) == {}
    assert telling_files(service.folder / "data") == []
    assert unordered(await rows(service.pool)) == renamed(before, told["pseudonym"])
    now = await service.pool.fetch(
        "SELECT position, stream, version FROM facts WHERE position <= $1 ORDER BY position", positions[-1][0]
    )
    assert now == positions
    assert told["recordings"] == 3
    assert "calls_old" in told["removed"]
    checked = await service.command("rebuild", "all", "--check", "--json")
    assert checked.code == 0, checked.errors
    assert json.loads(checked.output)["differences"] == []


async def test_it_is_a_fact_that_tells_no_number_and_recordings_leave_no_dead_links(service: Running):
    await everything(service)
    told = await forget(service)
    fact = await service.pool.fetchrow("SELECT position, body FROM facts WHERE kind = 'customer_forgotten'")
    assert json.loads(fact["body"]) == {"pseudonym": told["pseudonym"], "facts": told["facts"]}
    assert told["facts"] > 50
    assert await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = 'recording_added'") == 0
    assert await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = 'recording_forgotten'") == 3
    assert await service.pool.fetchval("SELECT count(*) FROM calls WHERE recordings <> '{}'") == 0
    assert [path for path in (service.folder / "data" / "recordings").rglob("*") if path.is_file()] == []


async def test_every_other_byte_of_a_body_stays(service: Running):
    for kind, body in zip(("start", "new_callerid", "hangup"), CURIOUS, strict=True):
        await service.store(kind, body)
    await settled(service)
    new = (await forget(service))["pseudonym"][1:]
    own, pretty = new[3:], f"+375 ({new[3:5]}) {new[5:8]}-{new[8:10]}-{new[10:]}"
    expected = [
        CURIOUS[0].replace(b"290000101", own.encode()),
        CURIOUS[1]
        .replace(b"\\u003375290000101", b"\\u0033" + new[1:].encode())
        .replace(b"375290000101", new.encode())
        .replace(b"+375 (29) 000-01-01", pretty.encode())
        .replace(b"8 029 000 01 01", f"8 0{new[3:5]} {new[5:8]} {new[8:10]} {new[10:]}".encode())
        .replace(b"Petya", b""),
        CURIOUS[2].replace(b"290000101", own.encode()),
    ]
    assert await service.bodies("0367", "1777895200.1") == expected


async def test_another_enterprise_with_the_same_customer_is_untouched(database, tmp_path):
    both = DIRECTORY + enterprise("0368", OTHER, chats=())
    async with running(database.dsn, tmp_path, both, call_settle="1") as service:
        await play(service)
        await play(service, OTHER)
        await settled(service)
        bodies = "SELECT position, body FROM facts WHERE enterprise = '0368' ORDER BY position"
        calls = "SELECT * FROM calls WHERE enterprise = '0368' ORDER BY call_id"
        before = await service.pool.fetch(bodies), await service.pool.fetch(calls)
        await forget(service)
        assert (await service.pool.fetch(bodies), await service.pool.fetch(calls)) == before
        assert await service.pool.fetchval("SELECT name FROM customers WHERE enterprise = '0368'") == NAME


async def test_the_running_service_forgets_too_and_who_calls_again_is_a_new_customer(service: Running):
    await play(service)
    await settled(service)
    told = await forget(service)
    assert (await service.client.get(f"/api/customers/0367/{NUMBER}")).status_code == 404
    assert NUMBER not in service.service.directory("0367").customers
    assert told["pseudonym"] in service.service.directory("0367").customers
    legs = [actor.leg for actor in service.service.house.enterprises["0367"].actors.values()]
    assert [leg for leg in legs if spelled(str(leg))] == []
    before = await service.get(f"/api/customers/0367/{told['pseudonym']}")
    await service.play(catalogue()["2-1"], seed=77)
    await settled(service)
    assert (await service.get(f"/api/customers/0367/{NUMBER}"))["in_total"] == 1
    assert await service.get(f"/api/customers/0367/{told['pseudonym']}") == before
    assert (await forget(service))["pseudonym"] == told["pseudonym"]
    assert await telling(service.pool) == {}


async def test_a_card_that_still_stands_shows_the_pseudonym(service: Running):
    await service.play(catalogue()["2-1"])
    await settled(service)
    told = await forget(service)
    await service.quiet()
    shown = [
        row[0] for row in await service.pool.fetch("SELECT text FROM preview_messages WHERE NOT deleted")
    ]
    assert len(shown) == 1
    assert told["pseudonym"][-2:] in shown[0]
    assert not spelled(shown[0])


async def test_what_is_no_customers_number_is_refused_and_a_call_that_goes_on_too(service: Running):
    async def refusal(phone: str, number: str = "0367") -> str:
        answer = await service.client.post("/api/forget", json={"enterprise": number, "phone": phone})
        assert answer.status_code == 409, answer.text
        return str(answer.json()["detail"])

    assert "no outside number" in await refusal("150")
    assert "mobile of somebody" in await refusal("+375290000102")
    assert "no enterprise" in await refusal(NUMBER, "9999")
    assert "Token" in await refusal(TOKEN)
    start = {
        "Token": TOKEN,
        "UniqueId": "1777899999.1",
        "CallType": 0,
        "Trunk": "0007001",
        "Phone": NUMBER[1:],
    }
    await service.store("start", start)
    await service.quiet()
    assert "goes on" in await refusal(NUMBER)
    assert await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = 'customer_forgotten'") == 0


async def test_an_interrupted_one_goes_on_where_it_was_and_comes_to_the_same_end(
    service: Running, monkeypatch: pytest.MonkeyPatch
):
    await everything(service)
    before = await rows(service.pool)
    monkeypatch.setattr(forgetting, "PAGE", 7)
    monkeypatch.setattr(forgetting, "LONGEST", 0.0001)
    answer = await service.client.post("/api/forget", json={"enterprise": "0367", "phone": NUMBER})
    first = answer.json()
    assert not first["done"]

    async def killed(*_: object) -> None:
        raise asyncpg.InterfaceError("killed here")

    with monkeypatch.context() as broken:
        broken.setattr(forgetting, "_rewrite_directory", killed)
        broken.setattr(forgetting, "LONGEST", 60.0)
        answer = await service.client.post("/api/forget", json={"enterprise": "0367", "phone": NUMBER})
        assert answer.status_code == 500
    assert await service.pool.fetchval("SELECT done_at FROM forgotten") is None
    assert "1 people of 0367 are forgotten in half" in (await service.command("doctor")).output
    told = await forget(service)
    assert told["pseudonym"] == first["pseudonym"]
    assert await telling(service.pool) == {}
    assert unordered(await rows(service.pool)) == renamed(before, told["pseudonym"])


async def test_events_that_come_meanwhile_are_rewritten_too(
    service: Running, monkeypatch: pytest.MonkeyPatch
):
    await service.play(catalogue()["2-1"])
    await settled(service)
    appended = service.service.store.append

    async def after_another(fact, *, within=None):
        if fact.kind == "customer_forgotten":
            late = dict(
                json.loads(
                    await service.pool.fetchval(
                        "SELECT body FROM facts WHERE kind = 'hangup' ORDER BY position DESC LIMIT 1"
                    )
                )
            )
            await service.store("hangup", {**late, "Phone": NUMBER[1:], "again": "80290000101"})
        return await appended(fact, within=within)

    monkeypatch.setattr(service.service.store, "append", after_another)
    told = await forget(service)
    assert await telling(service.pool) == {}
    assert (
        told["facts"]
        == json.loads(
            await service.pool.fetchval("SELECT body FROM facts WHERE kind = 'customer_forgotten'")
        )["facts"]
    )


async def test_the_command_forgets_without_a_service_and_the_next_start_shows_nothing_else(
    database: TestDatabase, tmp_path: Path
):
    async with running(database.dsn, tmp_path, DIRECTORY, call_settle="1") as service:
        await everything(service)
    env = settings_env(database.dsn)
    asked = await command("forget", "--enterprise", "0367", "--phone", NUMBER, env=env, folder=tmp_path)
    assert asked.code == 2
    assert "--yes" in asked.errors
    done = await command(
        "forget",
        "--enterprise",
        "0367",
        "--phone",
        "8 029 000-01-01",
        "--yes",
        "--json",
        env=env,
        folder=tmp_path,
    )
    assert done.code == 0, done.errors
    told = json.loads(done.output)
    assert told["done"]
    assert not spelled(done.output)
    key = tmp_path / "data" / FILE_NAME
    assert key.stat().st_mode & 0o777 == 0o600
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=2) as pool:
        assert await telling(pool) == {}
    checked = await command("rebuild", "all", "--check", env=env, folder=tmp_path)
    assert checked.code == 0, checked.errors
    refused = await command(
        "forget", "--enterprise", "0367", "--phone", "150", "--yes", env=env, folder=tmp_path
    )
    assert (refused.code, len(refused.errors.splitlines())) == (1, 1)
    key.write_text("0" * 64 + "\n")
    lost = await command(
        "forget", "--enterprise", "0367", "--phone", OTHER_CUSTOMER, "--yes", env=env, folder=tmp_path
    )
    assert lost.code == 1
    assert "forget-key" in lost.errors


async def test_the_command_has_the_running_service_forget(service: Running):
    await play(service)
    await settled(service)
    done = await service.command("forget", "--enterprise", "0367", "--phone", NUMBER, "--yes")
    assert done.code == 0, done.errors
    assert "in the number's place stands +375" in done.output
    assert await telling(service.pool) == {}


async def test_a_forgotten_number_is_a_digest_that_nobody_can_try_without_the_key(service: Running):
    await play(service)
    await settled(service)
    await forget(service)
    row = await service.pool.fetchrow("SELECT * FROM forgotten")
    key = bytes.fromhex((service.folder / "data" / FILE_NAME).read_text())
    assert len(key) == 32
    assert len(row["digest"]) == 32
    assert key.hex() not in str([dict(row)])
    assert await service.pool.fetchval("SELECT count(*) FROM forgotten_legs") == 0


def backlog(scenario: str, seed: int, begun: float) -> list[bytes]:
    """A host's day file."""
    return [
        msgspec.json.encode(
            {
                "t": datetime.fromtimestamp(begun + event.offset, UTC).isoformat(),
                "event": event.kind,
                "body": {**event.body, "CallerIDName": NAME, "note": f"«{NAME}»"}
                if event.body.get("CallerIDNum") == NUMBER[1:]
                else event.body,
            }
        )
        for event in catalogue()[scenario].events(begun, seed, token=TOKEN)
    ]


async def recover(service: Running, lines: list[bytes]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as host:
        answer = await host.post("/recover", content=b"\n".join(lines), headers={"Token": TOKEN})
    assert answer.status_code == 200, answer.text
    last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    return last


async def test_recover_of_the_same_day_stores_nothing_and_of_another_brings_nothing_back(service: Running):
    day = backlog("2-18", 3, BEGUN) + backlog("2-1", 4, BEGUN + 500)
    assert (await recover(service, day))["stored"] == len(day)
    await settled(service)
    pseudonym = (await forget(service))["pseudonym"]
    again = await recover(service, day)
    assert (again["stored"], again["known"]) == (0, len(day))
    other = await recover(service, backlog("2-9", 5, BEGUN + 86_400))
    assert other["stored"] > 0
    await settled(service)
    assert await telling(service.pool) == {}
    customer = await service.get(f"/api/customers/0367/{pseudonym}")
    assert customer["in_total"] + customer["out_total"] == 3
    refused = await recover(
        service, [b'{"event":"start","body":{"Token":"%s","Phone":"375290000101"}}' % TOKEN.encode()]
    )
    assert refused["refused"] == 1


async def test_who_calls_after_being_forgotten_is_known_to_recover_by_the_real_number(service: Running):
    assert (await recover(service, backlog("2-18", 3, BEGUN)))["stored"] > 0
    await settled(service)
    await forget(service)
    played = await service.play(catalogue()["2-1"], seed=9)
    await settled(service)
    day = [msgspec.json.encode({"event": event.kind, "t": None, "body": event.body}) for event in played]
    again = await recover(service, day)
    assert (again["stored"], again["known"]) == (0, len(day))


async def test_the_command_recovers_without_a_service_and_brings_nothing_back(database, tmp_path: Path):
    day = backlog("2-18", 3, BEGUN)
    async with running(database.dsn, tmp_path, DIRECTORY, call_settle="1") as service:
        assert (await recover(service, day))["stored"] == len(day)
        await settled(service)
        await forget(service)
    (tmp_path / "day.jsonl").write_bytes(b"\n".join(day + backlog("2-9", 5, BEGUN + 86_400)))
    done = await command("recover", "day.jsonl", "--json", env=settings_env(database.dsn), folder=tmp_path)
    assert done.code == 0, done.errors
    assert json.loads(done.output)["known"] == len(day)
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=2) as pool:
        assert await telling(pool) == {}


async def archive(database: TestDatabase, folder: Path) -> list[Path]:
    """Move what began in May; the files."""
    async with connected(database.dsn) as connection:
        await connection.execute(
            "UPDATE facts SET recorded_at = recorded_at - interval '100 days' WHERE month = '2026-05-01'"
        )
        now = datetime.now(UTC)
        wanted = moving.Wanted(date(2026, 6, 1), None, now)
        async with moving.alone(connection):
            moved = await moving.Mover(connection, folder / "data" / "archive", wanted).run(lambda _: None)
    assert moved.left == []
    return [folder / "data" / "archive" / one.file for one in moved.files]


async def test_archived_months_tell_nothing_either_and_their_rows_are_renamed(
    database: TestDatabase, tmp_path: Path
):
    async with running(database.dsn, tmp_path, DIRECTORY, call_settle="1") as service:
        await play(service)
        leg = await service.pool.fetchval("SELECT call_id FROM calls WHERE customer = $1 LIMIT 1", NUMBER)
        told = {"Token": TOKEN, "UniqueId": leg, "url": "https://pbx.example/375290000101.mp3"}
        assert (await service.client.post("/recordings", json=told)).status_code == 200
        await service.play(catalogue()["2-1"], seed=99)
        await settled(service)
    files = await archive(database, tmp_path)
    assert len(files) == 1
    async with running(database.dsn, tmp_path, call_settle="1") as service:
        before = await rows(service.pool)
        told = await forget(service)
        assert told["facts"] > 50
        assert unordered(await rows(service.pool)) == renamed(before, told["pseudonym"])
        assert await telling(service.pool) == {}
        assert await service.pool.fetchval("SELECT count(*) FROM calls WHERE recordings <> '{}'") == 0
    assert not files[0].exists()
    kept = list((tmp_path / "data" / "archive").rglob("*.parquet"))
    assert len(kept) == 1
    found = FactFile(kept[0])
    archived = list(found.all())
    found.close()
    assert [row for row in archived if spelled(row.body.decode()) or spelled(row.meta.decode())] == []
    assert [row.kind for row in archived if row.kind.startswith("recording")] == ["recording_forgotten"]
    assert {json.loads(row.body)["hash"] for row in archived if row.kind == "delivery_edited"} == {""}
    async with connected(database.dsn) as connection:
        await moving.tidy(connection, tmp_path / "data" / "archive")
        assert sha256_of(kept[0]) == await connection.fetchval("SELECT sha256 FROM archived")


def edge_of_june(seed: int) -> list[bytes]:
    """A backlog of calls that overlap at the end of May and the beginning of June, and one more an hour later.

    Somebody's leg of June would find another call, were it not for one that began in May.
    """
    chance, midnight = random.Random(seed), datetime(2026, 6, 1, tzinfo=UTC)
    told = []
    for _ in range(6):
        at = midnight + timedelta(seconds=chance.randrange(-60, 60))
        played = catalogue()[chance.choice(list(catalogue()))].events(
            at.timestamp(),
            chance.randrange(10**6),
            least=chance.random() < 0.4,
            cast={**CAST, "C": chance.choice(["375290000101", "375291111111"])},
        )
        told += [(at + timedelta(seconds=event.offset), event) for event in played]
    later = midnight + timedelta(hours=1)
    told += [
        (later + timedelta(seconds=e.offset), e) for e in catalogue()["2-1"].events(later.timestamp(), 7)
    ]
    told.sort(key=lambda one: one[0])
    return [
        msgspec.json.encode(
            {"t": at.isoformat(), "event": event.kind, "body": {**event.body, "Token": TOKEN}}
        )
        for at, event in told
    ]


@pytest.mark.parametrize("seed", [423, 1336])
async def test_calls_that_went_on_beside_archived_ones_are_told_as_before(
    database: TestDatabase, tmp_path: Path, seed: int
):
    async with running(database.dsn, tmp_path, DIRECTORY, call_settle="1") as service:
        await recover(service, edge_of_june(seed))
        await settled(service)
        await service.play(catalogue()["2-1"], seed=99)
        await settled(service)
    assert len(await archive(database, tmp_path)) == 1
    async with running(database.dsn, tmp_path, call_settle="1") as service:
        before = await rows(service.pool)
        assert len({row["call_id"] for row in before["calls"]}) > 3
        told = await forget(service)
        assert unordered(await rows(service.pool)) == renamed(before, told["pseudonym"])
        assert await telling(service.pool) == {}
        checked = await service.command("rebuild", "all", "--check")
        assert checked.code == 0, checked.output
