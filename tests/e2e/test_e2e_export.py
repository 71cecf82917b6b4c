"""``export`` over the command line: its files, what a run makes of them, and what stops it."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from tests.support.bulkid_command import SECRET, connected_to
from tests.support.command_output import assert_clear, assert_no_secret, summary_of
from tests.support.sandbox_host import Hosted, hosted

HEADERS = ["robot_account_id", "name", "display_name", "groups", "created", "last_login"]


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=420, page_cap=100) as host:
        yield host


@pytest.mark.slow
@pytest.mark.parametrize("groups", ["names", "ids"])
def test_an_export_run_unchanged_sends_nothing_and_edited_just_the_edit(
    tmp_path: Path, server: Hosted, groups: str
) -> None:
    bulkid = connected_to(tmp_path, server.url)
    for name in ("all.csv", "all.xlsx"):
        done = bulkid("export", name, "--groups", groups)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout == f"420 robot accounts in {name}; 6 GETs, 1 POST\n"
        unchanged = bulkid("run", name, "--yes", "--json")
        assert unchanged.returncode == 0, unchanged.stderr
        assert summary_of(unchanged)["unchanged"] == 420
        assert summary_of(unchanged)["requests"]["PUT"] == 0
        assert "Ignored" not in unchanged.stderr

    with (tmp_path / "all.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == HEADERS
    assert len({row[0] for row in rows}) == len(rows) == 421
    at = next(index for index, row in enumerate(rows) if row[1] == "robot-0100")
    rows[at][2] = f"Edited {groups}"
    with (tmp_path / "edited.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    before = len(server.puts())
    edited = summary_of(bulkid("run", "edited.csv", "--yes", "--json"))
    assert (edited["updated"], edited["unchanged"]) == (1, 419)
    assert [entry.path.rsplit("/", 1)[1] for entry in server.puts()[before:]] == [rows[at][0]]
    assert server.display_name("robot-0100") == f"Edited {groups}"


@pytest.mark.slow
def test_the_workbook_is_one_sheet_of_texts_and_times_to_filter(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    assert bulkid("export", "all.xlsx").returncode == 0
    book = openpyxl.load_workbook(tmp_path / "all.xlsx")
    (sheet,) = book.worksheets
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("Robot accounts", "A2", "A1:F421")
    rows = list(sheet.iter_rows())
    assert [cell.value for cell in rows[0]] == HEADERS
    assert len(rows) == 421
    texts = [cell for row in rows[1:] for cell in row[:4] if cell.value is not None]
    assert {(cell.data_type, cell.number_format) for cell in texts} == {("s", "@")}, "no formula, no number"
    times = [cell for row in rows[1:] for cell in row[4:] if cell.value is not None]
    assert {(cell.data_type, cell.number_format) for cell in times} == {("d", 'yyyy-mm-dd hh:mm "UTC"')}
    widths = {at: each.width for each in sheet.column_dimensions.values() for at in range(each.min, each.max + 1)}
    assert sorted(widths) == [1, 2, 3, 4, 5, 6]
    assert min(widths.values()) > 14
    assert "=SUM(1)" in {row[1].value for row in rows}
    book.close()


@pytest.mark.slow
def test_json_lines_hold_the_accounts_as_the_server_has_them(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    done = bulkid("export", "all.jsonl", "--json", "--groups", "ids")
    summary = json.loads(done.stdout)
    assert list(summary) == ["file", "accounts", "counted", "complete", "groups", "requests", "notes"]
    assert (summary["accounts"], summary["complete"], summary["groups"]) == (420, True, "ids")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    known = {account.id: account for account in server.sandbox.state.accounts.values()}
    assert {line["robot_account_id"] for line in lines} == set(known)
    for line in lines:
        account = known[line["robot_account_id"]]
        assert list(line) == HEADERS
        assert (line["name"], line["display_name"]) == (account.name, account.display_name or None)
        assert set(line["groups"]) == set(account.group_ids)
    assert_no_secret(tmp_path, [done], SECRET)


def test_json_is_printed_also_where_nothing_can_be_exported(tmp_path: Path, server: Hosted) -> None:
    done = connected_to(tmp_path, server.url, BULKID_CLIENT_SECRET="expired")("export", "all.csv", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "file": "all.csv",
        "accounts": 0,
        "counted": 0,
        "complete": False,
        "groups": "names",
        "requests": {"GET": 0, "PUT": 0, "POST": 1, "DELETE": 0},
        "notes": [],
    }
    (tmp_path / "sheet.csv").write_text("name,display_name\nr,x\n", encoding="utf-8")
    plan = connected_to(tmp_path, server.url, BULKID_CLIENT_SECRET="expired")("plan", "sheet.csv", "--json")
    assert plan.returncode == 3
    assert json.loads(plan.stdout)["requests"] == {"GET": 0, "PUT": 0, "POST": 1, "DELETE": 0}


def test_a_file_that_is_there_is_replaced_only_when_told_so(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    (tmp_path / "mine.csv").write_text("precious", encoding="utf-8")
    asked = len(server.sandbox.log)
    assert_clear(bulkid("export", "mine.csv"), 2, "mine.csv exists already", "--force")
    assert len(server.sandbox.log) == asked, "known before anything is asked of the server"
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8") == "precious"
    assert bulkid("export", "mine.csv", "--force", "--quiet").returncode == 0
    assert "robot-0100" in (tmp_path / "mine.csv").read_text(encoding="utf-8-sig")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("all.txt", ".csv, .xlsx or .jsonl"),
        ("all", ".csv, .xlsx or .jsonl"),
        ("nowhere/all.csv", "no folder"),
        ("folder.csv", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_is_a_usage_error_and_leaves_nothing(
    tmp_path: Path, server: Hosted, name: str, words: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert_clear(connected_to(tmp_path, server.url)("export", name), 2, words)
    assert {path.name for path in tmp_path.iterdir()} <= {"folder.csv", "state"}


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (("PM.RobotAccount",), "PM.Group.Read"),
        (("PM.Group.Read",), "PM.RobotAccount.Read"),
    ],
)
def test_without_the_scopes_to_read_it_is_one_message_and_no_file(
    tmp_path: Path, scopes: tuple[str, ...], words: str
) -> None:
    with hosted(accounts=40, granted_scopes=scopes) as host:
        done = connected_to(tmp_path, host.url, BULKID_SCOPE=" ".join(scopes))("export", "all.csv")
    assert_clear(done, 3, "cannot be read", words)
    assert not (tmp_path / "all.csv").exists()


def test_an_export_that_the_server_does_not_say_the_groups_for_says_so(tmp_path: Path) -> None:
    with hosted(accounts=40, group_ids="null") as host:
        bulkid = connected_to(tmp_path, host.url)
        done = bulkid("export", "all.csv")
        assert done.returncode == 0
        assert "note: The server does not say the groups of " in done.stderr
        assert "and 37 more: left blank" in " ".join(done.stderr.split())
        again = summary_of(bulkid("run", "all.csv", "--yes", "--json"))
    assert (again["unchanged"], again["requests"]["PUT"]) == (40, 0)
