"""From rows to a preview: read the directory, resolve, compare, choose the requests, and check the change limit."""

from collections.abc import Sequence
from dataclasses import replace

from bulkid.clock import iso_utc
from bulkid.errors import ConnectionFailedError, UsageError
from bulkid.journal import GroupRefusal, GroupRefusals
from bulkid.model import AccountUpdate, RowError
from bulkid.planning import (
    Constraints,
    Directory,
    Excess,
    Plan,
    Strategy,
    build_plan,
    choose_strategy,
    excess,
    limit_changes,
    minimum_seconds,
    needs_total,
)
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import ForbiddenError, count_accounts, read_directory
from bulkid.runs.inputs.run_input import Rows
from bulkid.runs.options import Preview, RunOptions
from bulkid.sheet import SheetInfo
from bulkid.text import fold, quote

BLIND_WARNING = "Running blind, as --no-read asks."


async def prepare(connection: Connection, rows: Rows, options: RunOptions) -> Preview:
    """Read the directory (unless blind) and compute the plan; the requests of the rows are gone afterwards.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
        UsageError: Group requests are asked for, blind; or the changes were made for another server or organisation.
        PermissionDeniedError: Group requests are asked for, and the token says that it may not.
    """
    rows.require_place(connection.base.url, connection.organization_id)
    directory, warnings = await _directory_for(connection, rows, read=options.read)
    resolution = rows.resolve(directory)
    plan = limit_changes(build_plan(resolution, directory), options.first)
    plan = replace(plan, strategy=await strategy_for(plan.changes, directory, connection, options))
    row_errors = sorted([*rows.row_errors, *resolution.row_errors], key=lambda row_error: row_error.row)
    return await preview_of(
        connection, options, rows.info, directory, plan, rows=rows.count, row_errors=row_errors, warnings=warnings
    )


async def _directory_for(connection: Connection, rows: Rows, *, read: bool) -> tuple[Directory, tuple[str, ...]]:
    if not read:
        return Directory(connection.organization_id, None, None), (BLIND_WARNING,)
    lookup = rows.lookup()
    if not (lookup.ids or lookup.names):  # no valid row: nothing needs to be looked up
        return Directory(connection.organization_id, (), ()), ()
    directory, warnings = await read_directory(connection.engine, connection.organization_id, lookup, connection.known)
    if directory.uncertain:
        raise ConnectionFailedError(
            directory.uncertain,
            hint="Nothing was sent. Try again when accounts are not being created and deleted.",
        )
    return directory, warnings


async def preview_of(
    connection: Connection,
    options: RunOptions,
    info: SheetInfo,
    directory: Directory,
    plan: Plan,
    *,
    rows: int,
    row_errors: Sequence[RowError] = (),
    warnings: Sequence[str] = (),
) -> Preview:
    """Put a plan together with what a user needs to judge it.

    Args:
        connection: Says to whom it is sent, and counts the accounts for the change limit where need be.
        options: Hold the change limit.
        info: The columns of the rows.
        directory: What was read.
        plan: The plan, limited to ``--first``.
        rows: How many rows it covers.
        row_errors: What is wrong with rows.
        warnings: What reading the directory had to warn of.

    Raises:
        ConnectionFailedError: The server cannot be reached.
    """
    found = await _find_excess(connection, directory, len(plan.changes), options)
    return Preview(
        info=info,
        plan=plan,
        directory=directory,
        base_url=connection.base.url,
        organization_id=connection.organization_id,
        rows=rows,
        row_errors=tuple(row_errors),
        rules=connection.rules,
        rate=options.rate,
        eta_s=minimum_seconds(plan.planned_puts, connection.rules, "PUT", options.rate),
        requests=connection.sent(),
        skipped=len(plan.skipped),
        warnings=(*warnings, *plan.warnings, *_excess_warning(found, options)),
        excess=found,
    )


async def strategy_for(
    changes: Sequence[AccountUpdate], directory: Directory, connection: Connection, options: RunOptions
) -> Strategy:
    """Choose the requests that carry some changes.

    Raises:
        UsageError: Group requests are asked for, blind.
        PermissionDeniedError: Group requests are asked for, and the token says that it may not.
    """
    accounts, known = directory.accounts, connection.known
    refusing: dict[str, str] = {}
    if options.via != "accounts" and changes:
        for refusal in await refused_groups(connection):
            name = directory.group_name(refusal.group_id)
            name = refusal.name if fold(name) == fold(refusal.group_id) else name
            refusing[fold(refusal.group_id)] = f"{quote(name)} ({iso_utc(refusal.refused_at)[:10]})"
    constraints = Constraints(
        rules=connection.rules,
        rate=options.rate,
        # A group PUT carries the group's name as it is at that moment, so the groups must be read too.
        may_write_groups=False if known.read_groups is False else known.write_groups,
        read_back=accounts is not None,
        accounts=len(accounts or ()),
        refusing=refusing,
    )
    return choose_strategy(changes, options.via, options.group_batch, constraints)


async def refused_groups(connection: Connection) -> list[GroupRefusal]:
    """Read which groups of the organisation have refused a PUT for good, as far as the journal remembers them."""
    refusals = GroupRefusals(connection.journal, connection.organization_id)
    return await in_thread(refusals.known, connection.context.clock.now())


# --- the change limit


async def _find_excess(
    connection: Connection, directory: Directory, changes: int, options: RunOptions
) -> Excess | None:
    """Say by how much a plan exceeds what may be sent without ``--yes-really``; None when it does not.

    The first page of the accounts told how many there are. Where no page was read, and the verdict depends on the
    number, the client asks for it (one GET); a blind run does not know it, and then the limit is low.
    """
    bound, total = options.max_change, directory.total
    if total is None and directory.accounts is not None and needs_total(changes, bound):
        try:
            total = await count_accounts(connection.engine, connection.organization_id)
        except ForbiddenError:  # the token may read one account, but not the list of all
            total = None
    return excess(changes, total, bound)


def _excess_warning(found: Excess | None, options: RunOptions) -> tuple[str, ...]:
    if found is None:
        return ()
    follows = "--yes-really lets it go" if options.yes_really else "it will not be sent without --yes-really"
    return (f"{found.sentence}: {follows}.",)


def require_within_limit(found: Excess | None, options: RunOptions) -> None:
    """Refuse a plan that changes too much, unless the user confirmed that.

    Raises:
        UsageError: It does; nothing was sent.
    """
    if found is None or options.yes_really:
        return
    more = "--max-change N allows a number of accounts" if found.total is None else "--max-change allows more"
    raise UsageError(
        f"{found.sentence}: nothing was sent.",
        hint=f"Look at it with `bulkid plan`. If all of it is meant, say --yes-really; {more}.",
    )
