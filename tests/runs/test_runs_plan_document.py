"""A plan as a document for people: it is complete, and names in it stay plain text."""

import html
import re
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from python_calamine import CalamineWorkbook

from bulkid.errors import UsageError
from bulkid.model import Group
from bulkid.runs import Preview, save_plan
from bulkid.runs.plan_document import _plain_markdown
from bulkid.text import printable_line
from tests.support.planning_world import LAW, account, directory, request
from tests.support.previews import creation, deletion, preview_of, with_changes
from tests.support.terminal_text import NASTY

ENDINGS = (".md", ".html", ".xlsx")
HOSTILE = "<script>alert(1)</script> | *x* [a](javascript:b) =1+1 @all <r>x</r>"


def a_plan(name: str = "roby", display_name: str = "Robbie") -> Preview:
    known = directory([account("a-1", name, "Roby", ("g-fin",))], [Group("g-fin", "Finance"), Group("g-x", name)])
    return preview_of([request(2, "a-1", display_name=display_name, add=("g-x",), remove=("g-fin",))], known, invalid=1)


def texts(path: Path) -> str:
    """What a reader sees, cell by cell."""
    if path.suffix == ".xlsx":
        book = CalamineWorkbook.from_path(path)
        rows = [row for name in book.sheet_names for row in book.get_sheet_by_name(name).to_python()]
        return "\n".join(str(cell) for row in rows for cell in row)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return html.unescape(re.sub(r"<[^>]*>", "", text))
    return html.unescape(re.sub(r"\\([\\`*_\[\]<>|&#~])", r"\1", text))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_document_names_target_counts_changes_and_invalid_rows(ending: str, tmp_path: Path) -> None:
    written = save_plan(a_plan(), tmp_path / f"plan{ending}")
    shown = texts(written)
    for words in (
        "Plan of a.csv",
        "Organisation acme (3fa85f64...) at cloud.uipath.com",
        "Plan: 1 to change, 0 already correct, 1 invalid",
        "1 rename, 1 join, 1 leave",
        "Finance -1 · roby +1",
        "Estimated time: under 10 seconds (1 request).",
        "display name: Roby -> Robbie",
        "a-1",
        "Wrong.",
    ):
        assert words in shown


def test_a_long_line_of_a_workbook_gets_the_height_that_it_takes(tmp_path: Path) -> None:
    with closing(load_workbook(save_plan(a_plan("long " * 30), tmp_path / "plan.xlsx"))) as book:
        front = book["Plan"]
        assert front.sheet_properties.pageSetUpPr.fitToPage
        lines = {str(row[0].value): front.row_dimensions[row[0].row].height for row in front.iter_rows()}
    assert lines["1 rename, 1 join, 1 leave"] is None
    assert [height for text, height in lines.items() if text.startswith("Finance -1")] == [30]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_document_lists_every_deletion_and_what_is_new(ending: str, tmp_path: Path) -> None:
    gone = [account(f"old-{number}-id", f"PROD-{number}") for number in range(600)]
    gone[0] = gone[0]._replace(last_login="2024-03-01T10:11:12Z", created="2023-11-30T00:00:00Z")
    gone[1] = gone[1]._replace(created="2023-11-30T00:00:00Z")
    made = with_changes(a_plan(), *map(deletion, gone), creation("bot-1", "Bot One", ("night",)), new_groups=["Night"])
    shown = texts(save_plan(made, tmp_path / f"plan{ending}"))
    for words in (
        "Plan: 1 to create, 1 to change, 600 to delete, 0 already correct, 1 invalid",
        "1 new group: Night",
        "600 accounts will be deleted. Deletions cannot be undone.",
        "Delete 600 accounts: 6 DELETEs, no waiting",
        "Deletions" if ending != ".xlsx" else "Last login",
        "2024-03-01T10:11:12Z",
        "2023-11-30T00:00:00Z",
        "never",
        'display name "Bot One"',
        "new account",
    ):
        assert words in shown
    assert set(re.findall(r"PROD-\d+", shown)) == {each.name for each in gone}
    assert set(re.findall(r"old-\d+-id", shown)) == {each.id for each in gone}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", [HOSTILE, NASTY], ids=["markup", "control"])
def test_a_hostile_name_stays_text(name: str, ending: str, tmp_path: Path) -> None:
    shown = texts(save_plan(a_plan(name), tmp_path / f"plan{ending}"))
    assert printable_line(name) in shown
    raw = (tmp_path / f"plan{ending}").read_bytes()
    assert b"<script>" not in raw
    assert b"\x1b" not in raw or ending == ".xlsx", "a workbook is compressed"


@LAW
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=40))
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    shown = _plain_markdown(text)
    assert html.unescape(re.sub(r"\\([\\`*_\[\]<>|&#~])", r"\1", shown)) == html.unescape(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*]", shown), "a cell ends early, or markup begins"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_later_plan_replaces_a_document_and_no_other_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"plan{ending}"
    assert save_plan(a_plan(), path) == path
    assert save_plan(a_plan(display_name="Other"), path) == path
    assert "-> Other" in texts(path)
    other = tmp_path / f"other{ending}"
    with zipfile.ZipFile(other, "w") as book:
        book.writestr("docProps/core.xml", "a sheet of somebody else")
    before = other.read_bytes()
    with pytest.raises(UsageError, match="is not replaced"):
        save_plan(a_plan(), other)
    assert other.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, other.name]), "nothing is left over"


def test_a_document_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    for ending in ENDINGS:
        with pytest.raises(UsageError, match="cannot be written"):
            save_plan(a_plan(), tmp_path / "nowhere" / f"plan{ending}")
