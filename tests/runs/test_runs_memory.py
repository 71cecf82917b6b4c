"""Each stage of a run frees the objects of the stage before it: 100,000 rows have 300 MB."""

import ctypes
import gc
import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.consume import consume, limit_malloc, return_freed_memory
from bulkid.engine.engine import Engine
from bulkid.identity.tokens import Capabilities
from bulkid.journal.store import Journal
from bulkid.model import (
    Account,
    Change,
    DesiredState,
    Group,
    Outcome,
    Reply,
    ReplyKind,
    Request,
    RowRequest,
    RunItem,
    Status,
)
from bulkid.planning.cover import cover, groups_where_possible
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, diff
from bulkid.planning.preconditions import Precondition, PreconditionRules
from bulkid.planning.strategy import Strategy
from bulkid.runs import Preview
from bulkid.runs.execution.bisection import Batch, BatchQueue
from bulkid.runs.execution.directory_reader import read_directory
from bulkid.runs.execution.reconcile import DEFERRED, PlannedAgain, PlannedItems, send_plan_of
from bulkid.runs.inputs.precomputed import Origin, PrecomputedInput
from bulkid.runs.inputs.run_input import AccountLookup, Rows, RunJournal
from bulkid.sheet import SheetInfo
from bulkid.sheet.cells import parse_list

INFO = SheetInfo("sheet.csv", "csv", "", "utf-8", ",", ("id",), ("robot_account_id",))


class Text(str):
    """A text that can be watched while it is alive."""

    __slots__ = ("__weakref__",)


def test_each_row_request_is_freed_as_it_is_yielded_and_the_accounts_stay_counted() -> None:
    rows = Rows(INFO, [RowRequest(n, Text(f"id-{n // 2}"), "", (None,), (), (), None, "") for n in range(10)])
    alive = [weakref.ref(desired.account_id) for desired in rows.requests]
    accounts = rows.accounts
    numbers = []
    for desired in rows.release():
        numbers.append(desired.row)
        del desired
        gc.collect()
        assert [each() is not None for each in alive] == [n >= len(numbers) for n in range(10)]
        assert rows.accounts == accounts == 5
    assert numbers == list(range(10))


def test_a_group_is_one_string_however_many_cells_name_it() -> None:
    first, second = parse_list("Fin" + "ance; Trainees"), parse_list("Legal, Finance")
    assert first.items[0] == second.items[1] == "Finance"
    assert first.items[0] is second.items[1]


async def test_an_account_that_was_read_shares_the_strings_of_the_rows_that_asked_for_it() -> None:
    """The server's answer has strings of its own: those of 60,000 ids would take 5 MB more until the plan is made."""
    listed = [{"id": f"id-{number}", "name": f"robot-{number}"} for number in range(3)]
    page = Reply(ReplyKind.OK, 200, {"totalCount": len(listed), "results": listed})

    async def call(_request: Request) -> SimpleNamespace:
        return SimpleNamespace(reply=page)

    account_id, name = (f"{text}-{number}" for number, text in enumerate(("id", "robot")))
    engine = cast("Engine", SimpleNamespace(call=call))
    lookup = AccountLookup((account_id,), (name,), groups=False)
    directory, _ = await read_directory(engine, "o", lookup, Capabilities())
    first, second, third = directory.accounts or ()
    assert (first.id, second.name, third.id) == ("id-0", "robot-1", "id-2")
    assert first.id is account_id
    assert second.name is name


def test_sending_holds_neither_accounts_nor_states_before_and_knows_whether_it_is_blind() -> None:
    account = Account("a", "robot", ("Robot",), ("g",))
    change = Change("a", "robot", ("New",), True, (), (), account)  # noqa: FBT003 - a row of plain values
    seeing = send_plan_of(Directory("o", [account], [Group("g", "Finance")]), enumerate([change]), None)
    assert seeing.directory.accounts is None
    assert not seeing.directory.blind
    assert seeing.directory.group_name("g") == "Finance"
    assert seeing.by_account == [(0, change._replace(before=None))]
    assert send_plan_of(Directory("o", None, None), [], None).directory.blind


# One group is added to some accounts and removed from others, so that a batch can hold both.
CHANGED = st.lists(
    st.tuples(st.booleans(), st.frozensets(st.sampled_from("abcd")), st.frozensets(st.sampled_from("abcd"))).map(
        lambda made: (made[0], made[1], made[2] - made[1])
    ),
    max_size=12,
)


@given(CHANGED, st.integers(1, 4), st.booleans())
def test_what_is_sent_is_what_the_route_says_by_entry(
    made: list[tuple[bool, frozenset[str], frozenset[str]]], batch: int, by_group: bool
) -> None:
    before = Account("x", "robot", ("Robot",), ())
    changes = [
        (
            10 + place,
            Change(f"id-{place}", f"robot-{place}", ("R",), renames, tuple(sorted(add)), tuple(sorted(off)), before),
        )
        for place, (renames, add, off) in enumerate(made)
        if renames or add or off
    ]
    differences = [change for _, change in changes]
    planned = groups_where_possible(differences, batch) if by_group else cover(differences, batch)
    work = send_plan_of(Directory("o", (), ()), iter(changes), Strategy(planned, len(changes)))
    light = {item: change._replace(before=None) for item, change in changes}
    individual = [changes[place][0] for place in planned.by_account]
    assert work.by_account == [(item, light[item]) for item in individual]
    assert work.by_group == {item: change for item, change in light.items() if item not in individual}
    assert work.accounts == len(changes)
    assert [(each.group_id, each.members, each.joining) for each in work.batches] == [
        (
            each.group_id,
            tuple(changes[place][0] for place in [*sorted(each.add), *sorted(each.remove)]),
            len(each.add),
        )
        for each in planned.batches
    ]
    assert {number for each in work.batches for number in each.members} <= work.by_group.keys()


def test_each_account_is_freed_as_its_change_is_read() -> None:
    accounts = [Account(Text(f"a{n}"), "robot", ("Robot",), ()) for n in range(3)]
    alive = [weakref.ref(each.id) for each in accounts]
    changes = [(n, Change("a", "robot", ("New",), True, (), (), each)) for n, each in enumerate(accounts)]  # noqa: FBT003
    accounts.clear()
    left = consume(changes)

    def watched() -> Iterator[tuple[int, Change]]:
        for taken in range(3):
            gc.collect()
            assert [each() is not None for each in alive] == [n >= taken - 1 for n in range(3)]  # the last is at hand
            yield next(left)

    assert len(send_plan_of(Directory("o", (), ()), watched(), None).by_account) == 3
    gc.collect()
    assert [each() for each in alive] == [None] * 3


async def test_precomputed_changes_are_compared_once_and_freed() -> None:
    account = Account("a", "robot", ("Robot",), ())
    expected = Precondition(DesiredState("a", "robot", ("New",), (), (), None, (2,)), account)
    origin = Origin("The plan p.json", "https://x", "o")
    run_input = PrecomputedInput("p.json", origin, PreconditionRules("as it was"), [expected])
    rows = await run_input.read()
    assert (rows.count, rows.accounts, rows.lookup().ids) == (1, 1, ("a",))
    assert rows.resolve(Directory("o", [account], ()), ResolveOptions()).desired_states == (expected.desired,)
    assert run_input.expected == []


def test_what_a_trial_left_is_planned_again_where_it_still_differs() -> None:
    account = Account("a", "robot", ("Robot now",), ())
    desired = DesiredState("a", "robot", ("New",), (), (), None, (2,))
    items = [
        RunItem(number, desired, None, "", outcome)
        for number, outcome in enumerate([DEFERRED, Outcome(Status.PENDING), DEFERRED, DEFERRED])
    ]
    changes = [(number, diff(desired, account, Directory("o", [account], ()))) for number in (0, 1, 3)]
    again = PlannedAgain(items, changes, Directory("o", (), ()))
    assert list(again) == list(again)
    assert [item.number for item in again] == [0, 3]
    assert {(item.before, item.changes) for item in again} == {(account, "display name: Robot now -> New")}


def test_run_items_are_made_one_by_one_in_each_iteration() -> None:
    accounts = [Account(f"a{n}", f"robot-{n}", ("Robot",), ()) for n in range(3)]
    desired_states = [DesiredState(each.id, each.name, ("New",), (), (), None, (n,)) for n, each in enumerate(accounts)]
    changes = [Change(each.id, each.name, ("New",), True, (), (), each) for each in accounts]  # noqa: FBT003
    skipped = tuple(desired_states[2:])
    plan = Plan(tuple(changes[:1]), tuple(desired_states[:1]), tuple(desired_states[1:2]), skipped, tuple(changes[2:]))
    preview = Preview(
        INFO, plan, Directory("o", accounts, ()), "https://x", "o", 3, (), (), None, 0.0, {}, 1, (), excess=None
    )
    items = PlannedItems(preview, 5.0)
    assert iter(items) is not iter(items)
    made = list(items)
    assert made == list(items)
    assert [item.number for item in made] == [0, 1, 2]
    assert [item.before for item in made] == accounts
    assert made[0].outcome == Outcome(Status.PENDING)
    assert made[1].outcome == Outcome(Status.UNCHANGED, finished_at=5.0)
    assert [item.changes for item in made][::2] == ["display name: Robot -> New"] * 2


def test_no_more_group_requests_are_made_ready_than_asked_for_and_none_is_left_out() -> None:
    queue = BatchQueue()
    queue.add([Batch(f"g{n}", (n,), 1) for n in range(10)])
    (probe,) = queue.next(4)  # the first of a size goes alone
    queue.accepted(probe)
    given = [probe]
    while ready := queue.next(4):
        assert len(ready) <= 4
        given += ready
        for batch in ready:
            queue.accepted(batch)
    assert queue.done
    assert sorted(batch.members[0] for batch in given) == list(range(10))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no call for it")
def test_freed_memory_below_what_is_in_use_goes_back_to_the_system() -> None:
    texts = [bytes(2000) for _ in range(20_000)]
    kept = texts[-1]
    del texts
    assert return_freed_memory()
    assert kept == bytes(2000)


async def test_memory_of_precomputed_changes_goes_back_once_journaled(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("bulkid.runs.inputs.precomputed.return_freed_memory", lambda: done.append("memory returned"))
    journal = SimpleNamespace(add_rows=lambda _run, rows: done.append(f"{len(rows)} rows journaled"))
    account = Account("a", "robot", ("Robot",), ())
    expected = Precondition(DesiredState("a", "robot", ("New",), (), (), None, (2,)), account)
    origin = Origin("The plan p.json", "https://x", "o")
    run_input = PrecomputedInput("p.json", origin, PreconditionRules("as it was"), [expected])
    await run_input.read(RunJournal(cast("Journal", journal), "run"))
    assert done == ["1 rows journaled", "memory returned"]


def test_where_the_system_has_no_call_for_it_freed_memory_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
        assert not return_freed_memory()
        assert not limit_malloc()
        patched.setattr(sys, "platform", "win32")
        patched.delattr(ctypes, "CDLL")
        assert not return_freed_memory()


MANY_BLOCKS = """
import ctypes
from bulkid.consume import limit_malloc

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
if {limited}:
    assert limit_malloc()
del [bytes(20_000_000)][:]  # from now on glibc by itself keeps blocks of such a size in its heap
before = mallinfo().hblks
blocks = [bytes(1_000_000) for _ in range(8)]
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None) if sys.platform == "linux" else None, "mallinfo2"), reason="no glibc")
@pytest.mark.parametrize(("limited", "mapped"), [(False, "0"), (True, "8")])
def test_large_blocks_go_back_to_the_system_at_once(limited: bool, mapped: str) -> None:
    code = MANY_BLOCKS.replace("{limited}", str(limited))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == mapped
