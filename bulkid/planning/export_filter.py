"""Which accounts an export holds: those that were inactive for so long, are in a group, or have such a name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from bulkid.errors import UsageError
from bulkid.model import Account, Group
from bulkid.planning.directory import Directory
from bulkid.planning.export_rows import Examples, account_time, has_time
from bulkid.planning.lookup import DirectoryGroups, NameSuggester
from bulkid.resources import current
from bulkid.text import count_of, fold, humanize_seconds, quote

_TIMES: Final = "The time of the last login, or else of the creation, cannot be read or is missing for"
_GROUPS: Final = "The server does not say the groups of"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFilter:
    """What an account must be so that an export holds it: all of what is given.

    Args:
        inactive_for_s: The least number of seconds since the last login, or since the creation where there was none.
        in_group: The id or the name of a group that the account is in.
        name: A shell pattern such as ``PROD*``, which the whole name must match without regard to case.

    Raises:
        UsageError: A group or a name is given that is blank.
    """

    inactive_for_s: float | None = None
    in_group: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse blanks: a script whose variable is empty would otherwise select every account."""
        for what, text in (("group", self.in_group), ("pattern of names", self.name)):
            if text is not None and not text.strip():
                raise UsageError(f"The {what} that selects accounts is blank.", hint="Fill it in, or leave it out.")

    def __bool__(self) -> bool:
        """Whether anything is given."""
        return self != ExportFilter()

    def __str__(self) -> str:
        """For the audit log: ``inactive for 180 days, in the group "Finance", named "PROD*"``."""
        parts = []
        if self.inactive_for_s is not None:
            parts.append(f"inactive for {humanize_seconds(self.inactive_for_s)}")
        if self.in_group is not None:
            parts.append(f"in the group {quote(self.in_group)}")
        if self.name is not None:
            parts.append(f"named {quote(self.name)}")
        return ", ".join(parts)


class AccountSelector:
    """Selects accounts by a filter, and collects notes on those of which it is not known whether they belong to it.

    Args:
        wanted: The filter.
        organization_id: The organisation of the groups.
        groups: All groups of the organisation.
        now_s: The present time, in seconds since the epoch.

    Raises:
        UsageError: The group of the filter does not exist, or several have its name.
    """

    def __init__(self, wanted: ExportFilter, organization_id: str, groups: Sequence[Group], now_s: float) -> None:
        self._wanted = wanted
        self._now_s = now_s
        self._group_id = "" if wanted.in_group is None else _group_id(wanted.in_group, organization_id, groups)
        self._name = None if wanted.name is None else re.compile(translate(fold(wanted.name)))
        self._unknown_times, self._unknown_groups = Examples(), Examples()

    def select(self, accounts: Sequence[Account]) -> list[Account]:
        """Return those of the accounts that belong to the filter, in their order."""
        return [account for account in accounts if self._admits(account)]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on accounts that were left out because the server does not say enough of them, as sentences."""
        return tuple(
            f"{beginning} {count_of(found.count, current().singular, current().plural)}, which "
            f"{'is' if found.count == 1 else 'are'} left out: {found}."
            for beginning, found in ((_TIMES, self._unknown_times), (_GROUPS, self._unknown_groups))
            if found.count
        )

    def _admits(self, account: Account) -> bool:
        if self._name is not None and not self._name.match(fold(account.name)):
            return False
        is_member, is_inactive = self._is_member(account), self._is_inactive(account)
        if is_member is False or is_inactive is False:
            return False
        if is_member is None:
            self._unknown_groups.add(account.name or account.id)
        if is_inactive is None:
            self._unknown_times.add(account.name or account.id)
        return bool(is_member and is_inactive)

    def _is_member(self, account: Account) -> bool | None:
        """Whether the account is in the group; None where that is not known."""
        if not self._group_id:
            return True
        if account.group_ids is None:
            return None
        return any(fold(group_id) == self._group_id for group_id in account.group_ids)

    def _is_inactive(self, account: Account) -> bool | None:
        """Whether the account was inactive for long enough; None where that is not known."""
        if self._wanted.inactive_for_s is None:
            return True
        active = account_time(account.last_login if has_time(account.last_login) else account.created)
        return None if active is None else self._now_s - active.timestamp() >= self._wanted.inactive_for_s


def _group_id(text: str, organization_id: str, groups: Sequence[Group]) -> str:
    """The folded id of a group, given by id or name; "" for Everyone, since every account is in it."""
    directory = Directory(organization_id, (), groups)
    found = DirectoryGroups(directory)(text)
    if found.code == "unknown_group":
        suggester = NameSuggester(lambda: (group.name for group in groups))
        raise UsageError(
            f"No group has the id or the name {quote(text)} in this organisation.",
            hint=suggester.question(text) or "Check the spelling, and that it is the right organisation.",
        )
    if found.code:
        raise UsageError(found.message)
    return "" if found.everyone else fold(found.group_id)
