"""A person's number replaced by a pseudonym wherever a stored text spells it (docs/decisions/0015-privacy.md).

A pseudonym is a number of the same country and length that every spelling reads alike, so that a fold makes of renamed
facts the renamed rows. Everything else of a body stays as it is, byte for byte.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final

import msgspec
import phonenumbers

from calls.numbers import forget_numbers, is_unknown, to_e164

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
NAME_BESIDE: Final = {"CallerIDName": "CallerIDNum", "ConnectedLineName": "ConnectedLineNum"}
"""Fields that tell somebody's name, and the field that says whose."""

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
_TRIES: Final = 1_000
"""How many numbers are drawn at most before one more digit of the real one is kept."""
_TRIES_TOGETHER: Final = 100
_KEPT_APART: Final = 4
"""Digits at the end that are never kept."""

# What looks like digits and is none of a number: ids, digests, UniqueIds.
_IDS: Final = (
    r"(?P<id>(?<![0-9A-Za-z])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z%])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{20,}(?![0-9A-Za-z])"
    r"|(?<![0-9])1[0-9]{9}\.[0-9]{1,9}(?![0-9]))"
)
_SEEN: Final = re.compile(rf"{_IDS}|\+?[0-9](?:[-() ./]{{0,4}}[0-9])*")
_LOOKED_FOR: Final = re.compile(rf"{_IDS}|\+?[0-9](?:[-() ./,;:|*\\]{{0,4}}[0-9])*")
"""Of a number that is known: also what joins numbers may stand between its digits."""
_SUFFIX: Final = re.compile(r"-[0-9a-fA-F]{8}(?:;[12])?$")
"""What Asterisk adds to the name of a channel."""
_WORD: Final = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
MOST_WORDS: Final = 8
"""Of a name."""
_GROUP: Final = re.compile(r"[0-9]+")
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


class _Piece(msgspec.Struct):
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
    return " ".join(_WORD.findall(name)[:MOST_WORDS]).casefold()


def forget_kept() -> None:
    """Empty what is remembered of numbers in this process."""
    _numbers_of.cache_clear()
    _told_by.cache_clear()
    _valid_in.cache_clear()
    _national.cache_clear()
    _is_valid.cache_clear()
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


def _pieces(told: str) -> Iterator[_Piece]:
    """The texts and numbers of a body with the names of their fields; of one that is no JSON all of it."""
    try:
        _json.decode(told.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield _Piece("", 0, len(told), *_unescaped(told), False)
        return
    field = ""
    for token in _TOKEN.finditer(told):
        if token[1] is None:
            yield _Piece(field, token.start(), token.end(), token[0], None, True)
            continue
        text, starts = _unescaped(token[1])
        if token[2]:
            field = text
        yield _Piece("" if token[2] else field, token.start(1), token.end(1), text, starts, True)


_QUOTES_AND_DOTS: Final = frozenset("\u2018\u2019\u02bc\u2032\u00b4\u00b7\u2022\u2219\u30fb")


@lru_cache(maxsize=4_096)
def _as_dialled(char: str) -> str:
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


def _dialled(text: str) -> str:
    if text.isascii():
        return text.translate(_SEPARATORS)
    return "".join([char if char.isascii() else _as_dialled(char) for char in text]).translate(_SEPARATORS)


def _runs(piece: _Piece, seen_as: re.Pattern[str] = _SEEN) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Digits with what separates them: the text of the run, and where each group of its digits stands in the piece."""
    if len(piece.text) < _LEAST or (piece.text.isascii() and not _GROUP.search(piece.text)):
        return
    text = _dialled(piece.text)
    if piece.field == "Channel" and (suffix := _SUFFIX.search(piece.text)):
        text = text[: suffix.start()]
    for seen in seen_as.finditer(text):
        if not seen["id"]:
            yield (
                seen[0],
                [(seen.start() + one.start(), seen.start() + one.end()) for one in _GROUP.finditer(seen[0])],
            )


def _stretches(groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of neighbouring groups that may be one number, the longer ones first."""
    for length in range(min(len(groups), _MOST_GROUPS), 0, -1):
        for first in range(len(groups) - length + 1):
            size = sum(end - begin for begin, end in groups[first : first + length])
            if _LEAST <= size <= _LONGEST:
                yield first, first + length


def numbers_in(body: bytes, reading: Reading) -> set[str]:
    """Every number in E.164 that something in a body may be read as."""
    found: set[str] = set()
    for piece in _pieces(body.decode("utf-8", "surrogateescape")):
        if piece.field not in UNTOUCHED:
            for run, _ in _runs(piece, _LOOKED_FOR):
                found |= _numbers_of(run, reading)
    return found


@lru_cache(maxsize=16_384)
def _numbers_of(run: str, reading: Reading) -> frozenset[str]:
    """Every number that something in a run may be read as; hosts tell the same runs again and again."""
    groups = [(one.start(), one.end()) for one in _GROUP.finditer(run)]
    found: set[str] = set()
    for first, last in _stretches(groups):
        text = run[0 if first == 0 else groups[first][0] : groups[last - 1][1]]
        digits = "".join(_GROUP.findall(text))
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
    digits = "".join(_GROUP.findall(text))
    return Told(number, digits, others, tuple(other for rule, other in others if rule in rules))


def numbers_told(body: bytes, reading: Reading) -> set[Told]:
    """The outside numbers, in E.164, that a body tells, as a fold reads its fields; others' where they are valid.

    What it tells as a line is none. Dates are none.
    """
    pieces = list(_pieces(body.decode("utf-8", "surrogateescape")))
    line = next((piece.text for piece in pieces if piece.field == "Trunk"), "").strip()
    found: set[Told] = set()
    lines: set[str] = set()
    for piece in pieces:
        if piece.field in LINES:
            lines.update(number for run, _ in _runs(piece) if (number := reading.plain(run)))
        if piece.field in NO_NUMBERS:
            continue
        for run, _ in _runs(piece):
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
    if plain is not None and (_is_valid(plain) or len(_GROUP.findall(run)) == 1):
        return frozenset((told_as(plain, run, reading, rules),))
    for rule in rules:
        if told := reading.by_rule(run, rule):
            return frozenset((told_as(told, told[1:], reading),))
    return _valid_in(run, reading) or frozenset((told_as(plain, run, reading),) if plain else ())


@lru_cache(maxsize=16_384)
def _valid_in(run: str, reading: Reading) -> frozenset[Told]:
    """Valid numbers in a run, the longest first, none within another."""
    groups = [(one.start(), one.end()) for one in _GROUP.finditer(run)]
    found: set[Told] = set()
    taken: set[int] = set()
    for first, last in _stretches(groups):
        if taken.isdisjoint(range(first, last)):
            text = run[0 if first == 0 else groups[first][0] : groups[last - 1][1]]
            told = reading.plain(text)
            if told is not None and _is_valid(told):
                found.add(told_as(told, text, reading))
                taken.update(range(first, last))
    return frozenset(found)


class Renaming:
    """One person's number, and the pseudonym that takes its place.

    ``is_name``: whether words, as ``name_words`` has them, are what the person is called.
    """

    def __init__(
        self, number: str, pseudonym: str, reading: Reading, is_name: Callable[[str], bool] | None = None
    ) -> None:
        self.number, self.pseudonym = number, pseudonym
        self._reading = reading
        self._is_name = is_name
        self._forms, self._ends = _spellings(number, reading)
        least = min([len(_national(number)), *(len(end) for _, end in self._ends)])
        self._probe = re.compile(b"[^0-9]{0,12}".join(digit.encode() for digit in number[-least:]))

    def rewrite(self, body: bytes, *, spelled: bool = True, ruled: bool = True) -> bytes:
        """The body without the number and the names beside it; the very same where it has none.

        Where the number is spelled, and where a rule of a line reads it: both, or one of them.
        """
        if self._cannot_hold(body):
            return body
        told = body.decode("utf-8", "surrogateescape")
        pieces = list(_pieces(told))
        line = next((piece.text for piece in pieces if piece.field == "Trunk"), None)
        edits: dict[int, tuple[int, str]] = {}
        named: set[str] = set()
        for piece in pieces:
            if piece.field in UNTOUCHED:
                continue
            for begin, end, tail in self._places(piece, line, spelled, ruled):
                named.add(piece.field)
                self._put(told, piece, (begin, end, tail), edits)
        if not edits:
            return body
        self._unname(pieces, named, edits)
        return _edited(told, edits).encode("utf-8", "surrogateescape")

    def rewrite_text(self, text: str) -> str:
        """The same of a text that is no body."""
        return self.rewrite(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _cannot_hold(self, body: bytes) -> bool:
        if b"\\u" in body or self._probe.search(body):
            return False
        if body.isascii():
            return True
        odd = {char for char in body.decode("utf-8", "surrogateescape") if not char.isascii()}
        return not any(_as_dialled(char).isdigit() for char in odd)

    def _places(
        self, piece: _Piece, line: str | None, wanted: bool, ruled: bool
    ) -> Iterator[tuple[int, int, int]]:
        """(begin, end, how many digits at its end are the person's) of each spelling in a piece."""
        for run, groups in _runs(piece, _LOOKED_FOR):
            digits = "".join(_GROUP.findall(run))
            other = None
            if digits not in self._forms or (run[0] == "+" and self._forms[digits] < len(self.number) - 1):
                other = self._reading.plain(run)
            taken: set[int] = set()
            for first, last in _stretches(groups):
                if taken.intersection(range(first, last)):
                    continue
                spelled = "".join(_dialled(piece.text[begin:end]) for begin, end in groups[first:last])
                tail = self._tail(spelled, other) if wanted else None
                if (
                    tail is None
                    and ruled
                    and last - first == 1
                    and run[0] != "+"
                    and (len(groups) == 1 or other is None)
                ):
                    tail = self._by_rule(spelled, line)
                if tail is not None:
                    taken.update(range(first, last))
                    yield groups[first][0], groups[last - 1][1], tail

    def _tail(self, spelled: str, other: str | None) -> int | None:
        """How many digits at the end are the person's; a national form is not looked for within another's number."""
        tail = self._forms.get(spelled)
        if tail is None or (tail < len(self.number) - 1 and other not in {None, self.number}):
            return None
        return tail

    def _by_rule(self, spelled: str, line: str | None) -> int | None:
        """The same by the rules of lines; on its own line whatever it would be elsewhere."""
        for rule, end in self._ends:
            if not spelled.endswith(end):
                continue
            here = line is not None and rule in self._reading.rules(line)
            plain = None if here else self._reading.plain(spelled)
            if plain is None or not _is_valid(plain):
                return len(end)
        return None

    def _put(
        self, told: str, piece: _Piece, place: tuple[int, int, int], edits: dict[int, tuple[int, str]]
    ) -> None:
        begin, end, tail = place
        new = iter(reversed(self.pseudonym[-tail:]))
        text = _dialled(piece.text)
        left = tail
        for index in range(end - 1, begin - 1, -1):
            if left and text[index].isdigit():
                left -= 1
                digit = next(new)
                start, stop = piece.raw(index, index + 1)
                edits[start] = (stop, told[start:stop] if digit == text[index] else digit)

    def _unname(self, pieces: list[_Piece], fields: set[str], edits: dict[int, tuple[int, str]]) -> None:
        """Take out names: those of the directory, and what stands for one beside the number."""
        for piece in pieces:
            if not piece.text or piece.field in UNTOUCHED:
                continue
            beside = NAME_BESIDE.get(piece.field)
            if beside in fields and not is_unknown(piece.text) and any(map(str.isalpha, piece.text)):
                _cut(piece, 0, len(piece.text), edits)
                continue
            for begin, end in self._named(piece.text):
                _cut(piece, begin, end, edits)

    def _named(self, text: str) -> Iterator[tuple[int, int]]:
        """Where a text says what the person is called."""
        words = list(_WORD.finditer(text)) if self._is_name else []
        first = 0
        while first < len(words) and self._is_name:
            for last in range(min(len(words), first + MOST_WORDS), first, -1):
                begin, end = words[first].start(), words[last - 1].end()
                if self._is_name(name_words(text[begin:end])):
                    yield begin, end
                    first = last - 1
                    break
            first += 1


def rename(body: bytes, renamings: Collection[Renaming]) -> bytes:
    """A body without several people, in whatever order: whose number a text spells goes before what a rule reads."""
    for person in renamings:
        body = person.rewrite(body, ruled=False)
    for person in renamings:
        body = person.rewrite(body, spelled=False)
    return body


def _cut(piece: _Piece, begin: int, end: int, edits: dict[int, tuple[int, str]]) -> None:
    start, stop = piece.raw(begin, end)
    for inside in [at for at in edits if start <= at < stop]:
        del edits[inside]
    edits[start] = (stop, "")


def _edited(told: str, edits: dict[int, tuple[int, str]]) -> str:
    parts, last = [], 0
    for start in sorted(edits):
        stop, new = edits[start]
        if start < last:
            continue
        parts += [told[last:start], new]
        last = stop
    return "".join([*parts, told[last:]])


def _spellings(number: str, reading: Reading) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Digits by which a number is spelled, with how many of them are its own; (rule, digits at the end) by lines."""
    digits = number[1:]
    national = _national(number)
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
        end = digits[-_last(rule) :]
        if any(to_e164(end, country, rule) == number for country in reading.countries):
            ends.append((rule, end))
    return forms, ends


def pseudonym_of(
    number: str,
    reading: Reading,
    randbelow: Callable[[int], int],
    taken: Callable[[str], bool],
    end: str = "",
    most: int = _TRIES,
) -> str:
    """A random number of the same country and length that is read alike in every spelling, and that nobody has.

    ``randbelow`` must be unpredictable; ``end``: digits at its end; ``most``: how many are tried at a time. Digits of
    the number are kept only where its country has no other such numbers, from the first on. Raises ValueError where
    there is none.
    """
    code = len(number) - len(_national(number))
    shape = _shape(number, reading)
    for kept in range(code, len(number) - max(len(end), _KEPT_APART) + 1):
        free = len(number) - kept - len(end)
        for _ in range(min(most, 5 * 10**free)):
            drawn = number[:kept] + "".join(str(randbelow(10)) for _ in range(free)) + end
            if (
                drawn != number
                and _alike(number, drawn)
                and _shape(drawn, reading) == shape
                and not taken(drawn)
            ):
                return drawn
    raise ValueError("there is no other number of this form")


def pseudonyms_of(
    told: Told,
    reading: Reading,
    randbelow: Callable[[int], int],
    taken: Callable[[str], bool],
    listed: Mapping[str, str],
) -> dict[str, str]:
    """Pseudonyms of a text's numbers, but for those ``listed`` with theirs and those that have no other of their form.

    A rule reads in the text of the one the pseudonym of the other, as it read the other's number; only where that
    cannot be each has one of its own.
    """
    known = dict(listed)
    if told.number in known:
        known |= _others(told, known[told.number], reading, taken, known)
    else:
        known |= _together(told, reading, randbelow, taken, known)
    for number in (*told.numbers[1:], told.number):
        if number not in known and number == told.number:
            known |= _together(told, reading, randbelow, taken, known)
        if number not in known:
            with suppress(ValueError):
                known[number] = pseudonym_of(number, reading, randbelow, taken)
    return {number: drawn for number, drawn in known.items() if number not in listed}


def _together(
    told: Told,
    reading: Reading,
    randbelow: Callable[[int], int],
    taken: Callable[[str], bool],
    listed: Mapping[str, str],
) -> dict[str, str]:
    """Pseudonyms of all of a text's numbers, its own not being listed; none where no such are found at once."""
    own = _own_digits(told, reading)
    if not told.others or not own:
        return {}
    ends = [
        listed[number][-min(_last(rule), own, _same(told.digits, number)) :]
        for rule, number in told.others
        if number in listed
    ]
    wanted = set(told.numbers[1:])

    def unfit(drawn: str) -> bool:
        return taken(drawn) or _others(told, drawn, reading, taken, listed).keys() != wanted

    try:
        end = max(ends, key=len, default="")
        drawn = pseudonym_of(told.number, reading, randbelow, unfit, end, _TRIES_TOGETHER)
    except ValueError:
        return {}
    return {told.number: drawn, **_others(told, drawn, reading, taken, listed)}


def _others(
    told: Told, drawn: str, reading: Reading, taken: Callable[[str], bool], listed: Mapping[str, str]
) -> dict[str, str]:
    """By number, what rules read in the text with ``drawn``, where that is right for a pseudonym of the number."""
    own = _own_digits(told, reading)
    if not own:
        return {}
    text = told.digits[:-own] + drawn[-own:]
    found: dict[str, str] = {}
    for rule, number in told.others:
        new = reading.by_rule(text, rule)
        right = (
            listed[number] == new
            if number in listed
            else new is not None and new != number and not taken(new) and _is_like(number, new, reading)
        )
        if not right or new is None or found.get(number, new) != new:
            return {}
        found[number] = new
    return found


def _own_digits(told: Told, reading: Reading) -> int:
    """How many digits at the end of a text are its number's; 0 for a spelling that is not known."""
    return _spellings(told.number, reading)[0].get(told.digits, 0)


def _same(text: str, other: str) -> int:
    """How many digits at their ends are the same."""
    return next(
        (place for place, (a, b) in enumerate(zip(text[::-1], other[::-1], strict=False)) if a != b),
        len(text),
    )


def _is_like(number: str, other: str, reading: Reading) -> bool:
    return _alike(number, other) and _shape(number, reading) == _shape(other, reading)


def _last(rule: str) -> int:
    """How many digits a rule takes."""
    return int(rule.partition("{")[2].rstrip("}"))


def _alike(number: str, other: str) -> bool:
    return (
        _is_valid(number) == _is_valid(other)
        and len(_national(other)) == len(_national(number))
        and (_national(other)[:1] == "0") == (_national(number)[:1] == "0")
    )


def _shape(number: str, reading: Reading) -> tuple[Collection[object], Collection[object]]:
    """How a number is spelled, and which of that is read as the number without a line's rule."""
    forms, ends = _spellings(number, reading)
    told = {
        (form[: len(form) - tail], tail, *(to_e164(form, country) == number for country in reading.countries))
        for form, tail in forms.items()
    }
    return told, [(rule, len(end)) for rule, end in ends]


@lru_cache(maxsize=4_096)
def _national(number: str) -> str:
    parsed = _parsed(number)
    return phonenumbers.national_significant_number(parsed) if parsed else number[1:]


@lru_cache(maxsize=4_096)
def _is_valid(number: str) -> bool:
    parsed = _parsed(number)
    return parsed is not None and phonenumbers.is_valid_number(parsed)


def _parsed(number: str) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
