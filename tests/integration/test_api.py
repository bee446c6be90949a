"""What is read over HTTP (CONTRACT 4.2): calls, customers, statistics, health, metrics, OpenAPI; errors as problems."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from calls.facts import EVENT_KINDS
from calls.scenarios import catalogue
from tests.running import TOKEN, UNLIMITED, Running, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "375290000009"
DIRECTORY = enterprise("0367", chats=(1001,)) + enterprise("0368", OTHER, chats=())
DAY = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
COLUMNS = {
    "enterprise",
    "call_id",
    "direction",
    "origin",
    "outcome",
    "customer",
    "line",
    "caller",
    "dialled",
    "rung",
    "answered_by",
    "talked",
    "consulted",
    "started_at",
    "answered_at",
    "ended_at",
    "wait_s",
    "talk_s",
    "total_s",
    "source",
    "legs",
    "recordings",
}
CUSTOMER_COLUMNS = {
    "enterprise",
    "phone",
    "name",
    "first_seen_at",
    "last_seen_at",
    "in_total",
    "in_answered",
    "in_missed",
    "out_total",
    "out_answered",
    "out_missed",
    "last_call_at",
    "last_direction",
    "last_outcome",
    "last_talked",
    "last_line",
}
# Each begins an hour after the one before it.
PLAYED = [
    ("2-1", TOKEN),
    ("2-2", TOKEN),
    ("1-1", TOKEN),
    ("1-8", TOKEN),
    ("3-1", TOKEN),
    ("2-1", OTHER),
    ("2-4", OTHER),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(postgres_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    async with running_fresh(postgres_server, folder, DIRECTORY, rates=UNLIMITED) as service:
        for number, (name, token) in enumerate(PLAYED):
            begun = (DAY + timedelta(hours=number)).timestamp()
            await service.play(catalogue()[name], token=token, seed=number, begun=begun)
        await service.quiet()
        yield service


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail", "request_id"}
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    return told["detail"]


async def calls(service, **query):
    """All calls that a question finds, page by page."""
    found, after = [], None
    while True:
        page = await service.get("/api/calls", **query, **({"after": after} if after else {}))
        assert set(page) == {"items", "next"}
        found += page["items"]
        if (after := page["next"]) is None:
            return found


def told(call):
    return call["enterprise"], call["direction"], call["outcome"]


# calls


async def test_calls_come_newest_first_with_the_columns_of_the_contract(service: Running):
    found = await calls(service)
    assert [told(call) for call in found] == [
        ("0368", "in", "missed"),
        ("0368", "in", "answered"),
        ("0367", "internal", "answered"),
        ("0367", "out", "not_answered"),
        ("0367", "out", "answered"),
        ("0367", "in", "missed"),
        ("0367", "in", "answered"),
    ]
    for call in found:
        assert set(call) >= COLUMNS
        began = datetime.fromisoformat(call["started_at"])
        assert began.utcoffset() == timedelta(0)
    assert [datetime.fromisoformat(call["started_at"]).hour for call in found] == [15, 14, 13, 12, 11, 10, 9]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"enterprise": "0367"}, 5),
        ({"enterprise": "0368"}, 2),
        ({"enterprise": "0999"}, 0),
        ({"direction": "in"}, 4),
        ({"direction": "out", "outcome": "not_answered"}, 1),
        ({"outcome": "answered"}, 4),
        ({"outcome": "open"}, 0),
        ({"phone": "+375290000101"}, 6),
        ({"phone": "375290000101", "enterprise": "0367"}, 4),
        ({"phone": "80290000101", "enterprise": "0368"}, 2),
        ({"phone": "+375290000999"}, 0),
        ({"from": "2026-05-04T10:00:00Z"}, 6),
        ({"from": "2026-05-04T13:00:00+03:00", "to": "2026-05-04T12:00:00+00:00"}, 2),
        ({"to": "2026-05-04T09:00:00Z"}, 0),
        ({"to": "2026-05-04"}, 0),
        ({"from": "2026-05-04", "enterprise": "0367", "direction": "in", "outcome": "missed"}, 1),
    ],
)
async def test_filters_of_calls(service: Running, query, count):
    found = await calls(service, **query)
    assert len(found) == count


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 500])
async def test_pages_lose_no_row_and_show_none_twice(service: Running, limit):
    whole = await calls(service)
    assert await calls(service, limit=limit) == whole
    mine = await calls(service, limit=limit, enterprise="0367")
    assert mine == [call for call in whole if call["enterprise"] == "0367"]


async def test_a_page_goes_on_where_it_was_though_newer_calls_came(service: Running):
    whole = await calls(service, enterprise="0368")
    first = await service.get("/api/calls", enterprise="0368", limit=1)
    begun = (DAY + timedelta(hours=len(PLAYED))).timestamp()
    await service.play(catalogue()["1-10"], token=OTHER, seed=77, begun=begun)
    await service.quiet()
    rest = await service.get("/api/calls", enterprise="0368", limit=1, after=first["next"])
    assert [*first["items"], *rest["items"]] == whole
    assert rest["next"] is None
    await service.pool.execute("DELETE FROM calls WHERE started_at >= $1", DAY + timedelta(hours=len(PLAYED)))


async def test_calls_that_began_at_the_same_moment_are_paged_without_loss(service: Running):
    begun = (DAY - timedelta(days=1)).timestamp()
    for seed in range(100, 105):
        await service.play(catalogue()["1-10"], token=OTHER, seed=seed, begun=begun)
    await service.quiet()
    day = {"enterprise": "0368", "to": "2026-05-04T00:00:00Z"}
    found = await calls(service, limit=2, **day)
    assert len({call["call_id"] for call in found}) == 5
    assert len(found) == 5
    await service.pool.execute("DELETE FROM calls WHERE started_at < $1", DAY - timedelta(hours=1))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "many"},
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"direction": "sideways"},
        {"outcome": "lost"},
        {"phone": "abc"},
        {"after": "x"},
        {"after": "W10"},
        {"after": "WyJ4IiwieCIsIngiXQ"},
    ],
)
async def test_a_question_that_makes_no_sense_is_400_and_says_what_is_allowed(service: Running, query):
    detail = problem(await service.client.get("/api/calls", params=query), 400)
    assert next(iter(query)) in detail


# one call


async def test_a_leg_finds_its_call_with_events_messages_and_deliveries(service: Running):
    listed = (await calls(service, enterprise="0367", direction="in", outcome="answered"))[0]
    assert len(listed["legs"]) == 2
    shown = [await service.get(f"/api/calls/0367/{leg}") for leg in listed["legs"]]
    assert shown[0] == shown[1]
    call = shown[0]
    assert {key: call[key] for key in listed} == listed
    assert {"events", "messages", "deliveries"} <= set(call)
    played = [event.kind for event in catalogue()["2-1"].events(0.0, 0)]
    assert [event["kind"] for event in call["events"]] == played
    for event in call["events"]:
        assert set(event) == {
            "position",
            "enterprise",
            "unique_id",
            "version",
            "kind",
            "source",
            "received_at",
            "body",
        }
        assert event["body"]["Token"] == "***"
    (message,) = call["messages"]
    assert (message["chat_id"], message["phase"], message["withdrawn"]) == (1001, "ended", False)
    assert [entry["kind"] for entry in call["deliveries"]][:2] == ["delivery_intended", "delivery_sent"]


async def test_no_answer_of_the_api_has_the_token(service: Running):
    found = await calls(service)
    paths = [f"/api/calls/{call['enterprise']}/{call['call_id']}" for call in found]
    for path in [*paths, "/api/calls", "/api/customers", "/stats", "/stats/cache", "/metrics"]:
        text = (await service.client.get(path)).text
        assert TOKEN not in text
        assert OTHER not in text


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls/0367/1.1",
        "/api/calls/0999/1.1",
        "/api/calls/0367/%D0%96",
        "/api/customers/0367/+375290000999",
        "/api/customers/0999/+375290000101",
        "/api/nothing",
        "/nothing",
        "/start/more",
    ],
)
async def test_what_is_not_there_is_404(service: Running, path):
    problem(await service.client.get(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls/0367/%00",
        "/api/calls/%00/1.1",
        "/api/calls?enterprise=%00",
        "/api/calls?from=0001-01-01T00:00:00%2B14:00",
        "/api/calls?to=9999-12-31T23:59:59-14:00",
        "/api/customers?enterprise=a%00",
        "/api/customers/%00/375290000101",
    ],
)
async def test_what_no_store_can_hold_is_400_and_no_accident(service: Running, path):
    problem(await service.client.get(path), 400)


async def test_a_call_of_one_enterprise_is_not_found_in_another(service: Running):
    call = (await calls(service, enterprise="0367"))[0]
    problem(await service.client.get(f"/api/calls/0368/{call['call_id']}"), 404)


# customers


async def test_a_customer_is_counted_by_calls(service: Running):
    customer = await service.get("/api/customers/0367/+375290000101")
    assert set(customer) == CUSTOMER_COLUMNS
    counted = {key: value for key, value in customer.items() if key.startswith(("in_", "out_"))}
    assert counted == {
        "in_total": 2,
        "in_answered": 1,
        "in_missed": 1,
        "out_total": 2,
        "out_answered": 1,
        "out_missed": 1,
    }
    assert (customer["name"], customer["last_direction"], customer["last_outcome"]) == (
        "Иван Иванов",
        "out",
        "not_answered",
    )
    for written in ("375290000101", "80290000101", "%2B375290000101", "+375 29 000-01-01"):
        assert await service.get(f"/api/customers/0367/{written}") == customer


async def test_customers_are_listed_by_enterprise_and_paged(service: Running):
    everybody = await service.get("/api/customers")
    assert {(one["enterprise"], one["phone"]) for one in everybody["items"]} == {
        ("0367", "+375290000101"),
        ("0368", "+375290000101"),
    }
    mine = await service.get("/api/customers", enterprise="0367")
    assert [one["enterprise"] for one in mine["items"]] == ["0367"]
    first = await service.get("/api/customers", limit=1)
    second = await service.get("/api/customers", limit=1, after=first["next"])
    assert first["items"] + second["items"] == everybody["items"]
    assert second["next"] is None
    problem(await service.client.get("/api/customers", params={"after": "x"}), 400)


# who may read


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls",
        "/api/calls/0367/1.1",
        "/api/customers",
        "/api/customers/0367/1",
        "/stats",
        "/stats/cache",
    ],
)
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic YTph", "Bearer " + TOKEN])
async def test_reading_needs_the_admin_token(service: Running, path, authorization):
    answer = await service.client.get(path, headers={"Authorization": authorization})
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/api/directory", "/cache/refresh", "/cache/invalidate/0367"])
async def test_writing_needs_it_too(service: Running, path):
    problem(await service.client.post(path, headers={"Authorization": "Bearer x"}, json={}), 401)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/schema/openapi.json"])
async def test_health_and_schema_need_nothing(service: Running, path):
    answer = await service.client.get(path, headers={"Authorization": ""})
    assert answer.status_code == 200


# the rest


async def test_healthy_and_ready(service: Running):
    assert await service.get("/healthz") == {"status": "alive"}
    assert await service.get("/readyz") == {"status": "ready"}


async def test_stats_tell_how_far_everything_has_come(service: Running):
    stats = await service.get("/stats")
    head = await service.pool.fetchval("SELECT max(position) FROM facts")
    assert stats["role"] == "leader"
    assert stats["routed_position"] == stats["projected_position"] == head
    assert stats["open_calls"] == 0
    assert stats["cards_pending"] == 0


async def test_caches_are_shown_refreshed_and_invalidated_by_number_or_name(service: Running):
    assert isinstance(await service.get("/stats/cache"), dict)
    assert (await service.client.post("/cache/refresh")).status_code == 200
    for known in ("0367", "e0367"):
        assert (await service.client.post(f"/cache/invalidate/{known}")).status_code == 200
    problem(await service.client.post("/cache/invalidate/nobody"), 404)


async def test_metrics_are_what_prometheus_reads(service: Running):
    await service.post("start", b"garbage")
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["callfold_events_received_total", (("enterprise", "0367"), ("kind", "start"))] == 2
    assert samples["callfold_answers_total", (("status", "400"),)] >= 1
    assert samples["callfold_leader", ()] == 1
    assert samples["callfold_facts_parked", ()] == 0
    assert ("callfold_telegram_requests_total", (("method", "sendMessage"), ("outcome", "ok"))) in samples


async def test_the_schema_names_the_hosts_routes_and_the_readers(service: Running):
    schema = await service.get("/schema/openapi.json")
    assert schema["openapi"].startswith("3.")
    for kind in EVENT_KINDS:
        operation = schema["paths"][f"/{kind}"]["post"]
        assert {"200", "400", "401", "403", "413", "503"} <= set(operation["responses"])
    assert {"/api/calls", "/api/calls/{enterprise}/{call_id}", "/api/customers", "/stats"} <= set(
        schema["paths"]
    )
    parameters = {one["name"] for one in schema["paths"]["/api/calls"]["get"]["parameters"]}
    assert parameters == {"enterprise", "from", "to", "phone", "direction", "outcome", "limit", "after"}
    assert (await service.client.get("/schema")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/calls"), ("DELETE", "/healthz"), ("PUT", "/api/customers")]
)
async def test_another_method_is_405(service: Running, method, path):
    problem(await service.client.request(method, path), 405)


async def test_a_request_id_is_kept_or_made_everywhere(service: Running):
    for path in (
        "/healthz",
        "/api/calls",
        "/nothing",
        "/api/calls?limit=0",
        "/login",
        "/schema/openapi.json",
    ):
        sane = await service.client.get(path, headers={"X-Request-ID": "trace-7"})
        assert sane.headers.get_list("x-request-id") == ["trace-7"]
        insane = await service.client.get(path, headers={"X-Request-ID": "a b<script>"})
        (made,) = insane.headers.get_list("x-request-id")
        assert made
        assert "script" not in made


async def test_a_defect_is_500_without_its_details(service: Running, monkeypatch, caplog):
    def fail():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(service.service, "statistics", fail)
    answer = await service.client.get("/stats")
    detail = problem(answer, 500)
    assert "secret" not in detail
    assert (await service.client.get("/healthz")).status_code == 200


async def test_a_directory_that_is_wrong_is_400_and_changes_nothing(service: Running):
    before = await service.pool.fetchval("SELECT max(position) FROM facts")
    upload = {"name": "x.toml", "text": '[[enterprise]]\nnumber = "12"\n', "folder": "/"}
    detail = problem(await service.client.post("/api/directory", json=upload), 400)
    assert "x.toml" in detail
    assert "number" in detail
    problem(await service.client.post("/api/directory", content=b"{"), 400)
    problem(await service.client.post("/api/directory", json={"name": "x.toml"}), 400)
    assert await service.pool.fetchval("SELECT max(position) FROM facts") == before


async def test_many_readers_at_once_are_all_answered(service: Running):
    answers = await asyncio.gather(*(service.client.get("/api/calls") for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({json.dumps(answer.json()) for answer in answers}) == 1
