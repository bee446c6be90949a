"""Numbers hold for any text a host may send."""

from unittest.mock import patch

import phonenumbers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calls import numbers
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
OFTEN = st.sampled_from(["BY", "RU", "UA", "KZ", "LT", "PL", "DE", "US", "GB"])
PREFIXES = st.sampled_from(["", "+", "00", "8", "0", "1", "80", "810", "+0", "+00"])
KNOWN = sorted(
    {
        (str(known.country_code), phonenumbers.national_significant_number(known))
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in phonenumbers.PhoneNumberType.values()
        if (known := phonenumbers.example_number_for_type(region, kind))
    }
)


@st.composite
def near_numbers(draw):
    """A country, and digits near a number of it or of another: as it is, with another end, of another length."""
    country = draw(OFTEN | COUNTRIES)
    own = str(phonenumbers.country_code_for_region(country) or "")
    known = [pair for pair in KNOWN if pair[0] == own]
    code, national = draw(st.sampled_from(known or KNOWN) | st.sampled_from(KNOWN))
    end = draw(DIGITS)
    kept = draw(st.integers(0, len(national)))
    length = max(0, len(national) - kept + draw(st.sampled_from([0, 0, 0, -1, 1, 2])))
    rest = draw(st.sampled_from([national, end, national[:kept] + end[:length].ljust(length, "5")]))
    return draw(PREFIXES) + draw(st.sampled_from(["", code, own, own + own])) + rest, country


@settings(max_examples=300, deadline=None)
@given(near_numbers() | st.tuples(NUMBERS, OFTEN | COUNTRIES), RULES)
@example(("489630984", "PL"), "")  # a national number that begins as an international one
@example(("83759808", "BY"), "")  # a national number that begins as a trunk prefix
@example(("003758100516772", "BY"), "")  # viable with what looks like a trunk prefix and without it
@example(("84760753084", "RU"), "")  # valid as an international number only
@example(("72536600822", "BY"), "")  # possible both ways, valid in none
@example(("4951234567", "KZ"), "")  # of another country with the same code, or international
@example(("998120195438", "KP"), "")  # what looks like a calling code is dialled before one
def test_what_is_read_at_once_is_what_parsing_gives(case, rule):
    raw, country = case
    told, shown = numbers._to_e164.__wrapped__(raw, country, rule), numbers._display.__wrapped__(raw)
    # Where nothing is sure everything is parsed; the space makes _dialled look at every character.
    with patch.object(numbers, "_is_sure", lambda digits, *, valid=False: False):
        assert numbers._to_e164.__wrapped__(raw + " ", country, rule) == told
        assert numbers._display.__wrapped__(raw) == shown


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
