"""No request leaves without its intent in the journal, and an intent alone does not mean that it was applied."""

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from bulkid import runs
from bulkid.errors import StateError
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Change, Request
from bulkid.runs.execution import account_sender, group_sender
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(10)]
BY_ACCOUNT = ("id", "display_name"), [(each, "New") for each in IDS]
BY_GROUP = ("id", "groups_to_add"), [(each, "Fin") for each in IDS]


class Watching(Identity):
    """Looks into the journal whenever a PUT comes in: which of its accounts have an intent there?"""

    def __init__(self, folder: Path) -> None:
        super().__init__(account(each) for each in IDS)
        self.folder = folder
        self.without: list[str] = []  # accounts that a PUT came in for, and that had none
        self.named = 0

    def look(self, ids: list[str]) -> None:
        with open_journal(self.folder / "state") as journal:
            (record,) = journal.list_runs()
            intended = {entry.desired.account_id for entry in journal.iter_items(record.run_id) if entry.intended}
        self.named += len(ids)
        self.without += [each for each in ids if each not in intended]

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        self.look([account_id])
        return super().on_put(account_id, body)

    def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
        self.look(body["directoryUserIDsToAdd"])
        return super().on_group_put(group_id, body)


@pytest.mark.parametrize(("lines", "via"), [(BY_ACCOUNT, "accounts"), (BY_GROUP, "groups")], ids=["accounts", "groups"])
async def test_the_journal_has_the_intent_of_each_request_that_comes_in(
    lines: Any, via: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_sender, "FIRST_INTENT_CHUNK", 4)
    monkeypatch.setattr(account_sender, "INTENT_CHUNK", 4)
    monkeypatch.setattr(group_sender, "_BATCHES_AT_ONCE", 2)
    async with Watching(tmp_path).served() as server:
        how = options(tmp_path, via=via, group_batch=3, concurrency=2)
        result = await runs.run(sheet(tmp_path, *lines), server.target, how, context(tmp_path))
    assert (result.exit_code, result.summary["updated"]) == (0, 10)
    assert (server.named, server.without) == (10, [])


async def test_the_first_request_waits_for_the_intents_of_a_small_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_sender, "INTENT_CHUNK", 5)
    monkeypatch.setattr(account_sender, "FIRST_INTENT_CHUNK", 2)
    chunks: list[list[int]] = []
    intend = Journal.intend

    def noted(journal: Journal, run_id: str, numbers: Any, *more: Any) -> None:
        chunks.append(list(numbers))
        intend(journal, run_id, numbers, *more)

    monkeypatch.setattr(Journal, "intend", noted)
    async with Watching(tmp_path).served() as server:
        result = await runs.run(sheet(tmp_path, *BY_ACCOUNT), server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, result.summary["updated"]) == (0, 10)
    assert (server.named, server.without) == (10, [])
    assert chunks == [[0, 1], [2, 3, 4, 5, 6], [7, 8, 9]]


async def test_responses_get_their_turn_while_the_tasks_of_a_chunk_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_sender, "_TASKS_AT_ONCE", 2)
    turns, made, put_account = 0, Counter[int](), account_sender.put_account

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    def counted(organization_id: str, change: Change) -> Request:
        made[turns] += 1
        return put_account(organization_id, change)

    monkeypatch.setattr(account_sender, "put_account", counted)
    async with Watching(tmp_path).served() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        result = await runs.run(sheet(tmp_path, *BY_ACCOUNT), server.target, options(tmp_path), context(tmp_path))
        tasks.cancel_scope.cancel()
    assert (result.exit_code, result.summary["updated"]) == (0, 10)
    assert list(made.values()) == [2, 2, 2, 2, 2]


@pytest.mark.parametrize("written", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize(("lines", "via"), [(BY_ACCOUNT, "accounts"), (BY_GROUP, "groups")], ids=["accounts", "groups"])
async def test_nothing_is_sent_whose_intent_cannot_be_written(
    lines: Any, via: str, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the first, or the second, chunk of intents is to be written."""
    monkeypatch.setattr(account_sender, "FIRST_INTENT_CHUNK", 4)
    monkeypatch.setattr(account_sender, "INTENT_CHUNK", 4)
    monkeypatch.setattr(group_sender, "_BATCHES_AT_ONCE", 1)
    chunks: list[int] = []
    intend = Journal.intend

    def until_full(journal: Journal, run_id: str, numbers: Any, *more: Any) -> None:
        if len(chunks) == written:
            raise StateError("There is no room for the state database.")
        chunks.append(len(numbers))
        intend(journal, run_id, numbers, *more)

    monkeypatch.setattr(Journal, "intend", until_full)
    async with Watching(tmp_path).served() as server:
        how = options(tmp_path, via=via, group_batch=4)
        stopped = await runs.run(sheet(tmp_path, *lines), server.target, how, context(tmp_path))
        assert stopped.exit_code == 5
        assert server.named <= sum(chunks)
        assert not server.without
        monkeypatch.undo()
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert (resumed.exit_code, resumed.summary["updated"]) == (0, 10)
    assert (server.named, server.without) == (10, [])


class Cutting(Identity):
    """Has the client cut off while it works on the third PUT, and keeps the answer to that until the client has gone.

    Args:
        stop: Of the client.
        applied: Whether it makes the change of that PUT.
    """

    def __init__(self, stop: runs.Stop, *, applied: bool) -> None:
        super().__init__(account(each) for each in IDS)
        self.stop, self.applied, self.gone = stop, applied, anyio.Event()

    async def serve(self, request: web.Request) -> web.Response:
        third = request.method == "PUT" and self.count("PUT") == 2
        response = await super().serve(request)
        if third:
            self.stop.abort()
            await self.gone.wait()
        return response

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        if self.gone.is_set() or self.applied or account_id != "a02":
            return super().on_put(account_id, body)
        return 500, {"message": "An internal error occurred."}


@pytest.mark.parametrize("applied", [False, True])
async def test_an_account_with_an_intent_is_compared_on_resume_and_sent_where_it_still_differs(
    applied: bool, tmp_path: Path
) -> None:
    """Of the eight accounts with an intent one was sent, and may have been changed; seven were not sent."""
    stop = runs.Stop()
    async with Cutting(stop, applied=applied).served() as server:
        how = options(tmp_path, via="accounts", concurrency=1)
        cut = await runs.run(sheet(tmp_path, *BY_ACCOUNT), server.target, how, context(tmp_path, stop=stop))
        server.gone.set()
        assert (cut.exit_code, cut.summary["updated"], cut.summary["pending"]) == (5, 2, 8)
        with open_journal(tmp_path / "state") as journal:
            assert all(entry.intended for entry in journal.iter_items(cut.summary["run_id"], unsettled=True))
        resumed = await runs.resume("", server.target, context(tmp_path))
        assert {each["displayName"] for each in server.accounts.values()} == {"New"}
        assert (resumed.exit_code, {row["status"] for row in report(resumed)}) == (0, {"updated"})
        assert server.count("PUT RobotAccount/a02") == (1 if applied else 2)
        assert server.count("PUT") == (10 if applied else 11)
