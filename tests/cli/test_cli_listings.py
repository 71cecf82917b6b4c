"""The output of ``runs`` and ``doctor``: whole ids at every width, the target of each run, and a verdict."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bulkid.cli.listings import print_findings, print_runs, sandbox_lines
from bulkid.model import QuotaRule, RunRecord, RunStatus, Status
from bulkid.runs import Finding
from bulkid.sandbox.options import SandboxOptions

IDS = ["20260131-081500-x7k2", "20260131-081501-a2b3"]
SOURCE = r"C:\Users\Administrator\Documents\robots\sheet of all the accounts.xlsx"
COUNTS = {Status.UPDATED: 12_345, Status.FAILED: 1, Status.UNCHANGED: 0}


def screen(width: int, *, terminal: bool = True, colour: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        markup=False,
        highlight=False,
        force_terminal=terminal,
        color_system="standard" if colour else None,
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def a_run(run_id: str) -> RunRecord:
    url = "https://cloud.uipath.com/acme/identity_"
    return RunRecord(run_id, 0.0, RunStatus.COMPLETED_WITH_FAILURES, "run", SOURCE, url, "3fa85f64-0000", "", 0)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_list_of_runs_loses_no_character_at_any_width(width: int) -> None:
    out = screen(width)
    print_runs(out, [(a_run(run_id), COUNTS) for run_id in IDS])
    text = written(out)
    assert all(run_id in text for run_id in IDS)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    if width != 120:  # there the cells of a row stand beside one another, each on several lines
        packed = "".join(text.split())
        for cell in (SOURCE, "acme · cloud.uipath.com", "12,346: 12,345 updated, 1 failed", "completed with failures"):
            assert packed.count("".join(cell.split())) == 2


def test_a_narrow_terminal_shows_a_run_in_a_few_lines() -> None:
    out = screen(60)
    print_runs(out, [(a_run(IDS[0]), COUNTS)])
    assert written(out).splitlines() == [
        "Run (began, UTC)      Status",
        "20260131-081500-x7k2  completed with failures",
        "    12,346: 12,345 updated, 1 failed",
        "    acme · cloud.uipath.com",
        "    C:\\Users\\Administrator\\Documents\\robots\\sheet of all the",
        "    accounts.xlsx",
    ]


def test_a_pipe_gets_a_run_on_one_line() -> None:
    out = screen(60, terminal=False)
    print_runs(out, [(a_run(IDS[0]), COUNTS)])
    heading, line = written(out).splitlines()
    assert line.split("  ") == [
        IDS[0],
        "completed with failures",
        "12,346: 12,345 updated, 1 failed",
        "acme · cloud.uipath.com",
        SOURCE,
    ]
    assert heading.startswith("Run (began, UTC)")


def test_a_run_s_note_and_all_that_it_changed_are_listed() -> None:
    out = screen(60, terminal=False)
    noted = replace(a_run(IDS[0]), options={"note": "CHG-4711 \x1b[31m"})
    counts = {Status.DELETED: 3, Status.CREATED: 12, Status.UPDATED: 153, Status.PENDING: 0}
    print_runs(out, [(noted, counts)])
    line = written(out).splitlines()[1]
    assert "168: 153 updated, 12 created, 3 deleted  " in line
    assert line.endswith(f"{SOURCE} · CHG-4711 \\x1b[31m")


def test_statuses_have_colours_beside_their_words() -> None:
    out = screen(200, colour=True)
    print_runs(out, [(a_run(IDS[0]), COUNTS)])
    assert "\x1b[33mcompleted with failures\x1b[0m" in written(out)
    assert "\x1b[32m12,345 updated\x1b[0m, \x1b[31m1 failed\x1b[0m" in written(out)


def test_a_run_that_read_no_row_has_none() -> None:
    out = screen(120, terminal=False)
    print_runs(out, [(a_run(IDS[0]), {})])
    assert "  none  " in written(out)


READ, WRITE = (
    Finding("read accounts", ok=True, detail="yes", accounts=6000),
    Finding("write accounts", ok=True, detail=""),
)


@pytest.mark.parametrize(
    ("findings", "last"),
    [
        ([READ, WRITE], "Ready: you can read and change 6,000 accounts."),
        (
            [READ, Finding("write accounts", ok=None, detail="")],
            "Ready: you can read 6,000 accounts. The token does not say whether you can change them.",
        ),
        ([READ, Finding("write accounts", ok=False, detail="")], "1 problem to fix."),
        ([Finding("address", ok=False, detail=""), Finding("token", ok=False, detail="")], "2 problems to fix."),
    ],
)
def test_doctor_ends_with_a_verdict(findings: list[Finding], last: str) -> None:
    out = screen(100)
    print_findings(out, findings)
    lines = written(out).splitlines()
    assert lines[0].split() == ["Check", "Result", "Details"]
    assert lines[-1] == last


def test_a_sandbox_without_limits_says_so_too() -> None:
    lines = sandbox_lines("http://127.0.0.1:1/identity", SandboxOptions(limits=()))
    assert "  export BULKID_QUOTA='none'" in lines
    lines = sandbox_lines("http://127.0.0.1:1/identity", SandboxOptions(limits=(QuotaRule("PUT", 20, 5),)))
    assert "  $env:BULKID_QUOTA = 'PUT=20/5'" in lines
