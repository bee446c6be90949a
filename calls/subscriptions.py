"""Who is shown which call, and when a message makes a sound (docs/decisions/0008-telegram.md)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from calls.call import Call
from calls.directory import Directory
from calls.entries import Subscriber
from calls.hours import is_within

_UNANSWERED: Final = frozenset({"missed", "lost_in_transfer"})


def concerns(subscriber: Subscriber, call: Call, directory: Directory) -> bool:
    """True where this state of the call passes every filter of the subscriber that is set."""
    return (
        _direction(subscriber, call)
        and (not subscriber.outcomes or call.outcome in subscriber.outcomes)
        and (not subscriber.lines or call.line in subscriber.lines)
        and (not subscriber.people or _has_one_of(subscriber.people, call, directory))
        and (not subscriber.hours or is_within(subscriber.hours, call.started_at, directory.profile.timezone))
    )


def rings(subscriber: Subscriber, call: Call, directory: Directory, at: datetime) -> bool:
    """True where the call's message makes a sound if it is sent at ``at`` (an edit makes none).

    Where a reply is to ring for calls that nobody took, the message itself need not.
    """
    if is_quiet(subscriber, directory, at) or subscriber.notify == "missed":
        return False
    if call.source == "recovery" and call.phase == "ended":
        return False  # it was over when a host's backlog told of it
    return subscriber.notify == "edit" or (call.direction == "in" and call.phase != "ended")


def is_quiet(subscriber: Subscriber, directory: Directory, at: datetime) -> bool:
    """True while nothing makes a sound for this subscriber."""
    if subscriber.muted(at):
        return True
    return bool(subscriber.silent) and is_within(subscriber.silent, at, directory.profile.timezone)


def wants_notice(subscriber: Subscriber, call: Call, directory: Directory) -> bool:
    """True where a reply is to ring below the call's card: it was missed or lost."""
    return (
        subscriber.notify in {"missed", "all"}
        and is_unanswered(call)
        and concerns(subscriber, call, directory)
    )


def is_unanswered(call: Call) -> bool:
    """True where it was missed, or lost on its way from one to another."""
    return call.outcome in _UNANSWERED


def _direction(subscriber: Subscriber, call: Call) -> bool:
    if call.direction == "internal":
        return subscriber.internal
    return not subscriber.directions or call.direction in subscriber.directions


def _has_one_of(people: tuple[str, ...], call: Call, directory: Directory) -> bool:
    wanted = directory.stand_for(people)
    return any(directory.whose(number) in wanted for number in _involved(call))


def _involved(call: Call) -> Iterator[str]:
    """Everyone of the enterprise who was rung, talked, was consulted, called, or whose number was dialled."""
    yield from (one for one in (call.caller, call.dialled, call.callee, call.answered_by) if one)
    for people in (call.rung, call.ringing, call.talked, call.consulted, call.lost_to):
        yield from people
