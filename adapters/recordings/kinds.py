"""What kind of sound a file is, by its first bytes: what its sender says of it counts for nothing."""

from typing import Final

UNKNOWN: Final = "application/octet-stream"
LOOKED_AT: Final = 16
"""How many bytes are needed to tell."""

_BEGINNINGS: Final = (
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b".snd", "audio/basic"),
    (b"\x1a\x45\xdf\xa3", "audio/webm"),
)
_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"mp41", b"mp42", b"isom", b"iso2"})
_ENDINGS: Final = {
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/basic": "au",
    "audio/webm": "webm",
    "audio/mp4": "m4a",
}


def kind_of(head: bytes) -> str:
    """``audio/…`` of a file that begins so, UNKNOWN for what is no sound known here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return "audio/mp4"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    return _mpeg(head)


def _mpeg(head: bytes) -> str:
    """A frame without any tag before it: eleven bits of sync, then version, layer, bit rate and sampling rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return UNKNOWN
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        return "audio/aac" if version >= 2 and head[2] >> 2 & 15 <= 12 else UNKNOWN
    rates = head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    return "audio/mpeg" if version != 1 and rates else UNKNOWN


def ending_of(kind: str) -> str:
    """What the name of such a file ends with."""
    return _ENDINGS.get(kind, "bin")
