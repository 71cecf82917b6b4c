"""Accounts that another client changes while a user is asked to confirm an undo or a plan file."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from bulkid import runs
from bulkid.model import Account, Action, Reply, Request
from tests.support.life_server import (
    ORG,
    URL,
    LifeServer,
    go_on,
    journal_run,
    refusal,
    rows_of,
    serving,
    statuses,
    wanted,
)

TARGET = runs.Target(url=URL, access_token="1234", organization_id=ORG)
SHEET = "name,display_name\nfirst,New\nsecond,New\nthird,New\n"

Begin = Callable[[runs.RunOptions, runs.Context], Awaitable[runs.RunResult]]


class Asks(runs.Hooks):
    """A user who agrees, and what happens meanwhile."""

    asks = True

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile

    async def confirm(self, preview: runs.Preview) -> bool:
        self.meanwhile()
        return await super().confirm(preview)


@pytest.fixture
def server() -> LifeServer:
    server = LifeServer(groups={"g-1": "One"})
    for name in ("first", "second", "third"):
        server.add(name, "Old")
    return server


def perform(folder: Path, server: LifeServer, begin: Begin, hooks: runs.Hooks, **more: object) -> runs.RunResult:
    options = runs.RunOptions(report_dir=folder / "reports", yes_really=True, **more)  # type: ignore[arg-type]
    context = runs.Context(state_dir=folder / "state", hooks=hooks)
    with serving(server):
        return anyio.run(lambda: begin(options, context))


def sheet_of(folder: Path) -> Path:
    path = folder / "robots.csv"
    path.write_text(SHEET, encoding="utf-8")
    return path


def run_sheet(folder: Path, server: LifeServer, **more: object) -> runs.RunResult:
    sheet = sheet_of(folder)
    return perform(
        folder, server, lambda options, context: runs.run(sheet, TARGET, options, context), runs.Hooks(), **more
    )


def undo(options: runs.RunOptions, context: runs.Context) -> Awaitable[runs.RunResult]:
    return runs.undo("last", TARGET, options, context)


def plan_file(folder: Path, server: LifeServer) -> Begin:
    """Plan a sheet into a file; give what applies it."""
    sheet, path = sheet_of(folder), folder / "plan.json"
    with serving(server):
        planned = anyio.run(lambda: runs.plan(sheet, TARGET, None, runs.Context(state_dir=folder / "state")))
    assert planned.preview is not None
    runs.save_plan(planned.preview, path)
    return lambda options, context: runs.run_plan(path, TARGET, options, context)


def changing(server: LifeServer, name: str, display_name: str) -> Callable[[], None]:
    def change() -> None:
        found = server.named(name)
        assert found is not None
        found["displayName"] = display_name

    return change


def names(server: LifeServer) -> dict[str, str]:
    return {each["name"]: each["displayName"] for each in server.accounts.values()}


def test_an_undo_leaves_an_account_alone_that_was_changed_while_the_user_was_asked(
    server: LifeServer, tmp_path: Path
) -> None:
    assert run_sheet(tmp_path, server).exit_code == 0
    result = perform(tmp_path, server, undo, Asks(changing(server, "second", "Other")))
    assert names(server) == {"first": "Old", "second": "Other", "third": "Old"}
    row = rows_of(tmp_path, result.run.run_id)["second"]
    assert (result.exit_code, row.status, row.error_code) == (1, "failed", "changed_since")
    assert 'expected "New", found "Other"' in row.error


def test_a_plan_file_leaves_accounts_alone_that_were_changed_while_the_user_was_asked(
    server: LifeServer, tmp_path: Path
) -> None:
    begin = plan_file(tmp_path, server)

    def change() -> None:
        changing(server, "first", "New")()  # as the plan wants it
        changing(server, "second", "Other")()

    result = perform(tmp_path, server, begin, Asks(change))
    assert names(server) == {"first": "New", "second": "Other", "third": "New"}
    expected = {"first": "unchanged", "second": "failed", "third": "updated"}
    assert (result.exit_code, statuses(tmp_path, result.run.run_id)) == (1, expected)


def test_the_rest_of_a_plan_file_is_compared_again_after_the_user_was_asked(server: LifeServer, tmp_path: Path) -> None:
    begin = plan_file(tmp_path, server)
    trial = perform(tmp_path, server, begin, runs.Hooks(), first=1)
    assert statuses(tmp_path, trial.run.run_id) == {"first": "updated", "second": "pending", "third": "pending"}
    result = perform(
        tmp_path,
        server,
        lambda _options, context: runs.resume(trial.run.run_id, TARGET, context),
        Asks(changing(server, "second", "Other")),
    )
    assert names(server) == {"first": "New", "second": "Other", "third": "New"}
    expected = {"first": "updated", "second": "failed", "third": "updated"}
    assert (result.exit_code, statuses(tmp_path, trial.run.run_id)) == (1, expected)


def test_a_trial_that_a_user_confirms_leaves_the_others_for_later(server: LifeServer, tmp_path: Path) -> None:
    result = perform(tmp_path, server, plan_file(tmp_path, server), Asks(), first=1)
    expected = {"first": "updated", "second": "pending", "third": "pending"}
    assert (result.exit_code, statuses(tmp_path, result.run.run_id)) == (0, expected)


def test_an_account_that_is_not_known_to_exist_after_the_user_was_asked_is_pending(
    server: LifeServer, tmp_path: Path
) -> None:
    assert run_sheet(tmp_path, server).exit_code == 0
    carry_out = server._carry_out

    def hide() -> None:
        server._carry_out = answer  # type: ignore[method-assign]

    def answer(request: Request) -> Reply:
        if request.method != "GET":
            return carry_out(request)
        if f"/{ORG}/id-1" in request.path:
            return refusal(400, "Not this one.")
        reply = carry_out(request)
        assert isinstance(reply.payload, dict)
        kept = [each for each in reply.payload["results"] if each["id"] != "id-1"]
        return reply._replace(payload={**reply.payload, "results": kept})

    result = perform(tmp_path, server, undo, Asks(hide))
    assert names(server) == {"first": "Old", "second": "New", "third": "Old"}
    expected = {"first": "updated", "second": "pending", "third": "updated"}
    assert (result.exit_code, statuses(tmp_path, result.run.run_id)) == (3, expected)
    assert "not known whether it still exists" in str(result.error)


def test_the_progress_counts_accounts_that_were_left_alone_after_the_user_was_asked(
    server: LifeServer, tmp_path: Path
) -> None:
    assert run_sheet(tmp_path, server).exit_code == 0
    failed = []

    class Shows(Asks):
        def progress(self, progress: runs.Progress) -> None:
            failed.append(progress.snapshot().failed)

    perform(tmp_path, server, undo, Shows(changing(server, "second", "Other")))
    assert failed == [1]


@pytest.mark.parametrize("asks", [False, True])
def test_accounts_are_read_once_more_only_where_a_user_was_asked(
    asks: bool, server: LifeServer, tmp_path: Path
) -> None:
    assert run_sheet(tmp_path, server).exit_code == 0
    server.sent.clear()
    assert perform(tmp_path, server, undo, Asks() if asks else runs.Hooks()).summary["updated"] == 3
    assert server.count("GET", f"RobotAccount/{ORG}") == (2 if asks else 1)


def test_accounts_are_read_once_where_nothing_is_left_to_change(server: LifeServer, tmp_path: Path) -> None:
    assert run_sheet(tmp_path, server).exit_code == 0
    for name in ("first", "second", "third"):
        changing(server, name, "Old")()
    server.sent.clear()
    assert perform(tmp_path, server, undo, Asks()).summary["unchanged"] == 3
    assert server.count("GET", f"RobotAccount/{ORG}") == 1


def test_a_sheet_is_sent_as_it_was_confirmed(server: LifeServer, tmp_path: Path) -> None:
    """A sheet says what an account shall be, whatever it was before."""
    sheet = sheet_of(tmp_path)
    result = perform(
        tmp_path,
        server,
        lambda options, context: runs.run(sheet, TARGET, options, context),
        Asks(changing(server, "second", "Other")),
    )
    assert (result.summary["updated"], set(names(server).values())) == (3, {"New"})
    assert server.count("GET", f"RobotAccount/{ORG}") == 1


def readings_before_a_deletion(server: LifeServer) -> list[int]:
    """Give a list to which each DELETE adds how many requests have read accounts by then."""
    readings: list[int] = []

    def note(request: Request, when: str) -> None:
        if request.method == "DELETE" and when == "before":
            readings.append(server.count("GET", f"RobotAccount/{ORG}"))

    server.act = note
    return readings


def test_an_undo_that_only_deletes_reads_the_accounts_once_after_the_user_was_asked(
    server: LifeServer, tmp_path: Path
) -> None:
    journal_run(tmp_path, [wanted(name, Action.CREATE) for name in ("new-0", "new-1")])
    assert go_on(tmp_path, server).summary["created"] == 2
    readings = readings_before_a_deletion(server)
    result = perform(tmp_path, server, undo, Asks(server.sent.clear), allow_delete=True)
    assert (result.summary["deleted"], readings) == (2, [1])


def test_a_resume_that_only_deletes_reads_the_accounts_once_and_asks_nothing(
    server: LifeServer, tmp_path: Path
) -> None:
    ids = [server.add(name) for name in ("new-0", "new-1")]
    states = [wanted(f"new-{number}", Action.DELETE, account_id=each) for number, each in enumerate(ids)]
    befores = {number: Account(each, f"new-{number}", ("",), ()) for number, each in enumerate(ids)}
    journal_run(tmp_path, states, befores=befores, allow_delete=True, approved="0" * 64)
    readings = readings_before_a_deletion(server)
    result = go_on(tmp_path, server, Asks())
    assert (result.summary["deleted"], readings) == (2, [1])
