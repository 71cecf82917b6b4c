"""SIGINT and SIGTERM as a wish to stop, on every system: the first stops cleanly, a second one at once."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bulkid.engine import Stop

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Ctrl+Break and a closed console window on Windows


@contextmanager
def stopping(stop: Stop, tell: Callable[[str], None]) -> Iterator[None]:
    """Turn signals into ``stop.request()`` and then ``stop.abort()`` while the block runs, and put them back after.

    Must be entered on the main thread, inside the running event loop.
    """
    loop = asyncio.get_running_loop()
    signals = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]

    def arrived(number: int) -> None:
        name = signal.Signals(number).name
        if stop.requested:
            tell(f"{name} again: stopping at once; what was sent stays known.")
            stop.abort()
        else:
            tell(f"{name}: letting requests in flight finish (10 s at most); once more stops at once.")
            stop.request(name)

    before = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        try:
            loop.add_signal_handler(number, arrived, number)
        except NotImplementedError:  # Windows: its event loop takes no signal handlers
            signal.signal(number, lambda got, _: loop.call_soon_threadsafe(arrived, got))
    try:
        yield
    finally:
        for number in signals:
            with suppress(NotImplementedError):  # as above; the plain handler is put back all the same
                loop.remove_signal_handler(number)
            signal.signal(number, before[number])
