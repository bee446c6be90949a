"""What numbers are and how they are shown."""

import pytest

from calls import numbers
from calls.numbers import (
    display,
    is_extension,
    is_line_id,
    is_transform,
    is_unknown,
    same_number,
    to_e164,
)


@pytest.mark.parametrize("text", ["150", "901", "300", "1500"])
def test_three_or_four_digits_are_an_extension(text):
    assert is_extension(text)


@pytest.mark.parametrize("text", ["", "15", "15000", "15a", "٣٧٥", "+150", " 150", "²³¹"])
def test_nothing_else_is_an_extension(text):
    assert not is_extension(text)


@pytest.mark.parametrize(
    "text", ["", "  ", "<unknown>", "Anonymous", "UNKNOWN", "Restricted", "private", "+0000000", "000000000"]
)
def test_what_hosts_write_for_no_number_is_unknown(text):
    assert is_unknown(text)
    assert to_e164(text, "BY") is None


@pytest.mark.parametrize("text", ["150", "000", "375290000101", "Анна"])
def test_what_is_told_is_not_unknown(text):
    assert not is_unknown(text)


@pytest.mark.parametrize(
    ("raw", "country", "expected"),
    [
        ("375290000101", "BY", "+375290000101"),
        ("+375290000101", "BY", "+375290000101"),
        ("00375290000101", "BY", "+375290000101"),
        ("80291234567", "BY", "+375291234567"),
        ("80290000101", "BY", "+375290000101"),
        ("810 7 916 123-45-67", "BY", "+79161234567"),
        ("291234567", "BY", "+375291234567"),
        ("+375 (29) 000-01-01", "BY", "+375290000101"),
        (" 375-29-000‑01–01 ", "BY", "+375290000101"),
        ("٣٧٥٢٩٠٠٠٠١٠١", "BY", "+375290000101"),
        ("\uff0b375290000101", "BY", "+375290000101"),
        ("89161234567", "RU", "+79161234567"),
        ("9161234567", "RU", "+79161234567"),
        ("375290000101", "RU", "+375290000101"),
        ("79161234567", "BY", "+79161234567"),
        ("48501234567", "BY", "+48501234567"),
        ("12125550100", "BY", "+12125550100"),
        ("375290000101", "XX", "+375290000101"),
    ],
)
def test_outside_numbers_come_to_e164(raw, country, expected):
    assert to_e164(raw, country) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "150",
        "1500",
        "0007001",
        "0001123",
        "12",
        "*8150",
        "web-originate",
        "375290000101@host",
        "+375+290000101",
        "3752900001013752900001013752900001",
        "9" * 100_000,
        "000375",
        "\x00375290000101",
        "80290000101x5",
    ],
)
def test_extensions_lines_and_garbage_have_no_e164(raw):
    assert to_e164(raw, "BY") is None


@pytest.mark.parametrize(
    ("raw", "country", "expected"),
    [
        ("+375291234567", "BY", "+375291234567"),
        ("375291234567", "BY", "+375291234567"),
        ("00375291234567", "BY", "+375291234567"),
        ("80291234567", "BY", "+375291234567"),
        ("291234567", "BY", "+375291234567"),
        ("79161234567", "BY", "+79161234567"),
        ("380501234567", "BY", "+380501234567"),
        ("+78121234567", "RU", "+78121234567"),
        ("89161234567", "RU", "+79161234567"),
        ("84951234567", "RU", "+74951234567"),
        ("375291234567", "RU", "+375291234567"),
        ("0501234567", "UA", "+380501234567"),
        ("12125550100", "US", "+12125550100"),
    ],
)
def test_common_forms_are_read_without_parsing(raw, country, expected, monkeypatch):
    monkeypatch.setattr("phonenumbers.parse", None)
    assert numbers._to_e164.__wrapped__(raw, country, "") == expected
    assert numbers._display.__wrapped__(expected).startswith("+")


def test_a_number_that_is_only_dialled_locally_has_no_e164():
    assert to_e164("5550100", "US") is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("80291234567", "+375291234567"),
        ("8 029 123-45-67", "+375291234567"),
        ("291234567", "+375291234567"),
        ("375290000101", "+375290000101"),
        ("+80291234567", "+375291234567"),
        ("150", None),
        ("0007001", None),
        ("<unknown>", None),
    ],
)
def test_a_line_s_rule_is_prefix_and_last_digits(raw, expected):
    assert to_e164(raw, "BY", "+375{9}") == expected


def test_a_line_s_rule_leaves_a_foreign_number_with_plus_alone():
    assert to_e164("+79161234567", "BY", "+375{9}") == "+79161234567"


def test_a_line_s_rule_may_give_a_national_form():
    assert to_e164("291234567", "BY", "80{9}") == "+375291234567"


@pytest.mark.parametrize("rule", ["+1{3}", "9999{15}", "nonsense", "{0}"])
def test_a_rule_that_gives_no_number_is_passed_over(rule):
    assert to_e164("80291234567", "BY", rule) == "+375291234567"


def test_rules_are_told_from_other_texts():
    assert is_transform("+375{9}")
    assert is_transform("{10}")
    assert not is_transform("+375")
    assert not is_transform("+375{0}")
    assert not is_transform("+375{9}x")


def test_line_ids_are_seven_digits_with_leading_zeros():
    assert is_line_id("0007001")
    assert not is_line_id("3880001")
    assert not is_line_id("00070010")


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+375290000101", "+375 (29) 000-01-01"),
        ("375290000101", "+375 (29) 000-01-01"),
        ("+79161234567", "+7 (916) 123-45-67"),
        ("+12125550100", "+1 (212) 555-0100"),
        ("+16045550100", "+1 (604) 555-0100"),
        ("+380501234567", "+380 (50) 123-45-67"),
        ("+442079460000", "+44 (20) 7946 0000"),
        ("+81312345678", "+81 (3) 1234-5678"),
        ("+4512345678", "+45 12345678"),
        ("150", "150"),
        ("0007001", "0007001"),
        ("<unknown>", "<unknown>"),
        ("+999", "+999"),
        ("9" * 1000, "9" * 1000),
    ],
)
def test_numbers_are_shown_as_people_read_them(number, shown):
    assert display(number) == shown


def test_one_number_in_two_forms_is_the_same():
    assert same_number("80291234567", "+375 29 123 45 67", "BY")
    assert same_number("150", " 150 ", "BY")


def test_unknown_numbers_are_never_the_same():
    assert not same_number("<unknown>", "<unknown>", "BY")
    assert not same_number("", "", "BY")
    assert not same_number("150", "151", "BY")
    assert not same_number("12", "375290000101", "BY")
