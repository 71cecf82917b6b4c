"""From the sheet's words to ids: every row becomes part of one account's wish, or is told why it cannot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bulkid.model import AccountWish, Fault, RowWish
from bulkid.planning.account_lookup import (
    NEEDS_ACCOUNTS,
    BlindAccounts,
    Identity,
    KnownAccounts,
    SaidAccounts,
    identity_faults,
)
from bulkid.planning.directory import Directory
from bulkid.planning.group_lookup import GroupList, GroupNaming, KnownGroups, SaidGroups
from bulkid.planning.merge import Words, merge
from bulkid.text import count_of, fold, quote


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a sheet asks for, account by account. Each row is in exactly one wish, or has at least one fault."""

    wishes: tuple[AccountWish, ...] = field(repr=False)  # in the order of each account's first good row
    faults: tuple[Fault, ...] = field(repr=False)  # by row
    warnings: tuple[str, ...]  # sentences for a person


class _Accounts(Protocol):
    def find(self, row: RowWish) -> Identity | Fault: ...


def resolve(wishes: Iterable[RowWish], directory: Directory, columns: Mapping[str, str]) -> Resolution:
    """Turn rows into one wish per account, in the server's ids, and collect every fault of every row.

    Without accounts (blind) rows must give ids; without groups, group texts are taken as ids. Both are said in the
    warnings. A row with a fault takes no part in its account's wish.

    Args:
        wishes: The valid rows of the sheet, with distinct row numbers.
        directory: What was read of the organisation.
        columns: Headers of the sheet by field, for ``Fault.column``.
    """
    groups = KnownGroups(directory) if directory.groups is not None else SaidGroups()
    words = Words(columns, directory.group_name)
    if directory.accounts is not None:
        reader = _RowReader(KnownAccounts(directory, columns), GroupNaming(groups), columns, directory)
        found, faults = _collect(wishes, reader, {}, words)
    else:
        wishes = list(wishes)
        mismatched = identity_faults(wishes, columns)
        reader = _RowReader(BlindAccounts(columns), GroupNaming(groups), columns, directory)
        found, faults = _collect(wishes, reader, mismatched, words)
    return Resolution(found, faults, _blind_warnings(directory, groups))


def offline_faults(wishes: Iterable[RowWish], columns: Mapping[str, str]) -> tuple[Fault, ...]:
    """Find what is wrong between rows, or within one, as far as the sheet alone can tell: no directory is asked.

    Rows are for one account when they give the same id or the same name; a group is told by its text, so that its
    id in one row and its name in another are not recognised as the same.

    Args:
        wishes: The valid rows of the sheet, with distinct row numbers.
        columns: Headers of the sheet by field, for ``Fault.column``.
    """
    rows = list(wishes)
    mismatched = identity_faults(rows, columns)
    accounts = SaidAccounts(row for row in rows if row.row not in mismatched)
    reader = _RowReader(accounts, GroupNaming(SaidGroups()), columns, None)
    return _collect(rows, reader, mismatched, Words(columns, str))[1]


class _RowReader:
    """Resolves one row by itself.

    Args:
        accounts: Finds the row's account.
        groups: Resolves its list cells.
        columns: Headers by field.
        directory: What was read; None for a check of the sheet alone, which needs none of it.
    """

    def __init__(
        self, accounts: _Accounts, groups: GroupNaming, columns: Mapping[str, str], directory: Directory | None
    ) -> None:
        self._accounts = accounts
        self._groups = groups
        self._columns = columns
        self._organization = None if directory is None else directory.organization_id
        self._exact_refusal = "" if directory is None else _exact_refusal(directory)

    def read(self, row: RowWish) -> tuple[str, AccountWish] | list[Fault]:
        """Give the row's wish with the key of its account; or all its faults."""
        identity = self._accounts.find(row)
        add = self._groups.resolve(row.add)
        remove = self._groups.resolve(row.remove)
        exact = None if row.exact is None else self._groups.resolve(row.exact)
        faults = [identity] if isinstance(identity, Fault) else []
        if row.partition and self._organization is not None:
            faults += self._partition_faults(row, self._organization)
        if row.add or row.remove or exact is not None:
            faults += self._group_faults(row, add, remove, exact)
        if faults or isinstance(identity, Fault):
            return faults
        key, account_id, name = identity
        ids = None if exact is None else exact.ids
        return key, AccountWish(account_id, name, row.display_name, add.ids, remove.ids, ids, (row.row,))

    def _partition_faults(self, row: RowWish, organization: str) -> list[Fault]:
        if row.partition == organization or fold(row.partition) == fold(organization):
            return []
        message = (
            f"The row is for the organisation {quote(row.partition)}, but the connection is to {quote(organization)}. "
            "Remove the row, or connect to its organisation."
        )
        return [self._fault(row, "partition_global_id", row.partition, "wrong_organization", message)]

    def _group_faults(self, row: RowWish, add: GroupList, remove: GroupList, exact: GroupList | None) -> list[Fault]:
        faults = []
        lists = (("groups_to_add", add), ("groups_to_remove", remove), ("groups", exact))
        for column, cell in lists:
            for text, found in cell.unclear if cell is not None else ():
                faults.append(self._fault(row, column, text, found.code, found.message))
        if remove.everyone:
            message = "Every account belongs to the group Everyone; it cannot be removed. Take it out of the list."
            faults.append(self._fault(row, "groups_to_remove", remove.everyone, "everyone_cannot_be_removed", message))
        if add.ids and remove.ids:
            faults += self._add_and_remove(row, add, remove)
        if exact is not None and (row.add or row.remove):
            message = (
                "The row gives an exact list of groups, and groups to add or remove as well. "
                "Keep either the list or the changes."
            )
            faults.append(self._fault(row, "groups", "; ".join(row.exact or ()), "exact_with_changes", message))
        if exact is not None and self._exact_refusal:
            value = "; ".join(row.exact or ())
            faults.append(self._fault(row, "groups", value, "needs_directory", self._exact_refusal))
        return faults

    def _add_and_remove(self, row: RowWish, add: GroupList, remove: GroupList) -> list[Fault]:
        removed = set(remove.ids)
        faults = []
        for group_id in add.ids:
            if group_id in removed:
                added, text = self._text_of(row.add, group_id), self._text_of(row.remove, group_id)
                as_what = "" if text == added else f" (as {quote(text)})"
                message = (
                    f"The group {quote(added)} is both added and removed{as_what}. Take it out of one of the two lists."
                )
                faults.append(self._fault(row, "groups_to_remove", text, "add_and_remove", message))
        return faults

    def _text_of(self, texts: tuple[str, ...], group_id: str) -> str:
        """Find which text of the row meant this group."""
        return next((text for text in texts if group_id in self._groups.resolve((text,)).ids), group_id)

    def _fault(self, row: RowWish, field: str, value: str, code: str, message: str) -> Fault:
        return Fault(row.row, self._columns.get(field, ""), value, code, message)


def _collect(
    wishes: Iterable[RowWish], reader: _RowReader, refused: Mapping[int, Fault], words: Words
) -> tuple[tuple[AccountWish, ...], tuple[Fault, ...]]:
    """Read all rows and merge those for the same account.

    Args:
        wishes: The rows.
        reader: Resolves each.
        refused: Rows that are known to be at fault already.
        words: For the faults of rows that contradict one another.
    """
    faults: list[Fault] = []
    places: dict[str, int] = {}
    found: list[AccountWish | list[AccountWish]] = []  # a bare wish while an account has one row, as most have
    for row in wishes:
        result = reader.read(row)
        if row.row in refused:
            faults.append(refused[row.row])
            if isinstance(result, list):
                faults += result
        elif isinstance(result, list):
            faults += result
        else:
            key, wish = result
            place = places.setdefault(key, len(found))
            if place == len(found):
                found.append(wish)
                continue
            before = found[place]
            if isinstance(before, list):
                before.append(wish)
            else:
                found[place] = [before, wish]
    merged: list[AccountWish] = []
    for item in found:
        joint = merge(item, words) if isinstance(item, list) else item
        if isinstance(joint, list):
            faults += joint
        else:
            merged.append(joint)
    faults.sort(key=lambda fault: fault.row)
    return tuple(merged), tuple(faults)


def _exact_refusal(directory: Directory) -> str:
    """Say why an exact list cannot be kept, when the present groups of an account cannot be known."""
    if directory.accounts is None:
        needs = NEEDS_ACCOUNTS
    elif directory.groups is None:
        needs = "the scope PM.Group.Read (and leave --no-read out)"
    else:
        return ""
    return (
        "An exact list of groups needs the present ones to compare with, and they were not read. "
        f"Use groups to add and groups to remove, or give the application {needs}."
    )


def _blind_warnings(directory: Directory, groups: KnownGroups | SaidGroups) -> tuple[str, ...]:
    warnings = []
    if directory.accounts is None:
        warnings.append(
            "The robot accounts were not read: rows are taken by id, nothing is compared with the present state, "
            "and everything asked for is sent."
        )
    if isinstance(groups, SaidGroups) and groups.count:
        warnings.append(
            f"The groups were not read: {count_of(groups.count, 'group')} of the sheet "
            f"{'is' if groups.count == 1 else 'are'} taken as "
            f"{'an id' if groups.count == 1 else 'ids'} as written, and the server refuses any that is a name."
        )
    return tuple(warnings)
