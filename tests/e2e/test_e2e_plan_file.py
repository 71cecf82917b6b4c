"""``plan --out`` and ``run --plan``: one user plans, another applies, and only what was planned is sent."""

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkid.journal.store import open_journal
from tests.support.bulkid_command import SECRET, Bulkid, connected_to, crash
from tests.support.command_output import all_text, assert_clear, assert_no_secret, statuses, summary_of
from tests.support.plan_files import in_version_1
from tests.support.processes import Life
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.server_state import HEADERS, MIXED, id_of, settle, slowly, state_of
from tests.support.sheets import renames, sheet_of


@pytest.fixture
def host() -> Iterator[Hosted]:
    with hosted(accounts=60, list_everyone=True) as started:
        yield started


@pytest.fixture
def planner(tmp_path: Path, host: Hosted) -> Bulkid:
    (tmp_path / "planner").mkdir()
    return connected_to(tmp_path / "planner", host.url)


@pytest.fixture
def applier(tmp_path: Path, host: Hosted) -> Bulkid:
    """Another person, with another working and state directory."""
    (tmp_path / "applier").mkdir()
    return connected_to(tmp_path / "applier", host.url)


def plan_of(planner: Bulkid, *options: str, code: int = 0) -> Path:
    done = planner("plan", "sheet.csv", "--out", "plan.json", "--json", *options)
    assert done.returncode == code, all_text(done)
    return planner.folder / "plan.json"


def applied(applier: Bulkid, path: Path, *options: str, code: int = 0) -> list[dict[str, str]]:
    """Apply a plan; give its report."""
    done = applier("run", "--plan", str(path), "--yes", "--json", *options)
    assert done.returncode == code, all_text(done)
    return applier.report(str(summary_of(done)["run_id"]))


def test_what_one_plans_another_applies(planner: Bulkid, applier: Bulkid, host: Hosted) -> None:
    sheet_of(planner.folder, [*MIXED, ("robot-0006", "Robot 6", "", "", "")])
    before, sent = state_of(host), len(host.puts())
    shown = planner("plan", "sheet.csv", "--out", "plan.json")
    assert shown.returncode == 0
    assert "robot-0001  ~ display name: Robot 1 -> Alpha  + Finance  + Trainees" in shown.stdout
    assert "bulkid run --plan plan.json" in shown.stderr
    assert len(host.puts()) == sent
    plan = json.loads((planner.folder / "plan.json").read_bytes())
    assert [item["rows"] for item in plan["accounts"]] == [[2, 3], [4], [5], [6], [7]]
    assert plan["counts"] == {
        "rows": 7,
        "changing": 5,
        "creating": 0,
        "deleting": 0,
        "unchanged": 1,
        "left_out": 0,
        "invalid_rows": 0,
        "planned_puts": 5,
        "naive_puts": 7,
    }
    assert_no_secret(planner.folder, [shown], SECRET)

    report = applied(applier, planner.folder / "plan.json")
    assert [(row["row"], row["status"]) for row in report] == [(str(row), "updated") for row in range(2, 8)]
    assert report[0]["changes"] == "display name: Robot 1 -> Alpha; + Finance; + Trainees"
    after = state_of(host)
    assert (after != before, len(host.puts())) == (True, sent + 5)
    # The sheet is then done, and so is the plan; and it can be undone like any run.
    assert summary_of(planner("run", "sheet.csv", "--yes", "--json"))["unchanged"] == 7
    assert statuses(applied(applier, planner.folder / "plan.json")) == ["unchanged"] * 6
    (first,) = (run["run_id"] for run in json.loads(applier("runs", "--json").stdout) if run["updated"])
    assert applier("undo", first, "--yes", "--quiet").returncode == 0
    assert state_of(host) == before


def test_what_no_longer_fits_is_refused_row_by_row(planner: Bulkid, applier: Bulkid, host: Hosted) -> None:
    sheet_of(planner.folder, MIXED)
    path = plan_of(planner)
    directory = host.sandbox.state
    directory.rename(directory.account_named("robot-0001"), "Somebody's")
    directory.join(directory.account_named("robot-0002"), [directory.group_named("Finance")])
    directory.delete(id_of(host, "robot-0003"))
    del directory.groups[directory.group_named("Customer Care").id.casefold()]
    sent, meddled = len(host.puts()), state_of(host)
    refused = applied(applier, path, code=2)
    assert statuses(refused) == ["invalid"] * 5 + ["pending"]
    assert [row["error_code"] for row in refused] == [*["changed_since"] * 3, "account_gone", "group_gone", ""]
    assert [row["name"] for row in refused[:3]] == ["robot-0001", "robot-0001", "robot-0002"]
    assert 'expected "Robot 1", found "Somebody\'s"' in refused[0]["error"]
    assert "in Finance: expected no, found yes" in refused[2]["error"]
    assert 'The group "Customer Care" (' in refused[4]["error"]
    assert "+ Customer Care" in refused[4]["error"]
    assert (len(host.puts()), state_of(host)) == (sent, meddled)

    done = applied(applier, path, "--skip-invalid", code=1)
    assert statuses(done) == ["invalid"] * 5 + ["updated"]
    assert host.display_name("robot-0005") == "Beta"
    now = state_of(host)
    assert {key: value for key, value in now.items() if value != meddled[key]}.keys() == {id_of(host, "robot-0005")}


def as_version_6_wrote_it(bulkid: Bulkid, run_id: str, path: Path) -> None:
    """Put the changes of a plan file into a further cell of each row, where versions up to 6 kept them."""
    accounts = [in_version_1(each) for each in json.loads(path.read_bytes())["accounts"]]
    text_of = {row: json.dumps(each) for each in accounts for row in each["rows"]}
    with closing(sqlite3.connect(bulkid.folder / "state" / "bulkid.db")) as database, database:
        run, sheet = database.execute("select run, sheet from runs where run_id = ?", (run_id,)).fetchone()
        kept = json.loads(sheet)
        kept["headers"].append("planned")
        kept["fields"].append("")
        database.execute("update runs set sheet = ? where run = ?", (json.dumps(kept), run))
        for row, cells in database.execute("select row, cells from rows where run = ?", (run,)).fetchall():
            kept_cells = json.dumps([*json.loads(cells), text_of[row]])
            database.execute("update rows set cells = ? where run = ? and row = ?", (kept_cells, run, row))
        assert database.execute("delete from planned_changes where run = ?", (run,)).rowcount > 0


@pytest.mark.parametrize("older", [False, True], ids=["this version", "version 6"])
def test_what_was_refused_may_be_fixed_and_resumed(
    planner: Bulkid, applier: Bulkid, host: Hosted, *, older: bool
) -> None:
    """From the journal alone: the file is not needed any more."""
    sheet_of(planner.folder, MIXED)
    path, directory = plan_of(planner), host.sandbox.state
    account = directory.account_named("robot-0001")
    directory.rename(account, "Somebody's")
    applied(applier, path, code=2)
    run_id = json.loads(applier("runs", "--json").stdout)[0]["run_id"]
    retry = (applier.folder / "reports" / run_id / "retry.csv").read_text(encoding="utf-8-sig")
    assert retry.splitlines()[0].startswith("robot_account_id,name,display_name,groups_to_add,groups_to_remove,")
    assert "{" not in retry  # nothing of the plan's JSON
    if older:
        as_version_6_wrote_it(applier, run_id, path)
    path.unlink()
    again = applier("resume", run_id, "--yes", "--json")
    assert (again.returncode, summary_of(again)["invalid"]) == (2, 2)
    directory.rename(account, "Robot 1")
    resumed = applier("resume", run_id, "--yes", "--json")
    assert (resumed.returncode, summary_of(resumed)["updated"]) == (0, 6), all_text(resumed)
    assert host.display_name("robot-0001") == "Alpha"


def test_a_plan_of_another_place_is_refused(planner: Bulkid, applier: Bulkid, host: Hosted, tmp_path: Path) -> None:
    renames(planner.folder, 3)
    path = plan_of(planner)
    plan = json.loads(path.read_bytes())
    sent = len(host.puts())
    arguments = ("run", "--plan", str(path), "--yes")
    assert_clear(applier(*arguments, "--organization-id", "another"), 2, "plan.json", "organisation", "another")
    with hosted(accounts=60) as other:
        assert_clear(connected_to(tmp_path, other.url)(*arguments), 2, "plan.json", host.url, other.url)
        assert other.puts() == []
    path.write_text(json.dumps({**plan, "organization_id": "another"}), encoding="utf-8")
    assert_clear(applier(*arguments), 2, "plan.json", "another", plan["organization_id"])
    path.write_text(json.dumps({**plan, "sandbox": True}), encoding="utf-8")
    assert_clear(applier(*arguments), 2, "plan.json", "--sandbox")
    path.write_text(json.dumps({**plan, "version": 4}), encoding="utf-8")
    newer = applier(*arguments, "--json")
    assert_clear(newer, 2, "plan.json", "newer bulkid")
    assert summary_of(newer)["status"] == "refused"
    assert len(host.puts()) == sent


def test_a_plan_that_run_would_refuse_is_not_written(planner: Bulkid, applier: Bulkid, host: Hosted) -> None:
    sheet_of(planner.folder, [*MIXED, ("nobody", "N", "", "", "")])
    refused = planner("plan", "sheet.csv", "--out", "plan.json")
    assert_clear(refused, 2, "not written to plan.json", "1 of 7 rows", "--skip-invalid")
    assert sorted(each.name for each in planner.folder.iterdir()) == ["sheet.csv", "state"]
    path = plan_of(planner, "--skip-invalid", "--first", "2", code=2)
    plan = json.loads(path.read_bytes())
    assert [(fault["row"], fault["code"], fault["value"]) for fault in plan["faults"]] == [
        (8, "unknown_account", "nobody")
    ]
    assert (plan["counts"]["left_out"], plan["counts"]["invalid_rows"]) == (3, 1)
    assert statuses(applied(applier, path)) == ["updated"] * 3
    offline = connected_to(planner.folder, host.url, BULKID_CLIENT_SECRET="wrong")
    assert_clear(offline("plan", "sheet.csv", "--out", "other.json"), 3, "refuses the credentials")
    assert not (planner.folder / "other.json").exists()


def test_out_replaces_a_plan_and_nothing_else(planner: Bulkid) -> None:
    renames(planner.folder, 2)
    path = plan_of(planner)
    path.write_text(path.read_text(encoding="utf-8").replace("Robot 1", "Robot One"), encoding="utf-8")
    assert "Robot One" not in plan_of(planner).read_text(encoding="utf-8")
    sheet = (planner.folder / "sheet.csv").read_bytes()
    assert_clear(planner("plan", "sheet.csv", "--out", "sheet.csv", "--quiet"), 2, "sheet.csv", "not a plan file")
    assert (planner.folder / "sheet.csv").read_bytes() == sheet
    assert_clear(
        planner("plan", "sheet.csv", "--out", "no/such/plan.json", "--quiet"), 2, "There is no folder", "--out"
    )
    assert_clear(planner("plan", "sheet.csv", "--out", "state", "--quiet"), 2, "state")


def test_a_sheet_and_a_plan_together_are_a_mistake_and_so_is_neither(tmp_path: Path) -> None:
    for arguments in (("run",), ("run", "sheet.csv", "--plan", "plan.json"), ("run", "--sandbox", "--yes")):
        refused = Bulkid(tmp_path)(*arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "Usage: bulkid run" in refused.stderr
        assert "--plan FILE" in refused.stderr
    missing = Bulkid(tmp_path)("run", "--plan", "plan.json", "--sandbox", "--yes")
    assert_clear(missing, 2, "plan.json", "does not exist")
    (tmp_path / "plan.json").touch()
    assert_clear(
        Bulkid(tmp_path)("run", "--plan", "plan.json", "--sandbox"), 2, "bulkid cannot ask for confirmation", "--yes"
    )


def test_a_blind_plan_says_so_and_is_applied_blind(planner: Bulkid, applier: Bulkid, host: Hosted) -> None:
    finance = host.sandbox.state.group_named("Finance").id
    rows = [("id", "display name", "add groups"), (id_of(host, "robot-0001"), "Blind", finance)]
    sheet_of(planner.folder, rows)
    plan = json.loads(plan_of(planner, "--no-read").read_bytes())
    assert (plan["blind"], plan["accounts"][0]["before"]) == (True, None)
    gets = sum(entry.method == "GET" for entry in host.sandbox.log)
    assert statuses(applied(applier, planner.folder / "plan.json", "--no-read")) == ["updated"]
    assert sum(entry.method == "GET" for entry in host.sandbox.log) == gets
    assert host.display_name("robot-0001") == "Blind"
    assert statuses(applied(applier, planner.folder / "plan.json")) == ["unchanged"], "what can be read is compared"

    renames(planner.folder, 1)
    path = plan_of(planner)
    assert_clear(applier("run", "--plan", str(path), "--yes", "--no-read"), 2, "plan.json", "--no-read")
    aloof = connected_to(applier.folder, host.url, BULKID_SCOPE="PM.RobotAccount.Write PM.Group.Read")
    assert_clear(aloof("run", "--plan", str(path), "--yes"), 3, "cannot be read", "PM.RobotAccount.Read")


def test_a_plan_made_in_the_sandbox_is_applied_in_the_next_one(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path)
    renames(tmp_path, 3)
    assert bulkid("plan", "sheet.csv", "--sandbox", "--out", "plan.json", "--quiet").returncode == 0
    done = bulkid("run", "--plan", "plan.json", "--sandbox", "--yes", "--json")
    assert (done.returncode, summary_of(done)["updated"]) == (0, 3), all_text(done)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["connect", "directory", "send", "report"])
def test_the_run_of_a_plan_that_is_killed_goes_on_without_the_file(stage: str, tmp_path: Path) -> None:
    rows = [(f"robot-{number:04d}", f" New {number}", "Finance", "", "") for number in range(1, 41)]
    sheet_of(tmp_path, [HEADERS, *rows])
    with hosted(accounts=60, latency_s=0.05) as host:
        host.portal.call(lambda: slowly(host, delayed=False))
        bulkid = connected_to(tmp_path, host.url)
        path = plan_of(bulkid)
        host.portal.call(lambda: slowly(host, delayed=True))
        if stage == "send":
            with Life(bulkid, "run", "--plan", str(path), "--yes", "--concurrency", "2") as life:
                wait_for_puts(host, 5)
                life.kill()
            settle(host)
        else:
            crash(bulkid, stage, "run", "--plan", str(path), "--yes")
        path.unlink()
        if stage != "report":
            host.sandbox.state.rename(host.sandbox.state.account_named("robot-0040"), "Somebody's")
        resumed = bulkid("resume", "--yes", "--json")
        summary: Any = summary_of(resumed)
        report = bulkid.report(summary["run_id"])
        if stage == "report":
            assert statuses(report) == ["updated"] * 40
        elif stage == "send":
            assert (resumed.returncode, statuses(report)) == (1, ["updated"] * 39 + ["failed"])
            assert report[-1]["error_code"] == "changed_since"
        else:  # its plan had not been journaled: nothing was sent, and nothing is now
            assert (resumed.returncode, statuses(report)) == (2, ["pending"] * 39 + ["invalid"])
            assert host.puts() == []
            resumed = bulkid("resume", summary["run_id"], "--yes", "--json", "--skip-invalid")
            assert (resumed.returncode, summary_of(resumed)["updated"]) == (1, 39)
        assert host.display_name("robot-0039") == "New 39"
        assert host.display_name("robot-0040") == ("New 40" if stage == "report" else "Somebody's")
        assert len(host.puts()) <= 41


def unread(bulkid: Bulkid, run_id: str) -> None:
    """Bring the journal where a kill leaves it while the rows are still being written."""
    with open_journal(bulkid.folder / "state") as journal:
        journal.forget_rows(run_id)
    connection = sqlite3.connect(bulkid.folder / "state" / "bulkid.db")
    with connection:
        connection.execute("update runs set phase = 'reading', status = 'running' where run_id = ?", (run_id,))
    connection.close()


def test_a_run_whose_rows_were_not_whole_needs_the_same_file_again(
    planner: Bulkid, applier: Bulkid, host: Hosted
) -> None:
    renames(planner.folder, 3)
    path = plan_of(planner)
    wrong = connected_to(applier.folder, host.url, BULKID_CLIENT_SECRET="wrong")
    refused = wrong("run", "--plan", str(path), "--yes", "--json")
    run_id = summary_of(refused)["run_id"]
    unread(applier, run_id)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("New 1", "Other 1"), encoding="utf-8")
    assert_clear(applier("resume", "--yes"), 2, "plan.json", "is not the plan", run_id)
    path.unlink()
    assert_clear(applier("resume", "--yes"), 2, "plan.json", "does not exist")
    path.write_text(text, encoding="utf-8")
    resumed = applier("resume", "--yes", "--json")
    assert (resumed.returncode, summary_of(resumed)["run_id"], summary_of(resumed)["updated"]) == (0, run_id, 3)


def test_a_plan_file_of_an_older_version_is_applied(tmp_path: Path) -> None:
    older = Path(__file__).parents[1] / "planning" / "fixtures" / "plan_v1.json"
    assert json.loads(older.read_bytes())["version"] == 1
    done = Bulkid(tmp_path)("run", "--plan", str(older), "--sandbox", "--yes", "--json")
    assert (done.returncode, summary_of(done)["updated"]) == (0, 6), all_text(done)


def test_the_note_of_a_plan_is_kept_with_its_run_unless_the_run_has_its_own(planner: Bulkid) -> None:
    renames(planner.folder, 2)
    path = plan_of(planner, "--note", "TICKET-7")
    assert json.loads(path.read_bytes())["note"] == "TICKET-7"
    run = ("run", "--plan", "plan.json", "--yes", "--json")
    assert summary_of(planner(*run, "--first", "1"))["note"] == "TICKET-7"
    assert summary_of(planner("resume", "last", "--yes", "--json"))["note"] == "TICKET-7"
    assert summary_of(planner(*run, "--note", "OTHER"))["note"] == "OTHER"


def test_the_note_about_a_plan_names_a_command_that_applies_it(tmp_path: Path) -> None:
    renames(tmp_path, 1)
    (tmp_path / "of may").mkdir()
    bulkid = Bulkid(tmp_path)
    planned = bulkid("plan", "sheet.csv", "--sandbox", "--allow-delete", "--out", "of may/plan.json")
    command = planned.stderr.strip().partition("Apply it: ")[2]
    assert command == 'bulkid run --plan "of may/plan.json" --sandbox --allow-delete'
    _, *arguments = shlex.split(command)
    assert bulkid(*arguments, "--yes").returncode == 0
    from_environment = Bulkid(tmp_path, {"BULKID_SANDBOX": "1"})("plan", "sheet.csv", "--out", "plan.json")
    assert from_environment.stderr.endswith("Apply it: bulkid run --plan plan.json\n")


def test_the_command_that_applies_a_plan_has_the_limits_of_the_plan(planner: Bulkid) -> None:
    renames(planner.folder, 3)
    del planner.env["BULKID_MAX_CHANGE"]
    options = ("--max-change", "2", "--max-delete", "1.5%")
    planned = planner("plan", "sheet.csv", *options, "--out", "plan.json")
    assert planned.stderr.endswith("Apply it: bulkid run --plan plan.json --max-change 2 --max-delete 1.5%\n")
    assert "more than the limit of 2" in planner("run", "--plan", "plan.json", *options, "--yes").stderr


def test_the_commands_that_follow_a_plan_and_a_run_have_their_profile(tmp_path: Path) -> None:
    (tmp_path / "bulkid.toml").write_text("[profiles.eu]\nconcurrency = 4\n", encoding="utf-8")
    renames(tmp_path, 1)
    bulkid = Bulkid(tmp_path)
    planned = bulkid("plan", "sheet.csv", "--sandbox", "--profile", "eu", "--out", "plan.json")
    assert planned.stderr.endswith("Apply it: bulkid run --plan plan.json --sandbox --profile eu\n")
    (tmp_path / "sheet.csv").write_text("name,display_name\nnobody at all,X\nrobot-0001,Y\n", encoding="utf-8")
    ran = bulkid("run", "sheet.csv", "--sandbox", "--profile", "eu", "--yes", "--skip-invalid")
    assert "retry.csv --sandbox --profile eu\n" in ran.stdout


def test_the_commands_that_follow_a_plan_and_a_run_have_their_address(planner: Bulkid, host: Hosted) -> None:
    renames(planner.folder, 1)
    planned = planner("plan", "sheet.csv", "--url", host.url, "--out", "plan.json")
    assert planned.stderr.endswith(f"Apply it: bulkid run --plan plan.json --url {host.url}\n")
    (planner.folder / "sheet.csv").write_text("name,display_name\nnobody at all,X\nrobot-0001,Y\n", encoding="utf-8")
    ran = planner("run", "sheet.csv", "--url", host.url, "--yes", "--skip-invalid")
    assert f"retry.csv --url {host.url}\n" in ran.stdout


def test_reports_written_later_and_resumes_advise_commands_for_the_server_of_the_run(
    planner: Bulkid, host: Hosted
) -> None:
    (planner.folder / "bulkid.toml").write_text("[profiles.eu]\nconcurrency = 4\n", encoding="utf-8")
    where = f"--url {host.url} --profile eu"
    sheet_of(planner.folder, [("name", "display_name"), *((f"robot-000{number}", "X") for number in (1, 2, 3))])
    ran = planner("run", "sheet.csv", *where.split(), "--yes", "--first", "1")
    (run_id,) = (run["run_id"] for run in json.loads(planner("runs", "--json").stdout))
    advice = f"bulkid resume {run_id} {where}"
    assert ran.stdout.endswith(f"{advice}\n")
    elsewhere = connected_to(planner.folder, "http://127.0.0.1:1")
    assert elsewhere("report", run_id).stdout.endswith(f"{advice}\n")
    unconfirmed = elsewhere("resume", run_id, *where.split())
    assert unconfirmed.stderr.rstrip().endswith(f"bulkid resume {run_id} --yes {where}")
    _, *arguments = shlex.split(unconfirmed.stderr.rpartition("with: ")[2])
    assert elsewhere(*arguments).returncode == 0


def test_the_advice_for_want_of_a_terminal_keeps_a_trial_a_trial(planner: Bulkid) -> None:
    """A whole command that left --first out would change every account."""
    renames(planner.folder, 3)
    for command in (("run", "--plan", str(plan_of(planner)), "--first", "1"), ("undo", "last", "--first", "1")):
        asked = planner(*command)
        assert (asked.returncode, asked.stderr.endswith("without being asked, add --yes.\n")) == (2, True), asked.stderr
        tried = planner(*command, "--yes", "--json")
        assert (tried.returncode, summary_of(tried)["updated"]) == (0, 1), all_text(tried)
        if command[0] == "run":
            assert summary_of(tried)["pending"] == 2


def test_the_advice_to_resume_without_a_terminal_holds_the_options_that_were_given(planner: Bulkid) -> None:
    sheet_of(planner.folder, [("name", "display_name"), *((f"robot-000{number}", "X") for number in (1, 2, 3))])
    tried = planner("run", "sheet.csv", "--yes", "--first", "1", "--json")
    asked = planner("resume", summary_of(tried)["run_id"], "--skip-invalid", "--yes-really")
    assert asked.stderr.endswith(" --yes --skip-invalid --yes-really\n"), asked.stderr


def test_the_advice_to_run_a_retry_holds_also_where_sheets_are_read_otherwise(planner: Bulkid) -> None:
    others = {"BULKID_DELIMITER": ";", "BULKID_ENCODING": "cp1252", "BULKID_SHEET": "Robots"}
    bulkid = Bulkid(planner.folder, {**planner.env, **others})
    sheet = planner.folder / "sheet.csv"
    sheet.write_text("name;display_name\nrobot-0001;Zoë, née\nnobody;Y\n", encoding="cp1252")
    ran = bulkid("run", "sheet.csv", "--yes", "--skip-invalid")
    assert ran.returncode == 1, all_text(ran)
    _, *arguments = shlex.split(ran.stdout.rpartition("run: ")[2])
    retry = planner.folder / arguments[1]
    text = retry.read_text(encoding="utf-8-sig").replace("nobody,Y", '"robot-0002","Zoë, née"')
    retry.write_text(text, encoding="utf-8-sig")
    again = bulkid(*arguments, "--yes", "--json")
    assert summary_of(again)["updated"] == 1, all_text(again)
    assert_clear(bulkid("check", "sheet.csv", "--sheet", "Robots"), 2, "has no worksheets", "--sheet")


def test_the_advice_to_recreate_accounts_is_for_the_server_of_the_run(planner: Bulkid, host: Hosted) -> None:
    sheet_of(planner.folder, [("name", "action"), ("robot-0001", "delete")])
    where = f"--url {host.url} --state-dir {planner.folder / 'state'}"
    assert planner("run", "sheet.csv", "--yes", "--allow-delete", *where.split()).returncode == 0
    assert_clear(planner("undo", "last", "--yes"), 2, f" --recreate {where}")


def test_the_commands_that_follow_a_plan_and_a_run_have_their_state(planner: Bulkid) -> None:
    """No other state knows the run, or what is left of the quota."""
    renames(planner.folder, 3)
    option = f" --state-dir {planner.folder / 'other'}\n"
    planned = planner("--state-dir", "other", "plan", "sheet.csv", "--out", "plan.json")
    assert planned.stderr.endswith(f"Apply it: bulkid run --plan plan.json{option}")
    command = planner("run", "sheet.csv", "--state-dir", "other", "--yes", "--first", "1").stdout.split(" with: ")[1]
    assert command.endswith(option)
    assert planner(*shlex.split(command)[1:], "--yes").returncode == 0


def test_a_resume_that_names_less_than_its_run_did_keeps_the_options_of_the_run(planner: Bulkid) -> None:
    (planner.folder / "bulkid.toml").write_text("[profiles.eu]\nconcurrency = 4\n", encoding="utf-8")
    renames(planner.folder, 3)
    state = f"--state-dir {planner.folder / 'state'}"
    ran = planner("run", "sheet.csv", "--yes", "--first", "1", "--profile", "eu", *state.split())
    assert ran.stdout.endswith(f" --profile eu {state}\n")
    lost = Bulkid(planner.folder, {"BULKID_MAX_CHANGE": "100%"})  # it has the credentials of another profile, or none
    (run_id,) = (run["run_id"] for run in json.loads(planner("runs", "--json").stdout))
    assert lost("resume", run_id, "--yes", *state.split()).returncode == 2
    assert planner("report", run_id).stdout.endswith(f"bulkid resume {run_id} --profile eu {state}\n")
