"""Items as columns: values that many items share are stored and read back for each of them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bulkid.journal.codec import (
    dump_row_errors,
    dumps,
    item_of,
    item_values,
    pack_items,
    planned_values,
    row_values,
    storable,
    unpack_items,
)
from bulkid.model import Account, Action, DesiredState, Outcome, RowError, RowRequest, RunItem, SheetRow, Status, Via
from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, using

MORE_FIELDS = replace(
    ROBOT_ACCOUNTS, fields=(DISPLAY_NAME, Field("rows", "rows", "rows", ()), Field("b", "b", "b", ()))
)
ANY_TEXT = st.text(st.characters(), max_size=4)  # broken surrogates and U+0000 too
FEW_TEXTS = st.sampled_from(["", "a", "b", "A", "a b"])
GROUP_IDS = st.lists(FEW_TEXTS, max_size=4).map(tuple)
OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(Status),
    http_status=st.sampled_from([None, 200, 404]),
    error_code=FEW_TEXTS,
    error=FEW_TEXTS,
    attempts=st.integers(0, 2),
    via=st.sampled_from([None, *Via]),
    finished_at=st.sampled_from([None, 1.0, 2.5]),
    account_id=st.just(""),  # once journaled, it is the id of the item
)
DESIRED = st.builds(
    DesiredState,
    account_id=FEW_TEXTS,
    name=FEW_TEXTS,
    values=st.tuples(st.none() | FEW_TEXTS),
    add=GROUP_IDS,
    remove=GROUP_IDS,
    exact=st.none() | GROUP_IDS,
    rows=st.lists(st.integers(2, 5), max_size=2).map(tuple),
    action=st.sampled_from(Action),
)
# When an account was made is not stored, and when it was last used of deletions alone.
ACCOUNTS = st.tuples(FEW_TEXTS, FEW_TEXTS, st.tuples(FEW_TEXTS), st.none() | GROUP_IDS).map(
    lambda fields: Account(*fields)
)
ITEMS = st.builds(RunItem, st.integers(0, 9), DESIRED, st.none() | ACCOUNTS, FEW_TEXTS, OUTCOMES, st.booleans())


def _read_back(items: list[RunItem]) -> list[RunItem]:
    return [item_of(columns[1:]) for columns in item_values(1, items)]


def _items(texts: st.SearchStrategy[str], fields: int) -> st.SearchStrategy[RunItem]:
    values = st.tuples(*[st.none() | texts] * fields)
    groups = st.lists(texts, max_size=3).map(tuple)
    desired = st.builds(
        DesiredState, texts, texts, values, groups, groups, st.none() | groups, st.just((2, 3)), st.sampled_from(Action)
    )
    before = st.builds(Account, texts, texts, values, st.none() | groups, texts, texts)
    return st.builds(RunItem, st.integers(0, 9), desired, st.none() | before, texts, OUTCOMES, st.booleans())


def _planned(run: int, item: RunItem, keys: tuple[str, ...]) -> tuple[object, ...]:
    """The columns as the journal has had them since version 6, said in another way."""
    desired, before = item.desired, item.before

    def written(pairs: list[tuple[str, object, bool]]) -> str:
        return dumps({name: value for name, value, there in pairs if there})

    def by_key(values: tuple[str | None, ...]) -> dict[str, str]:
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    packed = written(
        [
            ("rows", desired.rows, True),
            ("values", by_key(desired.values), any(value is not None for value in desired.values)),
            ("add", desired.add, bool(desired.add)),
            ("remove", desired.remove, bool(desired.remove)),
            ("exact", desired.exact, desired.exact is not None),
            ("action", desired.action.value, desired.action is not Action.UPDATE),
        ]
    )
    state = before and written(
        [
            ("values", by_key(before.values), True),
            ("groups", before.group_ids, True),
            ("id", before.id, before.id != desired.account_id),
            ("name", before.name, before.name != desired.name),
            ("last_login", before.last_login, desired.action is Action.DELETE and before.last_login != ""),
        ]
    )
    return run, item.number, desired.account_id, desired.name, packed, state, item.changes


@given(st.lists(_items(FEW_TEXTS, 1) | _items(ANY_TEXT, 1), max_size=4))
def test_the_columns_of_items_are_what_they_have_always_been(items: list[RunItem]) -> None:
    assert planned_values(1, items) == [_planned(1, item, ROBOT_ACCOUNTS.keys) for item in items]


@given(st.lists(_items(FEW_TEXTS, 3) | _items(ANY_TEXT, 3), max_size=4))
def test_the_columns_of_items_with_several_fields_are_what_they_have_always_been(items: list[RunItem]) -> None:
    with using(MORE_FIELDS):
        assert planned_values(1, items) == [_planned(1, item, MORE_FIELDS.keys) for item in items]


def _stored(items: list[RunItem]) -> list[tuple[object, ...]]:
    """The columns of items as a database keeps them."""
    return [tuple(map(storable, columns)) for columns in planned_values(1, items)]


@given(st.lists(_items(FEW_TEXTS, 1) | _items(ANY_TEXT, 1), max_size=4))
def test_items_that_were_packed_have_the_same_columns(items: list[RunItem]) -> None:
    assert _stored(unpack_items(pack_items(items))) == _stored(items)


@given(st.lists(_items(FEW_TEXTS, 3) | _items(ANY_TEXT, 3), max_size=4))
def test_items_with_several_fields_that_were_packed_have_the_same_columns(items: list[RunItem]) -> None:
    with using(MORE_FIELDS):
        assert _stored(unpack_items(pack_items(items))) == _stored(items)


def test_items_that_were_packed_before_there_were_more_fields_have_no_value_for_them() -> None:
    desired = DesiredState("a", "robot", ("New",), ("g",), (), None, (2,))
    item = RunItem(0, desired, Account("a", "robot", ("Old",), None), "", Outcome(Status.PENDING))
    text = pack_items([item])
    with using(MORE_FIELDS):
        (found,) = unpack_items(text)
        assert found.desired == desired._replace(values=("New", None, None))
        assert found.before == Account("a", "robot", ("Old", None, None), None)


@given(st.lists(ITEMS, max_size=8))
def test_entries_that_share_groups_and_outcomes_come_back_each_as_it_was(items: list[RunItem]) -> None:
    assert _read_back(items) == items


def test_the_last_login_is_kept_of_a_deletion_whose_resume_compares_it() -> None:
    before = Account("a", "robot", ("Robot",), ("g",), "2026-01-01T00:00:00Z", "2026-01-31T08:15:00Z")
    desired = DesiredState("a", "robot", (None,), (), (), None, (2,))
    update, deletion = _read_back(
        [
            RunItem(0, desired._replace(action=action), before, "", Outcome(Status.PENDING))
            for action in list(Action)[::2]
        ]
    )
    assert update.before == before._replace(created="", last_login="")
    assert deletion.before == before._replace(created="")


def test_more_kinds_of_outcomes_than_are_remembered_come_back_each_as_it_was_also_a_second_time() -> None:
    desired = DesiredState("a", "robot", (None,), ("g",), (), None, (2,))
    items = [
        RunItem(number, desired, None, "", Outcome(Status.FAILED, error=f"error {number % 150}", attempts=number % 7))
        for number in range(300)
    ]
    assert _read_back(items) == items
    assert _read_back(items[::-1]) == items[::-1]


def test_the_outcome_of_one_entry_leaves_another_with_the_same_outcome_as_it_is() -> None:
    desired = DesiredState("a", "robot", (None,), ("g",), (), None, (2,))
    first, second = _read_back([RunItem(n, desired, None, "", Outcome(Status.PENDING)) for n in range(2)])
    settled = first._replace(outcome=first.outcome._replace(status=Status.UPDATED))
    assert (settled.outcome.status, second.outcome.status) == (Status.UPDATED, Status.PENDING)
    assert _read_back([settled, second]) == [settled, second]


def _sheet_row(row: int, cells: tuple[str, ...], account_id: str, name: str, message: str) -> SheetRow:
    """A valid row, or with a message an invalid one."""
    if message:
        return SheetRow(row, cells, None, (RowError(row, "name", name, "code", message),), account_id, name)
    return SheetRow(row, cells, RowRequest(row, account_id, name, (None,), (), (), None, ""))


@given(st.lists(st.builds(_sheet_row, st.integers(2, 9), st.lists(ANY_TEXT).map(tuple), ANY_TEXT, ANY_TEXT, ANY_TEXT)))
def test_the_columns_of_rows_are_made_row_by_row(rows: list[SheetRow]) -> None:
    assert row_values(7, rows) == [
        (
            7,
            row.row,
            dumps(row.cells),
            row.account_id if row.request is None else row.request.account_id,
            row.name if row.request is None else row.request.name,
            dump_row_errors(row.row_errors) if row.row_errors else None,
        )
        for row in rows
    ]
