"""What a bot hears (Update of the Bot API), as far as callfold reads it; what it does not know is left out."""

import re
from typing import Final

import msgspec

HEARD: Final = ("message", "callback_query", "my_chat_member")
"""``allowed_updates``: everything else is not even sent."""


class User(msgspec.Struct, frozen=True):
    """Somebody who writes or presses."""

    id: int
    is_bot: bool = False


class Chat(msgspec.Struct, frozen=True):
    """Where. Ids of people are positive, of groups negative."""

    id: int


class Message(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message, or what is left of one that the bot cannot read any more. ``migrate_to_chat_id``: see Chat."""

    message_id: int
    chat: Chat
    sender: User | None = None
    text: str = ""
    migrate_to_chat_id: int | None = None


class CallbackQuery(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A button was pressed. ``message``: below which it stands; ``data``: what the button was given."""

    id: str
    sender: User
    message: Message | None = None
    data: str = ""


class ChatMember(msgspec.Struct, frozen=True):
    """``status`` of the bot: ``member``, ``administrator``, ``left`` or ``kicked``, and others."""

    status: str


class ChatMemberUpdated(msgspec.Struct, frozen=True):
    """What the bot is in a chat from now on."""

    chat: Chat
    new_chat_member: ChatMember


class Update(msgspec.Struct, frozen=True):
    """One thing that was heard; of a kind that is not known, or of another shape, its number alone."""

    update_id: int
    message: Message | None = None
    callback_query: CallbackQuery | None = None
    my_chat_member: ChatMemberUpdated | None = None

    @property
    def chat_id(self) -> int | None:
        """The chat that it is about."""
        message = self.message or (self.callback_query.message if self.callback_query else None)
        about = message or self.my_chat_member
        return about.chat.id if about else None


class _Number(msgspec.Struct, frozen=True):
    update_id: int


_update = msgspec.json.Decoder(Update)
_number = msgspec.json.Decoder(_Number)


# Backslashes and whole pairs are stepped over, so that what is left is half a pair.
_LONE_SURROGATE: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def readable(raw: bytes) -> bytes:
    """JSON with U+FFFD for what is no text: lone surrogates, which others escape and msgspec refuses, and no UTF-8."""
    text = raw.decode("utf-8", "replace").encode()
    return _LONE_SURROGATE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], text)


def read_update(raw: bytes | msgspec.Raw) -> Update:
    """One update. Raises msgspec.DecodeError for what has not even a number."""
    try:
        return _update.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = readable(bytes(raw))
    try:
        return _update.decode(told)
    except msgspec.DecodeError:
        return Update(_number.decode(told).update_id)
