"""One trace a call, from the host's request to the Bot API, as an OTLP collector receives it."""

import asyncio
import logging
from collections import defaultdict
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from calls.scenarios import catalogue
from otel.tracing import APPEND, FOLD, REQUEST, TELEGRAM, trace_id_of
from tests.running import TOKEN, UNLIMITED, EveryBot, enterprise, running

BOT = "123456789:" + "A" * 35


class Collector:
    """Takes OTLP over HTTP on loopback and keeps every span."""

    def __init__(self):
        self.spans = []
        self.raw = b""
        self._arrived = asyncio.Event()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                self._take(head, await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _take(self, head, body):
        self.raw += head + body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += [Told(span) for span in scope.spans]
        self._arrived.set()

    def of(self, name):
        return [span for span in self.spans if span.name == name]


class Told:
    """A span as the collector sees it."""

    def __init__(self, span):
        self.name = span.name
        self.trace = int.from_bytes(span.trace_id, "big")
        self.id = span.span_id
        self.parent = span.parent_span_id
        self.attributes = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
        self.links = [int.from_bytes(link.trace_id, "big") for link in span.links]
        self.text = str(span)


@asynccontextmanager
async def collecting():
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    try:
        yield collector, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def traced(database, tmp_path):
    """A service that exports its spans; they are all there when it has stopped."""

    @asynccontextmanager
    async def start(endpoint, bots, directory=True):
        settings = {
            "telegram_api": bots.base_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        text = enterprise("0367", bot_token=BOT) if directory else ""
        async with running(database.dsn, tmp_path, text, rates=UNLIMITED, **settings) as service:
            yield service

    return start


def ids(played):
    legs = dict.fromkeys(event.body["UniqueId"] for event in played if event.body["UniqueId"])
    return next(iter(legs)), set(legs)


async def test_request_append_fold_and_telegram_are_one_trace_named_by_the_leading_leg(traced):
    async with EveryBot() as bots, collecting() as (collector, endpoint):
        async with traced(endpoint, bots) as service:
            played = await service.play(catalogue()["2-4"])
            await service.quiet()
        call_id, _ = ids(played)
        trace = trace_id_of("0367", call_id)
        mine = [span for span in collector.spans if span.trace == trace]
        by_name = defaultdict(list)
        for span in mine:
            by_name[span.name].append(span)
        assert len(by_name[REQUEST]) == len(by_name[APPEND]) == len(by_name[FOLD]) == len(played)
        assert by_name[TELEGRAM]
        assert {span.attributes["callfold.call_id"] for span in mine} == {call_id}
        assert {span.attributes["callfold.enterprise"] for span in mine} == {"0367"}
        requests = {span.id for span in by_name[REQUEST]}
        assert {span.parent for span in by_name[APPEND]} == requests
        assert {span.parent for span in by_name[FOLD]} == requests
        assert {span.parent for span in by_name[TELEGRAM]} <= {span.id for span in by_name[FOLD]}
        assert {span.attributes["callfold.telegram_method"] for span in by_name[TELEGRAM]} <= {
            "sendMessage",
            "editMessageText",
        }


async def test_every_span_has_the_id_of_a_call(traced):
    async with EveryBot() as bots, collecting() as (collector, endpoint):
        async with traced(endpoint, bots) as service:
            played = await service.play(catalogue()["2-1"])
            await service.quiet()
        call_id, legs = ids(played)
        bridges = {event.body.get("BridgeUniqueid") for event in played} - {None}
        assert {span.attributes["callfold.call_id"] for span in collector.spans} <= legs | bridges
        assert call_id in {span.attributes["callfold.call_id"] for span in collector.of(TELEGRAM)}
        for span in collector.spans:
            assert span.trace == trace_id_of("0367", span.attributes["callfold.call_id"])


async def test_a_restart_goes_on_in_the_same_trace(traced):
    async with EveryBot() as bots, collecting() as (collector, endpoint):
        *begun, last = catalogue()["2-4"].events(1_777_885_200.0, 1)
        async with traced(endpoint, bots) as service:
            for event in begun:
                await service.store(event.kind, event.body)
            await service.quiet()
        before = len(collector.spans)
        async with traced(endpoint, bots, directory=False) as service:
            await service.store(last.kind, last.body)
            await service.quiet()
        call_id, _ = ids([last])
        later = collector.spans[before:]
        assert {REQUEST, APPEND, FOLD, TELEGRAM} <= {span.name for span in later}
        assert {span.trace for span in collector.spans} == {trace_id_of("0367", call_id)}


async def test_a_leg_that_joins_another_call_is_linked_to_it(traced):
    """The manager's leg is in its bridge alone, with a trace of its own, until the customer's comes in."""
    async with EveryBot() as bots, collecting() as (collector, endpoint):
        async with traced(endpoint, bots) as service:
            played = catalogue()["2-1"].events(1_777_885_200.0, 1)
            for event in played:
                await service.store(event.kind, event.body)
                await service.shown()
        call_id, legs = ids(played)
        (other,) = legs - {call_id}
        traces = {trace_id_of("0367", call_id), trace_id_of("0367", other)}
        assert traces <= {span.trace for span in collector.spans}
        linked = [span for span in collector.spans if set(span.links) & traces]
        assert linked
        assert {span.trace for span in linked} <= traces
        assert all(set(span.links) <= traces - {span.trace} for span in linked)


async def test_neither_token_is_in_a_span_or_a_log_line(traced, caplog):
    async with EveryBot() as bots, collecting() as (collector, endpoint):
        with caplog.at_level(logging.DEBUG):
            async with traced(endpoint, bots) as service:
                await service.play(catalogue()["2-1"])
                await service.post("start", {"UniqueId": "1.1", "Token": TOKEN, "Phone": []}, Token=TOKEN)
                await service.quiet()
                await bots.__aexit__()
                await service.play(catalogue()["2-2"], seed=777)
                async with asyncio.timeout(10):
                    while "Unreachable" not in caplog.text and not collector_failed(collector):
                        await asyncio.sleep(0.02)  # until a request to the Bot API has failed
        for secret in (TOKEN, BOT, "A" * 35):
            assert secret.encode() not in collector.raw
            assert secret not in caplog.text


def collector_failed(collector):
    return any(span.attributes.get("callfold.outcome") not in {None, "ok"} for span in collector.of(TELEGRAM))


async def test_a_collector_that_is_not_there_costs_nobody_anything(traced, unused_tcp_port):
    async with EveryBot() as bots, traced(f"http://127.0.0.1:{unused_tcp_port}", bots) as service:
        await service.play(catalogue()["2-4"])
        await service.quiet()
        assert (await service.get("/api/calls"))["items"][0]["outcome"] == "missed"
