"""From row requests to a plan: read the directory, resolve names, compare, and say what it will take."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import anyio.to_thread

from bulkid.clock import iso_utc
from bulkid.errors import ConnectionFailedError
from bulkid.journal import GroupRefusal, GroupRefusals
from bulkid.model import AccountUpdate, QuotaRule
from bulkid.planning import (
    Constraints,
    Directory,
    Plan,
    Strategy,
    build_plan,
    choose_strategy,
    limit_changes,
    minimum_seconds,
    resolve,
)
from bulkid.runs.execution.change_limit import excess_warning, find_excess
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import lookup_of, read_directory
from bulkid.runs.inputs.sheet import Rows
from bulkid.runs.options import Preview, RunOptions
from bulkid.text import fold, quote

BLIND_WARNING = "Running blind, as --no-read asks."


async def prepare(connection: Connection, rows: Rows, options: RunOptions) -> Preview:
    """Read the directory (unless blind) and compute the plan; the requests of the rows are gone afterwards.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
        UsageError: Group requests are asked for, blind.
        PermissionDeniedError: Group requests are asked for, and the token says that it may not.
        UsageError: The changes were made for another server or organisation (never those of a sheet).
    """
    warnings: tuple[str, ...] = ()
    lookup = lookup_of(rows.requests)
    if rows.given is not None:
        rows.given.require_place(connection)
        lookup = replace(lookup, group_texts=frozenset())  # ids, all of them
    if options.read and rows.requests:
        directory, warnings = await read_directory(
            connection.engine, connection.organization_id, lookup, connection.known
        )
        if directory.uncertain:
            raise ConnectionFailedError(
                directory.uncertain,
                hint="Nothing was sent. Try again when accounts are not being created and deleted.",
            )
    elif options.read:  # not a good row: nothing needs to be looked up
        directory = Directory(connection.organization_id, (), ())
    else:
        directory = Directory(connection.organization_id, None, None)
        warnings = (BLIND_WARNING,)
    del lookup  # it holds the text of each row's id, which the rows let go of now
    if rows.given is None:
        resolution = resolve(rows.release(), directory, rows.info.columns())
    else:
        deque(rows.release(), maxlen=0)  # it is the given changes that count
        resolution = rows.given.resolve(directory)
    plan = build_plan(resolution, directory)
    limited = limit_changes(plan, options.first)
    limited = replace(limited, strategy=await strategy_for(limited.changes, directory, connection, options))
    excess = await find_excess(connection, directory, len(limited.changes), options)
    row_errors = sorted([*rows.row_errors, *resolution.row_errors], key=lambda row_error: row_error.row)
    return Preview(
        info=rows.info,
        plan=limited,
        directory=directory,
        base_url=connection.base.url,
        organization_id=connection.organization_id,
        rows=rows.count,
        row_errors=tuple(row_errors),
        rules=connection.rules,
        rate=options.rate,
        eta_s=estimate(limited, connection.rules, options.rate),
        requests=connection.sent(),
        skipped=len(limited.skipped),
        warnings=(*warnings, *limited.warnings, *excess_warning(excess, options)),
        excess=excess,
    )


def estimate(plan: Plan, rules: tuple[QuotaRule, ...], rate: float | None) -> float:
    """Seconds that the plan's PUTs take at least, by the quota and by ``--rate``."""
    return minimum_seconds(plan.planned_puts, rules, "PUT", rate)


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
    """Read which groups of the organisation have refused a PUT for good, as far as that is remembered."""
    refusals = GroupRefusals(connection.journal, connection.organization_id)
    return await anyio.to_thread.run_sync(refusals.known, connection.context.clock.now())
