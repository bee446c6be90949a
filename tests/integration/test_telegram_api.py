"""The Bot API client over real HTTP: each answer becomes its error, and the token shows up nowhere."""

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter

from adapters.secret import Secret
from adapters.telegram import errors
from adapters.telegram.api import BotApi, http_client
from tests.botapi import (
    BAD_GATEWAY,
    BLOCKED,
    CANT_BE_DELETED,
    CANT_PARSE,
    CHAT_NOT_FOUND,
    EDIT_NOT_FOUND,
    NOT_MODIFIED,
    TOKEN,
    UNAUTHORIZED,
    BotApiServer,
    Fault,
    too_many,
)


@pytest.fixture
async def server():
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def bot(server):
    async with http_client() as client:
        yield BotApi(Secret(TOKEN), server.base_url, client, total=1.0)


async def test_a_message_is_sent_edited_and_deleted(server, bot):
    sent = await bot.send_message(1, "<b>one</b>")
    await bot.edit_message_text(1, sent.message_id, "two & three", html=False)
    assert server.standing(1) == ["two & three"]
    await bot.delete_message(1, sent.message_id)
    assert server.standing(1) == []
    assert (await bot.get_me()).username == "stand_in_bot"
    send, edit, *_ = server.requests
    assert send.fields["parse_mode"] == "HTML"
    assert send.fields["link_preview_options"] == {"is_disabled": True}
    assert "parse_mode" not in edit.fields
    assert "disable_notification" not in send.fields


async def test_requests_of_a_paced_bot_leave_when_they_may_though_they_have_a_connection(server, bot):
    reached, may_leave = asyncio.Event(), asyncio.Event()

    async def go():
        reached.set()
        await may_leave.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(bot.paced(go).send_message(1, "later"))
        await reached.wait()
        await bot.send_message(1, "at once")
        may_leave.set()
    assert server.standing(1) == ["at once", "later"]


async def test_a_message_may_come_without_a_sound(server, bot):
    sent = await bot.send_message(1, "one", silent=True)
    assert server.requests[0].fields["disable_notification"] is True
    assert server.chats[1][sent.message_id].silent


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (too_many(7), errors.TooManyRequests),
        (NOT_MODIFIED, errors.NotModified),
        (EDIT_NOT_FOUND, errors.MessageGone),
        (Fault(400, "Bad Request: MESSAGE_ID_INVALID"), errors.MessageGone),
        (Fault(400, "Bad Request: message can't be edited"), errors.MessageLocked),
        (CANT_BE_DELETED, errors.MessageLocked),
        (BLOCKED, errors.Blocked),
        (Fault(403, "Forbidden: bot was kicked from the supergroup chat"), errors.Kicked),
        (Fault(403, "Forbidden: bot is not a member of the channel chat"), errors.Kicked),
        (Fault(403, "Forbidden: bot can't initiate conversation with a user"), errors.Blocked),
        (
            Fault(400, "Bad Request: not enough rights to send text messages to the chat"),
            errors.NoRights,
        ),
        (Fault(400, "Bad Request: need administrator rights in the channel chat"), errors.NoRights),
        (Fault(403, "Forbidden: user is deactivated"), errors.Deactivated),
        (Fault(400, "Bad Request: group chat was deactivated"), errors.Deactivated),
        (Fault(400, "Bad Request: CHANNEL_PRIVATE"), errors.Kicked),
        (Fault(403, "Forbidden: something new"), errors.RecipientGone),
        (CHAT_NOT_FOUND, errors.ChatNotFound),
        (
            Fault(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                {"migrate_to_chat_id": -1001234},
            ),
            errors.ChatMigrated,
        ),
        (UNAUTHORIZED, errors.Unauthorized),
        (Fault(404, "Not Found"), errors.Unauthorized),
        (Fault(404, "Not Found here"), errors.ServerError),
        (Fault(409, "Conflict: terminated by other getUpdates request"), errors.Conflict),
        (Fault(413, "Request Entity Too Large"), errors.TooLong),
        (Fault(400, "Bad Request: message is too long"), errors.TooLong),
        (CANT_PARSE, errors.CantParse),
        (Fault(400, "Bad Request: text must be encoded in UTF-8"), errors.BadRequest),
        (BAD_GATEWAY, errors.ServerError),
        (Fault(504, "Gateway Timeout"), errors.Ambiguous),
        (Fault(reset=True), errors.Ambiguous),
        (Fault(delay=1.5), errors.Ambiguous),
    ],
    ids=lambda value: getattr(value, "__name__", None) or value.description or "no answer",
)
async def test_each_answer_is_one_kind_of_error(server, bot, fault, error):
    server.script("editMessageText", fault)
    with pytest.raises(errors.TelegramError) as caught:
        await bot.edit_message_text(1, 2, "text")
    assert type(caught.value) is error


@asynccontextmanager
async def somebody(head, body):
    """Whoever answers everything so, instead of the Bot API or on the way to it; a bot that asks him."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"HTTP/1.1 {head}\r\n{length}".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener, http_client() as client:
        port = listener.sockets[0].getsockname()[1]
        yield BotApi(TOKEN, f"http://127.0.0.1:{port}", client)


@pytest.mark.parametrize("head", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "400 Bad Request"])
@pytest.mark.parametrize("body", [b"<html>nginx</html>", b'{"message":"no such route"}'])
async def test_who_is_not_the_bot_api_says_nothing_of_bot_or_chat(head, body):
    async with somebody(head, body) as bot:
        with pytest.raises(errors.ServerError):
            await bot.send_message(1, "text")


@pytest.mark.parametrize(
    ("head", "error"),
    [
        ("429 Too Many", errors.TooManyRequests),
        ("413 Too Large", errors.TooLong),
        ("504 Gateway Timeout", errors.Ambiguous),
    ],
)
async def test_what_somebody_on_the_way_says_of_the_request_is_believed(head, error):
    async with somebody(head, b"<html>") as bot:
        with pytest.raises(error):
            await bot.send_message(1, "text")


async def test_updates_that_cannot_be_read_are_stepped_over_and_the_log_says_so(caplog):
    message = rb'{"message_id":1,"chat":{"id":7},"text":"/help \ud800"}'
    body = rb'{"ok":true,"result":[{"message":%s},7,{"update_id":6,"message":%s}]}' % (message, message)
    async with somebody("200 OK", body) as bot:
        (update,) = await bot.get_updates(0)
    assert (update.update_id, update.message.text) == (6, "/help \ufffd")
    assert caplog.text.count("no update was heard") == 2


async def test_errors_carry_what_telegram_said(server, bot):
    server.script("sendMessage", too_many(7), Fault(400, "Bad Request: x", {"migrate_to_chat_id": -1001234}))
    with pytest.raises(errors.TooManyRequests) as caught:
        await bot.send_message(1, "text")
    assert caught.value.retry_after == 7
    with pytest.raises(errors.ChatMigrated) as migrated:
        await bot.send_message(1, "text")
    assert migrated.value.new_chat_id == -1001234


async def test_no_connection_means_certainly_not_sent(bot, unused_tcp_port):
    async with http_client() as client:
        nowhere = BotApi(TOKEN, f"http://127.0.0.1:{unused_tcp_port}", client)
        with pytest.raises(errors.Unreachable):
            await nowhere.send_message(1, "text")


async def test_the_token_shows_up_in_no_log_line_exception_or_repr(server, bot, caplog, unused_tcp_port):
    caplog.set_level(logging.DEBUG)
    server.script("sendMessage", Fault(reset=True), BAD_GATEWAY)
    told = [repr(bot), str(bot), str(vars(bot)), bot.key]
    async with http_client() as client:
        nowhere = BotApi(TOKEN, f"http://127.0.0.1:{unused_tcp_port}", client)
        for speaker in (bot, bot, nowhere):
            with pytest.raises(errors.TelegramError) as caught:
                await speaker.send_message(1, "text")
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            told += traceback.format_exception(caught.value, chain=True)
    await bot.get_me()
    assert "HTTP Request" in caplog.text
    assert TOKEN.split(":")[1] not in caplog.text + "".join(told)


async def test_a_token_that_cannot_stand_in_an_address_is_refused_without_being_named():
    async with http_client() as client:
        with pytest.raises(ValueError, match="a bot token consists of") as caught:
            BotApi("123:secret/../x", "http://127.0.0.1", client)
    assert "secret" not in str(caught.value)


async def test_a_lone_surrogate_does_not_keep_a_card_from_being_sent(server, bot):
    await bot.send_message(1, "Иван \ud800 Иванов")
    assert server.standing(1) == ["Иван ? Иванов"]


async def test_an_independent_client_understands_the_stand_in(server):
    session = AiohttpSession(api=TelegramAPIServer.from_base(server.base_url))
    async with Bot(TOKEN, session=session) as other:
        assert (await other.get_me()).is_bot
        sent = await other.send_message(1, "<b>one</b>", parse_mode="HTML")
        edited = await other.edit_message_text("two", chat_id=1, message_id=sent.message_id)
        assert edited.edit_date is not None
        with pytest.raises(TelegramBadRequest, match="message is not modified"):
            await other.edit_message_text("two", chat_id=1, message_id=sent.message_id)
        assert await other.delete_message(1, sent.message_id) is True
        server.script("sendMessage", too_many(3), BLOCKED)
        with pytest.raises(TelegramRetryAfter) as caught:
            await other.send_message(1, "three")
        assert caught.value.retry_after == 3
        with pytest.raises(TelegramForbiddenError):
            await other.send_message(1, "three")
