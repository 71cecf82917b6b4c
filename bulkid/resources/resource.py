"""A resource: one kind of account, with its endpoints, scopes, identifying columns and fields."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bulkid.resources.field import Field

MEMBERSHIP_COLUMNS: Final = ("groups_to_add", "groups_to_remove", "groups")
"""Columns of the groups that an account joins, leaves, or is in exactly. Every resource has memberships."""

_MEMBERSHIP_ALIASES: Final = (
    ("groups to add", "group ids to add", "add groups"),
    ("groups to remove", "group ids to remove", "remove groups"),
    ("groups", "group names", "group name"),
)
GROUP_SCOPE: Final = "PM.Group"
"""The scope that allows everything with groups; with ``.Read`` or ``.Write``, that alone."""

INFORMATION_COLUMNS: Final = ("created", "last_login")
"""The last columns of an export: when an account was created and last logged in, for people. No run reads them."""

ACTION_COLUMN: Final = "action"
"""The column that says whether a row updates, creates or deletes its account."""

_ACTION_ALIASES: Final = (ACTION_COLUMN, "operation", "op")

_PARTITION: Final = ("partition_global_id", ("partition global id", "organization id"))


@dataclass(frozen=True)
class Resource:
    """One kind of account. Values of an account are a tuple in the order of ``fields``."""

    singular: str
    """The noun: ``robot account``."""
    plural: str
    endpoint: str
    """Path below the identity base: ``api/RobotAccount``."""
    scope: str
    """The scope that allows everything: ``PM.RobotAccount``; with ``.Read`` or ``.Write``, that alone."""
    id_column: str
    """The column of the account's id: ``robot_account_id``."""
    id_aliases: tuple[str, ...]
    name_aliases: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def read_scope(self) -> str:
        """The scope that allows reading accounts."""
        return f"{self.scope}.Read"

    @property
    def write_scope(self) -> str:
        """The scope that allows changing accounts."""
        return f"{self.scope}.Write"

    @property
    def requested_scopes(self) -> tuple[str, ...]:
        """The scopes to request by default, in turn, until the server grants them all.

        With both, group requests and names of groups work; then names alone; then accounts only. A server refuses
        an application as a whole when it was not granted one of the scopes.
        """
        return (f"{self.scope} {GROUP_SCOPE}", f"{self.scope} {GROUP_SCOPE}.Read", self.scope)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The fields' keys."""
        return tuple(field.key for field in self.fields)

    @cached_property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The headers that a sheet may have, as words, by column; columns in the contract's order."""
        return {
            self.id_column: self.id_aliases,
            "name": self.name_aliases,
            **{field.key: field.aliases for field in self.fields},
            **dict(zip(MEMBERSHIP_COLUMNS, _MEMBERSHIP_ALIASES, strict=True)),
            ACTION_COLUMN: _ACTION_ALIASES,
            _PARTITION[0]: _PARTITION[1],
        }

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What a column of a sheet can mean, in the contract's order."""
        return tuple(self.aliases)

    @cached_property
    def titles(self) -> dict[str, str]:
        """What people call each column: ``groups_to_remove`` is "Groups to remove"."""
        own = {
            self.id_column: f"{_capitalized(self.singular)} ID",
            **{field.key: _capitalized(field.label) for field in self.fields},
            "groups": "Groups (exactly these)",
            _PARTITION[0]: "Organisation ID",
        }
        return {column: own.get(column, _capitalized(column.replace("_", " "))) for column in self.columns}

    @cached_property
    def template_headers(self) -> tuple[str, ...]:
        """The header of an empty sheet that a new user can fill in."""
        return ("name", *self.keys, *MEMBERSHIP_COLUMNS[:2])

    @cached_property
    def change_columns(self) -> tuple[str, ...]:
        """The columns of a sheet that holds changes with ids."""
        return (self.id_column, "name", *self.keys, *MEMBERSHIP_COLUMNS[:2])

    @cached_property
    def export_columns(self) -> tuple[str, ...]:
        """The columns of an export. A run takes all but the last ones, and ignores those."""
        return (self.id_column, "name", *self.keys, "groups", *INFORMATION_COLUMNS)

    @cached_property
    def action_columns(self) -> tuple[str, ...]:
        """The columns of an export of one action. A deletion may have no others that a run reads."""
        return (self.id_column, "name", _PARTITION[0], ACTION_COLUMN, *INFORMATION_COLUMNS)

    @cached_property
    def nothing(self) -> tuple[None, ...]:
        """The values of a row that sets no field; one object, because most rows of some sheets are such."""
        return (None,) * len(self.fields)

    def __hash__(self) -> int:
        return hash((self.endpoint, self.keys))


def _capitalized(words: str) -> str:
    """Words with a capital at their beginning alone: an abbreviation keeps its own."""
    return words[:1].upper() + words[1:]
