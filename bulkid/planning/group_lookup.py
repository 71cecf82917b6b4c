"""Which groups a row means: texts that are ids or names become ids, once for each distinct text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bulkid.planning.account_lookup import did_you_mean
from bulkid.planning.directory import Directory, is_everyone
from bulkid.planning.suggestions import NameSuggester
from bulkid.text import fold, listing, quote

_LISTS_REMEMBERED = 10_000  # distinct list cells; more than that and they hardly repeat


class GroupMatch(NamedTuple):
    """What one text means: a group's id, or Everyone, or nothing (then with a code and a message)."""

    group_id: str = ""
    everyone: bool = False
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class GroupList:
    """What one list cell means: distinct ids in the cell's order, without Everyone."""

    ids: tuple[str, ...]
    everyone: str  # the text that meant Everyone; "" when none did
    unresolved: tuple[tuple[str, GroupMatch], ...]  # texts that mean no group, with the reason


class GroupResolver:
    """Resolves list cells. Equal cells share one result, so that 100,000 rows hold a few tuples between them.

    Args:
        look_up: Says what one text means; asked once per distinct text.
    """

    def __init__(self, look_up: Callable[[str], GroupMatch]) -> None:
        self._look_up = look_up
        self._texts: dict[str, GroupMatch] = {}
        self._lists: dict[tuple[str, ...], GroupList] = {(): GroupList((), "", ())}

    def resolve(self, texts: tuple[str, ...]) -> GroupList:
        """Resolve the texts of one list cell."""
        known = self._lists.get(texts)
        if known is None:
            known = self._resolve(texts)
            if len(self._lists) < _LISTS_REMEMBERED:
                self._lists[texts] = known
        return known

    def _resolve(self, texts: tuple[str, ...]) -> GroupList:
        ids: dict[str, None] = {}
        everyone = ""
        unresolved: dict[str, GroupMatch] = {}
        for text in texts:
            found = self._texts.get(text)
            if found is None:
                found = self._texts[text] = self._look_up(text)
            if found.code:
                unresolved[text] = found
            elif found.everyone:
                everyone = everyone or text
            else:
                ids[found.group_id] = None
        return GroupList(tuple(ids), everyone, tuple(unresolved.items()))


class DirectoryGroups:
    """Finds groups in a directory that was read.

    Args:
        directory: Holds the groups.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._suggester = NameSuggester(lambda: (group.name for group in directory.groups or ()))

    def __call__(self, text: str) -> GroupMatch:
        """Find the group with this id or name, or say why there is none."""
        found = self._directory.groups_matching(text)
        if len(found) == 1:
            everyone = fold(found[0].id) == fold(self._directory.everyone_id)
            return GroupMatch(found[0].id, everyone)
        if found:
            named = listing([quote(group.name) for group in found])
            ids = listing([quote(group.id) for group in found], "or")
            message = f"Several groups are named {quote(text)}, apart from case: {named}. Give the id: {ids}."
            return GroupMatch(code="ambiguous_group", message=message)
        if is_everyone(text):
            return GroupMatch(everyone=True)
        hint = did_you_mean(self._suggester.suggest(text), text) or "Check the spelling, or create the group first."
        message = f"No group has the id or the name {quote(text)} in this organisation. {hint}"
        return GroupMatch(code="unknown_group", message=message)


class SheetGroups:
    """Takes groups by the text that the sheet gives, since none could be read; texts differing by case are one."""

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many distinct groups were taken as the sheet spells them, Everyone not counted."""
        return len(self._spelled)

    def __call__(self, text: str) -> GroupMatch:
        """Take the text as it stands, in the spelling met first."""
        if is_everyone(text):
            return GroupMatch(everyone=True)
        if not text.strip():
            return GroupMatch(
                code="unknown_group", message="The list holds a blank where a group is expected. Remove it."
            )
        return GroupMatch(self._spelled.setdefault(fold(text), text))
