"""The contents that count as taken from a drop folder: from the claim on, unless the file failed or disappeared."""

import pytest

from bulkid.journal.claimed_files import ClaimedFiles, FileState
from bulkid.journal.store import Journal

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
