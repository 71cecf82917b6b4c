"""Previews of plans, made of row requests and a directory, without a server."""

from collections.abc import Sequence
from dataclasses import replace

from bulkid.model import NEW_GROUP, Account, Action, Change, DesiredState, Group, QuotaRule, RowError, RowRequest
from bulkid.planning.directory import Directory
from bulkid.planning.plan import build_plan, limit_changes
from bulkid.planning.resolve import resolve
from bulkid.planning.strategy import minimum_seconds
from bulkid.runs import Preview
from bulkid.sheet import SheetInfo
from tests.support.planning_world import COLUMNS, ORG, directory


def preview_of(
    requests: Sequence[RowRequest] = (),
    known: Directory | None = None,
    *,
    invalid: int = 0,
    first: int | None = None,
    rules: tuple[QuotaRule, ...] = (),
    rate: float | None = None,
) -> Preview:
    """The preview of what these rows change; ``invalid`` rows besides them have an error."""
    known = known or directory()
    plan = limit_changes(build_plan(resolve(requests, known, COLUMNS), known), first)
    return Preview(
        info=SheetInfo("a.csv", "csv", "", "utf-8", ",", ("name",), ("name",)),
        plan=plan,
        directory=known,
        base_url="https://cloud.uipath.com/acme/identity_",
        organization_id=ORG,
        rows=len(requests) + invalid,
        row_errors=tuple(RowError(row, "", "", "code", "Wrong.") for row in range(invalid)),
        rules=rules,
        rate=rate,
        eta_s=minimum_seconds(plan.planned_puts, rules, "PUT", rate),
        requests={"GET": 2, "POST": 1},
        skipped=len(plan.skipped),
        warnings=(),
        excess=None,
    )


def creation(name: str, display_name: str | None = None, groups: tuple[str, ...] = ()) -> Change:
    """An account that a plan creates."""
    return Change("", name, (display_name,), display_name is not None, groups, (), None, Action.CREATE)


def deletion(account: Account) -> Change:
    """An account that a plan deletes."""
    return Change(account.id, account.name, account.values, False, (), (), account, Action.DELETE)  # noqa: FBT003


def with_changes(
    preview: Preview, *more: Change, new_groups: Sequence[str] = (), rules: tuple[QuotaRule, ...] = ()
) -> Preview:
    """A preview with more changes, after its own, and with new groups. A group's id is its name in lower case."""
    groups = tuple(Group(name.lower(), name, NEW_GROUP) for name in new_groups)
    known, plan = preview.directory, preview.plan
    states = tuple(
        DesiredState(each.account_id, each.name, each.values, each.add, (), None, (100 + number,), each.action)
        for number, each in enumerate(more)
    )
    plan = replace(plan, changes=(*plan.changes, *more), changing=(*plan.changing, *states), new_groups=groups)
    rules = rules or preview.rules
    return replace(
        preview,
        plan=plan,
        directory=Directory(known.organization_id, known.accounts, (*(known.groups or ()), *groups)),
        rules=rules,
        eta_s=sum(minimum_seconds(count, rules, method, preview.rate) for method, count in plan.requests.items()),
    )
