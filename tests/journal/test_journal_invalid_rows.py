"""The report names the account of an invalid row where the row names one."""

from pathlib import Path

from bulkid.journal.store import open_journal
from bulkid.sheet import open_sheet
from tests.support.journal_data import RUN, record


def test_an_invalid_row_keeps_its_id_and_name_for_the_report(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("id,name,display_name\n88-uv,roby,#N/A\n,robot-0001,#REF!\n", encoding="utf-8")
    with open_sheet(path) as sheet, open_journal(tmp_path / "state") as journal:
        journal.create_run(record())
        for chunk in sheet.chunks():
            journal.add_rows(RUN, chunk)
        rows = [(row.robot_account_id, row.name, row.status) for row in journal.report_rows(RUN)]
    assert rows == [("88-uv", "roby", "invalid"), ("", "robot-0001", "invalid")]
