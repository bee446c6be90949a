"""Which texts are a person's number, and what stands there afterwards."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.drawing import pseudonym_of
from calls.numbers import to_e164
from calls.pseudonyms import Renaming
from calls.spellings import Reading, name_words, numbers_in

NUMBER, NEW = "+375290000101", "+375447654321"
PLAIN = Reading(("BY",))
RULED = Reading(("BY",), frozenset({("0007001", "+375{9}")}))
NAMES = {name_words(name) for name in ("Иван  Иванов", "ООО «Ромашка»")}
PERSON = Renaming(NUMBER, NEW, PLAIN, NAMES.__contains__)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"Phone":"375290000101"}', '{"Phone":"375447654321"}'),
        ('{"Phone":"+375290000101"}', '{"Phone":"+375447654321"}'),
        ('{"Phone":"80290000101"}', '{"Phone":"80447654321"}'),
        ('{"Phone":"290000101"}', '{"Phone":"447654321"}'),
        ('{"Phone":"00375290000101"}', '{"Phone":"00375447654321"}'),
        ('{"Phone": 375290000101 }', '{"Phone": 375447654321 }'),
        ('{"CallerIDName":"-375290000101"}', '{"CallerIDName":"-375447654321"}'),
        ('{"CallerIDName":"<375290000101>"}', '{"CallerIDName":"<375447654321>"}'),
        ('{"Extensions":"152&375290000101"}', '{"Extensions":"152&375447654321"}'),
        ('{"Extensions":["152","80290000101"]}', '{"Extensions":["152","80447654321"]}'),
        (
            '{"Channel":"Local/375290000101@out-0000ab12;1"}',
            '{"Channel":"Local/375447654321@out-0000ab12;1"}',
        ),
        (
            '{"u":"https://p.example/2026/05/1757840723.6-375290000101-10.wav?p=%2B375290000101"}',
            '{"u":"https://p.example/2026/05/1757840723.6-375447654321-10.wav?p=%2B375447654321"}',
        ),
        (
            '{"x":"\\u0033752900\\u00300101"}',
            '{"x":"\\u00337544765\\u00340101"}'.replace("\\u00340101", "4321"),
        ),
        ('{"x":{"y":[["8 (029) 000-01-01"]]}}', '{"x":{"y":[["8 (044) 765-43-21"]]}}'),
        ('{"375290000101":1}', '{"375447654321":1}'),
        ('{"CallerIDName":"-375_29_000_01_01"}', '{"CallerIDName":"-375_44_765_43_21"}'),
        ('{"x":"rec_375_29_000_01_01_20260504.wav"}', '{"x":"rec_375_44_765_43_21_20260504.wav"}'),
        ('{"x":"8~029~000~01~01"}', '{"x":"8~044~765~43~21"}'),
        ('{"x":"150, 375, 29, 000, 01, 01"}', '{"x":"150, 375, 44, 765, 43, 21"}'),
        ('{"Channel":"SIP/375_290000101"}', '{"Channel":"SIP/375_447654321"}'),
        ('{"x":"٣٧٥290000101"}', '{"x":"٣٧٥447654321"}'),
        ("Phone=375290000101 {", "Phone=375447654321 {"),
        ('{"ConnectedLineNum":"375290000101","ConnectedLineName":"Ann"}', None),
        ('{"CallerIDNum":"375290000101","CallerIDName":"<unknown>"}', None),
        ('{"Phone":"375290000101","note":"звонил иван иванов из ООО Ромашка"}', None),
    ],
)
def test_every_spelling_of_the_number_is_renamed_and_every_other_byte_stays(before, after):
    told = PERSON.rewrite(before.encode()).decode()
    special = {
        "Ann": '{"ConnectedLineNum":"375447654321","ConnectedLineName":""}',
        "<unknown>": '{"CallerIDNum":"375447654321","CallerIDName":"<unknown>"}',
        "Ромашка": '{"Phone":"375447654321","note":"звонил  из "}',
    }
    assert told == (after or next(text for word, text in special.items() if word in before))


@pytest.mark.parametrize(
    "text",
    [
        '{"UniqueId":"375290000101.1","Linkedid":"375290000101.1","BridgeUniqueid":"375290000101"}',
        '{"Token":"375290000101"}',
        '{"x":"1375290000101"}',
        '{"x":"3752900001011"}',
        '{"x":"+48_290000101"}',
        '{"Channel":"SIP/0007001_29000010"}',
        '{"x":"+48290000101"}',
        '{"x":"+48 290000101"}',
        '{"x":"a3b4c5d6-1234-4abc-9def-375290000101"}',
        '{"x":"0cc175b9c0f1b6a8375290000101aa61"}',
        '{"Channel":"SIP/0007001-29000010"}',
        '{"CallerIDName":"Иван Иванов","CallerIDNum":"375291111111"}',
        "",
    ],
)
def test_what_only_looks_like_the_number_stays(text):
    body = text.encode()
    assert PERSON.rewrite(body) is body or PERSON.rewrite(body) == body


def test_a_lines_rule_is_a_spelling_on_its_line_whatever_it_is_elsewhere():
    person = Renaming(NUMBER, NEW, RULED)
    on_line = b'{"Phone":"48290000101","Trunk":"0007001"}'
    assert person.rewrite(on_line) == b'{"Phone":"48447654321","Trunk":"0007001"}'
    for elsewhere in (b'{"Phone":"48290000101","Trunk":"0007002"}', b'{"Phone":"48290000101"}'):
        assert person.rewrite(elsewhere) == elsewhere


def test_a_body_that_is_no_utf8_keeps_its_other_bytes():
    assert PERSON.rewrite(b"\xff\xfe375290000101\xff") == b"\xff\xfe375447654321\xff"


@pytest.mark.parametrize(
    ("number", "country"),
    [
        (NUMBER, "BY"),
        ("+375172001122", "BY"),
        ("+79161234567", "BY"),
        ("+79161234567", "RU"),
        ("+12025550123", "US"),
        ("+4915112345678", "DE"),
        ("+390612345678", "IT"),
        ("+37250123456", "EE"),
    ],
)
def test_a_pseudonym_is_read_as_the_number_was(number, country):
    chance = random.Random(number)
    reading = Reading((country,))
    drawn = {pseudonym_of(number, reading, chance.randrange, lambda _: False) for _ in range(5)}
    assert len(drawn) == 5
    for pseudonym in drawn:
        assert (len(pseudonym), pseudonym[:2]) == (len(number), number[:2])
        person = Renaming(number, pseudonym, reading)
        for spelled in (
            number,
            number[1:],
            f"00{number[1:]}",
            f"80{number[4:]}",
            f"8{number[2:]}",
            number[4:],
        ):
            before = to_e164(spelled, country)
            after = to_e164(person.rewrite(spelled.encode()).decode(), country)
            assert (after == pseudonym) == (before == number)


def test_a_pseudonym_is_nobody_elses():
    chance = random.Random(1)
    taken = {pseudonym_of(NUMBER, PLAIN, chance.randrange, lambda _: False) for _ in range(50)}
    chance.seed(1)
    assert pseudonym_of(NUMBER, PLAIN, chance.randrange, taken.__contains__) not in taken
    with pytest.raises(ValueError, match="no other number"):
        pseudonym_of(NUMBER, PLAIN, chance.randrange, lambda _: True)


SEPARATORS = st.sampled_from(
    ["", "", "", " ", "-", ".", ") ", " (", "\u00a0", "\u2011", "\u200b", *"_~'*:,;|`\u2019\u00b7"]
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_separates_the_digits_it_is_found_and_renamed(data):
    prefix = data.draw(st.sampled_from(["+375", "375", "00375", "80", ""]))
    digits = list(prefix.removeprefix("+") + "290000101")
    spelled = digits[0] + "".join(data.draw(SEPARATORS) + digit for digit in digits[1:])
    text = ("+" if prefix.startswith("+") else "") + spelled
    around = data.draw(st.sampled_from(["{}", "-{}", "<{}>", "tel:{}", "150&{}", "a/{}@b", "x_{}_y"]))
    escaped = "".join(
        f"\\u{ord(char):04x}" if data.draw(st.booleans()) else char for char in around.format(text)
    )
    body = f'{{"x":"{escaped}"}}'.encode()
    assert NUMBER in numbers_in(body, PLAIN)
    told = PERSON.rewrite(body)
    assert NUMBER not in numbers_in(told, PLAIN)
    assert NEW in numbers_in(told, PLAIN)
    assert Renaming(NEW, NUMBER, PLAIN).rewrite(told) is not told
