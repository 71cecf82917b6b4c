"""Locks on organisations: ``file`` keeps them on one machine, ``server`` on a PostgreSQL server for several hosts."""

from typing import Protocol

from bulkid.errors import InterruptedRunError


class LockLostError(InterruptedRunError):
    """Another run has taken over a lock that was held here: nothing more may be sent."""


class LockHandle(Protocol):
    """A lock that is held, until it is released or its owner ends, however that ends."""

    @property
    def is_current(self) -> bool:
        """Whether it is certain, without a request, that no other run can have taken it by now."""
        ...

    def confirm(self) -> None:
        """Make certain of it; may take as long as the database is away, at most its limit for retries.

        Raises:
            LockLostError: Another run has taken it, or that cannot be found out.
        """
        ...

    def release(self) -> None:
        """Release it; harmless when repeated."""
        ...
