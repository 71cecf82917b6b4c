"""What was acknowledged is in the journal: after a kill at any moment, and after the disk was full."""

import sys
from pathlib import Path
from random import Random

import pytest

from bulkid.errors import StateError
from bulkid.journal.errors import StateFullError
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Status
from tests.support.examples import examples
from tests.support.journal_data import (
    PENDING,
    RUN,
    UPDATED,
    Place,
    allow_pages,
    begin,
    finish,
    good_row,
    record,
    start_python,
)

_SETTLE_FOR_EVER = """
import pathlib, sys
from bulkid.journal.store import open_journal
from bulkid.model import Outcome, Status
journal = open_journal(pathlib.Path(sys.argv[1]), sys.argv[2])
first, count = int(sys.argv[3]), int(sys.argv[5])
print("ready", flush=True)
for start in range(first, count, 6):
    numbers = range(start, start + 6)
    journal.intend(sys.argv[4], numbers, 5.0)
    print("intended", start, flush=True)
    journal.settle(sys.argv[4], [(number, Outcome(Status.UPDATED, 200, attempts=number)) for number in numbers])
    print("settled", start, flush=True)
"""


@pytest.mark.slow
def test_every_acknowledged_settle_survives_a_kill(place: Place) -> None:
    random = Random(20260131)
    kills = examples(2, soak=5)
    count = 2400 * kills  # more than the process settles before it is killed
    with place.open() as journal:
        begin(journal, count)
    first = 0
    for _ in range(kills):
        process = start_python(_SETTLE_FOR_EVER, *place.arguments, first, RUN, count)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for _ in range(random.randrange(4, 200)):
            lines.append(process.stdout.readline())  # noqa: PERF401 - the process goes on meanwhile
        process.kill()
        rest, errors = process.communicate()
        assert errors == ""
        told = [line.split() for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")]
        settled = {int(line[1]) + offset for line in told if line[0] == "settled" for offset in range(6)}
        intended = {int(line[1]) + offset for line in told if line[0] == "intended" for offset in range(6)}
        assert settled, "the process was killed before it did anything"
        with place.open() as journal:
            found = {entry.number: entry for entry in journal.iter_items(RUN)}
            done = {number for number, entry in found.items() if entry.outcome.status is Status.UPDATED}
            assert set(range(first)) | settled <= done
            assert len(done) % 6 == 0  # a transaction is there as a whole or not at all
            assert all(found[number].outcome.attempts == number for number in done)
            assert intended <= {number for number, entry in found.items() if entry.intended}
            assert done <= {number for number, entry in found.items() if entry.intended}
            assert [entry.number for entry in journal.iter_items(RUN, unsettled=True)] == sorted(set(found) - done)
            assert sum(journal.counts(RUN).values()) == count
        first = max(done) + 1


_FILL = """
import pathlib, resource, signal, sys
from dataclasses import replace
from bulkid.journal.errors import StateFullError
from bulkid.journal.store import open_journal
from bulkid.model import Outcome, Status
journal = open_journal(pathlib.Path(sys.argv[1]))
settled = 0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
try:
    for number in range(1000):
        journal.settle(sys.argv[2], [(number, Outcome(Status.FAILED, 400, "", "long " * 200, 1))])
        settled = number + 1
except StateFullError as error:
    print(settled, str(error))
    print(sum(journal.counts(sys.argv[2]).values()))  # what is there can still be read
    journal.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        begin(journal, 1000)
    first, second = finish(start_python(_FILL, tmp_path, RUN)).splitlines()
    number, message = first.split(" ", 1)
    settled = int(number)
    assert 0 < settled < 1000
    assert int(second) == 1000
    assert str(tmp_path) in message
    assert "full" in message
    assert message.endswith(" Free some space.")
    assert "UPDATE" not in message
    with open_journal(tmp_path) as journal:
        assert [entry.number for entry in journal.iter_items(RUN, unsettled=True)] == list(range(settled, 1000))
        journal.settle(RUN, [(entry, UPDATED) for entry in range(settled, 1000)])
        assert journal.counts(RUN)[Status.PENDING] == 0


def test_a_write_that_finds_no_room_changes_nothing_and_the_next_may_work(file_journal: Journal) -> None:
    journal = file_journal
    journal.create_run(record())
    allow_pages(journal, 40)
    rows = [good_row(row, "x" * 900) for row in range(2, 1002)]
    with pytest.raises(StateFullError) as caught:
        journal.add_rows(RUN, rows)
    assert isinstance(caught.value, StateError)
    assert caught.value.exit_code == 2
    assert "xxx" not in f"{caught.value.__cause__}"
    assert list(journal.iter_rows(RUN)) == []
    journal.update_run(RUN, message="still here")
    allow_pages(journal, 0)
    journal.add_rows(RUN, rows)
    assert len(list(journal.iter_rows(RUN))) == 1000


def test_nothing_of_a_value_is_in_an_error(journal: Journal) -> None:
    begin(journal, 2)
    with pytest.raises(StateError) as caught:
        journal.add_rows(RUN, [good_row(2, "hush-hush")])
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__cause__!r}"
    assert "hush" not in told
    assert "INSERT" not in told
    assert caught.value.__suppress_context__


def test_an_outcome_with_text_that_no_encoding_can_hold_is_kept(journal: Journal) -> None:
    begin(journal, 2)
    journal.settle(RUN, [(0, UPDATED._replace(error="half \ud800")), (1, PENDING._replace(error="fine"))])
    assert [entry.outcome.error for entry in journal.iter_items(RUN)] == ["half �", "fine"]
