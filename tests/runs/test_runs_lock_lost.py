"""A run changes nothing without its organisation's lock: where that is not certain, it checks before each change."""

from pathlib import Path

import pytest

from bulkid import runs
from bulkid.journal.locks import LockLostError
from bulkid.journal.locks.file import FileLockHandle
from tests.support.identity_server import Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(10)]
LINES = {
    "accounts": (("id", "display_name"), [(each, "New") for each in IDS]),
    "groups": (("id", "groups_to_add"), [(each, "Fin") for each in IDS]),
}


class Lock:
    """How sure the client is of its lock, how often it asked, and from which time on another run has it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, is_current: bool = False, lost_after: int | None = None
    ) -> None:
        self.asked = 0
        self.lost_after = lost_after
        monkeypatch.setattr(FileLockHandle, "is_current", is_current)
        monkeypatch.setattr(FileLockHandle, "confirm", lambda _: self.confirm())

    def confirm(self) -> None:
        if self.asked == self.lost_after:
            raise LockLostError("The lock of the organisation was taken over by another run.")
        self.asked += 1


@pytest.mark.parametrize("via", ["accounts", "groups"])
async def test_where_another_run_has_taken_the_lock_nothing_more_is_changed(
    via: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(monkeypatch, lost_after=2)
    how = options(tmp_path, via=via, group_batch=2, concurrency=1)
    async with Identity(account(each) for each in IDS).served() as server:
        stopped = await runs.run(sheet(tmp_path, *LINES[via]), server.target, how, context(tmp_path))
        assert (stopped.exit_code, server.count("PUT"), lock.asked) == (5, 2, 2)
        assert "taken over by another run" in str(stopped.error)
        assert {row["status"] for row in report(stopped)} <= {"updated", "pending"}
        assert stopped.summary["pending"] > 0
        monkeypatch.undo()
        resumed = await runs.resume("", server.target, context(tmp_path))
        assert (resumed.exit_code, {row["status"] for row in report(resumed)}) == (0, {"updated"})
        assert server.count("PUT") == (10 if via == "accounts" else 5)


@pytest.mark.parametrize("is_current", [False, True])
@pytest.mark.parametrize("via", ["accounts", "groups"])
async def test_a_run_asks_before_each_change_where_it_is_not_sure_and_never_else(
    via: str, is_current: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(monkeypatch, is_current=is_current)
    how = options(tmp_path, via=via, group_batch=2)
    async with Identity(account(each) for each in IDS).served() as server:
        result = await runs.run(sheet(tmp_path, *LINES[via]), server.target, how, context(tmp_path))
        assert result.exit_code == 0
        assert lock.asked == (0 if is_current else server.count("PUT"))
