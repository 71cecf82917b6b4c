"""The circuit breaker: one refusal opens it for all requests, one probe that succeeds closes it.

A 429, a 503 or a connection that cannot be made opens it until Retry-After, or for an exponential, jittered wait. Then
exactly one request probes, and its reply closes the breaker or keeps it open for longer.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from bulkid.clock import Clock
from bulkid.engine.retry import full_jitter
from bulkid.engine.signals import Wakeup
from bulkid.errors import ConnectionFailedError
from bulkid.logs import log
from bulkid.model import Reply, ReplyKind

BASE_S: Final = 0.5
CAP_S: Final = 60.0
_OPENING: Final = frozenset({ReplyKind.THROTTLED, ReplyKind.UNAVAILABLE, ReplyKind.NO_CONNECTION})
_SILENT: Final = frozenset({ReplyKind.NO_CONNECTION, ReplyKind.LOST})  # no answer came at all
_UNAVAILABLE: Final = frozenset({502, 503, 504})  # there is a server at this address: it, or what is behind it, is away
_MAX_FIRST_LOST: Final = 3  # requests lost before the first answer ever: the server does not speak HTTP
_MARGIN_S: Final = 0.01  # Retry-After is in whole seconds and timers are coarse: never a moment too early ...
_JITTER_S: Final = 0.24  # ... and not all clients that got the same Retry-After at the same moment


class Ticket(NamedTuple):
    """What the circuit breaker gives a request that leaves, to know how to take its reply."""

    generation: int  # goes up whenever the breaker opens; a reply from an earlier one is stale
    is_probe: bool


class CircuitBreaker:
    """Closed: requests pass. Open: none but the probe. Belongs to one event loop.

    A caller awaits `wait_for_permission` or reads `closed`, calls `request_started`, then `response_received` with what
    `request_started` gave. A reply to a request sent before the breaker last opened is stale: only its Retry-After
    counts. The limits are those of `Engine`; ``on_open`` is called whenever the breaker opens. Its methods raise
    `ConnectionFailedError` when the server has been away for too long.
    """

    def __init__(
        self,
        clock: Clock,
        random: Callable[[], float],
        *,
        outage_limit_s: float = 600.0,
        first_contact_limit_s: float = 15.0,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self.closed = True
        self.answered = False  # the server has answered something, ever
        self._clock = clock
        self._random = random
        self._outage_limit_s = outage_limit_s
        self._first_contact_limit_s = first_contact_limit_s
        self._on_open = on_open
        self._wakeup = Wakeup(clock)
        self._ticket = Ticket(0, is_probe=False)  # of all requests that leave while it is closed
        self._refusals = 0  # in a row, probes included; what the wait doubles with
        self._until = 0.0  # while open: when the next probe may leave
        self._not_before = 0.0  # the latest that any Retry-After said
        self._probing_methods: set[str] = set()  # methods of which one request is about to probe
        self._probing = False  # the probe is under way
        self._away_since: float | None = None  # since when there was nothing but 503 and no connection
        self._last_error = ""  # of the last such reply
        self._last_status: int | None = None  # of the last such reply; its token endpoint may have answered
        self._first_sent_at: float | None = None
        self._lost = 0  # requests that vanished, as long as the server has never answered
        self._given_up = False
        self._taken = False  # the server has taken a request, ever

    async def wait_for_permission(self, method: str) -> bool:
        """Wait until the breaker is closed (False) or the caller may probe (True: it must then call `cancel_wait`).

        One caller per method may, since one whose quota is used up must not keep another from probing. The permission
        ends when the caller waits for anything else: another may then probe first, or a late Retry-After come.
        """
        while not self.closed:
            now = self._clock.monotonic()
            if self._given_up:
                raise self._outage_error()
            if self._probing or method in self._probing_methods:
                await self._wakeup.wait()
            elif now >= self._until:
                self._probing_methods.add(method)
                return True
            else:
                deadline = self._deadline()
                if now >= deadline:
                    raise self.give_up()
                await self._wakeup.wait(min(self._until, deadline) - now)
        return False

    def cancel_wait(self, method: str) -> None:
        """End a permission to probe, used or not; the next caller may have it."""
        self._probing_methods.discard(method)
        self._wakeup.set()

    def request_started(self) -> Ticket:
        """Note that a request leaves; give the ticket for `response_received`."""
        if self._first_sent_at is None:
            self._first_sent_at = self._clock.monotonic()
        if self.closed:
            return self._ticket
        self._probing = True
        return Ticket(self._ticket.generation, is_probe=True)

    def response_received(self, ticket: Ticket, reply: Reply | None) -> None:
        """Take in a reply; None where there is none to judge by (cancelled, or the request could not be made)."""
        if self.answered and self._away_since is None and not ticket.is_probe and reply and reply.kind is ReplyKind.OK:
            return  # nothing new, as nearly always
        probe = ticket.is_probe
        if probe:
            self._probing = False
        if reply is None:
            if probe:
                self._wakeup.set()
            return
        now = self._clock.monotonic()
        self._note_contact(reply, now)
        if reply.kind not in _OPENING:
            if probe:
                self._close(now)
            return
        if reply.retry_after:
            wait = reply.retry_after + _MARGIN_S + _JITTER_S * self._random()
            self._not_before = max(self._not_before, now + wait)
        if probe or (self.closed and ticket.generation == self._ticket.generation):
            self._refuse(reply, now)
        elif self._not_before > (now if self.closed else self._until):
            self._open(self._not_before)

    def give_up(self) -> ConnectionFailedError:
        """Stay open for good; give the error to raise."""
        self._given_up = True
        self._open(self._clock.monotonic())
        return self._outage_error()

    def seconds_until_free(self) -> float | None:
        """Seconds until the next probe may leave; None while the breaker is closed."""
        return None if self.closed else max(0.0, self._until - self._clock.monotonic())

    def seconds_until_given_up(self) -> float | None:
        """Seconds until the server has been away for too long; None while it is there, or only throttles."""
        return None if self._away_since is None else max(0.0, self._deadline() - self._clock.monotonic())

    @property
    def last_error(self) -> str:
        """The message of the last reply that the server is away with."""
        return self._last_error

    @property
    def server_away(self) -> bool:
        """Whether the server has answered with nothing but 503, or not at all, since the breaker opened."""
        return self._away_since is not None

    def _close(self, now: float) -> None:
        self._refusals = 0
        self._away_since = None
        if now < self._not_before:  # another reply asked for a longer wait
            self._open(self._not_before)
            return
        self.closed = True
        self._wakeup.set()
        log.info("gate.opened")

    def _refuse(self, reply: Reply, now: float) -> None:
        self._refusals += 1
        if reply.kind is ReplyKind.THROTTLED:
            self._away_since = None  # it answers: that may last for any time
        else:
            self._away_since = now if self._away_since is None else self._away_since
            self._last_error, self._last_status = reply.reason, reply.status
            if now >= self._deadline():
                raise self.give_up()
        until = self._not_before
        if not reply.retry_after:  # 0 would allow requests without a pause
            wait = full_jitter(BASE_S, CAP_S, self._refusals, self._random())
            until = max(until, min(now + wait, self._deadline()))  # a last look before giving up
        self._open(until)
        log.info("gate.closed", reason=reply.kind.value, http_status=reply.status, wait_s=round(until - now, 3))

    def _open(self, until: float) -> None:
        self.closed = False
        self._until = until
        self._ticket = Ticket(self._ticket.generation + 1, is_probe=False)
        self._on_open()
        self._wakeup.set()

    def _deadline(self) -> float:
        if self._away_since is None:
            return float("inf")
        return self._away_since + (self._outage_limit_s if self.answered else self._first_contact_limit_s)

    def _note_contact(self, reply: Reply, now: float) -> None:
        if reply.kind not in _SILENT or reply.status in _UNAVAILABLE:
            self.answered = True
        elif reply.kind is ReplyKind.LOST and not self.answered and self._first_sent_at is not None:
            self._lost += 1
            self._last_error, self._last_status = reply.reason, None
            if self._lost >= _MAX_FIRST_LOST and now - self._first_sent_at >= self._first_contact_limit_s:
                raise self.give_up()
        if reply.kind not in _OPENING and reply.kind not in _SILENT:
            self._taken = True
            if self._away_since is not None:
                self._away_since = now  # it was there a moment ago, whatever it said to the others

    def _outage_error(self) -> ConnectionFailedError:
        if not self.answered:
            if self._last_status is not None:
                return ConnectionFailedError(
                    f"{self._last_error.removesuffix('.')}.", hint="Check the address, and that the server is up."
                )
            return ConnectionFailedError(
                f"The server cannot be reached: {self._last_error}",
                hint="Check the address, the proxy and the network, and that the server is up.",
            )
        return ConnectionFailedError(
            f"The server has taken no requests for {self._outage_limit_s:.0f} seconds: "
            f"{self._last_error.removesuffix('.')}.",
            hint="Try again when it is back." if self._taken else "Check the address, and that the server is up.",
        )
