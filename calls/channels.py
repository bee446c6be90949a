"""Names of Asterisk's channels, read once: the phone or trunk, or the Local pair (events.md 3)."""

import re
from typing import Final, final

from mypy_extensions import mypyc_attr

from calls.kept import room
from calls.numbers import is_extension
from calls.values import Value

_PEER: Final = re.compile(r"^[A-Za-z0-9]+/(?P<peer>.+)-[0-9a-fA-F]+$")


@final
@mypyc_attr(acyclic=True)
class Channel(Value):
    """What the name of a channel tells.

    ``pair``: ``Local/152@dialexecute-00000000`` for either half of it, "" for other channels. ``device``: ``151`` of
    ``SIP/151-00000006``, the phone or trunk that it belongs to, "" for other forms; ``inside``: a phone's.
    """

    def __init__(self, name: str, pair: str, device: str, inside: bool) -> None:
        self.name = name
        self.pair = pair
        self.device = device
        self.inside = inside

    def parts(self) -> tuple[object, ...]:
        return self.name, self.pair, self.device, self.inside


_MOST: Final = 16_384
_channels: Final[dict[str, Channel]] = {}


def read_channel(text: str) -> Channel:
    """The channel of this name; its events tell the same name again and again."""
    found = _channels.get(text)
    if found is None:
        found = room(_channels, _MOST)[text] = _read(text)
    return found


def _read(text: str) -> Channel:
    name = text.strip()
    found = _PEER.match(name)
    device = found["peer"] if found else ""
    pair = name[:-2] if name.startswith("Local/") and name[-2:] in {";1", ";2"} else ""
    return Channel(name, pair, device, is_extension(device))
