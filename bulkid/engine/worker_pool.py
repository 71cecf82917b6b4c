"""The pool: many tasks, few workers. A worker holds a task only while its request is in flight."""

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from bulkid.clock import Clock
from bulkid.engine.quota import Quota
from bulkid.engine.retry import GIVE_UP, SETTLE, Decision, Retry
from bulkid.engine.sender import Job, Pass, Sender, Settled, Task
from bulkid.engine.stats import Stats
from bulkid.engine.stop import Stop
from bulkid.engine.wakeup import Alarm
from bulkid.events import log
from bulkid.model import ReplyKind

_MAX_DELAYED: Final = 1024  # tasks that wait to be tried again, beyond which no new ones are taken


class _Lane:
    """The tasks of one method that are ready to be sent, with their own workers: none waits for another's quota.

    All lanes together keep the one concurrency; a parked worker costs nothing.
    """

    __slots__ = ("method", "ready", "suitors", "work")

    def __init__(self, method: str, clock: Clock) -> None:
        self.method = method
        self.ready: deque[Job] = deque()
        self.suitors = 0  # workers that wait to be let through with one of these: one task is kept for each
        self.work = Alarm(clock)  # rung when there may be something to do, or nothing more


class Pool:
    """One run over a source of tasks; see `Engine.run`.

    Args:
        sender: Lets requests leave, and judges replies.
        quota: Told of responses while the pool runs.
        clock: Measures waits.
        workers: How many there are.
        grace_s: How long requests in flight may take to settle once the pool stops early.
        stats: Counts.
        on_settled: Told of each settled task; sync and cheap.
        stop: Asks the pool to stop.
    """

    def __init__(
        self,
        *,
        sender: Sender,
        quota: Quota,
        clock: Clock,
        workers: int,
        grace_s: float,
        stats: Stats,
        on_settled: Callable[[Settled], None],
        stop: Stop,
    ) -> None:
        self._sender = sender
        self._quota = quota
        self._clock = clock
        self._workers = workers
        self._grace_s = grace_s
        self._stats = stats
        self._on_settled = on_settled
        self._stop = stop
        self._lanes: dict[str, _Lane] = {}
        self._ready = 0  # in all lanes together
        self._low = 0  # at or below this many ready tasks, the next chunk is taken
        self._delayed: list[tuple[float, int, Job]] = []  # heap: due at, a number that keeps the order, the task
        self._numbers = 0
        self._unsettled = 0  # taken from the source and not settled yet
        self._exhausted = False  # the source has no more
        self._draining = False  # nothing new is sent
        self._error: Exception | None = None
        self._over = anyio.Event()  # nothing more to take: all is settled, or nothing new is to be sent
        self._hunger = Alarm(clock)  # rung when few tasks are ready
        self._due = Alarm(clock)  # rung when a task is delayed
        self._parked: set[anyio.CancelScope] = set()  # suitors, so that a stop ends their waits
        self._feeding = anyio.CancelScope()
        self._working = anyio.CancelScope()
        self._crew: TaskGroup | None = None

    async def run(self, source: AsyncIterator[Sequence[Task]]) -> None:
        """Settle every task of the source, or stop early.

        Raises:
            BulkidError: What was fatal; requests in flight have settled by then, or had their time.
        """
        async with anyio.create_task_group() as helpers:
            helpers.start_soon(self._feed, source)
            helpers.start_soon(self._guarded, self._keep_time)
            helpers.start_soon(self._guarded, self._quota.keep_told)
            helpers.start_soon(self._watch_stop)
            helpers.start_soon(self._watch_abort)
            helpers.start_soon(self._watch_grace)
            with self._working:
                async with anyio.create_task_group() as self._crew:
                    await self._over.wait()
            helpers.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is: what is in flight settles first, then `run` raises it
            self._fail(error)

    # --- workers

    async def _worker(self, lane: _Lane) -> None:
        while (taken := self._take(lane) or await self._find(lane)) is not None:
            job, granted = taken
            self._follow(job, await self._sender.exchange(job, granted))

    def _take(self, lane: _Lane) -> tuple[Job, Pass] | None:
        """The next task and the right to send it, if both are at hand, and nobody waits to send it."""
        if len(lane.ready) <= lane.suitors or self._stopping:
            return None
        granted = self._sender.try_pass(lane.method)
        return None if granted is None else (self._pop(lane), granted)

    async def _find(self, lane: _Lane) -> tuple[Job, Pass] | None:
        """Park until there is a task and the right to send it; None when there is nothing more to do."""
        while not (self._stopping or self._over.is_set()):
            if len(lane.ready) <= lane.suitors:
                await lane.work.wait()
            elif (granted := await self._court(lane)) is not None:
                return self._pop(lane), granted
        return None

    async def _court(self, lane: _Lane) -> Pass | None:
        """Wait to be let through with a task of this lane; None when nothing new is to be sent."""
        lane.suitors += 1
        granted = None
        with anyio.CancelScope() as scope:
            self._parked.add(scope)
            try:
                granted = await self._sender.admit(lane.method, lambda: not self._stopping)
            finally:
                self._parked.discard(scope)
                lane.suitors -= 1
        return granted

    def _pop(self, lane: _Lane) -> Job:
        self._ready -= 1
        if self._ready <= self._low and self._hunger.waiting:
            self._hunger.ring()
        return lane.ready.popleft()

    @property
    def _stopping(self) -> bool:
        return self._draining or self._stop.requested

    def _follow(self, job: Job, decision: Decision) -> None:
        """Do what was decided about a reply."""
        if decision is SETTLE or decision is GIVE_UP:
            self._unsettled -= 1
            self._stats.settled += 1
            self._on_settled(job.settled(self._clock.now()))
            if not self._unsettled:
                self._look_for_the_end()
        elif isinstance(decision, Retry):
            self._stats.retries += 1
            job.spent_s += decision.wait_s
            self._numbers += 1
            heapq.heappush(self._delayed, (self._clock.monotonic() + decision.wait_s, self._numbers, job))
            self._due.ring()
            _tell_retry(job, decision)
        else:
            self._stats.retries += 1
            self._push(job, first=job.reply is not None and job.reply.kind is ReplyKind.UNAUTHORIZED)

    # --- where tasks come from

    def _push(self, job: Job, *, first: bool) -> None:
        """Make a task ready. One that was turned away goes to the end, so that it's not always the one that probes."""
        lane = self._lanes.get(job.request.method) or self._open_lane(job.request.method)
        if first:
            lane.ready.appendleft(job)
        else:
            lane.ready.append(job)
        self._ready += 1
        lane.work.ring()

    def _open_lane(self, method: str) -> _Lane:
        assert self._crew is not None  # noqa: S101 - nothing is pushed before the crew is there
        lane = self._lanes[method] = _Lane(method, self._clock)
        for _ in range(self._workers):
            self._crew.start_soon(self._guarded, partial(self._worker, lane))
        return lane

    async def _feed(self, source: AsyncIterator[Sequence[Task]]) -> None:
        with self._feeding:
            await self._guarded(lambda: self._take_chunks(source))

    async def _take_chunks(self, source: AsyncIterator[Sequence[Task]]) -> None:
        """Take the next chunk while some of the last one is still ready, so that the workers never wait for it."""
        async for chunk in source:
            if self._stopping:  # while it was being made, which cannot be broken off; its workers have gone home
                return
            for task in chunk:
                self._push(Job(*task), first=False)
            self._unsettled += len(chunk)
            self._low = max(2 * self._workers, len(chunk) // 2)
            while self._ready > self._low or len(self._delayed) > _MAX_DELAYED:
                await self._hunger.wait()
        self._exhausted = True
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self._exhausted and not self._unsettled:
            self._end()

    async def _keep_time(self) -> None:
        """Make delayed tasks ready when they are due, before those that were not tried yet."""
        while True:
            now = self._clock.monotonic()
            due: list[Job] = []
            while self._delayed and self._delayed[0][0] <= now:
                due.append(heapq.heappop(self._delayed)[2])
            for job in reversed(due):
                self._push(job, first=True)
            await self._due.wait(self._delayed[0][0] - now if self._delayed else None)

    # --- the early end

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._drain()

    def _drain(self) -> None:
        """Take nothing new; whoever waits goes home, whoever sends may finish within the grace."""
        if self._draining:
            return
        self._draining = True
        self._feeding.cancel()
        for scope in tuple(self._parked):
            scope.cancel()
        self._end()

    def _end(self) -> None:
        self._over.set()
        for lane in self._lanes.values():
            lane.work.ring()

    async def _watch_stop(self) -> None:
        await self._stop.wait()
        self._drain()

    async def _watch_abort(self) -> None:
        await self._stop.wait_aborted()
        self._drain()
        self._working.cancel()

    async def _watch_grace(self) -> None:
        await self._over.wait()
        await self._clock.sleep(self._grace_s)
        self._working.cancel()


def _tell_retry(job: Job, decision: Retry) -> None:
    reply = job.reply
    log.info(
        "request.retried",
        entry=job.key,
        attempt=job.attempts,
        wait_s=round(decision.wait_s, 3),
        reason=reply.kind.value if reply else "",
        http_status=reply.status if reply else None,
        error=reply.error if reply else "",
    )
