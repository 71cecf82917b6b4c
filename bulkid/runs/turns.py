"""Taking turns within one process: of several jobs for one organisation, one runs after the other."""

from collections import defaultdict

import anyio


class Turns:
    """One lock per organisation, for the jobs of one process; between processes the journal's lock decides."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    def of(self, organization_id: str) -> anyio.Lock:
        """The lock of an organisation, by its id without regard to case."""
        return self._locks[organization_id.casefold()]
