"""Reading the list of accounts page by page, so that it is known whether an account was missed.

The list may change while it is read: where an account on a page that was already read is deleted, all later pages
begin one account too late, and a live account is on none of them. Pages therefore overlap. The list is sorted by name,
names never change, and each page is one stretch of the list as it was at one moment. Where each page shares an account
with the page before it, the stretches join without a gap: an account that existed all the time is on one of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bulkid.identity import Page
from bulkid.runs.concurrency import task_group
from bulkid.text import fold

OVERLAP = 10
"""Accounts that a page shares with the page before it: fewer deletions than this between two pages leave no gap."""


@dataclass(slots=True)
class Listing:
    """What is known of one reading of the list.

    Attributes:
        total: How many accounts the server counts, by the last page that was read.
        received: How many it showed.
        pages: How many pages were read.
        complete: Whether every account that existed all the time was on a page.
        stable: Whether, besides, nothing shows that the list changed meanwhile.
    """

    total: int = 0
    received: int = 0
    pages: int = 0
    complete: bool = False
    stable: bool = False


@dataclass(slots=True)
class _PageJoiner:
    """Joins pages in their order: only the ends of the last page are kept."""

    overlap: int
    skip: int = 0  # of the last page
    size: int = 0  # of the last page
    total: int = 0  # by the last page
    joined: bool = True  # whether no gap was seen
    stable: bool = True
    pages: int = 0
    _tail: tuple[str, ...] = ()
    _totals: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        """Where the last page ended in the list."""
        return self.skip + self.size

    def add(self, skip: int, page: Page) -> bool:
        """Take in the next page; say whether it shows an account that the page before it did not end with."""
        ids = [fold(account.id) for account in page.accounts]
        new = not set(ids[: self.overlap + 1]) <= set(self._tail)
        if self.pages:
            head = tuple(ids[: len(self._tail)])
            self.joined = self.joined and not set(head).isdisjoint(self._tail)
            # As sets: the server may list names that differ by case alone in either order.
            self.stable = self.stable and skip + len(self._tail) == self.end and set(head) == set(self._tail)
        self._tail = tuple(ids[-self.overlap :]) if self.overlap else ()
        self.skip, self.size, self.total = skip, len(ids), page.total
        self._totals.add(page.total)
        self.pages += 1
        return new

    def listing(self, *, ended: bool) -> Listing:
        complete = self.joined and ended
        stable = complete and self.stable and self._totals == {self.end}
        return Listing(self.total, self.end, self.pages, complete, stable)


async def read_list(
    page: Callable[[int], Awaitable[Page]],
    take: Callable[[Page], Awaitable[None]],
    *,
    ahead: int,
    overlap: int = OVERLAP,
    first: Page | None = None,
) -> Listing:
    """Read the list once, from its first page to its last.

    A server may give fewer accounts than a page was asked for, and may count wrong: reading ends where the count is
    reached, or where a page brings nothing new.

    Args:
        page: Reads the page that begins after so many accounts.
        take: Takes each page in the order of the list.
        ahead: Pages that are read side by side, and held at a time.
        overlap: Accounts that a page shares with the one before it; 0 saves requests, and proves nothing of a list
            that has several pages.
        first: The first page, where it was read already; ``take`` is not called for it.
    """
    if first is None:
        first = await page(0)
        await take(first)
    size = len(first.accounts)
    overlap = min(overlap, size // 2)
    joiner = _PageJoiner(overlap)
    joiner.add(0, first)
    stride = size - overlap
    while stride and joiner.end < joiner.total:
        start = joiner.end - overlap
        skips = range(start, max(joiner.total - overlap, start + 1), stride)[:ahead]
        for skip, each in zip(skips, await _pages(page, skips), strict=True):
            await take(each)
            if not joiner.add(skip, each):  # the list ends here, whatever the server counts
                return joiner.listing(ended=bool(overlap))
    while overlap and joiner.joined and joiner.end > joiner.total:  # it shows more than it counts: is there still more?
        skip = joiner.end - overlap
        each = await page(skip)
        await take(each)
        if not joiner.add(skip, each):
            return joiner.listing(ended=True)
    return joiner.listing(ended=joiner.end == joiner.total)


async def _pages(page: Callable[[int], Awaitable[Page]], skips: Sequence[int]) -> list[Page]:
    pages: dict[int, Page] = {}

    async def read(skip: int) -> None:
        pages[skip] = await page(skip)

    async with task_group() as tasks:
        for skip in skips:
            tasks.start_soon(read, skip)
    return [pages[skip] for skip in skips]
