"""SIGINT and SIGTERM as requests to stop, on every system: the first one stops cleanly, a second one at once.

One handler keeps every signal until code has handled it. A bare ``KeyboardInterrupt`` is no substitute: Python drops
an exception that is raised inside a destructor or the callback of a weak reference, as imports run them. While the
program starts, the handler therefore only keeps the signal, until a block of ``raising`` or ``delivering`` begins.
"""

import signal
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # this module is the first that a start imports, so it imports next to nothing itself
    import asyncio

    from bulkid.engine.signals import Stop

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Ctrl+Break and a closed console window on Windows
_REASONS = {"SIGINT": "Stopped with Ctrl+C", "SIGBREAK": "Stopped with Ctrl+Break"}
_NO_FD = -1

T = TypeVar("T")


class PendingSignals:
    """Keeps the signals that arrived until code handles them; for the main thread only."""

    def __init__(self) -> None:
        self._kept: deque[int] = deque()
        self._raises = False
        self._receive: Callable[[int], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has_pending(self) -> bool:
        """Whether a signal has arrived that no code has dealt with."""
        return bool(self._kept)

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in self._numbers():
            signal.signal(number, self._arrived)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals while the block runs, and put back afterwards what handled them before."""
        before = {number: signal.getsignal(number) for number in self._numbers()}
        self.install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def raising(self, *, wanted: bool = True) -> Iterator[None]:
        """Let a signal raise ``KeyboardInterrupt`` while the block runs: for work without an event loop.

        A signal that arrived before the block raises it too. With ``wanted`` False signals are only kept, until an
        event loop within the block delivers them.
        """
        before, self._raises = self._raises, wanted
        try:
            if wanted and self._kept:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = before

    @contextmanager
    def delivering(self, receive: Callable[[int], None]) -> Iterator[None]:
        """Hand each signal to ``receive`` while the block runs, those first that were kept; inside the event loop."""
        import asyncio

        before = self._receive, self._loop
        loop = asyncio.get_running_loop()
        with self.installed(), _wakeup_fd(loop):
            self._receive, self._loop = receive, loop
            try:
                self._deliver()
                yield
            finally:
                self._receive, self._loop = before

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        """The handler. Python calls it on the main thread, between any two instructions."""
        self._kept.append(number)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver)
        elif len(self._kept) > 1 or (self._raises and not _importing(frame)):
            raise KeyboardInterrupt

    def _deliver(self) -> None:
        while self._kept and self._receive is not None:
            self._receive(self._kept.popleft())

    @staticmethod
    def _numbers() -> list[signal.Signals]:
        return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


pending_signals = PendingSignals()
"""The process's own: signals are the process's, so there is one."""


@contextmanager
def stopping(stop: "Stop", notify: Callable[[str], None]) -> Iterator[None]:
    """Turn signals into ``stop.request()`` and then ``stop.abort()`` while the block runs.

    A signal that arrived before the block, and that no code has dealt with, counts as the first one.
    Must be entered on the main thread, inside the running event loop.
    """

    def arrived(number: int) -> None:
        name = signal.Signals(number).name
        if stop.requested:
            stop.abort()  # first, whatever keeps the message from being shown
            notify("Stopping at once. The journal keeps what was sent.")
        else:
            stop.request(_REASONS.get(name, f"Stopped by {name}"))
            notify("Stopping: requests in flight finish first (10 s at most). Press Ctrl+C again to stop at once.")

    with pending_signals.delivering(arrived):
        yield


def run_event_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` in an event loop.

    Raises:
        KeyboardInterrupt: A signal came while ``work`` was not prepared for one (see ``stopping``).
    """
    import anyio

    from bulkid.consume import limit_malloc
    from bulkid.identity.aiohttp_import import import_aiohttp

    import_aiohttp()
    limit_malloc()  # before there are threads
    try:
        import uvloop  # noqa: F401 - only whether it is there

        options = {"use_uvloop": True}
    except ImportError:  # Windows, and interpreters that it is not built for
        options = {}

    async def interruptible() -> T:
        with anyio.CancelScope() as scope:

            def arrived(_number: int) -> None:
                if scope.cancel_called:
                    raise KeyboardInterrupt  # the second signal: wait for nothing more
                scope.cancel()

            with pending_signals.delivering(arrived):
                return await work()
        raise KeyboardInterrupt

    with pending_signals.raising(wanted=False):
        return anyio.run(interruptible, backend_options=options)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported, which an exception would leave half made."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


@contextmanager
def _wakeup_fd(loop: "asyncio.AbstractEventLoop") -> Iterator[None]:
    """Have a signal end the loop's wait for events.

    A signal that arrives between the last instruction and the system's wait would go unseen until some other event.
    uvloop and the loop on Windows see to that by themselves, asyncio's own loop on POSIX does not.
    """
    import socket

    previous_fd = signal.set_wakeup_fd(_NO_FD)
    if previous_fd != _NO_FD:
        signal.set_wakeup_fd(previous_fd, warn_on_full_buffer=False)
        yield
        return
    receiving, sending = socket.socketpair()
    with receiving, sending:
        for end in (receiving, sending):
            end.settimeout(0)

        def drain() -> Any:  # noqa: ANN401 - what was sent is of no use: the handler has kept the signal
            receiving.recv(4096)

        loop.add_reader(receiving, drain)
        signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(_NO_FD)
            loop.remove_reader(receiving)
