"""The directory: an index of the accounts and groups that were read, and what is known to be missing from it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from bulkid.model import EVERYONE, Account, Group
from bulkid.text import fold, fold_all

_EVERYONE_FOLDED = EVERYONE.lower()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Absent:
    """The server said of this very account that there is none, or a list that misses no account does not show it."""


class Unknown(NamedTuple):
    """Whether the account exists is not known: nothing may be concluded from its absence."""

    reason: str  # a clause, to follow a colon


_NOTHING: Mapping[str, str] = MappingProxyType({})


class Directory:
    """What was read of an organisation: accounts and groups, found by id or by name without regard to case.

    Args:
        accounts: The robot accounts that were read; None when they could not be, or were not to be, read.
        absent: Ids of which it is known that no account has them; None: all that ``accounts`` does not hold.
        unknown: By id, why it is not known whether an account has it.
        uncertain: Why nothing can be said of accounts that ``accounts`` does not hold, as a sentence; "" when that
            can be said.
    """

    def __init__(
        self,
        organization_id: str,
        accounts: Iterable[Account] | None,
        groups: Iterable[Group] | None,
        total: int | None = None,
        *,
        absent: Collection[str] | None = None,
        unknown: Mapping[str, str] = _NOTHING,
        uncertain: str = "",
    ) -> None:
        self.organization_id = organization_id
        self.total = total
        self.blind = accounts is None
        """Whether no accounts could be, or were to be, read."""
        self.uncertain = uncertain
        self._absent = None if absent is None else frozenset(map(fold, absent))
        self._unknown = {fold(account_id): reason for account_id, reason in unknown.items()}
        # Pages may overlap when an account is created while they are read: the later reading of an id wins.
        self._accounts = None if accounts is None else by_id(accounts)
        self._groups = None if groups is None else {fold(group.id): group for group in groups}
        self._names: _ByName[Account] | None = None
        self._group_names: _ByName[Group] | None = None
        self._former_names: Mapping[str, str] = _NOTHING
        self.everyone_id = self._find_everyone()
        """The id of the built-in group Everyone as the server writes it; "" when it is not known."""

    @property
    def accounts(self) -> Collection[Account] | None:
        """The accounts that were read, in the order of reading; None when blind for accounts."""
        return None if self._accounts is None else self._accounts.values()

    @property
    def groups(self) -> Collection[Group] | None:
        """The groups that were read; None when blind for groups."""
        return None if self._groups is None else self._groups.values()

    def without_accounts(self) -> "Directory":
        """What sending needs of it: the groups, and whether it is blind. 100,000 accounts take 50 MB."""
        groups_alone = Directory(self.organization_id, None, self.groups, self.total)
        groups_alone.blind = self.blind
        return groups_alone

    def with_groups(self, more: Collection[Group]) -> "Directory":
        """The same accounts, and these groups besides those that were read."""
        if not more:
            return self
        extended = copy(self)
        extended._set_groups([*(self.groups or ()), *more])  # noqa: SLF001 - a copy of this object
        return extended

    def with_former_names(self, names: Mapping[str, str]) -> "Directory":
        """The same accounts and groups, and names that groups had by their folded ids: they may be gone."""
        if not names:
            return self
        named = copy(self)
        named._former_names = names  # noqa: SLF001 - a copy of this object
        return named

    def _set_groups(self, groups: Iterable[Group]) -> None:
        self._groups = {fold(group.id): group for group in groups}
        self._group_names = None

    def find(self, account_id: str) -> Account | Absent | Unknown:
        """Find an account by its id, and tell one that does not exist from one of which that is not known."""
        found = self.account(account_id)
        if found is not None:
            return found
        if self._accounts is None:
            return Unknown("the accounts were not read")
        folded = fold(account_id)
        if self._absent is None or folded in self._absent:
            return Absent()
        return Unknown(self._unknown.get(folded, "it was not looked up by itself"))

    def account(self, account_id: str) -> Account | None:
        """Find an account by its id. None says nothing about whether it exists: see :meth:`find`."""
        if self._accounts is None:
            return None
        found = self._accounts.get(account_id)  # nearly always written as it is folded
        return self._accounts.get(fold(account_id)) if found is None else found

    def account_named(self, name: str) -> Account | None:
        """Find the one account of this name; None also when several differ from it by case alone."""
        found = self.accounts_named(name)
        return found[0] if len(found) == 1 else None

    def find_named(self, name: str) -> Account | Absent | Unknown:
        """Find the account of a name, and tell a name that no account has from one of which that is not known."""
        found = self.accounts_named(name)
        if len(found) == 1:
            return found[0]
        if found:
            return Unknown("several accounts have its name, apart from case")
        if self._accounts is None:
            return Unknown("the accounts were not read")
        return Unknown(self.uncertain.rstrip(".")) if self.uncertain else Absent()

    def accounts_named(self, name: str) -> tuple[Account, ...]:
        """Find the account of exactly this name, else all whose name differs from it by case alone."""
        if self._accounts is None:
            return ()
        if self._names is None:  # many sheets go by id alone and never pay for this index
            self._names = _ByName(self._accounts.values(), lambda account: account.name)
        return self._names.find(name)

    def groups_matching(self, id_or_name: str) -> tuple[Group, ...]:
        """Find the group of exactly this id, or else name; else all whose id or name differs from it by case alone."""
        if self._groups is None:
            return ()
        by_id = self._groups.get(fold(id_or_name))
        named = self._groups_by_name.find(id_or_name)
        if by_id is None or (by_id.id != id_or_name and any(group.name == id_or_name for group in named)):
            return named
        if by_id.id == id_or_name:
            return (by_id,)
        return (by_id, *(group for group in named if group is not by_id))

    def groups_alike(self, text: str) -> tuple[Group, ...]:
        """Find all groups whose id or name differs from a text by case alone, or not at all."""
        by_id = None if self._groups is None else self._groups.get(fold(text))
        named = self._groups_by_name.alike(fold(text))
        return named if by_id is None else (by_id, *(group for group in named if group is not by_id))

    def group_name(self, group_id: str) -> str:
        """Give a group's name for people to read; the id itself when the group is not known."""
        group = self.group_with_id(group_id)
        return (group.name if group is not None else self._former_names.get(fold(group_id))) or group_id

    def group_with_id(self, group_id: str) -> Group | None:
        """Find a group by its id only."""
        if self._groups is None:
            return None
        found = self._groups.get(group_id)  # nearly always written as it is folded
        return self._groups.get(fold(group_id)) if found is None else found

    @property
    def _groups_by_name(self) -> "_ByName[Group]":
        """The groups by name; made when first asked for, since sending needs their ids alone."""
        if self._group_names is None:
            self._group_names = _ByName(self.groups or (), lambda group: group.name)
        return self._group_names

    def _find_everyone(self) -> str:
        named = [group for group in self.groups or () if is_everyone(group.name)]
        built_in = [group for group in named if fold(group.type) == "builtin"]
        return (built_in or named)[0].id if named else ""


def by_id(accounts: Iterable[Account]) -> dict[str, Account]:
    """Index accounts by their folded ids; of those with the same id, the last one."""
    accounts = tuple(accounts)
    return dict(zip(fold_all([account.id for account in accounts]), accounts, strict=True))


def is_everyone(text: str) -> bool:
    """Whether a text is the name of the built-in group Everyone (its id is known only to a directory)."""
    return fold(text) == _EVERYONE_FOLDED


class _ByName(Generic[T]):
    """Finds items by folded name. Names are nearly always unique: a tuple for each would cost megabytes."""

    __slots__ = ("_name", "_one", "_several")

    def __init__(self, items: Iterable[T], name: Callable[[T], str]) -> None:
        self._name = name
        self._one: dict[str, T] = {}
        self._several: dict[str, tuple[T, ...]] = {}
        items = tuple(items)
        for key, item in zip(fold_all([name(item) for item in items]), items, strict=True):
            if self._one.setdefault(key, item) is not item:
                self._several[key] = (*self.alike(key), item)

    def find(self, name: str) -> tuple[T, ...]:
        """Give the items of exactly this name; else all whose name differs from it by case alone."""
        found = self.alike(fold(name))
        if len(found) < 2:  # noqa: PLR2004 - nothing to choose between
            return found
        return tuple([item for item in found if self._name(item) == name]) or found

    def alike(self, key: str) -> tuple[T, ...]:
        """Give all items of this folded name."""
        if key in self._several:
            return self._several[key]
        item = self._one.get(key)
        return () if item is None else (item,)
