"""From wishes to a plan: read the directory, resolve names, compare, and say what it will take."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import anyio.to_thread

from bulkid.clock import iso_utc
from bulkid.errors import ConnectionFailedError
from bulkid.journal import GroupRefusal, GroupRefusals
from bulkid.model import Change, QuotaRule
from bulkid.planning import (
    Directory,
    Means,
    Plan,
    Route,
    build_plan,
    choose_route,
    fold,
    limit_changes,
    minimum_seconds,
    quote,
    resolve,
)
from bulkid.runs.execution.change_limit import excess_warning, find_excess
from bulkid.runs.execution.connection import Session
from bulkid.runs.execution.directory_reader import read_directory, wanted
from bulkid.runs.inputs.sheet import Rows
from bulkid.runs.options import Preview, RunOptions

BLIND_WARNING = "Running blind, as --no-read asks."


async def prepare(session: Session, rows: Rows, options: RunOptions) -> Preview:
    """Read the directory (unless blind) and compute the plan; the wishes of the rows are gone afterwards.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
        UsageError: Group requests are asked for, blind.
        PermissionDeniedError: Group requests are asked for, and the token says that it may not.
        UsageError: The changes were made for another server or organisation (never those of a sheet).
    """
    warnings: tuple[str, ...] = ()
    want = wanted(rows.wishes)
    if rows.given is not None:
        rows.given.require_place(session)
        want = replace(want, group_texts=frozenset())  # ids, all of them
    if options.read and rows.wishes:
        directory, warnings = await read_directory(session.engine, session.organization_id, want, session.known)
        if directory.unsettled:
            raise ConnectionFailedError(
                directory.unsettled,
                hint="Nothing was sent. Try again when accounts are not being created and deleted.",
            )
    elif options.read:  # not a good row: nothing needs to be looked up
        directory = Directory(session.organization_id, (), ())
    else:
        directory = Directory(session.organization_id, None, None)
        warnings = (BLIND_WARNING,)
    del want  # it holds the text of each row's id, which the rows let go of now
    if rows.given is None:
        resolution = resolve(rows.hand_out(), directory, rows.info.columns())
    else:
        deque(rows.hand_out(), maxlen=0)  # it is the given changes that count
        resolution = rows.given.resolve(directory)
    plan = build_plan(resolution, directory)
    limited = limit_changes(plan, options.first)
    limited = replace(limited, route=await route_for(limited.changes, directory, session, options))
    too_much = await find_excess(session, directory, len(limited.changes), options)
    faults = sorted([*rows.faults, *resolution.faults], key=lambda fault: fault.row)
    return Preview(
        info=rows.info,
        plan=limited,
        directory=directory,
        base_url=session.base.url,
        organization_id=session.organization_id,
        rows=rows.count,
        faults=tuple(faults),
        rules=session.rules,
        rate=options.rate,
        eta_s=estimate(limited, session.rules, options.rate),
        requests=session.sent(),
        left_out=len(limited.left_out),
        warnings=(*warnings, *limited.warnings, *excess_warning(too_much, options)),
        excess=too_much,
    )


def estimate(plan: Plan, rules: tuple[QuotaRule, ...], rate: float | None) -> float:
    """Seconds that the plan's PUTs take at least, by the quota and by ``--rate``."""
    return minimum_seconds(plan.planned_puts, rules, "PUT", rate)


async def route_for(changes: Sequence[Change], directory: Directory, session: Session, options: RunOptions) -> Route:
    """Choose the requests that carry some changes.

    Raises:
        UsageError: Group requests are asked for, blind.
        PermissionDeniedError: Group requests are asked for, and the token says that it may not.
    """
    accounts, known = directory.accounts, session.known
    refusing: dict[str, str] = {}
    if options.via != "accounts" and changes:
        for refusal in await refused_groups(session):
            name = directory.group_name(refusal.group_id)
            name = refusal.name if fold(name) == fold(refusal.group_id) else name
            refusing[fold(refusal.group_id)] = f"{quote(name)} ({iso_utc(refusal.refused_at)[:10]})"
    means = Means(
        rules=session.rules,
        rate=options.rate,
        # A group PUT carries the group's name as it is at that moment, so the groups must be read too.
        may_write_groups=False if known.read_groups is False else known.write_groups,
        read_back=accounts is not None,
        accounts=len(accounts or ()),
        refusing=refusing,
    )
    return choose_route(changes, options.via, options.group_batch, means)


async def refused_groups(session: Session) -> list[GroupRefusal]:
    """Read which groups of the organisation have refused a PUT for good, as far as that is remembered."""
    refusals = GroupRefusals(session.journal, session.organization_id)
    return await anyio.to_thread.run_sync(refusals.known, session.context.clock.now())
