"""Facts as people and scripts see them: in ``/api`` and in ``callfold events`` (CONTRACT 4.2)."""

import json
from typing import Any

from calls.deliveries import DELIVERY_KINDS, Post, fold_delivery
from calls.facts import EVENT_KINDS, Fact

REDACTED = "***"


def shown_body(fact: Fact) -> Any:
    """The body with its Token taken out; as text where it is not JSON."""
    try:
        body = json.loads(fact.body)
    except ValueError:
        return fact.body.decode("utf-8", "replace")
    if isinstance(body, dict) and "Token" in body:
        body["Token"] = REDACTED
    return body


def shown_event(fact: Fact) -> dict[str, Any]:
    """A fact in the form of CONTRACT 4.2; ``unique_id`` is empty for what is told of no leg."""
    kind, _, name = fact.stream.partition("/")
    return {
        "position": fact.position,
        "enterprise": fact.enterprise,
        "unique_id": name if kind == "leg" else "",
        "version": fact.version,
        "kind": fact.kind,
        "source": fact.source,
        "received_at": fact.recorded_at.isoformat(),
        "body": shown_body(fact),
    }


def shown_call(facts: list[Fact]) -> dict[str, Any]:
    """Events, deliveries and the messages they amount to, of one call's facts by position."""
    posts: dict[str, Post] = {}
    for fact in facts:
        if fact.kind in DELIVERY_KINDS:
            posts[fact.stream] = fold_delivery(posts.get(fact.stream), fact)
    return {
        "events": [shown_event(fact) for fact in facts if fact.kind in EVENT_KINDS],
        "messages": [
            {
                "chat_id": post.chat_id,
                "message_id": post.message_id,
                "phase": post.phase,
                "withdrawn": post.withdrawn,
                "refused": post.refused,
            }
            for post in posts.values()
            if post.message_id is not None or post.refused
        ],
        "deliveries": [shown_event(fact) for fact in facts if fact.kind in DELIVERY_KINDS],
    }
