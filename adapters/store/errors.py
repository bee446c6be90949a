"""What can go wrong with the event store, beside what its callers' port names (actors/ports.py)."""

from actors.ports import LogError


class StoreError(LogError):
    """The event store cannot do what it was asked for."""


class FactRefused(StoreError):
    """PostgreSQL does not take this fact, whenever it is tried."""

    def __init__(self, stream: str, reason: str) -> None:
        super().__init__(f"a fact of {stream!r} was refused: {reason}")
        self.stream = stream
        self.reason = reason


class OutOfTime(StoreError):
    """The transaction was rolled back: its time to commit was over."""

    def __init__(self, allowed: float) -> None:
        super().__init__(f"not committed within {allowed:.1f} s, rolled back")
        self.allowed = allowed
