"""The entries of a directory: what an enterprise says of itself, its people, lines and customers, and who subscribes.

They are written in files of the directory, and stored as bodies of ``directory_changed`` facts, one a changed entry.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from calls.hours import read_hours

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


class DirectoryChange(msgspec.Struct, frozen=True):
    """Body of a ``directory_changed`` fact: the entry as it is from now on, or None where it is gone."""

    section: Section
    key: str
    value: dict[str, Any] | None = None
