"""Feeding a backlog into the store: what is known is recognised, what is not is stored where its log says it happened.

A fact is decided on the version of its stream that was looked at, so whatever comes at the same moment - the event
itself, live at last, or the same backlog pushed twice - is stored once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import asyncpg
import msgspec

from actors.ports import Appended, Clock, StoreUnavailable, VersionConflict
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.recovery.following import Following
from adapters.recovery.known import Key, KnownStreams, content
from adapters.recovery.lines import LONGEST_LINE, BadLine, Line, read_line
from adapters.recovery.moments import Moments
from adapters.store.errors import FactRefused, StoreError
from calls.facts import NewFact

AT_ONCE: Final = 64
"""Lines that are looked up together."""
IN_FLIGHT: Final = 12
"""Facts that wait for their commit together: below what the writer counts as pressed, or cards and rows of live calls
would give way to the backlog."""
WITHIN: Final = 20.0
"""Seconds in which a fact must be committed, or the backlog is broken off."""
MOST_TRIES: Final = 32
"""How often a fact is decided anew because its stream has moved on."""
REST: Final = 1.0
"""Seconds of rest for a second of work: live events come first."""
LONGEST_REST: Final = 0.5
MOST_BEHIND: Final = 5_000
"""Facts that the projections may be behind; a backlog that is faster waits for them."""
WAITS_FOR_THEM: Final = 1.0
"""Seconds at most for each lot of lines: projections that stand still make a backlog slow, they do not stop it."""

Status = Literal["stored", "known", "missing", "refused"]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a line. ``missing``: the host was answered 200 for it, but it is not stored, nor fed."""

    line: int
    status: Status
    position: int | None = None
    reason: str | None = None


class Summary(msgspec.Struct):
    """How many lines came to which end."""

    stored: int = 0
    known: int = 0
    missing: int = 0
    refused: int = 0

    def count(self, outcome: Outcome) -> None:
        """One more."""
        setattr(self, outcome.status, getattr(self, outcome.status) + 1)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How a backlog is to be fed.

    ``enterprise``: all of it is of this one; None: of whom the Token in each body names. ``timezone`` of times without
    one, None: the enterprise's. ``everything``: what was answered is fed too. ``file`` and ``request`` go into the
    facts' meta.
    """

    enterprise: str | None = None
    timezone: str | None = None
    everything: bool = False
    dry: bool = False
    file: str = ""
    request: str = ""
    sender: str = ""


class Appends(Protocol):
    """The event store, as far as a backlog needs it."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """Store one fact and return once it is committed."""
        ...


class Rejects(Protocol):
    """Where refused lines are kept."""

    def keep(
        self, path: str, status: int, reason: str, enterprise: str | None, sender: str, body: bytes
    ) -> None:
        """Keep one; never waits."""
        ...

    async def flush(self) -> None:
        """Returns when everything kept so far is written, or was given up."""
        ...


class Suppresses(Protocol):
    """Knows who was forgotten (adapters.privacy.suppression)."""

    async def refresh(self) -> None:
        """See who was forgotten since."""
        ...

    def suppressed(self, body: bytes, enterprise: str, at: datetime | None = None) -> bytes:
        """A body of an event that occurred then as it is to be stored; ``at`` None: whenever it was."""
        ...


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What feeding needs.

    ``enterprise_of``: a Token to the number, None for nobody's. ``zone_of``: a number to its time zone. ``behind``: how
    far the projections are behind a position. ``rests``: others are to have their turn. ``forgotten``: of whom nothing
    may come back. ``lot``: whoever feeds, one lot of lines at a time.
    """

    facts: Appends
    pool: asyncpg.Pool
    rejects: Rejects
    clock: Clock
    enterprise_of: Callable[[str], str | None]
    zone_of: Callable[[str], str]
    behind: Callable[[int], int] = lambda _: 0
    rests: bool = True
    forgotten: Suppresses
    lot: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    def begin(self, wanted: Wanted) -> "Feeding":
        """Feed one backlog."""
        return Feeding(self, wanted)


class _Due(msgspec.Struct):
    """A line that is read: whose, of which stream, and when it occurred."""

    number: int
    line: Line
    key: Key
    digest: bytes
    fact: NewFact
    other: bytes | None = None
    """Digest of the line with a number that was forgotten since, or without it."""


class Feeding:
    """One backlog, fed lot by lot in its order."""

    def __init__(self, recovery: Recovery, wanted: Wanted) -> None:
        self._recovery, self._wanted = recovery, wanted
        self._known = KnownStreams(recovery.pool)
        self._following = Following()
        zone = wanted.timezone
        self._moments = Moments((lambda _: zone) if zone else recovery.zone_of, recovery.clock.now)
        self.summary = Summary()

    async def take(self, lines: Sequence[tuple[int, bytes | None]], told: list[Outcome]) -> None:
        """Feed (number, line), at most AT_ONCE of them; what becomes of each is put into ``told``.

        Raises LogError where the store does not do its part: of the lines that nothing was told of nobody knows whether
        they are stored. Fed again, they are known.
        """
        now: list[Outcome] = []
        try:
            async with self._recovery.lot:
                loop = asyncio.get_running_loop()
                begun = loop.time()
                await self._take(lines, now)
                if self._recovery.rests and not self._wanted.dry:
                    await asyncio.sleep(min((loop.time() - begun) * REST, LONGEST_REST))
        finally:
            for outcome in sorted(now, key=lambda outcome: outcome.line):
                told.append(outcome)
                self.summary.count(outcome)
        if any(outcome.status == "refused" for outcome in now) and not self._wanted.dry:
            await self._recovery.rejects.flush()
        await self._let_follow(max((outcome.position or 0 for outcome in now), default=0))

    async def _let_follow(self, position: int) -> None:
        """Wait a little for projections that are far behind."""
        loop = asyncio.get_running_loop()
        end = loop.time() + WAITS_FOR_THEM
        while self._recovery.behind(position) > MOST_BEHIND and loop.time() < end:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)

    async def _take(self, lines: Sequence[tuple[int, bytes | None]], told: list[Outcome]) -> None:
        await self._recovery.forgotten.refresh()
        due = [one for number, raw in lines if (one := self._read(number, raw, told)) is not None]
        await self._known.look_up([one.key for one in due])
        fresh: list[_Due] = []
        for one in due:
            if (outcome := self._recognised(one)) is not None:
                told.append(outcome)
            else:
                fresh.append(one)
        await self._place(fresh)
        for begin in range(0, len(fresh), IN_FLIGHT):
            await self._store(fresh[begin : begin + IN_FLIGHT], told)

    # reading

    def _read(self, number: int, raw: bytes | None, told: list[Outcome]) -> _Due | None:
        if raw is None or len(raw) > LONGEST_LINE:
            told.append(self._refused(number, f"longer than {LONGEST_LINE} bytes", None, raw or b""))
            return None
        try:
            line = read_line(raw)
            enterprise = self._enterprise(line)
        except BadLine as error:
            told.append(self._refused(number, error.reason, None, raw))
            return None
        at = self._moments.of(enterprise, line)
        body = self._recovery.forgotten.suppressed(line.body, enterprise, at)
        fact = NewFact(
            enterprise=enterprise,
            stream=line.stream,
            kind=line.kind,
            source="recovery",
            occurred_at=at,
            body=body,
            meta=self._meta(number),
        )
        suppressed = self._recovery.forgotten.suppressed(line.body, enterprise)
        other = line.body if body is not line.body else suppressed
        return _Due(
            number,
            line,
            (enterprise, line.stream),
            content(line.kind, body),
            fact,
            None if other == body else content(line.kind, other),
        )

    def _enterprise(self, line: Line) -> str:
        """Whose event it is. A Token that was replaced since says nothing against who is named for all lines."""
        token, wanted = line.event.token.strip(), self._wanted.enterprise
        named = self._recovery.enterprise_of(token) if token else None
        if wanted is not None:
            if named not in {None, wanted}:
                raise BadLine("the Token in the body is of another enterprise")
            return wanted
        if named is None:
            raise BadLine("the Token in the body is of no enterprise" if token else "Token is missing")
        return named

    def _meta(self, number: int) -> bytes:
        meta: dict[str, str | int] = {"file": self._wanted.file, "line": number}
        if self._wanted.request:
            meta["request_id"] = self._wanted.request
        return msgspec.json.encode(meta)

    def _refused(self, number: int, reason: str, enterprise: str | None, raw: bytes) -> Outcome:
        if not self._wanted.dry:
            owner = enterprise or self._wanted.enterprise
            kept = self._recovery.forgotten.suppressed(raw, owner) if owner else raw
            self._recovery.rejects.keep("recover", 400, reason, owner, self._wanted.sender, kept)
        return Outcome(number, "refused", reason=reason)

    # recognising and storing

    def _recognised(self, one: _Due) -> Outcome | None:
        """What needs no storing; None for what does."""
        stream = self._known[one.key]
        one.fact = msgspec.structs.replace(one.fact, occurred_at=stream.occurred(one.fact.occurred_at))
        return self._matched(one)

    def _matched(self, one: _Due) -> Outcome | None:
        answered = one.line.answered and not self._wanted.everything
        stream = self._known[one.key]
        position = stream.match(one.digest, answered=answered)
        if position is None and one.other is not None:
            position = stream.match(one.other, answered=answered)
        if position is not None:
            return Outcome(one.number, "known", position)
        archived = self._known.archived(one.key, one.fact.occurred_at)
        if archived is not None:
            reason = f"{archived}: `callfold archive --restore` brings that back first"
            return self._refused(one.number, reason, one.key[0], one.line.body)
        if answered:
            return Outcome(one.number, "missing")
        return Outcome(one.number, "stored") if self._wanted.dry else None

    async def _place(self, fresh: list[_Due]) -> None:
        """Decide where among its enterprise's facts each one belongs. Raises StoreError."""
        of: dict[str, list[_Due]] = {}
        for one in fresh:
            of.setdefault(one.key[0], []).append(one)
        try:
            async with self._recovery.pool.acquire(timeout=10) as connection:
                for enterprise, mine in of.items():
                    times = [one.fact.occurred_at for one in mine]
                    found = await self._following.of(connection, enterprise, times)
                    for one, follows in zip(mine, found, strict=True):
                        one.fact = msgspec.structs.replace(one.fact, follows=follows)
        except SERVER_TROUBLE as error:
            raise StoreError(f"what is stored cannot be read: {error}") from error

    async def _store(self, fresh: list[_Due], told: list[Outcome]) -> None:
        """Store facts at once, each decided on the one before it in its stream; they are committed in their order."""
        ahead: Counter[Key] = Counter()
        tasks = []
        for one in fresh:
            tasks.append(
                asyncio.create_task(self._append(one, self._known[one.key].version + ahead[one.key]))
            )
            ahead[one.key] += 1
        overtaken: list[_Due] = []
        failed: BaseException | None = None
        for one, result in zip(fresh, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            match result:
                case Outcome():
                    told.append(result)
                case VersionConflict():
                    overtaken.append(one)
                case BaseException():
                    failed = failed or result
        if failed is not None:
            raise failed
        for one in overtaken:
            told.append(await self._decide_anew(one))  # noqa: PERF401 - told, whatever becomes of the next

    async def _append(self, one: _Due, version: int) -> Outcome:
        decided = msgspec.structs.replace(one.fact, expected_version=version)
        try:
            place = await self._recovery.facts.append(decided, within=WITHIN)
        except FactRefused as error:
            return self._refused(one.number, error.reason, one.key[0], one.line.body)
        self._known[one.key].stored(place.position, place.version)
        return Outcome(one.number, "stored", place.position)

    async def _decide_anew(self, one: _Due) -> Outcome:
        """Its stream has moved on: what came there may be this very event."""
        for _ in range(MOST_TRIES):
            await self._known.refresh([one.key])
            if (outcome := self._matched(one)) is not None:
                return outcome
            try:
                return await self._append(one, self._known[one.key].version)
            except VersionConflict:
                continue
        raise StoreUnavailable(f"{one.fact.stream} is too busy")
