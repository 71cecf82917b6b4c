"""``export``: the organisation's robot accounts as a sheet that ``run`` takes back."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bulkid.errors import EXIT_OK, EXIT_ROWS_FAILED, BulkidError, PermissionDeniedError, UsageError
from bulkid.identity.endpoints import Page, account_page, list_accounts, list_groups, parse_groups
from bulkid.journal.store import open_journal
from bulkid.model import Account, Action, Group
from bulkid.planning.export_filter import AccountSelector, ExportFilter
from bulkid.planning.export_rows import ExportedAccount, Exporter
from bulkid.report.atomic import os_errors_as_report_error
from bulkid.report.export_files import MAX_EXPORT_ROWS, fits, open_export
from bulkid.report.formats import RowFile
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.execution.account_list import read_list
from bulkid.runs.execution.connection import Connection, base_of, connect, ledger_owner
from bulkid.runs.execution.directory_reader import PAGE_SIZE, ForbiddenError, fetch
from bulkid.runs.options import Context, RunOptions, Target
from bulkid.text import count_of, fold

PAGES_AHEAD = 8
"""Pages that are read side by side, and held at a time: 8,000 accounts, some 6 MB."""

_WRITE_HINT = "Make room or name another folder, and export again."

MAX_READINGS = 3
"""How often the list is read at most: once more from the start where it changed while it was read."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported."""

    path: Path  # the file, under the name that it really has
    accounts: int  # how many accounts are in it
    listed: int  # how many the server says there are
    groups: str  # how groups are given: ``names`` or ``ids``
    requests: Mapping[str, int]  # what was sent, by method
    notes: tuple[str, ...]  # what a person should know, as sentences
    complete: bool  # whether the list was the one that the server counts
    matching: int | None = None  # how many accounts belong to the filter; None without one

    @property
    def exit_code(self) -> int:
        """0, or 1 when accounts may be missing."""
        return EXIT_OK if self.complete else EXIT_ROWS_FAILED

    @property
    def summary(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "file": str(self.path),
            "accounts": self.accounts,
            "counted": self.listed,
            "complete": self.complete,
            "groups": self.groups,
            "requests": dict(self.requests),
            "notes": list(self.notes),
        }


async def export(
    path: str | Path,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    groups: Literal["names", "ids"] = "names",
    wanted: ExportFilter | None = None,
    action: Action | None = None,
    replace: bool = False,
) -> ExportResult:
    """Write the robot accounts of the organisation to a file: csv, xlsx or jsonl, by its ending.

    A csv or xlsx that is run unchanged sends nothing, and one that was edited sends just the edit; what no cell can
    hold is left blank, and a note says so.

    Args:
        path: The file.
        target: The server and the credentials.
        options: How to send.
        context: Runtime dependencies; its clock says since when an account is inactive.
        groups: Give groups by name (by id where a name is not sure), or by id.
        wanted: Selects accounts; None for all.
        action: Write a sheet that asks for this action on each account, in place of fields and groups.
        replace: Replace a file that exists.

    Raises:
        UsageError: The settings or the file cannot be used, or no group is the one of ``wanted``.
        ConnectionFailedError: The server cannot be reached, or does not give its accounts and groups.
        PermissionDeniedError: The token may not read them.
        InterruptedRunError: A stop was requested; there is no file then.
        ReportError: The file cannot be written.
        StateError: The state directory cannot be used.
    """
    options, context, path = options or RunOptions(), context or Context(), Path(path)
    async with AsyncExitStack() as stack:
        work = _Export(
            path,
            replace=replace,
            by_id=groups == "ids",
            wanted=wanted or ExportFilter(),
            action=action,
            now_s=context.clock.now(),
        )
        work.open()
        stack.callback(work.discard)
        base_of(target)
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        context.hooks.stage("connect")
        opened = connect(target, options, journal, context, owner=ledger_owner("export"))
        requests: Mapping[str, int] = {}
        try:
            async with opened as connection, until_stopped(context.stop):
                try:
                    await connection.identify()
                    context.hooks.stage("directory")
                    await work.read_and_write(connection)
                finally:
                    requests = connection.sent()
            with os_errors_as_report_error(str(path), _WRITE_HINT):
                await in_thread(work.file.finish)
                placed = work.file.target.commit(replace=replace)
        except BulkidError as error:
            error.requests = requests
            raise
    return work.result(path.with_name(placed.name), groups, requests)


@dataclass(slots=True)
class _Export:
    """One export under way: a few pages of accounts are in memory at a time; of the others, the ids."""

    path: Path
    replace: bool
    by_id: bool
    wanted: ExportFilter
    action: Action | None
    now_s: float  # since the epoch
    file: RowFile[ExportedAccount] = field(init=False)
    connection: Connection = field(init=False)
    selector: AccountSelector = field(init=False)
    exporter: Exporter = field(init=False)
    ids: set[str] = field(default_factory=set)
    matching: int = 0
    written: int = 0
    listed: int = 0
    is_settled: bool = False  # whether the list was the same from its first page to its last

    def open(self) -> None:
        """Begin the file; raises UsageError."""
        resource = current()
        columns = resource.export_columns if self.action is None else resource.action_columns
        self.file = open_export(self.path, columns, replace=self.replace)

    async def read_and_write(self, connection: Connection) -> None:
        """Read groups and accounts, and write each page as it comes in; again from the start if the list changes."""
        self.connection = connection
        try:
            groups = await self._groups()
            for reading in range(MAX_READINGS):
                if reading:
                    self._restart()
                organization_id = connection.organization_id
                self.selector = AccountSelector(self.wanted, organization_id, groups, self.now_s)
                self.exporter = Exporter(organization_id, groups, by_id=self.by_id, fits=fits, action=self.action)
                listing = await read_list(self._page, self._take, ahead=PAGES_AHEAD)
                self.is_settled = listing.stable and listing.total == len(self.ids)
                if self.is_settled:
                    return
        except ForbiddenError as error:
            raise PermissionDeniedError(
                f"The {current().plural} and their groups cannot be read: {error.message}",
                hint=f"An export needs {current().read_scope} and PM.Group.Read: grant both to the application (and "
                "name them in BULKID_SCOPE where that is set). Check the organisation id where one is set.",
            ) from None

    def _restart(self) -> None:
        self.discard()
        self.open()
        self.ids.clear()
        self.matching = self.written = 0

    def discard(self) -> None:
        """Give up the file, unless it is in place already."""
        self.file.discard()

    async def _groups(self) -> tuple[Group, ...]:
        known = self.connection.known
        needed = ((known.read_accounts, current().read_scope), (known.read_groups, "PM.Group.Read"))
        lacks = [scope for allowed, scope in needed if allowed is False]
        if lacks:
            raise ForbiddenError(f"the token lacks {' and '.join(lacks)}.")
        request = list_groups(self.connection.organization_id)
        return parse_groups(await fetch(self.connection.engine, request, "the list of groups"))

    async def _page(self, skip: int) -> Page:
        request = list_accounts(self.connection.organization_id, skip, PAGE_SIZE)
        return account_page(await fetch(self.connection.engine, request, f"the list of {current().plural}"))

    async def _take(self, page: Page) -> None:
        """Write those selected accounts of a page that no earlier page held: pages overlap."""
        self.listed = page.total
        selected = self.selector.select([account for account in page.accounts if self._is_new(account)])
        self.matching += len(selected)
        count = self.matching if self.wanted else self.listed
        if self.path.suffix.lower() == ".xlsx" and count > MAX_EXPORT_ROWS:
            raise UsageError(
                f"{self.path}: a worksheet holds {MAX_EXPORT_ROWS:,} accounts, and there are {count:,}.",
                hint="Export to .csv.",
            )
        await in_thread(self._write, selected, page.accounts)

    def _is_new(self, account: Account) -> bool:
        key = fold(account.id)
        known = key in self.ids
        self.ids.add(key)
        return not known

    def _write(self, accounts: Sequence[Account], page: Sequence[Account]) -> None:
        if self.path.suffix.lower() == ".jsonl":
            rows = self.exporter.objects(accounts)
        else:
            rows = self.exporter.rows(accounts, page)
        self.written += sum(row.cells is not None for row in rows)
        with os_errors_as_report_error(str(self.path), _WRITE_HINT):
            self.file.write(rows)

    def result(self, path: Path, groups: str, requests: Mapping[str, int]) -> ExportResult:
        """The result, once the file is in place."""
        notes = [*self.selector.notes, *self.exporter.notes]
        if not self.is_settled:
            notes.append(
                f"The list changed each time that it was read: {count_of(len(self.ids), 'account')} found where the "
                f"server counts {self.listed:,}. Some may be missing, or gone by now: export again."
            )
        if path.name != self.path.name:
            notes.append(f"{self.path.name} is held open or was made by another program, so {path.name} was written.")
        return ExportResult(
            path,
            self.written,
            self.listed,
            groups,
            requests,
            tuple(notes),
            complete=self.is_settled,
            matching=self.matching if self.wanted else None,
        )
