"""``POST /recover`` and ``callfold recover``: what is known is recognised, what is lost is stored where it happened."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from adapters.asterisk.sender import host_json
from adapters.http import recover as route
from adapters.recovery import feed
from adapters.recovery.feed import Outcome, Wanted
from adapters.store import writer
from adapters.store.batch import MAX_BATCH, take
from calls.scenarios import Played, catalogue
from tests.botapi import BotApiServer
from tests.running import TOKEN, UNLIMITED, Running, command, enterprise, running, settings_env

BOT = "123456789:bot-of-the-recovery"
CHAT = 1001
OTHER = "375290000009"
DIRECTORY = enterprise("0367", bot_token=BOT, chats=(CHAT,)) + enterprise(
    "0368", OTHER, networks=("192.0.2.0/24",), chats=()
)
MINSK = ZoneInfo("Europe/Minsk")


@pytest.fixture
async def telegram():
    async with BotApiServer(BOT) as server:
        yield server


@pytest.fixture
async def service(database, tmp_path, telegram):
    async with running(
        database.dsn, tmp_path, DIRECTORY, rates=UNLIMITED, telegram_api=telegram.base_url
    ) as service:
        yield service


def lately(scenario: str = "2-18", ago: float = 600, seed: int = 1) -> list[tuple[datetime, Played]]:
    """A call that began so many seconds ago, with the time of each event."""
    begun = int(time.time() - ago)
    played = catalogue()[scenario].events(begun, seed, token=TOKEN)
    return [(datetime.fromtimestamp(begun + event.offset, UTC), event) for event in played]


def line(at: datetime | str | None, event: Played, **more: object) -> bytes:
    t = at.isoformat() if isinstance(at, datetime) else at
    return msgspec.json.encode(
        {"t": t, "event": event.kind, "body": msgspec.Raw(host_json(event.body)), **more}
    )


def lines(events: Iterable[tuple[datetime, Played]]) -> list[bytes]:
    return [line(at, event) for at, event in events]


async def push(
    service: Running, told: Iterable[bytes], token: str = TOKEN, **query: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """As a host pushes its backlog; the answers for the lines, and the last one."""
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as host:
        answer = await host.post("/recover", content=b"\n".join(told), headers={"Token": token}, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *each, last = [json.loads(text) for text in answer.text.splitlines()]
    return each, last


def statuses(each: Iterable[dict[str, Any]]) -> list[str]:
    return [one["status"] for one in each]


async def stored(
    service: Running, source: str = "recovery"
) -> list[tuple[str, str, datetime, bytes, dict[str, Any]]]:
    """(stream, kind, occurred_at, body, meta) of what is stored, by position."""
    rows = await service.pool.fetch(
        "SELECT stream, kind, occurred_at, body, meta FROM facts WHERE source = $1 ORDER BY position", source
    )
    return [(row[0], row[1], row[2], row[3], json.loads(row[4] or b"{}")) for row in rows]


# the route


async def test_a_backlog_is_stored_in_its_order_where_its_log_says(service: Running):
    events = lately()
    each, last = await push(service, lines(events), file="day.jsonl")
    assert statuses(each) == ["stored"] * len(events)
    assert [one["line"] for one in each] == list(range(1, len(events) + 1))
    assert last == {"status": "done", "stored": len(events), "known": 0, "missing": 0, "refused": 0}
    found = await stored(service)
    assert [(kind, at, body) for _, kind, at, body, _ in found] == [
        (event.kind, at, host_json(event.body)) for at, event in events
    ]
    assert [(meta["file"], meta["line"]) for *_, meta in found] == [
        ("day.jsonl", number) for number in range(1, len(events) + 1)
    ]


async def test_the_same_backlog_again_stores_nothing(service: Running):
    told = lines(lately())
    first, _ = await push(service, told)
    again, last = await push(service, told)
    assert statuses(again) == ["known"] * len(told)
    assert [one["position"] for one in again] == [one["position"] for one in first]
    assert (last["stored"], last["known"]) == (0, len(told))


async def test_what_came_live_is_known_however_it_is_spelled(service: Running):
    events = lately("2-1")
    for _, event in events[::2]:
        await service.store(event.kind, event.body)
    told = [
        msgspec.json.encode(
            {"body": {**dict(reversed(event.body.items())), "Token": "of-last-year"}, "event": event.kind}
        )
        for _, event in events
    ]
    each, _ = await push(service, told)
    assert statuses(each) == ["known" if place % 2 == 0 else "stored" for place in range(len(events))]


async def test_the_kth_equal_event_is_the_kth_stored_one(service: Running):
    at, event = lately("2-1")[0]
    await service.store(event.kind, event.body)
    each, _ = await push(service, [line(at, event)] * 3)
    assert statuses(each) == ["known", "stored", "stored"]
    each, _ = await push(service, [line(at, event)] * 4)
    assert statuses(each) == ["known", "known", "known", "stored"]


async def test_backlogs_that_overlap_store_what_is_in_both_once(service: Running):
    told = lines(lately())
    half = len(told) // 2
    await push(service, told[: half + 5])
    each, _ = await push(service, told[half - 5 :])
    assert statuses(each) == ["known"] * 10 + ["stored"] * (len(told) - half - 5)
    assert len(await stored(service)) == len(told)


async def test_the_same_backlog_pushed_several_times_at_once_is_stored_once(service: Running):
    told = lines(lately())
    pushes = [push(service, told), push(service, told)]
    answers = await asyncio.gather(*pushes)
    assert sum(last["stored"] for _, last in answers) == len(told)
    assert len(await stored(service)) == len(told)


async def test_an_event_that_arrives_live_while_it_is_recovered_is_known(service: Running, monkeypatch):
    at, event = lately("2-1")[0]
    append = service.service.store.append
    came: list[int] = []

    async def overtaken(fact, *, within=None):
        if fact.source == "recovery" and not came:
            came.append(await service.store(event.kind, event.body))
        return await append(fact, within=within)

    monkeypatch.setattr(service.service.store, "append", overtaken)
    each, _ = await push(service, [line(at, event)])
    assert (each[0]["status"], each[0]["position"]) == ("known", came[0])
    assert await stored(service) == []


@pytest.mark.parametrize("most", [1, 2, MAX_BATCH])
async def test_a_live_event_among_several_of_its_leg_makes_them_be_decided_anew(
    service: Running, monkeypatch, most: int
):
    """However few of them the writer takes at once: the version of the one before may be the live event's."""
    monkeypatch.setattr(writer, "take", partial(take, most=most))
    of_one_leg = [(at, event) for at, event in lately("2-1") if event.kind in {"start", "dial", "hangup"}]
    append = service.service.store.append
    came: list[int] = []
    live = asyncio.Event()

    async def overtaken(fact, *, within=None):
        if fact.source == "recovery" and not came:
            came.append(0)
            came[0] = await service.store("dial", of_one_leg[1][1].body)
            live.set()
        elif fact.source == "recovery":
            async with asyncio.timeout(10):
                await live.wait()
        return await append(fact, within=within)

    monkeypatch.setattr(service.service.store, "append", overtaken)
    each, _ = await push(service, lines(of_one_leg))
    assert statuses(each) == ["stored", "known", "stored"]
    assert each[1]["position"] == came[0]


async def test_what_another_backlog_stored_between_two_lots_is_known_also_where_the_next_went_past_it(
    service: Running, monkeypatch
):
    append, alone = service.service.store.append, asyncio.Lock()

    async def one_by_one(fact, *, within=None):
        """Each in a transaction of its own, as it happens where many come at once."""
        async with alone:
            return await append(fact, within=within)

    monkeypatch.setattr(service.service.store, "append", one_by_one)
    one, other = (service.service.recovery.begin(Wanted(enterprise="0367")) for _ in range(2))
    at, event = lately("2-1")[0]
    outcomes: list[Outcome] = []
    for feeding, equal in ((one, 1), (other, 2), (one, 2), (one, 2), (other, 3)):
        await feeding.take([(len(outcomes) + place, line(at, event)) for place in range(equal)], outcomes)
    assert [outcome.status for outcome in outcomes] == [
        *["stored"],
        *["known", "stored"],
        *["known", "stored"],
        *["stored", "stored"],
        *["known", "known", "known"],
    ]
    assert len(await stored(service)) == 5


async def test_what_was_answered_is_recognised_and_not_fed(service: Running):
    events = lately("2-1")
    for _, event in events[:3]:
        await service.store(event.kind, event.body)
    told = [line(at, event, answered=place != 4) for place, (at, event) in enumerate(events)]
    each, last = await push(service, told)
    expected = ["known"] * 3 + ["missing", "stored"] + ["missing"] * (len(events) - 5)
    assert statuses(each) == expected
    assert last["missing"] == len(events) - 4
    assert statuses((await push(service, told))[0]) == [one.replace("stored", "known") for one in expected]
    each, last = await push(service, told, all="1")
    assert (last["stored"], last["known"], last["missing"]) == (len(events) - 4, 4, 0)


async def test_an_equal_event_that_was_not_delivered_stays_known_beside_one_that_was_answered(
    service: Running,
):
    at, event = lately("2-1")[0]
    told = [line(at, event, answered=True), line(at, event)]
    assert statuses((await push(service, told))[0]) == ["missing", "stored"]
    assert "stored" not in statuses((await push(service, told))[0])
    assert len(await stored(service)) == 1


async def test_lines_that_are_no_events_are_named_and_kept_and_the_rest_goes_on(service: Running):
    at, event = lately("2-1")[0]
    foreign = Played(0, "start", {**event.body, "Token": OTHER})
    told = [
        b"no",
        line(at, event),
        b"",
        line(at, foreign),
        b'{"event":"dial","body":{}}',
        b"x" * 70_000,
        b"[]",
    ]
    each, last = await push(service, told)
    assert [(one["line"], one["status"]) for one in each] == [
        (1, "refused"),
        (2, "stored"),
        (4, "refused"),
        (5, "refused"),
        (6, "refused"),
        (7, "refused"),
    ]
    assert "another enterprise" in each[2]["reason"]
    assert "65536 bytes" in each[4]["reason"]
    assert (last["stored"], last["refused"]) == (1, 5)
    kept = await service.pool.fetch("SELECT path, reason, enterprise, body FROM rejected ORDER BY id")
    assert [(row["path"], row["enterprise"]) for row in kept] == [("recover", "0367")] * 5
    assert kept[0]["body"] == b"no"


async def test_times_without_a_zone_are_the_enterprises_or_as_was_asked(service: Running):
    (at, event), (_, second) = lately("2-1")[:2]
    hours = at.replace(tzinfo=None)
    await push(service, [line(at.astimezone(MINSK).replace(tzinfo=None).isoformat(" "), event)])
    await push(service, [line(hours.isoformat(), second)], timezone="UTC")
    assert [found[2] for found in await stored(service)] == [at, at]


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        (None, {}, 401),
        ("375000000000", {}, 401),
        (OTHER, {}, 403),
        (TOKEN, {"enterprise": "0368"}, 403),
        (TOKEN, {"timezone": "Nowhere/At all"}, 400),
    ],
)
async def test_who_may_not_push_is_told_before_anything_is_read(service: Running, token, query, status):
    headers = {"Token": token} if token else {}
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as host:
        answer = await host.post("/recover", content=b"{}\n" * 50_000, headers=headers, params=query)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "request_id"}


async def test_the_admin_pushes_for_whomever_the_bodies_name_or_for_one(service: Running):
    (at, event), (_, second) = lately("2-1")[:2]
    other = Played(0, event.kind, {**event.body, "Token": OTHER})
    nobody = Played(0, second.kind, {**second.body, "Token": "375000000000"})
    told = b"\n".join([line(at, event), line(at, other), line(at, nobody)])
    answer = await service.client.post("/recover", content=told)
    each = [json.loads(text) for text in answer.text.splitlines()]
    assert statuses(each) == ["stored", "stored", "refused", "done"]
    rows = await service.pool.fetch(
        "SELECT enterprise FROM facts WHERE source = 'recovery' ORDER BY position"
    )
    assert [row[0] for row in rows] == ["0367", "0368"]
    answer = await service.client.post("/recover", content=line(at, nobody), params={"enterprise": "0368"})
    assert json.loads(answer.text.splitlines()[0])["status"] == "stored"
    answer = await service.client.post("/recover", content=told, params={"enterprise": "0999"})
    assert answer.status_code == 400


async def test_more_than_a_host_may_send_is_refused(service: Running, monkeypatch):
    monkeypatch.setattr(route, "LARGEST", 10_000)
    at, event = lately("2-1")[0]

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield line(at, event) + b"\n"

    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as host:
        told = await host.post("/recover", content=b"x" * 10_001, headers={"Token": TOKEN})
        assert told.status_code == 413
        streamed = await host.post("/recover", content=endless(), headers={"Token": TOKEN})
    last = json.loads(streamed.text.splitlines()[-1])
    assert last["status"] == "interrupted"
    assert "10000 bytes" in last["reason"]
    answer = await service.client.post("/recover", content=b"\n" * 10_001)
    assert answer.status_code == 200


async def test_no_more_than_so_many_backlogs_come_at_once(service: Running):
    at, event = lately("2-1")[0]
    gates = [asyncio.Event() for _ in range(2)]

    async def slowly(gate: asyncio.Event) -> AsyncIterator[bytes]:
        yield line(at, event) + b"\n"
        await gate.wait()

    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as host:
        pushes = [
            asyncio.create_task(host.post("/recover", content=slowly(gate), headers={"Token": TOKEN}))
            for gate in gates
        ]
        async with asyncio.timeout(10):
            while sum(service.service.recover._coming.values()) < 2:
                await asyncio.sleep(0.01)
        refused = await host.post("/recover", content=b"{}", headers={"Token": TOKEN})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        for gate in gates:
            gate.set()
        assert {(await one).status_code for one in pushes} == {200}
        assert (await host.post("/recover", content=b"{}", headers={"Token": TOKEN})).status_code == 200


async def test_a_sender_that_goes_on_only_when_it_was_answered_is_answered_line_by_line(service: Running):
    events = lately("2-1")[:4]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        f"POST /recover HTTP/1.1\r\nHost: x\r\nToken: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        for number, told in enumerate(lines(events), 1):
            sent = told + b"\n"
            writer.write(b"%x\r\n%s\r\n" % (len(sent), sent))
            assert b'"line":%d,' % number in await reader.readuntil(b"}\n")
        writer.write(b"0\r\n\r\n")
        assert b'"done"' in await reader.read()
    writer.close()


async def test_a_sender_that_reads_nothing_before_it_has_sent_all_gets_every_answer(
    service: Running, monkeypatch
):
    monkeypatch.setattr(route, "IN_MEMORY", 1000)
    at, event = lately("2-1")[0]
    told = [line(at, event)] * 300 + [b"x"] * 20_000
    monkeypatch.setattr(feed, "REST", 0.0)
    monkeypatch.setattr(service.service.rejects, "keep", lambda *_: None)
    each, last = await push(service, told)
    assert [one["line"] for one in each] == list(range(1, len(told) + 1))
    assert (last["stored"], last["refused"]) == (300, 20_000)


async def test_a_sender_that_stalls_is_given_up_and_what_was_committed_stays(service: Running, monkeypatch):
    monkeypatch.setattr(route, "STALLED", 0.2)
    told = lines(lately("2-1"))
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        f"POST /recover HTTP/1.1\r\nHost: x\r\nToken: {TOKEN}\r\nContent-Length: 9999\r\n\r\n".encode()
        + told[0]
        + b"\n"
    )
    async with asyncio.timeout(10):
        while len(await stored(service)) < 1 or service.service.recover._coming:
            await asyncio.sleep(0.02)
    writer.close()
    each, _ = await push(service, told)
    assert statuses(each) == ["known"] + ["stored"] * (len(told) - 1)


async def test_a_sender_that_vanishes_is_given_up_and_what_was_committed_stays(service: Running):
    told = lines(lately("2-1"))
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        f"POST /recover HTTP/1.1\r\nHost: x\r\nToken: {TOKEN}\r\nContent-Length: 9999\r\n\r\n".encode()
        + b"\n".join(told[:3])
        + b"\n"
    )
    async with asyncio.timeout(10):
        while len(await stored(service)) < 3:
            await asyncio.sleep(0.02)
        writer.transport.abort()
        while service.service.recover._coming:
            await asyncio.sleep(0.02)
    each, _ = await push(service, told)
    assert statuses(each)[:4] == ["known"] * 3 + ["stored"]


async def test_a_store_that_goes_away_breaks_the_backlog_off_and_the_rest_is_not_lost(
    service: Running, monkeypatch
):
    told = lines(lately("2-18"))
    append, count = service.service.store.append, 0

    async def dies(fact, *, within=None):
        nonlocal count
        count += 1
        if count == 8:
            raise feed.StoreUnavailable("gone")
        return await append(fact, within=within)

    with monkeypatch.context() as patch:
        patch.setattr(service.service.store, "append", dies)
        each, last = await push(service, told)
    assert last["status"] == "interrupted"
    assert "gone" in last["reason"]
    assert len(await stored(service)) == last["stored"] == len(each)
    _, last = await push(service, told)
    assert (last["known"], last["stored"]) == (len(each), len(told) - len(each))


async def test_a_service_that_stands_by_takes_no_backlog(service: Running, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    async with running(service.env["CALLFOLD_DATABASE_URL"], folder, lead=False) as second:
        answer = await second.client.post("/recover", content=b"{}")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


# calls and cards


async def test_a_call_that_was_lost_whole_gets_one_silent_card_with_its_sign(service: Running, telegram):
    events = lately("2-18")
    await push(service, lines(events))
    await service.quiet()
    (call,) = (await service.get("/api/calls", enterprise="0367"))["items"]
    assert call["source"] == "recovery"
    assert call["outcome"] == "answered"
    (message,) = telegram.chats[CHAT].values()
    assert all(text.startswith("✅🔄 Завершен") for text in message.texts)
    sent = [request for request in telegram.requests if request.method == "sendMessage"]
    assert [bool(request.fields.get("disable_notification")) for request in sent] == [True]


async def test_a_card_that_stands_is_edited_in_place_when_the_end_is_recovered(service: Running, telegram):
    events = lately("2-1")
    for _, event in events[:-2]:
        await service.store(event.kind, event.body)
    await service.quiet()
    (message,) = telegram.chats[CHAT].values()
    assert "Завершен" not in message.texts[-1]
    await push(service, lines(events))
    await service.quiet()
    (message,) = telegram.chats[CHAT].values()
    assert message.texts[-1].startswith("✅🔄 Завершен")


async def test_a_call_of_last_week_is_in_the_tables_and_in_no_chat(service: Running, telegram):
    await push(service, lines(lately("2-18", ago=7 * 86_400)))
    await service.quiet()
    (call,) = (await service.get("/api/calls", enterprise="0367"))["items"]
    assert call["source"] == "recovery"
    assert not telegram.chats.get(CHAT)


# the command


def jsonl(path: Path, told: Iterable[bytes]) -> Path:
    path.write_bytes(b"\n".join(told))
    return path


def day_file(path: Path, events: Iterable[tuple[datetime, Played]], delivered: set[int]) -> Path:
    """As a host writes it."""
    with closing(sqlite3.connect(path)) as base:
        base.execute(
            "CREATE TABLE AlternativeAPIlogs (DateTime TEXT, event TEXT, Uniqueid TEXT, request TEXT,"
            " status TEXT, response TEXT, responseTime REAL)"
        )
        for place, (at, event) in enumerate(events):
            local = at.astimezone(MINSK).strftime("%Y-%m-%d %H:%M:%S")
            sent, status = (
                json.dumps(event.body),
                "<Response [200]>" if place in delivered else "<Response [404]>",
            )
            base.execute(
                "INSERT INTO AlternativeAPIlogs VALUES (?, ?, ?, ?, ?, '', 0.2)",
                (local, event.kind, event.body.get("UniqueId"), sent, status),
            )
        base.commit()
    return path


async def test_the_command_feeds_a_day_file_through_the_service(service: Running, tmp_path):
    events = lately("2-18")
    delivered = set(range(0, len(events), 3))
    for place in delivered:
        await service.store(events[place][1].kind, events[place][1].body)
    path = day_file(tmp_path / "2026-05-04.db", events, delivered)
    count = len(events) - len(delivered)
    tried = await service.command("recover", str(path), "--dry-run")
    assert tried.output == f"would store {count}, known {len(delivered)}, refused 0\n"
    assert await stored(service) == []
    done = await service.command("recover", str(path))
    assert (done.code, done.output) == (0, f"stored {count}, known {len(delivered)}, refused 0\n"), (
        done.errors
    )
    again = await service.command("recover", str(path), "--json")
    told = json.loads(again.output)
    assert (told["stored"], told["known"]) == (0, len(events))
    found = await stored(service)
    assert {meta["file"] for *_, meta in found} == {"2026-05-04.db"}
    lost = [one for place, one in enumerate(events) if place not in delivered]
    assert [(kind, at) for _, kind, at, *_ in found] == [
        (event.kind, at.replace(microsecond=0)) for at, event in lost
    ]


async def test_what_was_answered_and_lost_since_is_counted_and_fed_on_demand(service: Running, tmp_path):
    events = lately("2-1")
    path = day_file(tmp_path / "day.db", events, {0, 1})
    done = await service.command("recover", str(path))
    count = len(events) - 2
    assert done.output == (
        f"stored {count}, known 0, refused 0, answered but not stored here 2 (--all feeds them)\n"
    )
    done = await service.command("recover", str(path), "--all")
    assert done.output == f"stored 2, known {count}, refused 0\n"


async def test_without_a_service_the_command_writes_itself(database, tmp_path):
    env = settings_env(database.dsn)
    directory = tmp_path / "june.toml"
    directory.write_text(DIRECTORY.replace(BOT, "preview"), "utf-8")
    assert (await command("apply", str(directory), env=env, folder=tmp_path)).code == 0
    told = lines(lately("2-18"))
    path = jsonl(tmp_path / "day.jsonl", [*told, b"no", b"", b"x" * 70_000])
    done = await command("recover", str(path), "--token", TOKEN, env=env, folder=tmp_path)
    assert done.code == 0, done.errors
    *refused, last = done.output.splitlines()
    assert last == f"stored {len(told)}, known 0, refused 2"
    assert [one.split(":")[0] for one in refused] == [f"line {len(told) + 1}", f"line {len(told) + 3}"]
    again = await command("recover", str(path), "--enterprise", "0367", env=env, folder=tmp_path)
    assert again.output.splitlines()[-1] == f"stored 0, known {len(told)}, refused 2"


async def test_lines_have_the_numbers_of_the_file_also_through_the_service(service: Running, tmp_path):
    told = lines(lately("2-1"))
    path = jsonl(tmp_path / "day.jsonl", [told[0], b"", b"x" * 70_000, b"no", *told[1:]])
    done = json.loads((await service.command("recover", str(path), "--json")).output)
    assert [one["line"] for one in done["refusals"]] == [3, 4]
    assert (done["stored"], done["refused"]) == (len(told), 2)
    assert (await stored(service))[1][4]["line"] == 5


async def test_the_command_fails_where_nothing_can_be_fed(service: Running, tmp_path):
    for name, content, reason in (
        ("empty.jsonl", b"\n\n", "no events"),
        ("wrong.jsonl", b"no\n[]", "line 1"),
        ("broken.db", b"SQLite format 3\0", "damaged"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        done = await service.command("recover", str(path))
        assert done.code == 1, name
        (said,) = done.errors.splitlines()
        assert reason in said
    known = jsonl(tmp_path / "one.jsonl", lines(lately("2-1")[:1]))
    for arguments, reason in (
        (["--enterprise", "0999"], "0999"),
        (["--token", "375000000000"], "--token"),
    ):
        done = await service.command("recover", str(known), *arguments)
        assert (done.code, len(done.errors.splitlines())) == (1, 1)
        assert reason in done.errors


async def test_wrong_usage_of_the_command(tmp_path):
    path = jsonl(tmp_path / "one.jsonl", [b"{}"])
    for arguments in (
        [],
        [str(tmp_path / "nothing.jsonl")],
        [str(path), "--timezone", "Nowhere"],
        [str(path), "--enterprise", "0367", "--token", TOKEN],
    ):
        done = await command("recover", *arguments, env={}, folder=tmp_path)
        assert done.code == 2, arguments
