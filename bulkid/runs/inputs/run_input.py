"""What a run can be made from, as one protocol: a sheet, a plan file, or an earlier run to undo."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from bulkid.consume import consume
from bulkid.journal import Journal
from bulkid.model import RowError, RowRequest, RunItem, SheetRow
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution, resolve
from bulkid.planning.strategy import wanted_accounts
from bulkid.sheet import SheetInfo
from bulkid.text import fold

CHUNK_ROWS: Final = 10_000
"""Rows per trip to a worker thread and per transaction: large enough that neither shows, small enough for memory."""


@dataclass(frozen=True, slots=True)
class AccountLookup:
    """What must be read from the directory to plan some rows."""

    ids: tuple[str, ...]
    names: tuple[str, ...]  # of rows that give no id
    groups: bool  # whether any row mentions a group
    group_texts: frozenset[str] = frozenset()  # how they mention them: by id or by name
    exact: bool = False  # whether any row gives an exact list of groups


def lookup_of(requests: Sequence[RowRequest]) -> AccountLookup:
    """Collect what must be looked up, each account once."""
    ids, names = wanted_accounts(requests)
    lists = {group_list for request in requests for group_list in (request.add, request.remove, request.exact or ())}
    texts = frozenset(text for texts in lists for text in texts)
    exact = any(request.exact is not None for request in requests)
    return AccountLookup(ids, names, bool(texts) or exact, texts, exact)


@dataclass(slots=True)
class Rows:
    """The rows of a run's input, once read: the requests of the valid rows and the errors of the others.

    These are the rows of a sheet; :class:`~bulkid.runs.inputs.precomputed.PrecomputedRows` are resolved in another way.
    """

    info: SheetInfo
    requests: list[RowRequest] = field(default_factory=list, repr=False)
    row_errors: list[RowError] = field(default_factory=list, repr=False)
    count: int = 0
    counted_accounts: int | None = None  # where the requests are not here (any more)

    @property
    def accounts(self) -> int:
        """How many accounts the valid rows name, as far as the rows alone tell."""
        if self.counted_accounts is not None:
            return self.counted_accounts
        return len({fold(request.account_id or request.name) for request in self.requests})

    def release(self) -> Iterator[RowRequest]:
        """Give each request and let go of it: once merged into a desired state, it is not needed any more.

        100,000 of them take 30 MB, just when the plan is made.
        """
        self.counted_accounts = self.accounts
        left, self.requests = self.requests, []
        return consume(left)

    def add(self, chunk: Iterable[SheetRow]) -> None:
        """Take in a chunk of parsed rows."""
        for row in chunk:
            self.count += 1
            if row.request is not None:
                self.requests.append(row.request)
            else:
                self.row_errors.extend(row.row_errors)

    def require_place(self, base_url: str, organization_id: str) -> None:
        """Refuse a server or organisation that the changes were not worked out for; a sheet is for any.

        Raises:
            UsageError: It is another one.
        """

    def lookup(self) -> AccountLookup:
        """Say what must be read from the directory."""
        return lookup_of(self.requests)

    def resolve(self, directory: Directory) -> Resolution:
        """Turn the rows into desired states and row errors, and let go of what those are made from.

        Raises:
            PermissionDeniedError: The accounts were not read, and their present state is needed.
        """
        return resolve(self.release(), directory, self.info.columns())


@dataclass(frozen=True, slots=True)
class RunJournal:
    """Where the input of one run is journaled while it is read. Its methods belong into a worker thread."""

    journal: Journal
    run_id: str

    def add_rows(self, chunk: Sequence[SheetRow]) -> None:
        """Journal rows."""
        self.journal.add_rows(self.run_id, chunk)

    def add_planned_changes(self, chunk: Sequence[RunItem]) -> None:
        """Journal changes of a plan file."""
        self.journal.add_planned_changes(self.run_id, chunk)


class RunInput(Protocol):
    """What a run is made from. Its :meth:`read` gives the rows, which know how they are resolved."""

    @property
    def info(self) -> SheetInfo:
        """What the rows are called, and their columns."""

    @property
    def command(self) -> str:
        """The command that begins such a run, for the run's record."""

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """What the run's record keeps of the input, so that a resume finds it again."""

    async def read(self, journal: RunJournal | None = None, /) -> Rows:
        """Read all rows, once.

        Args:
            journal: Where the rows are kept, unless they come from it; None for a plan that no run follows.

        Raises:
            SheetError: The input as a whole cannot be read.
            StateError: The rows cannot be journaled.
        """
