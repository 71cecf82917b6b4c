"""What a resumed run takes over from the attempt before: requests in flight, and accounts that have failed."""

from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.clock import SystemClock
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import open_journal
from bulkid.model import FailureBound, QuotaRule
from tests.support.identity_server import ORG, Answer, Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(5)]
LINES = ("id", "display_name"), [(each, "New") for each in IDS]
RULE = QuotaRule("PUT", 1000, 60.0)


class Stopping(Identity):
    """Asks the client to stop when it takes its first PUT."""

    def __init__(self, stop: runs.Stop) -> None:
        super().__init__(account(each) for each in IDS)
        self.stop = stop

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        self.stop.request("SIGINT")
        return super().on_put(account_id, body)


async def stopped(server: Stopping, folder: Path, **more: Any) -> str:
    """A run that has sent one of five accounts when it is stopped."""
    how = options(folder, via="accounts", concurrency=1, quota=(RULE,), **more)
    result = await runs.run(sheet(folder, *LINES), server.target, how, context(folder, stop=server.stop))
    assert (result.exit_code, result.summary["updated"], result.summary["pending"]) == (5, 1, 4)
    run_id: str = result.summary["run_id"]
    return run_id


@pytest.mark.parametrize("command", ["resume", "run"])
async def test_requests_in_flight_of_a_dead_run_are_taken_as_answered_once_the_lock_is_held(
    command: str, tmp_path: Path
) -> None:
    """Otherwise their slots of the quota would be kept until the longest time is over that a request can take."""
    async with Stopping(runs.Stop()).served() as server:
        dead = await stopped(server, tmp_path)
        with open_journal(tmp_path / "state") as journal:
            ledger = JournalLedger(journal, ORG, dead, SystemClock(), hold_s=86_400.0)
            assert len((await ledger.exchange([RULE], 3, (), ())).slots) == 3
            if command == "resume":
                result = await runs.resume("", server.target, context(tmp_path))
            else:
                path = sheet(tmp_path, *LINES, name="again.csv")
                how = options(tmp_path, via="accounts", quota=(RULE,))
                result = await runs.run(path, server.target, how, context(tmp_path))
            assert result.exit_code == 0
            assert await ledger.recover_runs() == 0


@pytest.mark.parametrize(("percent", "exit_code"), [(50.0, 1), (49.0, 4)])
async def test_a_share_of_failures_counts_accounts_that_failed_before_anything_was_sent_on_both_sides(
    percent: float, exit_code: int, tmp_path: Path
) -> None:
    """Two of the four accounts that a resume takes up do not exist any more: that is half of them."""
    async with Stopping(runs.Stop()).served() as server:
        await stopped(server, tmp_path, max_failures=FailureBound(percent=percent))
        del server.accounts["a02"], server.accounts["a04"]
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert resumed.exit_code == exit_code
    left = "updated" if exit_code == 1 else "pending"
    assert [row["status"] for row in report(resumed)] == ["updated", left, "failed", left, "failed"]
