"""The clock of the running service."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall clock and monotonic clock of the machine (actors.ports.Clock)."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()
