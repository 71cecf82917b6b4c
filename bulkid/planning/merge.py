"""Merging the rows that are for one account: their union when they agree, an error for each when they do not."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from bulkid.model import Action, DesiredState, RowError
from bulkid.resources import ACTION_COLUMN, current
from bulkid.text import quote, row_listing

K = TypeVar("K", bound=Hashable)

_MOST_PAIRS: Final = 1_000  # of lists that are compared; a plan finds what a check leaves


class RowConflict(NamedTuple):
    """One row's part in a contradiction with other rows."""

    row: int
    field: str
    value: str
    message: str


class SheetLabels(NamedTuple):
    """How errors name parts of a sheet: headers by field, and groups by their names.

    ``may_be_same`` says of two groups, where no directory tells it, whether one may be the other's id.
    """

    columns: Mapping[str, str]
    group_name: Callable[[str], str]
    may_be_same: Callable[[str, str], bool] | None = None

    def may_hold(self, groups: Iterable[str], group: str) -> bool:
        """Whether one of the groups of a list may be this one, which is written otherwise."""
        return self.may_be_same is not None and any(self.may_be_same(group, each) for each in groups)

    def may_all_be_equal(self, lists: Iterable[frozenset[str]]) -> bool:
        """Whether different lists may mean the same groups."""
        pairs = itertools.islice(itertools.combinations(lists, 2), _MOST_PAIRS)
        return all(itertools.starmap(self._may_be_equal, pairs))

    def _may_be_equal(self, one: frozenset[str], other: frozenset[str]) -> bool:
        return all(self.may_hold(other, each) for each in one - other) and all(
            self.may_hold(one, each) for each in other - one
        )


def merge(rows: Sequence[DesiredState], labels: SheetLabels) -> DesiredState | list[RowError]:
    """Join what several rows want of one account.

    Returns:
        The joint desired state, the same for every order of the rows; or, when rows are in conflict, at least one
        error for every row, each naming rows that it contradicts.
    """
    rows = sorted(rows, key=lambda desired: desired.rows)
    conflicts = [*_action_conflicts(rows), *_field_conflicts(rows), *_group_conflicts(rows, labels)]
    if conflicts:
        return _row_errors(rows, conflicts, labels)
    first = rows[0]
    exact = next((desired.exact for desired in rows if desired.exact is not None), None)
    return DesiredState(
        account_id=first.account_id,
        name=next((desired.name for desired in rows if desired.name), ""),
        values=_joint_values(rows),
        # What agrees with an exact list is part of it, so that the list alone says it all.
        add=() if exact is not None else _union(desired.add for desired in rows),
        remove=() if exact is not None else _union(desired.remove for desired in rows),
        exact=exact,
        rows=tuple(chain.from_iterable(desired.rows for desired in rows)),
        # Of an update and a creation: the account does not exist, or it is not known whether it does.
        action=next((desired.action for desired in rows if desired.action is not Action.UPDATE), Action.UPDATE),
    )


def rows_with_other_values(rows_by_value: Mapping[K, Sequence[int]]) -> Iterator[tuple[K, str]]:
    """For each value that rows give, name the rows that give another one."""
    total = sum(map(len, rows_by_value.values()))
    for value, own in rows_by_value.items():
        others = chain.from_iterable(rows for other, rows in rows_by_value.items() if other != value)
        yield value, row_listing(others, total - len(own))


def _joint_values(rows: Sequence[DesiredState]) -> tuple[str | None, ...]:
    """Join the values of rows that agree: for each field, the one that a row gives."""
    given = [desired.values for desired in rows if desired.values.count(None) < len(desired.values)]
    if len(given) < 2:  # noqa: PLR2004 - nothing to join: that row's own tuple, or the one that sets nothing
        return given[0] if given else rows[0].values
    return tuple(next((value for value in column if value is not None), None) for column in zip(*given, strict=True))


def _action_conflicts(rows: Sequence[DesiredState]) -> Iterator[RowConflict]:
    """Find the rows of which some delete the account and others change or create it."""
    deleting = [row for desired in rows if desired.action is Action.DELETE for row in desired.rows]
    if not deleting:
        return
    changing = [row for desired in rows if desired.action is not Action.DELETE for row in desired.rows]
    for desired in rows if changing else ():
        others, verb = (changing, "change") if desired.action is Action.DELETE else (deleting, "delete")
        does = verb if len(others) > 1 else f"{verb}s"
        message = f"This row {desired.action.value}s the account, but {row_listing(others, len(others))} {does} it."
        for row in desired.rows:
            yield RowConflict(row, ACTION_COLUMN, desired.action.value, message)


def _field_conflicts(rows: Sequence[DesiredState]) -> Iterator[RowConflict]:
    for number, field in enumerate(current().fields):
        by_form: dict[str, list[int]] = {}
        values: dict[str, str] = {}
        for desired in rows:
            value = desired.values[number]
            if value is not None:
                form = field.normalize(value)
                values.setdefault(form, value)
                by_form.setdefault(form, []).extend(desired.rows)
        if len(by_form) < 2:  # noqa: PLR2004 - two make a contradiction
            continue
        for form, others in rows_with_other_values(by_form):
            message = field.describe_contradiction(values[form], others)
            for row in by_form[form]:
                yield RowConflict(row, field.key, values[form], message)


def _group_conflicts(rows: Sequence[DesiredState], labels: SheetLabels) -> Iterator[RowConflict]:
    """Find the rows in conflict over groups: different exact lists; or a group that is to be both in and out."""
    exacts: dict[frozenset[str], list[int]] = {}
    adds: dict[str, list[int]] = {}
    removes: dict[str, list[int]] = {}
    for desired in rows:
        if desired.exact is not None:
            exacts.setdefault(frozenset(desired.exact), []).extend(desired.rows)
        for group in desired.add:
            adds.setdefault(group, []).extend(desired.rows)
        for group in desired.remove:
            removes.setdefault(group, []).extend(desired.rows)
    yield from _added_and_removed(adds, removes, labels)
    if len(exacts) == 1:
        ((exact, exact_rows),) = exacts.items()
        yield from _exact_list_conflicts(exact, exact_rows, adds, removes, labels)
    elif exacts and not labels.may_all_be_equal(exacts):
        for value, others in rows_with_other_values(exacts):
            message = f"This row lists other groups than {others} for the same account."
            for row in exacts[value]:
                yield RowConflict(row, "groups", _names(sorted(value), labels), message)


def _added_and_removed(
    adds: Mapping[str, list[int]], removes: Mapping[str, list[int]], labels: SheetLabels
) -> Iterator[RowConflict]:
    for group in adds:
        if group in removes:
            name = labels.group_name(group)
            added_in = row_listing(adds[group], len(adds[group]))
            removed_in = row_listing(removes[group], len(removes[group]))
            out = f"The group {quote(name)} is added here but removed in {removed_in}."
            into = f"The group {quote(name)} is removed here but added in {added_in}."
            for row in adds[group]:
                yield RowConflict(row, "groups_to_add", name, out)
            for row in removes[group]:
                yield RowConflict(row, "groups_to_remove", name, into)


def _exact_list_conflicts(
    exact: frozenset[str],
    exact_rows: list[int],
    adds: Mapping[str, list[int]],
    removes: Mapping[str, list[int]],
    labels: SheetLabels,
) -> Iterator[RowConflict]:
    """Find what rows add beyond, or remove from, the list that other rows give as exact."""
    changes = [
        ("groups_to_add", "added", "does not list it", group, rows)
        for group, rows in adds.items()
        if group not in exact and not labels.may_hold(exact, group)
    ] + [("groups_to_remove", "removed", "lists it", group, rows) for group, rows in removes.items() if group in exact]
    for number, (field, verb, listed, group, rows) in enumerate(changes):
        name = labels.group_name(group)
        exact_in = row_listing(exact_rows, len(exact_rows))
        for row in rows:
            yield RowConflict(
                row, field, name, f"The group {quote(name)} is {verb} here, but the exact list in {exact_in} {listed}."
            )
        if number == 0:  # the listing rows need to hear of it once, not once for each group
            changed_in = row_listing(rows, len(rows))
            here = f"The group {quote(name)} is {verb} in {changed_in}, but the exact list here {listed}."
            for row in exact_rows:
                yield RowConflict(row, "groups", name, here)


def _row_errors(rows: Sequence[DesiredState], conflicts: Iterable[RowConflict], labels: SheetLabels) -> list[RowError]:
    """Make one error per row and field; the other rows of the account get an error that names the conflicting rows."""
    row_errors: dict[tuple[int, str], RowError] = {}
    for conflict in conflicts:
        key = (conflict.row, conflict.field)
        if key not in row_errors:
            column = labels.columns.get(conflict.field, "")
            advice = f"{conflict.message} Make the rows agree, or keep one."
            row_errors[key] = RowError(conflict.row, column, conflict.value, "contradiction", advice)
    involved = sorted({row for row, _ in row_errors})
    conflicting = set(involved)
    message = (
        f"Other rows for the same account contradict one another ({row_listing(involved, len(involved))}): "
        "what this account should become is not certain. Fix those rows."
    )
    rest = [
        RowError(row, "", "", "contradiction", message)
        for desired in rows
        for row in desired.rows
        if row not in conflicting
    ]
    return sorted([*row_errors.values(), *rest], key=lambda row_error: row_error.row)


def _union(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else tuple(dict.fromkeys(chain.from_iterable(filled)))


def _names(groups: Iterable[str], labels: SheetLabels) -> str:
    return "; ".join(labels.group_name(group) for group in groups)
