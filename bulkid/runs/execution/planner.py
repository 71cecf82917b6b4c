"""Planning: read the directory, resolve rows, compare, choose the requests, and check the change limit."""

from collections.abc import Sequence
from dataclasses import replace

from bulkid.clock import iso_utc
from bulkid.errors import ConnectionFailedError, UsageError
from bulkid.journal.group_refusals import GroupRefusal, GroupRefusals
from bulkid.model import NEW_GROUP, Change, RowError
from bulkid.planning.change_limit import Excess, excess, needs_total
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, limit_changes
from bulkid.planning.strategy import Constraints, Strategy, choose_strategy, minimum_seconds, without_carried
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import ForbiddenError, count_accounts, read_directory
from bulkid.runs.inputs.run_input import Rows
from bulkid.runs.options import Preview, RunOptions
from bulkid.sheet import SheetInfo
from bulkid.text import fold, quote

BLIND_WARNING = "Running blind because of --no-read."


async def prepare(connection: Connection, rows: Rows, options: RunOptions) -> Preview:
    """Read the directory (unless blind) and compute the plan. This consumes the row requests.

    Raises:
        ConnectionFailedError: The server cannot be reached, or refuses to return the directory.
        UsageError: The run is blind and the options require group requests; or the input is for another server or
            organisation.
        PermissionDeniedError: The options require group requests, and the token may not send them.
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
    """Make the preview of a plan that is limited to ``--first``, and check the change limit.

    Raises:
        ConnectionFailedError: The change limit needs the number of accounts, and the server cannot be reached.
    """
    found = await _find_excess(connection, directory, len(plan.changes), options)
    warnings = [*warnings, *plan.warnings]
    if found is not None:
        follows = "--yes-really allows it" if options.yes_really else "it will not be sent without --yes-really"
        warnings.append(f"{found.sentence}: {follows}.")
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
        warnings=tuple(warnings),
        excess=found,
    )


async def strategy_for(
    changes: Sequence[Change], directory: Directory, connection: Connection, options: RunOptions
) -> Strategy:
    """Choose the requests that carry some changes.

    Raises:
        UsageError: The run is blind and the options require group requests.
        PermissionDeniedError: The options require group requests, and the token may not send them.
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
        # A group PUT carries the group's present name, so the client must also read groups.
        may_write_groups=False if known.read_groups is False else known.write_groups,
        read_back=accounts is not None,
        accounts=len(accounts or ()),
        refusing=refusing,
    )
    new_groups = frozenset(fold(group.id) for group in directory.groups or () if group.type == NEW_GROUP)
    return choose_strategy(without_carried(changes, new_groups), options.via, options.group_batch, constraints)


async def refused_groups(connection: Connection) -> list[GroupRefusal]:
    """Return the groups of the organisation that refuse every PUT, according to the journal."""
    refusals = GroupRefusals(connection.journal, connection.organization_id)
    return await in_thread(refusals.known, connection.context.clock.now())


# --- the change limit


async def _find_excess(
    connection: Connection, directory: Directory, changes: int, options: RunOptions
) -> Excess | None:
    """Return how a plan exceeds the change limit; None if it does not.

    If reading the directory did not show the number of accounts, and the limit depends on it, this takes one GET.
    """
    bound, total = options.max_change, directory.total
    if total is None and directory.accounts is not None and needs_total(changes, bound):
        try:
            total = await count_accounts(connection.engine, connection.organization_id)
        except ForbiddenError:  # the token may read one account, but not the list
            total = None
    return excess(changes, total, bound)


def require_within_limit(found: Excess | None, options: RunOptions) -> None:
    """Raise a :class:`UsageError` if a plan exceeds the change limit, unless the user gave ``--yes-really``."""
    if found is None or options.yes_really:
        return
    more = "--max-change N allows a number of accounts" if found.total is None else "--max-change allows more"
    raise UsageError(
        f"{found.sentence}.",
        hint="Nothing was sent. Check that the sheet is right.",
        cli_hint=f"To apply all of it, add --yes-really; {more}.",
    )
