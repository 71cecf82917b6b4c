"""What a person reads: whole ids on a narrow terminal, figures that are never cut, counts with the right noun."""

import io

import pytest
from rich.console import Console

from bulkid.cli import render
from bulkid.model import RunRecord, RunStatus, Status


def printed(*objects: object, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, highlight=False)
    for each in objects:
        console.print(each)
    return stream.getvalue()


def a_run(run_id: str) -> RunRecord:
    source = r"C:\Users\Administrator\Documents\robots\sheet of all the accounts.xlsx"
    return RunRecord(run_id, 0.0, RunStatus.COMPLETED_WITH_FAILURES, "run", source, "", "", "", 0)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_of_runs_shows_every_id_whole(width: int) -> None:
    ids = ["20260131-081500-x7k2", "20260131-081501-a2b3"]
    counts = {Status.UPDATED: 12_345, Status.FAILED: 1}
    text = printed(render.runs_table([(a_run(run_id), counts) for run_id in ids]), width=width)
    assert all(run_id in text for run_id in ids)
    assert "12,345" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
