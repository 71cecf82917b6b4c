"""File names and headers may hold any character: a message about one stays on its line and short."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bulkid.cli.app import app
from bulkid.errors import SheetError
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.sheet import column_label, open_sheet

NAME = "x\nbulkid: all is well \x1b[31m\u202e.csv"
SHOWN = r"x\nbulkid: all is well \x1b[31m\u202e.csv"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows takes no such names")


def check(*arguments: str) -> str:
    """Both streams of ``bulkid check``."""
    return CliRunner().invoke(app, ["check", *arguments]).output


def test_a_file_name_with_a_line_break_forges_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text("name,display name\nroby,a\tb\n")
    said = check(NAME)
    assert f"{SHOWN}: 1 row, 0 accounts\n" in said
    assert "\nrow 2, column display name" in said
    near = check(NAME.replace("all", "al"))
    assert f"Did you mean {SHOWN}?" in near
    for text in (said, near, check(NAME + ".md")):
        assert not [progress_line for progress_line in text.splitlines()[1:] if progress_line.startswith("bulkid")]
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_header_forges_no_line_either(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('name,"more\nbulkid: all is well"\nroby,x\n')
    with open_sheet(path) as sheet:
        assert sheet.info.notes == (r'Ignored column: "more\nbulkid: all is well".',)


def test_messages_about_columns_stay_short_however_many_and_long_they_are(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("name," + ",".join(f"c{number}" for number in range(16_000)) + "\nroby\n")
    with open_sheet(path) as sheet:
        (note,) = sheet.info.notes
    assert note.startswith('Ignored columns: "c0", "c1", ')
    assert note.endswith('"c49" and 15,950 more.')
    path.write_text(",".join("x" * 30_000 for _ in range(40)) + "\nroby\n")
    with pytest.raises(SheetError) as caught:
        open_sheet(path)
    assert len(str(caught.value)) < 3_000
    assert column_label(["y" * 61], 0) == f'"{"y" * 59}…"'
    assert [column_label(ROBOT_ACCOUNTS.template_headers, index) for index in (0, 1)] == ['"name"', '"display_name"']
