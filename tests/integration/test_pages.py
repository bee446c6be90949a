"""Signing in and the pages behind it: a link works once, a session opens pages and API, nobody else gets in."""

import asyncio
import json

import httpx
import pytest
import pytest_asyncio

from calls.scenarios import catalogue
from tests.running import ADMIN_TOKEN, TOKEN, UNLIMITED, Running, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(postgres_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    async with running_fresh(postgres_server, folder, enterprise("0367"), rates=UNLIMITED) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def browser(service):
    """Somebody who has not signed in."""
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=10) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def signed_in(service, browser):
    key = service.service.sessions.new_link()
    answer = await browser.get("/login", params={"key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, "/preview")
    return browser


async def test_a_link_signs_in_once(service: Running, browser):
    key = service.service.sessions.new_link()
    first = await browser.get("/login", params={"key": key})
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert ADMIN_TOKEN not in cookie
    browser.cookies.clear()
    second = await browser.get("/login", params={"key": key})
    assert second.status_code == 401
    assert "set-cookie" not in second.headers
    assert (await browser.get("/preview/chats")).status_code == 303


async def test_a_session_opens_pages_and_api(signed_in):
    page = await signed_in.get("/preview")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert (await signed_in.get("/api/calls")).status_code == 200
    assert (await signed_in.get("/stats")).status_code == 200


async def test_the_admin_token_signs_in_by_the_form(browser):
    wrong = await browser.post("/login", data={"key": "wrong"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = await browser.post("/login", data={"key": ADMIN_TOKEN})
    assert (right.status_code, right.headers["location"]) == (303, "/preview")
    assert (await browser.get("/preview/chats")).status_code == 200


async def test_without_a_session_every_page_leads_to_the_login(browser):
    for path in ("/preview", "/preview/chats", "/preview/messages/1001", "/preview/stream"):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path
    assert (await browser.get("/login")).status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", ADMIN_TOKEN, "0" * 64])
async def test_a_made_up_session_opens_nothing(service: Running, browser, cookie):
    browser.cookies.set("callfold", cookie)
    assert (await browser.get("/preview/chats")).status_code == 303
    assert (await browser.get("/api/calls")).status_code == 401


async def test_the_root_leads_to_the_preview(browser):
    answer = await browser.get("/")
    assert 300 <= answer.status_code < 400
    assert answer.headers["location"] == "/preview"


async def test_pages_run_no_script_of_others(signed_in):
    page = await signed_in.get("/preview")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy


async def test_a_call_is_followed_by_the_stream_of_the_page(service: Running, signed_in):
    async with signed_in.stream("GET", "/preview/stream") as stream, asyncio.timeout(15):
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("event: again"):
                break
        await service.play(catalogue()["2-1"], seed=31)
        async for line in lines:
            if line.startswith("data: {"):
                message = json.loads(line.removeprefix("data: "))
                assert TOKEN not in line
                if message["text"].startswith("✅"):
                    break
    assert message["chat_id"] == 1001
    (chat,) = (await signed_in.get("/preview/chats")).json()
    assert chat["chat_id"] == 1001
    messages = (await signed_in.get("/preview/messages/1001")).json()
    (shown,) = (one for one in messages if one["message_id"] == message["message_id"])
    assert shown["history"][0]["text"][0] == "📞"


async def test_a_name_with_markup_is_text_in_the_page(service: Running, signed_in):
    body = {
        "UniqueId": "1757849999.1",
        "Token": TOKEN,
        "CallType": 0,
        "Trunk": "<img src=x onerror=alert(1)>",
    }
    await service.store("start", {**body, "Phone": "375290000101"})
    await service.shown()
    shown = (await signed_in.get("/preview/messages/1001")).json()[-1]
    assert "<img" not in shown["text"]
    assert "&lt;img" in shown["text"]
