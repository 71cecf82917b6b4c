"""Finds out what a reply 401 or 403 is about, from what the server says to other requests.

`AuthJudge` collects the evidence while requests are sent; the rules it decides by are in ``auth_failures``.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from bulkid.clock import Clock
from bulkid.engine.auth_failures import MAX_REQUEST_REFUSALS, Credentials, ForbiddenWrites, SuspectCredential
from bulkid.engine.retry import GIVE_UP, REQUEUE, SETTLE, Decision
from bulkid.engine.signals import Wakeup
from bulkid.engine.task import SendTask
from bulkid.errors import PermissionDeniedError
from bulkid.model import Reply, Request

CHECK_REQUEST_KEY: Final = -2
"""The key of the check request, which shows whether the server still takes a credential."""


class AuthOptions(NamedTuple):
    """What an engine needs to find out what a 401 or 403 is about.

    Args:
        credentials: Where the engine reports a credential that the server refuses; None: a 401 is never final.
        check: A request that the server takes with every good credential. The engine sends it where no other request
            shows whether a 401 is about one request or about all; None: then it is about all.
        forbidden_hint: What a user can do where the server forbids every change, for the error.
    """

    credentials: Credentials | None = None
    check: Request | None = None
    forbidden_hint: str = ""


NO_AUTH: Final = AuthOptions()
"""For requests without credentials: a 401 is never final."""


class AuthJudge:
    """Judges the replies 401 and 403 of one sender. Belongs to one event loop.

    The sender reports what it learns: `record_accepted` for each success, `observe` for each reply while there are
    `suspects`, `wake` for each request that ended without a reply.

    Args:
        options: Where credentials are reported, and what shows whether they are good.
        clock: Gives all time.
        in_flight: Gives how many requests are in flight.
        settle: Sends a task, with retries, until it is settled or the function says that it is no longer to be sent.
    """

    def __init__(
        self,
        options: AuthOptions,
        clock: Clock,
        *,
        in_flight: Callable[[], int],
        settle: Callable[[SendTask, Callable[[], bool]], Awaitable[None]],
    ) -> None:
        self.suspects: list[SuspectCredential] = []
        self._credentials = options.credentials
        self._check = options.check
        self._forbidden_hint = options.forbidden_hint
        self._in_flight = in_flight
        self._settle = settle
        self._checking = False
        self._reply_received = Wakeup(clock)  # set on each reply while there are suspects
        self._last_accepted: dict[str, SendTask] = {}  # by method: the latest that the server took
        self._forbidden = ForbiddenWrites()

    # --- what other requests show

    def record_accepted(self, send_task: SendTask) -> None:
        """Learn that the server took a request. Cheap: the engine calls it for each success."""
        method = send_task.request.method
        self._last_accepted[method] = send_task
        if method != "GET":
            self._forbidden.record_accepted()

    def observe(self, number: int, reply: Reply) -> None:
        """Learn from the reply to the request that left as number ``number``, while there are suspects."""
        for suspect in self.suspects:
            suspect.observe(number, reply)
        self.wake()

    def wake(self) -> None:
        """Let the refused requests that wait for others look again."""
        self._reply_received.set()

    # --- 401

    async def judge_unauthorized(self, send_task: SendTask, reply: Reply, sent_count: int) -> Decision:
        """Find out whether a 401 is about the request or about its credential. Count it if it is about the request.

        Requests that left after the 401 came in show it; where none is under way, the check request does.
        ``sent_count`` is how many requests have left so far.

        Raises:
            AuthenticationError: It is about the credential, and there is no other.
            PermissionDeniedError: The server refuses every change.
        """
        credentials = self._credentials
        if credentials is None:
            return REQUEUE
        if send_task.key == CHECK_REQUEST_KEY or not self._can_be_compared(send_task.request):
            self._drop_credential(credentials, reply)
            return REQUEUE
        if not await self._is_request_refused(reply, credentials, sent_count):
            return REQUEUE
        send_task.attempts += 1
        send_task.request_refusals += 1
        if send_task.request_refusals < MAX_REQUEST_REFUSALS:
            send_task.first_refused = send_task.number
            return REQUEUE
        if self._every_write_is_refused(send_task):
            raise self._permission_denied("The server refuses every change, and lets this token read (401)", reply)
        return GIVE_UP

    def _can_be_compared(self, refused: Request) -> bool:
        """Whether another request may show what a 401 is about.

        None does if the server refuses to be read and has taken nothing yet. But where it refuses an item of the list
        that the check request reads, the check request shows more.
        """
        if self._check is not None and _is_item_of(refused, self._check):
            return True
        return bool(self._last_accepted) or self._in_flight() > 0 or refused.method != "GET"

    async def _is_request_refused(self, reply: Reply, credentials: Credentials, sent_count: int) -> bool:
        """Wait until other requests show whether a 401 is about its request; else it is about the credential."""
        suspect = SuspectCredential(reply.credential, sent_count)
        self.suspects.append(suspect)
        try:
            while suspect.request_refused is None:
                if self._in_flight() or self._checking:
                    await self._reply_received.wait()
                else:
                    if self._check is not None:
                        await self._send_check_request(self._check)
                    if suspect.request_refused is None:  # the check showed nothing
                        self._drop_credential(credentials, reply)
        finally:
            self.suspects.remove(suspect)
        return suspect.request_refused

    async def _send_check_request(self, check: Request) -> None:
        """Send the check request, with retries, until it or another request shows what the refusals are about."""
        self._checking = True
        try:
            await self._settle(SendTask(CHECK_REQUEST_KEY, check), self._undecided)
        finally:
            self._checking = False
            self.wake()

    def _undecided(self) -> bool:
        return any(suspect.request_refused is None for suspect in self.suspects)

    def _drop_credential(self, credentials: Credentials, reply: Reply) -> None:
        for suspect in self.suspects:
            suspect.drop(reply.credential)
        self.wake()
        credentials.refused(reply.credential, reply.error)

    def _every_write_is_refused(self, send_task: SendTask) -> bool:
        """Count a write that has failed with 401, unless the server took one that left after its first 401."""
        if send_task.request.method == "GET":
            return False
        taken = self._last_accepted.get(send_task.request.method)
        if taken is not None and taken.number > send_task.first_refused:
            return False
        return self._forbidden.refused(send_task.on_forbidden)

    # --- 403

    def judge_forbidden(self, send_task: SendTask, reply: Reply) -> Decision:
        """Judge a 403 on a write: it settles the task, or shows too little yet, so that the task is sent again.

        Raises:
            PermissionDeniedError: The server forbids every change.
        """
        taken = self._last_accepted.get(send_task.request.method)
        latest = None if taken is None or taken.reply is None else (taken.request, taken.reply.credential)
        about_this = self._forbidden.judge(send_task.request, send_task.on_forbidden, reply.credential, latest)
        if about_this is None:
            raise self._permission_denied("The server forbids the change (403)", reply)
        return SETTLE if about_this else REQUEUE

    def _permission_denied(self, what: str, reply: Reply) -> PermissionDeniedError:
        said = f": {reply.error.rstrip('.')}" if reply.error else ""
        return PermissionDeniedError(
            f"{what}{said}.",
            hint=f"{self._forbidden_hint} What was not sent is pending.".strip(),
        )


def _is_item_of(request: Request, listed: Request) -> bool:
    """Whether a request reads one item of the list that another request reads."""
    return request.path.startswith(listed.path.partition("?")[0] + "/")
