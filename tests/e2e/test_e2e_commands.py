"""Every command as a script sees it: exit code, standard output, standard error, and files."""

import csv
import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from bulkid import __version__, runs
from tests.support.bulkid_command import LONGEST_S, ORGANIZATION, SECRET, Bulkid, connected_to, end_of
from tests.support.command_output import REPORT_COLUMNS, assert_clear, errors_of, statuses, summary_of
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.sheets import renames, sheet_of

MIXED = (
    ("name", "display name", "Team"),
    ("robot-0001", "Alpha", "kept"),
    ("robot-9999", "Nobody", "mend me"),
    ("robot-0003", "Robot 3", "as it is"),
    ("robot-0002", "=cmd|'/c calc'!A1", "a formula"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=60) as host:
        yield host


def read_report(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# --- what needs no server


def test_help_and_version_are_on_standard_output_and_mistakes_are_not(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path)
    version = bulkid("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"bulkid {__version__}\n", "")
    overview = bulkid("--help")
    assert (overview.returncode, overview.stderr) == (0, "")
    for command in ("check", "plan", "run", "resume", "undo", "runs", "report", "export", "doctor", "sandbox"):
        assert re.search(rf"^\W+{command} ", overview.stdout, re.MULTILINE), command
    page = bulkid("run", "--help")
    assert (page.returncode, page.stderr) == (0, "")
    for option in ("--sandbox", "--map", "--quota", "--max-failures", "--first", "--report-dir", "--log-format"):
        assert option in page.stdout
    for mistake in (("nonsense",), ("run",), ("plan", "x.csv", "--nonsense")):
        refused = bulkid(*mistake)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "Traceback" not in refused.stderr
        assert "Usage: bulkid" in refused.stderr


def test_check_names_every_bad_row_and_needs_no_network(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path, {"BULKID_URL": "not an address at all"})
    rows = [
        ("name", "display name", "groups", "add groups"),
        ("a", "A", "", ""),
        ("", "B", "", ""),
        ("c", "", "x", "y"),
    ]
    sheet_of(tmp_path, rows)
    bad = bulkid("check", "sheet.csv")
    assert (bad.returncode, bad.stderr) == (2, "")
    assert re.findall(r"^row (\d+)", bad.stdout, re.MULTILINE) == ["3", "4"]
    assert bad.stdout.startswith("sheet.csv: 3 rows, 1 account\ncolumn name: name, exact\n")
    assert bad.stdout.count("sheet.csv") == 1
    assert "2 rows are invalid: nothing would be sent." in bad.stdout
    assert "send only the valid rows with bulkid run --skip-invalid" in bad.stdout  # check itself has no such option
    summary = summary_of(bulkid("check", "sheet.csv", "--json"))
    assert (summary["status"], summary["run_id"], summary["report"]) == ("refused", None, None)
    assert (summary["rows"], summary["invalid"], summary["pending"]) == (3, 2, 1)
    good = bulkid("check", "-", "--json", stdin="name,display name\r\nroby,Robbie\r\n\r\nzoe,Zoë\r\n")
    assert (good.returncode, good.stderr) == (0, "")
    assert (summary_of(good)["status"], summary_of(good)["rows"]) == ("completed", 2)


def test_a_state_that_cannot_be_used_is_said_in_json_too(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    bulkid = Bulkid(tmp_path, {"BULKID_STATE_DIR": str(tmp_path / "taken"), "BULKID_SANDBOX": "1"})
    renames(tmp_path, 1)
    for command in (("run", "sheet.csv", "--yes"), ("resume", "--yes"), ("undo", "last", "--yes"), ("report", "last")):
        done = bulkid(*command, "--json")
        assert_clear(done, 2, "taken cannot be used")
        assert summary_of(done)["status"] == "refused"


def test_a_sheet_that_cannot_be_read_at_all_is_refused_in_json_too(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path)
    sheet_of(tmp_path, [("name", "dispaly_name"), ("a", "b")])
    missing = bulkid("check", "shet.csv", "--json")
    assert_clear(missing, 2, "shet.csv", "Did you mean sheet.csv")
    assert summary_of(missing)["status"] == "refused"
    misspelt = bulkid("plan", "sheet.csv", "--json", "--sandbox")
    assert_clear(misspelt, 2, "dispaly_name", "--map")
    assert summary_of(misspelt, extra=["eta_s"])["status"] == "refused"


def test_the_nearest_place_that_says_something_of_a_setting_wins(tmp_path: Path) -> None:
    (tmp_path / "bulkid.toml").write_text(
        '[default]\nconcurrency = 1001\n\n[profiles.test]\nconcurrency = 1002\nreport_dir = "by-profile"\n',
        encoding="utf-8",
    )
    sheet_of(tmp_path, [("name", "display name"), ("roby", "R")])
    plain, set_by_env = Bulkid(tmp_path), Bulkid(tmp_path, {"BULKID_CONCURRENCY": "1003"})
    given = ("plan", "sheet.csv", "--sandbox")
    assert_clear(set_by_env(*given, "--profile", "test", "--concurrency", "1004"), 2, "option --concurrency", "1004")
    assert_clear(set_by_env(*given, "--profile", "test"), 2, "environment variable BULKID_CONCURRENCY", "1003")
    assert_clear(plain(*given, "--profile", "test"), 2, "profile test in", "bulkid.toml", "1002")
    assert_clear(plain(*given), 2, "[default] in", "bulkid.toml", "1001")
    assert_clear(plain(*given, "--profile", "tset"), 2, "Did you mean test?")


# --- plan and run


def test_plan_shows_what_would_change_on_standard_output_and_changes_nothing(tmp_path: Path, server: Hosted) -> None:
    sheet_of(tmp_path, MIXED)
    before = len(server.puts())
    bulkid = connected_to(tmp_path, server.url)
    shown = bulkid("plan", "sheet.csv", "--skip-invalid", "--quota", "PUT=1/60")
    assert shown.returncode == 2, "one row is invalid"
    assert "robot-0001  ~ display name: Robot 1 -> Alpha" in shown.stdout
    assert "row 3, column name: 'robot-9999'" in shown.stdout
    assert "Plan: 2 to change, 1 already correct, 1 invalid" in shown.stdout
    assert "Estimated time: about 1 minute (2 requests).\n" in shown.stdout, "the row that changes nothing is no saving"
    assert "Sandbox: a simulated organisation" in shown.stdout
    assert all(line == line.rstrip() for line in shown.stdout.splitlines())
    assert 'Ignored column: "Team"' in shown.stderr
    planned = summary_of(bulkid("plan", "sheet.csv", "--json", "--quota", "PUT=1/60"), extra=["eta_s"])
    assert (planned["eta_s"], planned["planned_puts"], planned["naive_puts"]) == (60.0, 2, 3)
    assert (planned["unchanged"], planned["invalid"], planned["pending"]) == (1, 1, 2)
    assert planned["requests"] == {"GET": 1, "PUT": 0, "POST": 1, "DELETE": 0}
    renames(tmp_path, 2, name="good.csv")
    assert bulkid("plan", "good.csv", "--quiet").returncode == 0
    assert len(server.puts()) == before
    assert not (tmp_path / "reports").exists()
    unreachable = connected_to(tmp_path, server.url, BULKID_CLIENT_SECRET="wrong")
    failed = unreachable("plan", "good.csv", "--json")
    assert_clear(failed, 3, "refuses the credentials")
    assert summary_of(failed, extra=["eta_s"])["pending"] == 2


def test_a_plan_tells_by_its_exit_code_whether_something_would_change(tmp_path: Path, server: Hosted) -> None:
    sheet_of(tmp_path, MIXED[:1] + MIXED[3:4], name="same.csv")
    renames(tmp_path, 2, name="other.csv")
    sheet_of(tmp_path, MIXED, name="invalid.csv")
    job = tmp_path / "job.toml"
    job.write_text('source = "other.csv"\n', encoding="utf-8")
    bulkid = connected_to(tmp_path, server.url)
    for source, plain, told in (
        ("same.csv", 0, 0),
        ("other.csv", 0, 7),
        ("job.toml", 0, 7),
        ("invalid.csv", 2, 2),
    ):
        assert bulkid("plan", source).returncode == plain, source
        assert bulkid("plan", source, "--exit-code").returncode == told, source
    told = bulkid("plan", "other.csv", "--exit-code", "--json")
    assert (told.returncode, summary_of(told, extra=["eta_s"])["planned_puts"]) == (7, 2)
    unreachable = connected_to(tmp_path, server.url, BULKID_CLIENT_SECRET="wrong")
    assert unreachable("plan", "other.csv", "--exit-code").returncode == 3


def test_nothing_is_sent_where_nobody_can_be_asked(tmp_path: Path, server: Hosted) -> None:
    renames(tmp_path, 2)
    before = len(server.sandbox.log)
    bulkid = connected_to(tmp_path, server.url)
    assert_clear(bulkid("run", "sheet.csv"), 2, "--yes")
    assert_clear(bulkid("run", "-", stdin="name,display name\nroby,R\n"), 2, "--yes")
    assert len(server.sandbox.log) == before


@pytest.mark.slow
def test_a_refused_sheet_is_reported_and_its_retry_file_runs_once_mended(tmp_path: Path) -> None:
    sheet_of(tmp_path, MIXED)
    with hosted(accounts=60) as host:
        bulkid = connected_to(tmp_path, host.url)
        refused = bulkid("run", "sheet.csv", "--yes", "--json")
        assert_clear(refused, 2, "1 of 4 rows is invalid", "Nothing was sent. Fix the sheet and run it again.")
        summary = summary_of(refused)
        assert (summary["status"], summary["invalid"], summary["pending"]) == ("refused", 1, 3)
        assert host.puts() == []
        assert statuses(bulkid.report(summary["run_id"])) == ["pending", "invalid", "pending", "pending"]

        formats = ("--format", "jsonl", "--format", "xlsx")
        done = bulkid("run", "sheet.csv", "--yes", "--json", "--skip-invalid", "--quiet", *formats)
        assert (done.returncode, done.stderr) == (1, ""), "a quiet run says nothing but what was asked for"
        summary = summary_of(done)
        assert summary["status"] == "completed_with_failures"
        assert (summary["updated"], summary["unchanged"], summary["invalid"], summary["accounts"]) == (2, 1, 1, 3)
        folder = bulkid.run_folder(summary["run_id"])
        assert json.loads((folder / "summary.json").read_bytes()) == summary
        assert_report(folder, summary["run_id"])

        retry = folder / "retry.csv"
        text = retry.read_text(encoding="utf-8-sig")
        assert text.splitlines()[0] == "name,display name,Team,error"
        assert text.splitlines()[1].startswith("robot-9999,Nobody,mend me,")
        again = bulkid("run", str(retry), "--yes", "--json")
        assert again.returncode == 2
        retry = bulkid.run_folder(summary_of(again)["run_id"]) / "retry.csv"
        assert retry.read_text(encoding="utf-8-sig") == text, "to be retried again and again, as it is"
        retry.write_text(text.replace("robot-9999", "robot-0009"), encoding="utf-8-sig")
        mended = bulkid("run", str(retry), "--yes", "-v")
        assert mended.returncode == 0, mended.stderr
        assert ": 1 updated.\n" in mended.stdout
        assert " · 1 GET, 1 PUT, 1 POST\n" in mended.stdout
        assert str(Path("reports", "")) in mended.stdout
        assert 'robot-0009  + display name "Nobody"' in mended.stderr
        assert host.display_name("robot-0009") == "Nobody"
        assert host.display_name("robot-0002") == "=cmd|'/c calc'!A1"


def assert_report(folder: Path, run_id: str) -> None:
    """Each column of each row, and the same in every format."""
    rows = read_report(folder)
    assert list(rows[0]) == REPORT_COLUMNS
    assert [row["row"] for row in rows] == ["2", "3", "4", "5"]
    assert statuses(rows) == ["updated", "invalid", "unchanged", "updated"]
    assert [row["name"] for row in rows] == ["robot-0001", "robot-9999", "robot-0003", "robot-0002"]
    assert all(re.fullmatch(r"[0-9a-f-]{36}", row["robot_account_id"]) for row in (rows[0], rows[2], rows[3]))
    assert rows[1]["robot_account_id"] == ""
    assert rows[0]["changes"] == "display name: Robot 1 -> Alpha"
    assert [row["http_status"] for row in rows] == ["200", "", "", "200"]
    assert [row["error_code"] for row in rows] == ["", "unknown_account", "", ""]
    assert "robot-9999" in rows[1]["error"]
    assert [row["attempts"] for row in rows] == ["1", "0", "0", "1"]
    assert [row["via"] for row in rows] == ["account", "", "", "account"]
    moment = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
    assert all(moment.fullmatch(row["finished_at"]) for row in rows if row["status"] in {"updated", "unchanged"})
    assert {row["run_id"] for row in rows} == {run_id}
    assert (folder / "report.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    lines = [json.loads(line) for line in (folder / "report.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [REPORT_COLUMNS] * 4
    assert [(line["row"], line["status"]) for line in lines] == [
        (2, "updated"),
        (3, "invalid"),
        (4, "unchanged"),
        (5, "updated"),
    ]
    workbook = openpyxl.load_workbook(folder / "report.xlsx", read_only=True)
    table = [list(row) for row in workbook["Report"].iter_rows(values_only=True)]
    workbook.close()
    assert table[0] == REPORT_COLUMNS
    assert [str(row[3]) for row in table[1:]] == statuses(rows)


@pytest.mark.slow
def test_logs_are_one_json_object_a_line_with_the_run_in_each(tmp_path: Path, server: Hosted) -> None:
    account_id = next(account.id for account in server.sandbox.state.accounts.values() if account.name == "robot-0020")
    sheet_of(tmp_path, [("id", "display name"), (account_id, "Logged"), ("no-such-id", "Logged too")])
    bulkid = connected_to(tmp_path, server.url)
    done = bulkid("run", "sheet.csv", "--yes", "--json", "--no-read", "-v", "--log-format", "json")
    assert done.returncode == 1
    summary = summary_of(done)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {"run.started", "account.failed", "run.finished"} <= {line["event"] for line in lines}
    assert {line["run_id"] for line in lines} == {summary["run_id"]}
    assert all({"timestamp", "level"} <= set(line) for line in lines)
    assert SECRET not in done.stderr
    console = bulkid("run", "sheet.csv", "--yes", "--no-read", "-v", "--log-format", "console")
    assert re.search(r"^20\S+ \[info +\] account\.failed .*run_id=", console.stderr, re.MULTILINE)


@pytest.mark.slow
def test_the_first_failure_stops_a_run_that_allows_none(tmp_path: Path, server: Hosted) -> None:
    ids = [account.id for account in server.sandbox.state.accounts.values()][30:36]
    sheet_of(tmp_path, [("id", "display name"), *((each, "S") for each in (*ids[:2], "no-such-id", *ids[2:]))])
    bulkid = connected_to(tmp_path, server.url)
    options = ("--no-read", "--max-failures", "0", "--concurrency", "1")
    done = bulkid("run", "sheet.csv", "--yes", "--json", *options)
    assert_clear(done, 4, "more than the limit of 0 (max_failures)", "bulkid resume")
    summary = summary_of(done)
    assert (summary["status"], summary["updated"], summary["failed"], summary["pending"]) == ("stopped", 2, 1, 4)
    assert statuses(bulkid.report()) == ["updated", "updated", "failed", *["pending"] * 4]
    resumed = bulkid("resume", "--json")
    assert resumed.returncode == 1
    assert (summary_of(resumed)["updated"], summary_of(resumed)["failed"]) == (6, 1)
    with (bulkid.run_folder() / "retry.csv").open(encoding="utf-8-sig", newline="") as file:
        (retried,) = csv.DictReader(file)
    assert (retried["id"], retried["display name"]) == ("no-such-id", "S")
    assert "no-such-id" in retried["error"]


# --- a run that is going, stopped, resumed; the earlier runs


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send another process SIGINT alone")
def test_a_run_under_way_can_be_reported_on_and_one_that_is_stopped_can_go_on(tmp_path: Path) -> None:
    renames(tmp_path, 40)
    with hosted(accounts=60, latency_s=0.5) as host:
        bulkid = connected_to(tmp_path, host.url)
        process = bulkid.start("run", "sheet.csv", "--yes", "--json", "--concurrency", "2")
        wait_for_puts(host, 5)
        peeked = bulkid("report", "last", "--report-dir", "peek", "--json")
        assert peeked.returncode == 0, peeked.stderr
        going = summary_of(peeked)
        assert going["rows"] == 40
        assert 0 < going["updated"] < 40
        assert len(read_report(tmp_path / "peek" / going["run_id"])) == 40
        blocked = bulkid("run", "sheet.csv", "--yes", "--json")
        assert_clear(blocked, 6, going["run_id"], "bulkid resume")
        assert summary_of(blocked)["pending"] == 40
        process.send_signal(signal.SIGINT)
        done = end_of(process)
        assert (done.returncode, len(errors_of(done))) == (5, 1), done.stderr
        summary = summary_of(done)
        assert (summary["run_id"], summary["status"]) == (going["run_id"], "interrupted")
        assert summary["updated"] >= going["updated"]
        assert summary["updated"] + summary["pending"] == 40
        listed = json.loads(bulkid("runs", "--json").stdout)
        assert [run["status"] for run in listed] == ["refused", "interrupted"]
        assert listed[1] == summary
        table = bulkid("runs", "--limit", "1")
        assert table.returncode == 0
        assert re.search(r"^\S+ +refused +40: 40 not sent +sandbox +sheet\.csv", table.stdout, re.MULTILINE)
        host.portal.call(speed_up, host)
        resumed = bulkid("resume", summary["run_id"], "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert (summary_of(resumed)["updated"], summary_of(resumed)["run_id"]) == (40, summary["run_id"])
        assert len(host.puts()) == 40
        assert_clear(bulkid("resume", summary["run_id"]), 2, "nothing is pending")
        assert_clear(bulkid("report", "no-such-run"), 2, "no-such-run", "bulkid runs")
        again = bulkid("report", summary["run_id"], "--format", "jsonl")
        assert (again.returncode, again.stderr) == (0, "")
        assert ": 40 updated." in again.stdout
        assert (bulkid.run_folder(summary["run_id"]) / "report.jsonl").exists()


def speed_up(host: Hosted) -> None:
    """Let the server answer at once from now on."""
    host.sandbox._delayed = False


# --- doctor and sandbox


def findings(bulkid: Bulkid) -> tuple[int, dict[str, dict[str, Any]]]:
    done = bulkid("doctor", "--json")
    assert errors_of(done) == []
    assert SECRET not in done.stdout
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.slow
def test_doctor_says_what_is_right_and_exits_by_what_is_wrong(tmp_path: Path, server: Hosted) -> None:
    code, found = findings(connected_to(tmp_path, server.url))
    assert code == 0
    subjects = [
        "state directory",
        "address",
        "login",
        "token",
        "organisation",
        "read accounts",
        "read groups",
        "write accounts",
        "write groups",
    ]
    assert list(found) == [*subjects, "quota"]
    assert all(found[subject]["ok"] for subject in subjects)
    assert found["organisation"]["detail"] == ORGANIZATION
    code, found = findings(connected_to(tmp_path, "", BULKID_CLIENTID="typo"))
    assert (code, found["address"]["ok"]) == (2, False)
    assert "BULKID_CLIENT_ID" in found["environment"]["hint"]
    code, found = findings(Bulkid(tmp_path))  # all that is missing, and not the first of it
    assert (code, found["address"]["ok"], found["token"]["ok"]) == (2, False, False)
    assert "BULKID_CLIENT_ID and BULKID_CLIENT_SECRET are empty" in found["token"]["detail"]
    shown = connected_to(tmp_path, server.url, BULKID_CLIENT_SECRET="wrong")("doctor", "--url", server.url)
    assert (shown.returncode, shown.stderr) == (3, "")
    assert re.search(r"^address +ok +http", shown.stdout, re.MULTILINE)
    assert re.search(r"^token +problem +.*refuses the credentials", shown.stdout, re.MULTILINE)


WRONG = {
    "no secret": ({"client_secret": ""}, {"token": "BULKID_CLIENT_SECRET"}, 2),
    "web pages": ({"url": "/elsewhere/identity"}, {"token": "web page"}, 3),
    "no scopes": (
        {"scope": "PM.Group.Write"},
        {"read accounts": "PM.RobotAccount.Read", "read groups": "PM.Group.Read", "write accounts": "PM.RobotAccount"},
        3,
    ),
    "another organisation": (
        {"organization_id": "another"},
        {"read accounts": "'another'", "read groups": "'another'"},
        3,
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_doctor_finds_each_thing_that_is_wrong(tmp_path: Path, server: Hosted, what: str) -> None:
    settings, problems, exit_code = WRONG[what]
    url = server.url.replace("/identity", settings.get("url", "/identity"))
    good = {"client_id": "sandbox", "client_secret": SECRET}
    target = runs.Target(**{**good, **settings, "url": url})
    found = await runs.doctor(target, context=runs.Context(state_dir=tmp_path / "state"))
    wrong = {finding.subject: finding for finding in found if finding.ok is False}
    assert set(wrong) == set(problems)
    assert all(words in f"{wrong[subject].detail} {wrong[subject].hint}" for subject, words in problems.items())
    assert {finding.exit_code for finding in wrong.values()} == {exit_code}


def test_the_sandbox_says_how_to_connect_and_ends_well(tmp_path: Path, server: Hosted) -> None:
    bulkid = Bulkid(tmp_path)
    process = bulkid.start("sandbox", "--port", "0", "--accounts", "20", "--quota", "PUT=3/1", "--quota", "GET=90/10")
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(12)]
    names = ["BULKID_URL", "BULKID_CLIENT_ID", "BULKID_CLIENT_SECRET", "BULKID_QUOTA"]
    in_bash = dict(re.findall(r"^export (\w+)='(\S+)'$", "\n".join(said), re.MULTILINE))
    in_powershell = dict(re.findall(r"^\$env:(\w+) = '(\S+)'$", "\n".join(said), re.MULTILINE))
    assert list(in_bash) == names
    assert in_powershell == in_bash
    # With the quota that the sandbox enforces a plan knows how long a run takes, and the run is not throttled.
    connected = Bulkid(tmp_path, in_bash)
    quota = next(
        each for each in json.loads(connected("doctor", "--json").stdout)["findings"] if each["subject"] == "quota"
    )
    assert quota["detail"].startswith("PUT: 3 of 3 left per 1 s; GET")
    if sys.platform != "win32":
        process.send_signal(signal.SIGINT)
        done = end_of(process)
        assert (done.returncode, done.stderr) == (0, "")
    else:
        process.kill()
        process.communicate()
    assert_clear(bulkid("sandbox", "--port", str(server.port)), 2, str(server.port), "--port")
    assert_clear(bulkid("sandbox", "--faults", "nonsense=1"), 2, "nonsense", "html")


def test_the_sandbox_can_be_told_to_poison_accounts_and_to_bound_group_puts(tmp_path: Path) -> None:
    with hosted(accounts=20, static_tokens=("1234",), poisoned=("ROBY",), max_members_per_put=2) as server:

        def put(path: str, **fields: object) -> int:
            body = json.dumps({"partitionGlobalId": ORGANIZATION, "name": "alumni-02"} | fields).encode()
            headers = {"Authorization": "Bearer 1234", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{server.url}/{path}", body, headers, method="PUT")  # noqa: S310 - our own
            try:
                with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:  # noqa: S310 - the same
                    return int(answer.status)
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code

        others = [account["id"] for account in server.accounts() if account["name"] != "roby"]
        assert put("api/RobotAccount/88-uv", displayName="New") == 400
        assert put("api/Group/alumni-02", directoryUserIDsToAdd=["88-uv", others[0]]) == 400
        assert put("api/Group/alumni-02", directoryUserIDsToAdd=others[:3]) == 413
        assert put("api/Group/alumni-02", directoryUserIDsToAdd=others[:2]) == 200
    assert_clear(Bulkid(tmp_path)("sandbox", "--port", "0", "--poisoned", "nobody"), 2, "'nobody'")
