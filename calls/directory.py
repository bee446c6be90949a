"""The directory of one enterprise: names of customers, managers and lines, who subscribes, what numbers mean.

The directory is folded from ``directory_changed`` facts, one a changed entry, and is itself never changed in
place: a fold holds the directory as of its position. Secrets (Token, bot token) are no part of it.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal, Self, cast

import msgspec

from calls import numbers
from calls.hours import read_hours
from calls.layered import Layered

Language = Literal["ru", "en"]
Notify = Literal["edit", "missed", "all"]
Side = Literal["in", "out"]
Ending = Literal["answered", "missed", "not_answered", "lost_in_transfer"]
Section = Literal["enterprise", "subscriber", "manager", "line", "department", "follow_me", "customer"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an enterprise is, beside its lists."""

    number: str
    name: str
    language: Language = "ru"
    timezone: str = "Europe/Minsk"
    country: str = "BY"
    allowed_networks: tuple[str, ...] = ()
    retention_days: int | None = None
    """Days after which outside numbers in bodies give way to pseudonyms; None: never."""


class Subscriber(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat that is shown the calls. ``invited``: came by invitation, so an apply leaves it alone.

    ``off``: why it is shown none (``reason`` of a RecipientGone, or STOPPED), "" while it is; no key of a file, so
    an apply of a file that lists the chat switches it on. ``muted_until``: ISO time in UTC before which nothing
    rings, "" for none; ``moved_from``: the group that became this one; no keys of a file either.
    Filters (calls.subscriptions) let everything through while they are empty. ``people``: extensions, and
    departments for their members; ``hours``: when the calls begin that are shown; ``silent``: when nothing
    rings (calls.hours). Raises ValueError for hours that are none, and for a time that is none.
    """

    chat_id: int
    off: str = ""
    notify: Notify = "edit"
    invited: bool = False
    directions: tuple[Side, ...] = ()
    internal: bool = True
    outcomes: tuple[Ending, ...] = ()
    lines: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    hours: str = ""
    silent: str = ""
    muted_until: str = ""
    moved_from: int = 0

    def __post_init__(self) -> None:
        for text in (self.hours, self.silent):
            if text:
                read_hours(text)
        if self.muted_until and datetime.fromisoformat(self.muted_until).tzinfo is None:
            raise ValueError(f"muted_until {self.muted_until!r} tells no zone")

    def muted(self, at: datetime) -> bool:
        """True while nothing rings because the subscriber said so."""
        return bool(self.muted_until) and at < datetime.fromisoformat(self.muted_until)

    @property
    def selective(self) -> bool:
        """True where a filter is set."""
        return self.filters != _NO_FILTERS

    @property
    def filters(self) -> tuple[object, ...]:
        """What decides which calls are shown."""
        return (self.directions, self.internal, self.outcomes, self.lines, self.people, self.hours)


_NO_FILTERS: Final = Subscriber(chat_id=0).filters


class Manager(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person of the enterprise: extension, name, private mobile."""

    extension: str
    name: str = ""
    mobile: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An outside line. ``incoming_transform`` is ``prefix{n}``: prefix and the last n digits of what came."""

    id: str
    name: str = ""
    incoming_transform: str = ""


class Department(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number that rings several persons; not a person itself."""

    number: str
    name: str = ""
    members: tuple[str, ...] = ()


class FollowMe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number that rings one person's extension, then the mobile; not a person itself."""

    number: str
    extension: str
    mobile: str = ""


class Customer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A known outside party. ``phone`` in E.164."""

    phone: str
    name: str = ""
    company: str = ""


STOPPED: Final = "stopped"
"""``Subscriber.off`` of a chat that switched itself off, and may switch itself on again."""

Entry = Profile | Subscriber | Manager | Line | Department | FollowMe | Customer

ENTRY_TYPES: Mapping[Section, type[Entry]] = MappingProxyType(
    {
        "enterprise": Profile,
        "subscriber": Subscriber,
        "manager": Manager,
        "line": Line,
        "department": Department,
        "follow_me": FollowMe,
        "customer": Customer,
    }
)
KEY_FIELDS: Mapping[Section, str] = MappingProxyType(
    {
        "enterprise": "number",
        "subscriber": "chat_id",
        "manager": "extension",
        "line": "id",
        "department": "number",
        "follow_me": "number",
        "customer": "phone",
    }
)


# Where the entries of a section stand in a Directory.
_FIELDS: Final[Mapping[Section, str]] = MappingProxyType(
    {
        "subscriber": "subscribers",
        "manager": "managers",
        "line": "lines",
        "department": "departments",
        "follow_me": "follow_mes",
        "customer": "customers",
    }
)
# Sections that say whose a mobile is.
_MOBILE_SECTIONS: Final = frozenset({"enterprise", "manager", "follow_me"})
_NOBODY: Final = {"ru": "Номер не определен", "en": "unknown number"}
_LONGEST_LABEL: Final = 64
# Control characters, halves of a character, and the marks that override the direction of writing.
_UNSHOWN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class DirectoryError(ValueError):
    """A change that no directory can take: section and key of the entry, and the reason."""

    def __init__(self, section: str, key: str, reason: str) -> None:
        super().__init__(f"{section} {key}: {reason}")
        self.section = section
        self.key = key
        self.reason = reason


class DirectoryChange(msgspec.Struct, frozen=True):
    """Body of a ``directory_changed`` fact: the entry as it is from now on, or None where it is gone."""

    section: Section
    key: str
    value: dict[str, Any] | None = None


class Directory(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The directory as of one position; absent entries mean that nobody named them.

    Keys are texts: chat_id, extension, id, number, phone in E.164.
    """

    profile: Profile
    subscribers: Mapping[str, Subscriber] = Layered[Subscriber]()
    managers: Mapping[str, Manager] = Layered[Manager]()
    lines: Mapping[str, Line] = Layered[Line]()
    departments: Mapping[str, Department] = Layered[Department]()
    follow_mes: Mapping[str, FollowMe] = Layered[FollowMe]()
    customers: Mapping[str, Customer] = Layered[Customer]()

    @classmethod
    def empty(cls, number: str) -> Self:
        """What is known of an enterprise before its first directory fact."""
        return cls(profile=Profile(number=number, name=number))

    def apply(self, change: DirectoryChange) -> Self:
        """The directory after this change; raises DirectoryError for what is no entry of its section."""
        entry = _entry(change)
        if isinstance(entry, Profile):
            new = msgspec.structs.replace(self, profile=entry)
        else:
            field = _FIELDS[change.section]
            entries: Mapping[str, Entry] = getattr(self, field)
            layered = entries if isinstance(entries, Layered) else Layered(entries)
            changed = layered.drop(change.key) if entry is None else layered.put(change.key, entry)
            new = msgspec.structs.replace(self, **{field: changed})
        if change.section not in _MOBILE_SECTIONS and "_mobiles" in self.__dict__:
            new.__dict__["_mobiles"] = self._mobiles
        return new

    def fold(self, changes: Iterable[DirectoryChange]) -> Self:
        """The directory after all these changes, in their order."""
        directory = self
        for change in changes:
            directory = directory.apply(change)
        return directory

    @cached_property
    def readers(self) -> tuple[Subscriber, ...]:
        """The subscribers that are shown calls: those who are not off."""
        return tuple(subscriber for subscriber in self.subscribers.values() if not subscriber.off)

    @cached_property
    def selective(self) -> Mapping[int, Subscriber]:
        """By chat, the readers who are not shown every call."""
        return {reader.chat_id: reader for reader in self.readers if reader.selective}

    def manager(self, extension: str) -> Manager | None:
        """The person at an extension, if somebody named one."""
        return self.managers.get(extension)

    def manager_by_mobile(self, e164: str) -> Manager | None:
        """Whose mobile this is, of a manager or of a FollowMe (then perhaps a person without a name)."""
        return self._mobiles.get(e164)

    def is_person(self, number: str) -> bool:
        """True for an extension that is neither department nor FollowMe; nobody need have named it."""
        return numbers.is_extension(number) and number not in self._nobodys

    def department(self, number: str) -> Department | None:
        """The department that this number rings."""
        return self.departments.get(number)

    def follow_me(self, number: str) -> FollowMe | None:
        """The FollowMe that this number rings."""
        return self.follow_mes.get(number)

    def whose(self, number: str) -> str:
        """The extension of whoever is at a FollowMe or mobile, else the number itself."""
        if follow_me := self.follow_mes.get(number):
            return follow_me.extension
        owner = self._mobiles.get(number)
        return owner.extension if owner else number

    def stand_for(self, people: tuple[str, ...]) -> frozenset[str]:
        """Whose calls are those of these numbers: a department stands for itself and its members."""
        found = self._stand_for.get(people)
        if found is None:
            departments = [self.departments[number] for number in people if number in self.departments]
            members = [member for department in departments for member in department.members]
            found = self._stand_for[people] = frozenset(map(self.whose, (*people, *members)))
        return found

    @cached_property
    def _line_ids(self) -> frozenset[str]:
        """A set answers sooner than what it is made of, and every number of every event is asked for."""
        return frozenset(self.lines)

    @cached_property
    def _nobodys(self) -> frozenset[str]:
        """Extensions of departments and FollowMes, likewise."""
        return frozenset((*self.departments, *self.follow_mes))

    @cached_property
    def _stand_for(self) -> dict[tuple[str, ...], frozenset[str]]:
        """What was asked of this directory: filters are asked for every state of every call."""
        return {}

    def line_name(self, line_id: str) -> str:
        """Name of a line, its id where it has none."""
        line = self.lines.get(line_id)
        return (line.name if line else "") or line_id

    def transform(self, line_id: str | None) -> str:
        """The rule by which numbers that come on this line are read, "" for none."""
        line = self.lines.get(line_id) if line_id else None
        return line.incoming_transform if line else ""

    def customer(self, e164: str) -> Customer | None:
        """The known outside party of this number."""
        return self.customers.get(e164)

    def e164(self, raw: str, line_id: str | None = None) -> str | None:
        """E.164 of an outside number as it came on a line, None for what is none (numbers.to_e164)."""
        if not raw or raw.strip() in self._line_ids:
            return None
        return numbers.to_e164(raw, self.profile.country, self.transform(line_id) if line_id else "")

    def label(self, person: str | None, language: Language) -> str:
        """Someone of the enterprise, in plain text with a shortened name (CONTRACT 8).

        ``Name (ext)`` or ``ext`` (departments and FollowMes likewise); ``📱 Name (display number)`` or
        ``📱 display number`` for a mobile; "" and None are a number that nobody knows.
        """
        if not person or numbers.is_unknown(person):
            return _NOBODY[language]
        if numbers.is_extension(person):
            return _named(self._extension_name(person), person)
        owner = self.manager_by_mobile(person)
        name = owner.name or owner.extension if owner else ""
        return "📱 " + _named(name, shorten(numbers.display(person)))

    def _extension_name(self, extension: str) -> str:
        if department := self.departments.get(extension):
            return department.name
        follow_me = self.follow_mes.get(extension)
        manager = self.managers.get(follow_me.extension if follow_me else extension)
        return manager.name if manager else ""

    @cached_property
    def _mobiles(self) -> Mapping[str, Manager]:
        """Whose each mobile is: a manager's own entry goes before a FollowMe that names it."""
        found: dict[str, Manager] = {}
        owners = [(manager.mobile, manager) for manager in self.managers.values()]
        for follow_me in self.follow_mes.values():
            unnamed = Manager(extension=follow_me.extension)
            owners.append((follow_me.mobile, self.managers.get(follow_me.extension, unnamed)))
        for mobile, owner in owners:
            number = numbers.to_e164(mobile, self.profile.country)
            if number:
                found.setdefault(number, owner)
        return found


def shorten(text: str) -> str:
    """An outside text for one line: at most 64 characters, none that breaks the line or turns it around."""
    line = " ".join(_UNSHOWN.sub(" ", text).split())
    return line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1] + "…"


def changes(old: Directory | None, wanted: Directory) -> tuple[DirectoryChange, ...]:
    """What makes the old directory the wanted one; subscribers who came by invitation stay.

    Ordered by section, what goes before what comes, then by key. None: the enterprise is new.
    Raises DirectoryError where they are of two enterprises.
    """
    if old and old.profile.number != wanted.profile.number:
        raise DirectoryError("enterprise", old.profile.number, f"cannot become {wanted.profile.number}")
    found: list[DirectoryChange] = []
    if old is None or old.profile != wanted.profile:
        found.append(_change("enterprise", wanted.profile.number, wanted.profile))
    for section, field in _FIELDS.items():
        before: Mapping[str, Entry] = getattr(old, field) if old else {}
        after: Mapping[str, Entry] = getattr(wanted, field)
        gone = (key for key, entry in before.items() if key not in after and not _invited(entry))
        come = (key for key, entry in after.items() if before.get(key) != entry)
        found += [DirectoryChange(section, key) for key in sorted(gone)]
        found += [_change(section, key, after[key]) for key in sorted(come)]
    return tuple(found)


def _invited(entry: Entry) -> bool:
    return isinstance(entry, Subscriber) and entry.invited


def _change(section: Section, key: str, entry: Entry) -> DirectoryChange:
    return DirectoryChange(section, key, cast("dict[str, Any]", msgspec.to_builtins(entry)))


def _entry(change: DirectoryChange) -> Entry | None:
    """The entry that a change brings, None where it takes one away."""
    if change.value is None:
        if change.section == "enterprise":
            raise DirectoryError(change.section, change.key, "an enterprise's own entry cannot be taken away")
        return None
    try:
        entry: Entry = msgspec.convert(change.value, ENTRY_TYPES[change.section])
    except msgspec.ValidationError as error:
        raise DirectoryError(change.section, change.key, str(error)) from error
    field = KEY_FIELDS[change.section]
    if str(getattr(entry, field)) != change.key:
        raise DirectoryError(change.section, change.key, f"its {field} is {getattr(entry, field)}")
    return entry


def _named(name: str, number: str) -> str:
    short = shorten(name)
    return f"{short} ({number})" if short and short != number else number
