"""The stand-in answers as the Bot API does: a client library that was not written for it reads every answer rightly."""

import asyncio

import pytest
from telegram import Bot, Chat, InlineKeyboardButton, InlineKeyboardMarkup, Message
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TimedOut,
)
from telegram.request import HTTPXRequest

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

MOVED = Fault(
    400, "Bad Request: group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": -1001234}
)


@pytest.fixture
async def server():
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def bot(server, monkeypatch):
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # seconds as a number are deprecated, which is an error here
    requests = [HTTPXRequest(read_timeout=1.0, httpx_kwargs={"trust_env": False}) for _ in range(2)]
    asked = Bot(
        TOKEN, base_url=f"{server.base_url}/bot", request=requests[0], get_updates_request=requests[1]
    )
    async with asked:
        yield asked


async def test_the_bot_is_known_by_its_name(bot):
    me = await bot.get_me()
    assert (me.id, me.is_bot, me.username) == (123456789, True, "stand_in_bot")


@pytest.mark.parametrize(("chat_id", "kind"), [(7, Chat.PRIVATE), (-7, Chat.GROUP)])
async def test_a_message_is_sent_edited_and_deleted(server, bot, chat_id, kind):
    sent = await bot.send_message(chat_id, "<b>one</b>", parse_mode="HTML")
    assert (sent.chat.id, sent.chat.type, sent.text) == (chat_id, kind, "<b>one</b>")
    edited = await bot.edit_message_text("two", chat_id=chat_id, message_id=sent.message_id)
    assert isinstance(edited, Message)
    assert (edited.message_id, edited.text, edited.edit_date is not None) == (sent.message_id, "two", True)
    assert server.standing(chat_id) == ["two"]
    assert await bot.delete_message(chat_id, sent.message_id) is True
    assert server.standing(chat_id) == []


@pytest.mark.parametrize(
    ("method", "fault", "error", "words"),
    [
        ("sendMessage", too_many(7), RetryAfter, "Retry in 0:00:07"),
        ("sendMessage", BLOCKED, Forbidden, "blocked by the user"),
        ("sendMessage", CHAT_NOT_FOUND, BadRequest, "Chat not found"),
        ("sendMessage", CANT_PARSE, BadRequest, "Can't parse entities"),
        ("sendMessage", MOVED, ChatMigrated, "-1001234"),
        ("sendMessage", UNAUTHORIZED, InvalidToken, "Unauthorized"),
        ("sendMessage", BAD_GATEWAY, NetworkError, "Bad Gateway"),
        ("sendMessage", Fault(delay=1.5), TimedOut, "Timed out"),
        ("sendMessage", Fault(reset=True), NetworkError, "Error|error"),
        ("editMessageText", NOT_MODIFIED, BadRequest, "Message is not modified"),
        ("editMessageText", EDIT_NOT_FOUND, BadRequest, "Message to edit not found"),
        ("deleteMessage", CANT_BE_DELETED, BadRequest, "Message can't be deleted"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_each_failure_is_of_its_own_class(server, bot, method, fault, error, words):
    sent = await bot.send_message(7, "one")
    server.script(method, fault)
    asked = {
        "sendMessage": lambda: bot.send_message(7, "two"),
        "editMessageText": lambda: bot.edit_message_text("two", chat_id=7, message_id=sent.message_id),
        "deleteMessage": lambda: bot.delete_message(7, sent.message_id),
    }
    with pytest.raises(error, match=words) as caught:
        await asked[method]()
    assert type(caught.value) is error


async def test_what_no_script_asked_for_fails_as_it_should(server, bot):
    sent = await bot.send_message(7, "one")
    with pytest.raises(BadRequest, match="Message is not modified"):
        await bot.edit_message_text("one", chat_id=7, message_id=sent.message_id)
    with pytest.raises(BadRequest, match="Can't parse entities"):
        await bot.send_message(7, "<x>one", parse_mode="HTML")
    await bot.delete_message(7, sent.message_id)
    with pytest.raises(BadRequest, match="Message to edit not found"):
        await bot.edit_message_text("two", chat_id=7, message_id=sent.message_id)
    with pytest.raises(BadRequest, match="Message to delete not found"):
        await bot.delete_message(7, sent.message_id)
    server.token = "987654321:another-token-of-the-tests-000000000"
    with pytest.raises(InvalidToken):
        await bot.get_me()


# what a bot hears


async def asked(bot, offset=0):
    return await bot.get_updates(
        offset=offset, timeout=1, allowed_updates=["message", "callback_query", "my_chat_member"]
    )


async def test_what_readers_do_is_heard_in_telegrams_shape(server, bot):
    sent = await bot.send_message(
        7,
        "menu",
        reply_markup=InlineKeyboardMarkup(
            [
                [
                    InlineKeyboardButton("do", callback_data="x"),
                    InlineKeyboardButton("see", url="https://example.org/1"),
                ]
            ]
        ),
    )
    assert [one.text for one in sent.reply_markup.inline_keyboard[0]] == ["do", "see"]
    server.write(7, "/calls now")
    server.write(-7, "hello")
    query_id = server.press(7, sent.message_id, "x", user_id=8)
    server.member(7, "kicked")
    server.member(-7, "member")
    command, text, press, kicked, added = await asked(bot)
    (entity,) = command.message.entities
    assert (command.message.parse_entity(entity), command.message.chat.type) == ("/calls", Chat.PRIVATE)
    assert (text.message.text, text.message.chat.type, text.message.entities) == ("hello", Chat.GROUP, ())
    query = press.callback_query
    assert (query.id, query.data, query.from_user.id) == (query_id, "x", 8)
    assert (query.message.chat.id, query.message.message_id) == (7, sent.message_id)
    assert kicked.my_chat_member.new_chat_member.status == "kicked"
    assert added.my_chat_member.new_chat_member.status == "member"
    assert [one.update_id for one in await asked(bot, press.update_id)] == [
        press.update_id,
        kicked.update_id,
        added.update_id,
    ]
    assert await asked(bot, added.update_id + 1) == ()
    assert await query.answer("done", show_alert=True)
    assert (await server.answered(query_id))["text"] == "done"


async def test_an_update_that_comes_meanwhile_ends_the_waiting(server, bot):
    waiting = asyncio.create_task(bot.get_updates(timeout=30))
    await server.waited()
    server.write(7, "hello")
    (update,) = await waiting
    assert update.message.text == "hello"


async def test_of_two_pollers_the_one_that_waited_is_told(server, bot):
    first = asyncio.create_task(bot.get_updates(timeout=30))
    await server.waited()
    second = asyncio.create_task(bot.get_updates(timeout=30))
    with pytest.raises(Conflict, match="other getUpdates request"):
        await first
    server.write(7, "hello")
    assert len(await second) == 1


async def test_a_webhook_and_polling_exclude_each_other(server, bot):
    assert await bot.set_webhook("https://example.org/hook", secret_token="s", allowed_updates=["message"])
    assert (await bot.get_webhook_info()).url == "https://example.org/hook"
    with pytest.raises(Conflict, match="webhook is active"):
        await asked(bot)
    assert await bot.delete_webhook()
    assert (await bot.get_webhook_info()).url == ""
    assert await asked(bot) == ()


async def test_commands_are_kept_by_language(server, bot):
    await bot.set_my_commands([("calls", "the last calls")], language_code="en")
    assert server.heard[TOKEN].commands == {"en": [{"command": "calls", "description": "the last calls"}]}
    with pytest.raises(BadRequest, match=r"(?i)command_invalid"):
        await bot.set_my_commands([("Calls!", "x")])


@pytest.mark.parametrize(
    ("button", "words"),
    [
        (InlineKeyboardButton("x", callback_data="й" * 33), "data"),
        (InlineKeyboardButton("x", callback_data=""), "data"),
        (InlineKeyboardButton("x", url="nowhere"), "invalid"),
        (InlineKeyboardButton("x"), "exactly one"),
    ],
)
async def test_buttons_that_telegram_refuses_are_refused(bot, button, words):
    with pytest.raises(BadRequest, match=f"(?i){words}"):
        await bot.send_message(7, "x", reply_markup=InlineKeyboardMarkup([[button]]))


async def test_a_message_whose_buttons_alone_change_is_modified(server, bot):
    markup = InlineKeyboardMarkup([[InlineKeyboardButton("x", callback_data="x")]])
    sent = await bot.send_message(7, "one", reply_markup=markup)
    with pytest.raises(BadRequest, match="not modified"):
        await bot.edit_message_text("one", 7, sent.message_id, reply_markup=markup)
    edited = await bot.edit_message_text("one", 7, sent.message_id)
    assert edited.reply_markup is None
