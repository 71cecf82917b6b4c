"""From the texts of a sheet to ids: every row becomes part of one account's desired state, or has an error."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from bulkid.model import DesiredState, RowError, RowRequest
from bulkid.planning.directory import Directory
from bulkid.planning.lookup import (
    AccountKey,
    DirectoryAccounts,
    DirectoryGroups,
    GroupList,
    GroupResolver,
    SheetAccounts,
    SheetGroups,
    find_blind,
    identity_row_errors,
    needed_to_read_accounts,
)
from bulkid.planning.merge import SheetLabels, merge
from bulkid.resources import current
from bulkid.text import count_of, fold, quote


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a sheet asks for, account by account. Each row is in one desired state, or has at least one error."""

    desired_states: tuple[DesiredState, ...] = field(repr=False)  # in the order of each account's first good row
    row_errors: tuple[RowError, ...] = field(repr=False)  # by row
    warnings: tuple[str, ...]  # sentences for a person


FindAccount = Callable[[RowRequest], AccountKey | RowError]


def resolve(requests: Iterable[RowRequest], directory: Directory, columns: Mapping[str, str]) -> Resolution:
    """Turn rows into one desired state per account, in the server's ids, and collect every error of every row.

    Without accounts (blind) rows must give ids; without groups, group texts are taken as ids. Both are said in the
    warnings. A row with an error takes no part in its account's desired state.

    Row numbers are distinct. ``columns`` are the headers of the sheet by field, for ``RowError.column``.
    """
    groups = DirectoryGroups(directory) if directory.groups is not None else SheetGroups()
    labels = SheetLabels(columns, directory.group_name)
    find: FindAccount = DirectoryAccounts(directory, columns).find
    mismatches: Mapping[int, RowError] = {}
    if directory.accounts is None:
        requests, find = list(requests), partial(find_blind, columns=columns)
        mismatches = identity_row_errors(requests, columns)
    row_reader = _RowReader(find, GroupResolver(groups), columns, directory)
    found, row_errors = _merge_rows(requests, row_reader, mismatches, labels)
    return Resolution(found, row_errors, _blind_warnings(directory, groups))


def offline_row_errors(requests: Iterable[RowRequest], columns: Mapping[str, str]) -> tuple[RowError, ...]:
    """Find what is wrong between rows, or within one, as far as the sheet alone can tell: no directory is asked.

    Rows are for one account when they give the same id or the same name; a group is identified by its text, so that its
    id in one row and its name in another are not recognised as the same.
    """
    rows = list(requests)
    mismatches = identity_row_errors(rows, columns)
    accounts = SheetAccounts(row for row in rows if row.row not in mismatches)
    row_reader = _RowReader(accounts.find, GroupResolver(SheetGroups()), columns, None)
    return _merge_rows(rows, row_reader, mismatches, SheetLabels(columns, str))[1]


class _RowReader:
    """Resolves one row by itself. A check of the sheet alone has no directory."""

    def __init__(
        self, find: FindAccount, groups: GroupResolver, columns: Mapping[str, str], directory: Directory | None
    ) -> None:
        self._find = find
        self._groups = groups
        self._columns = columns
        self._organization = None if directory is None else directory.organization_id
        self._exact_refusal = "" if directory is None else _exact_refusal(directory)

    def read(self, row: RowRequest) -> tuple[str, DesiredState] | list[RowError]:
        """Give the row's desired state with the key of its account; or all its errors."""
        account_key = self._find(row)
        add = self._groups.resolve(row.add)
        remove = self._groups.resolve(row.remove)
        exact = None if row.exact is None else self._groups.resolve(row.exact)
        row_errors = [account_key] if isinstance(account_key, RowError) else []
        if row.partition and self._organization is not None:
            row_errors += self._partition_errors(row, self._organization)
        if row.add or row.remove or exact is not None:
            row_errors += self._group_errors(row, add, remove, exact)
        if row_errors or isinstance(account_key, RowError):
            return row_errors
        key, account_id, name = account_key
        ids = None if exact is None else exact.ids
        return key, DesiredState(account_id, name, row.values, add.ids, remove.ids, ids, (row.row,))

    def _partition_errors(self, row: RowRequest, organization: str) -> list[RowError]:
        if row.partition == organization or fold(row.partition) == fold(organization):
            return []
        message = (
            f"The row is for the organisation {quote(row.partition)}, but the connection is to {quote(organization)}. "
            "Remove the row, or connect to its organisation."
        )
        return [self._row_error(row, "partition_global_id", row.partition, "wrong_organization", message)]

    def _group_errors(
        self, row: RowRequest, add: GroupList, remove: GroupList, exact: GroupList | None
    ) -> list[RowError]:
        row_errors = []
        lists = (("groups_to_add", add), ("groups_to_remove", remove), ("groups", exact))
        for column, cell in lists:
            for text, found in cell.unresolved if cell is not None else ():
                row_errors.append(self._row_error(row, column, text, found.code, found.message))
        if remove.everyone:
            message = "Every account belongs to the group Everyone; it cannot be removed. Take it out of the list."
            row_errors.append(
                self._row_error(row, "groups_to_remove", remove.everyone, "everyone_cannot_be_removed", message)
            )
        if add.ids and remove.ids:
            row_errors += self._add_and_remove(row, add, remove)
        if exact is not None and (row.add or row.remove):
            message = (
                "The row gives an exact list of groups, and groups to add or remove as well. "
                "Keep either the list or the changes."
            )
            row_errors.append(self._row_error(row, "groups", "; ".join(row.exact or ()), "exact_with_changes", message))
        if exact is not None and self._exact_refusal:
            value = "; ".join(row.exact or ())
            row_errors.append(self._row_error(row, "groups", value, "needs_directory", self._exact_refusal))
        return row_errors

    def _add_and_remove(self, row: RowRequest, add: GroupList, remove: GroupList) -> list[RowError]:
        removed = set(remove.ids)
        row_errors = []
        for group_id in add.ids:
            if group_id in removed:
                added, text = self._text_of(row.add, group_id), self._text_of(row.remove, group_id)
                as_what = "" if text == added else f" (as {quote(text)})"
                message = (
                    f"The group {quote(added)} is both added and removed{as_what}. Take it out of one of the two lists."
                )
                row_errors.append(self._row_error(row, "groups_to_remove", text, "add_and_remove", message))
        return row_errors

    def _text_of(self, texts: tuple[str, ...], group_id: str) -> str:
        """Find which text of the row meant this group."""
        return next((text for text in texts if group_id in self._groups.resolve((text,)).ids), group_id)

    def _row_error(self, row: RowRequest, field: str, value: str, code: str, message: str) -> RowError:
        return RowError(row.row, self._columns.get(field, ""), value, code, message)


def _merge_rows(
    requests: Iterable[RowRequest], row_reader: _RowReader, mismatches: Mapping[int, RowError], labels: SheetLabels
) -> tuple[tuple[DesiredState, ...], tuple[RowError, ...]]:
    """Read all rows and merge those for the same account."""
    row_errors: list[RowError] = []
    positions: dict[str, int] = {}
    found: list[DesiredState | list[DesiredState]] = []  # most accounts have one row, and need no list
    for row in requests:
        result = row_reader.read(row)
        mismatch = mismatches.get(row.row)
        if mismatch is not None:
            row_errors.append(mismatch)
        if isinstance(result, list):
            row_errors += result
        elif mismatch is None:
            key, desired = result
            position = positions.setdefault(key, len(found))
            if position == len(found):
                found.append(desired)
                continue
            before = found[position]
            if isinstance(before, list):
                before.append(desired)
            else:
                found[position] = [before, desired]
    merged: list[DesiredState] = []
    for item in found:
        joint = merge(item, labels) if isinstance(item, list) else item
        if isinstance(joint, list):
            row_errors += joint
        else:
            merged.append(joint)
    row_errors.sort(key=lambda row_error: row_error.row)
    return tuple(merged), tuple(row_errors)


def _exact_refusal(directory: Directory) -> str:
    """Say why an exact list cannot be kept, when the present groups of an account cannot be known."""
    if directory.accounts is None:
        needs = needed_to_read_accounts()
    elif directory.groups is None:
        needs = "the scope PM.Group.Read (and leave --no-read out)"
    else:
        return ""
    return (
        "An exact list of groups needs the present ones to compare with, and they were not read. "
        f"Use groups to add and groups to remove, or give the application {needs}."
    )


def _blind_warnings(directory: Directory, groups: DirectoryGroups | SheetGroups) -> tuple[str, ...]:
    warnings = []
    if directory.accounts is None:
        warnings.append(
            f"The {current().plural} were not read: rows are taken by id, nothing is compared with the present state, "
            "and everything asked for is sent."
        )
    if isinstance(groups, SheetGroups) and (count := len(groups.spelled)):
        warnings.append(
            f"The groups were not read: {count_of(count, 'group')} of the sheet "
            f"{'is' if count == 1 else 'are'} taken as "
            f"{'an id' if count == 1 else 'ids'} as written, and the server refuses any that is a name."
        )
    return tuple(warnings)
