"""What a lock on an organisation is, whichever database keeps it."""

from typing import Protocol

from bulkid.errors import InterruptedRunError


class LockLostError(InterruptedRunError):
    """Somebody else has taken over a lock that was held here: nothing more may be sent."""


class LockHandle(Protocol):
    """A lock that is held, until it is released or its owner ends, however that ends."""

    @property
    def is_current(self) -> bool:
        """Whether it is certain, without asking anybody, that nobody else can have taken it by now."""
        ...

    def confirm(self) -> None:
        """Make certain of it; may take as long as the database is away, at most its patience.

        Raises:
            LockLostError: Somebody else has taken it, or it cannot be found out.
        """
        ...

    def release(self) -> None:
        """Let it go; harmless when repeated."""
        ...
