"""The outbox: brings what each chat shows to what it should show (DESIGN: effects are a difference).

One task a chat that has something waiting, so no chat waits for another; within a chat one request at a time,
so the result of one is known before the next is decided. While a request waits for its turn, newer states
replace the older ones: at most one is pending for each call and chat.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Self

from actors.ports import StoreUnavailable
from adapters.telegram.api import BotApi
from adapters.telegram.breaker import PAUSE, Breaker, Passage
from adapters.telegram.courier import Courier, Log, Observe, Verdict
from adapters.telegram.errors import (
    ChatMigrated,
    RecipientGone,
    ServerError,
    TelegramError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from adapters.telegram.ledger import Ledger
from adapters.telegram.limits import Backoff, Budget, Rates
from adapters.telegram.past import Histories, NoHistories
from adapters.telegram.plans import MarkupOf, Plans, Step
from adapters.telegram.posts import Edit, Withdraw
from adapters.telegram.queues import Card, ChatQueue, Key, Render
from adapters.telegram.recipients import Recipients
from adapters.telegram.refusal import KNOCK, outlast
from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from otel.tracing import SpanRef, Tracing

_logger: Final = logging.getLogger(__name__)


FOLLOWS_WITHIN: Final = 10.0
"""Seconds in which those who show calls are expected to know of a directory fact that is stored."""


WORTH_A_FACT: Final = 2.0
"""Seconds that a pause has to last to be stored: no start is quicker."""


class Outbox(AbstractAsyncContextManager["Outbox", None]):
    """Shows calls in the chats of their enterprise's subscribers (``actors.ports.Cards``).

    It begins paused: only the instance that leads may ``resume`` it. Leaving the ``async with`` lets requests
    in flight finish and be recorded, for ``drain`` seconds at the most; the log has to outlive it.
    """

    def __init__(
        self,
        log: Log,
        render: Render,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        chance: Callable[[], float],
        monotonic: Callable[[], float],
        bots: Mapping[str, BotApi] | None = None,
        rates: Rates | None = None,
        backoff: Backoff | None = None,
        pause: Backoff = PAUSE,
        knock: Backoff = KNOCK,
        recipients: Recipients | None = None,
        drain: float = 20.0,
        observe: Observe = lambda _method, _outcome, _seconds: None,
        tracing: Tracing | None = None,
        histories: Histories | None = None,
        markup: MarkupOf = lambda _call, _directory, _chat_id: None,
    ) -> None:
        self._courier = Courier(
            log, now=now, new_id=new_id, monotonic=monotonic, observe=observe, tracing=tracing or Tracing()
        )
        self._ledger = Ledger(log, now)
        self._now = now
        self._render = render
        self._histories = histories or NoHistories()
        self._plans = Plans(now, markup)
        self._chance = chance
        self._bots = dict(bots or {})
        self._awaited: set[str] = set()
        """Enterprises whose bot cannot speak."""
        self._rates = rates or Rates()
        self._backoff = backoff or Backoff()
        self._pause = pause
        self._knock = knock
        self._recipients = recipients
        self._parting: dict[tuple[str, int], asyncio.Event] = {}
        """Chats that are no more: asked nothing before the directory knows, which the event says."""
        self._tellers: set[asyncio.Task[None]] = set()
        self._drain = drain
        self._budgets: dict[str, Budget] = {}
        self._breakers: dict[str, Breaker] = {}
        self._off: dict[str, asyncio.Task[None]] = {}
        """Bots that were refused, by their keys, and who finds out when they are taken again."""
        self._cards: dict[Key, Card] = {}
        self._queues: dict[tuple[str, int], ChatQueue] = {}
        self._in_flight: Counter[Key] = Counter()
        self._paused = True
        self._closing = False
        self._group: asyncio.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        group, self._group, self._closing = self._group, None, True
        try:
            await self._drained()
        finally:
            if group is not None:
                await group.__aexit__(kind, error, traceback)

    def show(
        self,
        call: Call,
        directory: Directory,
        posts: Mapping[int, tuple[Post, ...]],
        context: SpanRef | None = None,
    ) -> None:
        """Let every subscriber's chat show this state of the call; returns at once.

        ``posts``: by chat the conversation's known messages. Where two conversations proved to be one, the
        message sent first lives on and the others are taken back. ``context``: span of the change.
        """
        key = (call.enterprise, call.call_id)
        card = self._cards.get(key)
        if card is None:
            card = self._cards[key] = Card(key, call, directory, self._render, self._histories.line)
        self._histories.want(call)
        chats = card.chats
        new = card.renew(call, directory, posts, context)
        if new:
            card.changed_at = asyncio.get_running_loop().time()
        for chat_id in card.chats:
            if new or chat_id in card.open:
                card.open.add(chat_id)
                queue = self._queue(call.enterprise, chat_id)
                queue.put(card)
                self._wake(queue)
        if self._parting:
            self._let_part(directory)
        if chats is not card.chats:
            for chat_id in card.open.difference(card.chats):
                self._leave(card, chat_id)

    def refresh(self, call: Call) -> None:
        """Its history is known now: told with the next state, at once where the call was over when first shown."""
        card = self._cards.get((call.enterprise, call.call_id))
        if card is None or (card.call.phase == "ended" and card.revision > 1):
            return
        card.retell()
        if card.call.phase == "ended":
            for chat_id in card.chats:
                card.open.add(chat_id)
                queue = self._queue(call.enterprise, chat_id)
                queue.put(card)
                self._wake(queue)

    def drop(self, enterprise: str, call_id: str) -> None:
        """Forget what is pending for a call; what is in flight is still recorded."""
        card = self._cards.pop((enterprise, call_id), None)
        if card is not None:
            for chat_id in tuple(card.open):
                self._leave(card, chat_id)

    def idle(self, enterprise: str, call_id: str) -> bool:
        """True when every chat shows the newest state of the call, or was given up."""
        key = (enterprise, call_id)
        if key in self._in_flight:
            return False
        card = self._cards.get(key)
        return card is None or not card.open or not (enterprise in self._bots or enterprise in self._awaited)

    def pause(self) -> None:
        """Send nothing new; what is pending is kept."""
        self._paused = True
        for key in tuple(self._off):
            self._retry(key)

    def resume(self) -> None:
        """Send what is pending and what will be shown."""
        self._paused = False
        self._wake_all()

    def set_bot(self, enterprise: str, bot: BotApi | None, *, awaited: bool = False) -> None:
        """From now on this bot speaks for the enterprise (None: nobody); one that was off is tried anew.

        ``awaited``: it has one that cannot speak just now, so its calls wait as for one that Telegram refuses.
        """
        self._awaited.discard(enterprise)
        if bot is None:
            self._bots.pop(enterprise, None)
            if awaited:
                self._awaited.add(enterprise)
        else:
            self._bots[enterprise] = bot
            self._retry(bot.key)
        accounts = {known.account for known in self._bots.values()}
        if not self._awaited:  # whose bot cannot speak just now has one that was asked of lately
            self._budgets = {key: budget for key, budget in self._budgets.items() if key in accounts}
        spoken = {known.key for known in self._bots.values()}
        for key in self._breakers.keys() - spoken:
            self._breakers.pop(key).close()
        for key in self._off.keys() - spoken:
            self._retry(key)
        self._wake_all()

    async def turn(self, enterprise: str, chat_id: int, line: str = "") -> BotApi | None:
        """Wait until a request to this chat may go out that is no card; the bot, None where nobody may speak now.

        What counts for longer than a start takes is a fact: in a group, and a ``line`` that is said once an hour.
        """
        queue = ChatQueue(enterprise, chat_id)
        bot = self._bot(queue)
        if bot is None or self._breaker(enterprise, bot).open:
            return None
        budget = self._budget(bot)
        await budget.turn(chat_id)
        if chat_id < 0 or line:
            await self._ledger.asked(enterprise, chat_id, line)
        return bot.paced(budget.go) if bot is self._bot(queue) else None

    def told(self, enterprise: str, chat_id: int, error: TelegramError | None) -> None:
        """What became of a request that had its ``turn``, None for well: the cards heed it as if it were theirs."""
        bot = self._bots.get(enterprise)
        if bot is None:
            return
        Passage(self._breaker(enterprise, bot), chat_id, tries=False).told(error)
        match error:
            case TooManyRequests(retry_after=seconds):
                self._limited(enterprise, bot, chat_id, seconds)
            case Unreachable() | ServerError():
                self._budget(bot).hold(chat_id, self._backoff.after(1, self._chance()))
            case Unauthorized():
                self._refused(enterprise, bot)

    async def said(self, enterprise: str, chat_id: int, line: str, within: timedelta) -> list[timedelta]:
        """How long ago each time was that a chat was told this ``line`` within that time, by whatever instance."""
        return await self._ledger.said(enterprise, chat_id, line, within)

    async def remember(
        self,
        requests: Mapping[tuple[str, int], Sequence[float]],
        ago: float,
        pauses: Mapping[tuple[str, int], tuple[float, float]] = MappingProxyType({}),
    ) -> None:
        """Know of the requests of an instance that was here before, which ended at most ``ago`` seconds ago.

        ``requests``: by (enterprise, chat_id) how many seconds ago each was made; ``pauses``: for how many seconds
        Telegram wants nothing asked yet, and how many seconds ago it said so. Before a ``resume``.
        """
        before, self._budgets = self._budgets, {}
        by_bot: dict[str, dict[int, Sequence[float]]] = {bot.account: {} for bot in self._bots.values()}
        for (enterprise, chat_id), ages in requests.items():
            if bot := self._bots.get(enterprise):
                chats = by_bot[bot.account]
                chats[chat_id] = (*chats.get(chat_id, ()), *ages)
        for bot in {bot.account: bot for bot in self._bots.values()}.values():
            budget = self._budget(bot)
            if bot.account in before:
                budget.heed(before[bot.account].pauses())
            await budget.taken_over(by_bot[bot.account], ago)
        for (enterprise, chat_id), (seconds, told) in pauses.items():
            if speaks := self._bots.get(enterprise):
                self._budget(speaks).limited(chat_id, seconds, ago=told)

    @property
    def pending(self) -> int:
        """How many states wait to be shown, over all chats."""
        return sum(len(queue) for queue in self._queues.values())

    def bot_off(self, enterprise: str) -> bool:
        """True where Telegram has refused the enterprise's token and has not taken it again."""
        bot = self._bots.get(enterprise)
        return bot is not None and bot.key in self._off

    def _refused(self, enterprise: str, bot: BotApi) -> None:
        """Let a bot be silent until Telegram takes it again, which one task a bot finds out."""
        if bot.key not in self._off and not self._paused and self._group is not None:
            self._off[bot.key] = self._group.create_task(
                self._outlast(enterprise, bot), name=f"bot of {enterprise} is off"
            )

    async def _outlast(self, enterprise: str, bot: BotApi) -> None:
        def say(_: str) -> None:
            _logger.error("Telegram refuses the bot token of enterprise %s: nothing is sent", enterprise)

        if await outlast(bot, say, self._chance, self._knock):
            _logger.info("Telegram takes the bot token of enterprise %s again", enterprise)
        del self._off[bot.key]
        self._wake_all()

    def _retry(self, key: str) -> None:
        """Let a bot be tried anew, whether it was refused or not."""
        if task := self._off.pop(key, None):
            task.cancel()

    def _queue(self, enterprise: str, chat_id: int) -> ChatQueue:
        queue = self._queues.get((enterprise, chat_id))
        if queue is None:
            queue = self._queues[enterprise, chat_id] = ChatQueue(enterprise, chat_id)
        return queue

    def _leave(self, card: Card, chat_id: int) -> None:
        card.open.discard(chat_id)
        if queue := self._queues.get((card.key[0], chat_id)):
            queue.remove(card.key)

    def _bot(self, queue: ChatQueue) -> BotApi | None:
        """The bot that may speak in this chat right now."""
        bot = self._bots.get(queue.enterprise)
        if bot is None or self._paused or self._closing or bot.key in self._off:
            return None
        return None if (queue.enterprise, queue.chat_id) in self._parting else bot

    def _budget(self, bot: BotApi) -> Budget:
        budget = self._budgets.get(bot.account)
        if budget is None:
            budget = self._budgets[bot.account] = Budget(self._rates)
        return budget

    def _breaker(self, enterprise: str, bot: BotApi) -> Breaker:
        breaker = self._breakers.get(bot.key)
        if breaker is None:
            breaker = self._breakers[bot.key] = Breaker(enterprise, self._chance, self._pause)
        return breaker

    def _wake_all(self) -> None:
        for queue in self._queues.values():
            self._wake(queue)

    def _wake(self, queue: ChatQueue) -> None:
        if queue.task is None and len(queue) and self._group is not None and self._bot(queue) is not None:
            queue.task = self._group.create_task(self._serve(queue), name=f"chat {queue.chat_id}")

    async def _serve(self, queue: ChatQueue) -> None:
        """Show what waits for one chat, until nothing does or nobody may speak."""
        try:
            while len(queue) and (bot := self._bot(queue)) is not None:
                try:
                    await self._show_next(queue, bot)
                except Exception:
                    # no accident with one card may silence the chat, or the others
                    _logger.exception("an accident in chat %d", queue.chat_id)
                    self._hold(queue, bot, None)
                    await self._budget(bot).turn(queue.chat_id)
        finally:
            queue.task = None
            if not len(queue):
                self._queues.pop((queue.enterprise, queue.chat_id), None)

    async def _show_next(self, queue: ChatQueue, bot: BotApi) -> None:
        if await self._next(queue) is None:
            return
        budget, breaker = self._budget(bot), self._breaker(queue.enterprise, bot)
        if breaker.open:
            # a chat that has to wait for itself is no good to find out for all
            await budget.room(queue.chat_id)
        async with breaker.passage(queue.chat_id) as passage:
            await budget.turn(queue.chat_id)
            # the turn may have taken long: whoever leads and whatever is newest counts now
            if passage.free and bot is self._bot(queue) and (step := await self._next(queue)) is not None:
                await self._perform(queue, bot, step, passage)

    async def _next(self, queue: ChatQueue) -> Step | None:
        """The most urgent thing to do; cards that have nothing to do any more leave the queue."""
        while (card := queue.first()) is not None:
            if queue.chat_id in card.inherited:
                await self._learn_replies(card, queue.chat_id)
            if (step := self._plans.next(card, queue.chat_id)) is not None:
                return step
            queue.remove(card.key)
            if wait := self._plans.waits(card, queue.chat_id):
                asyncio.get_running_loop().call_later(wait, self._look_again, card, queue.chat_id)
            else:
                card.open.discard(queue.chat_id)
            # after a restart thousands have nothing to do: let others run in between
            await asyncio.sleep(0)
        return None

    async def _learn_replies(self, card: Card, chat_id: int) -> None:
        """What an earlier instance did of the reply below a card, whatever leg led then: nobody hands that over."""
        enterprise, call_id = card.key
        try:
            for leg in dict.fromkeys((call_id, *card.call.legs)):
                if reply := await self._courier.reply(enterprise, leg, chat_id):
                    self._plans.notices.learn(enterprise, reply)
        except StoreUnavailable as error:
            _logger.warning("the reply below call %s/%s is not known: %s", enterprise, call_id, error)
        else:
            card.inherited.discard(chat_id)

    def _look_again(self, card: Card, chat_id: int) -> None:
        if self._cards.get(card.key) is card and chat_id in card.open:
            queue = self._queue(card.key[0], chat_id)
            queue.put(card)
            self._wake(queue)

    async def _perform(self, queue: ChatQueue, bot: BotApi, step: Step, passage: Passage) -> None:
        job, card = step.job, step.card
        # whoever comes back only while a request is on its way is refused what was asked before
        came = queue.chat_id in card.back
        self._in_flight[card.key] += 1
        queue.busy = True
        try:
            paced = bot.paced(self._budget(bot).go)
            verdict = await self._courier.perform(paced, job, step.action, passage.told)
        finally:
            queue.busy = False
            self._in_flight[card.key] -= 1
            if not self._in_flight[card.key]:
                del self._in_flight[card.key]
        self._learn(step, verdict)
        if verdict.lost is not None and (came or queue.chat_id not in card.back):
            card.back.discard(queue.chat_id)
            self._part(queue, verdict.lost)
        if verdict.what == "off":
            self._hold(queue, bot, None)
            self._refused(job.enterprise, bot)
        elif verdict.what == "again":
            self._hold(queue, bot, verdict.wait)
            self._try_later(queue, step, verdict, alone=not self._breaker(job.enterprise, bot).open)
        else:
            queue.failures = 0
            card.failures.pop(queue.chat_id, None)
            queue.recall()
            self._plans.remember(step, verdict)

    def _learn(self, step: Step, verdict: Verdict) -> None:
        """What the streams say now, and what whoever is here next has to know that they do not say."""
        job = step.job
        self._plans.learn(step, verdict)
        if verdict.what != "done" and job.chat_id < 0 and isinstance(step.action, Edit | Withdraw):
            self._note(self._ledger.asked(job.enterprise, job.chat_id), job.chat_id)

    def _try_later(self, queue: ChatQueue, step: Step, verdict: Verdict, *, alone: bool) -> None:
        """``alone``: as far as is known, nobody else has trouble."""
        if verdict.trouble and alone:
            queue.defer(step.card)
        if verdict.trouble == "unknown" and isinstance(step.action, Edit):
            self._plans.doubt(step)
            if self._cards.get(step.card.key) is not step.card:
                self._look_at_leader(step.card.key, step.job.chat_id)

    def _look_at_leader(self, key: Key, chat_id: int) -> None:
        """Let whoever shows this call now look again at a chat."""
        for card in self._cards.values():
            if card.key[0] == key[0] and key[1] in card.call.legs and chat_id in card.chats:
                card.open.add(chat_id)
                self._look_again(card, chat_id)

    def _hold(self, queue: ChatQueue, bot: BotApi, wait: float | None) -> None:
        queue.failures += 1
        if wait is None:
            self._budget(bot).hold(queue.chat_id, self._backoff.after(queue.failures, self._chance()))
        else:
            self._limited(queue.enterprise, bot, queue.chat_id, wait)

    def _limited(self, enterprise: str, bot: BotApi, chat_id: int, seconds: float) -> None:
        """Telegram wants a pause: whoever is here next shall keep it too."""
        self._budget(bot).limited(chat_id, seconds)
        if seconds >= WORTH_A_FACT:
            self._note(self._ledger.paused(enterprise, chat_id, seconds), chat_id)

    def _note(self, fact: Coroutine[None, None, None], chat_id: int) -> None:
        """Store a chat fact without waiting for it."""
        if self._group is None:
            fact.close()
        else:
            self._group.create_task(fact, name=f"a fact of chat {chat_id}")

    def _part(self, queue: ChatQueue, error: RecipientGone) -> None:
        """Let the directory know, once for all calls of the chat."""
        chat = (queue.enterprise, queue.chat_id)
        if self._recipients is not None and self._group is not None and chat not in self._parting:
            self._parting[chat] = asyncio.Event()
            teller = self._group.create_task(
                self._tell(self._recipients, *chat, error), name=f"directory, chat {queue.chat_id}"
            )
            self._tellers.add(teller)
            teller.add_done_callback(self._tellers.discard)

    async def _tell(
        self, recipients: Recipients, enterprise: str, chat_id: int, error: RecipientGone
    ) -> None:
        try:
            if isinstance(error, ChatMigrated):
                await recipients.moved(enterprise, chat_id, error.new_chat_id)
            else:
                await recipients.gone(enterprise, chat_id, error.reason)
            async with asyncio.timeout(FOLLOWS_WITHIN):
                await self._parting[enterprise, chat_id].wait()
        except TimeoutError:
            _logger.warning("chat %d of %s is %s and still subscribed", chat_id, enterprise, error.reason)
        except Exception:
            # as with a card: an accident with one chat stops no other
            _logger.exception("an accident with the directory, chat %d", chat_id)
        finally:
            del self._parting[enterprise, chat_id]
            if queue := self._queues.get((enterprise, chat_id)):
                self._wake(queue)

    def _let_part(self, directory: Directory) -> None:
        """Forget what waits for those whom this directory does not show calls."""
        number = directory.profile.number
        readers = {subscriber.chat_id for subscriber in directory.readers}
        for (enterprise, chat_id), known in self._parting.items():
            if enterprise == number and chat_id not in readers and not known.is_set():
                known.set()
                for card in self._cards.values():
                    if card.key[0] == number and chat_id in card.open:
                        self._leave(card, chat_id)

    async def _drained(self) -> None:
        for key in tuple(self._off):
            self._retry(key)
        for known in self._parting.values():
            known.set()
        tasks = {queue.task for queue in self._queues.values() if queue.task is not None}
        in_flight = {queue.task for queue in self._queues.values() if queue.task is not None and queue.busy}
        for task in tasks - in_flight:
            task.cancel()
        in_flight |= self._tellers
        if in_flight:
            _, late = await asyncio.wait(in_flight, timeout=self._drain)
            for task in late:
                _logger.error("%s: a request was not finished in time", task.get_name())
                task.cancel()
