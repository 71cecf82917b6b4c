"""``runs.export`` as a program calls it: a list that changes while it is read, a stop, a file in the way."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.engine.signals import Stop
from bulkid.errors import InterruptedRunError
from bulkid.runs import account_export
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox

OPTIONS = SandboxOptions(accounts=230, page_cap=50, limits=())


def target_of(server: Sandbox) -> runs.Target:
    return runs.Target(url=server.url, client_id="sandbox", client_secret="sandbox-secret")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], None]) -> None:
    """Have something happen after each page that is read, told how many there were."""
    real, pages = account_export.fetch, []

    async def fetch(engine: Any, request: Any, what: str, **more: Any) -> object:
        payload = await real(engine, request, what, **more)
        if "RobotAccount" in request.path:
            pages.append(request.path)
            happens(len(pages))
        return payload

    monkeypatch.setattr(account_export, "fetch", fetch)


async def test_a_list_that_changes_once_while_it_is_read_is_read_again_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(OPTIONS) as server:
        state = server.state

        def delete_one(pages: int) -> None:
            if pages == 1:  # the first of all: every later page begins one account too late
                state.delete(state.listing(sort_by="name")[0].id)

        meanwhile(monkeypatch, delete_one)
        result = await runs.export(tmp_path / "all.csv", target_of(server), context=runs.Context(state_dir=tmp_path))
        left = {account.id for account in state.accounts.values()}
    assert (result.complete, result.accounts, result.notes, result.exit_code) == (True, 229, (), 0)
    lines = (tmp_path / "all.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
    assert {line.split(",")[0] for line in lines} == left


async def test_a_list_that_never_holds_still_is_told_of_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(OPTIONS) as server:
        state = server.state
        meanwhile(monkeypatch, lambda _: state.delete(next(iter(state.accounts))))
        result = await runs.export(tmp_path / "all.xlsx", target_of(server), context=runs.Context(state_dir=tmp_path))
    assert (result.complete, result.exit_code) == (False, 1)
    assert "The list changed each time that it was read" in result.notes[-1]
    assert result.summary["complete"] is False
    assert (tmp_path / "all.xlsx").exists()


async def test_a_stop_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    meanwhile(monkeypatch, lambda pages: stop.request("Stopped by the test") if pages == 2 else None)
    async with Sandbox(OPTIONS) as server:
        context = runs.Context(state_dir=tmp_path / "state", stop=stop)
        with pytest.raises(InterruptedRunError, match="Stopped by the test"):
            await runs.export(tmp_path / "all.csv", target_of(server), context=context)
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208 - of an async test


async def test_a_file_that_somebody_made_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda _: (tmp_path / "all.csv").write_text("theirs", encoding="utf-8") and None)
    async with Sandbox(OPTIONS) as server:
        result = await runs.export(tmp_path / "all.csv", target_of(server), context=runs.Context(state_dir=tmp_path))
    assert (tmp_path / "all.csv").read_text(encoding="utf-8") == "theirs"
    assert result.path == tmp_path / "all-2.csv"
    assert "all-2.csv was written" in result.notes[-1]
