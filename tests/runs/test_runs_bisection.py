"""Splitting refused group requests: every change is sent or fails, in a bounded number of requests."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.runs.execution.bisection import Batch, BatchQueue


def batch_of(group: str, item_numbers: Sequence[int]) -> Batch:
    return Batch(group, tuple(item_numbers), len(item_numbers))


@dataclass
class Server:
    """Takes a batch, or refuses it: for a member, for its size (as 413 or a plain 400), or without a clear answer."""

    poisoned: Collection[int] = ()
    most: int = 10**9
    says_too_large: bool = True
    broken_above: int = 10**9
    refusing: Collection[str] = ()  # groups that refuse every PUT
    takes_checks: bool = True  # else a PUT that changes nothing is refused
    checks_broken: bool = False  # then it gets no clear answer
    applied: set[tuple[str, int]] = field(default_factory=set)
    sizes: list[int] = field(default_factory=list)

    def put(self, queue: BatchQueue, batch: Batch) -> list[int]:
        self.sizes.append(len(batch))
        if batch.check and self.checks_broken:
            queue.unclear(batch)
        elif batch.group_id in self.refusing or (batch.check and not self.takes_checks):
            queue.refused(batch)
        elif len(batch) > self.broken_above:
            queue.unclear(batch)
        elif len(batch) > self.most and self.says_too_large:
            queue.too_large(batch)
        elif len(batch) > self.most or any(number in self.poisoned for number in batch.members):
            queue.refused(batch)
        else:
            self.applied |= {(batch.group_id, number) for number in batch.members}
            return queue.accepted(batch)
        return []


def drive(
    queue: BatchQueue,
    server: Server,
    pick: Callable[[list[Batch]], int] = lambda _: 0,
    under_way: Sequence[Batch] = (),
) -> tuple[list[int], int]:
    """Send until nothing is left; answers come in the order that ``pick`` chooses."""
    flying: list[Batch] = list(under_way)
    complete: list[int] = []
    most_flying = 0
    while True:
        flying += queue.next(256)
        most_flying = max(most_flying, len(flying))
        if not flying:
            assert queue.done, "the queue waits for a response that will not come"
            return complete, most_flying
        complete += server.put(queue, flying.pop(pick(flying)))
        assert len(server.sizes) < 10_000


@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=20), min_size=1, max_size=5),
    st.builds(
        Server,
        poisoned=st.sets(st.integers(0, 30), max_size=6),
        most=st.sampled_from([1, 2, 3, 7, 10**9]),
        says_too_large=st.booleans(),
        broken_above=st.sampled_from([0, 4, 10**9]),
        refusing=st.sets(st.sampled_from(["g0", "g1", "g2"])),
        takes_checks=st.booleans(),
        checks_broken=st.booleans(),
    ),
    st.integers(0, 2**32),  # a draw for each answer would take longer than all the rest
)
def test_every_change_is_carried_by_its_group_or_its_account_goes_by_itself(
    groups: list[set[int]], server: Server, seed: int
) -> None:
    queue, random = BatchQueue(), Random(seed)
    queue.add(batch_of(f"g{number}", sorted(item_numbers)) for number, item_numbers in enumerate(groups))
    complete, _ = drive(queue, server, lambda flying: random.randrange(len(flying)))
    wanted = {(f"g{number}", item_number) for number, item_numbers in enumerate(groups) for item_number in item_numbers}
    assert all(item_number in queue.individual for _, item_number in wanted - server.applied)
    assert {item_number for _, item_number in wanted} == set(complete) | set(queue.individual)
    assert not set(complete) & set(queue.individual)
    assert len(complete) == len(set(complete))
    assert not server.applied - wanted


@pytest.mark.parametrize("size", [2, 3, 5, 64, 199, 200, 1000])
def test_one_culprit_costs_little_and_all_others_are_updated(size: int) -> None:
    for culprit in {*range(0, size, 1 + size // 300), size - 1}:  # of the largest each fourth, and the last
        queue = BatchQueue()
        queue.add([batch_of("g", range(size))])
        server = Server({culprit})
        drive(queue, server)
        assert culprit in queue.individual
        extra = len(server.sizes) - 1 + len(queue.individual)
        assert extra <= 2 * ceil(log2(size)) + 2, culprit
        assert {item_number for _, item_number in server.applied} | set(queue.individual) == set(range(size))


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("size", [2, 3, 64, 200])
def test_one_culprit_costs_as_little_if_the_check_shows_nothing(size: int, *, broken: bool) -> None:
    for culprit in range(size):
        queue = BatchQueue()
        queue.add([batch_of("g", range(size))])
        server = Server({culprit}, checks_broken=broken)
        drive(queue, server)
        assert not queue.refusing
        assert len(server.sizes) - 1 + len(queue.individual) <= 2 * ceil(log2(size)) + 2, culprit


@pytest.mark.parametrize("largest_first", [True, False])
def test_a_group_that_refuses_every_put_costs_two_of_them_however_many_batches_it_has(*, largest_first: bool) -> None:
    queue = BatchQueue()
    batches = [batch_of("g", range(number * 200, number * 200 + 200)) for number in range(10)]
    other = batch_of("h", range(5000, 5300 if largest_first else 5010))
    queue.add([*batches, other])
    server = Server(refusing={"g"})
    complete, _ = drive(queue, server)
    assert sorted(server.sizes) == sorted([200, 0, len(other)])
    assert list(queue.refusing) == ["g"]
    assert sorted(queue.individual) == list(range(2000))
    assert sorted(complete) == list(other.members)
    assert queue.limit is None, "it was not refused for its size"


def test_a_group_of_many_small_batches_is_checked_too() -> None:
    queue = BatchQueue()
    queue.add(batch_of("g", range(number * 2, number * 2 + 2)) for number in range(50))
    server = Server(refusing={"g"})
    drive(queue, server)
    assert server.sizes == [2, 0]


def test_the_batches_of_a_group_go_side_by_side_once_the_first_has_passed() -> None:
    queue = BatchQueue()
    queue.add(batch_of("g", range(number * 200, number * 200 + 200)) for number in range(10))
    (first,) = queue.next(256)
    assert queue.next(256) == []
    queue.accepted(first)
    assert len(queue.next(256)) == 9


def test_a_group_whose_check_passes_and_whose_members_are_all_refused_is_given_up_for_this_run() -> None:
    queue = BatchQueue()
    queue.add([batch_of("g", range(200)), batch_of("g", range(200, 400))])
    server = Server(set(range(400)))
    drive(queue, server)
    assert len(server.sizes) <= 1 + ceil(log2(200)) + 3
    assert not queue.refusing, "the check has passed: the next run tries again"
    assert sorted(queue.individual) == list(range(400))


def test_all_members_of_a_group_are_dropped_if_its_check_shows_that_it_was_deleted() -> None:
    queue = BatchQueue()
    queue.add([batch_of("g", range(200)), batch_of("g", range(200, 260))])
    (first,) = queue.next(256)
    queue.refused(first)
    (check,) = queue.next(256)
    assert check.check
    assert sorted([*queue.drop(check), *queue.drop_group("g")]) == list(range(260))
    assert queue.next(256) == []
    assert queue.done


def test_where_one_half_passes_the_other_is_split_without_being_sent() -> None:
    queue = BatchQueue()
    queue.add([batch_of("g", range(64))])
    server = Server({63})
    drive(queue, server)
    assert server.sizes == [64, 0, 32, 16, 8, 4, 2]
    assert queue.individual == {62, 63}


def test_a_size_that_is_refused_is_not_tried_again() -> None:
    queue = BatchQueue()
    queue.add(batch_of(f"g{number}", range(number * 1000, number * 1000 + 200)) for number in range(10))
    server = Server(most=60)
    drive(queue, server)
    assert queue.limit == 50
    assert [size for size in server.sizes if size > 60] == [200, 100]
    assert len(server.sizes) == 2 + 10 * 4
    assert not queue.individual


def test_a_size_that_is_refused_without_saying_so_is_found_out_once() -> None:
    queue = BatchQueue()
    queue.add(batch_of(f"g{number}", range(number * 1000, number * 1000 + 200)) for number in range(10))
    server = Server(most=120, says_too_large=False)
    drive(queue, server)
    assert queue.limit == 100
    assert [size for size in server.sizes if size > 120] == [200]
    assert len(queue.individual) <= 2


def test_a_size_that_has_passed_is_not_lowered_for_one_refusal_that_no_part_repeats() -> None:
    class Fickle(Server):
        def put(self, queue: BatchQueue, batch: Batch) -> list[int]:
            if batch.group_id == "g1" and len(batch) == 8 and 8 in self.sizes:
                queue.refused(batch)
                return []
            return super().put(queue, batch)

    queue, server = BatchQueue(), Fickle()
    queue.add([batch_of("g0", range(8)), batch_of("g1", range(8, 16))])
    complete, _ = drive(queue, server)
    assert {*complete, *queue.individual} == set(range(16))
    assert server.sizes.count(8) == 1
    assert queue.limit is None


def test_once_a_size_has_passed_batches_go_side_by_side() -> None:
    queue = BatchQueue()
    queue.add(batch_of(f"g{number}", range(number * 1000, number * 1000 + 200)) for number in range(10))
    (size_probe,) = queue.next(256)
    assert queue.next(256) == []
    queue.accepted(size_probe)
    assert len(queue.next(256)) == 9


def test_a_server_that_never_takes_a_group_request_is_soon_left_alone() -> None:
    queue = BatchQueue()
    queue.add(batch_of(f"g{number}", range(number * 1000, number * 1000 + 200)) for number in range(10))
    server = Server(broken_above=0)
    drive(queue, server)
    assert len(server.sizes) == 3
    assert len(queue.individual) == 2000


def test_batches_of_a_deleted_group_are_returned_and_not_sent() -> None:
    queue = BatchQueue()
    queue.add([batch_of("g", range(200)), batch_of("h", range(50, 150)), batch_of("g", range(200, 260))])
    (size_probe,) = queue.next(256)
    assert sorted([*queue.drop(size_probe), *queue.drop_group("g")]) == list(range(260))
    server = Server()
    drive(queue, server)
    assert server.applied == {("h", item_number) for item_number in range(50, 150)}


def test_a_group_that_accepts_requests_is_not_given_up_for_many_culprits() -> None:
    queue = BatchQueue()
    queue.add(batch_of("g", range(number * 50, number * 50 + 50)) for number in range(20))
    server = Server(set(range(70, 1000, 50)))
    drive(queue, server)
    assert not queue.refusing
    assert len(queue.individual) <= 2 * 19


def test_the_deferred_half_of_a_deleted_group_is_returned_too() -> None:
    queue = BatchQueue()
    queue.add([batch_of("g", range(64))])
    for _ in range(2):
        (batch,) = queue.next(256)
        (queue.accepted if batch.check else queue.refused)(batch)
    (half,) = queue.next(256)
    assert len(half) == 32
    assert sorted(queue.drop(half)) == list(range(64))
    assert queue.done


def test_a_half_whose_size_is_refused_keeps_its_deferred_half() -> None:
    queue = BatchQueue()
    queue.add(batch_of(group, range(start, start + 64)) for group, start in (("f", 0), ("g", 100), ("h", 200)))
    (first,) = queue.next(256)
    queue.accepted(first)
    of_g, of_h = queue.next(256)
    queue.refused(of_g)
    (check,) = queue.next(256)
    queue.too_large(of_h)
    (of_h,) = queue.next(256)  # its other half waits, as h has taken nothing yet
    queue.accepted(check)  # the halves of g wait, one for the other
    queue.too_large(of_h)
    assert queue.limit == 16
    complete, _ = drive(queue, Server({163}, most=16))
    assert set(complete) | set(queue.individual) >= {*range(100, 164), *range(200, 264)}


@given(
    st.lists(st.integers(0, 30), unique=True),
    st.lists(st.integers(31, 60), unique=True),
    st.sets(st.integers(0, 60)),
    st.integers(1, 7),
)
def test_members_keep_joining_or_leaving_in_every_part(
    joining: list[int], leaving: list[int], left_out: set[int], count: int
) -> None:
    batch = Batch("g", (*joining, *leaving), len(joining))
    batch.leave_out(left_out)
    parts = BatchQueue()._even_parts(batch, count)
    assert [number for part in parts for number in part.members[: part.joining]] == [
        number for number in joining if number not in left_out
    ]
    assert [number for part in parts for number in part.members[part.joining :]] == [
        number for number in leaving if number not in left_out
    ]
    assert sum(map(len, parts)) == len(batch)
