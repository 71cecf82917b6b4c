"""From the texts of a sheet to ids: every row becomes part of one account's desired state, or has an error."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bulkid.model import CREATE, DELETE, UPDATE, Account, DesiredState, Group, RowError, RowRequest, new_tuple
from bulkid.planning.creation import DELETION_NOT_ALLOWED, GUID, NewGroups, ResolveOptions, look_alike_warning
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
from bulkid.resources import ACTION_COLUMN, current
from bulkid.text import count_of, dashed_guid, fold, quote


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a sheet asks for, account by account. Each row is in one desired state, or has at least one error."""

    desired_states: tuple[DesiredState, ...] = field(repr=False)  # in the order of each account's first good row
    row_errors: tuple[RowError, ...] = field(repr=False)  # by row
    warnings: tuple[str, ...]  # sentences for a person
    new_groups: tuple[Group, ...] = ()  # groups that rows name, that do not exist, and that the run may create


FindAccount = Callable[[RowRequest], Account | AccountKey | RowError]
_RowResult = tuple[Hashable, DesiredState] | list[RowError]
_Lists = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]
"""Groups to add, groups to remove, and exactly these groups."""

_LISTS_REMEMBERED: Final = 4096  # distinct lists of rows; more than that and they hardly repeat
_CHANGES_ALONE = ResolveOptions()


def resolve(
    requests: Iterable[RowRequest],
    directory: Directory,
    columns: Mapping[str, str],
    options: ResolveOptions = _CHANGES_ALONE,
) -> Resolution:
    """Turn rows into one desired state per account, in the server's ids, and collect every error of every row.

    Without accounts (blind) rows must give ids; without groups, group texts are taken as ids. Both are said in the
    warnings. A row with an error takes no part in its account's desired state.

    Row numbers are distinct. ``columns`` are the headers of the sheet by field, for ``RowError.column``. Without
    ``options`` rows may change accounts that exist, and create them, but no groups.
    """
    new_groups = NewGroups(options)
    groups = DirectoryGroups(directory, new_groups) if directory.groups is not None else SheetGroups()
    labels = SheetLabels(columns, lambda group_id: new_groups.name_of(group_id) or directory.group_name(group_id))
    find: FindAccount = DirectoryAccounts(directory, columns, options).find
    mismatches: Mapping[int, RowError] = {}
    if directory.accounts is None:
        requests, find = list(requests), partial(find_blind, columns=columns)
        mismatches = identity_row_errors(requests, columns)
    added = removed = GroupResolver(groups)
    if options.creates_groups and isinstance(groups, DirectoryGroups):
        removed = GroupResolver(groups.find_existing)  # what does not exist cannot be left
    row_reader = _RowReader(find, added, removed, columns, directory, may_delete=options.allow_delete)
    found, row_errors = _merge_rows(requests, row_reader.read, mismatches, labels)
    created = [desired.name for desired in found if desired.action is CREATE]
    look_alikes = look_alike_warning(created, (account.name for account in directory.accounts or ()))
    warnings = (*_blind_warnings(directory, groups), *([look_alikes] if look_alikes else []))
    return Resolution(found, row_errors, warnings, new_groups.groups)


def offline_row_errors(requests: Iterable[RowRequest], columns: Mapping[str, str]) -> tuple[RowError, ...]:
    """Find what is wrong between rows, or within one, as far as the sheet alone can tell: no directory is asked.

    Rows are for one account when they give the same id or the same name; a group is identified by its text. An id in
    one row and a name in another may be one group, so they are no contradiction.
    """
    rows = list(requests)
    mismatches = identity_row_errors(rows, columns)
    accounts = SheetAccounts(row for row in rows if row.row not in mismatches)
    groups = GroupResolver(SheetGroups())
    row_reader = _RowReader(accounts.find, groups, groups, columns, None, may_delete=True)
    return _merge_rows(rows, row_reader.read, mismatches, SheetLabels(columns, str, _may_be_one_group))[1]


def _may_be_one_group(one: str, other: str) -> bool:
    """Whether one of two texts may be the id of the group that the other one names."""
    return (GUID.fullmatch(one) is None) != (GUID.fullmatch(other) is None)


class _RowReader:
    """Resolves one row by itself. A check of the sheet alone has no directory."""

    def __init__(
        self,
        find: FindAccount,
        added: GroupResolver,
        removed: GroupResolver,
        columns: Mapping[str, str],
        directory: Directory | None,
        *,
        may_delete: bool,
    ) -> None:
        self._find = find
        self._added = added
        self._removed = removed
        self._may_delete = may_delete
        self._columns = columns
        self._organization = None if directory is None else directory.organization_id
        self._lists: dict[_Lists, _Lists | tuple[()]] = {}  # ids by texts; (): something is wrong with them
        self._exact_refusal = "" if directory is None else _exact_refusal(directory)

    def read(self, row: RowRequest) -> _RowResult:
        """Give the row's desired state with the key of its account; or all its errors."""
        number, _, _, values, add, remove, exact, partition, action = row
        found = self._find(row)
        lists = self._lists.get((add, remove, exact))
        if lists is None:
            lists = self._resolve_lists(row)
        if (
            not lists
            or isinstance(found, RowError)
            or (action is DELETE and not self._may_delete)
            or (partition and not self._is_own_organization(partition))
        ):
            return self._row_errors(row, found)
        if isinstance(found, Account):
            key: Hashable = found.id
            account_id, name = found.id, found.name
            action = DELETE if action is DELETE else UPDATE
        else:
            key, account_id, name, action = found
        add, remove, exact = lists
        return key, new_tuple(DesiredState, (account_id, name, values, add, remove, exact, (number,), action))

    def _resolve_lists(self, row: RowRequest) -> _Lists | tuple[()]:
        """Give the ids of the row's groups, and remember them for other rows; () where anything is wrong with them."""
        add, remove = self._added.resolve(row.add), self._removed.resolve(row.remove)
        exact = None if row.exact is None else self._added.resolve(row.exact)
        lists: _Lists | tuple[()] = ()
        if not self._group_errors(row, add, remove, exact):
            lists = (add.ids, remove.ids, None if exact is None else exact.ids)
        if len(self._lists) < _LISTS_REMEMBERED:
            self._lists[row.add, row.remove, row.exact] = lists
        return lists

    def _row_errors(self, row: RowRequest, found: Account | AccountKey | RowError) -> list[RowError]:
        """Give all errors of a row that has some."""
        row_errors = [found] if isinstance(found, RowError) else []
        if row.action is DELETE and not self._may_delete:
            message = (
                "The row deletes an account, and deletions are not allowed. Remove the row, or allow deletions. "
                "--allow-delete allows them."
            )
            row_errors.append(self._row_error(row, ACTION_COLUMN, row.action.value, DELETION_NOT_ALLOWED, message))
        if row.partition and not self._is_own_organization(row.partition):
            row_errors.append(self._partition_error(row))
        add, remove = self._added.resolve(row.add), self._removed.resolve(row.remove)
        exact = None if row.exact is None else self._added.resolve(row.exact)
        return row_errors + self._group_errors(row, add, remove, exact)

    def _is_own_organization(self, partition: str) -> bool:
        """Whether an organisation is the directory's. A check of the sheet alone accepts any."""
        own = self._organization
        return own is None or partition == own or fold(dashed_guid(partition)) == fold(dashed_guid(own))

    def _partition_error(self, row: RowRequest) -> RowError:
        own = quote(self._organization or "")
        message = (
            f"The row is for the organisation {quote(row.partition)}, but the connection is to {own}. "
            "Remove the row, or connect to its organisation."
        )
        return self._row_error(row, "partition_global_id", row.partition, "wrong_organization", message)

    def _group_errors(
        self, row: RowRequest, add: GroupList, remove: GroupList, exact: GroupList | None
    ) -> list[RowError]:
        if exact is None and not (add.unresolved or remove.unresolved or remove.everyone or (add.ids and remove.ids)):
            return []
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
        return row_errors if exact is None else [*row_errors, *self._exact_errors(row)]

    def _exact_errors(self, row: RowRequest) -> list[RowError]:
        """The errors of a row with an exact list of groups, apart from those of single groups."""
        row_errors = []
        value = "; ".join(row.exact or ())
        if row.add or row.remove:
            message = (
                "The row gives an exact list of groups, and groups to add or remove as well. "
                "Keep either the list or the changes."
            )
            row_errors.append(self._row_error(row, "groups", value, "exact_with_changes", message))
        if self._exact_refusal:
            row_errors.append(self._row_error(row, "groups", value, "needs_directory", self._exact_refusal))
        return row_errors

    def _add_and_remove(self, row: RowRequest, add: GroupList, remove: GroupList) -> list[RowError]:
        removed = set(remove.ids)
        row_errors = []
        for group_id in add.ids:
            if group_id in removed:
                added = self._text_of(self._added, row.add, group_id)
                text = self._text_of(self._removed, row.remove, group_id)
                as_what = "" if text == added else f" (as {quote(text)})"
                message = (
                    f"The group {quote(added)} is both added and removed{as_what}. Take it out of one of the two lists."
                )
                row_errors.append(self._row_error(row, "groups_to_remove", text, "add_and_remove", message))
        return row_errors

    def _text_of(self, groups: GroupResolver, texts: tuple[str, ...], group_id: str) -> str:
        """Find which text of the row meant this group."""
        return next((text for text in texts if group_id in groups.resolve((text,)).ids), group_id)

    def _row_error(self, row: RowRequest, field: str, value: str, code: str, message: str) -> RowError:
        return RowError(row.row, self._columns.get(field, ""), value, code, message)


def _merge_rows(
    requests: Iterable[RowRequest],
    read: Callable[[RowRequest], _RowResult],
    mismatches: Mapping[int, RowError],
    labels: SheetLabels,
) -> tuple[tuple[DesiredState, ...], tuple[RowError, ...]]:
    """Read all rows and merge those for the same account."""
    by_account, row_errors = _read_rows(requests, read, mismatches)
    merged: list[DesiredState] = []
    for item in by_account.values():
        joint = merge(item, labels) if isinstance(item, list) else item
        if isinstance(joint, list):
            row_errors += joint
        else:
            merged.append(joint)
    row_errors.sort(key=lambda row_error: row_error.row)
    return tuple(merged), tuple(row_errors)


def _read_rows(
    requests: Iterable[RowRequest], read: Callable[[RowRequest], _RowResult], mismatches: Mapping[int, RowError]
) -> tuple[dict[Hashable, DesiredState | list[DesiredState]], list[RowError]]:
    """Read all rows; give the desired states by account, and the errors. An account with several rows has a list."""
    row_errors: list[RowError] = []
    found: dict[Hashable, DesiredState | list[DesiredState]] = {}  # most accounts have one row, and need no list
    for row in requests:
        result = read(row)
        mismatch = mismatches.get(row.row) if mismatches else None
        if mismatch is not None:
            row_errors.append(mismatch)
        if isinstance(result, list):
            row_errors += result
        elif mismatch is None:
            key, desired = result
            before = found.setdefault(key, desired)
            if before is desired:
                continue
            if isinstance(before, list):
                before.append(desired)
            else:
                found[key] = [before, desired]
    return found, row_errors


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


def _blind_warnings(directory: Directory, groups: DirectoryGroups | SheetGroups) -> list[str]:
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
    return warnings
