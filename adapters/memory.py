"""Python's collector, kept out of the way of work that makes many objects without cycles."""

import gc
from typing import Final

FOLDING: Final = 50_000
"""For work that leaves hardly any cycles behind: taking up calls, rebuilding."""
SERVING: Final = 2_000
"""For the loop that hosts wait for: each request to Telegram leaves some hundred objects in cycles, and it takes 1.5 ms
to find 2,000 of them, but 50 to 75 ms to find 50,000."""


def calm_collector(young: int) -> None:
    """Keep Python's collector from walking what stays for ever, and from walking the rest at every turn.

    Open calls are tens of thousands of objects without cycles; a full collection over them and over all modules stops
    the loop for 60 to 95 ms. What is there now is set aside, and collections come with so many ``young`` objects.
    """
    gc.freeze()
    gc.set_threshold(young, 10, 100)
