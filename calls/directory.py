"""The directory of one enterprise: names of customers, managers and lines, who subscribes, what numbers mean.

The directory is folded from ``directory_changed`` facts, one a changed entry, and is itself never changed in
place: a fold holds the directory as of its position. Secrets (Token, bot token) are no part of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

import msgspec

Language = Literal["ru", "en"]
Section = Literal["enterprise", "subscriber", "manager", "line", "department", "follow_me", "customer"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an enterprise is, beside its lists."""

    number: str
    name: str
    language: Language = "ru"
    timezone: str = "Europe/Minsk"
    country: str = "BY"
    allowed_networks: tuple[str, ...] = ()


class Subscriber(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat that is shown the calls. ``invited``: came by invitation, so an apply leaves it alone."""

    chat_id: int
    notify: Literal["edit", "missed", "all"] = "edit"
    invited: bool = False


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


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """The directory as of one position; absent entries mean that nobody named them."""

    profile: Profile
    subscribers: Mapping[str, Subscriber] = MappingProxyType({})
    managers: Mapping[str, Manager] = MappingProxyType({})
    lines: Mapping[str, Line] = MappingProxyType({})
    departments: Mapping[str, Department] = MappingProxyType({})
    follow_mes: Mapping[str, FollowMe] = MappingProxyType({})
    customers: Mapping[str, Customer] = MappingProxyType({})

    @classmethod
    def empty(cls, number: str) -> Self:
        """What is known of an enterprise before its first directory fact."""
        return cls(profile=Profile(number=number, name=number))
