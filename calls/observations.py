"""What callfold itself noticed: that nobody of a call has been heard of for a while.

A timer never closes a call. It records this observation, the fold decides, and a later event opens the call again.
"""

from typing import Literal

import msgspec

from calls.facts import SILENCE_OBSERVED
from calls.shapes import SHAPES


class Silence(msgspec.Struct, frozen=True, gc=False):
    """Nothing was heard of a call for ``seconds`` after the fact at position ``upto``.

    ``why``: "settle" - its bridges are empty and its last hangup was never told (CALL_SETTLE); "silence" - it
    still looks alive (CALL_SILENCE).
    """

    why: Literal["settle", "silence"]
    seconds: float
    upto: int


_decoder = msgspec.json.Decoder(Silence)


def read_silence(body: bytes) -> Silence:
    """Body of a ``silence_observed`` fact. Raises as Shapes.read."""
    return SHAPES.read(SILENCE_OBSERVED, body, _decoder)


def write_silence(silence: Silence) -> bytes:
    """Body of a ``silence_observed`` fact."""
    return SHAPES.write(SILENCE_OBSERVED, silence)
