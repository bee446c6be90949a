"""What can go wrong with a Bot API request, and which answer means what."""

from typing import ClassVar, Final

import msgspec


class TelegramError(Exception):
    """A request that had no (known) effect. ``reason`` is our word for it, ``description`` Telegram's.

    Neither holds the token. ``lasting``: the same request will fail again.
    """

    reason: ClassVar[str] = "error"
    lasting: ClassVar[bool] = False

    def __init__(self, method: str, description: str = "") -> None:
        super().__init__(f"{method}: {description or self.reason}")
        self.method = method
        self.description = description


class Unreachable(TelegramError):
    """No connection: certainly not sent."""

    reason = "unreachable"


class Ambiguous(TelegramError):
    """The request was written and no answer came: it may have had its effect or not."""

    reason = "ambiguous"


class ServerError(TelegramError):
    """Telegram's own trouble (5xx), or that of somebody on the way: an answer that is none of the Bot API."""

    reason = "server_error"

    def __init__(self, method: str, description: str, status: int) -> None:
        super().__init__(method, f"{status} {description}")
        self.status = status


class TooManyRequests(TelegramError):
    """429: nothing before ``retry_after`` seconds are over."""

    reason = "too_many_requests"

    def __init__(self, method: str, description: str, retry_after: float) -> None:
        super().__init__(method, description)
        self.retry_after = retry_after


class Unauthorized(TelegramError):
    """401, or 404 for a token that has not even the form of one: this bot can do nothing.

    A 404 may also be of the method: whether the bot is refused, getMe says (``refusal``).
    """

    reason = "unauthorized"
    lasting = True


class Conflict(TelegramError):
    """409: somebody else asks for the same bot's updates."""

    reason = "conflict"


class RecipientGone(TelegramError):
    """The chat cannot be written to any more."""

    reason = "forbidden"
    lasting = True


class Blocked(RecipientGone):
    """The user blocked the bot, or has never started it."""

    reason = "blocked"


class Kicked(RecipientGone):
    """The group threw the bot out."""

    reason = "kicked"


class Deactivated(RecipientGone):
    """The user, or the group, is no more."""

    reason = "deactivated"


class ChatNotFound(RecipientGone):
    """No such chat, as far as the bot knows."""

    reason = "chat_not_found"


class NoRights(RecipientGone):
    """The bot is in the group, but may not write there."""

    reason = "no_rights"


class ChatMigrated(RecipientGone):
    """The group has become a supergroup and has another id now."""

    reason = "chat_migrated"

    def __init__(self, method: str, description: str, new_chat_id: int) -> None:
        super().__init__(method, description)
        self.new_chat_id = new_chat_id


class BadRequest(TelegramError):
    """400 of another kind: the request itself is wrong."""

    reason = "bad_request"
    lasting = True


class NotModified(BadRequest):
    """The message shows this text already; whoever wanted that has what he wanted."""

    reason = "not_modified"


class MessageGone(BadRequest):
    """The message to be changed is not there any more."""

    reason = "message_gone"


class MessageLocked(MessageGone):
    """The message is there, but the bot may not change it (too old, not its own)."""

    reason = "message_locked"


class CantParse(BadRequest):
    """The HTML of the text is not what Telegram takes."""

    reason = "cant_parse"


class TooLong(BadRequest):
    """More than 4096 characters, or 413."""

    reason = "too_long"


GONE: Final = frozenset(
    kind.reason
    for kind in (RecipientGone, Blocked, Kicked, Deactivated, ChatNotFound, NoRights, ChatMigrated)
)
"""Reasons of a chat that cannot be written to, until it is a reader again."""


class Parameters(msgspec.Struct, frozen=True):
    """ResponseParameters of the Bot API."""

    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


# Bot API descriptions are no documented constants; these are what the server of 2025 says, in lower case.
_BAD_REQUESTS: Final[tuple[tuple[str, type[TelegramError]], ...]] = (
    ("message is not modified", NotModified),
    ("message to edit not found", MessageGone),
    ("message to delete not found", MessageGone),
    ("message_id_invalid", MessageGone),
    ("message can't be edited", MessageLocked),
    ("message can't be deleted", MessageLocked),
    ("can't parse entities", CantParse),
    ("message is too long", TooLong),
    ("message_too_long", TooLong),
    ("chat not found", ChatNotFound),
    ("user not found", ChatNotFound),
    ("peer_id_invalid", ChatNotFound),
    ("rights to send", NoRights),
    ("administrator rights", NoRights),
    ("chat_write_forbidden", NoRights),
    ("channel_private", Kicked),
    ("deactivated", Deactivated),
)
_FORBIDDEN: Final[tuple[tuple[str, type[TelegramError]], ...]] = (
    ("deactivated", Deactivated),
    ("chat was deleted", Deactivated),
    ("blocked", Blocked),
    ("kicked", Kicked),
    ("not a member", Kicked),
    ("initiate conversation", Blocked),
)
_DEFAULT_RETRY: Final = 5.0
_NOT_FOUND: Final = "Not Found"
"""What the Bot API says with 404, and nothing else."""
_NOTHING_TOLD: Final = Parameters()


def error_of_stranger(method: str, status: int, reason: str) -> TelegramError:
    """The error that an answer stands for which is none of the Bot API: it tells nothing of bot, chat or message."""
    if status in {413, 429, 504}:
        return error_of_answer(method, status, reason, _NOTHING_TOLD)
    return ServerError(method, reason, status)


def error_of_answer(method: str, status: int, description: str, parameters: Parameters) -> TelegramError:
    """The error that an answer of the Bot API with ``ok: false`` stands for."""
    if parameters.migrate_to_chat_id is not None:
        return ChatMigrated(method, description, parameters.migrate_to_chat_id)
    match status:
        case 429:
            retry_after = _DEFAULT_RETRY if parameters.retry_after is None else parameters.retry_after
            return TooManyRequests(method, description, max(0.0, retry_after))
        case 401:
            return Unauthorized(method, description)
        case 404:
            own = description == _NOT_FOUND
            return Unauthorized(method, description) if own else ServerError(method, description, status)
        case 403:
            return _told_by(_FORBIDDEN, description, RecipientGone)(method, description)
        case 409:
            return Conflict(method, description)
        case 413:
            return TooLong(method, description)
        case 504:
            # somebody handed the request on, and nobody knows what became of it
            return Ambiguous(method, f"{status} {description}")
        case _ if status >= 500:
            return ServerError(method, description, status)
        case _:
            return _told_by(_BAD_REQUESTS, description, BadRequest)(method, description)


def _told_by(
    words: tuple[tuple[str, type[TelegramError]], ...], description: str, default: type[TelegramError]
) -> type[TelegramError]:
    said = description.lower()
    return next((error for word, error in words if word in said), default)
