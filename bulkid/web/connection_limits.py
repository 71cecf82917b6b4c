"""Limits on open connections, so that a client that opens many of them cannot make the console unreachable."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

IDLE_S: Final = 15.0
"""Seconds after which the server closes a connection that sends no request."""

PER_ADDRESS: Final = 100
"""Open connections that one address may have. A browser opens six; each page that is watched takes one more."""

MAX_CONNECTIONS: Final = 1000
"""Open connections in all, where the operating system allows as many."""

_RESERVED_FILES: Final = 128  # open files that the server itself needs: the database, sheets, requests to the server


@dataclass(slots=True)
class ConnectionLimit:
    """Counts the open connections of each address, and says whether one more may be opened.

    Args:
        per_address: Connections that one address may have; None for any number (all come from one proxy).
        max_total: Connections in all.
    """

    per_address: int | None = PER_ADDRESS
    max_total: int = MAX_CONNECTIONS
    _open: dict[str, list[asyncio.BaseTransport]] = field(default_factory=dict)
    _count: int = 0

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Count a new connection, unless its address or the server has too many."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        mine = self._drop_closed(address)
        if self.per_address is not None and len(mine) >= self.per_address:
            return False
        if self._count >= self.max_total:
            for each in tuple(self._open):
                self._drop_closed(each)
            if self._count >= self.max_total:
                return False
        self._open.setdefault(address, mine).append(transport)
        self._count += 1
        return True

    def _drop_closed(self, address: str) -> list[asyncio.BaseTransport]:
        before = self._open.pop(address, [])
        after = [each for each in before if not each.is_closing()]
        self._count -= len(before) - len(after)
        if after:
            self._open[address] = after
        return after


class _Admission(asyncio.Protocol):
    """Hands a new connection to the server, or closes it at once where the limit is reached."""

    def __init__(self, limit: ConnectionLimit, serve: Callable[[], asyncio.BaseProtocol]) -> None:
        self._limit = limit
        self._serve = serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admitted = cast("asyncio.Transport", transport)
        if not self._limit.admits(transport):
            admitted.abort()
            return
        protocol = self._serve()
        admitted.set_protocol(protocol)
        protocol.connection_made(transport)


def limited(limit: ConnectionLimit, serve: Callable[[], asyncio.BaseProtocol]) -> Callable[[], asyncio.Protocol]:
    """Return a protocol factory that admits connections to a server as far as the limit allows."""
    return lambda: _Admission(limit, serve)


def max_connections() -> int:
    """Return how many connections the operating system lets this process have, at most ``MAX_CONNECTIONS``.

    The soft limit of open files (256 on macOS) is raised to what the hard limit allows.
    """
    if sys.platform == "win32":  # sockets are no files there
        return MAX_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_CONNECTIONS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # a system that allows fewer than its hard limit says
        allowed = soft
    return max(allowed - _RESERVED_FILES, allowed // 2)
