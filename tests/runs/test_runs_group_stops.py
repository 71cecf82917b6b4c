"""A run by group requests that is stopped before its accounts were read back is interrupted, and goes on from there."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from bulkid import runs
from bulkid.errors import BulkidError, ConnectionFailedError, InterruptedRunError, TooManyFailuresError, UsageError
from bulkid.model import RunStatus, Status
from bulkid.runs.execution.finish import final_status
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(40)]


class Stopping(Identity):
    """Asks the client to stop in the moment that it takes the last group PUT."""

    def __init__(self, stop: runs.Stop, *, abort: bool) -> None:
        super().__init__(account(each) for each in IDS)
        self.stop, self.abort = stop, abort

    def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
        answer = super().on_group_put(group_id, body)
        self.stop.request("SIGINT")
        if self.abort:
            self.stop.abort()
        return answer


@pytest.mark.parametrize("abort", [False, True])
async def test_a_stop_between_the_last_group_request_and_reading_back_leaves_the_run_interrupted(
    abort: bool, tmp_path: Path
) -> None:
    stop = runs.Stop()
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "Fin") for each in IDS])
    async with Stopping(stop, abort=abort).served() as server:
        first = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path, stop=stop))
        assert (first.exit_code, first.status) == (5, RunStatus.INTERRUPTED)
        assert (first.summary["pending"], first.summary["updated"]) == (40, 0)
        last = await runs.resume("", server.target, context(tmp_path))
    assert (last.exit_code, last.summary["updated"]) == (0, 40)
    assert {row["via"] for row in report(last)} == {"group"}
    assert server.count("PUT") == 1, "what had passed is read back, not sent again"


class Throttling(Identity):
    """Takes every PUT that it may, and then throttles reading for an hour; the client is asked to stop there.

    Args:
        ask: Asks the client to stop.
        reading: The beginning of what is throttled, as it stands in ``asked``.
        after: How many of these requests it takes before.
        failing: Accounts whose PUT is refused; all others are answered without a clear word.
    """

    def __init__(self, ask: Callable[[], None], reading: str, after: int, failing: Collection[str] = ()) -> None:
        super().__init__(account(each) for each in IDS)
        self.ask, self.reading, self.after, self.failing = ask, reading, after, failing

    def on_put(self, account_id: str, _: dict[str, Any]) -> Answer:
        return (400 if account_id in self.failing else 500), {"message": "No."}

    async def serve(self, request: web.Request) -> web.Response:
        response = await super().serve(request)
        if self.asked[-1].startswith(self.reading) and self.count(self.reading) > self.after:
            self.ask()
            return web.json_response({}, status=429, headers={"Retry-After": "3600"})
        return response


@pytest.mark.parametrize(
    ("reading", "after", "puts"),
    [("GET Group", 1, 0), ("GET RobotAccount", 1, 1)],
    ids=["the names of groups", "the accounts"],
)
async def test_a_stop_ends_reading_that_the_server_throttles(
    reading: str, after: int, puts: int, tmp_path: Path
) -> None:
    stop = runs.Stop()
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "Fin") for each in IDS])
    async with Throttling(lambda: stop.request("SIGINT"), reading, after).served() as server:
        with anyio.fail_after(60):
            result = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path, stop=stop))
        assert (result.exit_code, result.summary["pending"]) == (5, 40)
        assert server.count("PUT") == puts


async def test_a_stop_at_once_ends_reading_back_after_too_many_failures(tmp_path: Path) -> None:
    stop = runs.Stop()
    path = sheet(tmp_path, ("id", "display_name"), [(each, "New") for each in IDS])
    async with Throttling(stop.abort, "GET RobotAccount", 1, IDS[1:4]).served() as server:
        with anyio.fail_after(60):
            result = await runs.run(
                path,
                server.target,
                options(tmp_path, max_failures=runs.FailureBound(2), concurrency=1),
                context(tmp_path, stop=stop),
            )
    assert (result.exit_code, result.summary["failed"], result.summary["pending"]) == (4, 3, 37)
    assert "3 accounts failed" in str(result.error)


@pytest.mark.parametrize(
    ("pending", "left", "ended"),
    [
        (0, 0, (RunStatus.COMPLETED, 0)),
        (3, 3, (RunStatus.COMPLETED, 0)),
        (3, 2, (RunStatus.INTERRUPTED, 5)),
        (1, 0, (RunStatus.INTERRUPTED, 5)),
    ],
)
def test_a_run_is_complete_only_where_no_row_is_pending_but_those_that_a_trial_leaves(
    pending: int, left: int, ended: tuple[RunStatus, int]
) -> None:
    counts = {Status.UPDATED: 7, Status.PENDING: pending}
    assert final_status(counts, None, left) == ended
    if ended[1]:
        assert final_status({**counts, Status.FAILED: 1}, None, left) == ended


@pytest.mark.parametrize(
    ("error", "pending", "left", "status"),
    [
        (
            UsageError("No."),
            3,
            3,
            RunStatus.COMPLETED,
        ),  # only the rest of a trial is pending, which no user has confirmed
        (ConnectionFailedError("No."), 3, 3, RunStatus.COMPLETED),
        (InterruptedRunError("No."), 3, 3, RunStatus.COMPLETED),
        (TooManyFailuresError("No."), 3, 3, RunStatus.STOPPED),
        (UsageError("No."), 3, 2, RunStatus.INTERRUPTED),
        (ConnectionFailedError("No."), 3, 2, RunStatus.STOPPED),
        (ConnectionFailedError("No."), 0, 0, RunStatus.STOPPED),
    ],
)
def test_an_attempt_to_resume_that_fails_before_anything_is_sent_leaves_the_status(
    error: BulkidError, pending: int, left: int, status: RunStatus
) -> None:
    counts = {Status.UPDATED: 7, Status.PENDING: pending}
    assert final_status(counts, error, left, planned=True) == (status, error.exit_code)
    unplanned = RunStatus.REFUSED if isinstance(error, UsageError) else RunStatus.STOPPED
    if isinstance(error, InterruptedRunError):
        unplanned = RunStatus.INTERRUPTED
    assert final_status(counts, error, left) == (unplanned, error.exit_code)
