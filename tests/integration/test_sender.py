"""The sender speaks as an Asterisk host does; recorded files go out as they are."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httptools
import pytest

from adapters.asterisk.recorded import RecordedError, read_recorded
from adapters.asterisk.sender import Pace, Sender, TimedEvent, offsets, send_all

TOKEN = "375290000000"
BODY = json.dumps({"Token": TOKEN, "UniqueId": "1757840723.6", "Phone": "Аноним"}).encode()


class Service:
    """An HTTP service on loopback that keeps what it was sent, byte for byte."""

    def __init__(self) -> None:
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[], Awaitable[bytes]] = self.stored
        self.url = ""

    async def stored(self) -> bytes:
        return b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"status":"stored"}'

    async def refused(self) -> bytes:
        return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nunknown"

    async def silent(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def broken(self) -> bytes:
        return b"no HTTP at all\r\n\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self.at_once -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = _Request()
        parser = httptools.HttpRequestParser(request)
        while not request.complete:
            data = await reader.read(65_536)
            if not data:
                return False
            parser.feed_data(data)
        self.paths.append(request.path)
        self.headers.append(request.headers)
        self.bodies.append(request.body)
        writer.write(await self.answer())
        await writer.drain()
        return True


class _Request:
    def __init__(self) -> None:
        self.path, self.body, self.complete = "", b"", False
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.path = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await service.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield service
        for task in tasks:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


@asynccontextmanager
async def sending(service: Service, **options: object) -> AsyncIterator[Sender]:
    async with Sender(service.url, **options) as sender:
        yield sender


async def test_an_event_is_posted_as_a_host_posts_it(service: Service) -> None:
    async with sending(service) as sender:
        sent = await sender.send("start", BODY)
    assert service.paths == ["/start"]
    assert service.bodies == [BODY]
    assert service.headers[0]["Content-type"] == "application/json"
    assert service.headers[0]["Token"] == TOKEN
    assert sent.stored
    assert (sent.event, sent.unique_id, sent.status) == ("start", "1757840723.6", 200)
    assert sent.answer == '{"status":"stored"}'
    assert 0 < sent.seconds < 3


async def test_each_event_has_a_connection_of_its_own(service: Service) -> None:
    async with sending(service) as sender:
        for _ in range(3):
            await sender.send("dial", BODY)
    assert service.connections == 3


async def test_all_events_may_share_a_connection(service: Service) -> None:
    async with sending(service, keep_alive=True) as sender:
        for _ in range(3):
            await sender.send("dial", BODY)
    assert service.connections == 1


async def test_no_event_is_sent_before_the_last_is_answered(service: Service) -> None:
    async with sending(service) as sender:
        await asyncio.gather(*(sender.send("dial", BODY) for _ in range(5)))
    assert service.most_at_once == 1
    assert len(service.bodies) == 5


async def test_a_token_replaces_that_of_body_and_header(service: Service) -> None:
    async with sending(service, token="375290000009") as sender:
        await sender.send("start", BODY)
    assert service.headers[0]["Token"] == "375290000009"
    assert json.loads(service.bodies[0]) == {**json.loads(BODY), "Token": "375290000009"}


async def test_a_body_without_a_token_has_no_header_either(service: Service) -> None:
    async with sending(service) as sender:
        await sender.send("start", b'{"UniqueId": "1.1"}')
        await sender.send("start", b"garbage")
    assert "Token" not in service.headers[0]
    assert "Token" not in service.headers[1]
    assert service.bodies[1] == b"garbage"


async def test_another_answer_is_a_result_and_not_tried_again(service: Service) -> None:
    service.answer = service.refused
    async with sending(service) as sender:
        sent = await sender.send("start", BODY)
    assert (sent.status, sent.answer, sent.stored) == (401, "unknown", False)
    assert len(service.bodies) == 1


async def test_an_answer_that_does_not_come_is_given_up_and_not_tried_again(service: Service) -> None:
    service.answer = service.silent
    async with sending(service, timeout=0.05) as sender:
        sent = await sender.send("start", BODY)
        assert (sent.status, sent.problem) == (None, "no answer within 0.05 s")
        service.answer = service.stored
        assert (await sender.send("dial", BODY)).stored
    assert service.paths == ["/start", "/dial"]


async def test_what_is_no_http_is_a_problem_of_that_event(service: Service) -> None:
    service.answer = service.broken
    async with sending(service) as sender:
        sent = await sender.send("start", BODY)
    assert sent.status is None
    assert sent.problem


async def test_a_service_that_is_not_there_is_a_problem_of_that_event(unused_tcp_port: int) -> None:
    async with Sender(f"http://127.0.0.1:{unused_tcp_port}") as sender:
        sent = await sender.send("start", BODY)
    assert (sent.status, sent.problem) == (None, "no connection")


async def test_a_token_that_cannot_stand_in_a_header_is_not_repeated(service: Service) -> None:
    async with sending(service) as sender:
        sent = await sender.send("start", json.dumps({"Token": "37529\r\nX: 1"}).encode())
    assert sent.status is None
    assert sent.problem
    assert "37529" not in sent.problem
    assert service.bodies == []


async def test_a_name_of_an_event_cannot_leave_its_path(service: Service) -> None:
    async with sending(service) as sender:
        await sender.send("../api?x", BODY)
    assert service.paths == ["/..%2Fapi%3Fx"]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://h", "http://"])
def test_an_address_that_is_none_of_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Sender(url)


class Watch:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    ("speed", "slept"), [("1", [2.0, 1.0]), ("2", [1.0, 0.5]), ("0.5", [4.0, 2.0]), ("max", [])]
)
async def test_events_are_sent_at_their_pace(service: Service, speed: str, slept: list[float]) -> None:
    watch = Watch()
    events = [TimedEvent(offset, "dial", BODY) for offset in (0.0, 2.0, 2.0, 3.0)]
    async with sending(service) as sender:
        sent = [
            one async for one in send_all(sender, events, Pace.parse(speed), clock=watch, sleep=watch.sleep)
        ]
    assert watch.slept == slept
    assert [one.status for one in sent] == [200] * 4


async def test_a_slow_answer_delays_what_follows_but_not_the_schedule(service: Service) -> None:
    watch = Watch()

    async def slow() -> bytes:
        watch.now += 1.5
        return await service.stored()

    service.answer = slow
    events = [TimedEvent(offset, "dial", BODY) for offset in (0.0, 1.0, 4.0)]
    async with sending(service) as sender:
        async for _ in send_all(sender, events, Pace(), clock=watch, sleep=watch.sleep):
            pass
    assert watch.slept == [1.0]  # the second was due already; the third at 4, and it was 3


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_a_speed_is_a_number_above_zero_or_max(text: str) -> None:
    with pytest.raises(ValueError):
        Pace.parse(text)
    assert Pace.parse("max").speed == math.inf


def test_offsets_follow_the_recorded_times_and_a_second_where_there_is_none() -> None:
    noon = datetime(2025, 9, 14, 12, 0, tzinfo=UTC)

    def at(*seconds: float | None) -> list[float]:
        return list(offsets([None if s is None else noon + timedelta(seconds=s) for s in seconds]))

    assert at(0, 2, 2, 5.5) == [0, 2, 2, 5.5]
    assert at(None, None, None) == [0, 1, 2]
    assert at(0, None, None, 10) == [0, 1, 2, 10]
    assert at(0, None, None, 1) == [0, 1, 2, 2]
    assert at(10, 5, 11) == [0, 0, 6]  # a host's clock was set back
    assert at(None, 0, 3) == [0, 1, 4]


def recorded(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "day.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_recorded_events_are_read_in_order_with_their_bodies_as_they_stand(tmp_path: Path) -> None:
    raw = r'{"b":  1, "a": "\u0000\u0416", "b": 2}'
    path = recorded(
        tmp_path,
        f'\ufeff{{"t": "2025-09-14T12:05:24+03:00", "event": "start", "body": {raw}}}\n\n'
        '{"body": {}, "t": null, "event": "dial", "more": 1}\r\n'
        '{"event": "hangup", "t": "2025-09-14 12:05:25", "body": {"Token": "1"}}',
    )
    start, dial, hangup = read_recorded(path)
    assert (start.event, start.raw.decode(), start.line) == ("start", raw, 1)
    assert start.body == {"b": 2, "a": "\0Ж"}
    assert start.t == datetime(2025, 9, 14, 9, 5, 24, tzinfo=UTC)
    assert (dial.event, dial.t, dial.body, dial.line) == ("dial", None, {}, 3)
    assert hangup.t == datetime(2025, 9, 14, 9, 5, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not {"),
        ('{"t": null, "event": "start"}', "body"),
        ('{"t": null, "body": {}}', "event"),
        ('{"t": null, "event": "start", "body": []}', "object"),
        ('{"t": null, "event": "", "body": {}}', "event is empty"),
        ('{"t": 5, "event": "start", "body": {}}', "$.t"),
        ('{"t": "noon", "event": "start", "body": {}}', "t is no ISO time: 'noon'"),
        (b'{"t": null, "event": "\xff", "body": {}}', "UTF-8"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(tmp_path: Path, line: str | bytes, says: str) -> None:
    good = b'{"t": null, "event": "start", "body": {}}\n\n'
    path = recorded(tmp_path, good + (line.encode() if isinstance(line, str) else line) + b"\n")
    events = read_recorded(path)
    assert next(events).event == "start"
    with pytest.raises(RecordedError) as caught:
        next(events)
    assert caught.value.line == 3
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordedError, match=r"none\.jsonl: No such file"):
        list(read_recorded(tmp_path / "none.jsonl"))


async def test_a_recorded_file_arrives_verbatim_and_in_order(service: Service, tmp_path: Path) -> None:
    raws = [f'{{"Token":"{TOKEN}",  "UniqueId": "1757840723.6", "n": {n}}}' for n in range(20)]
    path = recorded(tmp_path, "\n".join(f'{{"t": null, "event": "dial", "body": {raw}}}' for raw in raws))
    events = [TimedEvent(0, one.event, one.raw) for one in read_recorded(path)]
    async with sending(service) as sender:
        async for sent in send_all(sender, events, Pace.parse("max")):
            assert sent.stored
    assert [body.decode() for body in service.bodies] == raws
