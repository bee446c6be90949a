"""Python's collector, kept out of the way of work that makes many objects without cycles."""

import gc


def calm_collector() -> None:
    """Keep Python's collector from walking what stays for ever, and from walking the rest at every turn.

    Open calls are tens of thousands of objects without cycles; a full collection over them and over all modules stops
    the loop for 60 to 95 ms. What is alive now is set aside, and collections come with 50,000 new objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
