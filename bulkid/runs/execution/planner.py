"""Planning: read the directory, resolve rows, compare, choose the requests, and check the change limit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from bulkid.clock import iso_utc
from bulkid.errors import ConnectionFailedError, PermissionDeniedError, UsageError
from bulkid.journal.group_refusals import GroupRefusal, GroupRefusals
from bulkid.model import NEW_GROUP, Action, Change, QuotaRule, RowError
from bulkid.planning.change_limit import DEFAULT_DELETIONS, Excess, excess, excess_deletions, needs_total
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, limit_changes
from bulkid.planning.strategy import Constraints, Strategy, choose_strategy, minimum_seconds, without_carried
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import PAGE_SIZE, ForbiddenError, count_accounts, read_directory
from bulkid.runs.inputs.run_input import Rows
from bulkid.runs.options import Preview, RunOptions
from bulkid.sheet import SheetInfo
from bulkid.text import fold, listing, quote

_NAMED_GROUPS = 3  # that a message names

BLIND_WARNING = "Running blind because of --no-read."


async def prepare(connection: Connection, rows: Rows, options: RunOptions) -> Preview:
    """Read the directory (unless blind) and compute the plan. This consumes the row requests.

    Raises:
        ConnectionFailedError: The server cannot be reached, or refuses to return the directory.
        UsageError: The run is blind and the options require group requests; or the input is for another server or
            organisation.
        PermissionDeniedError: The options require group requests or the plan creates groups, and the token may not
            send them.
    """
    rows.require_place(connection.base.url, connection.organization_id)
    directory, warnings = await _directory_for(connection, rows, read=options.read)
    resolution = rows.resolve(directory, resolve_options(options, connection.context.random))
    plan = build_plan(resolution, directory)
    directory = directory.with_groups(plan.new_groups)  # those that only skipped accounts need have names there, too
    plan = limit_changes(plan, options.first)
    _require_group_scope(connection, plan)
    plan = replace(plan, strategy=await strategy_for(plan.changes, directory, connection, options))
    row_errors = sorted([*rows.row_errors, *resolution.row_errors], key=lambda row_error: row_error.row)
    return await preview_of(
        connection, options, rows.info, directory, plan, rows=rows.count, row_errors=row_errors, warnings=warnings
    )


def resolve_options(options: RunOptions, random: Callable[[], float]) -> ResolveOptions:
    """Return what rows may ask for. ``random`` is the source of the ids of new groups, in [0, 1)."""
    return ResolveOptions(
        create_missing=options.create_missing,
        create_groups=options.create_groups,
        new_groups=options.new_groups,
        allow_delete=options.allow_delete,
        new_id=lambda: _new_guid(random),
    )


def _new_guid(random: Callable[[], float]) -> str:
    """Make a random GUID; a float in [0, 1) gives 32 bits of it."""
    bits = 0
    for _ in range(4):
        bits = bits << 32 | int(random() * 2**32)
    return str(UUID(int=bits, version=4))


def _require_group_scope(connection: Connection, plan: Plan) -> None:
    """Raise a :class:`PermissionDeniedError` if the plan creates groups, and the token says that it may not."""
    if plan.new_groups and connection.known.write_groups is False:
        names = [quote(group.name) for group in plan.new_groups]
        shown = names if len(names) <= _NAMED_GROUPS else [*names[:_NAMED_GROUPS], f"{len(names) - _NAMED_GROUPS} more"]
        raise PermissionDeniedError(
            f"The token may not create groups: it lacks the scope PM.Group.Write. The plan creates {listing(shown)}.",
            hint="Nothing was sent. Grant PM.Group (or PM.Group.Write) to the external application as an application "
            "scope, and ask for it in BULKID_SCOPE where that is set; or use groups that exist.",
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
            hint="Nothing was sent. Try again when accounts are not being created and deleted. If that does not help, "
            "the list that the server gives is wrong: ask its administrator.",
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
    """Make the preview of a plan that is limited to ``--first``, and check the limits of changes and deletions.

    Raises:
        ConnectionFailedError: The change limit needs the number of accounts, and the server cannot be reached.
    """
    changes, deletions = await _find_excesses(connection, directory, plan, options)
    warnings = [*warnings, *plan.warnings]
    follows = "--yes-really allows it" if options.yes_really else "it will not be sent without --yes-really"
    warnings += [f"{found.sentence}: {follows}." for found in (changes, deletions) if found is not None]
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
        eta_s=least_seconds(plan, connection.rules, options.rate),
        requests=connection.sent(),
        skipped=len(plan.skipped),
        warnings=tuple(warnings),
        excess=changes,
        excess_deletions=deletions,
    )


def least_seconds(plan: Plan, rules: Sequence[QuotaRule], rate: float | None) -> float:
    """Return the least time in which the requests of a plan can be sent: one method leaves after the other.

    ``rate`` is how many requests of all methods may leave in a second.
    """
    requests = plan.requests
    by_method = sum(minimum_seconds(count, rules, method, rate) for method, count in requests.items())
    return max(by_method, minimum_seconds(sum(requests.values()), (), "", rate))


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
        looked_up=max(0, len(accounts) - PAGE_SIZE) if accounts and len(accounts) < (directory.total or 0) else 0,
        refusing=refusing,
    )
    new_groups = frozenset(fold(group.id) for group in directory.groups or () if group.type == NEW_GROUP)
    return choose_strategy(without_carried(changes, new_groups), options.via, options.group_batch, constraints)


async def refused_groups(connection: Connection) -> list[GroupRefusal]:
    """Return the groups of the organisation that refuse every PUT, according to the journal."""
    refusals = GroupRefusals(connection.journal, connection.organization_id)
    return await in_thread(refusals.known, connection.context.clock.now())


# --- the limits of changes and deletions


async def _find_excesses(
    connection: Connection, directory: Directory, plan: Plan, options: RunOptions
) -> tuple[Excess | None, Excess | None]:
    """Return how a plan exceeds the limit of changes, and that of deletions; None where it does not.

    A deletion is a change, a creation is none. If reading the directory did not show the number of accounts, and a
    limit depends on it, this takes one GET.
    """
    creations, deletions = plan.count_of(Action.CREATE), plan.count_of(Action.DELETE)
    changes, total = len(plan.changes) - creations, directory.total
    depends = needs_total(changes, options.max_change) or needs_total(
        deletions, options.max_delete or DEFAULT_DELETIONS
    )
    if total is None and directory.accounts is not None and depends:
        try:
            total = await count_accounts(connection.engine, connection.organization_id)
        except ForbiddenError:  # the token may read one account, but not the list
            total = None
    return excess(changes, total, options.max_change), excess_deletions(deletions, total, options.max_delete)


def require_within_limits(found: Sequence[Excess], options: RunOptions, *, resumed: bool) -> None:
    """Raise a :class:`UsageError` if a plan exceeds a limit, unless the user gave ``--yes-really``.

    A resume has the limits of its run.
    """
    if not found or options.yes_really:
        return
    more = []
    for each in found:
        option = "--max-delete" if each.deletes else "--max-change"
        more.append(f"{option} N allows a number of accounts" if each.total is None else f"{option} allows more")
    raise UsageError(
        " ".join(f"{each.sentence}." for each in found),
        hint="Check that the sheet is right.",  # that nothing was sent is said where the run ends
        cli_hint="To apply all of it, add --yes-really" + ("." if resumed else f"; {listing(more)}."),
    )
