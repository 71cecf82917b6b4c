"""Groups that are remembered to refuse every PUT: only those of which no member can be the reason."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.journal.group_refusals import GroupRefusals
from bulkid.journal.store import open_journal
from tests.support.identity_server import ORG, Answer, Identity, account, context, options, report, sheet

NAMES = [f"robot-{number:02d}" for number in range(40)]


class Refusing(Identity):
    """Refuses PUTs of a group that change nothing, and those that name one of some members."""

    def __init__(self, poisoned: Collection[str] = (), *, every: bool = False) -> None:
        super().__init__(account(name, name) for name in NAMES)
        self.poisoned, self.every = poisoned, every

    def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
        members = {*body["directoryUserIDsToAdd"], *body["directoryUserIDsToRemove"]}
        if self.every or not members or members & set(self.poisoned):
            return 400, {"message": "No."}
        return super().on_group_put(group_id, body)

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        return (400, {"message": "No."}) if account_id in self.poisoned else super().on_put(account_id, body)

    def group_puts(self) -> int:
        return sum(line.startswith("PUT Group") for line in self.asked)


async def into_group(server: Identity, folder: Path, **more: Any) -> runs.RunResult:
    path = sheet(folder, ["name", "add groups"], ([name, "Fin"] for name in NAMES))
    return await runs.run(path, server.target, options(folder, via="groups", **more), context(folder))


def remembered(folder: Path) -> list[str]:
    with open_journal(folder / "state") as journal:
        return [each.group_id for each in GroupRefusals(journal, ORG).known(0.0)]


async def test_a_group_that_refuses_whatever_it_is_asked_is_remembered(tmp_path: Path) -> None:
    async with Refusing(every=True).served() as server:
        result = await into_group(server, tmp_path)
        assert (result.exit_code, result.summary["updated"], server.group_puts()) == (0, 40, 2)
        assert remembered(tmp_path) == ["g-fin"]


@pytest.mark.parametrize("poisoned", ["robot-00", "robot-39"])
async def test_a_group_is_not_blamed_for_a_member_where_the_server_refuses_to_change_nothing(
    poisoned: str, tmp_path: Path
) -> None:
    async with Refusing([poisoned]).served() as server:
        result = await into_group(server, tmp_path)
        assert (result.exit_code, result.summary["updated"], result.summary["failed"]) == (1, 39, 1)
        assert [row["name"] for row in report(result) if row["status"] == "failed"] == [poisoned]
        assert remembered(tmp_path) == []


async def test_a_group_is_not_blamed_before_all_members_of_the_refused_request_have_passed(tmp_path: Path) -> None:
    async with Refusing(every=True).served() as server:
        server.poisoned = NAMES[:20]
        stopped = await into_group(server, tmp_path, max_failures=runs.FailureBound(3), concurrency=1)
        assert stopped.exit_code == 4
        assert remembered(tmp_path) == []
