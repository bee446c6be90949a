"""What a leg's group became the guest of: stored with the leg's place, as it is not known any more later."""

from typing import Final

import msgspec

LEFT: Final = -1
"""In the place of a tie: a guest left the conversation that the leg leads."""


class Visit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """That a leg's group became another's guest. What decided it is not known any more later."""

    position: int
    """Of the fact by which it was decided."""
    tie: int
    """Which of the leg's ties it was by, or LEFT."""
    host: str
    """A leg of the other group; of the one that left."""
