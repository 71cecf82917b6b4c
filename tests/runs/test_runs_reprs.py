"""What holds a row or an account each must not write them all out as its ``repr``.

asyncio makes the ``repr`` of its main task, and so of that task's result, as it ends: a plan of 100,000 accounts was
written out twice so, which took 2 s and 100 MB.
"""

from bulkid.model import Account, RowError, RowRequest, RunRecord, RunStatus
from bulkid.planning.cover import accounts_only
from bulkid.planning.directory import Directory
from bulkid.planning.plan import build_plan
from bulkid.planning.resolve import resolve
from bulkid.runs import CheckResult, PlanResult, Preview, RunResult
from bulkid.runs.inputs.run_input import Rows
from bulkid.sheet import SheetInfo

MANY = 500
SHORT = 2000  # characters
INFO = SheetInfo("sheet.csv", "csv", "", "utf-8", ",", ("id", "display_name"), ("robot_account_id", "display_name"))


def test_plans_and_results_of_many_rows_have_a_short_repr() -> None:
    accounts = [Account(f"id-{number}", f"robot-{number}", ("Robot",), ()) for number in range(MANY)]
    requests = [RowRequest(number, f"id-{number}", "", ("Renamed",), (), (), None, "") for number in range(MANY)]
    row_errors = tuple(
        RowError(number, "id", "x", "unknown_account", "No account has this id.") for number in range(MANY)
    )
    directory = Directory("organization", accounts, ())
    resolution = resolve([*requests, requests[0]._replace(row=MANY, account_id="nobody")], directory, {})
    plan = build_plan(resolution, directory)
    assert len(plan.changes) == MANY
    preview = Preview(
        INFO, plan, directory, "https://x", "organization", MANY, row_errors, (), None, 0.0, {}, 0, (), excess=None
    )
    record = RunRecord("id", 0.0, RunStatus.COMPLETED, "run", "sheet.csv", "", "", "", 0)
    values = [
        plan,
        resolution,
        preview,
        accounts_only(plan.changes),
        Rows(INFO, requests, list(row_errors), MANY),
        CheckResult(INFO, MANY, MANY, row_errors, {}),
        PlanResult(preview, {}, row_errors, None, 0),
        RunResult(record, RunStatus.COMPLETED, {}, row_errors=row_errors),
    ]
    shown = {type(value).__name__: len(repr(value)) for value in values}
    assert {name: length for name, length in shown.items() if length > SHORT} == {}
