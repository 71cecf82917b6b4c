"""Planning: from the texts of a sheet to the requests to send, as pure functions of the sheet and the directory."""

from bulkid.planning.change_limit import Excess, excess, needs_total
from bulkid.planning.cover import Cover, GroupBatch, accounts_only, cover, groups_where_possible
from bulkid.planning.directory import Absent, Directory, Unknown, is_everyone
from bulkid.planning.export_rows import ExportedAccount, Exporter
from bulkid.planning.plan import (
    Plan,
    build_plan,
    changed_fields,
    confirms,
    describe,
    diff,
    limit_changes,
    shortfall,
    values_confirmed,
)
from bulkid.planning.preconditions import (
    Precondition,
    inverse,
    item_conflict,
    may_have_changed,
    precondition_conflict,
    resolve_preconditions,
    undo_obstacle,
    without_exact_list,
)
from bulkid.planning.resolve import Resolution, offline_row_errors, resolve
from bulkid.planning.strategy import (
    Constraints,
    Strategy,
    StrategyOption,
    choose_strategy,
    first_read,
    minimum_seconds,
    next_read,
    wanted_accounts,
)

__all__ = [
    "Absent",
    "Constraints",
    "Cover",
    "Directory",
    "Excess",
    "ExportedAccount",
    "Exporter",
    "GroupBatch",
    "Plan",
    "Precondition",
    "Resolution",
    "Strategy",
    "StrategyOption",
    "Unknown",
    "accounts_only",
    "build_plan",
    "changed_fields",
    "choose_strategy",
    "confirms",
    "cover",
    "describe",
    "diff",
    "excess",
    "first_read",
    "groups_where_possible",
    "inverse",
    "is_everyone",
    "item_conflict",
    "limit_changes",
    "may_have_changed",
    "minimum_seconds",
    "needs_total",
    "next_read",
    "offline_row_errors",
    "precondition_conflict",
    "resolve",
    "resolve_preconditions",
    "shortfall",
    "undo_obstacle",
    "values_confirmed",
    "wanted_accounts",
    "without_exact_list",
]
