"""What operators and the verbs of the command line ask of the running service: statistics, caches, writing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from litestar import Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from actors.ports import LogError
from adapters.analysts.errors import ExtraMissing
from adapters.bot.invitations import LONGEST_HOURS, Invited
from adapters.directory.apply import ApplyRefused
from adapters.directory.file import DirectoryFileError, EnterpriseFile, read_directory_text
from adapters.http.api import Guard
from adapters.http.problems import Problem
from adapters.privacy.digests import ForgetKeyError
from adapters.privacy.forgetting import Progress
from adapters.privacy.person import ForgetRefused
from adapters.privacy.retiring import Retired


class Operated(Protocol):
    """What these routes need of the running service."""

    def statistics(self) -> dict[str, Any]:
        """Figures of the running service."""
        ...

    def cache_statistics(self) -> dict[str, Any]:
        """What is kept in memory beside the facts, with hits and misses."""
        ...

    async def reload(self) -> None:
        """Read Tokens and bots anew."""
        ...

    def number_of(self, enterprise: str) -> str | None:
        """The number of an enterprise that is named by number or name."""
        ...

    async def apply(self, files: Sequence[EnterpriseFile]) -> list[str]:
        """Apply directory files as the one writer."""
        ...

    async def invite(self, enterprise: str, hours: float) -> Invited | None:
        """A new invitation; None where nobody has heard of the enterprise."""
        ...

    async def forget(self, enterprise: str, phone: str) -> Progress:
        """Go on with forgetting whoever has this number."""
        ...

    async def retire(self, enterprise: str, days: int) -> Retired:
        """Go on with retiring what is older than so many days."""
        ...

    async def replay_parked(self) -> int:
        """Have the actors fold their parked facts once more; how many do fold now."""
        ...


class DirectoryUpload(msgspec.Struct, frozen=True):
    """A directory file as ``callfold apply`` sends it; ``folder``: where relative paths in it begin."""

    name: str
    text: str
    folder: str


class InvitationWanted(msgspec.Struct, frozen=True):
    """What ``callfold invite`` asks for: ``hours`` until it expires."""

    enterprise: str
    hours: float = 48.0


class ForgetWanted(msgspec.Struct, frozen=True):
    """Whom ``callfold forget`` asks to forget: the number as one types it."""

    enterprise: str
    phone: str


class RetireWanted(msgspec.Struct, frozen=True):
    """What ``callfold forget --older-than-days`` asks for."""

    enterprise: str
    older_than_days: int


def admin_routes(inside: Operated, guard: Guard) -> Router:
    """``/stats``, ``/cache``; of ``/api``: ``directory``, ``invitations``, ``forget``, ``retire``, ``parked``."""
    handlers = [
        *_statistics(inside, guard),
        *_caches(inside, guard),
        *_writing(inside, guard),
        *_privacy(inside, guard),
    ]
    return Router("/", route_handlers=handlers)


def _statistics(inside: Operated, guard: Guard) -> list[HTTPRouteHandler]:
    @get("/stats", guards=[guard])
    async def stats() -> dict[str, Any]:
        return inside.statistics()

    @get("/stats/cache", guards=[guard])
    async def cache() -> dict[str, Any]:
        return inside.cache_statistics()

    return [stats, cache]


def _caches(inside: Operated, guard: Guard) -> list[HTTPRouteHandler]:
    @post("/cache/refresh", guards=[guard], status_code=200)
    async def refresh() -> dict[str, str]:
        await inside.reload()
        return {"status": "refreshed"}

    @post("/cache/invalidate/{enterprise:str}", guards=[guard], status_code=200)
    async def invalidate(enterprise: FromPath[str]) -> dict[str, str]:
        number = inside.number_of(enterprise)
        if number is None:
            raise Problem(404, f"no enterprise has the number or name {enterprise}")
        await inside.reload()
        return {"status": "invalidated", "enterprise": number}

    return [refresh, invalidate]


def _writing(inside: Operated, guard: Guard) -> list[HTTPRouteHandler]:
    @post("/api/directory", guards=[guard], status_code=200)
    async def directory(data: JSONBody[DirectoryUpload]) -> dict[str, Any]:
        try:
            files = read_directory_text(data.text, data.name, Path(data.folder))
            return {"changes": await inside.apply(files)}
        except (DirectoryFileError, ApplyRefused) as error:
            raise Problem(400, str(error)) from error

    @post("/api/invitations", guards=[guard], status_code=200)
    async def invitations(data: JSONBody[InvitationWanted]) -> Invited:
        if not 0 < data.hours <= LONGEST_HOURS:
            raise Problem(400, f"hours={data.hours!r} is not allowed; above 0 and at most {LONGEST_HOURS}")
        invited = await inside.invite(data.enterprise, data.hours)
        if invited is None:
            raise Problem(404, f"there is no enterprise {data.enterprise}")
        return invited

    @post("/api/parked/replay", guards=[guard], status_code=200)
    async def replay() -> dict[str, int]:
        return {"replayed": await inside.replay_parked()}

    return [directory, invitations, replay]


def _privacy(inside: Operated, guard: Guard) -> list[HTTPRouteHandler]:
    @post("/api/forget", guards=[guard], status_code=200)
    async def forget(data: JSONBody[ForgetWanted]) -> Progress:
        try:
            return await inside.forget(data.enterprise, data.phone)
        except (ForgetRefused, ForgetKeyError, ExtraMissing) as error:
            raise Problem(409, str(error)) from error
        except LogError as error:
            raise Problem(503, str(error)) from error

    @post("/api/retire", guards=[guard], status_code=200)
    async def retire(data: JSONBody[RetireWanted]) -> Retired:
        try:
            return await inside.retire(data.enterprise, data.older_than_days)
        except (ForgetRefused, ForgetKeyError, ExtraMissing) as error:
            raise Problem(409, str(error)) from error
        except LogError as error:
            raise Problem(503, str(error)) from error

    return [forget, retire]
