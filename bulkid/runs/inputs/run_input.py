"""The protocol of a run's input, and the rows that it reads."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bulkid.consume import consume
from bulkid.model import RowError, RowRequest, RunItem, SheetRow
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution, resolve
from bulkid.planning.strategy import deletion_names, wanted_accounts
from bulkid.sheet import SheetInfo
from bulkid.text import fold

if TYPE_CHECKING:
    from bulkid.journal.store import Journal


class AccountLookup(NamedTuple):
    """The accounts and groups that must be read from the directory to plan some rows."""

    ids: tuple[str, ...]
    names: tuple[str, ...]  # of rows without an id
    groups: bool  # whether any row mentions a group
    group_texts: frozenset[str] = frozenset()  # the ids or names of groups in the rows
    exact: bool = False  # whether any row has an exact list of groups
    deletion_names: Callable[[Collection[str]], tuple[str, ...]] = lambda _absent: ()
    """Gives the names of accounts to delete that must be read too, for the folded ids that no account has."""


@dataclass(slots=True)
class Rows:
    """The rows of a sheet: the requests of the valid rows and the errors of the others."""

    info: SheetInfo
    requests: list[RowRequest] = field(default_factory=list, repr=False)
    row_errors: list[RowError] = field(default_factory=list, repr=False)
    count: int = 0
    counted_accounts: int | None = None  # None: not counted yet

    @property
    def accounts(self) -> int:
        """The number of different accounts in the valid rows; an id and a name count as two."""
        if self.counted_accounts is None:
            self.counted_accounts = len({fold(request.account_id or request.name) for request in self.requests})
        return self.counted_accounts

    def release(self) -> Iterator[RowRequest]:
        """Yield each request and free it: 100,000 take 30 MB, and none is needed after merging."""
        self.counted_accounts = self.accounts
        left, self.requests = self.requests, []
        return consume(left)

    def add(self, chunk: Iterable[SheetRow]) -> None:
        """Add a chunk of parsed rows."""
        self.counted_accounts = None
        for row in chunk:
            self.count += 1
            if row.request is not None:
                self.requests.append(row.request)
            else:
                self.row_errors.extend(row.row_errors)

    def require_place(self, base_url: str, organization_id: str) -> None:
        """Raise a :class:`UsageError` if the rows are for another server or organisation. A sheet is for any."""

    def lookup(self) -> AccountLookup:
        """Return what must be read from the directory, each account once."""
        requests = self.requests
        ids, names = wanted_accounts(requests)
        exact = {request.exact for request in requests} - {None}
        lists = {request.add for request in requests} | {request.remove for request in requests} | exact
        texts = frozenset(text for groups in lists if groups for text in groups)
        groups = bool(texts or exact)
        return AccountLookup(ids, names, groups, texts, bool(exact), partial(deletion_names, requests))

    def resolve(self, directory: Directory, options: ResolveOptions) -> Resolution:
        """Turn the rows into desired states and row errors, as far as the options allow. This releases the requests.

        Raises:
            PermissionDeniedError: The accounts were not read, and their present state is needed.
        """
        return resolve(self.release(), directory, self.info.columns(), options)


@dataclass(frozen=True, slots=True)
class RunJournal:
    """Journals the input of one run. Call its methods in a worker thread."""

    journal: "Journal"
    run_id: str

    def add_rows(self, chunk: Sequence[SheetRow]) -> None:
        """Journal a chunk of rows."""
        self.journal.add_rows(self.run_id, chunk)

    def add_planned_changes(self, chunk: Sequence[RunItem]) -> None:
        """Journal a chunk of the changes of a plan file."""
        self.journal.add_planned_changes(self.run_id, chunk)


class RunInput(Protocol):
    """The input of a run. Its :meth:`read` returns rows, whose class decides how they are resolved."""

    @property
    def info(self) -> SheetInfo:
        """The name of the source, and the columns of the rows."""

    @property
    def command(self) -> str:
        """The command that begins the run, for its record."""

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """Values for the run's record, with which a resume opens the input again."""

    async def read(self, journal: RunJournal | None = None, /) -> Rows:
        """Read all rows; may be called once.

        Args:
            journal: Keeps the rows, unless they come from it; None if the caller only plans.

        Raises:
            SheetError: The input as a whole cannot be read.
            StateError: The rows cannot be journaled.
        """
