"""Texts that are too long for one message, cut so that what is left is a text that Telegram takes.

Telegram counts UTF-16 units of the text that is left when tags are gone and entities are read.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

LONGEST: Final = 4096  # Bot API, sendMessage
_MORE: Final = "…"
_TOKEN: Final = re.compile(
    r"""(?P<end></[^<>]*>)"""
    r"""|(?P<begin><(?P<name>[^\s<>"'/]+)(?:[^<>"']|"[^"]*"|'[^']*')*>)"""
    r"""|&(?:\#(?P<decimal>\d{1,7})|\#[xX](?P<hex>[0-9a-fA-F]{1,6})|(?:lt|gt|amp|quot));?"""
    r"""|(?P<rest>[\s\S])"""
)
_LAST: Final = 0x10FFFF
_ASTRAL: Final = 0xFFFF


class _Place(msgspec.Struct, frozen=True):
    """Where a source may be cut: index in it, units before it, names of the tags that are open there."""

    index: int
    units: int
    tags: tuple[str, ...]


def utf16(text: str) -> int:
    """Length as Telegram counts it."""
    return len(text) + sum(char > "\uffff" for char in text)


def cut(source: str, longest: int = LONGEST) -> str:
    """HTML whose text is at most so many units: at a line's end, if that keeps half of it, else anywhere.

    No tag, entity or character is cut in half and every tag is closed; "…" stands for what is left out. What fits
    comes back as it is.
    """
    if len(source) * 2 <= longest:
        return source
    more, more_below = _MORE, "\n" + _MORE
    last = line = _Place(0, 0, ())
    for place in _places(source):
        if place.units > longest:
            break
        if place.units + len(more) <= longest:
            last = place
        if place.units + len(more_below) <= longest and source.startswith("\n", place.index):
            line = place
    else:
        return source
    at, end = (line, more_below) if line.units * 2 >= last.units else (last, more)
    closing = "".join(f"</{name}>" for name in reversed(at.tags))
    return source[: at.index] + end + closing


def cut_plain(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text without entities, at most so many units; "…" stands for what is left out."""
    if utf16(text) <= longest:
        return text
    units = 0
    for index, char in enumerate(text):
        units += utf16(char)
        if units > longest - len(_MORE):
            return text[:index] + _MORE
    return text


def _places(source: str) -> Iterator[_Place]:
    """Every place between two tokens, the end as the last."""
    units = 0
    tags: tuple[str, ...] = ()
    for token in _TOKEN.finditer(source):
        yield _Place(token.start(), units, tags)
        if token["begin"]:
            tags = (*tags, token["name"])
        elif token["end"]:
            tags = tags[:-1]
        else:
            units += _units(token)
    yield _Place(len(source), units, tags)


def _units(token: re.Match[str]) -> int:
    if token["rest"]:
        return utf16(token["rest"])
    code = int(token["decimal"] or 0) or int(token["hex"] or "0", 16)
    if not token["decimal"] and not token["hex"]:
        return 1
    # what stands for no character stays as it is written
    return 1 + (code > _ASTRAL) if 0 < code <= _LAST else len(token[0])
