"""Reading the list page by page while it changes: a list that is called complete is complete."""

from collections.abc import Callable, Iterable

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.identity.endpoints import Page
from bulkid.model import Account
from bulkid.runs.execution.account_list import Listing, read_list


class Server:
    """A list sorted by name that changes as it is read.

    Args:
        names: Accounts at the beginning.
        size: What a page holds at most.
        changes: What happens after each page, by number: names to delete and to create.
        count: What the server says of the count, from the true one.
    """

    def __init__(
        self,
        names: set[int],
        size: int,
        changes: Iterable[tuple[set[int], set[int]]] = (),
        count: Callable[[int], int] = lambda count: count,
    ) -> None:
        self.names = set(names)
        self.always = set(names)
        self.size = size
        self.changes = iter(changes)
        self.count = count
        self.seen: set[int] = set()
        self.skips: list[int] = []

    async def page(self, skip: int) -> Page:
        self.skips.append(skip)
        if len(self.skips) > 1000:
            raise AssertionError("it does not end")
        received = sorted(self.names)[skip : skip + self.size]
        answer = Page(self.count(len(self.names)), tuple(Account(f"id{n}", f"{n:05}", ("",), ()) for n in received))
        gone, new = next(self.changes, (set(), set()))
        self.names = (self.names - gone) | new
        self.always &= self.names
        return answer

    async def take(self, page: Page) -> None:
        self.seen |= {int(account.name) for account in page.accounts}

    async def read(self, ahead: int = 1, overlap: int = 3) -> Listing:
        return await read_list(self.page, self.take, ahead=ahead, overlap=overlap)


NAMES = st.sets(st.integers(0, 60))


@given(NAMES, st.integers(1, 9), st.lists(st.tuples(NAMES, NAMES), max_size=12), st.integers(1, 4), st.integers(0, 4))
async def test_a_reading_that_calls_itself_whole_has_missed_no_account_that_was_there_all_the_time(
    names: set[int], size: int, changes: list[tuple[set[int], set[int]]], ahead: int, overlap: int
) -> None:
    server = Server(names, size, changes)
    listing = await server.read(ahead, overlap)
    if listing.complete:
        assert server.seen >= server.always
    if listing.stable:
        assert listing.complete
        assert listing.total == len(server.seen)


@given(NAMES, st.integers(2, 9), st.integers(1, 4))
async def test_a_list_that_holds_still_is_read_whole_with_few_pages(names: set[int], size: int, ahead: int) -> None:
    server = Server(names, size)
    listing = await server.read(ahead)
    assert listing == Listing(len(names), len(names), len(server.skips), complete=True, stable=True)
    assert server.seen == names
    overlap = min(3, size // 2)
    assert len(server.skips) == 1 + max(0, -(-(len(names) - size) // (size - overlap)))


@given(NAMES, st.integers(2, 9), st.integers(1, 4), st.lists(st.integers(0, 5), max_size=40))
async def test_pages_that_come_in_any_order_are_taken_in_theirs_and_few_are_under_way(
    names: set[int], size: int, ahead: int, turns: list[int]
) -> None:
    """Each page takes some turns of the loop."""

    class Slow(Server):
        under_way = most = 0
        taken: tuple[int, ...] = ()

        async def page(self, skip: int) -> Page:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            page = await super().page(skip)
            for _ in range(turns[len(self.skips)] if len(self.skips) < len(turns) else 0):
                await anyio.lowlevel.checkpoint()
            self.under_way -= 1
            return page

        async def take(self, page: Page) -> None:
            self.taken += tuple(int(account.name) for account in page.accounts)
            await super().take(page)

    slow, fast = Slow(names, size), Server(names, size)
    assert await slow.read(ahead) == await fast.read()
    assert slow.skips == fast.skips
    assert slow.most <= ahead
    assert list(dict.fromkeys(slow.taken)) == sorted(names)


async def test_a_page_is_asked_for_while_one_that_was_asked_for_before_is_still_under_way() -> None:
    third_asked = anyio.Event()

    class Waiting(Server):
        async def page(self, skip: int) -> Page:
            page = await super().page(skip)
            if len(self.skips) == 4:  # the first page, then three of the list
                third_asked.set()
            elif len(self.skips) == 3:
                await third_asked.wait()
            return page

    server = Waiting(set(range(40)), 10)
    with anyio.fail_after(30):
        listing = await server.read(ahead=2)
    assert listing.stable


async def test_an_account_that_a_deletion_shifts_to_a_page_already_read_is_on_the_overlap() -> None:
    server = Server(set(range(20)), 10, [({0}, set())])
    listing = await server.read()
    assert server.seen == set(range(20))
    assert (listing.complete, listing.stable) == (True, False)


async def test_more_deletions_than_the_overlap_are_not_called_whole() -> None:
    server = Server(set(range(30)), 10, [({0, 1, 2, 3}, set())])
    listing = await server.read()
    assert not listing.complete
    assert 10 not in server.seen  # which is there all the time


async def test_one_deleted_and_one_created_that_leave_the_count_as_it_was_are_noticed() -> None:
    server = Server(set(range(30)), 10, [({0}, {99})])
    listing = await server.read(overlap=3)
    assert server.seen >= server.always
    assert (listing.complete, listing.stable) == (True, False)


@pytest.mark.parametrize("count", [0, 1, 4, 9, 10, 11, 30, 10**12])
@pytest.mark.parametrize("held", [0, 1, 9, 10, 25])
async def test_a_count_that_is_wrong_ends_the_reading_all_the_same(held: int, count: int) -> None:
    server = Server(set(range(held)), 10, count=lambda _: count)
    listing = await server.read(ahead=4)
    assert len(server.skips) <= 8
    if listing.complete and (held, count) != (25, 10):  # one page with all that is counted is believed
        assert server.seen == set(range(held))
    assert listing.stable == (held == count or (held, count) == (25, 10))


async def test_a_server_that_gives_the_same_page_whatever_is_skipped_proves_nothing() -> None:
    class Stuck(Server):
        async def page(self, skip: int) -> Page:  # noqa: ARG002 - that is what is wrong with it
            return await super().page(0)

    server = Stuck(set(range(30)), 10)
    assert not (await server.read()).complete


async def test_pages_of_one_account_prove_nothing_but_are_read() -> None:
    server = Server(set(range(4)), 1)
    listing = await server.read()
    assert not listing.complete
    assert server.seen == set(range(4))
