"""What an event tells in the fields that hosts write in several forms (events.md 4)."""

import msgspec

from calls.events import DECODER, Event, reread_event


def stored_event(body: bytes) -> Event:
    """A stored body, read as ``reread_event`` reads it, and sooner where hosts still write so. Raises as that."""
    try:
        return DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return reread_event(body)


def kind_of_call(event: Event) -> str:
    """CallType as text: "0" incoming, "1" outgoing, "2" internal, "" unknown."""
    told = event.call_type
    return told.strip() if isinstance(told, str) else "" if told is None else str(told)


def status_of(event: Event) -> str:
    """CallStatus as text: "2" and "5" answered, "0" not, anything else says nothing."""
    told = event.call_status
    return told.strip() if isinstance(told, str) else "" if told is None else str(told)


def numbers_of(event: Event) -> tuple[str, ...]:
    """Extensions, one number each; old hosts join them by ``&`` in one text."""
    told = event.extensions
    if not told:
        return ()
    joined = told if isinstance(told, str) else told[0] if len(told) == 1 else "&".join(told)
    if "&" not in joined:
        return (number,) if (number := joined.strip()) else ()
    return tuple([number for part in joined.split("&") if (number := part.strip())])
