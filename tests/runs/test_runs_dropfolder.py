"""The files of a drop folder: which are pending, which are complete, and that each ends in one place."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from bulkid.engine.signals import Stop
from bulkid.errors import ConnectionFailedError, InterruptedRunError, UsageError
from bulkid.identity import client
from bulkid.journal.claimed_files import ClaimedFiles, FileState
from bulkid.journal.schema import taken_files
from bulkid.journal.store import open_journal
from bulkid.model import FailureBound, QuotaRule, RunStatus
from bulkid.runs import (
    Context,
    DropFolder,
    Job,
    PostRunOptions,
    Recipients,
    RunOptions,
    RunResult,
    Schedule,
    Target,
    list_runs,
    prune,
    run_job,
    undo,
)
from bulkid.runs.execution import run as execution
from bulkid.runs.jobs import drop_folder, drop_folder_job, job
from bulkid.runs.jobs.attempt import JobAttempt
from bulkid.runs.jobs.drop_folder import dated, scan
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.drop_folders import Inbox, drop, names, served
from tests.support.fake_clock import FakeClock, run
from tests.support.receiver import receiver
from tests.support.sandbox_host import set_limits

# --- which files


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    for name, age in (("new.csv", 1), ("old.csv", 100), ("b.csv", 50), ("a.csv", 50)):
        drop(tmp_path, name, age_s=age)
    assert [seen.path.name for seen in DropFolder(tmp_path).pending_files()] == ["old.csv", "a.csv", "b.csv", "new.csv"]


def test_what_is_not_finished_or_not_meant_is_never_taken(tmp_path: Path) -> None:
    for name in ("a.csv.part", "a.TMP", "~$a.xlsx", ".hidden.csv", "a.crdownload", "B.CSV", "c.csv", "d.xlsx"):
        drop(tmp_path, name)
    (tmp_path / "folder.csv").mkdir()
    assert {seen.path.name for seen in DropFolder(tmp_path).pending_files()} == {"B.CSV", "c.csv", "d.xlsx"}
    assert {seen.path.name for seen in DropFolder(tmp_path, "*.csv").pending_files()} == {"B.CSV", "c.csv"}


def test_a_link_is_not_a_file_that_was_dropped(tmp_path: Path) -> None:
    elsewhere = drop(tmp_path, "real.txt")
    inbox = tmp_path / "in"
    inbox.mkdir()
    try:
        (inbox / "link.csv").symlink_to(elsewhere)
    except OSError:
        pytest.skip("this user may make no links here")
    assert DropFolder(inbox).pending_files() == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"drop folder .*nowhere cannot be looked into"):
        DropFolder(tmp_path / "nowhere").pending_files()


@pytest.mark.parametrize("change", ["grows", "is written anew", "goes away"])
def test_a_file_is_complete_once_it_has_stayed_as_it_is(tmp_path: Path, change: str) -> None:
    async def main() -> None:
        clock, stop = FakeClock(), Stop()
        drop(tmp_path, "still.csv")
        moving = drop(tmp_path, "moving.csv")

        async def write() -> None:
            await clock.sleep(9)
            if change == "goes away":
                moving.unlink()
            else:
                drop(tmp_path, "moving.csv", "xy" if change == "grows" else "z", age_s=-5)
            drop(tmp_path, "late.csv")

        task = asyncio.ensure_future(write())
        complete, growing = await scan(DropFolder(tmp_path, settle_s=10), clock, stop, ())
        await task
        assert clock.elapsed == 10
        assert [seen.path.name for seen in complete] == ["still.csv"]
        assert growing == (1 if change == "goes away" else 2)
        complete, growing = await scan(DropFolder(tmp_path, settle_s=10), clock, stop, complete)
        assert growing == 0
        assert {seen.path.name for seen in complete} == {"late.csv", "moving.csv"} - (
            {"moving.csv"} if change == "goes away" else set()
        )

    run(main)


def test_an_empty_folder_is_not_waited_for_and_a_stop_ends_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        clock, stop = FakeClock(), Stop()
        assert await scan(DropFolder(tmp_path), clock, stop, ()) == ([], 0)
        assert clock.elapsed == 0
        drop(tmp_path, "a.csv")
        stop.request("Stopped by SIGTERM")
        with pytest.raises(InterruptedRunError, match="Stopped by SIGTERM"):
            await scan(DropFolder(tmp_path), clock, stop, ())

    run(main)


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    folder = DropFolder(tmp_path)
    found = []
    for _ in range(3):
        found.append(folder.free_name("archive", "a.tar.csv"))
        (tmp_path / found[-1]).touch()
    assert found == ["archive/a.tar.csv", "archive/a.tar-2.csv", "archive/a.tar-3.csv"]


def test_the_date_stands_before_the_name_once() -> None:
    day = date(2026, 1, 31)
    assert dated("robots.xlsx", day) == "2026-01-31_robots.xlsx"
    assert dated("2025-12-24_robots.xlsx", day) == "2026-01-31_robots.xlsx"
    assert dated("robots", day, "_duplicate") == "2026-01-31_robots_duplicate"


# --- what becomes of them


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def test_good_ones_are_archived_bad_ones_fail_and_none_holds_up_the_next(inbox: Inbox) -> None:
    inbox.sheet("first.csv", "First", age_s=50)
    drop(inbox.folder, "unreadable.csv", "nothing,known\n1,2\n", age_s=40)
    drop(inbox.folder, "unknown.csv", "name,display_name\nnobody-here,X\n", age_s=30)
    drop(inbox.folder, "picture.png", "\x00\x01", age_s=20)
    inbox.sheet("last.csv", "Last", age_s=10)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert result.exit_code == 2
        assert [each.summary["updated"] for each in result.runs] == [3, 0, 3]
        assert names(server)["robot-0001"] == "Last 1"

    served(work)
    assert inbox.places() == {
        "archive": ["first.csv", "last.csv"],
        "failed": ["picture.png", "unknown.csv", "unreadable.csv"],
    }
    beside = {path.name[11:] for path in (inbox.folder / "failed").iterdir()}
    assert {"unreadable.error.txt", "picture.error.txt", "unknown.report.csv", "unknown.retry.csv"} <= beside
    (report,) = (inbox.folder / "archive").glob("*_first.report.csv")
    assert report.read_text(encoding="utf-8-sig").count("updated") == 3


def test_the_same_content_is_taken_once_under_whatever_name_and_said_so(inbox: Inbox) -> None:
    async def work(server: Sandbox) -> None:
        inbox.sheet("a.csv", "Once")
        assert (await inbox.work(server)).exit_code == 0
        puts = len(server.log)
        for name in ("a.csv", "b.csv"):
            inbox.sheet(name, "Once")
        result = await inbox.work(server)
        assert (result.exit_code, result.runs) == (0, ())
        assert len(server.log) == puts

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "a_duplicate.csv", "b_duplicate.csv"]}
    assert inbox.runs() == {"a.csv": 1}
    assert any("b.csv has the content of a.csv" in note and "not run again" in note for note in inbox.notes)


def test_the_same_name_with_other_content_is_another_file(inbox: Inbox) -> None:
    async def work(server: Sandbox) -> None:
        for tag in ("One", "Two"):
            inbox.sheet("a.csv", tag)
            assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0002"] == "Two 2"

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv"]}


def test_what_failed_may_be_dropped_again(inbox: Inbox) -> None:
    """The fault may have been the server's (a group that was missing), so that the same content is good later."""

    async def work(server: Sandbox) -> None:
        for _ in range(2):
            drop(inbox.folder, "a.csv", "name,display_name\nnobody-here,X\n")
            assert (await inbox.work(server)).exit_code == 2

    served(work)
    assert inbox.places() == {"failed": ["a-2.csv", "a.csv"]}


def test_a_run_that_cannot_go_on_keeps_its_file_and_the_next_start_goes_on_first(inbox: Inbox) -> None:
    inbox.sheet("old.csv", "Old", age_s=50)
    inbox.sheet("new.csv", "New", age_s=10)

    async def work(server: Sandbox) -> None:
        stopped = await inbox.work(server, secret="wrong")
        assert stopped.exit_code == 3
        assert inbox.places() == {"working": ["old.csv"], ".": ["new.csv"]}
        inbox.sheet("older.csv", "Older", age_s=500)
        result = await inbox.work(server)
        assert result.exit_code == 0
        assert [Path(each.run.source).name for each in result.runs] == ["old.csv", "older.csv", "new.csv"]
        assert names(server)["robot-0003"] == "New 3"

    served(work)
    assert inbox.places() == {"archive": ["new.csv", "old.csv", "older.csv"]}
    assert set(inbox.runs().values()) == {1}


def test_settings_that_cannot_be_used_are_no_row_error_of_the_file(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        source = DropFolder(inbox.folder, settle_s=0)
        job = Job(name="drop", source=source, target=Target(url=server.url, client_id="sandbox"))
        result = await run_job(job, Context(state_dir=inbox.root / "state"))
        assert result.exit_code == 2
        assert "No credentials" in str(result.error)

    served(work)
    assert inbox.places() == {".": ["a.csv"]}


def test_the_end_of_its_hours_leaves_a_file_pending_and_the_others_waiting(inbox: Inbox) -> None:
    inbox.sheet("long.csv", "Long", rows=8, age_s=50)
    inbox.sheet("next.csv", "Next", age_s=10)
    inbox.options = replace(inbox.options, quota=(), concurrency=1)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server, schedule=Schedule(max_duration_s=4.0))
        assert result.exit_code == 5
        assert [each.summary["updated"] for each in result.runs] == [3]
        assert inbox.places() == {"working": ["long.csv"], ".": ["next.csv"]}
        set_limits(server, ())
        result = await inbox.work(server)
        assert result.exit_code == 0
        assert [each.summary["updated"] for each in result.runs] == [8, 3]
        assert sum(entry.method == "PUT" and entry.status == 200 for entry in server.log) == 11

    served(work, limits=(QuotaRule("PUT", 3, 600.0),))
    assert inbox.places() == {"archive": ["long.csv", "next.csv"]}


def test_a_file_whose_changes_fail_is_archived_beside_what_is_to_be_mended(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A", rows=3)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert result.exit_code == 1

    served(work, poisoned=("robot-0002",))
    assert inbox.places() == {"archive": ["a.csv"]}
    (retry,) = (inbox.folder / "archive").glob("*_a.retry.csv")
    assert "robot-0002" in retry.read_text(encoding="utf-8-sig")


def test_files_whose_reports_would_have_one_name_keep_their_own(inbox: Inbox) -> None:
    inbox.sheet("robots.csv", "A", rows=1, age_s=50)
    inbox.sheet("robots.txt", "B", rows=1, age_s=40)
    drop(inbox.folder, "bad.csv", "nothing,known\n1,2\n", age_s=30)
    drop(inbox.folder, "bad.txt", "unknown,too\n1,2\n", age_s=20)

    async def work(server: Sandbox) -> None:
        await inbox.work(server)

    served(work)
    archive, failed = inbox.folder / "archive", inbox.folder / "failed"
    assert sorted(path.name[11:] for path in archive.iterdir()) == [
        "robots-2.report.csv",
        "robots-2.txt",
        "robots.csv",
        "robots.report.csv",
    ]
    for end, name in (("robots", "A 1"), ("robots-2", "B 1")):
        (report,) = archive.glob(f"*_{end}.report.csv")
        assert name in report.read_text(encoding="utf-8-sig")
    assert {path.name[11:] for path in failed.glob("*.error.txt")} == {"bad.error.txt", "bad-2.error.txt"}


def test_a_sheet_in_the_archive_is_not_replaced_by_the_report_of_another(inbox: Inbox) -> None:
    inbox.sheet("robots.retry.csv", "A", rows=1, age_s=50)
    mended = (inbox.folder / "robots.retry.csv").read_bytes()
    inbox.sheet("robots.csv", "B", rows=3, age_s=40)

    async def work(server: Sandbox) -> None:
        await inbox.work(server)

    served(work, poisoned=("robot-0002",))
    archive = inbox.folder / "archive"
    (kept,) = archive.glob("*_robots.retry.csv")
    (retry,) = archive.glob("*_robots-2.retry.csv")
    assert kept.read_bytes() == mended
    assert "robot-0002" in retry.read_text(encoding="utf-8-sig")


def test_too_many_failures_stop_the_job_and_the_next_start_goes_on(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A", rows=9, age_s=50)
    inbox.sheet("b.csv", "B", age_s=10)
    inbox.options = replace(inbox.options, max_failures=FailureBound(0), concurrency=1)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 4
        assert inbox.places() == {"working": ["a.csv"], ".": ["b.csv"]}
        assert (await inbox.work(server)).exit_code == 1  # the one that failed is settled; all others are done

    served(work, poisoned=("robot-0005",))
    assert inbox.places() == {"archive": ["a.csv", "b.csv"]}


def no_proxy(*_: object) -> None:
    raise UsageError("The proxy cannot be used.")


def test_settings_that_cannot_be_used_leave_a_file_whose_run_has_sent_something(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A", rows=9, age_s=50)
    inbox.sheet("b.csv", "B", age_s=10)
    inbox.options = replace(inbox.options, max_failures=FailureBound(0), concurrency=1)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 4
        with monkeypatch.context() as broken:
            broken.setattr(client, "proxy_for", no_proxy)
            assert (await inbox.work(server)).exit_code == 2
        assert inbox.places() == {"working": ["a.csv"], ".": ["b.csv"]}
        assert (await inbox.work(server)).exit_code == 1

    served(work, poisoned=("robot-0005",))
    assert inbox.places() == {"archive": ["a.csv", "b.csv"]}


def test_settings_that_cannot_be_used_leave_a_file_of_which_rows_are_invalid(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox.folder, "a.csv", "name,display_name\nrobot-0001,A\nrobot-0002,#N/A\n")
    inbox.options = replace(inbox.options, skip_invalid=True)

    async def work(server: Sandbox) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(client, "proxy_for", no_proxy)
            assert (await inbox.work(server)).exit_code == 2
        assert inbox.places() == {"working": ["a.csv"]}
        assert (await inbox.work(server)).exit_code == 1

    served(work)
    assert inbox.places() == {"archive": ["a.csv"]}


def test_settings_that_cannot_be_used_leave_a_run_that_has_connected_before(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    async def away(*_: object) -> None:
        raise ConnectionFailedError("The server cannot be reached.")

    def statuses() -> list[RunStatus]:
        return [record.status for record, _ in list_runs(inbox.root / "state")]

    async def work(server: Sandbox) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(execution, "prepare", away)
            assert (await inbox.work(server)).exit_code == 3
        assert statuses() == [RunStatus.STOPPED]
        with monkeypatch.context() as broken:
            broken.setattr(client, "proxy_for", no_proxy)
            assert (await inbox.work(server)).exit_code == 2
        assert statuses() == [RunStatus.INTERRUPTED]
        assert inbox.places() == {"working": ["a.csv"]}
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    assert inbox.places() == {"archive": ["a.csv"]}


def test_what_lies_in_working_and_is_not_known_is_left_alone_and_told(inbox: Inbox) -> None:
    (inbox.folder / "working").mkdir()
    inbox.sheet("working/lost.csv", "Lost")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    assert inbox.places() == {"working": ["lost.csv"]}
    assert any("lost.csv was not taken by a run that this state directory knows" in note for note in inbox.warnings)


def test_what_somebody_took_away_from_working_is_told_and_holds_up_nothing(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A", age_s=50)
    inbox.sheet("b.csv", "B", age_s=10)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server, secret="wrong")).exit_code == 3
        (inbox.folder / "working" / "a.csv").unlink()
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "B 1"

    served(work)
    assert inbox.places() == {"archive": ["b.csv"]}
    assert any("another program or a person removed it" in note for note in inbox.notes)


def test_each_run_and_each_refusal_is_told_once_and_the_figures_are_of_the_newest_run(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A", age_s=50)
    drop(inbox.folder, "bad.csv", "nothing,known\n1,2\n", age_s=40)
    with receiver() as service:
        after = PostRunOptions(recipients=Recipients(always=(service.address(),)), metrics_file=inbox.root / "m.prom")

        async def work(server: Sandbox) -> None:
            await inbox.work(server, after=after)
            await inbox.work(server, after=after, secret="")  # settings that cannot be used end the job before any run

        served(work)
    (good, bad, job) = service.messages
    assert good["title"] == "bulkid: drop: completed, 3 updated"
    assert "Source: " in good["message"]
    assert "a.csv" in good["message"]
    assert bad["title"] == job["title"] == "bulkid: drop: nothing was begun"
    assert f"Command: bulkid run {inbox.folder / 'bad.csv'}" in bad["message"]
    assert f"Command: bulkid run {inbox.folder}\n" in job["message"]
    assert "No credentials are given" in job["message"]
    assert 'bulkid_run_rows{job="drop",status="updated"} 3.0' in (inbox.root / "m.prom").read_text()


def test_a_plan_that_may_not_be_sent_is_the_files_row_error_and_holds_up_no_other(inbox: Inbox) -> None:
    """What the run says no to once it knows the organisation would be said of the same file for ever."""
    inbox.options = replace(inbox.options, read=False, via="groups")
    drop(inbox.folder, "a.csv", "id,display_name\n88-uv,A\n", age_s=50)
    inbox.sheet("names.csv", "By name, which blind runs do not take", age_s=10)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert [each.summary["invalid"] for each in result.runs] == [0, 3]
        assert result.exit_code == 2

    served(work)
    assert inbox.places() == {"failed": ["a.csv", "names.csv"]}


def test_a_file_whose_run_was_undone_is_put_away(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A", rows=8)
    inbox.options = replace(inbox.options, quota=(), concurrency=1, via="accounts")

    async def work(server: Sandbox) -> None:
        before = names(server)
        stopped = await inbox.work(server, schedule=Schedule(max_duration_s=4.0))
        assert stopped.exit_code == 5
        set_limits(server, ())
        target = Target(url=server.url, client_id="sandbox", client_secret="sandbox-secret")
        options = RunOptions(report_dir=inbox.root / "reports")
        undone = await undo(stopped.runs[0].run.run_id, target, options, Context(state_dir=inbox.root / "state"))
        assert undone.exit_code == 0
        assert (await inbox.work(server)).exit_code == 0
        assert names(server) == before

    served(work, limits=(QuotaRule("PUT", 3, 600.0),))
    assert inbox.places() == {"archive": ["a.csv"]}
    assert any("was undone since" in note for note in inbox.notes)


def test_a_folder_that_another_process_works_on_is_left_alone(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        source = DropFolder(inbox.folder)
        with open_journal(inbox.root / "state") as journal:
            async with drop_folder_job._lock_folder(source, journal, "drop", 0.0):
                result = await inbox.work(server)
        assert result.exit_code == 6
        assert "Another process works on the drop folder" in str(result.error)

    served(work)
    assert inbox.places() == {".": ["a.csv"]}


def test_a_file_that_changes_while_it_is_claimed_goes_back(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("a.csv", "A")
    real = drop_folder_job.move
    changed: list[Path] = []

    def move(source: Path, target: Path) -> None:
        if not changed:
            changed.append(source)
            inbox.sheet("a.csv", "Changed")
        real(source, target)

    async def work(server: Sandbox) -> None:
        monkeypatch.setattr(drop_folder_job, "move", move)
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "Changed 1"
        assert inbox.runs() == {"a.csv": 1}
        inbox.sheet("a.csv", "A")  # which was claimed, but never run
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv"]}


def test_a_file_that_is_replaced_while_another_runs_is_complete_only_after_it_has_settled_again(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A", age_s=50)
    inbox.sheet("b.csv", "B", age_s=40)
    real_run, real_scan = JobAttempt.run, drop_folder_job.scan

    async def begin_to_replace(attempt: JobAttempt, source: Path, **more: Any) -> RunResult:
        if source.name == "a.csv":
            inbox.sheet("b.csv", "Half", rows=1, age_s=30)
        return await real_run(attempt, source, **more)

    async def finish_meanwhile(*args: Any) -> Any:
        if (inbox.folder / "b.csv").exists() and inbox.runs():
            inbox.sheet("b.csv", "Whole", age_s=20)
        return await real_scan(*args)

    async def work(server: Sandbox) -> None:
        monkeypatch.setattr(JobAttempt, "run", begin_to_replace)
        monkeypatch.setattr(drop_folder_job, "scan", finish_meanwhile)
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0002"] == "Whole 2"

    served(work)
    assert inbox.runs() == {"a.csv": 1, "b.csv": 1}
    assert inbox.places() == {"archive": ["a.csv", "b.csv"]}


async def kill_as_the_file_changes(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, server: Sandbox, **options: Any
) -> None:
    """Start the job, and kill it once it has moved ``a.csv``, which another program replaces at that moment."""
    inbox.sheet("a.csv", "A")
    real = drop_folder_job.move

    def move(source: Path, target: Path) -> None:
        inbox.sheet("a.csv", "Changed")
        real(source, target)
        raise Killed

    with monkeypatch.context() as killing:
        killing.setattr(drop_folder_job, "move", move)
        with pytest.raises(Killed):
            await inbox.work(server, **options)


def test_a_file_that_changed_while_it_was_claimed_goes_back_also_after_a_kill(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Sandbox) -> None:
        await kill_as_the_file_changes(inbox, monkeypatch, server)
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "Changed 1"
        inbox.sheet("a.csv", "A")  # which was claimed, but never run
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv"]}


def test_two_jobs_with_one_folder_take_no_file_of_each_other(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("acme-a.csv", "A")
    acme, globex = ({"name": name, "glob": f"{name}-*"} for name in ("acme", "globex"))

    async def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    async def work(server: Sandbox) -> None:
        with monkeypatch.context() as killing:
            killing.setattr(JobAttempt, "run", kill)
            with pytest.raises(Killed):
                await inbox.work(server, **acme)
        inbox.sheet("globex-a.csv", "A")  # for another organisation, perhaps
        assert (await inbox.work(server, **globex)).exit_code == 0
        assert inbox.runs() == {"globex-a.csv": 1}
        assert inbox.places() == {"archive": ["globex-a.csv"], "working": ["acme-a.csv"]}
        assert "acme-a.csv" in " ".join(inbox.notes)
        assert (await inbox.work(server, **acme)).exit_code == 0

    served(work)
    assert inbox.runs() == {"acme-a.csv": 1, "globex-a.csv": 1}
    assert inbox.places() == {"archive": ["acme-a.csv", "globex-a.csv"]}


def test_a_run_that_was_begun_is_finished_also_where_the_glob_of_its_job_changed(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server, secret="expired")).exit_code == 3
        assert (await inbox.work(server, glob="*.xlsx")).exit_code == 0

    served(work)
    assert inbox.places() == {"archive": ["a.csv"]}


@asynccontextmanager
async def outside_the_window(*_: object) -> AsyncIterator[bool]:
    """Stand for ``within_schedule`` at an hour at which nothing may be sent."""
    yield False


def test_outside_its_hours_a_job_has_nothing_pending_of_what_another_job_of_the_folder_took(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server, name="one", glob="a*", secret="expired")).exit_code == 3
        monkeypatch.setattr(job, "within_schedule", outside_the_window)
        assert (await inbox.work(server, name="one", glob="a*")).exit_code == 5
        assert (await inbox.work(server, name="one", glob="c*")).exit_code == 5
        assert (await inbox.work(server, name="two", glob="b*")).exit_code == 0

    served(work)


def test_a_file_in_working_that_no_job_takes_any_more_is_run_once_it_is_moved_back(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    async def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    async def work(server: Sandbox) -> None:
        with monkeypatch.context() as killing:
            killing.setattr(JobAttempt, "run", kill)
            with pytest.raises(Killed):
                await inbox.work(server)
        assert (await inbox.work(server, glob="*.xlsx")).exit_code == 0
        assert inbox.places() == {"working": ["a.csv"]}
        (inbox.folder / "working" / "a.csv").rename(inbox.folder / "a.csv")
        assert (await inbox.work(server, glob="*")).exit_code == 0

    served(work)
    assert inbox.runs() == {"a.csv": 1}
    assert inbox.places() == {"archive": ["a.csv"]}


def test_what_only_a_person_can_settle_is_said_to_a_quiet_job_too(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(drop_folder_job, "move", refuse)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    (warning,) = inbox.warnings
    assert "a.csv cannot be taken (Permission denied)" in warning


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_file_that_the_user_may_not_read_is_told(
    platform: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a program that writes it may be the reason, for which there is nothing to do but to wait."""
    inbox.sheet("a.csv", "A")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    async def work(server: Sandbox) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(drop_folder, "open_regular", refuse)
            patched.setattr(drop_folder, "sys", SimpleNamespace(platform=platform))
            assert (await inbox.work(server)).exit_code == 0

    served(work)
    assert len(inbox.warnings) == (platform == "linux")
    assert ("cannot be taken (Permission denied)" if inbox.warnings else "1 file in") in "".join(inbox.notes)


def test_a_working_folder_that_cannot_be_looked_into_is_told(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("a.csv", "A")
    real = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "working":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert result.exit_code == 2
        assert "working cannot be looked into: Permission denied. Let this user" in str(result.error)

    served(work)


def test_a_file_that_cannot_be_moved_back_is_told_and_waits_for_the_next_start(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")
    real, moved = drop_folder_job.move, []

    def move(source: Path, target: Path) -> None:
        if not moved:
            inbox.sheet("a.csv", "Changed")
        elif len(moved) == 1:
            moved.append(source)
            raise PermissionError(13, "The process cannot access the file")
        moved.append(source)
        real(source, target)

    monkeypatch.setattr(drop_folder_job, "move", move)

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert result.exit_code == 2
        assert "cannot be moved back" in str(result.error)
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "Changed 1"

    served(work)
    assert inbox.places() == {"archive": ["a.csv"]}


@pytest.mark.parametrize("trouble", ["held open", "gone", "put away later"])
def test_the_report_beside_a_file_is_that_of_its_whole_run(
    trouble: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows the report of the first night may be open in Excel when that of the second is written."""
    inbox.sheet("a.csv", "A")
    real_replace = Path.replace

    def replace_closed(path: Path, target: Path) -> Path:
        if target.name in {"report.csv", "retry.csv"} and target.exists():
            raise PermissionError(13, "The process cannot access the file")
        return real_replace(path, target)

    def kill(*_: Any) -> None:
        raise Killed

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server, secret="expired")).exit_code == 3
        if trouble == "put away later":
            with monkeypatch.context() as killing:
                killing.setattr(drop_folder_job, "report_files", kill)
                with pytest.raises(Killed):
                    await inbox.work(server)
            shutil.rmtree(inbox.root / "reports")  # as on another host
        elif trouble == "held open":
            monkeypatch.setattr(Path, "replace", replace_closed)
        else:
            shutil.rmtree(inbox.root / "reports")
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    (report,) = (inbox.folder / "archive").glob("*.report.csv")
    assert report.read_text(encoding="utf-8").count("updated") == 3
    assert "pending" not in report.read_text(encoding="utf-8")


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_file_that_was_tried_in_the_sandbox_is_run_on_the_server(is_interrupted: bool, inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")
    limits = (QuotaRule("PUT", 1, 600.0),) if is_interrupted else ()
    inbox.options = replace(inbox.options, sandbox=True, quota=(), concurrency=1)

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20, limits=limits)) as sandbox:
            tried = await inbox.work(sandbox, schedule=Schedule(max_duration_s=0.5) if is_interrupted else Schedule())
        assert tried.exit_code == (5 if is_interrupted else 0)
        inbox.options = replace(inbox.options, sandbox=False)
        if not is_interrupted:
            inbox.sheet("a.csv", "A")
        assert (await inbox.work(server)).exit_code == 0
        assert {names(server)[f"robot-000{number}"] for number in (1, 2, 3)} == {"A 1", "A 2", "A 3"}

    served(work)
    assert inbox.places() == {"archive": ["a.csv"] if is_interrupted else ["a-2.csv", "a.csv"]}


async def interrupted_at(stage: str, inbox: Inbox, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start the job on a server that is away from a stage of the run on; return the id of that run."""

    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionFailedError("The server is away.")

    with monkeypatch.context() as patched:
        patched.setattr(execution, stage, away)
        stopped = await inbox.work(server)
    assert stopped.exit_code == 3
    return stopped.runs[0].run.run_id


@pytest.mark.parametrize("stage", ["prepare", "apply"])  # before and after there is a plan
def test_a_run_of_a_server_is_not_continued_in_the_sandbox(
    stage: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file would count as done, and nobody would send it."""
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        run_id = await interrupted_at(stage, inbox, server, monkeypatch)
        inbox.options = replace(inbox.options, sandbox=True)
        inbox.sheet("b.csv", "B")
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as sandbox:
            assert (await inbox.work(sandbox)).exit_code == 0
            assert names(sandbox)["robot-0001"] == "B 1"
        assert f"a.csv is left alone: its run {run_id} is one of {server.url}" in inbox.warnings[-1]
        assert inbox.places() == {"working": ["a.csv"], "archive": ["b.csv"]}
        inbox.options = replace(inbox.options, sandbox=False)
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "b.csv"]}


@pytest.mark.parametrize(
    ("stage", "elsewhere"),
    [("prepare", 5), ("apply", 0)],  # without a plan it has sent nothing, and would be run there
)
def test_outside_its_hours_a_job_has_nothing_pending_of_a_run_that_it_would_leave_alone(
    stage: str, elsewhere: int, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        await interrupted_at(stage, inbox, server, monkeypatch)
        monkeypatch.setattr(job, "within_schedule", outside_the_window)
        assert (await inbox.work(server)).exit_code == 5
        async with Sandbox(SandboxOptions(accounts=20)) as other:
            assert (await inbox.work(other)).exit_code == elsewhere
        inbox.options = replace(inbox.options, sandbox=True)
        assert (await inbox.work(server)).exit_code == 0

    served(work)


@pytest.mark.parametrize("stage", ["prepare", "apply"])
def test_outside_its_hours_a_job_has_a_file_pending_that_was_only_tried(
    stage: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")
    inbox.options = replace(inbox.options, sandbox=True)

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20)) as sandbox:
            await interrupted_at(stage, inbox, sandbox, monkeypatch)
        monkeypatch.setattr(job, "within_schedule", outside_the_window)
        inbox.options = replace(inbox.options, sandbox=False)
        assert (await inbox.work(server)).exit_code == 5

    served(work)


def test_outside_its_hours_a_job_has_a_file_pending_that_is_only_to_be_moved(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start moves it, wherever its run was sent."""
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        await interrupted_at("apply", inbox, server, monkeypatch)
        with open_journal(inbox.root / "state") as journal:
            journal.database.execute(update(taken_files).values(state=FileState.CLOSING.value, target="failed/a.csv"))
        monkeypatch.setattr(job, "within_schedule", outside_the_window)
        async with Sandbox(SandboxOptions(accounts=20)) as other:
            assert (await inbox.work(other)).exit_code == 5

    served(work)


def test_a_run_of_another_server_holds_up_no_other_file_of_a_job(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that moves to another server for good would take no file any more, and no prune would remove the run."""
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        run_id = await interrupted_at("apply", inbox, server, monkeypatch)
        inbox.sheet("b.csv", "B")
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as other:
            assert (await inbox.work(other)).exit_code == 2
            assert names(other)["robot-0001"] == "B 1"
        assert f"a.csv is left alone: its run {run_id} is one of {server.url}" in inbox.warnings[-1]
        assert inbox.places() == {"working": ["a.csv"], "archive": ["b.csv"]}
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "b.csv"]}


def test_a_file_that_was_tried_is_run_also_where_another_one_has_its_name_by_now(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")
    inbox.options = replace(inbox.options, sandbox=True)

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20)) as sandbox:
            assert (await inbox.work(sandbox, glob="a.csv", secret="expired")).exit_code == 3
        inbox.options = replace(inbox.options, sandbox=False)
        inbox.sheet("a.csv", "B", rows=2)
        assert (await inbox.work(server, glob="a.csv")).exit_code == 0
        assert [names(server)[f"robot-000{number}"] for number in (1, 2, 3)] == ["B 1", "B 2", "A 3"]

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv"]}


def test_a_file_that_was_tried_is_run_also_when_its_trial_was_pruned(inbox: Inbox) -> None:
    inbox.sheet("a.csv", "A")
    inbox.options = replace(inbox.options, sandbox=True)

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as sandbox:
            assert (await inbox.work(sandbox)).exit_code == 0
        inbox.options = replace(inbox.options, sandbox=False)
        for _ in range(2):  # what was run on a server counts as taken also when its run is gone
            assert prune(-60.0, state_dir=inbox.root / "state").dropped
            inbox.sheet("a.csv", "A")
            assert (await inbox.work(server)).exit_code == 0
            assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv", "a_duplicate.csv"]}


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_content_that_was_run_on_another_server_is_run_here_too(inbox: Inbox, is_pruned: bool) -> None:
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as other:
            assert (await inbox.work(other)).exit_code == 0
            if is_pruned:
                assert prune(-60.0, state_dir=inbox.root / "state").dropped
            for place in (server, server, other):
                inbox.sheet("b.csv", "A")
                assert (await inbox.work(place)).exit_code == 0
                assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "b.csv", "b_duplicate-2.csv", "b_duplicate.csv"]}
    assert not [note for note in inbox.notes if "not known" in note]


def test_a_content_whose_server_no_journal_knows_any_more_is_not_run_again_and_says_how_to(inbox: Inbox) -> None:
    """A run that an older version pruned has left its file without the server: it may have been this one."""
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 0
        assert prune(-60.0, state_dir=inbox.root / "state").dropped
        with open_journal(inbox.root / "state") as journal:
            journal.database.execute(update(taken_files).values(base_url="", organization_id=""))
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as other:
            inbox.sheet("b.csv", "A")
            assert (await inbox.work(other)).exit_code == 0

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "b_duplicate.csv"]}
    assert any("is not known any more. If it was another, run archive/" in note for note in inbox.notes)


def test_a_file_whose_run_had_ended_on_another_server_is_put_away_with_a_word(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A")

    async def killed(*_: Any, **__: Any) -> None:
        raise Killed

    async def work(server: Sandbox) -> None:
        async with Sandbox(SandboxOptions(accounts=20, limits=())) as other:
            with monkeypatch.context() as killing:
                killing.setattr(drop_folder_job._FolderJob, "_close", killed)
                with pytest.raises(Killed):
                    await inbox.work(other)
            assert (await inbox.work(server)).exit_code == 0
            assert any(f"has sent it to {other.url}" in note and "drop it again" in note for note in inbox.notes)
        inbox.sheet("a.csv", "A")
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert inbox.places() == {"archive": ["a-2.csv", "a.csv"]}


def test_a_file_that_goes_back_under_a_name_that_the_job_does_not_take_is_told(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Sandbox) -> None:
        await kill_as_the_file_changes(inbox, monkeypatch, server, glob="a.csv")
        inbox.sheet("a.csv", "Newer")
        assert (await inbox.work(server, glob="a.csv")).exit_code == 0
        assert names(server)["robot-0001"] == "Newer 1"

    served(work)
    (warning,) = inbox.warnings
    assert "a-2.csv is not taken" in warning
    assert inbox.places() == {".": ["a-2.csv"], "archive": ["a.csv"]}


def test_a_file_whose_error_shows_only_far_down_fails_and_holds_up_no_other(inbox: Inbox) -> None:
    rows = "".join(f"robot-{number:05d},A {number}\n" for number in range(1, 60_000))
    drop(inbox.folder, "a.csv", f'name,display_name\n{rows}robot-1,"open\n', age_s=50)
    inbox.sheet("b.csv", "B")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 2

    served(work)
    assert inbox.places() == {"failed": ["a.csv"], "archive": ["b.csv"]}
    (beside,) = (path for path in (inbox.folder / "failed").iterdir() if not path.name.endswith("a.csv"))
    assert "row 60,001 opens a double quote" in beside.read_text(encoding="utf-8")


# --- killed between any two steps


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is done."""


class Saboteur:
    """Kills the work before or after its n-th step that leaves something behind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.kill_at = -1
        for name in ("move", "write_report_beside"):
            monkeypatch.setattr(drop_folder_job, name, self._watched(getattr(drop_folder_job, name)))
        for name in ("claim", "begin_closing", "close", "forget"):
            monkeypatch.setattr(ClaimedFiles, name, self._watched(getattr(ClaimedFiles, name)))

    def _watched(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            self._maybe()
            result = step(*args)
            self._maybe()
            return result

        return watched

    def _maybe(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed


# Three files: claim, move, put_beside, begin_closing, move, close, each with a before and an after;
# then the one move of the duplicate.
STEPS = list(range(1, 2 * (3 * 6 + 1) + 1))


@pytest.mark.parametrize("number", STEPS)
def test_a_kill_between_any_two_steps_leaves_each_file_in_one_place_and_runs_none_twice(
    number: int, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.sheet("a.csv", "A", age_s=50)
    drop(inbox.folder, "bad.csv", "nothing,known\n1,2\n", age_s=40)
    inbox.sheet("b.csv", "B", age_s=30)
    inbox.sheet("same.csv", "A", age_s=20)
    saboteur = Saboteur(monkeypatch)
    saboteur.kill_at = number

    async def work(server: Sandbox) -> None:
        with pytest.raises(Killed):
            await inbox.work(server)
        assert Counter(name for names in inbox.places().values() for name in names).total() == 4
        saboteur.kill_at = -1
        await inbox.work(server)
        puts = Counter((entry.account, entry.path) for entry in server.log if entry.method == "PUT")
        assert set(puts.values()) == {2}  # A, then B: each account once by each
        assert names(server)["robot-0002"] == "B 2"

    served(work)
    assert inbox.places() == {"archive": ["a.csv", "b.csv", "same_duplicate.csv"], "failed": ["bad.csv"]}
    assert inbox.runs() == {"a.csv": 1, "b.csv": 1}
    with open_journal(inbox.root / "state") as journal:
        assert ClaimedFiles(journal, DropFolder(inbox.folder).key).open() == []


def test_the_steps_that_are_killed_at_are_all_there_are(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("a.csv", "A", age_s=50)
    drop(inbox.folder, "bad.csv", "nothing,known\n1,2\n", age_s=40)
    inbox.sheet("b.csv", "B", age_s=30)
    inbox.sheet("same.csv", "A", age_s=20)
    saboteur = Saboteur(monkeypatch)

    async def work(server: Sandbox) -> None:
        await inbox.work(server)

    served(work)
    assert list(range(1, saboteur.steps + 1)) == STEPS
