"""How numbers and names are spelled in stored texts: which ones a body tells, and in how many ways one is told."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final

import msgspec
import phonenumbers

from calls.numbers import forget_numbers, to_e164

UNTOUCHED: Final = frozenset(
    {
        "UniqueId",
        "BridgeUniqueid",
        "Linkedid",
        "Token",
        "call_id",
        "chat_id",
        "message_id",
        "user_id",
        "traceparent",
    }
)
"""Fields that name something else than a person, however it looks: streams are named by some of them."""
RULED: Final = frozenset({"Phone", "ExtPhone"})
"""Fields whose numbers are read by the rule of the line that the body names."""
NUMBERS: Final = RULED | {"Exten", "Extensions", "CallerIDNum", "ConnectedLineNum", "Channel", "phone"}
"""Fields that hold a number: a possible one is enough there, anywhere else it must be a valid one."""
LINES: Final = frozenset({"Trunk", "ExtTrunk", "line"})
NO_NUMBERS: Final = (
    UNTOUCHED | LINES | {"StartTime", "EndTime", "DateReceived", "CallType", "CallStatus", "attempt"}
)
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01])(?![0-9]{3})")

_ABROAD: Final = ("00", "810", "011", "0011", "001", "010")
_TRUNK: Final = ("", "0", "8", "80", "1", "06", "01", "02")
_LONGEST: Final = 18
_MOST_GROUPS: Final = 18
_LEAST: Final = 5
# What looks like digits and is none of a number: ids, digests, UniqueIds.
_IDS: Final = (
    r"(?P<id>(?<![0-9A-Za-z])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z%])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{20,}(?![0-9A-Za-z])"
    r"|(?<![0-9])1[0-9]{9}\.[0-9]{1,9}(?![0-9]))"
)
_SEEN: Final = re.compile(rf"{_IDS}|\+?[0-9](?:[-() ./]{{0,4}}[0-9])*")
LOOKED_FOR: Final = re.compile(rf"{_IDS}|\+?[0-9](?:[-() ./,;:|*\\]{{0,4}}[0-9])*")
"""Of a number that is known: also what joins numbers may stand between its digits."""
_SUFFIX: Final = re.compile(r"-[0-9a-fA-F]{8}(?:;[12])?$")
"""What Asterisk adds to the name of a channel."""
WORD: Final = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
MOST_WORDS: Final = 8
"""Of a name."""
GROUP: Final = re.compile(r"[0-9]+")
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|-?[0-9][0-9.eE+-]*', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL)
_SHORT: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_json: Final = msgspec.json.Decoder(msgspec.Raw)


class Reading(msgspec.Struct, frozen=True):
    """By what an enterprise reads numbers, now and before: its countries, and the transform of each line."""

    countries: tuple[str, ...] = ("BY",)
    transforms: frozenset[tuple[str, str]] = frozenset()
    """(line, rule)"""

    def plain(self, text: str) -> str | None:
        """E.164 of what is spelled without any line's rule."""
        return next((told for country in self.countries if (told := to_e164(text, country))), None)

    def by_rule(self, text: str, rule: str) -> str | None:
        """E.164 of what is spelled, by a line's rule."""
        return next((told for country in self.countries if (told := to_e164(text, country, rule))), None)

    def rules(self, line: str | None = None) -> list[str]:
        """The rules of a line, of all lines for None."""
        return sorted({rule for one, rule in self.transforms if line in {None, one}})


class Piece(msgspec.Struct):
    """A text within a body: ``begin`` to ``end`` there, as it is read, and where each character of it begins."""

    field: str
    begin: int
    end: int
    text: str
    starts: list[int] | None
    whole: bool
    """False for a body that is no JSON."""

    def place(self, index: int) -> int:
        return self.begin + (index if self.starts is None else self.starts[index])

    def raw(self, begin: int, end: int) -> tuple[int, int]:
        """Where some characters stand in the body."""
        return self.place(begin), self.end if end == len(self.text) else self.place(end)


def name_words(name: str) -> str:
    """A name by its words, however it is spaced, cased and quoted; "" for what has none."""
    return " ".join(WORD.findall(name)[:MOST_WORDS]).casefold()


def forget_kept() -> None:
    """Empty what is remembered of numbers in this process."""
    _numbers_of.cache_clear()
    _told_by.cache_clear()
    _valid_in.cache_clear()
    national_of.cache_clear()
    is_valid.cache_clear()
    forget_numbers()


def _unescaped(raw: str) -> tuple[str, list[int] | None]:
    if "\\" not in raw:
        return raw, None
    text: list[str] = []
    starts: list[int] = []
    last = 0
    for escape in _ESCAPE.finditer(raw):
        text += raw[last : escape.start()]
        starts += range(last, escape.start())
        text.append(chr(int(escape[1], 16)) if escape[1] else _SHORT.get(escape[2], escape[2]))
        starts.append(escape.start())
        last = escape.end()
    text += raw[last:]
    starts += range(last, len(raw))
    return "".join(text), starts


def pieces_of(told: str) -> Iterator[Piece]:
    """The texts and numbers of a body with the names of their fields; of one that is no JSON all of it."""
    try:
        _json.decode(told.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield Piece("", 0, len(told), *_unescaped(told), False)
        return
    field = ""
    for token in _TOKEN.finditer(told):
        if token[1] is None:
            yield Piece(field, token.start(), token.end(), token[0], None, True)
            continue
        text, starts = _unescaped(token[1])
        if token[2]:
            field = text
        yield Piece("" if token[2] else field, token.start(1), token.end(1), text, starts, True)


_QUOTES_AND_DOTS: Final = frozenset("\u2018\u2019\u02bc\u2032\u00b4\u00b7\u2022\u2219\u30fb")


@lru_cache(maxsize=4_096)
def as_dialled(char: str) -> str:
    """A character that is not ASCII as ``calls.numbers`` reads it: a digit, ``+``, a separator; one for one."""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if unicodedata.category(char) in {"Pd", "Cf"}:
        return "-"
    if char.isspace():
        return " "
    if char in _QUOTES_AND_DOTS:
        return "-"
    told = unicodedata.normalize("NFKC", char)
    return told if len(told) == 1 and told.isascii() else "\x00"


# What separates digits besides what calls.numbers takes: blanks of other kinds, and what dialplans write.
_SEPARATORS: Final = {ord(char): " " for char in "\t\n\r\v\f"} | {ord(char): "-" for char in "_~'`"}


def dialled(text: str) -> str:
    if text.isascii():
        return text.translate(_SEPARATORS)
    return "".join([char if char.isascii() else as_dialled(char) for char in text]).translate(_SEPARATORS)


def runs(piece: Piece, seen_as: re.Pattern[str] = _SEEN) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Digits with what separates them: the text of the run, and where each group of its digits stands in the piece."""
    if len(piece.text) < _LEAST or (piece.text.isascii() and not GROUP.search(piece.text)):
        return
    text = dialled(piece.text)
    if piece.field == "Channel" and (suffix := _SUFFIX.search(piece.text)):
        text = text[: suffix.start()]
    for seen in seen_as.finditer(text):
        if not seen["id"]:
            yield (
                seen[0],
                [(seen.start() + one.start(), seen.start() + one.end()) for one in GROUP.finditer(seen[0])],
            )


def stretches(groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of neighbouring groups that may be one number, the longer ones first."""
    for length in range(min(len(groups), _MOST_GROUPS), 0, -1):
        for first in range(len(groups) - length + 1):
            size = sum(end - begin for begin, end in groups[first : first + length])
            if _LEAST <= size <= _LONGEST:
                yield first, first + length


def numbers_in(body: bytes, reading: Reading) -> set[str]:
    """Every number in E.164 that something in a body may be read as."""
    found: set[str] = set()
    for piece in pieces_of(body.decode("utf-8", "surrogateescape")):
        if piece.field not in UNTOUCHED:
            for run, _ in runs(piece, LOOKED_FOR):
                found |= _numbers_of(run, reading)
    return found


@lru_cache(maxsize=16_384)
def _numbers_of(run: str, reading: Reading) -> frozenset[str]:
    """Every number that something in a run may be read as; hosts tell the same runs again and again."""
    groups = [(one.start(), one.end()) for one in GROUP.finditer(run)]
    found: set[str] = set()
    for first, last in stretches(groups):
        text = run[0 if first == 0 else groups[first][0] : groups[last - 1][1]]
        digits = "".join(GROUP.findall(text))
        for country in reading.countries:
            for rule in ("", *reading.rules()):
                read = (to_e164(spelled, country, rule) for spelled in (text, digits, f"+{digits}"))
                found.update(number for number in read if number)
    return frozenset(found)


class Told(msgspec.Struct, frozen=True, order=True):
    """A number that a text tells, and (rule, number) of the others that rules of lines would read in it.

    ``digits``: all of the text's. ``ruled``: those of the others that a fold reads there, by the line the body names.
    """

    number: str
    digits: str = ""
    others: tuple[tuple[str, str], ...] = ()
    ruled: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """All of them, the text's own first."""
        return tuple(dict.fromkeys((self.number, *[number for _, number in self.others])))


def told_as(number: str, text: str, reading: Reading, rules: Collection[str] = ()) -> Told:
    """A number as a text tells it, where the text's line has these rules."""
    told = [(rule, other) for rule in reading.rules() if (other := reading.by_rule(text, rule))]
    others = tuple((rule, other) for rule, other in told if other != number)
    digits = "".join(GROUP.findall(text))
    return Told(number, digits, others, tuple(other for rule, other in others if rule in rules))


def numbers_told(body: bytes, reading: Reading) -> set[Told]:
    """The outside numbers, in E.164, that a body tells, as a fold reads its fields; others' where they are valid.

    What it tells as a line is none. Dates are none.
    """
    pieces = list(pieces_of(body.decode("utf-8", "surrogateescape")))
    line = next((piece.text for piece in pieces if piece.field == "Trunk"), "").strip()
    found: set[Told] = set()
    lines: set[str] = set()
    for piece in pieces:
        if piece.field in LINES:
            lines.update(number for run, _ in runs(piece) if (number := reading.plain(run)))
        if piece.field in NO_NUMBERS:
            continue
        for run, _ in runs(piece):
            if piece.field in NUMBERS:
                found |= _told_by(run, reading, line if piece.field in RULED else "")
            elif not _DATE.match(run):
                found |= _valid_in(run, reading)
    return {told for told in found if told.number not in lines}


@lru_cache(maxsize=16_384)
def _told_by(run: str, reading: Reading, line: str) -> frozenset[Told]:
    """The number that a run in a field for numbers is; where it is none as a whole, the valid ones in it."""
    rules = reading.rules(line) if line else []
    plain = reading.plain(run)
    if plain is not None and (is_valid(plain) or len(GROUP.findall(run)) == 1):
        return frozenset((told_as(plain, run, reading, rules),))
    for rule in rules:
        if told := reading.by_rule(run, rule):
            return frozenset((told_as(told, told[1:], reading),))
    return _valid_in(run, reading) or frozenset((told_as(plain, run, reading),) if plain else ())


@lru_cache(maxsize=16_384)
def _valid_in(run: str, reading: Reading) -> frozenset[Told]:
    """Valid numbers in a run, the longest first, none within another."""
    groups = [(one.start(), one.end()) for one in GROUP.finditer(run)]
    found: set[Told] = set()
    taken: set[int] = set()
    for first, last in stretches(groups):
        if taken.isdisjoint(range(first, last)):
            text = run[0 if first == 0 else groups[first][0] : groups[last - 1][1]]
            told = reading.plain(text)
            if told is not None and is_valid(told):
                found.add(told_as(told, text, reading))
                taken.update(range(first, last))
    return frozenset(found)


def rule_digits(rule: str) -> int:
    """How many digits a rule takes."""
    return int(rule.partition("{")[2].rstrip("}"))


def spellings(number: str, reading: Reading) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Digits by which a number is spelled, with how many of them are its own; (rule, digits at the end) by lines."""
    digits = number[1:]
    national = national_of(number)
    forms = {digits: len(digits), f"00{digits}": len(digits)}
    for country in reading.countries:
        told = [(one + digits, len(digits)) for one in _ABROAD] + [
            (one + national, len(national)) for one in _TRUNK
        ]
        for form, tail in told:
            if to_e164(form, country) == number:
                forms.setdefault(form, tail)
    ends = []
    for rule in reading.rules():
        end = digits[-rule_digits(rule) :]
        if any(to_e164(end, country, rule) == number for country in reading.countries):
            ends.append((rule, end))
    return forms, ends


@lru_cache(maxsize=4_096)
def national_of(number: str) -> str:
    parsed = _parsed(number)
    return phonenumbers.national_significant_number(parsed) if parsed else number[1:]


@lru_cache(maxsize=4_096)
def is_valid(number: str) -> bool:
    parsed = _parsed(number)
    return parsed is not None and phonenumbers.is_valid_number(parsed)


def _parsed(number: str) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
