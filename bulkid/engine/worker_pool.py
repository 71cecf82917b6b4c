"""The pool: many tasks, few workers. A worker holds a task only while its request is in flight."""

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from bulkid.clock import Clock
from bulkid.engine.retry import GIVE_UP, SETTLE, Decision, Retry
from bulkid.engine.sender import Sender, SendPermit
from bulkid.engine.signals import Stop, Wakeup
from bulkid.engine.task import SendTask, Settled, Task
from bulkid.logs import log
from bulkid.model import ReplyKind

_MAX_DELAYED: Final = 1024  # tasks that wait to be tried again, beyond which no new ones are taken


class _MethodQueue:
    """The tasks of one method that are ready to be sent, with their own workers: none waits for another's quota."""

    __slots__ = ("changed", "method", "ready", "waiters")

    def __init__(self, method: str, clock: Clock) -> None:
        self.method = method
        self.ready: deque[SendTask] = deque()
        self.waiters = 0  # workers that wait for a permit: one task is reserved for each
        self.changed = Wakeup(clock)  # set when there may be something to do, or nothing more


class WorkerPool:
    """One run over a source of tasks; see `Engine.run`. Has as many workers as requests may be in flight.

    ``on_settled`` is called with each settled task, and must be cheap; ``stop`` asks the pool to stop.
    """

    def __init__(self, sender: Sender, on_settled: Callable[[Settled], None], stop: Stop) -> None:
        self._sender = sender
        self._clock = sender.clock
        self._stats = sender.stats
        self._on_settled = on_settled
        self._stop = stop
        self._queues: dict[str, _MethodQueue] = {}
        self._ready = 0  # in all queues together
        self._refill_threshold = 0  # at or below this many ready tasks, the next chunk is taken
        self._delayed: list[tuple[float, int, SendTask]] = []  # heap: due at, a number that keeps the order, the task
        self._sequence = 0
        self._unsettled = 0  # taken from the source and not settled yet
        self._exhausted = False  # the source has no more
        self._draining = False  # nothing new is sent
        self._error: Exception | None = None
        self._finished = anyio.Event()  # nothing more to take: all is settled, or nothing new is to be sent
        self._refill = Wakeup(self._clock)  # set when few tasks are ready
        self._due = Wakeup(self._clock)  # set when a task is delayed
        self._wait_scopes: set[anyio.CancelScope] = set()  # of waiters, so that a stop ends their waits
        self._source_scope = anyio.CancelScope()
        self._workers_scope = anyio.CancelScope()
        self._worker_tasks: TaskGroup | None = None

    async def run(self, source: AsyncIterator[Sequence[Task]]) -> None:
        """Settle every task of the source, or stop early.

        Raises:
            BulkidError: What was fatal; by then requests in flight have settled, or their time is over.
        """
        async with anyio.create_task_group() as helpers:
            helpers.start_soon(self._feed, source)
            helpers.start_soon(self._run_guarded, self._schedule_retries)
            helpers.start_soon(self._run_guarded, self._sender.quota.report_loop)
            helpers.start_soon(self._watch_stop)
            helpers.start_soon(self._watch_grace)
            with self._workers_scope:
                async with anyio.create_task_group() as self._worker_tasks:
                    await self._finished.wait()
            helpers.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _run_guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - what is in flight settles first, then `run` raises it
            self._fail(error)

    # --- workers

    async def _worker(self, queue: _MethodQueue) -> None:
        while (taken := self._try_next(queue) or await self._wait_for_next(queue)) is not None:
            send_task, granted = taken
            self._apply_decision(send_task, await self._sender.exchange(send_task, granted))

    def _try_next(self, queue: _MethodQueue) -> tuple[SendTask, SendPermit] | None:
        """The next task and its permit, if both are at hand and no worker waits to send it."""
        if len(queue.ready) <= queue.waiters or self._stopping:
            return None
        granted = self._sender.try_permit(queue.method)
        return None if granted is None else (self._pop(queue), granted)

    async def _wait_for_next(self, queue: _MethodQueue) -> tuple[SendTask, SendPermit] | None:
        """Wait until there is a task and its permit; None when there is nothing more to do."""
        while not (self._stopping or self._finished.is_set()):
            if len(queue.ready) <= queue.waiters:
                await queue.changed.wait()
            elif (granted := await self._await_permit(queue)) is not None:
                return self._pop(queue), granted
        return None

    async def _await_permit(self, queue: _MethodQueue) -> SendPermit | None:
        """Wait for a permit for a task of this queue; None when nothing new is to be sent."""
        queue.waiters += 1
        granted = None
        with anyio.CancelScope() as scope:
            self._wait_scopes.add(scope)
            try:
                granted = await self._sender.admit(queue.method, lambda: not self._stopping)
            finally:
                self._wait_scopes.discard(scope)
                queue.waiters -= 1
        return granted

    def _pop(self, queue: _MethodQueue) -> SendTask:
        self._ready -= 1
        if self._ready <= self._refill_threshold and self._refill.waiting:
            self._refill.set()
        return queue.ready.popleft()

    @property
    def _stopping(self) -> bool:
        return self._draining or self._stop.requested

    def _apply_decision(self, send_task: SendTask, decision: Decision) -> None:
        """Do what was decided about a reply."""
        if decision is SETTLE or decision is GIVE_UP:
            self._unsettled -= 1
            self._stats.settled += 1
            self._on_settled(send_task.settled(self._clock.now()))
            if not self._unsettled:
                self._check_finished()
        elif isinstance(decision, Retry):
            self._stats.retries += 1
            send_task.spent_s += decision.wait_s
            self._sequence += 1
            heapq.heappush(self._delayed, (self._clock.monotonic() + decision.wait_s, self._sequence, send_task))
            self._due.set()
            _log_retry(send_task, decision)
        else:
            self._stats.retries += 1
            self._push(send_task, first=send_task.reply is not None and send_task.reply.kind is ReplyKind.UNAUTHORIZED)

    # --- where tasks come from

    def _push(self, send_task: SendTask, *, first: bool) -> None:
        """Make a task ready. One that the server turned away goes to the end, so that another task probes."""
        queue = self._queues.get(send_task.request.method) or self._open_queue(send_task.request.method)
        if first:
            queue.ready.appendleft(send_task)
        else:
            queue.ready.append(send_task)
        self._ready += 1
        queue.changed.set()

    def _open_queue(self, method: str) -> _MethodQueue:
        assert self._worker_tasks is not None  # noqa: S101 - nothing is pushed before the workers are started
        queue = self._queues[method] = _MethodQueue(method, self._clock)
        for _ in range(self._sender.concurrency):
            self._worker_tasks.start_soon(self._run_guarded, partial(self._worker, queue))
        return queue

    async def _feed(self, source: AsyncIterator[Sequence[Task]]) -> None:
        with self._source_scope:
            await self._run_guarded(lambda: self._take_chunks(source))

    async def _take_chunks(self, source: AsyncIterator[Sequence[Task]]) -> None:
        """Take the next chunk while most of the last one is still ready, so that the workers never wait for it."""
        async for chunk in source:
            if self._stopping:  # while it was being made, which cannot be interrupted; the workers have ended
                return
            for task in chunk:
                self._push(SendTask(*task), first=False)
            self._unsettled += len(chunk)
            self._refill_threshold = max(2 * self._sender.concurrency, len(chunk) * 3 // 4)
            while self._ready > self._refill_threshold or len(self._delayed) > _MAX_DELAYED:
                await self._refill.wait()
        self._exhausted = True
        self._check_finished()

    def _check_finished(self) -> None:
        if self._exhausted and not self._unsettled:
            self._finish()

    async def _schedule_retries(self) -> None:
        """Make delayed tasks ready when they are due, before those that were not tried yet."""
        while True:
            now = self._clock.monotonic()
            due: list[SendTask] = []
            while self._delayed and self._delayed[0][0] <= now:
                due.append(heapq.heappop(self._delayed)[2])
            for send_task in reversed(due):
                self._push(send_task, first=True)
            await self._due.wait(self._delayed[0][0] - now if self._delayed else None)

    # --- the early end

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._drain()

    def _drain(self) -> None:
        """Take nothing new: workers that wait end now, workers that send may finish within the grace."""
        if self._draining:
            return
        self._draining = True
        self._source_scope.cancel()
        for scope in tuple(self._wait_scopes):
            scope.cancel()
        self._finish()

    def _finish(self) -> None:
        self._finished.set()
        for queue in self._queues.values():
            queue.changed.set()

    async def _watch_stop(self) -> None:
        await self._stop.wait()
        self._drain()
        await self._stop.wait_aborted()
        self._workers_scope.cancel()

    async def _watch_grace(self) -> None:
        await self._finished.wait()
        await self._clock.sleep(self._sender.grace_s)
        self._workers_scope.cancel()


def _log_retry(send_task: SendTask, decision: Retry) -> None:
    reply = send_task.reply
    log.info(
        "request.retried",
        entry=send_task.key,
        attempt=send_task.attempts,
        wait_s=round(decision.wait_s, 3),
        reason=reply.kind.value if reply else "",
        http_status=reply.status if reply else None,
        error=reply.error if reply else "",
    )
