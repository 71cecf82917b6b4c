"""The guard before anything is sent: a plan that changes too much of an organisation needs a word more than ``--yes``.

Whatever applies a plan asks here, after planning and before anybody is asked to confirm.
"""

from bulkid.errors import UsageError
from bulkid.planning import Directory, Excess, excess, needs_total
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import ForbiddenError, count_accounts
from bulkid.runs.options import RunOptions


async def find_excess(connection: Connection, directory: Directory, changes: int, options: RunOptions) -> Excess | None:
    """Say by how much a plan exceeds what may be sent without further ado; None when it does not.

    The number of accounts is what the first page said. Where no page was read, and the verdict depends on it, it is
    asked for (one GET); a blind run does not know it, and then little is let through.

    Args:
        connection: Asks for the number of accounts.
        directory: What was read.
        changes: How many accounts the plan changes.
        options: Hold the bound.

    Raises:
        ConnectionFailedError: The server cannot be reached.
    """
    bound, total = options.max_change, directory.total
    if total is None and directory.accounts is not None and needs_total(changes, bound):
        try:
            total = await count_accounts(connection.engine, connection.organization_id)
        except ForbiddenError:  # may read one account, but not the list of all: not known, then
            total = None
    return excess(changes, total, bound)


def excess_warning(found: Excess | None, options: RunOptions) -> tuple[str, ...]:
    """What a person who looks at the plan should know of it, as no sentence or one."""
    if found is None:
        return ()
    follows = "--yes-really lets it go" if options.yes_really else "it will not be sent without --yes-really"
    return (f"{found.sentence}: {follows}.",)


def require_within_bound(found: Excess | None, options: RunOptions) -> None:
    """Refuse a plan that changes too much, unless it was said that it is really meant.

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
