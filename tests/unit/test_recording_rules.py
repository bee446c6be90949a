"""Recordings in the fold and on the card; what a file is; which part of it is asked for."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from adapters.http.ranges import Part, Unsatisfiable, part
from adapters.recordings.files import Place, RecordingFiles
from adapters.recordings.kinds import UNKNOWN, ending_of, kind_of
from calls.cards import render
from calls.exchange import FORGET_AFTER, Exchange
from calls.facts import RECORDING_ADDED, Fact, leg_stream
from calls.recordings import Recording, read_recording, write_recording
from calls.scenarios import catalogue
from tests.folding import DIRECTORY, ENTERPRISE, ended, played_facts, settled, silences

ONE, OTHER = "1" * 32, "2" * 32


def recorded(unique_id, position, at, ident=ONE):
    body = write_recording(Recording(ident, url="https://pbx.example/a.wav"))
    return Fact(position, ENTERPRISE, leg_stream(unique_id), position, RECORDING_ADDED, "live", at, at, body)


def played(name="2-1"):
    return played_facts(catalogue()[name].events(1_777_885_200.0, 1))


def inserted(told, place, unique_id, ident=ONE):
    """The facts with a recording in this place, positions counted anew."""
    at = told[min(place, len(told) - 1)].occurred_at
    order = [*told[:place], recorded(unique_id, 0, at, ident), *told[place:]]
    return [replace(fact, position=position) for position, fact in enumerate(order, 1)]


def but_for_recordings(call):
    return replace(call, recordings=(), last_position=0)


def test_a_recording_alone_makes_no_leg_no_call_and_no_row():
    exchange = Exchange(DIRECTORY)
    told = played()
    exchange.apply(recorded("1757840723.6", 1, told[0].occurred_at))
    changes = exchange.take()
    assert (changes.calls, changes.gone, changes.legs) == ({}, frozenset(), {})
    assert exchange.legs == {}


def test_a_recording_tells_the_same_call_whenever_it_comes():
    told = played()
    (plain,) = settled(told)
    for place in range(len(told) + 1):
        (call,) = settled(inserted(told, place, plain.call_id))
        assert call.recordings == (ONE,), place
        assert but_for_recordings(call) == but_for_recordings(plain), place
        assert call.last_position == max(len(told) + (place < len(told)), place + 1)


def test_the_recording_of_a_follower_belongs_to_the_call_and_legs_give_the_order():
    told = played("2-9")
    (plain,) = settled(told)
    follower = plain.legs[1]
    assert follower != plain.call_id
    (call,) = settled(inserted(told, len(told), follower))
    assert (call.call_id, call.recordings) == (plain.call_id, (ONE,))
    (call,) = settled(inserted(inserted(told, len(told), follower), len(told), plain.call_id, OTHER))
    assert call.recordings == (OTHER, ONE)


def test_a_second_recording_of_a_leg_is_no_second_link():
    told = played()
    (plain,) = settled(told)
    (once,) = settled(inserted(told, len(told), plain.call_id))
    (twice,) = settled(inserted(inserted(told, len(told), plain.call_id), len(told) + 1, plain.call_id))
    assert (once.recordings, twice.recordings) == ((ONE,), (ONE,))
    assert twice.last_position == once.last_position + 1


def test_a_recording_reopens_no_call_that_ended_by_silence():
    told = played()[:-1]
    (plain,) = ended(told)
    assert plain.outcome != "open"
    told += silences(told, settled(told))
    exchange = Exchange(DIRECTORY)
    assert exchange.wake(told) == []
    exchange.apply(recorded(plain.call_id, len(told) + 1, told[-1].occurred_at + timedelta(hours=9)))
    (call,) = exchange.take().calls.values()
    assert but_for_recordings(call) == but_for_recordings(plain)
    assert call.recordings == (ONE,)


def test_a_forgotten_call_is_woken_by_its_recording_and_forgotten_again():
    told = played()
    (plain,) = settled(told)
    exchange = Exchange(DIRECTORY)
    for fact in told:
        exchange.apply(fact)
    exchange.take()
    late = recorded(plain.call_id, len(told) + 1, told[-1].occurred_at + timedelta(days=1))
    exchange._sweep(told[-1].occurred_at + 2 * FORGET_AFTER)
    assert exchange.misses(late)
    assert exchange.wake(told) == []
    exchange.apply(late)
    exchange.apply(replace(late, position=late.position + 1))
    assert exchange.legs == {}
    (call,) = exchange.take().calls.values()
    assert but_for_recordings(call) == but_for_recordings(plain)
    assert call.recordings == (ONE,)


def test_recordings_that_wait_for_their_legs_are_bounded():
    exchange = Exchange(DIRECTORY)
    at = played()[0].occurred_at
    for position in range(1, 2_000):
        exchange.apply(recorded(f"{position}.1", position, at))
    assert len(exchange.board._early) == 256


# the card


def card(*recordings, link=lambda one: f"https://pbx.example/recordings/{one}", language="ru"):
    (call,) = settled(played())
    directory = DIRECTORY.of(replace(DIRECTORY.profile, language=language))
    plain = render(call, directory)
    text = render(replace(call, recordings=recordings), directory, link)
    assert text.startswith(plain)
    return text.removeprefix(plain).splitlines()[1:]


def test_a_card_has_a_line_for_a_recording_that_others_can_open():
    url = f"https://pbx.example/recordings/{ONE}"
    assert card(ONE) == [f'🔉 <a href="{url}">Запись разговора</a>']
    assert card(ONE, language="en") == [f'🔉 <a href="{url}">Recording</a>']
    assert card(ONE, link=lambda _: "") == []
    assert card() == []


def test_several_recordings_are_numbered_and_too_many_are_counted():
    lines = card(ONE, OTHER)
    assert [line.rpartition(">R")[2] for line in card(ONE, OTHER, language="en")] == [
        "ecording 1</a>",
        "ecording 2</a>",
    ]
    assert [line.split(">")[1] for line in lines] == ["Запись разговора 1</a", "Запись разговора 2</a"]
    assert card(*[f"{number:032}" for number in range(12)])[10:] == ["… и ещё 2"]


def test_an_address_is_escaped_and_its_length_is_no_part_of_the_cards():
    (line,) = card(ONE, link=lambda one: f'https://pbx.example/?a=1&b="{"x" * 5000}')
    assert line.startswith('🔉 <a href="https://pbx.example/?a=1&amp;b=&quot;x')


# files


@pytest.mark.parametrize(
    ("head", "kind", "ending"),
    [
        (b"RIFF\x24\x08\x00\x00WAVEfmt ", "audio/wav", "wav"),
        (b"RIFF\x24\x08\x00\x00AVI LIST", UNKNOWN, "bin"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", "audio/mpeg", "mp3"),
        (b"\xff\xfb\x90\x44\x00\x00", "audio/mpeg", "mp3"),
        (b"\xff\xf3\x44\xc4\x00\x00", "audio/mpeg", "mp3"),
        (b"\xff\xf1\x50\x80\x00\x1f", "audio/aac", "aac"),
        (b"OggS\x00\x02\x00\x00", "audio/ogg", "ogg"),
        (b"fLaC\x00\x00\x00\x22", "audio/flac", "flac"),
        (b"#!AMR\n\x3c", "audio/amr", "amr"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4", "m4a"),
        (b"\xff\xfe<\x00h\x00t\x00m\x00", UNKNOWN, "bin"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", UNKNOWN, "bin"),
        (b"<!doctype html><script>", UNKNOWN, "bin"),
        (b"", UNKNOWN, "bin"),
    ],
)
def test_what_a_file_is_its_first_bytes_say(head, kind, ending):
    assert (kind_of(head), ending_of(kind_of(head))) == (kind, ending)


def test_a_recording_is_read_as_it_was_written():
    recording = Recording(ONE, type="audio/wav", bytes=7, sha256="a" * 64)
    assert read_recording(write_recording(recording)) == recording


def test_a_place_that_could_leave_the_directory_is_none(tmp_path):
    files = RecordingFiles(tmp_path)
    for place in (Place("../x", ONE, "a" * 64), Place("0367", "../..", "a" * 64), Place("0367", ONE, "..")):
        with pytest.raises(ValueError, match="names no file"):
            files.open(place)


# ranges

SIZE, ETAG = 1000, '"abc"'


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("bytes=0-99", Part(0, 100)),
        ("bytes=100-", Part(100, 900)),
        ("bytes=-50", Part(950, 50)),
        ("bytes=-5000", Part(0, 1000)),
        ("bytes=990-5000", Part(990, 10)),
        ("bytes=0-0", Part(0, 1)),
        ("bytes=5-1", Part(0, 1000, whole=True)),
        ("bytes=0-1,5-6", Part(0, 1000, whole=True)),
        ("bytes=-", Part(0, 1000, whole=True)),
        ("items=0-1", Part(0, 1000, whole=True)),
        ("", Part(0, 1000, whole=True)),
    ],
)
def test_a_range_is_the_part_that_the_standard_says(asked, wanted):
    assert part({b"range": asked.encode()}, SIZE, ETAG) == wanted


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_behind_the_end_has_nothing(asked):
    with pytest.raises(Unsatisfiable):
        part({b"range": asked.encode()}, SIZE, ETAG)


def test_a_range_of_another_content_gets_all_of_this_one():
    headers = {b"range": b"bytes=0-9"}
    assert part({**headers, b"if-range": ETAG.encode()}, SIZE, ETAG) == Part(0, 10)
    assert part({**headers, b"if-range": b'"other"'}, SIZE, ETAG).whole
    assert part({**headers, b"if-range": b"Wed, 21 Oct 2015 07:28:00 GMT"}, SIZE, ETAG).whole
