"""Cards that are too long: what is left of them is always a text that Telegram takes, and their beginning."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.preview.entities import from_html
from adapters.telegram.html_cut import LONGEST, cut, cut_plain, utf16
from adapters.telegram.posts import plain

WORDS = st.text(st.sampled_from("ab я😀\n&<>\"'"), max_size=12)
LINES = st.recursive(
    WORDS.map(html.escape)
    | st.sampled_from(["&#128512;", "&#x1F600;", "&#0;", "&lt", "&copy;", "\n"])
    | st.just('<a href="https://x.example/?a=1&amp;b=%22">here</a>'),
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag.split()[0]}>",
        st.sampled_from(["b", "i", "code", "blockquote", "blockquote expandable"]),
        st.lists(inner, max_size=6),
    ),
    max_leaves=30,
)
SOURCES = st.lists(LINES, max_size=12).map("".join)


@given(SOURCES, st.integers(min_value=4, max_value=60))
def test_what_is_left_always_parses_is_short_enough_and_is_the_beginning(source, longest):
    whole, left = from_html(source).text, cut(source, longest)
    read = from_html(left)
    assert utf16(read.text) <= longest
    if left != source:
        assert read.text.endswith("…")
        assert whole.startswith(read.text.removesuffix("…").strip())
    else:
        assert read.text == whole


@given(SOURCES)
def test_what_fits_stays_as_it_is(source):
    assert cut(source, max(utf16(from_html(source).text) * 2 + 2, len(source) * 2)) == source


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_plain_text_is_cut_between_characters(text, longest):
    left = cut_plain(text, longest)
    assert utf16(left) <= longest
    assert left == text or (left.endswith("…") and text.startswith(left[:-1]))


def test_a_card_of_emoji_fills_4096_units_and_not_4096_characters():
    # 2 units each, and one more so that no pair ends at the limit
    text = "a" + "😀" * 4000
    assert utf16(plain(text)) == LONGEST
    assert plain(text) == "a" + "😀" * 2047 + "…"
    assert utf16(from_html(cut(f"<b>{text}</b>")).text) in {LONGEST - 1, LONGEST}


def test_units_are_counted_after_entities_are_read():
    fits = "<b>" + "&amp;" * LONGEST + "</b>"
    assert cut(fits) == fits
    assert cut("<b>" + "&amp;" * (LONGEST + 1) + "</b>").endswith("&amp;…</b>")


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("<b>one two</b>\nthree four\nfive six", "<b>one two</b>\nthree four\n…"),
        ("<b>one\ntwo three four five six seven</b>", "<b>one\ntwo three four five s…</b>"),
        ("<i><b>" + "&lt;" * 40 + "</b></i>", "<i><b>" + "&lt;" * 25 + "…</b></i>"),
        (
            "<blockquote expandable>" + "x" * 40 + "</blockquote>",
            "<blockquote expandable>" + "x" * 25 + "…</blockquote>",
        ),
    ],
    ids=["at a line's end", "not where that would leave little", "no entity in half", "attributes stay"],
)
def test_it_is_cut_at_a_lines_end_where_that_leaves_half_and_every_tag_is_closed(source, left):
    assert cut(source, 26) == left
