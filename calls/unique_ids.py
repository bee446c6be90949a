"""UniqueIds: ``<epoch>.<counter>`` of the host that made them (events.md 3)."""

from datetime import UTC, datetime
from typing import Final

from calls.kept import room

NO_EPOCH: Final = 1 << 62
"""Stands for the epoch of an id of another shape: such ids are younger than all others."""


Age = tuple[int | str, ...]
"""Epoch, counter, and the id itself."""

_MOST: Final = 16_384
_ages: Final[dict[str, Age]] = {}
_begun: Final[dict[str, datetime]] = {}


def age(unique_id: str) -> Age:
    """Order of UniqueIds: epoch, then counter as a number; ids of other shapes come last, by text."""
    found = _ages.get(unique_id)
    if found is None:
        found = room(_ages, _MOST)[unique_id] = _age(unique_id)
    return found


def epoch_of(unique_id: str) -> int:
    """The first part of a UniqueId as a number, NO_EPOCH for ids of other shapes."""
    epoch = age(unique_id)[0]
    assert isinstance(epoch, int)
    return epoch


def _age(unique_id: str) -> Age:
    epoch, _, counter = unique_id.partition(".")
    digits = epoch + counter
    if epoch and digits.isdigit() and digits.isascii():
        return int(epoch), int(counter or 0), unique_id
    return NO_EPOCH, 0, unique_id


def began(unique_id: str) -> datetime | None:
    """Creation time of the channel: the part of its UniqueId before the dot, UTC seconds."""
    told = unique_id.partition(".")[0]
    found = _begun.get(told)
    if found is None and len(told) == 10 and told.isascii() and told.isdigit():
        found = room(_begun, _MOST)[told] = datetime.fromtimestamp(int(told), UTC)
    return found
