"""The composition root: builds everything from settings, in dependency order, each part closed by ``async with``."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from random import SystemRandom
from typing import Any

import asyncpg
import httpx
import structlog
from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from actors.enterprise import Patience
from actors.house import PLACE, House
from actors.ports import LogError
from adapters.bot.buttons import Buttons
from adapters.bot.callbacks import CallBacks
from adapters.bot.desk import Desk
from adapters.bot.invitations import Invitations, Invited, invite
from adapters.bot.listening import Listening, NotListeningError
from adapters.bot.lists import Lists
from adapters.bot.ports import NobodyDials
from adapters.bots import Bots
from adapters.clock import SystemClock
from adapters.directory.apply import apply_files, fold_directories, read_secrets, readable
from adapters.directory.file import EnterpriseFile
from adapters.directory.subscribers import Subscribers
from adapters.http.admin import admin_routes
from adapters.http.admin_token import admin_token
from adapters.http.api import api_routes, bearer_guard, health_routes, metrics_route
from adapters.http.call_page import call_page_route
from adapters.http.front import Front, litestar_app
from adapters.http.gate import Gate
from adapters.http.ingest import Ingest
from adapters.http.pages import login_routes, page_guard
from adapters.http.recordings import Recordings, address
from adapters.http.recover import Recover
from adapters.http.rejects import RejectedBodies
from adapters.http.sessions import Sessions
from adapters.http.telegram_webhook import webhook_route
from adapters.opening import open_store
from adapters.postgres.database import Database
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.preview.botapi import PreviewBotApi
from adapters.preview.page import preview_routes
from adapters.preview.store import PreviewStore
from adapters.privacy.forgetting import Forgetting, Progress
from adapters.privacy.nights import Nights
from adapters.privacy.retiring import Retired, Retiring
from adapters.privacy.suppression import Suppression
from adapters.recordings.files import RecordingFiles
from adapters.recordings.register import Register
from adapters.recovery.feed import Recovery
from adapters.secret import Secret
from adapters.settings import Settings
from adapters.store.history import read_histories
from adapters.store.horizon import Watch
from adapters.store.log import EventStore
from adapters.store.tables import CallTables
from adapters.store.writer import Writer
from adapters.telegram.clients import Clients
from adapters.telegram.limits import LONGEST_WINDOW
from adapters.telegram.outbox import Outbox
from adapters.telegram.past import Past
from adapters.telegram.updates import Update
from adapters.turns import Turns
from calls.call import Call
from calls.cards import render
from calls.directory import Directory
from calls.entries import Profile
from calls.facts import NEWEST, Fact
from calls.numbers import numbers_kept
from calls.spellings import forget_kept
from otel.metrics import Metrics
from otel.tracing import Tracing, set_up_tracing
from projections.live import PLACE as PROJECTION
from projections.live import LiveCalls
from projections.ports import Checkpoint

PARKED = "SELECT place, facts.enterprise, stream, occurred_at FROM parked JOIN facts USING (position)"

log = structlog.get_logger(__name__)


class Service:
    """Everything that runs, and what the API asks of it (adapters.http.api.Inside)."""

    def __init__(self, settings: Settings, database: Database, pool: asyncpg.Pool, tracing: Tracing) -> None:
        self.settings, self.database, self.pool, self.tracing = settings, database, pool, tracing
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.instance = secrets.token_hex(4)
        self.begun_at = datetime.now(UTC)
        self._ids = itertools.count(1)
        self.gate = Gate()
        token = admin_token(settings)
        self.sessions = Sessions(token)
        self.buttons = Buttons(Secret(token), self._page_base)
        self.rejects = RejectedBodies(pool, self.clock)
        self.writer = Writer(
            database,
            self.clock,
            self.metrics,
            committed=self._committed,
            role_changed=self._role_changed,
            instance=self.instance,
            url=settings.base_url,
        )
        self.store = EventStore(pool, self.writer)
        turns = Turns(lambda: self.writer.pressure)
        self.subscribers = Subscribers(self.store, self.clock)
        self.past = Past(lambda calls: read_histories(pool, calls), self._past_known)
        self.outbox = Outbox(
            self.store,
            self._render,
            now=self.clock.now,
            new_id=lambda: secrets.token_hex(8),
            chance=SystemRandom().random,
            monotonic=self.clock.monotonic,
            observe=self._observe_telegram,
            tracing=tracing,
            recipients=self.subscribers,
            histories=self.past,
            markup=self.buttons.of_card,
        )
        self.house = House(
            self.store,
            self.outbox,
            self.clock,
            tracing=tracing,
            metrics=self.metrics,
            patience=Patience(settle=settings.call_settle, silence=settings.call_silence),
            give_way=turns.give_way,
        )
        self.projecting = asyncio.Event()
        """Set while this instance leads and has taken up its calls: two folds at once would make the start longer."""
        tables = CallTables(pool)
        self.live = LiveCalls(
            tables,
            tables,
            metrics=self.metrics,
            now=self.clock.now,
            moved=self._projected,
            allowed=self.projecting,
            give_way=turns.give_way,
        )
        self.ingest = Ingest(
            self.store,
            self.gate,
            self.rejects,
            self.clock,
            tracing=tracing,
            metrics=self.metrics,
            new_id=self.new_id,
            leader=self.house.leader,
        )
        files = RecordingFiles(settings.data_dir / "recordings")
        self.register = Register(pool, self.store, files, self.clock)
        self.recordings = Recordings(
            self.register, self.gate, self.rejects, leading=self.writer.leading.is_set
        )
        self.recovery = Recovery(
            facts=self.store,
            pool=pool,
            rejects=self.rejects,
            clock=self.clock,
            enterprise_of=self.gate.enterprise,
            zone_of=lambda enterprise: self.directory(enterprise).profile.timezone,
            behind=lambda position: position - self.house.projected,
            forgotten=Suppression(pool, settings.data_dir),
        )
        self.recover = Recover(
            self.recovery,
            self.gate,
            self.sessions,
            leading=self.writer.leading.is_set,
            known=lambda enterprise: enterprise in self.house.enterprises,
        )
        self.horizon = Watch(pool)
        self.forgetting = Forgetting(
            database=database,
            facts=self.store,
            clock=self.clock,
            data_dir=settings.data_dir,
            folded=self._fold_forgotten,
            rest=turns.give_way,
        )
        self.retiring = Retiring(
            self.forgetting,
            database=database,
            facts=self.store,
            clock=self.clock,
            data_dir=settings.data_dir,
            folded=self._fold_retired,
            rest=turns.give_way,
        )
        self.nights = Nights(pool, self.retire, self._retained, self.clock)
        self.invitations = Invitations(pool)
        self.desk = Desk(
            directory=self.directory,
            turns=self.outbox,
            subscribers=self.subscribers,
            invitations=self.invitations,
            lists=Lists(pool),
            call_backs=CallBacks(pool, self.store, self.buttons, NobodyDials(), self.clock.now),
            now=self.clock.now,
            monotonic=self.clock.monotonic,
        )
        self.listening = Listening(
            self.desk.handle,
            webhook=settings.telegram_webhook,
            secret=self.sessions.webhook_secret,
            language=lambda enterprise: self.directory(enterprise).profile.language,
            chance=SystemRandom().random,
            monotonic=self.clock.monotonic,
        )
        self.preview_store = PreviewStore(pool, self.clock.now)
        self.preview = PreviewBotApi(self.preview_store, Secret(secrets.token_urlsafe(32)))
        self.bots: Bots
        self.led = False
        """True once this process has held the writer's lock."""
        self._leads_again = asyncio.Event()

    def open_bots(self, mouths: Clients, inside: httpx.AsyncClient, ears: Clients) -> None:
        """Bots speak and listen through these clients; called once, before anything is shown."""
        api = self.settings.telegram_api
        self.bots = Bots(self.outbox, self.preview, api, mouths, inside, self.listening, ears)

    def _page_base(self, enterprise: str) -> str:
        """Where readers of an enterprise's messages are signed in: those of the preview, at this machine."""
        return self.settings.base_url if self.bots.previewed(enterprise) else ""

    def _recording_base(self, enterprise: str) -> str:
        """Where readers of an enterprise's messages reach recordings, for which nobody signs in."""
        return self.settings.public_url or self._page_base(enterprise)

    # what the parts tell each other

    def _committed(self, facts: list[Fact]) -> None:
        self.house.offer(facts)
        self.live.nudge()

    def _role_changed(self, leading: bool) -> None:
        if leading and self.led:
            self.house.catch_up(self.writer.head)
        if leading and self.house.recovered.is_set():
            self._leads_again.set()
        if not leading:
            self.projecting.clear()
            self.outbox.pause()
            self.listening.pause()

    def _act(self) -> None:
        """What only the instance that leads does, once every unsettled call is back."""
        self.projecting.set()
        self.outbox.resume()
        self.listening.resume()

    def _render(self, call: Call, directory: Directory) -> str:
        base = self._recording_base(call.enterprise)
        return render(call, directory, partial(address, base)) if base else render(call, directory)

    def _projected(self, checkpoint: Checkpoint) -> None:
        self.house.projected = checkpoint.position

    def _past_known(self, call: Call) -> None:
        self.outbox.refresh(call)

    def _observe_telegram(self, method: str, outcome: str, seconds: float) -> None:
        self.metrics.telegram_requests.labels(method=method, outcome=outcome).inc()
        self.metrics.telegram_seconds.labels(method=method).observe(seconds)

    def new_id(self) -> str:
        """An id for a request that brought none."""
        return f"{self.instance}-{next(self._ids):x}"

    async def begin(self) -> None:
        """Take up what the store holds, once this process leads: Tokens, bots, every unsettled call."""
        self.led = True
        while not self.house.recovered.is_set():
            await self.writer.leading.wait()
            led_at = asyncio.get_running_loop().time()
            try:
                await self._tidy()
                await self.reload()
                asked = await self.store.recent_requests(LONGEST_WINDOW)
                await self.house.recover(self.writer.head)
                ago = asyncio.get_running_loop().time() - led_at
                await self.outbox.remember(asked.requests, ago, asked.pauses)
            except (LogError, *SERVER_TROUBLE, asyncpg.PostgresError) as error:
                log.warning("taking up the calls begins anew", reason=str(error))
                await asyncio.sleep(0.25)  # between two tries of a store that does not answer
        if self.writer.leading.is_set():
            self._act()

    async def lead_again(self) -> None:
        """Go on whenever this process leads again after another has; until it is cancelled."""
        while True:
            await self._leads_again.wait()
            self._leads_again.clear()
            led_at = asyncio.get_running_loop().time()
            try:
                asked = await self.store.recent_requests(LONGEST_WINDOW)
            except (LogError, *SERVER_TROUBLE, asyncpg.PostgresError) as error:
                log.warning("leading again begins anew", reason=str(error))
                self._leads_again.set()
                await asyncio.sleep(0.25)  # between two tries of a store that does not answer
                continue
            ago = asyncio.get_running_loop().time() - led_at
            await self.outbox.remember(asked.requests, ago, asked.pauses)
            if self.writer.leading.is_set():
                self._act()

    async def _tidy(self) -> None:
        """Remove what uploads have left that a crash has cut off; before the Tokens are known, so before any other."""
        try:
            await self.register.tidy()
        except OSError as error:
            log.warning("what is left of recordings cannot be removed", reason=str(error))

    async def reload(self) -> None:
        """Read Tokens and bots anew."""
        entries = await read_secrets(self.pool)
        self.bots.replace(entries)
        directories = fold_directories(readable(await self.store.read_directories(NEWEST)))
        networks = {number: known.profile.allowed_networks for number, known in directories.items()}
        self.gate.replace({entry.token: number for number, entry in entries.items()}, networks)

    # what the API asks

    def previews(self) -> tuple[str, ...]:
        """Numbers of the enterprises whose bot is the preview."""
        return tuple(number for number in sorted(self.house.enterprises) if self.bots.previewed(number))

    async def hear(self, enterprise: str, update: Update) -> bool:
        """Let the preview's bot of an enterprise hear something. False where nobody listens right now."""
        bot = self.bots.bot(enterprise)
        try:
            await self.listening.take(bot.key if bot else "", update)
        except NotListeningError:
            return False
        return True

    def told(self, query_id: str) -> str:
        """What a press in the preview was told."""
        return self.preview.told(query_id)

    def directory(self, enterprise: str) -> Directory:
        """The directory of an enterprise as it is now."""
        found = self.house.enterprises.get(enterprise)
        return found.directory if found else Directory.empty(enterprise)

    def recording_address(self, recording: str) -> str:
        """Where a recording can be opened: by everybody, if it was said how; else on this machine."""
        return address(self.settings.public_url or self.settings.base_url, recording)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready means: this instance writes, and every unsettled call is back."""
        if not self.writer.leading.is_set():
            waiting = "standby" if self.writer.stands_by else "taking the writer's lock"
            return False, {"status": waiting}
        if not self.house.recovered.is_set():
            return False, {"status": "recovering calls"}
        return True, {"status": "ready"}

    def statistics(self) -> dict[str, Any]:
        """Figures of the running service."""
        houses = self.house.enterprises.values()
        return {
            "instance": self.instance,
            "role": "leader" if self.writer.leading.is_set() else "standby",
            "begun_at": self.begun_at.isoformat(),
            "routed_position": self.house.position,
            "projected_position": self.house.projected,
            "actors": sum(len(enterprise.actors) for enterprise in houses),
            "open_calls": sum(
                1
                for enterprise in houses
                for actor in enterprise.actors.values()
                if actor.call is not None and not actor.call.settled
            ),
            "cards_pending": self.outbox.pending,
            "bots_off": sorted(number for number in self.house.enterprises if self.outbox.bot_off(number)),
            "bots": self.listening.states,
            "rejected_dropped": self.rejects.dropped,
            "unknown_kinds": self.live.unknown.told(),
            "horizon_behind_s": round(self.horizon.last.behind, 3),
            "horizon_held_by": [{"says": one.says, "do": one.do} for one in self.horizon.last.holders],
        }

    def cache_statistics(self) -> dict[str, Any]:
        """What is kept in memory beside the facts, with hits and misses."""
        return {
            "tokens": self.gate.size,
            "directories": len(self.house.enterprises),
            **{name: info._asdict() for name, info in numbers_kept().items()},
        }

    def number_of(self, enterprise: str) -> str | None:
        """The number of an enterprise that is named by number or name."""
        profiles = [known.directory.profile for known in self.house.enterprises.values()]
        return next((told.number for told in profiles if enterprise in {told.number, told.name}), None)

    def exposition(self) -> tuple[bytes, str]:
        """What /metrics answers."""
        self.ingest.count()
        self.metrics.actors_alive.set(sum(len(one.actors) for one in self.house.enterprises.values()))
        self.metrics.telegram_pending.set(self.outbox.pending)
        self.metrics.facts_pending.set(self.writer.waiting)
        self.metrics.horizon_behind.set(self.horizon.last.behind)
        self.metrics.oldest_transaction.set(self.horizon.last.oldest)
        self.metrics.projection_lag_events.labels(projection="calls").set(
            max(self.house.position - self.house.projected, 0)
        )
        return self.metrics.render()

    async def apply(self, files: Sequence[EnterpriseFile]) -> list[str]:
        """Apply directory files, then let Tokens and bots follow."""
        said = await apply_files(self.store, self.pool, self.clock, files)
        await self.reload()
        return said

    async def invite(self, enterprise: str, hours: float) -> Invited | None:
        """A new invitation; None where nobody has heard of the enterprise."""
        entries = await read_secrets(self.pool)
        if enterprise not in entries:
            return None
        bot = None if self.bots.previewed(enterprise) else self.bots.bot(enterprise)
        preview = self.bots.previewed(enterprise)
        return await invite(self.invitations, enterprise, hours, self.clock.now(), bot, preview=preview)

    async def forget(self, enterprise: str, phone: str) -> Progress:
        """Go on with forgetting whoever has this number."""
        await self.rejects.flush()
        return await self.forgetting.step(enterprise, phone)

    async def _fold_forgotten(self, enterprise: str, since: datetime) -> None:
        """Rows, calls, directory and histories of an enterprise, as the rewritten facts tell them."""
        await self.live.fold_anew({enterprise: since})
        self.past.forget(enterprise)
        forget_kept()
        await self.house.renew(enterprise)

    async def retire(self, enterprise: str, days: int) -> Retired:
        """Go on with retiring what is older than so many days."""
        return await self.retiring.step(enterprise, days)

    def _retained(self) -> dict[str, Profile]:
        """Of whom this instance retires what is old: of nobody, unless it leads."""
        if not self.projecting.is_set():
            return {}
        return {number: known.directory.profile for number, known in self.house.enterprises.items()}

    async def _fold_retired(self, enterprise: str, since: datetime | None) -> None:
        """What is in memory of the past, as the rewritten facts and rows tell it."""
        if since is not None:
            await self.live.fold_anew({enterprise: since})
        self.past.forget(enterprise)
        forget_kept()

    async def replay_parked(self) -> int:
        """Have actors and projections fold their parked facts once more; how many do fold now."""
        begun = await self.pool.fetchval("SELECT clock_timestamp()")
        rows = await self.pool.fetch(PARKED)
        since: dict[str, datetime] = {}
        for row in rows:
            if row["place"] == PROJECTION:
                at = row["occurred_at"]
                since[row["enterprise"]] = min(at, since.get(row["enterprise"], at))
        await self.live.fold_anew(since)
        await self.house.replay([(row["enterprise"], row["stream"]) for row in rows if row["place"] == PLACE])
        # What failed again was parked again, after ``begun``.
        folded = await self.pool.fetch("DELETE FROM parked WHERE parked_at < $1 RETURNING position", begun)
        return len(folded)

    def metrics_application(self) -> Litestar:
        """``/metrics`` alone, for an address of its own."""
        return Litestar([metrics_route(self.exposition)], openapi_config=None, logging_config=None)

    def application(self) -> Front:
        """The ASGI application."""
        guard = bearer_guard(self.sessions)
        routes: list[ControllerRouterHandler] = [
            api_routes(self, guard),
            admin_routes(self, guard),
            health_routes(self),
            *([metrics_route(self.exposition)] if self.settings.metrics_bind is None else []),
            login_routes(self.sessions),
            webhook_route(self.listening),
            Router(
                "/",
                route_handlers=[
                    preview_routes(self.preview_store, self, monotonic=self.clock.monotonic),
                    call_page_route(self),
                ],
                guards=[page_guard(self.sessions)],
                include_in_schema=False,
            ),
        ]
        rest = litestar_app(routes, version("callfold"))
        return Front(self.ingest, self.recordings, self.recover, rest, self.new_id)


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """A service whose parts are built but not yet running."""
    async with AsyncExitStack() as stack:
        tracing = await stack.enter_async_context(set_up_tracing(settings.otel))
        database, pool = await stack.enter_async_context(open_store(settings))
        service = Service(settings, database, pool, tracing)
        mouths = await stack.enter_async_context(Clients.for_cards())
        ears = await stack.enter_async_context(Clients.for_listening())
        service.open_bots(mouths, await stack.enter_async_context(service.preview.client()), ears)
        yield service
