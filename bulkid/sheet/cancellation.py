"""Cancelling what another thread waits for: a child process that reads a file, or a pipe that brings nothing more."""

import threading
from collections.abc import Callable


class CancelToken:
    """Ends one reading of a sheet, from any thread. What was cancelled stays so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the reading is to end."""
        return self._cancelled

    def cancel(self) -> None:
        """End the reading; harmless when repeated. Does not wait until it has ended."""
        with self._lock:
            self._cancelled = True
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def on_cancel(self, end: Callable[[], None]) -> None:
        """Have a function called when the reading is cancelled: at once where it is already.

        Args:
            end: Ends what the reading thread waits for; called in the thread that cancels.
        """
        with self._lock:
            if not self._cancelled:
                self._ends.append(end)
                return
        end()
