"""Recordings over real HTTP: a host gives one, the call's messages get their link, and it leads to the bytes."""

import asyncio
import hashlib
import html
import json
import os
import re

import httpx
import pytest

from adapters.http import forms
from adapters.http import recordings as routes
from adapters.recordings.files import RecordingFiles
from calls.facts import RECORDING_ADDED
from calls.scenarios import catalogue
from tests.botapi import BotApiServer
from tests.running import TOKEN, UNLIMITED, Running, enterprise, running

BOT = "123456789:bot-of-the-recordings"
CHATS = (1001, 1002)
PUBLIC = "https://calls.example/of/june"
DIRECTORY = enterprise("0367", bot_token=BOT, chats=CHATS) + enterprise(
    "0368", "375290000009", networks=("192.0.2.0/24",)
)
SOUND = b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(range(256)) * 400
OTHER = b"OggS\x00\x02" + bytes(range(255, -1, -1)) * 300
LINK = re.compile(r'🔉 <a href="([^"]*)">Запись разговора</a>')


@pytest.fixture
async def telegram():
    async with BotApiServer(BOT) as server:
        yield server


@pytest.fixture
def serve(database, tmp_path, telegram):
    """The service on this database, as often as it is started."""

    def started(directory=DIRECTORY, **settings):
        settings = {"public_url": PUBLIC, "telegram_api": telegram.base_url, **settings}
        return running(database.dsn, tmp_path, directory, rates=UNLIMITED, **settings)

    return started


@pytest.fixture
async def service(serve):
    async with serve() as service:
        yield service


async def upload(service: Running, unique_id: str, content: bytes = SOUND, **fields: str) -> httpx.Response:
    """As ``curl -F Token=… -F UniqueId=… -F file=@…`` does."""
    data = {"Token": TOKEN, "UniqueId": unique_id, **fields}
    files = {"file": ("../../etc/passwd", content, "text/html")}
    return await service.client.post("/recordings", data=data, files=files)


async def added(service: Running, unique_id: str, content: bytes = SOUND) -> dict[str, object]:
    answer = await upload(service, unique_id, content)
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


async def played(service: Running, scenario: str = "2-1", **more: int) -> str:
    """Play a call to its end; its id."""
    await service.play(catalogue()[scenario], **more)
    await service.quiet()
    (call,) = (await service.get("/api/calls", enterprise="0367"))["items"]
    return str(call["call_id"])


def messages(telegram: BotApiServer) -> list[list[str]]:
    """By chat, what its one message has shown."""
    found = []
    for chat in CHATS:
        (message,) = telegram.chats[chat].values()
        found.append(list(message.texts))
    return found


def path_of(text: str) -> str:
    """The path of the link in a card, below the address of this service."""
    (found,) = LINK.findall(text)
    url = html.unescape(found)
    assert url.startswith(f"{PUBLIC}/recordings/")
    return url.removeprefix(PUBLIC)


def stored(folder) -> set[str]:
    """Every file below DATA_DIR/recordings."""
    home = folder / "data" / "recordings"
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def file_of(ident: object, content: bytes) -> str:
    return f"0367/{ident}/{hashlib.sha256(content).hexdigest()}"


async def facts(service: Running) -> int:
    count: int = await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = $1", RECORDING_ADDED)
    return count


# the link in the messages


async def test_an_ended_call_gets_its_link_by_one_more_edit_in_every_chat(service, telegram):
    call_id = await played(service)
    before = messages(telegram)
    told = await added(service, call_id)
    assert told["status"] == "stored"
    await service.quiet()
    for texts, earlier in zip(messages(telegram), before, strict=True):
        assert texts[:-1] == earlier
        assert LINK.sub("", texts[-1]).replace("\n\n", "\n") == earlier[-1], "a line more, nothing else"
        answer = await service.client.get(path_of(texts[-1]))
        assert (answer.status_code, answer.content) == (200, SOUND)
        assert answer.headers["content-type"] == "audio/wav"
    call = await service.get(f"/api/calls/0367/{call_id}")
    address = f"{PUBLIC}/recordings/{told['id']}"
    assert call["recordings"] == [{"id": told["id"], "address": address}]
    (row,) = (await service.get("/api/calls", enterprise="0367"))["items"]
    assert row["recordings"] == call["recordings"]
    assert row["ended_at"] == call["ended_at"]
    assert len(call["messages"]) == len(CHATS)


async def test_the_same_again_is_known_and_another_keeps_the_link(service, telegram, tmp_path):
    call_id = await played(service)
    first = await added(service, call_id)
    await service.quiet()
    shown = messages(telegram)
    again = await added(service, call_id)
    assert again == {**first, "status": "known"}
    other = await added(service, call_id, OTHER)
    assert other["id"] == first["id"]
    assert other["position"] != first["position"]
    await service.quiet()
    assert messages(telegram) == shown, "the link is the same, so there is nothing to edit"
    answer = await service.client.get(path_of(shown[0][-1]))
    assert (answer.content, answer.headers["content-type"]) == (OTHER, "audio/ogg")
    assert stored(tmp_path) == {file_of(first["id"], OTHER)}
    assert await facts(service) == 2


async def test_a_recording_before_the_hangup_and_before_the_call(service, telegram):
    events = catalogue()["2-1"].events(1_777_885_200.0, 1, token=TOKEN)
    call_id = str(events[0].body["UniqueId"])
    told = await added(service, call_id)
    await service.quiet()
    assert telegram.requests == []
    assert (await service.get("/api/calls", enterprise="0367"))["items"] == []
    await service.send([(event.kind, json.dumps(event.body).encode()) for event in events[:-1]])
    await service.quiet()
    assert all(path_of(texts[-1]).endswith(str(told["id"])) for texts in messages(telegram))
    assert await added(service, call_id) == {**told, "status": "known"}
    await service.send([(events[-1].kind, json.dumps(events[-1].body).encode())])
    await service.quiet()
    assert all(texts[-1].startswith("✅") and LINK.search(texts[-1]) for texts in messages(telegram))
    check = await service.command("rebuild", "all", "--check")
    assert check.code == 0, check.output + check.errors


async def test_the_recording_of_a_follower_is_of_the_call_that_it_belongs_to(service, telegram):
    call_id = await played(service, "2-9")
    row = await service.get(f"/api/calls/0367/{call_id}")
    follower = row["legs"][1]
    before = messages(telegram)
    told = await added(service, follower)
    await service.quiet()
    assert [len(texts) for texts in messages(telegram)] == [len(texts) + 1 for texts in before]
    assert all(path_of(texts[-1]).endswith(str(told["id"])) for texts in messages(telegram))
    fresh = await service.get(f"/api/calls/0367/{call_id}")
    assert [one["id"] for one in fresh["recordings"]] == [told["id"]]
    assert {name: fresh[name] for name in row if name not in CHANGED} == {
        name: row[name] for name in row if name not in CHANGED
    }
    check = await service.command("rebuild", "all", "--check")
    assert check.code == 0, check.output + check.errors


CHANGED = {"recordings", "last_position", "messages", "deliveries"}


async def test_a_call_of_a_run_before_gets_its_link_and_keeps_it(serve, telegram):
    async with serve() as service:
        call_id = await played(service)
        before = messages(telegram)
    async with serve("") as service:
        told = await added(service, call_id)
        await service.quiet()
        shown = messages(telegram)
        assert all(path_of(texts[-1]).endswith(str(told["id"])) for texts in shown)
        assert all(len(texts) > len(earlier) for texts, earlier in zip(shown, before, strict=True))
    async with serve("") as service:
        await service.quiet()
        assert all(LINK.search(texts[-1]) for texts in messages(telegram))
        answer = await service.client.get(path_of(shown[0][-1]))
        assert answer.content == SOUND
        check = await service.command("rebuild", "all", "--check")
        assert check.code == 0, check.output + check.errors


async def test_a_recording_whose_edit_was_cut_off_is_told_after_the_restart(serve, telegram):
    async with serve() as service:
        call_id = await played(service)
        service.service.outbox.pause()
        await added(service, call_id)
        async with asyncio.timeout(10):
            while service.service.house.projected < service.service.house.position:
                await asyncio.sleep(0.01)
        assert not any(LINK.search(texts[-1]) for texts in messages(telegram))
    async with serve("") as service:
        await service.quiet()
        assert all(LINK.search(texts[-1]) for texts in messages(telegram))


async def test_without_a_public_address_only_the_preview_has_links(serve, telegram):
    preview = enterprise("0369", "375290000008", chats=(2001,))
    async with serve(DIRECTORY + preview, public_url="") as service:
        call_id = await played(service)
        shown = messages(telegram)
        await added(service, call_id)
        await service.quiet()
        assert messages(telegram) == shown
        await service.play(catalogue()["2-1"], token="375290000008")
        await service.quiet()
        (call,) = (await service.get("/api/calls", enterprise="0369"))["items"]
        told = (await upload(service, call["call_id"], Token="375290000008")).json()
        await service.quiet()
        (message,) = await service.service.preview_store.messages(2001)
        assert f'href="{service.url}/recordings/{told["id"]}"' in message.text
        assert (await service.client.get(f"/recordings/{told['id']}")).content == SOUND


async def test_an_address_elsewhere_is_where_the_link_leads(service, telegram):
    call_id = await played(service)
    url = "https://pbx.example/2026/05/04/a%20b.wav?x=1&y=2"
    body = {"Token": TOKEN, "UniqueId": call_id, "url": url}
    told = (await service.client.post("/recordings", json=body)).json()
    assert told["status"] == "stored"
    assert (await service.client.post("/recordings", json=body)).json() == {**told, "status": "known"}
    await service.quiet()
    path = path_of(messages(telegram)[0][-1])
    answer = await service.client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (302, url)
    form = {"Token": TOKEN, "UniqueId": call_id, "url": url + "&z=3"}
    assert (await service.client.post("/recordings", data=form)).status_code == 415
    parts = [(name, (None, value)) for name, value in form.items()]
    assert (await service.client.post("/recordings", files=parts)).json()["id"] == told["id"]
    assert (await service.client.get(path)).headers["location"] == url + "&z=3"


async def test_a_file_gives_way_to_an_address_and_the_other_way_round(service, tmp_path):
    body = {"Token": TOKEN, "UniqueId": "1.1", "url": "https://pbx.example/a.wav"}
    told = await added(service, "1.1")
    assert stored(tmp_path) == {file_of(told["id"], SOUND)}
    await service.client.post("/recordings", json=body)
    assert stored(tmp_path) == set()
    assert (await added(service, "1.1"))["id"] == told["id"]
    assert (await service.client.get(f"/recordings/{told['id']}")).content == SOUND


# what is served


async def test_a_part_of_a_file_is_served_and_nothing_is_sent_that_is_known(service):
    ident = (await added(service, "1.1"))["id"]
    path = f"/recordings/{ident}"
    whole = await service.client.get(path)
    etag = whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"] == 'inline; filename="recording.wav"'
    assert "private" in whole.headers["cache-control"]
    assert whole.headers["x-request-id"]
    size = len(SOUND)
    part = await service.client.get(path, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, SOUND[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{size}"
    last = await service.client.get(path, headers={"Range": "bytes=-10"})
    assert (last.status_code, last.content) == (206, SOUND[-10:])
    other = await service.client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, SOUND)
    behind = await service.client.get(path, headers={"Range": f"bytes={size}-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{size}")
    known = await service.client.get(path, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    head = await service.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(size)


async def test_what_is_no_sound_is_only_saved(service):
    ident = (await added(service, "1.1", b"<!doctype html><script>alert(1)</script>"))["id"]
    answer = await service.client.get(f"/recordings/{ident}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="recording.bin"'


async def test_whoever_has_no_link_gets_nothing(service, tmp_path):
    ident = str((await added(service, "1.1"))["id"])
    gone = f"/recordings/{ident}"
    wrong = ["0" * 32, ident.upper(), ident[:-1], "%2e%2e%2fadmin-token", f"{ident}/x", "1.1", "0367"]
    answers = [await service.client.get(f"/recordings/{one}") for one in wrong]
    assert {(one.status_code, one.json()["detail"]) for one in answers} == {
        (404, "there is no such recording")
    }
    assert (await service.client.delete(gone)).status_code == 405
    assert (await service.client.get("/recordings")).status_code == 405
    (tmp_path / "data" / "recordings" / file_of(ident, SOUND)).unlink()
    assert (await service.client.get(gone)).json()["detail"] == "there is no such recording"
    assert (await added(service, "1.1"))["status"] == "known"
    assert (await service.client.get(gone)).content == SOUND


# what is refused


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"UniqueId": "1.1", "url": "https://a.b/c"}, 401, "Token is missing"),
        ({"Token": "9", "UniqueId": "1.1", "url": "https://a.b/c"}, 401, "of no enterprise"),
        ({"Token": "375290000009", "UniqueId": "1.1", "url": "https://a.b/c"}, 403, "allowed networks"),
        ({"Token": TOKEN, "url": "https://a.b/c"}, 400, "UniqueId is missing"),
        ({"Token": TOKEN, "UniqueId": "x" * 201, "url": "https://a.b/c"}, 400, "200 printable"),
        ({"Token": TOKEN, "UniqueId": "1.1"}, 400, "url and file are both missing"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": 7}, 400, "url is no text"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "ftp://a.b/c"}, 400, "http(s)://"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "javascript:alert(1)"}, 400, "http(s)://"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "/c.wav"}, 400, "http(s)://"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "https://a.b:99999/"}, 400, "http(s)://"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "https://me:secret@a.b/c"}, 400, "password"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "https://a.b/c d"}, 400, "percent-encoded"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "https://a.b/\r\nX: y"}, 400, "percent-encoded"),
        ({"Token": TOKEN, "UniqueId": "1.1", "url": "https://a.b/" + "c" * 2000}, 400, "up to 2000"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_kept(service, body, status, detail):
    answer = await service.client.post("/recordings", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert await facts(service) == 0
    await service.service.rejects.flush()
    kept = await service.pool.fetchval("SELECT count(*) FROM rejected WHERE path = '/recordings'")
    assert kept == (status in {400, 403})


async def test_a_body_of_another_kind_or_no_body_is_refused(service):
    post = service.client.post
    assert (
        await post("/recordings", content=b"<x/>", headers={"Content-Type": "text/xml"})
    ).status_code == 415
    assert (await post("/recordings", content=b"")).status_code == 415
    assert (await post("/recordings", content=b"{", headers=JSON)).status_code == 400
    assert (await post("/recordings", content=b" " * 70_000, headers=JSON)).status_code == 413
    nothing = {"Content-Type": "multipart/form-data"}
    assert (await post("/recordings", content=b"x", headers=nothing)).status_code == 400
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await post("/recordings", content=b"--b\r\nnonsense", headers=broken)).status_code == 400


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("parts", "status", "detail"),
    [
        ([("file", ("a", SOUND)), ("Token", (None, TOKEN)), ("UniqueId", (None, "1.1"))], 400, "before"),
        ([("Token", (None, "9")), ("UniqueId", (None, "1.1")), ("file", ("a", SOUND))], 401, "no enterprise"),
        ([("Token", (None, TOKEN)), ("file", ("a", SOUND))], 400, "UniqueId is missing"),
        ([("Token", (None, TOKEN)), ("UniqueId", (None, "1.1")), ("file", ("a", b""))], 400, "empty"),
        (
            [
                ("Token", (None, TOKEN)),
                ("UniqueId", (None, "1.1")),
                ("file", ("a", b"1")),
                ("file", ("b", b"2")),
            ],
            400,
            "twice",
        ),
        (
            [
                ("Token", (None, TOKEN)),
                ("UniqueId", (None, "1.1")),
                ("url", (None, "https://a.b/c")),
                ("file", ("a", b"1")),
            ],
            400,
            "both there",
        ),
        (
            [("Token", (None, TOKEN)), ("UniqueId", (None, "\udcff".encode("utf-8", "surrogateescape")))],
            400,
            "UTF-8",
        ),
        ([("Token", (None, TOKEN)), ("UniqueId", (None, "1" * 70_000))], 413, "65536"),
    ],
)
async def test_a_form_that_is_wrong_leaves_nothing(service, tmp_path, parts, status, detail):
    answer = await service.client.post("/recordings", files=parts)
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert stored(tmp_path) == set()
    assert await facts(service) == 0


async def test_another_token_in_the_header_is_refused_before_the_file_is_read(service, tmp_path):
    files = {"file": ("a", SOUND)}
    data = {"Token": TOKEN, "UniqueId": "1.1"}
    answer = await service.client.post("/recordings", data=data, files=files, headers={"Token": "9"})
    assert (answer.status_code, "header differs" in answer.json()["detail"]) == (403, True)
    answer = await service.client.post("/recordings", data=data, files=files, headers={"Token": TOKEN})
    assert answer.status_code == 200


async def test_fifty_mebibytes_are_taken_and_no_byte_more(service, tmp_path):
    largest = SOUND + bytes(routes.LARGEST_FILE - len(SOUND))
    told = await added(service, "1.1", largest)
    assert stored(tmp_path) == {file_of(told["id"], largest)}
    size = (await service.client.head(f"/recordings/{told['id']}")).headers["content-length"]
    assert size == str(routes.LARGEST_FILE)
    answer = await upload(service, "1.2", largest + b"x")
    assert answer.status_code == 413
    assert stored(tmp_path) == {file_of(told["id"], largest)}


async def test_what_is_too_large_by_its_own_word_is_not_read(service):
    head = (
        "POST /recordings HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {routes.LARGEST_FILE * 2}\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    writer.close()


async def begun(service: Running, token: str = TOKEN) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A form whose file has begun, and goes on no further."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /recordings HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=Token\r\n\r\n"
        + token.encode()
        + b"\r\n--b\r\nContent-Disposition: form-data; name=UniqueId\r\n\r\n1.1\r\n"
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + SOUND
    )
    await writer.drain()
    return reader, writer


async def until(folder, count: int) -> None:
    async with asyncio.timeout(10):
        while len(stored(folder)) != count:
            await asyncio.sleep(0.01)


async def test_a_sender_that_goes_away_leaves_nothing(service, tmp_path):
    _, writer = await begun(service)
    await until(tmp_path, 1)
    writer.transport.abort()
    await until(tmp_path, 0)
    assert await facts(service) == 0


async def test_a_sender_that_stalls_is_told_and_leaves_nothing(service, tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "STALLED", 0.2)
    reader, writer = await begun(service)
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    await until(tmp_path, 0)
    writer.close()


async def test_only_some_come_at_once_and_an_end_makes_room(service, tmp_path):
    waiting = [await begun(service) for _ in range(routes.MOST_AT_ONCE // 2)]
    await until(tmp_path, len(waiting))
    answer = await upload(service, "1.2")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    for _, writer in waiting:
        writer.transport.abort()
    await until(tmp_path, 0)
    assert (await upload(service, "1.2")).status_code == 200


async def test_a_full_disk_is_said_and_leaves_nothing(service, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(RecordingFiles, "note", full)
        answer = await upload(service, "1.1")
    assert (answer.status_code, await facts(service)) == (507, 0)
    assert stored(tmp_path) == set()
    assert (await upload(service, "1.1")).status_code == 200


async def test_two_at_once_for_one_leg_have_one_id_and_one_file(service, tmp_path):
    contents = [SOUND + bytes([number]) for number in range(4)]
    told = await asyncio.gather(*(added(service, "1.1", content) for content in contents))
    (ident,) = {one["id"] for one in told}
    newest = max(zip(told, contents, strict=True), key=lambda pair: int(str(pair[0]["position"])))[1]
    assert stored(tmp_path) == {file_of(ident, newest)}
    assert (await service.client.get(f"/recordings/{ident}")).content == newest


async def test_an_instance_that_stands_by_takes_none_and_serves_what_there_is(serve, tmp_path):
    async with serve() as leader:
        ident = (await added(leader, "1.1"))["id"]
        async with serve("", lead=False) as other:
            answer = await upload(other, "1.2")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert (await other.client.get(f"/recordings/{ident}")).content == SOUND
        assert stored(tmp_path) == {file_of(ident, SOUND)}


# what a crash leaves


async def test_what_a_crash_has_left_is_removed_at_the_next_start(serve, tmp_path):
    home = tmp_path / "data" / "recordings"
    async with serve() as service:
        kept = (await added(service, "1.1"))["id"]
        lost = (await added(service, "1.2"))["id"]
        await service.pool.execute("DELETE FROM facts WHERE stream = 'leg/1.2'")
    digest = hashlib.sha256(SOUND).hexdigest()
    newer = hashlib.sha256(OTHER).hexdigest()
    (home / "incoming" / f"0367.{lost}.{digest}").touch()
    (home / "incoming" / f"0367.{kept}.{newer}").touch()
    (home / "0367" / str(kept) / newer).write_bytes(OTHER)
    (home / "incoming" / "0123.part").write_bytes(b"half")
    async with serve("") as service:
        assert stored(tmp_path) == {file_of(kept, SOUND)}
        assert (await service.client.get(f"/recordings/{kept}")).content == SOUND
        assert (await service.client.get(f"/recordings/{lost}")).status_code == 404


async def test_a_store_that_does_not_take_the_fact_is_told_and_the_same_again_is_stored(
    service, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(service.service.writer, "stands_by", True)
        answer = await upload(service, "1.1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert len(stored(tmp_path)) == 2, "the file and a note of it: nobody knows whether its fact is there"
    told = await added(service, "1.1")
    assert told["status"] == "stored"
    assert stored(tmp_path) == {file_of(told["id"], SOUND)}
