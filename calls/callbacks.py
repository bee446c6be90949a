"""Call backs: a reader of a call's message asked for a call to its customer (docs/decisions/0009-bot.md)."""

import msgspec

from calls.facts import CALLBACK_REQUESTED
from calls.shapes import SHAPES


class CallbackRequested(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Body of a ``callback_requested`` fact: call ``phone`` (E.164), the customer of this call.

    ``chat_id``: where the button was pressed; ``user_id``: by whom (both as Telegram numbers them). ``line``: on
    which the call came, as far as known.
    """

    call_id: str
    chat_id: int
    user_id: int
    phone: str
    line: str | None = None


_decoder = msgspec.json.Decoder(CallbackRequested)


def read_callback(body: bytes) -> CallbackRequested:
    """Body of a ``callback_requested`` fact. Raises as Shapes.read."""
    return SHAPES.read(CALLBACK_REQUESTED, body, _decoder)


def write_callback(requested: CallbackRequested) -> bytes:
    """Body of a ``callback_requested`` fact."""
    return SHAPES.write(CALLBACK_REQUESTED, requested)
