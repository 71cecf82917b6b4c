"""What a run may do besides changing accounts that exist, and the groups that it creates."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from bulkid.model import NEW_GROUP, Group
from bulkid.text import count_of, fold, listing, quote, skeleton

MAX_NAME: Final = 256
"""UTF-16 code units of the name of an account or group that a run creates. The API documents no limit; a longer text
is a slip."""

GUID: Final = re.compile(r"\{?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\}?")
"""A text that is an id, and the name of nothing."""

DELETION_NOT_ALLOWED: Final = "deletion_not_allowed"
"""The code of the error of a row that deletes an account where the options do not allow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveOptions:
    """What the rows of a sheet may ask for besides changing accounts that exist.

    Args:
        create_missing: Rows whose name no account has create it.
        create_groups: Groups that do not exist are created, unless an existing name is near.
        new_groups: Names of groups that are created where they do not exist.
        allow_delete: Rows may delete accounts.
        new_id: Makes the id of a group: the client makes it, as the API has it.
    """

    create_missing: bool = False
    create_groups: bool = False
    new_groups: tuple[str, ...] = ()
    allow_delete: bool = False
    new_id: Callable[[], str] = lambda: str(uuid4())

    @property
    def creates_groups(self) -> bool:
        """Whether any group may be created."""
        return self.create_groups or bool(self.new_groups)


class NewGroups:
    """The groups that rows name and that the run may create: one for each name without regard to case."""

    def __init__(self, options: ResolveOptions) -> None:
        self._options = options
        self._named = {fold(name): name for name in reversed(options.new_groups)}
        self._by_name: dict[str, Group] = {}
        self._by_id: dict[str, Group] = {}

    @property
    def groups(self) -> tuple[Group, ...]:
        """All of them, in the order in which the rows name them first."""
        return tuple(self._by_name.values())

    def name_of(self, group_id: str) -> str:
        """Give the name of such a group by its id; "" for the id of another."""
        group = self._by_id.get(group_id)
        return "" if group is None else group.name

    def create(self, text: str, near: Callable[[], str]) -> Group | str:
        """Give the new group that a text means, or say why there is none.

        Args:
            text: The name, which no existing group has.
            near: Gives a sentence if an existing name is near, or may be; "" when none is.

        Returns:
            The group; or a sentence that says what to do, "" where the options create no group of this name.
        """
        key = fold(text)
        group = self._by_name.get(key)
        if group is not None:
            return group
        named = self._named.get(key)
        if named is None and not self._options.create_groups:
            return ""
        refusal = _name_refusal(text)
        if not refusal and named is None and (doubt := near()):
            refusal = f"{doubt} To create it all the same, name it: --new-group {quote(text)}."
        if refusal:
            return refusal
        group = self._by_name[key] = Group(self._options.new_id(), named or text, NEW_GROUP)
        self._by_id[group.id] = group
        return group


def _name_refusal(text: str) -> str:
    """Say why no group may have this name; "" when one may."""
    if not text.strip():
        return "A group needs a name."
    if GUID.fullmatch(text):
        return "It is an id, and no name: check it, or give the name of the group to create."
    if is_too_long(text):
        return f"It is too long to create: a name has at most {MAX_NAME} characters."
    return ""


def is_too_long(name: str) -> bool:
    """Whether no account and no group can be created with a name, for its length."""
    return 2 * len(name) > MAX_NAME and len(name.encode("utf-16-le", "surrogatepass")) > 2 * MAX_NAME


_NAMED: Final = 3
"""Names that a warning lists."""


def look_alike_warning(created: Sequence[str], existing: Iterable[str]) -> str:
    """Warn of accounts to create whose names people may take for those of others; "" where there are none.

    Args:
        created: The names of the accounts to create.
        existing: The names of all accounts, read only where some are created.
    """
    if not created:
        return ""
    new: dict[str, list[str]] = {}
    for name in created:
        new.setdefault(skeleton(name), []).append(name)
    alike = [name for names in new.values() for name in names[1:]]
    alike += [new[key][0] for name in existing if (key := skeleton(name)) in new]
    if not alike:
        return ""
    alike = list(dict.fromkeys(alike))
    names = [quote(name) for name in alike[:_NAMED]]
    if len(alike) > _NAMED:
        names.append(f"{len(alike) - _NAMED} more")
    one = len(alike) == 1
    return (
        f"{count_of(len(alike), 'new account')} {'has a name that looks' if one else 'have names that look'} like that "
        f"of another account, with other characters or blanks: {listing(names)}. If the other one is meant, copy its "
        "name from an export, or give its id."
    )
