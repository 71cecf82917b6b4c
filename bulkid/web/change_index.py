"""Which accounts of a plan change in which way, so that a preview of 100,000 accounts is filtered at once."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

from bulkid.model import Action, Change
from bulkid.planning.directory import Directory
from bulkid.planning.plan import changed_fields
from bulkid.resources import current
from bulkid.text import fold

_JOINS: Final = 1
_LEAVES: Final = 2
_CREATES: Final = 4
_DELETES: Final = 8


@dataclass(frozen=True, slots=True)
class ChangeKind:
    """One kind of change, by which a user can filter a preview."""

    key: str  # in addresses of pages: "display_name-removed"
    title: str  # "Names removed"
    bit: int
    accounts: int = 0  # accounts of the plan that have such a change


@dataclass(slots=True)
class GroupChanges:
    """The accounts that join and that leave one group, by their place in the plan."""

    name: str
    joins: "array[int]" = field(default_factory=lambda: array("I"))
    leaves: "array[int]" = field(default_factory=lambda: array("I"))


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes of a preview a user wants to see; empty for all."""

    kind: str = ""  # the key of a :class:`ChangeKind`
    group: str = ""  # the id of a group


@dataclass(frozen=True, slots=True)
class ChangeIndex:
    """The kinds of change of each account of a plan, in about ten bytes per account."""

    kinds: tuple[ChangeKind, ...]  # those that the plan has
    groups: Mapping[str, GroupChanges]  # by id, without regard to case; by name
    _bits: "array[int]" = field(repr=False)

    def select(self, wanted: ChangeFilter) -> Sequence[int]:
        """The places in the plan of the accounts that a filter wants, in the plan's order.

        With a group, joins and leaves are those of this group. An unknown kind or group has no accounts.
        """
        if wanted.group:
            return self._of_group(wanted)
        if not wanted.kind:
            return range(len(self._bits))
        bit = self._bit(wanted.kind)
        return list(compress(range(len(self._bits)), (bits & bit for bits in self._bits)))

    def _of_group(self, wanted: ChangeFilter) -> Sequence[int]:
        group = self.groups.get(fold(wanted.group), GroupChanges(""))
        bit = self._bit(wanted.kind)
        if bit == _JOINS:
            return group.joins
        if bit == _LEAVES:
            return group.leaves
        both = sorted({*group.joins, *group.leaves})
        return [index for index in both if self._bits[index] & bit] if wanted.kind else both

    def _bit(self, key: str) -> int:
        return next((kind.bit for kind in self.kinds if kind.key == key), 0)


def index_changes(changes: Iterable[Change], directory: Directory) -> ChangeIndex:
    """Find the kinds of change of every account, in one pass."""
    possible = _possible_kinds()
    bit_of = {kind.key: kind.bit for kind in possible}
    field_bits = {each.key: tuple(bit_of[key] for key in _field_keys(each.key)) for each in current().fields}
    every_bits = array("I")
    groups: dict[str, GroupChanges] = {}
    for index, change in enumerate(changes):
        every_bits.append(_bits_of(change, field_bits))
        for group_id in change.add:
            _group(groups, group_id, directory).joins.append(index)
        for group_id in change.remove:
            _group(groups, group_id, directory).leaves.append(index)
    kinds = []
    for kind in possible:
        accounts = sum(1 for bits in every_bits if bits & kind.bit)
        if accounts:
            kinds.append(ChangeKind(kind.key, kind.title, kind.bit, accounts))
    by_name = dict(sorted(groups.items(), key=lambda item: (item[1].name.casefold(), item[0])))
    return ChangeIndex(tuple(kinds), by_name, every_bits)


def _bits_of(change: Change, field_bits: Mapping[str, tuple[int, ...]]) -> int:
    """The kinds of one change; ``field_bits`` are by the key of a field, those of its :func:`_field_keys`."""
    bits = (_JOINS if change.add else 0) | (_LEAVES if change.remove else 0)
    if change.action is Action.CREATE:
        return bits | _CREATES
    if change.action is Action.DELETE:
        return bits | _DELETES
    for each, _, after in changed_fields(change):
        changed, removed = field_bits[each.key]
        bits |= changed if after else removed
    return bits


def _group(groups: dict[str, GroupChanges], group_id: str, directory: Directory) -> GroupChanges:
    key = fold(group_id)
    found = groups.get(key)
    if found is None:
        found = groups[key] = GroupChanges(directory.group_name(group_id))
    return found


def _possible_kinds() -> list[ChangeKind]:
    """Every kind that a plan can have, those of whole accounts and of fields first."""
    kinds = [ChangeKind("created", "New accounts", _CREATES), ChangeKind("deleted", "Deletions", _DELETES)]
    bit = _DELETES
    for each in current().fields:
        for key, words in zip(_field_keys(each.key), (each.change_words()[1], each.removal_words()[1]), strict=True):
            bit <<= 1
            kinds.append(ChangeKind(key, words[:1].upper() + words[1:], bit))
    return [*kinds, ChangeKind("joins", "Joins a group", _JOINS), ChangeKind("leaves", "Leaves a group", _LEAVES)]


def _field_keys(key: str) -> tuple[str, str]:
    """The keys of the kinds of a field: another value, and none any more."""
    return f"{key}-changed", f"{key}-removed"
