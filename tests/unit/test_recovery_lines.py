"""A host's backlog line by line: what each says, when it was, and how a stream is cut into lines."""

import gzip
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from adapters.recovery.files import BacklogError, count_lines, read_backlog
from adapters.recovery.known import content
from adapters.recovery.lines import LONGEST_LINE, BadLine, Splitter, read_line
from adapters.recovery.moments import Moments

A = "1757840723.6"
NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
HEADS = (
    "DateTime TEXT, event TEXT, Uniqueid TEXT, request TEXT, status TEXT, response TEXT, responseTime REAL"
)


def line(event: str = "dial", t: object = None, unique_id: str = A, **body: object) -> bytes:
    return json.dumps({"t": t, "event": event, "body": {"UniqueId": unique_id, **body}}).encode()


# one line


def test_a_line_is_read_verbatim():
    body = b'{ "Token":"375", "UniqueId" : "1757840723.10", "Phone":1.50 }'
    told = read_line(b'{"t":"2026-05-04T12:00:00+03:00","event":"dial","body":' + body + b"}")
    assert (told.kind, told.body, told.stream, told.answered) == ("dial", body, "leg/1757840723.10", False)
    assert told.told == datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def test_a_body_with_its_event_beside_is_stored_without_it():
    told = read_line(b'{"event":"start","t":null,"Token":"375","UniqueId":1757840723.10,"Phone":"80291"}')
    assert told.kind == "start"
    assert told.body == b'{"Token":"375","UniqueId":1757840723.10,"Phone":"80291"}'
    assert told.stream == "leg/1757840723.10"


def test_a_whole_bridge_has_the_stream_that_it_has_live():
    told = read_line(line("bridge_destroy", unique_id="", BridgeUniqueid="X"))
    assert told.stream == "bridge/X"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"no", "not JSON"),
        (b"[]", 'not {"t"'),
        (b'{"event":"dial","body":3}', "object"),
        (b'{"event":"dial","body":"{}"}', "object"),
        (b'{"event":"sing","body":{"UniqueId":"1.2"}}', "event is 'sing', one of start, dial"),
        (b'{"body":{"UniqueId":"1.2"}}', "event is missing"),
        (b'{"event":"dial","body":{"Token":"375"}}', "UniqueId and BridgeUniqueid are both missing"),
        (b'{"event":"dial","body":{"UniqueId":[]}}', "UniqueId"),
        (b'{"event":"dial","body":{"UniqueId":"1.2","a":' + b"[" * 100 + b"]" * 100 + b"}}", "nested"),
        (b'{"event":"dial","body":{"UniqueId":"\xff"}}', "utf-8"),
    ],
)
def test_what_is_no_event_says_why(raw, reason):
    with pytest.raises(BadLine) as refused:
        read_line(raw)
    assert reason in refused.value.reason


def test_equal_are_bodies_of_one_json_value_whatever_their_spelling_and_token():
    one = content("dial", b'{"Token":"1","UniqueId":"7.1","Extensions":["150","151"],"x":{"a":1,"b":2}}')
    assert one == content(
        "dial", b'{"Extensions" : ["150","151"],"x":{"b":2,"a":1},\n"UniqueId":"7.1","Token":2}'
    )
    assert one != content("bridge", b'{"UniqueId":"7.1","Extensions":["150","151"],"x":{"a":1,"b":2}}')
    assert one != content("dial", b'{"UniqueId":"7.1","Extensions":["151","150"],"x":{"a":1,"b":2}}')
    assert one != content("dial", b'{"UniqueId":"7.1","Extensions":["150","151"],"x":{"a":"1","b":2}}')


# when it was


def times(*lines: bytes, zone: str = "Europe/Minsk", now: datetime = NOW) -> list[datetime]:
    moments = Moments(lambda _: zone, lambda: now)
    return [moments.of("0367", read_line(one)) for one in lines]


def told_at(*texts: object, zone: str = "Europe/Minsk") -> list[datetime]:
    return times(*(line(t=text) for text in texts), zone=zone)


def utc(*told: int) -> datetime:
    return datetime(*told, tzinfo=UTC)


def test_a_time_without_a_zone_is_of_the_enterprises_wall_clock():
    assert told_at("2026-05-04 11:00:00", "2026-05-04T08:00:01Z", "2026-05-04T11:00:02.5+03:00") == [
        utc(2026, 5, 4, 8),
        utc(2026, 5, 4, 8, 0, 1),
        utc(2026, 5, 4, 8, 0, 2, 500_000),
    ]


def test_of_a_time_that_a_clock_told_twice_it_is_the_first_that_is_not_before_the_line_above():
    told = told_at(
        "2025-10-26 02:30:00",
        "2025-10-26 02:59:59",
        "2025-10-26 02:00:00",
        "2025-10-26 02:30:00",
        "2025-10-26 03:00:00",
        zone="Europe/Berlin",
    )
    assert told == [
        utc(2025, 10, 26, 0, 30),
        utc(2025, 10, 26, 0, 59, 59),
        utc(2025, 10, 26, 1, 0),
        utc(2025, 10, 26, 1, 30),
        utc(2025, 10, 26, 2, 0),
    ]


def test_a_time_that_a_clock_skipped_stays_behind_the_one_before():
    told = told_at("2026-03-29 01:59:59", "2026-03-29 02:30:00", "2026-03-29 03:30:01", zone="Europe/Berlin")
    assert all(one < other for one, other in pairwise(told))


@pytest.mark.parametrize(
    "nothing", [None, "", "yesterday", 1757840723, "9999-12-31 23:59:59", "1970-01-01 00:00:05"]
)
def test_a_line_without_a_time_has_that_of_the_line_above(nothing):
    assert told_at("2026-05-04T08:00:00Z", nothing) == [utc(2026, 5, 4, 8)] * 2


def test_where_no_line_tells_its_time_ids_and_ends_do():
    begun = datetime.fromtimestamp(1757840723, UTC)
    told = times(
        line("start"),
        line("dial"),
        line("bridge", unique_id="1757840730.7"),
        line("hangup", EndTime="2025-09-14 12:06:30"),
        line("bridge_destroy", unique_id="", BridgeUniqueid="X"),
        line("start", unique_id="abc"),
    )
    end = utc(2025, 9, 14, 9, 6, 30)
    assert told == [begun, begun, begun + timedelta(seconds=7), end, end, end]


def test_where_nothing_tells_anything_it_is_now():
    assert times(line("start", unique_id="abc")) == [NOW]


# cut into lines


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_are_the_same_however_the_stream_is_cut(size):
    sent = b'\xef\xbb\xbf{"a":1}\r\n\n  \n{"b":2}\n{"c":3}'
    splitter, found = Splitter(), []
    for begin in range(0, len(sent), size):
        found += splitter.feed(sent[begin : begin + size])
    assert [*found, *splitter.end()] == [(1, b'{"a":1}'), (4, b'{"b":2}'), (5, b'{"c":3}')]


def test_a_line_that_is_too_long_is_named_and_not_kept():
    splitter = Splitter()
    found = []
    for _ in range(200):
        found += splitter.feed(b"x" * 1000)
        assert len(splitter._rest) <= LONGEST_LINE + 1000
    found += splitter.feed(b'\n{"b":2}\n')
    assert found == [(1, None), (2, b'{"b":2}')]


# files


def test_json_lines_are_read_as_they_stand(tmp_path):
    path = tmp_path / "day.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\n' + b"x" * (LONGEST_LINE + 1) + b'\n{"b":2}')
    assert list(read_backlog(path)) == [(1, b'{"a":1}'), (3, None), (4, b'{"b":2}')]
    assert count_lines(path) == 4


def day_file(path: Path, rows: list[tuple[object, ...]], heads: str = HEADS) -> Path:
    with closing(sqlite3.connect(path)) as base:
        base.execute(f"CREATE TABLE AlternativeAPIlogs ({heads})")
        marks = ", ".join("?" * len(heads.split(",")))
        base.executemany(f"INSERT INTO AlternativeAPIlogs VALUES ({marks})", rows)
        base.commit()
    return path


def test_a_day_file_is_read_row_by_row_in_the_order_it_was_written(tmp_path):
    sent = '{"Token": "375", "UniqueId": "1757840723.10",\n "Phone": "80291"}'
    path = day_file(
        tmp_path / "2026-05-04.db",
        [
            ("2026-05-04 12:00:01", "dial", A, sent, "<Response [200]>", "{}", 0.2),
            ("2026-05-04 12:00:00", "hangup", A, sent, "<Response [404]>", "None connection (Not ping)", 0),
            (None, b"start", None, "no JSON", None, None, None),
        ],
    )
    rows = [json.loads(raw) for _, raw in read_backlog(path)]
    assert [row.get("answered", False) for row in rows] == [True, False, False]
    assert [(row["t"], row["event"]) for row in rows] == [
        ("2026-05-04 12:00:01", "dial"),
        ("2026-05-04 12:00:00", "hangup"),
        ("", "start"),
    ]
    assert rows[0]["body"] == {"Token": "375", "UniqueId": "1757840723.10", "Phone": "80291"}
    assert rows[2]["body"] == "no JSON"
    assert count_lines(path) == 3


def test_columns_are_found_in_any_case_and_order_and_only_those_needed(tmp_path):
    path = day_file(
        tmp_path / "x.db",
        [('{"UniqueId":"1.2"}', "start", "2026-05-04 12:00:01")],
        "REQUEST TEXT, Event TEXT, datetime TEXT",
    )
    assert [json.loads(raw)["event"] for _, raw in read_backlog(path)] == ["start"]


def test_a_day_file_is_never_written_to(tmp_path):
    path = day_file(tmp_path / "x.db", [("2026-05-04 12:00:01", "dial", A, "{}", "", "", 0)])
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    before = path.read_bytes()
    try:
        assert len(list(read_backlog(path))) == 1
        assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])
    finally:
        tmp_path.chmod(0o755)


def test_rows_that_a_hosts_database_has_beside_it_are_read_too(tmp_path):
    path = tmp_path / "x.db"
    day_file(path, [("2026-05-04 12:00:01", "dial", A, "{}", "", "", 0)])
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = wal")
        base.execute("PRAGMA wal_autocheckpoint = 0")
        base.execute("INSERT INTO AlternativeAPIlogs SELECT * FROM AlternativeAPIlogs")
        base.commit()
        assert len(list(read_backlog(path))) == 2


@pytest.mark.parametrize("content", [b"SQLite format 3\0 and no more", None])
def test_what_is_no_day_file_says_so(tmp_path, content):
    path = tmp_path / "x.db"
    if content is None:
        with closing(sqlite3.connect(path)) as base:
            base.execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(content)
    with pytest.raises(BacklogError, match=r"x\.db"):
        list(read_backlog(path))
    with pytest.raises(BacklogError):
        count_lines(path)


def test_gzipped_json_lines_are_read_as_if_they_were_not(tmp_path):
    path = tmp_path / "backlog.jsonl.1.gz"
    whole = b'{"a":1}\n\n' + b"!" * (LONGEST_LINE + 1) + b'\n{"b":2}'
    half = len(whole) // 2  # two members one behind the other, as rotation appends them
    path.write_bytes(gzip.compress(whole[:half]) + gzip.compress(whole[half:]))
    assert list(read_backlog(path)) == [(1, b'{"a":1}'), (3, None), (4, b'{"b":2}')]
    assert count_lines(path) == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b'{"a":1}\n' * 100)[:-9], "is a gzip file that is cut off or damaged"),
        (gzip.compress(b'{"a":1}\n' * 100)[:20] + b"!" * 30, "is a gzip file that is cut off or damaged"),
        (gzip.compress(b"SQLite format 3\0"), "is a gzipped SQLite file: unpack it first"),
        (b"PK\x03\x04....", "is a zip file: unpack it first; JSON Lines may be gzipped"),
        (b"\x28\xb5\x2f\xfd....", "is a zstd file"),
        (b"\xfd7zXZ\0....", "is an xz file"),
        (b"BZh9....", "is a bzip2 file"),
    ],
    ids=["cut", "damaged", "sqlite", "zip", "zstd", "xz", "bzip2"],
)
def test_a_packed_file_is_named_as_what_it_is(tmp_path, content, says):
    path = tmp_path / "x.packed"
    path.write_bytes(content)
    for read in (count_lines, lambda path: list(read_backlog(path))):
        with pytest.raises(BacklogError, match=f"{path}: {says}"):
            read(path)
