"""The preview: answers as Telegram's, messages that outlive the service, a page that follows them."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import httpx
import pytest
import uvicorn
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramUnauthorizedError
from litestar import Litestar

from adapters.preview.botapi import PreviewBotApi
from adapters.preview.entities import CantParseError, from_html
from adapters.preview.page import preview_routes
from adapters.preview.store import PreviewStore
from adapters.secret import Secret
from adapters.telegram import errors
from adapters.telegram.api import Button

SECRET = Secret("of-this-process")


class NoBots:
    """Nobody listens."""

    def previews(self):
        return ()


def now():
    return datetime.now(UTC)


@pytest.fixture
async def pool(database):
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
async def store(pool):
    return PreviewStore(pool, now)


@pytest.fixture
async def bot(store):
    api = PreviewBotApi(store, SECRET)
    async with api.client() as client:
        yield api.bot("0367", client)


@asynccontextmanager
async def served(app):
    """The application under uvicorn on a loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        server.config.timeout_graceful_shutdown = 2
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.005)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await task


async def test_the_outboxs_own_client_speaks_with_it_without_a_socket(store, bot):
    sent = await bot.send_message(1001, "📞 <b>Дозвон</b> от +375", silent=True)
    await bot.edit_message_text(1001, sent.message_id, "✅ Завершен &lt;150&gt;")
    (message,) = await store.messages(1001)
    assert message.text == "✅ Завершен &lt;150&gt;"
    assert message.edits == 1
    assert [earlier.text for earlier in message.history] == ["📞 <b>Дозвон</b> от +375"]
    with pytest.raises(errors.NotModified):
        await bot.edit_message_text(1001, sent.message_id, "✅ Завершен &lt;150&gt;")
    await bot.delete_message(1001, sent.message_id)
    assert await store.messages(1001) == []
    with pytest.raises(errors.MessageGone):
        await bot.edit_message_text(1001, sent.message_id, "again")
    with pytest.raises(errors.MessageGone):
        await bot.delete_message(1001, sent.message_id)
    with pytest.raises(errors.CantParse):
        await bot.send_message(1001, "<unknown>")
    with pytest.raises(errors.TooLong):
        await bot.send_message(1001, "x" * 4097)


async def test_an_independent_client_understands_it(store):
    async with served(PreviewBotApi(store, SECRET)) as address:
        session = AiohttpSession(api=TelegramAPIServer.from_base(address))
        async with Bot("0367:of-this-process", session=session) as other:
            assert (await other.get_me()).username == "preview_0367_bot"
            assert await other.get_updates() == []
            sent = await other.send_message(
                -5, "  📞 <b>жирный</b> <a href='https://x.org/?a=1&amp;b=2'>сюда</a>", parse_mode="HTML"
            )
            assert sent.text == "📞 жирный сюда"
            assert [(e.type, e.extract_from(sent.text)) for e in sent.entities] == [
                ("bold", "жирный"),
                ("text_link", "сюда"),
            ]
            assert sent.entities[1].url == "https://x.org/?a=1&b=2"
            edited = await other.edit_message_text("plain < text", chat_id=-5, message_id=sent.message_id)
            assert edited.edit_date
            for wrong, said in (
                ({"text": "<x>", "parse_mode": "HTML"}, 'can\'t parse entities: Unsupported start tag "x"'),
                ({"text": " ", "parse_mode": "HTML"}, "message text is empty"),
            ):
                with pytest.raises(TelegramBadRequest, match=said):
                    await other.send_message(-5, **wrong)
            with pytest.raises(TelegramBadRequest, match="message to edit not found"):
                await other.edit_message_text("x", chat_id=-5, message_id=999)
            assert await other.delete_message(-5, sent.message_id)
        async with Bot("0367:wrong", session=session) as stranger:
            with pytest.raises(TelegramUnauthorizedError):
                await stranger.send_message(-5, "x")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("ж<b>x</i>", 'Unmatched end tag at byte offset 6, expected "</b>", found "</i>"'),
        ("a <unknown>", 'Unsupported start tag "unknown" at byte offset 2'),
        ("2 < 3", 'Unsupported start tag "" at byte offset 2'),
        ("a <b", "Unclosed start tag at byte offset 2"),
        ("a </b", "Unclosed end tag at byte offset 2"),
        ('<span class="x">y</span>', 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_html_is_refused_in_telegrams_words(source, said):
    with pytest.raises(CantParseError) as caught:
        from_html(source)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("a &amp; b &copy; &#1078;", "a &amp; b &amp;copy; ж"),
        ("<strong>x</strong>", "<b>x</b>"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<b onclick="x">y</b>', "<b>y</b>"),
        ("<blockquote expandable>x\ny</blockquote>", '<blockquote class="expandable">x\ny</blockquote>'),
        ("\"quoted\" 'too' > &lt;script&gt;", "\"quoted\" 'too' &gt; &lt;script&gt;"),
        ("nul\0 and \ud800", "nul and ?"),
    ],
)
def test_what_is_kept_is_written_anew_and_safe_in_a_page(source, written):
    assert from_html(source).html == written


async def test_messages_survive_a_restart_and_old_ones_go(pool, bot):
    store = PreviewStore(pool, now, kept=5)
    for number in range(8):
        await store.add("0367", 7, f"text {number}")
    again = PreviewStore(pool, now)
    messages = await again.messages(7)
    assert [message.message_id for message in messages] == [4, 5, 6, 7, 8]
    await again.delete("0367", 7, 8)
    assert (await again.add("0367", 7, "next")).message_id == 9
    assert [(chat.chat_id, chat.last_id) for chat in await again.chats()] == [(7, 9)]


async def test_sends_at_once_to_one_chat_get_different_ids(store, bot):
    sent = await asyncio.gather(*(bot.send_message(7, f"text {number}") for number in range(20)))
    assert sorted(message.message_id for message in sent) == list(range(1, 21))


async def test_a_bot_cannot_touch_the_messages_of_another_enterprise(store, bot):
    other = await store.add("0999", 7, "theirs")
    with pytest.raises(errors.MessageGone):
        await bot.edit_message_text(7, other.message_id, "ours")
    assert not await store.delete("0367", 7, other.message_id)


async def test_a_store_that_is_away_is_telegrams_own_trouble(pool, bot):
    await pool.close()
    with pytest.raises(errors.ServerError):
        await bot.send_message(1, "text")


async def test_a_page_follows_sends_edits_and_deletions(store, bot):
    app = Litestar([preview_routes(store, NoBots(), monotonic=time.monotonic)], openapi_config=None)
    async with served(app) as address, httpx.AsyncClient(base_url=address) as client:
        page = await client.get("/preview")
        assert page.status_code == 200
        assert "script-src 'nonce-" in page.headers["content-security-policy"]
        await bot.send_message(1001, "<b>one</b>")
        assert (await client.get("/preview/chats")).json()[0]["chat_id"] == 1001
        async with client.stream("GET", "/preview/stream", timeout=5) as stream:
            lines = stream.aiter_lines()
            assert await _data(lines) == ("again", "all")
            sent = await bot.send_message(1001, "two\nlines &amp; <i>more</i>")
            kind, data = await _data(lines)
            assert kind == "message"
            assert '"two\\nlines &amp; <i>more</i>"' in data
            await bot.edit_message_text(1001, sent.message_id, "three")
            assert '"edits":1' in (await _data(lines))[1]
            await bot.delete_message(1001, sent.message_id)
            assert '"deleted":true' in (await _data(lines))[1]
        (message,) = (await client.get("/preview/messages/1001")).json()
        assert message["text"] == "<b>one</b>"
        # a group's id is negative
        await bot.send_message(-100200, "group")
        assert len((await client.get("/preview/messages/-100200")).json()) == 1
        store.end_watches()


async def test_buttons_stand_below_a_message_until_it_is_edited_without(store, bot):
    markup = ((Button("open", url="https://example.org/"), Button("do", callback_data="x")),)
    sent = await bot.send_message(1001, "one", markup=markup)
    (message,) = await store.messages(1001)
    assert message.markup == (
        ({"text": "open", "url": "https://example.org/"}, {"text": "do", "callback_data": "x"}),
    )
    with pytest.raises(errors.NotModified):
        await bot.edit_message_text(1001, sent.message_id, "one", markup=markup)
    await bot.edit_message_text(1001, sent.message_id, "one")
    (message,) = await store.messages(1001)
    assert message.markup == ()


@pytest.mark.parametrize(
    "button",
    [
        Button("", callback_data="x"),
        Button("neither"),
        Button("both", url="https://example.org", callback_data="x"),
        Button("long", callback_data="й" * 33),
        Button("bad", url="javascript:alert(1)"),
    ],
)
async def test_a_button_that_telegram_would_refuse_is_refused(bot, button):
    with pytest.raises(errors.BadRequest):
        await bot.send_message(1001, "one", markup=((button,),))


async def test_who_does_not_keep_up_loses_the_oldest_and_is_told(store):
    message = await store.add("0367", 1, "x")
    with store.watch() as watch:
        for _ in range(250):
            watch.put(message)
        assert watch.missed
        assert await watch.next(0.1) == message


async def _data(lines):
    """Kind and data of the next event."""
    kind, data = "", None
    async for line in lines:
        if line.startswith("event:"):
            kind = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data = line.removeprefix("data:").strip()
        elif not line and data is not None:
            return kind, data
    raise AssertionError("the stream has ended")
