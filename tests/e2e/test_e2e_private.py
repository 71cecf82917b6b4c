"""What bulkid writes about accounts is readable by its owner alone, however lax the umask is."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid
from tests.support.sandbox_host import hosted
from tests.support.sheets import sheet_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights are inherited there")


def mode(path: Path) -> str:
    """The rights of a file, as chmod takes them."""
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def with_no_umask(bulkid: Bulkid, *arguments: str, code: int = 0) -> None:
    """Run a command where files would be open to all users."""
    before = os.umask(0)
    try:
        done = bulkid(*arguments)
    finally:
        os.umask(before)
    assert done.returncode == code, done.stderr


@pytest.mark.slow
def test_reports_exports_and_plans_are_their_owner_s_alone(tmp_path: Path, connected: Callable[..., Bulkid]) -> None:
    given = tmp_path / "given"
    given.mkdir()
    given.chmod(0o755)
    sheet_of(tmp_path, [["name", "display name"], ["roby", "Robbie"], ["nobody-has-this", "X"]])
    with hosted(accounts=20) as server:
        bulkid = connected(server)
        formats = ("--format", "xlsx", "--format", "jsonl", "--skip-invalid")
        with_no_umask(bulkid, "plan", "sheet.csv", "--skip-invalid", "--out", "plan.json", code=2)
        for ending in ("csv", "xlsx", "jsonl"):
            with_no_umask(bulkid, "export", f"accounts.{ending}")
        more = ("--metrics-file", "bulkid.prom", "--report-dir", "given")
        with_no_umask(bulkid, "run", "sheet.csv", "--yes", *formats, *more, code=1)
        (folder,) = given.iterdir()
        with_no_umask(bulkid, "report", folder.name, "--report-dir", "made/here")
        with_no_umask(bulkid, "report", folder.name, "--report-dir", "given", "--format", "xlsx")
    assert mode(given) == "755"  # it is the user's
    assert mode(tmp_path / "made" / "here") == "755"
    made = tmp_path / "made" / "here" / folder.name
    for each in (folder, made):
        assert mode(each) == "700"
        files = {path.name: mode(path) for path in each.iterdir()}
        assert {"report.csv", "retry.csv", "summary.json"} <= files.keys()
        assert set(files.values()) == {"600"}, files
    assert {"report.xlsx", "report.jsonl"} <= {path.name for path in folder.iterdir()}
    for name in ("plan.json", "accounts.csv", "accounts.xlsx", "accounts.jsonl"):
        assert mode(tmp_path / name) == "600", name
    assert mode(tmp_path / "bulkid.prom") != "600"  # a scraper of another user's reads it
