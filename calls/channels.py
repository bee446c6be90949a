"""Names of Asterisk's channels, read once: the phone or trunk, or the Local pair (events.md 3)."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from calls.numbers import is_extension

_PEER: Final = re.compile(r"^[A-Za-z0-9]+/(?P<peer>.+)-[0-9a-fA-F]+$")


class Channel(msgspec.Struct, frozen=True, gc=False):
    """What the name of a channel tells.

    ``pair``: ``Local/152@dialexecute-00000000`` for either half of it, "" for other channels. ``device``: ``151`` of
    ``SIP/151-00000006``, the phone or trunk that it belongs to, "" for other forms; ``inside``: a phone's.
    """

    name: str
    pair: str
    device: str
    inside: bool


@lru_cache(maxsize=16_384)
def read_channel(text: str) -> Channel:
    """The channel of this name; its events tell the same name again and again."""
    name = text.strip()
    found = _PEER.match(name)
    device = found["peer"] if found else ""
    pair = name[:-2] if name.startswith("Local/") and name[-2:] in {";1", ";2"} else ""
    return Channel(name, pair, device, is_extension(device))
