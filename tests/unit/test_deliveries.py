"""The fold of delivery facts: what is known of a call's message in a chat."""

from datetime import UTC, datetime

import pytest

from calls.deliveries import (
    DELIVERY_KINDS,
    DeliveryEdited,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    DeliveryWithdrawn,
    fold_delivery,
    read_delivery,
    write_delivery,
)
from calls.facts import Fact, delivery_stream

NOW = datetime(2025, 9, 14, tzinfo=UTC)
KEY = ("1.1", -100200)
INTENDED = DeliveryIntended(*KEY, "h1", "try-1")
SENT = DeliverySent(*KEY, 7, "h1", "begun")
EDITED = DeliveryEdited(*KEY, 7, "h2", "ended")
WITHDRAWN = DeliveryWithdrawn(*KEY, 7)
NOT_SENT = DeliveryRefused(*KEY, "too_many_requests", "retry after 5", final=False)
REFUSED = DeliveryRefused(*KEY, "blocked", "bot was blocked")


def told(*deliveries, start=None):
    post = start
    for version, delivery in enumerate(deliveries, 1 if start is None else start.version + 1):
        kind, body = write_delivery(delivery)
        stream = delivery_stream(*KEY)
        post = fold_delivery(
            post, Fact(100 + version, "0367", stream, version, kind, "service", NOW, NOW, body)
        )
    return post


@pytest.mark.parametrize("delivery", [INTENDED, SENT, EDITED, WITHDRAWN, NOT_SENT, REFUSED])
def test_a_body_is_read_as_it_was_written_and_holds_no_text(delivery):
    kind, body = write_delivery(delivery)
    assert kind in DELIVERY_KINDS
    assert read_delivery(kind, body) == delivery


def test_an_intent_is_open_until_its_result():
    assert told(INTENDED).intended
    assert not told(INTENDED).live
    assert told(INTENDED, INTENDED).intents == 2
    sent = told(INTENDED, INTENDED, SENT)
    assert (sent.intents, sent.message_id, sent.hash, sent.phase, sent.position) == (0, 7, "h1", "begun", 103)
    assert told(INTENDED, NOT_SENT).intents == 0


def test_an_edit_changes_what_is_shown_and_not_when_it_was_sent():
    post = told(INTENDED, SENT, EDITED)
    assert (post.hash, post.phase, post.position, post.version) == ("h2", "ended", 102, 3)
    assert post.live


def test_a_withdrawn_message_lives_no_more_and_another_may_take_its_place():
    gone = told(INTENDED, SENT, WITHDRAWN)
    assert not gone.live
    again = told(INTENDED, DeliverySent(*KEY, 8, "h3", "talking"), start=gone)
    assert again.live
    assert (again.message_id, again.position) == (8, 105)
    # what is said of the former message concerns this one no more
    assert told(EDITED, WITHDRAWN, start=again).hash == "h3"
    assert told(WITHDRAWN, start=again).live


def test_a_refusal_is_final_or_one_try():
    assert told(INTENDED, REFUSED).refused == "blocked"
    assert told(INTENDED, NOT_SENT).refused is None


def test_a_fact_told_twice_changes_nothing():
    post = told(INTENDED, SENT)
    kind, body = write_delivery(INTENDED)
    assert fold_delivery(post, Fact(101, "0367", "s", 1, kind, "service", NOW, NOW, body)) is post
    # a result stored a second time, because the store's answer was lost
    twice = told(SENT, start=post)
    assert (twice.position, twice.message_id, twice.live) == (102, 7, True)
