"""The simulated organisation: robot accounts and groups in dictionaries, and what may be done to them.

Membership is kept once, on the account. `Everyone` holds every account without being written anywhere.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bulkid.model import EVERYONE


@dataclass(slots=True, eq=False)
class AccountRecord:
    """One robot account as the sandbox keeps it."""

    id: str
    name: str
    display_name: str | None
    created: str  # ISO 8601
    last_login: str | None
    group_ids: set[str] = field(default_factory=set)  # as the groups write their ids; never Everyone's


@dataclass(slots=True, eq=False)
class GroupRecord:
    """One group as the sandbox keeps it."""

    id: str
    name: str
    type: str  # "builtIn" | "custom"
    created: str
    modified: str


def moment(at: int, ticks: int) -> str:
    """A moment in seconds since 1970 and ten-millionths of a second, as .NET writes it."""
    return f"{datetime.fromtimestamp(at, UTC).isoformat()[:19]}.{ticks:07d}Z"


class LogEntry(NamedTuple):
    """One request that came in, and what became of it."""

    method: str
    path: str  # with the query, as it came in
    status: int  # 0: the connection was reset instead of an answer
    arrived: float  # seconds on the sandbox's monotonic clock
    account: str  # id of the robot account that the path names; ""
    applied: bool  # whether a write was carried out, a write without effect included
    fault: str  # the fault that it met; ""
    named: tuple[str, ...] = ()  # what the body of a POST or DELETE names: the new name, or the ids to delete


SORT_KEYS: dict[str, Callable[[AccountRecord], str]] = {
    "id": lambda account: account.id,
    "name": lambda account: account.name.casefold(),
    "displayname": lambda account: (account.display_name or "").casefold(),
    "creationtime": lambda account: account.created,
    "lastlogintime": lambda account: account.last_login or "",
}
"""What the account list sorts by."""


class Organization:
    """Accounts and groups of one organisation, by ids and names in any case; unknown ones raise ``KeyError``.

    Args:
        groups: Exactly one of them is Everyone.
    """

    def __init__(
        self, accounts: Iterable[AccountRecord], groups: Iterable[GroupRecord], *, list_everyone: bool = False
    ) -> None:
        self.groups = {group.id.casefold(): group for group in groups}
        self.accounts = {account.id.casefold(): account for account in accounts}
        self.everyone = next(group for group in self.groups.values() if group.name == EVERYONE)
        self.list_everyone = list_everyone
        self.poisoned: dict[str, int] = {}  # ids of accounts that refuse PUTs and DELETEs; the status that these get
        self.vanished = 0  # accounts that were deleted because a page showed them
        self.created = 0  # accounts that were created since the sandbox began, those deleted again included
        self._group_names = {group.name.casefold(): group for group in self.groups.values()}
        self._names = {account.name.casefold(): account for account in self.accounts.values()}
        self._orders: dict[tuple[str, bool], list[AccountRecord]] = {}

    def poison(self, name: str, status: int) -> None:
        """Answer each PUT and DELETE of an account, given by id or name, with a status: 400, 401 or 403."""
        try:
            account = self.accounts.get(name.casefold()) or self.account_named(name)
        except KeyError:
            raise ValueError(f"There is no robot account {name!r} to poison.") from None
        self.poisoned[account.id] = status

    # --- looking up

    def account(self, account_id: str) -> AccountRecord:
        """The account with this id."""
        return self.accounts[account_id.casefold()]

    def account_named(self, name: str) -> AccountRecord:
        """The account with this unique name."""
        return self._names[name.casefold()]

    def has_account_named(self, name: str) -> bool:
        """Whether an account has this name, in any case."""
        return name.casefold() in self._names

    def group(self, group_id: str) -> GroupRecord:
        """The group with this id."""
        return self.groups[group_id.casefold()]

    def group_named(self, name: str) -> GroupRecord:
        """The group with this name."""
        return self._group_names[name.casefold()]

    def has_group_named(self, name: str) -> bool:
        """Whether a group has this name, in any case."""
        return name.casefold() in self._group_names

    def members(self, group: GroupRecord) -> list[AccountRecord]:
        """Every account in this group; all accounts for Everyone."""
        if group is self.everyone:
            return list(self.accounts.values())
        return [account for account in self.accounts.values() if group.id in account.group_ids]

    def listing(self, search: str = "", sort_by: str = "", *, descending: bool = False) -> list[AccountRecord]:
        """Accounts whose name or display name contains ``search``, sorted by a key of ``SORT_KEYS`` or as created."""
        order = self._orders.get((sort_by, descending))
        if order is None:
            order = list(self.accounts.values())
            if sort_by:
                order.sort(key=SORT_KEYS[sort_by], reverse=descending)
            self._orders[sort_by, descending] = order
        if not search:
            return order
        wanted = search.casefold()
        return [
            account
            for account in order
            if wanted in account.name.casefold() or wanted in (account.display_name or "").casefold()
        ]

    # --- changing

    def rename(self, account: AccountRecord, display_name: str | None) -> None:
        """Give the account another display name; None for none."""
        if account.display_name != display_name:
            account.display_name = display_name
            for key in [key for key in self._orders if key[0] == "displayname"]:
                del self._orders[key]

    def join(self, account: AccountRecord, groups: Iterable[GroupRecord]) -> None:
        """Put the account into groups; being in one already, or Everyone, is no matter."""
        account.group_ids.update(group.id for group in groups if group is not self.everyone)

    def leave(self, account: AccountRecord, groups: Iterable[GroupRecord]) -> None:
        """Take the account out of groups; not being in one is no matter. Everyone cannot be left: callers refuse."""
        account.group_ids.difference_update(group.id for group in groups)

    def create(self, account: AccountRecord) -> None:
        """Add an account whose id and name are new."""
        self.accounts[account.id.casefold()] = account
        self._names[account.name.casefold()] = account
        self.created += 1
        self._orders.clear()

    def delete(self, account_id: str) -> None:
        """Remove an account."""
        account = self.accounts.pop(account_id.casefold())
        del self._names[account.name.casefold()]
        self._orders.clear()

    def create_group(self, group: GroupRecord) -> None:
        """Add a group whose id and name are new."""
        self.groups[group.id.casefold()] = group
        self._group_names[group.name.casefold()] = group

    def rename_group(self, group: GroupRecord, name: str) -> None:
        """Give the group another name that no other group has."""
        del self._group_names[group.name.casefold()]
        group.name = name
        self._group_names[name.casefold()] = group

    def delete_groups(self, groups: Collection[GroupRecord]) -> None:
        """Remove groups, and take every account out of them. Everyone stays: callers refuse."""
        for group in groups:
            del self.groups[group.id.casefold()]
            del self._group_names[group.name.casefold()]
        gone = {group.id for group in groups}
        for account in self.accounts.values():
            account.group_ids -= gone

    # --- as the API writes it

    def account_dto(self, account: AccountRecord) -> dict[str, Any]:
        """The account as a RobotAccountDto; groupIds are sorted."""
        ids: Collection[str] = account.group_ids
        if self.list_everyone:
            ids = {*ids, self.everyone.id}
        return {
            "id": account.id,
            "name": account.name,
            "displayName": account.display_name,
            "creationTime": account.created,
            "lastLoginTime": account.last_login,
            "groupIds": sorted(ids),
        }

    def members_dto(self, members: Iterable[AccountRecord]) -> list[dict[str, Any]]:
        """Members of a group as directory entries."""
        return [
            {
                "identifier": account.id,
                "name": account.name,
                "displayName": account.display_name,
                "objectType": "DirectoryRobotUser",
                "source": "local",
            }
            for account in members
        ]

    def group_dto(self, group: GroupRecord, members: Iterable[AccountRecord] | None = None) -> dict[str, Any]:
        """The group as a GroupDto, with these members or null."""
        return {
            "id": group.id,
            "name": group.name,
            "displayName": group.name,
            "type": group.type,
            "creationTime": group.created,
            "lastModificationTime": group.modified,
            "members": None if members is None else self.members_dto(members),
        }
