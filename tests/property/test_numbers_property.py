"""Numbers hold for any text a host may send."""

import phonenumbers
from hypothesis import given
from hypothesis import strategies as st

from calls.numbers import display, is_extension, is_line_id, is_unknown, same_number, to_e164

COUNTRIES = st.sampled_from([*sorted(phonenumbers.SUPPORTED_REGIONS), "XX", ""])
RULES = st.one_of(
    st.sampled_from(["", "+375{9}", "80{9}", "{10}", "+7{10}", "rubbish", "+375{11}", "0{3}"]),
    st.from_regex(r"\+?[0-9]{0,6}\{[1-9][0-5]?\}", fullmatch=True),
)
DIGITS = st.text("0123456789", max_size=20)
NUMBERS = st.one_of(
    st.text(),
    DIGITS,
    st.builds("+{}".format, DIGITS),
    st.builds("00{}".format, DIGITS),
    st.text("0123456789+-() ./٣²３＋\u200b\u2011", max_size=24),
)


@given(NUMBERS, COUNTRIES, RULES)
def test_any_text_has_an_e164_or_none(raw, country, rule):
    number = to_e164(raw, country, rule)
    if number is not None:
        parsed = phonenumbers.parse(number, None)
        assert phonenumbers.is_possible_number(parsed)
        assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == number


@given(NUMBERS, COUNTRIES, RULES)
def test_e164_of_e164_is_itself(raw, country, rule):
    number = to_e164(raw, country, rule)
    if number is not None:
        assert to_e164(number, country, rule) == number
        assert to_e164(number, "BY") == number


@given(NUMBERS, COUNTRIES)
def test_what_is_an_extension_a_line_or_unknown_is_no_outside_number(raw, country):
    if is_extension(raw) or is_line_id(raw) or is_unknown(raw):
        assert to_e164(raw, country) is None


@given(NUMBERS, NUMBERS, COUNTRIES)
def test_sameness_does_not_depend_on_the_order(a, b, country):
    assert same_number(a, b, country) == same_number(b, a, country)


@given(NUMBERS, COUNTRIES)
def test_what_is_shown_means_the_same_number(raw, country):
    number = to_e164(raw, country)
    if number is not None:
        assert to_e164(display(number), country) == number


@given(st.text())
def test_any_text_can_be_shown(text):
    assert isinstance(display(text), str)
