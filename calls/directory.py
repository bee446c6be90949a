"""The directory of one enterprise: names of customers, managers and lines, who subscribes, what numbers mean.

The directory is folded from ``directory_changed`` facts, one a changed entry, and is itself never changed in
place: a fold holds the directory as of its position. Secrets (Token, bot token) are no part of it.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast, final

import msgspec

from calls import numbers
from calls.entries import (
    ENTRY_TYPES,
    KEY_FIELDS,
    Customer,
    Department,
    DirectoryChange,
    Entry,
    FollowMe,
    Language,
    Line,
    Manager,
    Profile,
    Section,
    Subscriber,
)
from calls.layered import Layered

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
_NOBODY_NAMED: Final[Mapping[str, Any]] = Layered[Any]()
_NOBODY: Final = {"ru": "Номер не определен", "en": "unknown number"}
_LONGEST_LABEL: Final = 64
# Control characters, halves of a character, and the marks that override the direction of writing.
_UNSHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class DirectoryError(ValueError):
    """A change that no directory can take: section and key of the entry, and the reason."""

    def __init__(self, section: str, key: str, reason: str) -> None:
        super().__init__(f"{section} {key}: {reason}")
        self.section = section
        self.key = key
        self.reason = reason


@final
class Directory:
    """The directory as of one position, never changed; absent entries mean that nobody named them.

    Keys are texts: chat_id, extension, id, number, phone in E.164. What is computed of it is kept: every number of
    every event is asked for, filters for every state of every call.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        subscribers: Mapping[str, Subscriber] = _NOBODY_NAMED,
        managers: Mapping[str, Manager] = _NOBODY_NAMED,
        lines: Mapping[str, Line] = _NOBODY_NAMED,
        departments: Mapping[str, Department] = _NOBODY_NAMED,
        follow_mes: Mapping[str, FollowMe] = _NOBODY_NAMED,
        customers: Mapping[str, Customer] = _NOBODY_NAMED,
    ) -> None:
        self.profile = profile
        self.subscribers = subscribers
        self.managers = managers
        self.lines = lines
        self.departments = departments
        self.follow_mes = follow_mes
        self.customers = customers
        self._kept_readers: tuple[Subscriber, ...] | None = None
        self._kept_selective: dict[int, Subscriber] | None = None
        self._kept_lines: frozenset[str] | None = None
        self._kept_nobodys: frozenset[str] | None = None
        self._kept_mobiles: dict[str, Manager] | None = None
        self._kept_people: dict[tuple[str, ...], frozenset[str]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Directory) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self.profile)

    def _told(self) -> tuple[object, ...]:
        return self.profile, *[getattr(self, field) for field in _FIELDS.values()]

    @classmethod
    def empty(cls, number: str) -> "Directory":
        """What is known of an enterprise before its first directory fact."""
        return Directory(profile=Profile(number=number, name=number))

    def of(self, profile: Profile) -> "Directory":
        """The same lists of an enterprise that is this."""
        return Directory(
            profile=profile,
            subscribers=self.subscribers,
            managers=self.managers,
            lines=self.lines,
            departments=self.departments,
            follow_mes=self.follow_mes,
            customers=self.customers,
        )

    def apply(self, change: DirectoryChange) -> "Directory":
        """The directory after this change; raises DirectoryError for what is no entry of its section."""
        entry = _entry(change)
        if isinstance(entry, Profile):
            return self.of(entry)
        field = _FIELDS[change.section]
        entries: Mapping[str, Entry] = getattr(self, field)
        layered = entries if isinstance(entries, Layered) else Layered(entries)
        new = self.of(self.profile)
        setattr(new, field, layered.drop(change.key) if entry is None else layered.put(change.key, entry))
        if change.section not in _MOBILE_SECTIONS:
            new._kept_mobiles = self._kept_mobiles  # noqa: SLF001 - made here
        return new

    def fold(self, changes: Iterable[DirectoryChange]) -> "Directory":
        """The directory after all these changes, in their order."""
        directory = self
        for change in changes:
            directory = directory.apply(change)
        return directory

    @property
    def readers(self) -> tuple[Subscriber, ...]:
        """The subscribers that are shown calls: those who are not off."""
        found = self._kept_readers
        if found is None:
            found = tuple([one for one in self.subscribers.values() if not one.off])
            self._kept_readers = found
        return found

    @property
    def selective(self) -> Mapping[int, Subscriber]:
        """By chat, the readers who are not shown every call."""
        found = self._kept_selective
        if found is None:
            found = self._kept_selective = {one.chat_id: one for one in self.readers if one.selective}
        return found

    def manager(self, extension: str) -> Manager | None:
        """The person at an extension, if somebody named one."""
        return self.managers.get(extension)

    def manager_by_mobile(self, e164: str) -> Manager | None:
        """Whose mobile this is, of a manager or of a FollowMe (then perhaps a person without a name)."""
        return self._mobiles().get(e164)

    def is_person(self, number: str) -> bool:
        """True for an extension that is neither department nor FollowMe; nobody need have named it."""
        if not numbers.is_extension(number):
            return False
        nobodys = self._kept_nobodys
        if nobodys is None:
            nobodys = self._kept_nobodys = frozenset([*self.departments, *self.follow_mes])
        return number not in nobodys

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
        owner = self._mobiles().get(number)
        return owner.extension if owner else number

    def stand_for(self, people: tuple[str, ...]) -> frozenset[str]:
        """Whose calls are those of these numbers: a department stands for itself and its members."""
        found = self._kept_people.get(people)
        if found is None:
            departments = [self.departments[number] for number in people if number in self.departments]
            members = [member for department in departments for member in department.members]
            found = self._kept_people[people] = frozenset(map(self.whose, (*people, *members)))
        return found

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
        lines = self._kept_lines
        if lines is None:
            lines = self._kept_lines = frozenset(self.lines)
        if not raw or raw.strip() in lines:
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

    def _mobiles(self) -> dict[str, Manager]:
        """Whose each mobile is: a manager's own entry goes before a FollowMe that names it."""
        found = self._kept_mobiles
        if found is None:
            found = self._kept_mobiles = {}
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
