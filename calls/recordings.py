"""Recordings: that there is one of a leg, and where it is (body of ``recording_added``; docs/decisions/0010)."""

from typing import Final

import msgspec

from calls.facts import RECORDING_ADDED
from calls.shapes import SHAPES


class Recording(msgspec.Struct, frozen=True, gc=False):
    """The recording of a leg, as a host gave it: a ``url`` elsewhere, or a file of ours.

    ``id`` names it in links; it is the same for every recording of one leg. Of a file: ``type`` by its first bytes,
    its length in ``bytes`` and its ``sha256`` (hex), which also names it on the disk; of a url they are empty.
    """

    id: str
    url: str = ""
    type: str = ""
    bytes: int = 0
    sha256: str = ""


_decoder: Final = msgspec.json.Decoder(Recording)


def read_recording(body: bytes) -> Recording:
    """Body of a ``recording_added`` fact. Raises as Shapes.read."""
    return SHAPES.read(RECORDING_ADDED, body, _decoder)


def write_recording(recording: Recording) -> bytes:
    """Body of a ``recording_added`` fact."""
    return SHAPES.write(RECORDING_ADDED, recording)
