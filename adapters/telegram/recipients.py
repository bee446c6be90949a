"""Who has to be told when a chat is no more, or is another."""

from typing import Protocol


class Recipients(Protocol):
    """The subscribers of the directory, as far as the outbox learns something about them.

    Neither method raises for what the store says; both end, done or not, within a minute or so.
    """

    async def gone(self, enterprise: str, chat_id: int, reason: str) -> None:
        """The chat cannot be written to any more; ``reason`` of a RecipientGone."""
        ...

    async def moved(self, enterprise: str, old: int, new: int) -> None:
        """The group has become a supergroup, which has this id."""
        ...
