"""The contents that count as taken from a drop folder: from the claim on, unless the file failed or disappeared."""

import pytest
from sqlalchemy import delete, insert

from bulkid.journal.claimed_files import ClaimedFiles, FileState
from bulkid.journal.queries import keep_destination
from bulkid.journal.schema import schema_version
from bulkid.journal.store import Journal
from tests.support.journal_data import RUN, Place, record

CONTENT = "ab" * 32


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (FileState.CLAIMED, True),
        (FileState.CLOSING, True),
        (FileState.ARCHIVED, True),
        (FileState.FAILED, False),
        (FileState.GONE, False),
    ],
)
def test_content_counts_as_taken_from_its_claim_on_unless_it_failed_or_went_away(
    journal: Journal, state: FileState, counts: bool
) -> None:
    taken = ClaimedFiles(journal, "/in")
    file = taken.claim(CONTENT, "a.csv", "working/a.csv", "20260131-081500-x7k2", 1.0)
    if state is not FileState.CLAIMED:
        taken.begin_closing(file, "archive/a.csv")
    if state not in (FileState.CLAIMED, FileState.CLOSING):
        taken.close(file, state, 2.0)
    found = [(each.file, each.state) for each in taken.claimed_before(CONTENT)]
    assert found == ([(file.file, state)] if counts else [])
    assert [each.file for each in taken.open()] == (
        [file.file] if state in (FileState.CLAIMED, FileState.CLOSING) else []
    )
    assert taken.claimed_before("cd" * 32) == []
    assert ClaimedFiles(journal, "/other").claimed_before(CONTENT) == []


def test_the_files_of_a_pruned_run_keep_where_it_went(journal: Journal) -> None:
    taken = ClaimedFiles(journal, "/in")
    for name, run_id in (("a.csv", RUN), ("b.csv", "20260131-093000-q4m8")):
        taken.claim(CONTENT, name, f"working/{name}", run_id, 1.0)
    keep_destination(journal, record(base_url="https://id.example.com/identity", organization_id="acme"))
    assert [(each.name, each.base_url, each.organization_id) for each in taken.claimed_before(CONTENT)] == [
        ("a.csv", "https://id.example.com/identity", "acme"),
        ("b.csv", "", ""),
    ]


def test_a_file_of_version_9_has_no_server_and_counts_as_taken(place: Place) -> None:
    with place.open() as journal:
        file = ClaimedFiles(journal, "/in").claim(CONTENT, "a.csv", "working/a.csv", RUN, 1.0)
        with journal.database.write() as connection:
            for column in ("base_url", "organization_id"):
                connection.exec_driver_sql(f"ALTER TABLE taken_files DROP COLUMN {column}")
            connection.execute(delete(schema_version))
            connection.execute(insert(schema_version).values(version=9, applied_at=1.0))
    with place.open() as journal:
        assert ClaimedFiles(journal, "/in").claimed_before(CONTENT) == [file]
