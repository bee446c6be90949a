"""What retention takes for an outside number, when its turn has come, and what a directory file may say of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.directory.file import DirectoryFileError, read_directory_text
from adapters.privacy.nights import is_time
from calls.spellings import Reading, numbers_told

READING = Reading(("BY",), frozenset({("0007009", "+7{10}")}))
MINSK = "Europe/Minsk"
START = datetime(2026, 5, 4, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        (b'{"Phone":"375290000101","UniqueId":"1757840723.6"}', {"+375290000101"}),
        (b'{"Phone":80290000101}', {"+375290000101"}),
        (b'{"Phone":"9161234567","Trunk":"0007009"}', {"+79161234567"}),
        (b'{"CallerIDNum":"151","Exten":"901","Extensions":["152","375290000102"]}', {"+375290000102"}),
        (b'{"Channel":"Local/375290000101@ctx-0000000a;1"}', {"+375290000101"}),
        (b'{"Extensions":"152&375290000102"}', {"+375290000102"}),
        (b'{"Phone":"375291234567","Trunk":"375291234567"}', set()),
        (b'{"Token":"375290000000","StartTime":"2026-05-04 12:46:40","EndTime":"20260504124650"}', set()),
        (b'{"x":"2026-05-04 12:46:50","y":1777895200,"z":"20260504"}', set()),
        (b'{"note":["call +49 1511 2345678 back"]}', {"+4915112345678"}),
        (b'{"Phone":"375_29_000_01_02"}', {"+375290000102"}),
        (b'{"x":"in_375_29_111_00_11_2026_05_04.wav"}', {"+375291110011"}),
        (b'{"Exten":"150,151,152","x":"150|151|152"}', set()),
        (b"no JSON, 8 029 111-00-11", {"+375291110011"}),
        (b"no JSON, 8 029 000-01-01: of a form that nobody has", set()),
    ],
)
def test_the_outside_numbers_of_a_body_are_those_that_a_fold_reads_and_valid_ones_elsewhere(body, numbers):
    told = numbers_told(body, READING)
    assert {number for one in told for number in one.ruled or (one.number,)} == numbers


def test_a_date_is_no_number_where_it_could_be_one():
    assert numbers_told(b'{"x":"2026-05-04 12"}', Reading(("US",))) == set()
    (told,) = numbers_told(b'{"x":"202 605-0412"}', Reading(("US",)))
    assert told.number == "+12026050412"


@pytest.mark.parametrize(
    ("hours", "last", "half", "due"),
    [
        (0, None, False, False),  # noon in Minsk, just started
        (1, None, False, True),  # an hour after the start
        (14.5, timedelta(hours=24), False, True),  # half past two in the night
        (14.5, timedelta(hours=1), False, False),  # done this night
        (1, timedelta(hours=24), False, False),  # the next night is near enough
        (1, timedelta(hours=31), False, True),  # a night was missed
        (0.5, timedelta(hours=31), False, False),
        (1, timedelta(hours=1), True, True),  # one was broken off
    ],
)
def test_its_turn_comes_once_a_day_in_the_night_or_soon_after_a_start(hours, last, half, due):
    now = START + timedelta(hours=hours)
    assert is_time(now, START, None if last is None else now - last, MINSK, half=half) is due


def told(value: str) -> str:
    return f'[[enterprise]]\nnumber = "0367"\nname = "june"\ntoken = "t"\nbot_token = "preview"\n{value}\n'


def test_a_directory_file_says_for_how_many_days_and_without_it_for_ever():
    (file,) = read_directory_text(told("retention_days = 31"), "a.toml", Path())
    assert file.directory.profile.retention_days == 31
    (file,) = read_directory_text(told(""), "a.toml", Path())
    assert file.directory.profile.retention_days is None


@pytest.mark.parametrize("value", ["30", "0", "-1", "36501", '"365"', "true", "365.0"])
def test_other_days_are_refused_by_line_and_key_with_what_is_allowed(value):
    with pytest.raises(DirectoryFileError) as refused:
        read_directory_text(told(f"retention_days = {value}"), "a.toml", Path())
    said = str(refused.value)
    assert said.startswith("a.toml:6: enterprise.retention_days: ")
    assert "a whole number from 31 to 36500; without the key for ever" in said
