"""Bodies that analysts read hold no secret, however it is spelt, and lose nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.analysts.bodies import shown_text
from otel.redaction import redact

SECRET = "375290000000"
BOT = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"


def test_an_ordinary_body_is_as_it_came_without_its_token():
    body = {
        "Token": SECRET,
        "UniqueId": "1757840723.6",
        "CallerIDName": "Пётр",
        "Extensions": ["150"],
        "CallType": 0,
    }
    shown = shown_text(json.dumps(body).encode())
    assert json.loads(shown) == {**body, "Token": "***"}
    assert list(json.loads(shown)) == list(body)


@pytest.mark.parametrize(
    "body",
    [
        {"token": SECRET},
        {"TOKEN": [SECRET]},
        {"a": {"b": [{"Token": SECRET}]}},
        {"a": json.dumps({"Token": SECRET})},
        {"a": json.dumps({"b": json.dumps({"Token": SECRET})})},
        {"a": f"Token={SECRET}"},
        {"a": f"line\nToken: {SECRET}"},
        {"Authorization": SECRET},
        {"a": f"https://user:{SECRET}@pbx.example/"},
        {"x-bot": {"Bot-Token": SECRET}},
        [{"Token": SECRET}],
    ],
)
def test_a_secret_is_hidden_however_deep_it_lies(body):
    shown = shown_text(json.dumps(body).encode())
    assert SECRET not in shown
    json.loads(shown)


def test_a_bot_token_is_known_by_its_form():
    assert BOT not in shown_text(json.dumps({"a": f"see {BOT}"}).encode())


def test_a_key_written_otherwise_than_it_reads_is_the_same_key():
    assert SECRET not in shown_text(b'{"\\u0054oken": "%b"}' % SECRET.encode())


def test_what_is_no_json_is_shown_as_a_text_without_its_secrets():
    shown = json.loads(shown_text(b"\xff Token=" + SECRET.encode()))
    assert SECRET not in shown
    assert "�" in shown


def test_half_a_character_can_be_written_to_a_file():
    assert json.loads(shown_text(b'{"a": "\\ud800", "b": "\xd0\x96"}').encode()) == {"a": "\ud800", "b": "Ж"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(
        [f"token={SECRET}", f"1:{'x' * 30}", "/bot1:x", 'a "Token": "b"', "://a:b@c", "a\\token\\: b"]
    ),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["Token", "tOken", "a.cookie", "Set-Cookie"]), inside, max_size=4
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_glance_finds_whatever_looking_everywhere_finds(body):
    shown = json.loads(shown_text(json.dumps(body).encode()))
    assert shown == redact(body)
