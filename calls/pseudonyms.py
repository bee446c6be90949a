"""A person's number replaced by a pseudonym wherever a stored text spells it (docs/decisions/0015-privacy.md).

A pseudonym is a number of the same country and length that every spelling reads alike, so that a fold makes of renamed
facts the renamed rows. Everything else of a body stays as it is, byte for byte.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from calls.numbers import is_unknown
from calls.spellings import (
    GROUP,
    LOOKED_FOR,
    MOST_WORDS,
    UNTOUCHED,
    WORD,
    Piece,
    Reading,
    as_dialled,
    dialled,
    is_valid,
    name_words,
    national_of,
    pieces_of,
    runs,
    spellings,
    stretches,
)

NAME_BESIDE: Final = {"CallerIDName": "CallerIDNum", "ConnectedLineName": "ConnectedLineNum"}
"""Fields that tell somebody's name, and the field that says whose."""


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
        self._forms, self._ends = spellings(number, reading)
        least = min([len(national_of(number)), *(len(end) for _, end in self._ends)])
        self._probe = re.compile(b"[^0-9]{0,12}".join(digit.encode() for digit in number[-least:]))

    def rewrite(self, body: bytes, *, spelled: bool = True, ruled: bool = True) -> bytes:
        """The body without the number and the names beside it; the very same where it has none.

        Where the number is spelled, and where a rule of a line reads it: both, or one of them.
        """
        if self._cannot_hold(body):
            return body
        told = body.decode("utf-8", "surrogateescape")
        pieces = list(pieces_of(told))
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
        return not any(as_dialled(char).isdigit() for char in odd)

    def _places(
        self, piece: Piece, line: str | None, wanted: bool, ruled: bool
    ) -> Iterator[tuple[int, int, int]]:
        """(begin, end, how many digits at its end are the person's) of each spelling in a piece."""
        for run, groups in runs(piece, LOOKED_FOR):
            digits = "".join(GROUP.findall(run))
            other = None
            if digits not in self._forms or (run[0] == "+" and self._forms[digits] < len(self.number) - 1):
                other = self._reading.plain(run)
            taken: set[int] = set()
            for first, last in stretches(groups):
                if taken.intersection(range(first, last)):
                    continue
                spelled = "".join(dialled(piece.text[begin:end]) for begin, end in groups[first:last])
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
            if plain is None or not is_valid(plain):
                return len(end)
        return None

    def _put(
        self, told: str, piece: Piece, place: tuple[int, int, int], edits: dict[int, tuple[int, str]]
    ) -> None:
        begin, end, tail = place
        new = iter(reversed(self.pseudonym[-tail:]))
        text = dialled(piece.text)
        left = tail
        for index in range(end - 1, begin - 1, -1):
            if left and text[index].isdigit():
                left -= 1
                digit = next(new)
                start, stop = piece.raw(index, index + 1)
                edits[start] = (stop, told[start:stop] if digit == text[index] else digit)

    def _unname(self, pieces: list[Piece], fields: set[str], edits: dict[int, tuple[int, str]]) -> None:
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
        words = list(WORD.finditer(text)) if self._is_name else []
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


def _cut(piece: Piece, begin: int, end: int, edits: dict[int, tuple[int, str]]) -> None:
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
