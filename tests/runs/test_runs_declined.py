"""A user who does not agree to a plan: nothing is sent, and nothing is kept, of a new run and of a resume."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulkid import runs
from bulkid.errors import EXIT_INTERRUPTED, EXIT_USAGE, DeclinedError, StoppedAtPromptError, UsageError
from bulkid.journal.queries import newest_runs
from bulkid.journal.store import open_journal
from bulkid.model import RunRecord, RunStatus
from tests.support.identity_server import Identity, account, context, options, sheet

IDS = [f"a{number:02}" for number in range(5)]
LINES = ("id", "display_name"), [(each, "New") for each in IDS]


class Asking(runs.Hooks):
    """A user at a prompt, who gives one answer after having looked at something."""

    asks = True

    def __init__(self, answer: bool, look: Callable[[], object] = lambda: None) -> None:
        self.answer = answer
        self.look = look
        self.asked = 0

    async def confirm(self, preview: runs.Preview) -> bool:
        self.asked += 1
        assert preview.plan.changes
        self.look()
        return self.answer


def report_of(result: runs.RunResult) -> bytes:
    return Path(result.summary["report"]).read_bytes()


def server() -> Identity:
    return Identity(account(each) for each in IDS)


def records(folder: Path) -> list[RunRecord]:
    with open_journal(folder / "state") as journal:
        return journal.list_runs()


async def test_a_declined_run_leaves_neither_a_run_nor_files(tmp_path: Path) -> None:
    no = Asking(answer=False)
    async with server().served() as identity:
        with pytest.raises(DeclinedError, match=r"^Cancelled\. Nothing was sent\.$") as declined:
            await runs.run(sheet(tmp_path, *LINES), identity.target, options(tmp_path), context(tmp_path, hooks=no))
        assert declined.value.exit_code == EXIT_USAGE
        assert (no.asked, identity.count("PUT")) == (1, 0)
        with pytest.raises(UsageError, match="no run was interrupted"):
            await runs.resume("", identity.target, context(tmp_path))
    assert records(tmp_path) == []
    assert not (tmp_path / "reports").exists()


async def test_a_declined_run_leaves_the_reports_of_others_alone(tmp_path: Path) -> None:
    async with server().served() as identity:
        first = sheet(tmp_path, LINES[0], LINES[1][:1], name="first.csv")
        done = await runs.run(first, identity.target, options(tmp_path), context(tmp_path))
        no = context(tmp_path, hooks=Asking(answer=False))
        with pytest.raises(DeclinedError):
            await runs.run(sheet(tmp_path, *LINES), identity.target, options(tmp_path), no)
        with pytest.raises(DeclinedError):
            await runs.undo(done.run.run_id, identity.target, options(tmp_path), no)
    assert [record.run_id for record in records(tmp_path)] == [done.run.run_id]
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [done.run.run_id]


async def test_a_stop_at_the_prompt_is_a_decline(tmp_path: Path) -> None:
    stop = runs.Stop()
    hooks = Asking(answer=True, look=lambda: stop.request("SIGINT"))
    hooks.confirm = lambda preview: _forever(hooks, preview)  # type: ignore[method-assign]  # a user who never answers
    async with server().served() as identity:
        with pytest.raises(StoppedAtPromptError) as stopped:
            await runs.run(
                sheet(tmp_path, *LINES), identity.target, options(tmp_path), context(tmp_path, hooks=hooks, stop=stop)
            )
    assert stopped.value.exit_code == EXIT_INTERRUPTED
    assert records(tmp_path) == []


async def _forever(hooks: Asking, preview: runs.Preview) -> bool:
    import anyio

    assert preview.plan.changes
    hooks.look()
    await anyio.sleep_forever()
    return True


@pytest.mark.parametrize("job", ["", "nightly"])
async def test_a_run_is_in_no_list_while_its_user_is_asked_except_one_of_a_job(job: str, tmp_path: Path) -> None:
    """A kill at the prompt leaves what the lists show at that moment. A job finds its run again, and asks again."""
    seen: list[int] = []
    yes = Asking(answer=True, look=lambda: seen.append(len(records(tmp_path))))
    how = replace(options(tmp_path), job=job)
    async with server().served() as identity:
        result = await runs.run(sheet(tmp_path, *LINES), identity.target, how, context(tmp_path, hooks=yes))
    assert seen == [1 if job else 0]
    assert (result.exit_code, result.summary["updated"]) == (0, 5)
    assert [record.phase for record in records(tmp_path)] == ["planned"]


async def test_what_a_kill_at_the_prompt_leaves_is_pruned(tmp_path: Path) -> None:
    copies: list[RunRecord] = []

    def look() -> None:
        with open_journal(tmp_path / "state") as journal:
            copies.extend(newest_runs(journal, with_asking=True))

    async with server().served() as identity:
        asked = Asking(answer=False, look=look)
        with pytest.raises(DeclinedError):
            await runs.run(sheet(tmp_path, *LINES), identity.target, options(tmp_path), context(tmp_path, hooks=asked))
    with open_journal(tmp_path / "state") as journal:
        journal.create_run(copies[0])  # as the kill would have left it
    assert records(tmp_path) == []
    pruned = runs.prune(0, state_dir=tmp_path / "state")
    assert [record.run_id for record in pruned.dropped] == [copies[0].run_id]


async def test_a_declined_resume_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    """The rest of a trial: it is still there, to be declined once more, and then agreed to."""
    async with server().served() as identity:
        tried = await runs.run(sheet(tmp_path, *LINES), identity.target, options(tmp_path, first=2), context(tmp_path))
        assert (tried.status, tried.summary["pending"]) == (RunStatus.COMPLETED, 3)
        before, report = records(tmp_path), report_of(tried)
        for _ in range(2):
            with pytest.raises(DeclinedError):
                await runs.resume(
                    tried.run.run_id, identity.target, context(tmp_path, hooks=Asking(answer=False)), yes_really=True
                )
            assert records(tmp_path) == before
            assert report_of(tried) == report
        rest = await runs.resume(
            tried.run.run_id, identity.target, context(tmp_path, hooks=Asking(answer=True)), yes_really=True
        )
        assert (rest.summary["updated"], identity.count("PUT")) == (5, 5)


async def test_a_declined_resume_of_a_run_without_a_plan_leaves_it_as_it_was(tmp_path: Path) -> None:
    async with server().served() as identity:
        wrong = replace(identity.target, url=identity.url.replace("/identity", "/elsewhere/identity"))
        await runs.run(sheet(tmp_path, *LINES), wrong, options(tmp_path), context(tmp_path))
        before = records(tmp_path)
        assert before[0].phase == "read"
        with pytest.raises(DeclinedError):
            await runs.resume("", identity.target, context(tmp_path, hooks=Asking(answer=False)), yes_really=True)
        assert records(tmp_path) == before
        done = await runs.resume("", identity.target, context(tmp_path, hooks=Asking(answer=True)), yes_really=True)
        assert done.summary["updated"] == 5


async def test_a_declined_file_of_a_drop_folder_is_asked_for_again_by_the_next_start(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    sheet(inbox, *LINES)
    async with server().served() as identity:
        job = runs.Job(
            name="drop",
            source=runs.DropFolder(inbox, settle_s=0),
            target=identity.target,
            options=options(tmp_path),
        )
        for _ in range(2):
            declined = await runs.run_job(job, context(tmp_path, hooks=Asking(answer=False)))
            assert (declined.exit_code, declined.runs) == (EXIT_USAGE, ())
            assert isinstance(declined.error, DeclinedError)
            assert (records(tmp_path), identity.count("PUT")) == ([], 0)
        done = await runs.run_job(job, context(tmp_path, hooks=Asking(answer=True)))
    assert [run.summary["updated"] for run in done.runs] == [5]
    assert len(records(tmp_path)) == 1
