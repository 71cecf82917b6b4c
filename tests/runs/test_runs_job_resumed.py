"""A job resumes its run with the number of failures that the job allows now."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.model import FailureBound, RunStatus
from tests.support.identity_server import Answer, Identity, account, context, options, sheet

IDS = [f"{number:02}" for number in range(20)]


class Refusing(Identity):
    """Refuses to change some accounts."""

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        return (400, {"message": "No."}) if account_id in IDS[::7] else super().on_put(account_id, body)


@pytest.mark.parametrize("allowed", [FailureBound(count=2), None])
async def test_a_run_that_had_too_many_failures_goes_on_once_the_job_allows_more(
    tmp_path: Path, allowed: FailureBound | None
) -> None:
    path = sheet(tmp_path, ("id", "display_name"), [(each, "New") for each in IDS])
    async with Refusing(account(each) for each in IDS).served() as server:

        async def start(bound: FailureBound | None) -> runs.JobResult:
            own = options(tmp_path, max_failures=bound, via="accounts", concurrency=1)
            job = runs.Job(name="nightly", source=path, target=server.target, options=own)
            return await runs.run_job(job, context(tmp_path))

        first = await start(FailureBound(count=0))
        assert (first.exit_code, first.runs[0].status) == (4, RunStatus.STOPPED)
        resumed, *_ = (await start(allowed)).runs
    assert (resumed.run.run_id, resumed.exit_code) == (first.runs[0].run.run_id, 1)
    assert (resumed.summary["updated"], resumed.summary["failed"]) == (17, 3)
    assert resumed.run.options["max_failures"] == asdict(allowed or FailureBound())  # also for `bulkid resume`
