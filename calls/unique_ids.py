"""UniqueIds: ``<epoch>.<counter>`` of the host that made them (events.md 3)."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

NO_EPOCH: Final = 1 << 62
"""Stands for the epoch of an id of another shape: such ids are younger than all others."""


@lru_cache(maxsize=16_384)
def age(unique_id: str) -> tuple[int, int, str]:
    """Order of UniqueIds: epoch, then counter as a number; ids of other shapes come last, by text."""
    epoch, _, counter = unique_id.partition(".")
    digits = epoch + counter
    if epoch and digits.isdigit() and digits.isascii():
        return int(epoch), int(counter or 0), unique_id
    return NO_EPOCH, 0, unique_id


@lru_cache(maxsize=4096)
def began(unique_id: str) -> datetime | None:
    """Creation time of the channel: the part of its UniqueId before the dot, UTC seconds."""
    told = unique_id.partition(".")[0]
    if len(told) == 10 and told.isascii() and told.isdigit():
        return datetime.fromtimestamp(int(told), UTC)
    return None
