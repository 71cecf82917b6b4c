"""One sheet in every format gives the same rows; the sample sheets change what their notes say."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import openpyxl
import pytest

from tests.support.bulkid_command import SAMPLES, connected_to
from tests.support.command_output import assert_clear, statuses, summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import sheet_of

SHEETS = Path(__file__).parent / "sheets"

# sheets/small.* hold the same rows
ROWS = (
    ("Robot Account", "Display Name", "Groups To Add", "Note"),
    ("roby", "Robbie € the first", "alumni-02; gryff-01", "Überblick, François"),
    ("Müller", "Jürgen Müller", "Finance;HR", ""),
    ("00123", "007", "", "digits stay as people see them"),
    ("", "", "", ""),
    ("Zoë", "", '"Sales, EU"|Zürich', "a name that holds a separator"),
    ("robot-0005", "!clear", "", ""),
    ("robot-0001", "Robot 1", "", "as it is"),
    ("robot-9999", "Nobody", "", "there is none"),
)

State = dict[str, tuple[str, frozenset[str]]]


def text_of(rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    lines = io.StringIO()
    csv.writer(lines, delimiter=delimiter).writerows(rows)
    return lines.getvalue()


def write_formats(folder: Path) -> tuple[str, ...]:
    """The same rows in every format that a sheet may have."""
    texts = {
        "utf-8.csv": text_of(ROWS).encode("utf-8-sig"),
        "utf-16.csv": text_of(ROWS).encode("utf-16"),
        "cp1252.csv": text_of(ROWS, ";").encode("cp1252"),
        "tabs.tsv": text_of(ROWS, "\t").encode(),
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append([cell or None for cell in row])
    book.save(folder / "small.xlsx")
    binary = ("small.xls", "small.ods", "small.xlsb")
    for name in binary:
        shutil.copy(SHEETS / name, folder / name)
    return (*texts, "small.xlsx", *binary)


@pytest.mark.slow
def test_the_same_sheet_in_every_format_makes_the_same_plan_and_a_run_of_one_does_it(tmp_path: Path) -> None:
    names = write_formats(tmp_path)
    with hosted(accounts=500) as host:
        bulkid = connected_to(tmp_path, host.url)
        plans = {}
        for name in names:
            done = bulkid("plan", name, "--json")
            assert done.returncode == 2, f"{name}: {done.stderr}"
            assert ("cp1252" in done.stderr) == (name == "cp1252.csv")
            plans[name] = {**summary_of(done, extra=["eta_s"]), "elapsed_s": 0}
        counts = {"rows": 7, "accounts": 6, "invalid": 1, "unchanged": 1, "pending": 5, "planned_puts": 5}
        assert counts.items() <= plans["utf-8.csv"].items()
        assert [name for name in names if plans[name] != plans["utf-8.csv"]] == []
        shown = [bulkid("plan", name).stdout.replace(f"{name} [Sheet1]", name) for name in ("small.xlsb", "tabs.tsv")]
        assert shown[0].replace("small.xlsb", "tabs.tsv") == shown[1], "row numbers, changes and all"
        assert "\nrow 9, column Robot Account: 'robot-9999'" in shown[1]
        wanted = state_of(host) | state_wanted(host, dict_rows(ROWS)[:-1])
        done = bulkid("run", "small.ods", "--yes", "--skip-invalid", "--quiet")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("bulkid: small.ods: 1 row of 7 failed or invalid.\n")
        assert state_of(host) == wanted
        files = sorted(path.name for path in bulkid.run_folder().iterdir())
        assert files == ["report.csv", "report.xlsx", "retry.csv", "summary.json"]
        assert [row["row"] for row in bulkid.report()] == ["2", "3", "4", "6", "7", "8", "9"]


# --- what a sheet wants, worked out here by other means than bulkid's


def dict_rows(rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Rows by plain field names."""
    return [dict(zip((plain(header) for header in rows[0]), row, strict=False)) for row in rows[1:]]


def plain(header: str) -> str:
    folded = header.casefold().replace(" ", "").replace("_", "")
    names = {"robotid": "id", "robotaccountid": "id", "robotaccount": "name", "groupidstoadd": "groupstoadd"}
    return {**names, "groupidstoremove": "groupstoremove"}.get(folded, folded)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return dict_rows(list(csv.reader(file)))


def state_of(host: Hosted) -> State:
    """Display name and groups of every account, as the server has them."""
    accounts = host.sandbox.state.accounts.values()
    return {account.id: (account.display_name or "", frozenset(account.group_ids)) for account in accounts}


def state_wanted(host: Hosted, rows: Iterable[Mapping[str, str]]) -> State:
    """The accounts that rows are about, as they are to be afterwards."""
    groups = {text: group.id for group in host.sandbox.state.groups.values() for text in (group.name, group.id)}
    ids = {account.name: account.id for account in host.sandbox.state.accounts.values()}
    before = state_of(host)
    wanted: State = {}
    for row in rows:
        account = row.get("id") or ids.get(row.get("name", ""), "")
        if not account:
            continue
        name, member_of = wanted.get(account, before[account])
        name = {"": name, "!clear": ""}.get(row.get("displayname", ""), row.get("displayname", ""))
        member_of |= {groups[text] for text in listed(row.get("groupstoadd", ""))}
        member_of -= {groups[text] for text in listed(row.get("groupstoremove", ""))}
        if exact := row.get("groups", ""):
            member_of = frozenset(groups[text] for text in listed(exact) if text != "!clear")
        wanted[account] = name, frozenset(member_of)
    return wanted


def listed(cell: str) -> list[str]:
    """The texts of a list cell, in the ways that the samples write them."""
    if cell.startswith("["):
        return [str(item) for item in json.loads(cell)]
    found = re.findall(r'\s*(?:"([^"]*)"|([^;|\n"]+))', cell)
    return [text for text in (quoted or bare.strip() for quoted, bare in found) if text]


# --- the samples


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=6000) as host:
        yield host


@pytest.mark.slow
def test_the_sample_workbook_does_what_it_says_and_the_same_sheet_as_text_then_changes_nothing(
    tmp_path: Path, server: Hosted
) -> None:
    rows = read_rows(SAMPLES / "robot_accounts.csv")
    wanted = state_of(server) | state_wanted(server, rows)
    assert wanted != state_of(server)
    bulkid = connected_to(tmp_path, server.url)
    done = bulkid("run", str(SAMPLES / "robot_accounts.xlsx"), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert state_of(server) == wanted
    summary = summary_of(done)
    assert (summary["rows"], summary["status"]) == (len(rows), "completed")
    assert summary["requests"]["PUT"] == summary["planned_puts"] < summary["updated"], "one PUT an account at most"
    report = bulkid.report(summary["run_id"])
    assert set(statuses(report)) == {"updated", "unchanged"}
    assert len(report) == len(rows)
    again = summary_of(bulkid("run", str(SAMPLES / "robot_accounts.csv"), "--yes", "--json"))
    assert (again["unchanged"], again["requests"]["PUT"]) == (len(rows), 0)
    assert state_of(server) == wanted


@pytest.mark.slow
def test_the_sample_migration_does_what_it_says(tmp_path: Path, server: Hosted) -> None:
    rows = read_rows(SAMPLES / "migration.csv")
    wanted = state_of(server) | state_wanted(server, rows)
    bulkid = connected_to(tmp_path, server.url, BULKID_MAX_CHANGE="")
    refused = bulkid("run", str(SAMPLES / "migration.csv"), "--yes", "--json")
    assert_clear(refused, 2, "of the organisation's 6,000 accounts", "--yes-really")
    done = bulkid("run", str(SAMPLES / "migration.csv"), "--yes", "--yes-really", "--json")
    assert done.returncode == 0, done.stderr
    assert state_of(server) == wanted
    summary = summary_of(done)
    assert summary["updated"] + summary["unchanged"] == summary["rows"] == len(rows) == 5000
    assert summary["requests"]["PUT"] <= 5000
    assert summary["requests"]["PUT"] == summary["planned_puts"] < 2000, "groups carry most of it"
    assert summary["requests"]["GET"] <= 16, "groups in one, accounts in seven pages that overlap, and both once more"


@pytest.mark.slow
def test_the_sample_of_faults_is_refused_row_by_row_and_its_good_rows_can_go_alone(
    tmp_path: Path, server: Hosted
) -> None:
    path = SAMPLES / "with_errors.csv"
    rows = read_rows(path)
    before = state_of(server)
    bulkid = connected_to(tmp_path, server.url)
    refused = bulkid("run", str(path), "--yes", "--json", "--ignore-column", "expected_fault")
    assert refused.returncode == 2
    assert state_of(server) == before
    report = bulkid.report()
    expected = [row["expectedfault"].replace("online:", "").split("; ") for row in rows]
    assert [row["status"] for row in report] == ["invalid" if codes != [""] else "pending" for codes in expected]
    assert [row["row"] for row, codes in zip(report, expected, strict=True) if row["error_code"] not in codes] == []
    assert all(row["error"] for row in report)

    wanted = before | state_wanted(server, [row for row in rows if not row["expectedfault"]])
    alone = bulkid("resume", summary_of(refused)["run_id"], "--skip-invalid", "--yes", "--json")
    assert alone.returncode == 1, alone.stderr
    assert state_of(server) == wanted
    assert summary_of(alone)["invalid"] == sum(bool(row["expectedfault"]) for row in rows)


def test_a_sheet_on_standard_input_runs_with_the_columns_as_told(tmp_path: Path, server: Hosted) -> None:
    sheet_of(tmp_path, [("x",)])
    bulkid = connected_to(tmp_path, server.url)
    text = text_of([("Who", "Called", "dispaly_name"), ("robot-5001", "Standard Input", "junk")], ";")
    options = ("--map", "Who=name", "--map", "Called=display name", "--ignore-column", "dispaly_name")
    done = bulkid("run", "-", "--yes", "--json", *options, stdin=text)
    assert done.returncode == 0, done.stderr
    assert server.display_name("robot-5001") == "Standard Input"
