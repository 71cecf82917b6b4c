"""Planning: from the sheet's words to what must be sent, as pure functions of the sheet and the directory."""

from bulkid.planning.change_limit import Excess, excess, needs_total
from bulkid.planning.cover import Cover, GroupBatch, accounts_only, cover, groups_where_possible
from bulkid.planning.diff import confirms, describe, diff, shortfall
from bulkid.planning.directory import Absent, Directory, Unknown, is_everyone
from bulkid.planning.estimate import humanize_seconds, minimum_seconds
from bulkid.planning.export_rows import EXPORT_COLUMNS, ExportedAccount, Exporter
from bulkid.planning.plan import Plan, build_plan, limit_changes
from bulkid.planning.preconditions import Expected, departed, departure, pinned, resolve_expected
from bulkid.planning.read_strategy import first_read, next_read, wanted_accounts
from bulkid.planning.resolve import Resolution, offline_faults, resolve
from bulkid.planning.strategy import DEFAULT_BATCH, Means, Route, Via, choose_route
from bulkid.planning.undo import inverse, refusal, touched
from bulkid.text import count_of, fold, quote

__all__ = [
    "DEFAULT_BATCH",
    "EXPORT_COLUMNS",
    "Absent",
    "Cover",
    "Directory",
    "Excess",
    "Expected",
    "ExportedAccount",
    "Exporter",
    "GroupBatch",
    "Means",
    "Plan",
    "Resolution",
    "Route",
    "Unknown",
    "Via",
    "accounts_only",
    "build_plan",
    "choose_route",
    "confirms",
    "count_of",
    "cover",
    "departed",
    "departure",
    "describe",
    "diff",
    "excess",
    "first_read",
    "fold",
    "groups_where_possible",
    "humanize_seconds",
    "inverse",
    "is_everyone",
    "limit_changes",
    "minimum_seconds",
    "needs_total",
    "next_read",
    "offline_faults",
    "pinned",
    "quote",
    "refusal",
    "resolve",
    "resolve_expected",
    "shortfall",
    "touched",
    "wanted_accounts",
]
