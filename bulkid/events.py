"""Where bulkid's own code logs: events with stable names, which structlog shows once a program has configured it.

Until then (bulkid used as a library) they go to the standard library's logger ``bulkid``, which is silent unless the
program wants it: structlog by itself would print them on standard output.
"""

import logging
from typing import Final

import structlog

_LIBRARY: Final = logging.getLogger("bulkid")
_LIBRARY.addHandler(logging.NullHandler())


class EventLog:
    """Logs events; every name is listed in ``bulkid.logs.EVENTS`` with its level."""

    def debug(self, event: str, **fields: object) -> None:
        """Log what only a developer wants to know."""
        self._tell("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log what an admin may want to know."""
        self._tell("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what an admin should know."""
        self._tell("warning", event, fields)

    def _tell(self, level: str, event: str, fields: dict[str, object]) -> None:
        if structlog.is_configured():
            getattr(structlog.get_logger(), level)(event, **fields)
        else:
            getattr(_LIBRARY, level)("%s %s", event, fields)


log: Final = EventLog()
"""The one log of the product."""
