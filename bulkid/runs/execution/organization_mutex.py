"""Taking turns within one process: of several jobs for one organisation, one runs after the other."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from bulkid.engine import Stop
from bulkid.runs.concurrency import until_stopped


class OrganizationMutex:
    """One lock per organisation, for the jobs of one process; between processes the journal's lock decides."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    @asynccontextmanager
    async def taken(self, organization_id: str, stop: Stop, notify: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait until no other job of this process works on an organisation, and keep the others waiting meanwhile.

        Args:
            organization_id: Compared without regard to case.
            stop: Ends the wait.
            notify: Told that there is something to wait for.

        Raises:
            InterruptedRunError: A stop was requested while it waited.
        """
        lock = self._locks[organization_id.casefold()]
        if lock.locked():
            notify("Waiting: another job of this start works on the same organisation.")
        async with until_stopped(stop):
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()
