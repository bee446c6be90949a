"""Chats: what was asked of one beside the cards of calls, for whoever is here next (bodies of the chat facts).

The bot's limits hold whoever speaks: an answer counts like a card, and a pause that Telegram has asked for goes on.
"""

import msgspec

from calls.facts import CHAT_ANSWERED, CHAT_PAUSED
from calls.shapes import SHAPES


class ChatAnswered(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Body of a ``chat_answered`` fact: a command is about to be answered.

    ``line``: name of what a chat is told that may not ask (adapters/bot/desk.py), "" for an answer to who may.
    """

    chat_id: int
    line: str = ""


class ChatPaused(msgspec.Struct, frozen=True, gc=False):
    """Body of a ``chat_paused`` fact: Telegram wants nothing asked of the chat for so long (``retry_after``)."""

    chat_id: int
    seconds: float


_answered = msgspec.json.Decoder(ChatAnswered)
_paused = msgspec.json.Decoder(ChatPaused)


def read_answered(body: bytes) -> ChatAnswered:
    """Body of a ``chat_answered`` fact. Raises as Shapes.read."""
    return SHAPES.read(CHAT_ANSWERED, body, _answered)


def write_answered(answered: ChatAnswered) -> bytes:
    """Body of a ``chat_answered`` fact."""
    return SHAPES.write(CHAT_ANSWERED, answered)


def read_paused(body: bytes) -> ChatPaused:
    """Body of a ``chat_paused`` fact. Raises as Shapes.read."""
    return SHAPES.read(CHAT_PAUSED, body, _paused)


def write_paused(paused: ChatPaused) -> bytes:
    """Body of a ``chat_paused`` fact."""
    return SHAPES.write(CHAT_PAUSED, paused)
