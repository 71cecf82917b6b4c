"""Reading the list of accounts page by page, and proving that no account was missed.

The list can change while bulkid reads it. When an account on an earlier page is deleted, all later pages begin one
account too late, and a page then skips an account that exists. Pages therefore overlap. The list is sorted by name,
names never change, and each page is a contiguous part of the list at one moment. If each page shares an account with
the page before it, an account that existed during the whole reading is on one of them.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import anyio

from bulkid.identity.endpoints import Page
from bulkid.model import Account
from bulkid.runs.concurrency import task_group
from bulkid.text import fold

OVERLAP = 10
"""Accounts that a page shares with the page before it: fewer deletions than this between two pages leave no gap."""


@dataclass(slots=True)
class Listing:
    """The result of reading the list once."""

    total: int = 0  # accounts that the server counts, according to the last page
    received: int = 0  # accounts that the server listed
    pages: int = 0
    complete: bool = False  # whether every account that existed during the whole reading was on a page
    stable: bool = False  # whether it is complete, and nothing shows that the list changed during the reading


@dataclass(slots=True)
class _PageJoiner:
    """Joins pages in their order. It keeps only the ids at the end of the last page."""

    overlap: int
    skip: int = 0  # of the last page
    size: int = 0  # of the last page
    total: int = 0  # according to the last page
    joined: bool = True  # whether there was no gap
    stable: bool = True
    pages: int = 0
    _tail: tuple[str, ...] = ()
    _totals: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        """The position in the list at which the last page ended."""
        return self.skip + self.size

    def add(self, skip: int, page: Page) -> bool:
        """Add the next page. Return whether it has an account that was not at the end of the page before it."""
        accounts, overlap = page.accounts, self.overlap
        beginning = _folded_ids(accounts[: overlap + 1])
        new = not set(beginning) <= set(self._tail)
        if self.pages:
            head = beginning[: len(self._tail)]
            self.joined = self.joined and not set(head).isdisjoint(self._tail)
            # As sets: the server may list names that differ by case alone in either order.
            self.stable = self.stable and skip + len(self._tail) == self.end and set(head) == set(self._tail)
        self._tail = _folded_ids(accounts[-overlap:]) if overlap else ()
        self.skip, self.size, self.total = skip, len(accounts), page.total
        self._totals.add(page.total)
        self.pages += 1
        return new

    def listing(self, *, ended: bool) -> Listing:
        complete = self.joined and ended
        stable = complete and self.stable and self._totals == {self.end}
        return Listing(self.total, self.end, self.pages, complete, stable)


def _folded_ids(accounts: Iterable[Account]) -> tuple[str, ...]:
    return tuple([fold(account.id) for account in accounts])


async def read_list(
    page: Callable[[int], Awaitable[Page]],
    take: Callable[[Page], Awaitable[None]],
    *,
    ahead: int,
    overlap: int = OVERLAP,
    first: Page | None = None,
) -> Listing:
    """Read the list once, from its first page to its last.

    A server may return fewer accounts than requested per page, and its count may be wrong: reading ends when the count
    is reached, or when a page has no new account.

    Args:
        page: Reads the page that begins after the given number of accounts.
        take: Receives each page in the order of the list.
        ahead: Number of pages that are read in parallel.
        overlap: Accounts that a page shares with the page before it. 0 saves requests, but then a list of several pages
            is never complete.
        first: The first page if the caller has read it already; ``take`` is not called for it.
    """
    if first is None:
        first = await page(0)
        await take(first)
    size = len(first.accounts)
    overlap = min(overlap, size // 2)
    joiner = _PageJoiner(overlap)
    joiner.add(0, first)
    stride = size - overlap

    def skips() -> Iterator[int]:
        skip = joiner.end - overlap
        yield skip
        while (skip := skip + stride) < joiner.total - overlap:  # as the last page counts
            yield skip

    async def receive(skip: int, each: Page) -> bool:
        await take(each)
        return joiner.add(skip, each)

    while stride and joiner.end < joiner.total:
        if not await _read_ahead(page, skips(), ahead, receive):  # the list ends here, even if the server counts more
            return joiner.listing(ended=bool(overlap))
    while overlap and joiner.joined and joiner.end > joiner.total:  # listed more than counted: there may be still more
        skip = joiner.end - overlap
        each = await page(skip)
        await take(each)
        if not joiner.add(skip, each):
            return joiner.listing(ended=True)
    return joiner.listing(ended=joiner.end == joiner.total)


async def _read_ahead(
    page: Callable[[int], Awaitable[Page]],
    skips: Iterator[int],
    ahead: int,
    receive: Callable[[int, Page], Awaitable[bool]],
) -> bool:
    """Read pages, up to ``ahead`` of them in parallel, until ``receive`` does not want another one.

    ``receive`` gets them in their order, one by one. Returns whether it wanted all.
    """
    pages: dict[int, Page] = {}
    requested: deque[tuple[int, anyio.Event]] = deque()

    async def read(skip: int, received: anyio.Event) -> None:
        pages[skip] = await page(skip)
        received.set()

    async with task_group() as tasks:
        while True:
            for skip in islice(skips, ahead - len(requested)):
                requested.append((skip, anyio.Event()))
                tasks.start_soon(read, *requested[-1])
            if not requested:
                return True
            skip, received = requested.popleft()
            await received.wait()
            if not await receive(skip, pages.pop(skip)):
                return False
