"""Chats: what was asked of one that no delivery tells, for whoever is here next (bodies of the chat facts).

The bot's limits hold whoever speaks: an answer counts like a card, a request that was not taken like one that was, and
a pause that Telegram has asked for goes on.
"""

import msgspec

from calls.facts import CHAT_ASKED, CHAT_PAUSED
from calls.shapes import SHAPES


class ChatAsked(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Body of a ``chat_asked`` fact: a request to the chat that no delivery tells.

    ``line``: name of what a chat is told that may not ask (adapters/bot/desk.py), "" for any other.
    """

    chat_id: int
    line: str = ""


class ChatPaused(msgspec.Struct, frozen=True, gc=False):
    """Body of a ``chat_paused`` fact: Telegram wants nothing asked of the chat for so long (``retry_after``)."""

    chat_id: int
    seconds: float


_asked = msgspec.json.Decoder(ChatAsked)
_paused = msgspec.json.Decoder(ChatPaused)


def read_asked(body: bytes) -> ChatAsked:
    """Body of a ``chat_asked`` fact. Raises as Shapes.read."""
    return SHAPES.read(CHAT_ASKED, body, _asked)


def write_asked(asked: ChatAsked) -> bytes:
    """Body of a ``chat_asked`` fact."""
    return SHAPES.write(CHAT_ASKED, asked)


def read_paused(body: bytes) -> ChatPaused:
    """Body of a ``chat_paused`` fact. Raises as Shapes.read."""
    return SHAPES.read(CHAT_PAUSED, body, _paused)


def write_paused(paused: ChatPaused) -> bytes:
    """Body of a ``chat_paused`` fact."""
    return SHAPES.write(CHAT_PAUSED, paused)
