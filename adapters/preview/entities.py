"""Telegram's HTML (Bot API, HTML style): what it takes, makes of it, and in which words it refuses.

The rules follow the Bot API server's own parser: unknown tags are errors, an unknown ``&name;`` stays.
"""

import html
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

LONGEST: Final = 4096

# Tag as written: type of the entity, tag as we write it.
_TAGS: Final = {
    "b": ("bold", "b"),
    "strong": ("bold", "b"),
    "i": ("italic", "i"),
    "em": ("italic", "i"),
    "u": ("underline", "u"),
    "ins": ("underline", "u"),
    "s": ("strikethrough", "s"),
    "strike": ("strikethrough", "s"),
    "del": ("strikethrough", "s"),
    "tg-spoiler": ("spoiler", "span"),
    "span": ("spoiler", "span"),
    "tg-emoji": ("", ""),
    "a": ("text_link", "a"),
    "code": ("code", "code"),
    "pre": ("pre", "pre"),
    "blockquote": ("blockquote", "blockquote"),
}
_NAMED: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_ENTITY: Final = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(lt|gt|amp|quot));?")
_NAME: Final = re.compile(r"[^\s>]*")
_REST: Final = re.compile(r"""((?:[^>"']|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE: Final = re.compile(r"""([a-zA-Z-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")


class CantParseError(ValueError):
    """The text is not what Telegram takes; its own words."""


class Entity(msgspec.Struct, omit_defaults=True):
    """MessageEntity: offset and length in UTF-16 units."""

    type: str
    offset: int
    length: int
    url: str = ""


class Parsed(msgspec.Struct, frozen=True):
    """A text as Telegram keeps it: bare text and entities; ``html`` is safe to stand in a page."""

    text: str
    entities: tuple[Entity, ...]
    html: str


class _Open(msgspec.Struct):
    tag: str
    type: str
    written: str
    offset: int
    url: str


def from_plain(text: str) -> Parsed:
    """A text without parse mode."""
    text = _clean(text).strip()
    return Parsed(text, (), html.escape(text, quote=False))


def from_html(source: str) -> Parsed:
    """A text in HTML parse mode. Raises CantParseError, in Telegram's words."""
    reading = _Reading(_clean(source))
    reading.read()
    # Telegram trims the text, and the entities with it
    text = reading.text
    lead = len(text) - len(text.lstrip())
    text = text.strip()
    units, cut = utf16(text), utf16(reading.text[:lead])
    entities = []
    for entity in reading.entities:
        begin = max(0, entity.offset - cut)
        end = min(units, entity.offset + entity.length - cut)
        if end > begin:
            entities.append(Entity(entity.type, begin, end - begin, entity.url))
    return Parsed(
        text, tuple(sorted(entities, key=lambda e: (e.offset, -e.length))), "".join(reading.parts).strip()
    )


def utf16(text: str) -> int:
    """Length as Telegram counts it."""
    return len(text) + sum(char > "\uffff" for char in text)


def _clean(text: str) -> str:
    # PostgreSQL keeps no NUL, Telegram drops it; a lone surrogate has no UTF-8
    return text.replace("\0", "").replace("\r", "").encode("utf-8", "replace").decode()


class _Reading:
    """One pass over a source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: list[_Open] = []
        self.text = ""
        self.parts: list[str] = []
        self.entities: list[Entity] = []

    def read(self) -> None:
        place = 0
        source = self._source
        while place < len(source):
            if source[place] == "<":
                place = self._tag(place)
                continue
            if source[place] == "&" and (found := _ENTITY.match(source, place)) and (char := _char(found)):
                self._append(char)
                place = found.end()
                continue
            end = place + 1
            while end < len(source) and source[end] not in "<&":
                end += 1
            self._append(source[place:end])
            place = end
        if self._open:
            raise CantParseError(f'Can\'t find end tag corresponding to start tag "{self._open[-1].tag}"')

    def _append(self, text: str) -> None:
        self.text += text
        self.parts.append(html.escape(text, quote=False))

    def _tag(self, place: int) -> int:
        at = f"at byte offset {len(self._source[:place].encode())}"
        ends = self._source.startswith("</", place)
        named = _NAME.match(self._source, place + 1 + ends)
        assert named is not None  # an empty name is a name
        name = named[0].lower()
        if not ends and named.end() < len(self._source) and name not in _TAGS:
            raise CantParseError(f'Unsupported start tag "{name}" {at}')
        rest = _REST.match(self._source, named.end())
        if rest is None:
            raise CantParseError(f"Unclosed {'end' if ends else 'start'} tag {at}")
        if ends:
            self._end(name, at)
        else:
            self._begin(name, rest[1], at)
        return rest.end()

    def _begin(self, name: str, attributes: str, at: str) -> None:
        kind, written = _TAGS[name]
        given = {
            match[1].lower(): match[2] or match[3] or match[4] or ""
            for match in _ATTRIBUTE.finditer(attributes)
        }
        if name == "span" and given.get("class") != "tg-spoiler":
            raise CantParseError(f'Tag "span" must have class "tg-spoiler" {at}')
        if name == "blockquote" and "expandable" in given:
            kind = "expandable_blockquote"
        url = html.unescape(given.get("href", "")) if name == "a" else ""
        if name == "a" and urlsplit(url).scheme not in {"http", "https", "tg", "tel", "mailto"}:
            written = ""  # Telegram drops a link that is none
        self._open.append(_Open(name, kind, written, utf16(self.text), url))
        if written:
            self.parts.append(_start(written, kind, url))

    def _end(self, name: str, at: str) -> None:
        if not self._open:
            raise CantParseError(f"Unexpected end tag {at}")
        begun = self._open.pop()
        if name and name != begun.tag:
            raise CantParseError(f'Unmatched end tag {at}, expected "</{begun.tag}>", found "</{name}>"')
        length = utf16(self.text) - begun.offset
        if begun.written:
            self.parts.append(f"</{begun.written}>")
            if length and begun.type:
                self.entities.append(Entity(begun.type, begun.offset, length, begun.url))


def _start(written: str, kind: str, url: str) -> str:
    match kind:
        case "text_link":
            return f'<a href="{html.escape(url)}" rel="noreferrer noopener" target="_blank">'
        case "spoiler":
            return '<span class="spoiler">'
        case "expandable_blockquote":
            return '<blockquote class="expandable">'
        case _:
            return f"<{written}>"


def _char(found: re.Match[str]) -> str:
    if found[3]:
        return _NAMED[found[3]]
    code = int(found[1]) if found[1] else int(found[2], 16)
    return chr(code) if 0 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""
