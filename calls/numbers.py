"""Telephone numbers: what is an extension, what is unknown, E.164 of the rest, and how a number is shown."""

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any, Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

# Longer than any number with prefixes and separators; keeps hostile texts out of the caches.
_LONGEST: Final = 48
_CACHED: Final = 16_384

_UNKNOWN: Final = frozenset(
    {"", "anonymous", "unknown", "restricted", "private", "unavailable", "withheld", "none", "null"}
)
_ZEROS: Final = re.compile(r"\+?0{5,}")
_LINE_ID: Final = re.compile(r"00[0-9]{5}")
_TRANSFORM: Final = re.compile(r"(?P<prefix>\+?[0-9]{0,8})\{(?P<last>[1-9]|1[0-5])\}")
_SEPARATORS: Final = frozenset("().-/")
_DIALLED_ABROAD: Final = "00"

# Digits of a national number in groups, by country calling code and length (domain/telegram.md 3).
_GROUPS: Final = {
    (375, 9): (2, 3, 2, 2),
    (380, 9): (2, 3, 2, 2),
    (7, 10): (3, 3, 2, 2),
    (1, 10): (3, 3, 4),
}
_CODES: Final = {str(code): regions[0] for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()}
_NEVER: Final = "(?!)"
_INTERNATIONAL: Final = re.compile(r"(?P<code>\+[0-9]+)[ -](?P<area>[0-9]+)[ -](?P<rest>.+)")


def is_extension(text: str) -> bool:
    """True for 3 or 4 digits: a number inside the enterprise (data.md, Internal number test).

    Departments and FollowMe numbers have the same shape; the directory knows which they are.
    """
    return len(text) in (3, 4) and text.isdigit() and text.isascii()


def is_unknown(text: str) -> bool:
    """True where a host says that it knows no number: ``""``, ``<unknown>``, ``Anonymous``, zeros alone."""
    word = text.strip().strip("<>").strip().casefold()
    return word in _UNKNOWN or bool(_ZEROS.fullmatch(word))


def is_line_id(text: str) -> bool:
    """True for the shape of a GSM line's id: 7 digits with leading zeros (``0007001``, data.md, lines)."""
    return bool(_LINE_ID.fullmatch(text))


def is_transform(text: str) -> bool:
    """True for a rule ``prefix{n}``: a prefix of up to 8 digits, perhaps with ``+``, and n from 1 to 15."""
    return bool(_TRANSFORM.fullmatch(text))


def to_e164(raw: str, country: str, transform: str = "") -> str | None:
    """E.164 with ``+`` of an outside number, or None for extensions, line ids, unknown numbers and garbage.

    ``country`` is ISO 3166 alpha-2 and explains national forms. ``transform`` is the rule of the line on
    which the number came (``+375{9}``: prefix and the last 9 digits); what already comes as a possible
    number with ``+`` needs no rule. A *possible* number is enough (CONTRACT 6); where digits can be read
    both as national and as international ones, the reading that is a valid number wins, then the national.
    """
    if len(raw) > _LONGEST:
        return None
    return _to_e164(raw, country, transform)


def display(number: str) -> str:
    """A number as people read it: ``+375 (29) 000-01-01``, extensions and what is no number as they are."""
    if len(number) > _LONGEST:
        return number
    return _display(number)


def same_number(a: str, b: str, country: str) -> bool:
    """True when two texts mean one known number: equal extensions, or equal in E.164."""
    a, b = a.strip(), b.strip()
    if is_unknown(a) or is_unknown(b):
        return False
    return a == b or ((known := to_e164(a, country)) is not None and known == to_e164(b, country))


@lru_cache(maxsize=_CACHED)
def _to_e164(raw: str, country: str, transform: str) -> str | None:
    dialled = _dialled(raw)
    if not dialled or is_extension(dialled) or is_line_id(dialled) or _ZEROS.fullmatch(dialled):
        return None
    if dialled.startswith("+"):
        told = _abroad(dialled[1:])
        if told:
            return told
    return _by_rule(dialled, country, transform) or _by_country(dialled, country)


def _dialled(raw: str) -> str | None:
    """Digits of a text, with ``+`` where it begins so; None where anything else but separators is in it."""
    if raw.isascii() and raw.removeprefix("+").isdigit():
        return raw
    kept: list[str] = []
    for char in unicodedata.normalize("NFKC", raw).strip():
        if char.isdecimal():
            kept.append(str(unicodedata.decimal(char)))
        elif char == "+" and not kept:
            kept.append(char)
        elif not (char in _SEPARATORS or char.isspace() or unicodedata.category(char) in ("Pd", "Cf")):
            return None
    return "".join(kept)


def _by_rule(dialled: str, country: str, transform: str) -> str | None:
    rule = _TRANSFORM.fullmatch(transform) if transform else None
    if rule is None:
        return None
    digits, last = dialled.removeprefix("+"), int(rule["last"])
    if len(digits) < last:
        return None
    return _by_country(rule["prefix"] + digits[-last:], country)


def _by_country(dialled: str, country: str) -> str | None:
    if dialled.startswith("+"):
        return _abroad(dialled[1:])
    if dialled.startswith(_DIALLED_ABROAD):
        return _abroad(dialled.removeprefix(_DIALLED_ABROAD))
    if told := _at_once(dialled, country):
        return told
    # 79161234567 is a possible number in Belarus too: what is valid is right, whichever way it is read.
    readings = (_parse(dialled, country), _parse("+" + dialled, None))
    valid = (number for number in readings if number and phonenumbers.is_valid_number(number))
    possible = (number for number in readings if _e164(number))
    return _e164(next(valid, None)) or _e164(next(possible, None))


def _abroad(digits: str) -> str | None:
    """E.164 of what is dialled after ``+``."""
    return "+" + digits if _is_sure(digits) else _e164(_parse("+" + digits, None))


def _at_once(digits: str, country: str) -> str | None:
    """What ``_by_country`` gives where the metadata tell it without parsing; None where they leave doubt."""
    if country not in phonenumbers.SUPPORTED_REGIONS:
        return None
    code, forms = _home(country)
    read = forms.fullmatch(digits)
    if read is None:
        return None
    if read["foreign"] or read["odd"]:
        return "+" + digits if _is_sure(digits, valid=bool(read["odd"])) else None
    national = code + (read["own"] or read["trunk"] or read["bare"])
    rival = national != digits and bool(_calling_code(digits[:3]))
    return "+" + national if _is_sure(national, valid=rival) else None


def _is_sure(digits: str, *, valid: bool = False) -> bool:
    """True where ``+digits`` is E.164 for certain: of a possible number, or of a valid one."""
    code = _calling_code(digits[:3])
    return bool(code and _international(code, valid).fullmatch(digits))


@lru_cache(maxsize=_CACHED)
def _calling_code(beginning: str) -> str:
    return next((beginning[:end] for end in (1, 2, 3) if beginning[:end] in _CODES), "")


@cache
def _international(code: str, valid: bool) -> re.Pattern[str]:
    meta, lengths, viable, _, whole = _rules(code, _CODES[code])
    if not valid:
        return re.compile(code + whole + lengths)
    # The country that comes first for a code is asked first; its other kinds of numbers are left in doubt.
    kinds = (meta.fixed_line, None if meta.same_mobile_and_fixed_line_pattern else meta.mobile)
    kind = "|".join(rf"(?={_of(k.possible_length)}\Z)(?:{k.national_number_pattern})\Z" for k in kinds if k)
    return re.compile(
        rf"{code}{whole}(?={meta.leading_digits or ''})(?={viable}\Z)(?={kind or _NEVER}){lengths}"
    )


@cache
def _home(country: str) -> tuple[str, re.Pattern[str]]:
    """A country's code and forms: ``own`` after the code, ``trunk`` after the national prefix, ``bare`` alone.

    As the country's number ``foreign`` digits are not possible, and ``odd`` ones not valid.
    """
    code = str(phonenumbers.country_code_for_region(country))
    meta, lengths, viable, prefix, whole = _rules(code, country)
    possible = _rules(code, _CODES[code])[1]
    alone = len(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]) == 1
    taken = _NEVER if meta.national_prefix_transform_rule else f"(?>{prefix})"
    forms = (
        rf"(?!{viable}\Z){code}(?={viable}\Z){whole}(?P<own>[0-9]+)",
        rf"(?!{code}|{viable}\Z){taken}(?P<trunk>{lengths})",
        rf"(?!{code}){whole}(?={viable}\Z)(?P<bare>{possible})",
        rf"(?!{code}){whole}(?!{possible}\Z)(?P<foreign>[0-9]{{2,17}})",
        rf"(?!{code}|{viable}\Z){whole}(?P<odd>{possible if alone else _NEVER})",
    )
    return code, re.compile(rf"(?!{meta.international_prefix or _NEVER})(?:{'|'.join(forms)})")


def _rules(code: str, region: str) -> tuple[PhoneMetadata, str, str, str, str]:
    """What is known of a country, and patterns: possible lengths, viable, national prefix, where none is taken.

    A prefix is taken away unless only the whole is viable; where a rule rewrites it, nothing with it is certain.
    """
    meta = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    assert meta
    assert meta.general_desc
    lengths = _of(meta.general_desc.possible_length)  # what is dialled only locally is never of these lengths
    viable = f"(?:{meta.general_desc.national_number_pattern or _NEVER})"
    prefix = f"(?:{meta.national_prefix_for_parsing or _NEVER})"
    whole = _NEVER if meta.national_prefix_transform_rule else rf"(?={viable}\Z)(?!{prefix}{viable}\Z)"
    return meta, lengths, viable, prefix, f"(?:(?!{prefix})|{whole})"


def _of(lengths: tuple[int, ...]) -> str:
    return f"(?:{'|'.join(f'[0-9]{{{length}}}' for length in lengths)})"


def _parse(dialled: str, country: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(dialled, country)
    except NumberParseException:
        return None


def _e164(number: PhoneNumber | None) -> str | None:
    """E.164 of a possible number. A number that can be dialled only locally has none.

    Reading it back may take away another trunk prefix (``+49 0 0…``), so that is done until nothing changes.
    """
    text = ""
    while number and phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE:
        again = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        if again == text:
            return text
        text, number = again, _parse(again, None)
    return None


@lru_cache(maxsize=_CACHED)
def _display(number: str) -> str:
    text = number.strip()
    if is_extension(text) or is_line_id(text):
        return text
    digits = text.removeprefix("+")
    code = _calling_code(digits[:3])
    groups = _GROUPS.get((int(code or 0), len(digits) - len(code)))
    if groups and _is_sure(digits):
        return _grouped(int(code), digits[len(code) :], groups)
    parsed = _parse(text if text.startswith("+") else "+" + text, None)
    if _dialled(text) is None or parsed is None or not phonenumbers.is_possible_number(parsed):
        return number
    national = phonenumbers.national_significant_number(parsed)
    groups = _GROUPS.get((parsed.country_code or 0, len(national)))
    if groups:
        return _grouped(parsed.country_code or 0, national, groups)
    text = phonenumbers.format_number(parsed, PhoneNumberFormat.INTERNATIONAL)
    return _INTERNATIONAL.sub(r"\g<code> (\g<area>) \g<rest>", text)


def _grouped(code: int, national: str, groups: tuple[int, ...]) -> str:
    parts, start = [], 0
    for length in groups:
        parts.append(national[start : start + length])
        start += length
    return f"+{code} ({parts[0]}) {'-'.join(parts[1:])}"


def numbers_kept() -> dict[str, Any]:
    """Hits, misses and size of what is remembered of numbers, as functools tells it."""
    return {"e164": _to_e164.cache_info(), "display": _display.cache_info()}


def forget_numbers() -> None:
    """Empty what is remembered of numbers."""
    _to_e164.cache_clear()
    _display.cache_clear()
