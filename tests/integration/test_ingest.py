"""The eight routes of the hosts, line by line of CONTRACT 4.1, over real HTTP into a real store."""

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack, contextmanager

import asyncpg
import psutil
import pytest
import pytest_asyncio

from adapters.http import ingest
from calls.facts import EVENT_KINDS
from tests.running import TOKEN, Running, enterprise, running, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSED, NEAR = "375290000009", "375290000008"
DIRECTORY = (
    enterprise("0367", chats=())
    + enterprise("0368", CLOSED, chats=(), networks=["10.0.0.0/8"])
    + enterprise("0369", NEAR, chats=(), networks=["10.0.0.0/8", "127.0.0.0/8"])
)
KIB64 = 64 * 1024


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(postgres_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    async with running_fresh(postgres_server, folder, DIRECTORY) as service:
        yield service


@pytest.fixture
def ids(request):
    """A UniqueId that no other test uses."""
    ids.count += 1
    return f"1757840723.{ids.count}"


ids.count = 5000


def event(unique_id, token=TOKEN, **fields):
    return {"UniqueId": unique_id, "Token": token, **fields}


async def stored(service, position):
    return await service.pool.fetchrow("SELECT * FROM facts WHERE position = $1", position)


async def facts_count(service):
    return await service.pool.fetchval("SELECT count(*) FROM facts WHERE kind = ANY($1)", list(EVENT_KINDS))


def problem(answer, status):
    """The answer is a problem of RFC 9457, and gives no Token away."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail", "request_id"}
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["detail"]
    assert TOKEN not in answer.text
    return told["detail"]


async def rejected(service):
    """The newest body that was kept because it was refused."""
    await service.service.rejects.flush()
    return await service.pool.fetchrow("SELECT * FROM rejected ORDER BY id DESC LIMIT 1")


# raw HTTP, for what no client library sends


async def raw(port, *parts, until_closed=True):
    """Send parts as packets of their own; everything that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(8):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.005)  # so that the next part is a packet of its own
            return await reader.read() if until_closed else await one_answer(reader)
    finally:
        writer.close()


async def one_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-len")
    )
    return head + await reader.readexactly(length)


def head(kind="start", version="1.1", **headers):
    lines = [f"POST /{kind} HTTP/{version}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


# 200


@pytest.mark.parametrize("kind", EVENT_KINDS)
async def test_each_of_the_eight_routes_stores_what_came(service: Running, ids, kind):
    body = json.dumps(event(ids, BridgeUniqueid="b-1", Extra=[1])).encode()
    answer = await service.post(kind, body)
    assert answer.json() == {"status": "stored", "position": answer.json()["position"]}
    row = await stored(service, answer.json()["position"])
    assert (row["kind"], row["source"], row["enterprise"], row["body"]) == (kind, "live", "0367", body)
    whole_bridge = kind in {"bridge_create", "bridge_destroy"}
    assert row["stream"] == ("bridge/b-1" if whole_bridge else f"leg/{ids}")
    assert json.loads(row["meta"])["request_id"] == answer.headers["x-request-id"]


async def test_200_comes_after_the_commit_and_never_before(service: Running, ids, database):
    blocker = await asyncpg.connect(service.service.database.dsn)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE facts IN SHARE MODE")
            sending = asyncio.ensure_future(service.post("start", event(ids)))
            done, _ = await asyncio.wait([sending], timeout=0.3)
            assert not done
            assert await service.bodies("0367", ids) == []
        answer = await sending
    finally:
        await blocker.close()
    assert answer.status_code == 200
    assert len(await service.bodies("0367", ids)) == 1


async def test_a_bridge_without_a_channel_is_known_by_its_bridge(service: Running):
    body = {"UniqueId": "", "BridgeUniqueid": "b-77", "Token": TOKEN}
    row = await stored(service, await service.store("bridge_destroy", body))
    assert row["stream"] == "bridge/b-77"


VERBATIM = (
    '{ "Zulu" : 1.50 ,\n\t"UniqueId":"%s","Token":"375290000000", "Phone":"+375 29",'
    ' "nested":{"b":[1,{"a":null}],"b":2},"Phone":"375290000101","имя":"\\u041f\\ud83d\\ude00 Ж","e":1e2 }  '
)


async def test_unknown_fields_are_kept_byte_for_byte(service: Running, ids):
    body = (VERBATIM % ids).encode()
    await service.store("start", body)
    assert await service.bodies("0367", ids) == [body]


@pytest.mark.parametrize(
    "fields",
    [
        {"CallType": "0", "CallStatus": 2, "Extensions": "152&151"},
        {"CallType": 0, "CallStatus": "2", "Extensions": [152, "151", None]},
        {"Phone": 375290000101, "Trunk": 1, "Exten": 2.5, "BridgeNumChannels": 0},
        {"Phone": None, "Extensions": None, "ExternalInitiated": None, "Channel": None, "CallType": None},
        {"ExternalInitiated": "true", "CallStatus": ""},
        {"Token": int(TOKEN)},
        {"Linkedid": 1757840723.5, "StartTime": "2025-09-14T12:05:23", "EndTime": "yesterday"},
        {"Event": "Hangup", "Cause": 16, "DestChannel": {}, "CallStatus": 7, "CallType": 9},
    ],
)
async def test_numbers_as_text_and_text_as_numbers_are_fine(service: Running, ids, fields):
    body = json.dumps({**event(ids), **fields}).encode()
    await service.store("hangup", body)
    assert await service.bodies("0367", ids) == [body]


async def test_an_id_that_is_a_number_keeps_its_digits(service: Running):
    position = await service.store("start", b'{"UniqueId": 1757840723.10, "Token": %s}' % TOKEN.encode())
    assert (await stored(service, position))["stream"] == "leg/1757840723.10"


@pytest.mark.parametrize("text", [r"\u0000", r"a\u0000b", r"\u202e<b>&amp;", "😀", r"\"'\\"])
async def test_outside_texts_of_any_kind_are_stored_folded_and_shown(service: Running, ids, text):
    body = f'{{"UniqueId":"{ids}","Token":"{TOKEN}","Trunk":"{text}","Phone":"{text}","Exten":"{text}"}}'.encode()
    dial = (
        f'{{"UniqueId":"{ids}","Token":"{TOKEN}","CallType":0,"Trunk":"{text}","Phone":"{text}",'
        f'"Extensions":["{text}","150"]}}'
    ).encode()
    await service.store("start", body)
    await service.store("dial", dial)
    await service.store("hangup", event(ids, CallType=0, CallStatus="0", Extensions=[""]))
    await service.quiet()
    assert (await service.bodies("0367", ids))[:2] == [body, dial]
    shown = await service.get(f"/api/calls/0367/{ids}")
    assert shown["outcome"] == "missed"
    assert len(shown["events"]) == 3
    assert await service.pool.fetchval("SELECT count(*) FROM parked") == 0


async def test_exactly_64_kib_are_taken(service: Running, ids):
    body = json.dumps(event(ids, pad="")).encode()
    body = body.replace(b'"pad": ""', b'"pad": "%s"' % (b"x" * (KIB64 - len(body))))
    assert len(body) == KIB64
    await service.store("start", body)
    assert await service.bodies("0367", ids) == [body]


# 400


def bad(what):
    return what if isinstance(what, bytes) else json.dumps(what).encode()


NOT_EVENTS = {
    "nothing": b"",
    "garbage": b"\x00\x01garbage",
    "a form": b"UniqueId=1&Token=375290000000",
    "cut off": b'{"UniqueId":"1.1","Token":"375290000000"',
    "trailing": b'{"UniqueId":"1.1","Token":"375290000000"} x',
    "two objects": b'{"UniqueId":"1.1","Token":"375290000000"}{}',
    "NaN": b'{"UniqueId":"1.1","Token":"375290000000","x":NaN}',
    "NaN beside a number": b'{"UniqueId":"1.1","Token":"375290000000","Phone":1,"x":NaN}',
    "not UTF-8": b'{"UniqueId":"1.1","Token":"375290000000","Phone":"\xff"}',
    "not UTF-8 in an unknown field": b'{"UniqueId":"1.1","Token":"375290000000","x":"\xff"}',
    "UTF-16": '{"UniqueId":"1.1","Token":"375290000000"}'.encode("utf-16"),
    "a list": [event("1.1")],
    "a text": "UniqueId",
    "a number": 7,
    "null": b"null",
    "UniqueId an object": event({"a": 1}),
    "UniqueId a list": event(["1.1"]),
    "UniqueId true": event(True),
    "Phone a list": event("1.1", Phone=["375"]),
    "CallType true": event("1.1", CallType=True),
    "CallStatus an object": event("1.1", CallStatus={}),
    "Extensions an object": event("1.1", Extensions={"150": 1}),
    "Extensions nested": event("1.1", Extensions=[["150"]]),
    "Token an object": event("1.1", token={}),
    "no id": {"Token": TOKEN},
    "blank ids": event(" ", BridgeUniqueid=""),
    "null ids": event(None, BridgeUniqueid=None),
    "an id of NUL": event("\0"),
    "an id with a line break": event("1.1\n2"),
    "a huge id": event("1" * 10_000),
    "a huge bridge id": event("1.1", BridgeUniqueid="b" * 10_000),
    "deep": b'{"UniqueId":"1.1","Token":"375290000000","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"UniqueId":"1.1","Token":"375290000000","x":' + b'{"a":' * 10_000,
    "deep, types differ": b'{"UniqueId":1.1,"Token":"375290000000","x":'
    + b"[" * 30_000
    + b"]" * 30_000
    + b"}",
}


@pytest.mark.parametrize("what", NOT_EVENTS)
async def test_what_is_no_event_is_400_and_kept_with_the_reason(service: Running, what):
    body, before = bad(NOT_EVENTS[what]), await facts_count(service)
    detail = problem(await service.post("start", body), 400)
    row = await rejected(service)
    assert (row["status"], row["path"], row["reason"], row["size"]) == (400, "/start", detail, len(body))
    assert row["body"] == body
    assert await facts_count(service) == before


async def test_a_rejected_body_names_the_enterprise_that_its_header_tells(service: Running):
    problem(await service.post("dial", b"[", Token=TOKEN), 400)
    row = await rejected(service)
    assert (row["enterprise"], row["sender"]) == ("0367", "127.0.0.1")


# 401, 403


@pytest.mark.parametrize("token", [None, "", "  ", "375290000001", "0367", TOKEN[:4]])
async def test_a_token_that_is_missing_or_of_nobody_is_401(service: Running, ids, token):
    problem(await service.post("start", event(ids, token=token)), 401)
    assert await service.bodies("0367", ids) == []


async def test_no_token_at_all_is_401_even_with_one_in_the_header(service: Running, ids):
    problem(await service.post("start", {"UniqueId": ids}, Token=TOKEN), 401)


@pytest.mark.parametrize("header", [CLOSED, "x", "\xff"])
async def test_another_token_in_the_header_is_403_and_kept(service: Running, ids, header):
    body = event(ids)
    answer = await service.client.post("/start", json=body, headers=[(b"Token", header.encode("latin-1"))])
    detail = problem(answer, 403)
    row = await rejected(service)
    assert (row["status"], row["reason"], row["enterprise"]) == (403, detail, "0367")
    assert json.loads(row["body"]) == body
    assert await service.bodies("0367", ids) == []


async def test_the_same_token_in_the_header_and_none_are_both_fine(service: Running, ids):
    await service.store("start", event(ids), Token=TOKEN)
    await service.store("start", event(ids))
    assert len(await service.bodies("0367", ids)) == 2


async def test_who_is_outside_of_the_allowed_networks_is_403(service: Running, ids):
    answer = await service.post("start", event(ids, token=CLOSED), X_Forwarded_For="10.0.0.7")
    detail = problem(answer, 403)
    row = await rejected(service)
    assert (row["status"], row["reason"], row["enterprise"]) == (403, detail, "0368")
    assert await service.bodies("0368", ids) == []
    await service.store("start", event(ids, token=NEAR))


async def test_equal_ids_of_two_enterprises_are_two_streams(service: Running, ids):
    await service.store("start", event(ids))
    await service.store("start", event(ids, token=NEAR))
    assert [len(await service.bodies(number, ids)) for number in ("0367", "0369")] == [1, 1]


# 413


async def test_65_kib_are_413(service: Running, ids):
    problem(await service.post("start", event(ids, pad="x" * 65 * 1024)), 413)
    assert await service.bodies("0367", ids) == []
    await service.store("start", event(ids))


async def test_65_kib_in_chunks_of_no_told_length_are_413(service: Running, ids):
    body = json.dumps(event(ids, pad="x" * 65 * 1024)).encode()
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:40_000], body[40_000:])]
    answer = await raw(service.port, head(Host="x", Transfer_Encoding="chunked"), *chunks, b"0\r\n\r\n")
    assert status_of(answer) == 413
    assert b"application/problem+json" in answer
    assert await service.bodies("0367", ids) == []


async def test_a_body_that_says_to_be_too_large_is_refused_before_it_comes(service: Running):
    answer = await raw(service.port, head(Host="x", Content_Length=10_000_000_000), b'{"UniqueId":')
    assert status_of(answer) == 413


async def test_a_small_body_in_chunks_is_taken(service: Running, ids):
    body = json.dumps(event(ids)).encode()
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])]
    answer = await raw(
        service.port, head(Host="x", Transfer_Encoding="chunked", Connection="close"), *chunks, b"0\r\n\r\n"
    )
    assert status_of(answer) == 200
    assert await service.bodies("0367", ids) == [body]


# Idempotency-Key


async def test_the_same_key_for_the_same_token_stores_once(service: Running, ids):
    first = await service.store("start", event(ids), Idempotency_Key=f"k-{ids}")
    answer = await service.post("start", event(ids), Idempotency_Key=f"k-{ids}")
    assert answer.json() == {"status": "known", "position": first}
    assert len(await service.bodies("0367", ids)) == 1
    other = await service.post("start", event(ids, token=NEAR), Idempotency_Key=f"k-{ids}")
    assert other.json()["status"] == "stored"


async def test_the_same_key_many_times_at_once_stores_once(service: Running, ids):
    answers = await asyncio.gather(
        *(service.post("start", event(ids), Idempotency_Key=f"g-{ids}") for _ in range(12))
    )
    assert sorted(answer.json()["status"] for answer in answers) == ["known"] * 11 + ["stored"]
    assert len({answer.json()["position"] for answer in answers}) == 1
    assert len(await service.bodies("0367", ids)) == 1


@pytest.mark.parametrize("key", ["", "k" * 300])
async def test_a_key_that_is_none_is_400(service: Running, ids, key):
    assert "Idempotency-Key" in problem(await service.post("start", event(ids), Idempotency_Key=key), 400)


# HTTP itself


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405(service: Running, method):
    answer = await service.client.request(method, "/start")
    problem(answer, 405)
    assert answer.headers["allow"] == "POST"


async def test_http_1_0_without_a_host_is_answered_and_closed(service: Running, ids):
    body = json.dumps(event(ids)).encode()
    answer = await raw(service.port, head(version="1.0", Content_Length=len(body)) + body)
    assert status_of(answer) == 200
    assert b'{"status":"stored"' in answer
    assert await service.bodies("0367", ids) == [body]


async def test_http_1_0_may_keep_its_connection(service: Running, ids):
    body = json.dumps(event(ids)).encode()
    request = head(version="1.0", Connection="keep-alive", Content_Length=len(body)) + body
    answer = await raw(service.port, request, until_closed=False)
    assert status_of(answer) == 200


async def test_many_events_over_one_connection_keep_their_order(service: Running, ids):
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        for number in range(20):
            body = json.dumps(event(ids, n=number)).encode()
            writer.write(head(Host="x", Content_Length=len(body)) + body)
            async with asyncio.timeout(5):
                assert status_of(await one_answer(reader)) == 200
    finally:
        writer.close()
    assert [json.loads(body)["n"] for body in await service.bodies("0367", ids)] == list(range(20))


async def test_requests_sent_before_the_answers_are_all_answered(service: Running, ids):
    requests = b""
    for number in range(5):
        body = json.dumps(event(ids, n=number)).encode()
        requests += head(Host="x", Content_Length=len(body)) + body
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(requests)
        async with asyncio.timeout(5):
            assert [status_of(await one_answer(reader)) for _ in range(5)] == [200] * 5
    finally:
        writer.close()
    assert len(await service.bodies("0367", ids)) == 5


async def test_a_body_in_many_packets_is_put_together(service: Running, ids):
    body = json.dumps(event(ids, name="Ж" * 50), ensure_ascii=False).encode()
    request = head(Host="x", Connection="close", Content_Length=len(body)) + body
    packets = [request[at : at + 23] for at in range(0, len(request), 23)]
    assert status_of(await raw(service.port, *packets)) == 200
    assert await service.bodies("0367", ids) == [body]


async def test_a_slow_body_holds_nobody_up_and_ends_in_408(service: Running, ids, monkeypatch):
    monkeypatch.setattr(ingest, "BODY_WITHIN", 0.4)
    slow = asyncio.ensure_future(raw(service.port, head(Host="x", Content_Length=500), b'{"UniqueId":'))
    await service.store("start", event(ids))
    assert not slow.done()
    answer = await slow
    assert status_of(answer) == 408
    assert b"application/problem+json" in answer


async def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(service: Running, ids):
    body = json.dumps(event(ids)).encode()
    before = await facts_count(service)
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head(Host="x", Content_Length=len(body) + 1) + body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await service.store("start", event(ids))
    assert await facts_count(service) == before + 1


async def test_what_is_no_http_does_not_stop_the_service(service: Running, ids):
    answer = await raw(service.port, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert b"400" in answer.split(b"\r\n", 1)[0]
    await service.store("start", event(ids))


# X-Request-ID


@pytest.mark.parametrize("told", ["abc-123", "Root=1:67".replace("=", "."), "x" * 128])
async def test_a_sane_request_id_is_the_callers(service: Running, ids, told):
    answer = await service.post("start", event(ids), X_Request_ID=told)
    assert answer.headers["x-request-id"] == told
    assert json.loads((await stored(service, answer.json()["position"]))["meta"])["request_id"] == told
    assert (await service.post("start", b"x", X_Request_ID=told)).json()["request_id"] == told


@pytest.mark.parametrize("told", ["", "a b", 'x"y', "x" * 129, "ж".encode().decode("latin-1")])
async def test_an_insane_request_id_is_replaced(service: Running, ids, told):
    headers = [(b"X-Request-ID", told.encode("latin-1"))]
    answer = await service.client.post("/start", json=event(ids), headers=headers)
    ours = answer.headers["x-request-id"]
    assert answer.status_code == 200
    assert ours
    assert ours != told
    again = await service.client.post("/start", json=event(ids), headers=headers)
    assert again.headers["x-request-id"] != ours


# what nobody may read


async def test_no_log_line_has_the_token(service: Running, ids, caplog):
    with caplog.at_level(logging.DEBUG):
        await service.store("start", event(ids), Token=TOKEN)
        await service.post("start", event(ids, Phone=[]), Token=TOKEN)
        await service.post("start", event(ids), Token=CLOSED)
        await service.post("start", event(ids, token=CLOSED))
        await service.quiet()
    assert TOKEN not in caplog.text
    assert CLOSED not in caplog.text


# 503


@contextmanager
def frozen(postmaster):
    """PostgreSQL as a whole does not answer, and does not die either."""
    server = psutil.Process(postmaster)
    stopped = [server, *server.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(stopped):
            process.resume()


async def timed(sending):
    begun = time.perf_counter()
    answer = await sending
    return answer, time.perf_counter() - begun


async def test_a_store_that_does_not_answer_is_503_in_time_and_nothing_is_stored(data_dir, tmp_path, ids):
    async with running("", tmp_path, DIRECTORY, data_dir=str(data_dir)) as service:
        await service.store("start", event(ids, n=0))
        with frozen(service.service.database.embedded.pid):
            answers = await asyncio.gather(
                *(timed(service.post("dial", event(ids, n=n))) for n in range(1, 6)),
                timed(service.client.get("/healthz")),
                timed(service.client.get("/readyz")),
            )
            late = await timed(service.post("dial", event(ids, n=6)))
        *hosts, (alive, _), (ready, _) = answers
        for answer, seconds in [*hosts, late]:
            problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
            assert seconds < 2.8
        assert alive.status_code == 200
        assert ready.status_code == 503
        async with asyncio.timeout(15):
            while (answer := await service.post("hangup", event(ids, n=7))).status_code != 200:
                problem(answer, 503)
        assert [json.loads(body)["n"] for body in await service.bodies("0367", ids)] == [0, 7]


async def test_an_instance_that_stands_by_is_503_and_takes_over(database, tmp_path, ids):
    async with AsyncExitStack() as first_one, AsyncExitStack() as second_one:
        first = await first_one.enter_async_context(running(database.dsn, tmp_path, DIRECTORY))
        second = await second_one.enter_async_context(running(database.dsn, tmp_path, lead=False))
        await first.store("start", event(ids))
        answer, seconds = await timed(second.post("dial", event(ids)))
        assert "stands by" in problem(answer, 503)
        assert answer.headers["retry-after"]
        assert seconds < 1
        assert (await second.client.get("/readyz")).json() == {"status": "standby"}
        assert len(await first.bodies("0367", ids)) == 1
        await first_one.aclose()
        async with asyncio.timeout(10):
            await second.service.house.recovered.wait()
        await second.store("dial", event(ids))
        assert (await second.client.get("/readyz")).status_code == 200
