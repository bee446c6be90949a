"""What is remembered of texts that come again and again, within bounds.

A dict that is emptied when it is full, in the place of functools.lru_cache: from compiled code the latter costs more
than what it remembers (docs/decisions/0017-compiled.md).
"""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def room(kept: dict[K, V], most: int) -> dict[K, V]:
    """The dict, with room for one more of at most so many."""
    if len(kept) >= most:
        kept.clear()
    return kept
