"""Previews of plans, made of row requests and a directory, without a server."""

from collections.abc import Sequence

from bulkid.model import QuotaRule, RowError, RowRequest
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
