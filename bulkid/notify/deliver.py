"""Sends a message to several services at once, each in a thread of its own, for a bounded time.

Services are those of apprise (https://github.com/caronc/apprise, BSD-2), which is imported only where there are
recipients: to load its services takes most of a second.
"""

import asyncio
import logging
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from bulkid.clock import Clock
from bulkid.logs import log
from bulkid.notify.message import Message
from bulkid.notify.recipients import Recipient
from bulkid.redaction import redact_text

if TYPE_CHECKING:
    from apprise import AppriseAttachment
    from apprise.plugins.base import NotifyBase

TIMEOUT_S: Final = 30.0
"""How long services may take, all together."""

STOPPED_TIMEOUT_S: Final = 8.0
"""The same once a stop was requested: service managers such as Docker kill a process after ten seconds."""

Limit = tuple[Callable[[], Awaitable[None]], float]
"""An event, and how many seconds services have from then on."""

_LIBRARIES: Final = ("apprise", "urllib3.connectionpool")
"""The loggers that may show an address, or what is within it."""


@dataclass(frozen=True, slots=True)
class FailedNotification:
    """A recipient that was not notified, and why; both may be shown."""

    recipient: Recipient
    reason: str

    def __str__(self) -> str:
        return f"notify: {self.recipient} was not notified: {self.reason}"


@dataclass(slots=True)
class _Delivery:
    """One message on its way to one address."""

    recipient: Recipient
    message: Message
    reason: str | None = "no answer in time"  # why not; None: delivered

    def run(self) -> None:
        with _log_capture.capturing() as captured:
            try:
                service = _service(self.recipient)
                if service is None:
                    self.reason = _no_service(self.recipient)
                elif self._send(service):
                    self.reason = None
                else:
                    self.reason = redact_text(captured[-1] if captured else "the service did not take it")
            except Exception as error:  # noqa: BLE001 - an error of a service does not change the result of a run
                self.reason = redact_text(f"{type(error).__name__}: {error}")

    def _send(self, service: "NotifyBase") -> bool:
        """Send the message; return whether the service took it."""
        from apprise import Apprise, NotifyFormat, NotifyType

        services = Apprise(asset=service.asset)  # unlike the service alone, it makes HTML of the text for mail
        services.add(service)
        delivered = services.notify(
            body=self.message.body,
            title=self.message.title,
            notify_type=getattr(NotifyType, self.message.kind.upper()),  # an enum, or text in older releases
            body_format=NotifyFormat.TEXT,
            attach=_attachments(self.message.attachments) if service.attachment_support else None,
        )
        return bool(delivered)


async def deliver(
    message: Message, recipients: Iterable[Recipient], *, clock: Clock, limits: Sequence[Limit] = ()
) -> list[FailedNotification]:
    """Notify all recipients at once, within :data:`TIMEOUT_S` or a shorter limit that begins meanwhile.

    Never raises for what a service does. A thread that still waits for a service after that does not hold up the end
    of the process.
    """
    deliveries = [_Delivery(recipient, message) for recipient in recipients]
    if deliveries:
        await _within_timeouts([delivery.run for delivery in deliveries], clock, limits)
    outcomes = [(each.recipient, each.reason) for each in deliveries]  # a thread left behind may still write its own
    failed = [FailedNotification(recipient, reason) for recipient, reason in outcomes if reason is not None]
    for failure in failed:
        log.info("notify.failed", recipient=str(failure.recipient), reason=failure.reason)
    if len(failed) < len(deliveries):
        log.info("notify.sent", recipients=len(deliveries) - len(failed))
    return failed


def unusable(recipients: Iterable[Recipient]) -> list[FailedNotification]:
    """The addresses that no service is known for, or that lack a part of what theirs needs. Sends nothing."""
    found = []
    for recipient in recipients:
        with _log_capture.capturing():
            if _service(recipient) is None:
                found.append(FailedNotification(recipient, _no_service(recipient)))
    return found


async def _within_timeouts(works: Sequence[Callable[[], None]], clock: Clock, limits: Sequence[Limit]) -> None:
    """Do the works in threads of their own, and wait for them as long as the limits allow."""
    loop, done = asyncio.get_running_loop(), anyio.Event()
    left = [len(works)]
    counting = threading.Lock()

    def one(work: Callable[[], None]) -> None:
        work()
        with counting:
            left[0] -= 1
            last = not left[0]
        if last:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done.set)

    for work in works:
        threading.Thread(target=one, args=(work,), name="notify", daemon=True).start()
    async with anyio.create_task_group() as tasks:

        async def give_up(begins: Callable[[], Awaitable[None]], seconds: float) -> None:
            await begins()
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

        for begins, seconds in ((anyio.lowlevel.checkpoint, TIMEOUT_S), *limits):
            tasks.start_soon(give_up, begins, seconds)
        await done.wait()
        tasks.cancel_scope.cancel()


# --- apprise

_loading = threading.Lock()


def _service(recipient: Recipient) -> "NotifyBase | None":
    """The service that an address means; None when there is none."""
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the modules of a hundred services warn of what no user can change
        import apprise

        asset = apprise.AppriseAsset(storage_mode="memory", app_id="bulkid", app_desc="bulkid", app_url="")
        service = apprise.Apprise.instantiate(recipient.address, asset=asset)
    return service  # noqa: RET504 - a return inside the scope hides from the type checker that there is one


def _attachments(paths: Sequence[Path]) -> "AppriseAttachment | None":
    """The files for a service; not by their paths alone, in which a ``?`` would begin a query."""
    from apprise import AppriseAttachment
    from apprise.attachment.file import AttachFile

    if not paths:
        return None
    # Its maker has no types.
    return AppriseAttachment([AttachFile(str(path)) for path in paths])  # type: ignore[no-untyped-call]


def _no_service(recipient: Recipient) -> str:
    if not recipient.scheme:
        return "it is no address of a service (such as mailtos://user:password@example.com)"
    return "no service takes this address; https://github.com/caronc/apprise/wiki shows what each looks like"


@dataclass(slots=True, eq=False)
class _LogCapture(logging.Filter):
    """Captures and suppresses what the libraries log in the threads of a delivery: it may show an address."""

    captured: dict[int, list[str]] = field(default_factory=dict)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning for the reason of a failure; what other threads log is not ours."""
        lines = self.captured.get(threading.get_ident())
        if lines is None:
            return True
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())
        return False

    @contextmanager
    def capturing(self) -> Iterator[list[str]]:
        """Yield what this thread logs while the block runs."""
        for name in _LIBRARIES:
            logging.getLogger(name).addFilter(self)  # once, however often it is added
        lines = self.captured[threading.get_ident()] = []
        try:
            yield lines
        finally:
            self.captured.pop(threading.get_ident(), None)


_log_capture: Final = _LogCapture()
