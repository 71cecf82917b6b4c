"""Accounts as rows of a sheet that a run takes back: unchanged they send nothing, edited they send just the edit.

Every row is read back as a run would read it (cells parsed, names resolved, the request compared with the account)
before it is given out. What does not come back as it is (a display name that is ``!clear``, a group that the server
does not list) is left blank, which leaves it as it is, and a note says so.

An export of one action has neither fields nor groups: its rows name the account and the action.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from bulkid.clock import utc_time
from bulkid.model import Account, Action, Group
from bulkid.planning.directory import Directory
from bulkid.planning.plan import build_plan
from bulkid.planning.resolve import resolve
from bulkid.resources import INFORMATION_COLUMNS, current
from bulkid.sheet import RowParser, SheetInfo, fields_for_headers, list_cell, parse_list
from bulkid.text import fold, quote

_ID, _NAME = 0, 1  # places of a row's cells; its fields and its groups follow
_EXAMPLES = 3
_LISTS_REMEMBERED = 10_000  # distinct lists of groups; more than that and they hardly repeat
_LONGEST_TIME = 64  # characters; the server's times have about 30
_NO_TIME = "0001-"  # how the year of .NET's default begins, which servers write where there is no time

_NOTES: Final = {
    "id": "A cell cannot hold the ids of {}: given by name alone.",
    "name": "A cell cannot hold the names of {}: given by id alone.",
    "field": "A cell cannot hold the {field}s of {} so that a run would read them as they are (blanks at "
    "the ends, control characters, !clear, spreadsheet errors): left blank, which leaves them.",
    "groups": "A cell cannot hold the groups of {} so that a run would leave them as they are (a group that the "
    "server's list of groups lacks, or a list that is too long): left blank, which leaves them.",
    "silent": "The server does not say the groups of {}: left blank, which leaves them as they are.",
    "dropped": "A row can hold neither the ids nor the names of {}: left out.",
    "group_ids": "Groups stand as their ids where a name is not sure (not unique apart from case, or such as no list "
    "can hold): {}.",
    "group_names": "Groups stand as their names where no list can hold the id: {}.",
}

Cells = tuple[str, ...]


class ExportedAccount(NamedTuple):
    """One account of an export."""

    account: Account
    groups: tuple[str, ...] | None  # as they are shown, by name or by id; None: the server did not say
    cells: Cells | None  # as a row under the export's columns; None: no row can hold this account
    organization_id: str = ""
    action: str = ""


class Examples:
    """Counts texts, and keeps a few of them as examples."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(quote(example))

    def __str__(self) -> str:
        more = self.count - len(self.examples)
        return ", ".join(self.examples) + (f" and {more:,} more" if more else "")


class Exporter:
    """Turns accounts into rows, a page at a time, and collects notes on values that no cell can hold.

    Args:
        by_id: Give groups by id; else by name, wherever the name means that one group.
        fits: Whether the file can hold a cell as it is.
        action: What each row is to ask for; None for the account's fields and groups in place of an action.
    """

    def __init__(
        self,
        organization_id: str,
        groups: Sequence[Group],
        *,
        by_id: bool = False,
        fits: Callable[[str], bool],
        action: Action | None = None,
    ) -> None:
        self._organization_id = organization_id
        self._groups = groups
        self._by_id = by_id
        self._fits = fits
        self._known = Directory(organization_id, (), groups)
        self._resource = current()
        self._action = action
        everything = self._resource.export_columns[: -len(INFORMATION_COLUMNS)]
        self._taken = everything if action is None else everything[: _NAME + 1]  # what is read back
        self._blank = ("",) * len(self._taken)
        info = SheetInfo("export", "csv", "", "utf-8", ",", self._taken, fields_for_headers(self._taken))
        self._columns = info.columns()
        self._parser = RowParser(info)
        self._texts: dict[str, str | None] = {}
        self._lists: dict[tuple[str, ...], tuple[tuple[str, ...], str | None]] = {}
        self._blanked_cells = {name: Examples() for name in self._taken}
        self._unknown_groups, self._dropped, self._by_other_identifier = Examples(), Examples(), Examples()

    # --- what is asked of it

    def rows(self, accounts: Sequence[Account], among: Sequence[Account] = ()) -> list[ExportedAccount]:
        """Turn accounts, each with an id of its own, into rows, in their order.

        Args:
            accounts: The accounts.
            among: The accounts that were read with them, from which a row must tell its own apart.
        """
        shown = [self._shown(account) for account in accounts]
        wanted = [self._cells(account, cell) for account, (_, cell) in zip(accounts, shown, strict=True)]
        settled: list[Cells | None] = list(wanted)
        directory = Directory(self._organization_id, among or accounts, self._groups)
        failing = sorted(self._failing(accounts, wanted, directory))
        if failing:
            few = [accounts[index] for index in failing]
            reduced = self._reduced(few, [wanted[index] for index in failing], directory)
            for index, cells in zip(failing, reduced, strict=True):
                settled[index] = cells
        return [
            self._exported(account, *listed, cells)
            for account, listed, cells in zip(accounts, shown, settled, strict=True)
        ]

    def objects(self, accounts: Sequence[Account]) -> list[ExportedAccount]:
        """Turn accounts into what a format without cells holds: every text as it is; ids where a name is not sure."""
        return [self._with_action(account, self._shown(account)[0], ()) for account in accounts]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on values that no cell could hold so far, as sentences."""
        found = {
            **self._blanked_cells,
            "silent": self._unknown_groups,
            "dropped": self._dropped,
            "group_names" if self._by_id else "group_ids": self._by_other_identifier,
        }
        templates = {
            **_NOTES,
            self._resource.id_column: _NOTES["id"],
            **{field.key: _NOTES["field"].replace("{field}", field.label) for field in self._resource.fields},
        }
        return tuple(templates[what].format(examples) for what, examples in found.items() if examples.count)

    # --- one account

    def _shown(self, account: Account) -> tuple[tuple[str, ...] | None, str | None]:
        """The account's groups for people, and as a cell; the cell is None where none can hold them."""
        if self._action is not None:
            return None, ""
        if account.group_ids is None:
            self._unknown_groups.add(account.name or account.id)
            return None, ""
        found = self._lists.get(account.group_ids)
        if found is None:
            if len(self._lists) >= _LISTS_REMEMBERED:
                self._lists.clear()
            found = self._lists[account.group_ids] = self._listed(account.group_ids)
        return found

    def _listed(self, group_ids: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
        everyone = fold(self._known.everyone_id)
        texts = {group_id: self._text(group_id) for group_id in group_ids if fold(group_id) != everyone}
        shown = sorted((text or group_id for group_id, text in texts.items()), key=fold)
        # Where the list of groups holds no Everyone, a group that it lacks may be that one, and a run lets it be.
        ambiguous = [
            group_id for group_id, text in texts.items() if text is None and not self._may_be_everyone(group_id)
        ]
        cell = None if ambiguous else list_cell(sorted(filter(None, texts.values()), key=fold))
        return tuple(shown), cell

    def _may_be_everyone(self, group_id: str) -> bool:
        return not self._known.everyone_id and self._known.group_with_id(group_id) is None

    def _text(self, group_id: str) -> str | None:
        """What a list cell says for a group, so that it means this one; None where nothing does."""
        if group_id not in self._texts:
            self._texts[group_id] = self._text_of(group_id)
        return self._texts[group_id]

    def _text_of(self, group_id: str) -> str | None:
        group = self._known.group_with_id(group_id)
        if group is None:
            return None
        texts = (group.id, group.name) if self._by_id else (group.name, group.id)
        for text in texts:
            cell = parse_list(list_cell([text]))
            (item, *more) = cell.items or ("",)
            if item and not (more or cell.clear or cell.problems) and self._known.groups_alike(item) == (group,):
                if text is not texts[0]:
                    self._by_other_identifier.add(texts[0])
                return item
        return None

    def _cells(self, account: Account, groups: str | None) -> Cells:
        cells = (account.id, account.name, *(value or "" for value in account.values), groups or "")
        return tuple(cell if not cell or self._fits(cell) else "" for cell in cells[: len(self._taken)])

    def _exported(
        self, account: Account, groups: tuple[str, ...] | None, listed: str | None, cells: Cells | None
    ) -> ExportedAccount:
        label = account.name or account.id
        if cells is None:
            self._dropped.add(label)
            return ExportedAccount(account, groups, None)
        full = (account.id, account.name, *account.values, "?" if listed is None else listed)
        for name, text, cell in zip(self._taken, full[: len(self._taken)], cells, strict=True):
            if text and not cell:
                self._blanked_cells[name].add(label)
        return self._with_action(account, groups, cells)

    def _with_action(self, account: Account, groups: tuple[str, ...] | None, cells: Cells) -> ExportedAccount:
        if self._action is None:
            return ExportedAccount(account, groups, (*cells, _time(account.created), _time(account.last_login)))
        times = (_in_utc(account.created), _in_utc(account.last_login))
        account = account._replace(created=times[0], last_login=times[1])
        row = (*cells, self._organization_id, self._action.value, *map(_time, times))
        return ExportedAccount(account, None, row, self._organization_id, self._action.value)

    # --- reading back

    def _failing(self, accounts: Sequence[Account], rows: Sequence[Cells], directory: Directory) -> set[int]:
        """Which rows a run would not take as "leave this account as it is"."""
        failing: set[int] = set()
        desired_states = []
        for index, cells in enumerate(rows):
            parsed = self._parser.parse(index, cells)
            if parsed.request is None:
                failing.add(index)
            else:
                desired_states.append(parsed.request)
        resolution = resolve(desired_states, directory, self._columns)
        plan = build_plan(resolution, directory)
        failing.update(row_error.row for row_error in resolution.row_errors)
        failing.update(row for desired in plan.changing for row in desired.rows)
        for desired in plan.unchanged:  # as it is, but is it this account?
            failing.update(row for row in desired.rows if fold(desired.account_id) != fold(accounts[row].id))
        return failing

    def _reduced(
        self, accounts: Sequence[Account], wanted: Sequence[Cells], directory: Directory
    ) -> list[Cells | None]:
        """Blank as few cells as need be: who it is first, then whatever else comes back as it is."""
        rows = [self._only(cells, _ID) for cells in wanted]
        by_id_fails = self._failing(accounts, rows, directory)
        rows = [self._only(cells, _NAME) if index in by_id_fails else rows[index] for index, cells in enumerate(wanted)]
        dropped = self._failing(accounts, rows, directory)
        rows = [self._blank if index in dropped else cells for index, cells in enumerate(rows)]
        for column in range(_NAME, len(self._taken)):
            fuller = [_with(row, column, cells[column]) for row, cells in zip(rows, wanted, strict=True)]
            failing = self._failing(accounts, fuller, directory)
            rows = [row if index in failing else fuller[index] for index, row in enumerate(rows)]
        return [None if index in dropped else cells for index, cells in enumerate(rows)]

    def _only(self, cells: Cells, column: int) -> Cells:
        return _with(self._blank, column, cells[column])


def _with(cells: Cells, column: int, text: str) -> Cells:
    return (*cells[:column], text, *cells[column + 1 :])


def account_time(text: str) -> datetime | None:
    """A time of an account, in UTC; None where the server gave none, or none that can be read."""
    return None if text.startswith(_NO_TIME) else utc_time(text)


def has_time(text: str) -> bool:
    """Whether the server gave a time, be it one that can be read or not."""
    return bool(text.strip()) and not text.startswith(_NO_TIME)


def _in_utc(text: str) -> str:
    """A time of an account as ISO 8601 in UTC, to the second; as the server wrote it where it cannot be read."""
    moment = account_time(text)
    if moment is not None:
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return text if has_time(text) else ""


def _time(text: str) -> str:
    """A time as the server wrote it; empty where it is not printable. No run reads it."""
    return text if text.isprintable() and len(text) <= _LONGEST_TIME else ""
