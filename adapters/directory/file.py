"""The directory file (CONTRACT 5): read whole, or refused with all that is wrong in it, by line and key."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from adapters.directory import rules
from adapters.directory.bots import PREVIEW, BotSource
from adapters.directory.table import Finding, Findings, Once, Table
from adapters.directory.toml_lines import syntax_error
from calls.directory import Directory
from calls.entries import Customer, Department, FollowMe, Line, Manager, Profile, Subscriber

_BOT_KEYS: Final = ("bot_token", "bot_token_env", "bot_token_file")


class DirectoryFileError(Exception):
    """A directory file that cannot be applied: all findings, in the order of its lines."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


class EnterpriseFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says of one enterprise. Token and bot are secrets and no part of the directory."""

    directory: Directory
    token: str
    bot: BotSource

    def __repr__(self) -> str:
        return f"EnterpriseFile({self.directory.profile!r}, token='***', bot={self.bot!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("directory", self.directory.profile), ("token", "***"), ("bot", self.bot)]


def read_directory_file(path: Path) -> tuple[EnterpriseFile, ...]:
    """All enterprises of a file. Raises DirectoryFileError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _refused(path.name, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _refused(path.name, "is no UTF-8 text") from None
    return read_directory_text(text, path.name, path.parent)


def read_directory_text(text: str, name: str, folder: Path) -> tuple[EnterpriseFile, ...]:
    """All enterprises of a text of file ``name``; a bot_token_file is looked for from ``folder``."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, reason = syntax_error(error, text)
        # The reader's own error may hold the text, and with it the secrets.
        raise _refused(name, f"is no TOML: {reason}", line) from None
    findings = Findings(name, text)
    top = Table(read, (), findings)
    numbers, tokens = Once(), Once(secret=True)
    enterprises = []
    for table in top.tables("enterprise"):
        enterprise = _enterprise(table, folder)
        numbers.check(table, "number", enterprise.directory.profile.number)
        tokens.check(table, "token", enterprise.token)
        enterprises.append(enterprise)
    top.close()
    found = findings.sorted()
    if found:
        raise DirectoryFileError(found)
    if not enterprises:
        raise _refused(name, "names no [[enterprise]]", 1)
    return tuple(enterprises)


def _refused(name: str, reason: str, line: int | None = None) -> DirectoryFileError:
    return DirectoryFileError((Finding(file=name, line=line, key="", reason=reason),))


def _enterprise(table: Table, folder: Path) -> EnterpriseFile:
    """One [[enterprise]]; where something is wrong it holds defaults and is thrown away in the end."""
    token = table.take("token", rules.TOKEN, "", required=True)
    bot = _bot(table, folder)
    profile = _profile(table)
    # Managers, departments and FollowMes share the numbers that people dial inside.
    inside = Once()
    phone, optional_phone = rules.phone(profile.country), rules.no_phone_or(profile.country)
    directory = Directory(
        profile=profile,
        subscribers={str(entry.chat_id): entry for entry in _subscribers(table)},
        managers={entry.extension: entry for entry in _managers(table, inside, optional_phone)},
        lines={entry.id: entry for entry in _lines(table)},
        departments={entry.number: entry for entry in _departments(table, inside)},
        follow_mes={entry.number: entry for entry in _follow_mes(table, inside, optional_phone)},
        customers={entry.phone: entry for entry in _customers(table, phone)},
    )
    table.close()
    return EnterpriseFile(directory=directory, token=token, bot=bot)


def _profile(table: Table) -> Profile:
    return Profile(
        number=table.take("number", rules.NUMBER, "", required=True),
        name=table.take("name", rules.FULL_NAME, "", required=True),
        language=table.take("language", rules.LANGUAGE, "ru"),
        timezone=table.take("timezone", rules.TIMEZONE, "Europe/Minsk"),
        country=table.take("country", rules.COUNTRY, "BY"),
        allowed_networks=table.take("allowed_networks", rules.NETWORKS, ()),
        retention_days=table.take("retention_days", rules.RETENTION, None),
    )


def _bot(table: Table, folder: Path) -> BotSource:
    given = [key for key in _BOT_KEYS if key in table]
    token = table.take("bot_token", rules.BOT_TOKEN, "")
    variable = table.take("bot_token_env", rules.VARIABLE, "")
    file = table.take("bot_token_file", rules.FILE, "")
    if len(given) != 1:
        table.refuse(given[-1] if given else "bot_token", f"exactly one of {', '.join(_BOT_KEYS)} is needed")
    if variable:
        return BotSource("env", variable)
    if file:
        return BotSource("file", str(folder / file))
    return BotSource("preview") if token == PREVIEW else BotSource("literal", token)


def _subscribers(parent: Table) -> Iterator[Subscriber]:
    chats = Once()
    for table in parent.tables("subscriber"):
        chat_id = table.take("chat_id", rules.CHAT, 0, required=True)
        chats.check(table, "chat_id", chat_id)
        yield Subscriber(
            chat_id=chat_id,
            notify=table.take("notify", rules.NOTIFY, "edit"),
            directions=table.take("directions", rules.SIDES, ()),
            internal=table.take("internal", rules.YES_OR_NO, default=True),
            outcomes=table.take("outcomes", rules.ENDINGS, ()),
            lines=table.take("lines", rules.LINES, ()),
            people=table.take("people", rules.EXTENSIONS, ()),
            hours=table.take("hours", rules.HOURS, ""),
            silent=table.take("silent", rules.HOURS, ""),
        )
        table.close()


def _managers(parent: Table, inside: Once, mobile: rules.Rule[str]) -> Iterator[Manager]:
    for table in parent.tables("manager"):
        extension = table.take("extension", rules.EXTENSION, "", required=True)
        inside.check(table, "extension", extension)
        yield Manager(
            extension=extension,
            name=table.take("name", rules.NAME, ""),
            mobile=table.take("mobile", mobile, ""),
        )
        table.close()


def _lines(parent: Table) -> Iterator[Line]:
    lines = Once()
    for table in parent.tables("line"):
        line_id = table.take("id", rules.LINE, "", required=True)
        lines.check(table, "id", line_id)
        yield Line(
            id=line_id,
            name=table.take("name", rules.NAME, ""),
            incoming_transform=table.take("incoming_transform", rules.TRANSFORM, ""),
        )
        table.close()


def _departments(parent: Table, inside: Once) -> Iterator[Department]:
    for table in parent.tables("department"):
        number = table.take("number", rules.EXTENSION, "", required=True)
        inside.check(table, "number", number)
        yield Department(
            number=number,
            name=table.take("name", rules.NAME, ""),
            members=table.take("members", rules.EXTENSIONS, ()),
        )
        table.close()


def _follow_mes(parent: Table, inside: Once, mobile: rules.Rule[str]) -> Iterator[FollowMe]:
    for table in parent.tables("follow_me"):
        number = table.take("number", rules.EXTENSION, "", required=True)
        inside.check(table, "number", number)
        yield FollowMe(
            number=number,
            extension=table.take("extension", rules.EXTENSION, "", required=True),
            mobile=table.take("mobile", mobile, ""),
        )
        table.close()


def _customers(parent: Table, phone: rules.Rule[str]) -> Iterator[Customer]:
    phones = Once()
    for table in parent.tables("customer"):
        number = table.take("phone", phone, "", required=True)
        phones.check(table, "phone", number)
        yield Customer(
            phone=number,
            name=table.take("name", rules.NAME, ""),
            company=table.take("company", rules.NAME, ""),
        )
        table.close()
