"""Precomputed changes as the input of a run: an undo or a plan file. Each is for a known state of its account."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bulkid.consume import batched, consume, return_freed_memory
from bulkid.errors import UsageError
from bulkid.identity.urls import is_same_base
from bulkid.model import Action, RowError, SheetRow
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.preconditions import Precondition, PreconditionRules, existing_group, resolve_preconditions
from bulkid.planning.resolve import Resolution
from bulkid.resources import ACTION_COLUMN, current
from bulkid.runs.concurrency import in_thread
from bulkid.runs.inputs.run_input import AccountLookup, Rows, RunJournal
from bulkid.sheet import CHUNK_ROWS, CLEAR, SheetInfo, list_cell
from bulkid.text import dashed_guid, fold, quote


@dataclass(frozen=True, slots=True)
class Origin:
    """The server and organisation that changes were computed for, and how messages name them."""

    what: str  # begins a sentence: "Run 20260131-081500-x7k2", "The plan changes.json"
    base_url: str
    organization_id: str
    sandbox: bool = False  # whether the server was an embedded sandbox, whose address changes with each run

    def require_server(self, url: str) -> None:
        """Raise a :class:`UsageError` if the changes were computed for another server."""
        if not (self.sandbox or is_same_base(url, self.base_url)):
            raise UsageError(
                f"{self.what} belongs to {self.base_url}, but the settings name {url}.",
                hint="Set BULKID_URL (or the profile) to its own address.",
            )

    def require_organization(self, organization_id: str) -> None:
        """Raise a :class:`UsageError` if the changes were computed for another organisation."""
        if fold(dashed_guid(organization_id)) != fold(dashed_guid(self.organization_id)):
            raise UsageError(
                f"{self.what} belongs to organisation {self.organization_id}, but the connection is to "
                f"{organization_id}.",
                hint="Set BULKID_ORGANIZATION_ID and the credentials (or the profile) to its own.",
            )


@dataclass(frozen=True, slots=True)
class Unplannable:
    """An account whose change cannot be computed, and why."""

    account_id: str
    name: str
    rows: tuple[int, ...]
    code: str
    message: str


@dataclass(slots=True)
class PrecomputedRows(Rows):
    """Rows of precomputed changes. A row is invalid if its account is not in the state that its change expects."""

    expected: list[Precondition] = field(kw_only=True, repr=False)  # each account once; empty after resolve
    origin: Origin = field(kw_only=True)
    rules: PreconditionRules = field(kw_only=True)

    def require_place(self, base_url: str, organization_id: str) -> None:
        """Raise for another server or organisation than that of the changes."""
        self.origin.require_server(base_url)
        self.origin.require_organization(organization_id)

    def lookup(self) -> AccountLookup:
        """Return the ids of all accounts, the names of those without one, and whether groups count."""
        ids = tuple([account_id for item in self.expected if (account_id := _known_id(item))])
        names = tuple([item.desired.name for item in self.expected if not item.desired.account_id])
        groups = bool(self.rules.new_groups) or any(
            desired.add or desired.remove or desired.action is not Action.UPDATE for desired, *_ in self.expected
        )
        return AccountLookup(ids, names, groups)

    def resolve(self, directory: Directory, options: ResolveOptions) -> Resolution:
        """Compare every account with the state that its change expects. This empties the list of changes."""
        rules = self.rules._replace(allow_delete=options.allow_delete)
        found = resolve_preconditions(consume(self.expected), directory, rules)
        return replace(found, warnings=(*found.warnings, *self._groups_that_stay(directory)))

    def _groups_that_stay(self, directory: Directory) -> Iterator[str]:
        """Say of the groups that the undone run created that nothing removes them."""
        for group in () if self.rules.creates_groups else self.rules.new_groups:
            if (found := existing_group(group, directory)) is not None:
                yield f"The group {quote(found.name)}, which the run created, stays."


@dataclass
class PrecomputedInput:
    """Precomputed changes as the input of a run. Its rows have the numbers of the rows that the changes come from."""

    source: str  # the name of the changes for messages
    origin: Origin
    rules: PreconditionRules
    expected: list[Precondition] = field(repr=False)  # each account once; empty after the rows are resolved
    command: str = "run"
    stored_options: Mapping[str, Any] = field(default_factory=dict)
    unplannable: Sequence[Unplannable] = field(default=(), repr=False)  # become invalid rows
    journaled: SheetInfo | None = None  # the columns of the rows if the journal has them already

    def __post_init__(self) -> None:
        self.expected.sort(key=lambda item: item.desired.rows)

    @cached_property
    def info(self) -> SheetInfo:
        """The columns of a sheet that requests these changes, so that their ``retry.csv`` can be run."""
        columns = current().change_columns
        if any(item.desired.action is not Action.UPDATE for item in self.expected):
            columns = (*columns, ACTION_COLUMN)
        return self.journaled or SheetInfo(self.source, "csv", "", "utf-8", ",", columns, columns)

    async def read(self, journal: RunJournal | None = None, /) -> PrecomputedRows:
        """Make the rows, and journal them unless they are journaled."""
        if journal is not None and self.journaled is None:
            await self._journal(journal)
        row_errors = [RowError(row, "", "", each.code, each.message) for each in self.unplannable for row in each.rows]
        count = len(row_errors) + sum(len(item.desired.rows) for item in self.expected)
        return PrecomputedRows(
            self.info,
            [],
            row_errors,
            count,
            len(self.expected),
            expected=self.expected,
            origin=self.origin,
            rules=self.rules,
        )

    async def _journal(self, journal: RunJournal) -> None:
        batches = batched(self._sheet_rows(), CHUNK_ROWS)
        while (chunk := await in_thread(next, batches, None)) is not None:
            await in_thread(journal.add_rows, chunk)
        await in_thread(return_freed_memory)  # before the directory is read

    def _sheet_rows(self) -> Iterator[SheetRow]:
        """Yield the rows in the order of their numbers. They name the groups to create, which may never have an id."""
        new_groups = {group.id: group.name for group in self.rules.new_groups} if self.rules.creates_groups else {}
        sources: Sequence[Precondition | Unplannable] = [*self.expected, *self.unplannable]
        places = [(row, place) for place, each in enumerate(sources) for row in _rows_of(each)]
        places.sort()
        for row, place in places:
            each = sources[place]
            if isinstance(each, Precondition):
                cells = _cells(each, new_groups)[: len(self.info.headers)]
                yield SheetRow(row, cells, None, (), each.desired.account_id, each.desired.name)
            else:
                cells = (each.account_id, each.name, *("" for _ in self.info.headers[2:]))
                row_error = RowError(row, "", "", each.code, each.message)
                yield SheetRow(row, cells, None, (row_error,), each.account_id, each.name)


def _rows_of(each: Precondition | Unplannable) -> tuple[int, ...]:
    return each.desired.rows if isinstance(each, Precondition) else each.rows


def _cells(item: Precondition, new_groups: Mapping[str, str]) -> tuple[str, ...]:
    desired = item.desired
    values = ("" if value is None else value or CLEAR for value in desired.values)
    add = tuple([new_groups.get(group, group) for group in desired.add]) if new_groups else desired.add
    lists = (list_cell(add), list_cell(desired.remove))
    return (desired.account_id, desired.name, *values, *lists, desired.action.value)


def _known_id(item: Precondition) -> str:
    """Return the id of a change's account; of one that a run may have deleted, its former id."""
    return item.desired.account_id or (item.before.id if item.before is not None and item.partial else "")
