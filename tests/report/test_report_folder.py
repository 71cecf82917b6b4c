"""Removing a report removes what bulkid wrote, and never anything else."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.report.formats import is_report_file
from bulkid.report.writer import remove_report
from tests.support.report_data import a_row, a_run, write

RUN = "20260131-081500-ab12"


def test_all_that_a_report_consists_of_is_removed_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    written = write(folder, [a_row()], ("xlsx", "jsonl"))
    assert len(written.files) >= 4
    size = sum(path.stat().st_size for path in folder.iterdir())
    removed = remove_report(folder, RUN)
    assert (removed.bytes, removed.kept) == (size, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report-2.csv", "retry-13.csv", ".report.xlsx.0123abcd.tmp", ".probe.0123abcd.tmp"])
def test_what_took_another_name_or_was_left_unfinished_goes_too(tmp_path: Path, name: str) -> None:
    folder = tmp_path / RUN
    folder.mkdir()
    (folder / name).write_text("x")
    assert remove_report(folder, RUN).kept == ""
    assert not folder.exists()


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "report.csv.bak", "my report.csv", "Report.csv", "report-.csv", "report.pdf", ".report.csv.tmp"],
)
def test_what_somebody_put_there_is_left_and_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / RUN
    folder.mkdir()
    (folder / name).write_text("somebody's")
    (folder / "retry.csv").write_text("bulkid's")
    removed = remove_report(folder, RUN)
    assert removed.kept == f"{folder} is left: {name} in it is not bulkid's."
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_folder_or_a_link_in_the_place_of_a_file_is_left(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    (folder / "report.csv").mkdir(parents=True)
    (folder / "report.csv" / "inside.txt").write_text("x")
    (tmp_path / "elsewhere.csv").write_text("x")
    (folder / "retry.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert remove_report(folder, RUN).kept
    assert (folder / "report.csv" / "inside.txt").exists()
    assert (folder / "retry.csv").is_symlink()
    assert (tmp_path / "elsewhere.csv").exists()


def test_a_folder_that_is_not_the_run_s_own_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "report.csv").write_text("x")
    (tmp_path / RUN).symlink_to(other, target_is_directory=True)
    for folder in (other, tmp_path / RUN, tmp_path / "missing" / RUN):
        removed = remove_report(folder, RUN)
        assert (removed.bytes, removed.kept) == (0, "")
    assert (other / "report.csv").exists()


@given(st.text(max_size=24))
def test_hardly_any_name_is_taken_for_bulkid_s_own(name: str) -> None:
    assert not is_report_file(name) or "report" in name or "retry" in name or "summary" in name or "probe" in name


def test_the_run_of_the_kit_is_the_one_that_is_removed() -> None:
    assert a_run().run_id == RUN


@pytest.mark.skipif(os.name == "nt", reason="Windows says of such a name that it does not exist")
def test_a_folder_that_cannot_be_looked_up_is_left_and_named(tmp_path: Path) -> None:
    """As one within a folder that the user may not search: the other runs must be pruned all the same."""
    name = "x" * 300
    assert "could not be removed" in remove_report(tmp_path / name, name).kept
