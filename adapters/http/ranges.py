"""Which part of a file is asked for (RFC 9110, 14): one range of bytes, or all."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_ONE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")


class Unsatisfiable(Exception):
    """Nothing of the file is in the range."""


class Part(msgspec.Struct, frozen=True):
    """The bytes from ``first`` on, ``length`` of them; ``whole`` where no range was asked for."""

    first: int
    length: int
    whole: bool = False


def part(headers: Mapping[bytes, bytes], size: int, etag: str) -> Part:
    """What of a file of this size is to be sent.

    Several ranges, another unit, what is no range, and an If-Range of another content get all of it, as the standard
    allows. Raises Unsatisfiable.
    """
    everything = Part(0, size, whole=True)
    found = _ONE.fullmatch(headers.get(b"range", b"").decode("latin-1").strip())
    only_if = headers.get(b"if-range")
    if found is None or (only_if is not None and only_if.decode("latin-1").strip() != etag):
        return everything
    first, last = found[1], found[2]
    if not first and not last:
        return everything
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return everything
    if begin >= end:
        raise Unsatisfiable
    return Part(begin, end - begin)
