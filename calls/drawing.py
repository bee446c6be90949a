"""Drawing pseudonyms: random numbers that every spelling reads as it read the real ones (docs/decisions/0015)."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final

from calls.numbers import to_e164
from calls.spellings import Reading, Told, is_valid, national_of, rule_digits, spellings

_TRIES: Final = 1_000
"""How many numbers are drawn at most before one more digit of the real one is kept."""
_TRIES_TOGETHER: Final = 100
_KEPT_APART: Final = 4
"""Digits at the end that are never kept."""


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
    code = len(number) - len(national_of(number))
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
        listed[number][-min(rule_digits(rule), own, _same(told.digits, number)) :]
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
    return spellings(told.number, reading)[0].get(told.digits, 0)


def _same(text: str, other: str) -> int:
    """How many digits at their ends are the same."""
    return next(
        (place for place, (a, b) in enumerate(zip(text[::-1], other[::-1], strict=False)) if a != b),
        len(text),
    )


def _is_like(number: str, other: str, reading: Reading) -> bool:
    return _alike(number, other) and _shape(number, reading) == _shape(other, reading)


def _alike(number: str, other: str) -> bool:
    return (
        is_valid(number) == is_valid(other)
        and len(national_of(other)) == len(national_of(number))
        and (national_of(other)[:1] == "0") == (national_of(number)[:1] == "0")
    )


def _shape(number: str, reading: Reading) -> tuple[Collection[object], Collection[object]]:
    """How a number is spelled, and which of that is read as the number without a line's rule."""
    forms, ends = spellings(number, reading)
    told = {
        (form[: len(form) - tail], tail, *(to_e164(form, country) == number for country in reading.countries))
        for form, tail in forms.items()
    }
    return told, [(rule, len(end)) for rule, end in ends]
