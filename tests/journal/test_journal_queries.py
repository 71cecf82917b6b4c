"""Pages of rows and of runs hold the same lines as the whole report."""

from dataclasses import replace

from bulkid.journal.queries import (
    ChangeKind,
    latest_failures,
    newest_organization,
    row_page,
    run_page,
    settled_by_interval,
    settled_spans,
)
from bulkid.journal.store import Journal
from bulkid.model import DesiredState, Outcome, RowRequest, RunItem, RunStatus, SheetRow, Status, Via
from bulkid.planning.plan import join_description
from tests.support.journal_data import RUN, entry, good_row, record

COUNT = 250


def _filled(journal: Journal) -> None:
    """A run of 250 rows, every tenth of which failed."""
    journal.create_run(record())
    rows, entries = [], []
    for number in range(COUNT):
        row, name = number + 2, f"Robot_{number:03}"
        cells = (name, "100 %" if number == 7 else "x")
        rows.append(SheetRow(row, cells, RowRequest(row, "", name, ("x",), (), (), None, ""), (), "", name))
        status = Status.FAILED if number % 10 == 0 else Status.UPDATED
        error = f"no {number}" if status is Status.FAILED else ""
        desired = DesiredState(f"id-{number}", name, ("x",), (), (), None, (row,))
        entries.append(
            RunItem(number, desired, None, f"+ {cells[1]}", Outcome(status, 400, "", error, 1, None, float(number)))
        )
    journal.add_rows(RUN, rows)
    journal.add_items(RUN, entries)
    journal.settle(RUN, [(entry.number, entry.outcome) for entry in entries])


def test_the_pages_of_a_run_are_its_report_in_parts(journal: Journal) -> None:
    _filled(journal)
    whole = list(journal.report_rows(RUN))
    parts = [row_page(journal, RUN, offset=offset, limit=100) for offset in (0, 100, 200)]
    assert [row for part, _ in parts for row in part] == whole
    assert {total for _, total in parts} == {COUNT}


def test_rows_are_found_by_status_and_by_any_part_of_account_change_or_message(journal: Journal) -> None:
    _filled(journal)
    failed, total = row_page(journal, RUN, statuses=[Status.FAILED], limit=10)
    assert total == 25
    assert all(row.status is Status.FAILED for row in failed)
    assert [row.name for row in row_page(journal, RUN, search="robot_012")[0]] == ["Robot_012"]
    assert [row.robot_account_id for row in row_page(journal, RUN, search="ID-33")[0]] == ["id-33"]
    assert [row.error for row in row_page(journal, RUN, search="NO 40")[0]] == ["no 40"]
    assert row_page(journal, RUN, statuses=[Status.UPDATED], search="no 40")[1] == 0


def test_a_search_finds_letters_of_all_scripts_as_they_are_shown(journal: Journal) -> None:
    _filled(journal)
    journal.settle(RUN, [(number, Outcome(Status.FAILED, 400, "", "ÜBER Ждать")) for number in (10, 20)])
    for text in ("ÜBER", "ÜBER Ж", "Ждать"):
        assert row_page(journal, RUN, search=text)[1] == 2, text


def test_a_search_of_a_database_file_does_not_regard_the_case_of_any_letter(file_journal: Journal) -> None:
    _filled(file_journal)
    file_journal.settle(RUN, [(10, Outcome(Status.FAILED, 400, "", "ÜBER Ждать"))])
    for text in ("über", "Über ж", "ЖДАТЬ"):
        assert row_page(file_journal, RUN, search=text)[1] == 1, text


def test_what_a_database_takes_for_wildcards_is_plain_text_in_a_search(journal: Journal) -> None:
    _filled(journal)
    assert row_page(journal, RUN, search="%")[1] == 1
    assert row_page(journal, RUN, search="t_0")[1] == 100
    assert row_page(journal, RUN, search="/")[1] == 0
    assert row_page(journal, RUN, search="'; DROP TABLE runs; --")[1] == 0


def test_the_latest_failures_come_first(journal: Journal) -> None:
    _filled(journal)
    assert [row.error for row in latest_failures(journal, RUN, 3)] == ["no 240", "no 230", "no 220"]


def test_runs_come_newest_first_and_by_status(journal: Journal) -> None:
    for number in range(7):
        status = RunStatus.COMPLETED if number % 2 else RunStatus.INTERRUPTED
        journal.create_run(replace(record(), run_id=f"run-{number}", created_at=float(number), status=status))
    page, total = run_page(journal, offset=1, limit=2)
    assert ([run.run_id for run in page], total) == (["run-5", "run-4"], 7)
    page, total = run_page(journal, statuses=[RunStatus.COMPLETED])
    assert ([run.run_id for run in page], total) == (["run-5", "run-3", "run-1"], 3)


def _sent(number: int, finished_at: float, via: Via | None = Via.ACCOUNT, status: Status = Status.UPDATED) -> RunItem:
    return entry(number, outcome=Outcome(status, 200, attempts=1, via=via, finished_at=finished_at), intended=True)


def _sent_run(journal: Journal, items: list[RunItem], run_id: str = RUN, **fields: object) -> None:
    journal.create_run(record(run_id, **fields))
    journal.add_rows(run_id, [good_row(item.number + 2) for item in items])
    journal.add_items(run_id, items)


def test_settled_accounts_are_counted_by_interval_and_kind_of_request(journal: Journal) -> None:
    start = 1_770_000_000.0
    _sent_run(
        journal,
        [
            _sent(0, start),
            _sent(1, start + 0.2),
            _sent(2, start + 0.999, Via.GROUP),
            _sent(3, start + 1.0, status=Status.FAILED),
            _sent(4, start + 59.9),
            _sent(5, start + 7, None, Status.UNCHANGED),
            entry(6),
        ],
    )
    found = sorted(settled_by_interval(journal, start, 500, run_id=RUN))
    assert found == [(0, Via.ACCOUNT, 2), (1, Via.GROUP, 1), (2, Via.ACCOUNT, 1), (119, Via.ACCOUNT, 1)]


def test_creations_and_deletions_are_counted_by_their_own_methods(journal: Journal) -> None:
    start = 1_770_000_000.0
    items = [
        _sent(0, start),
        _sent(1, start + 1, status=Status.CREATED),
        _sent(2, start + 2, status=Status.FAILED)._replace(changes='created: display name "A"; + Finance'),
        _sent(3, start + 3, status=Status.FAILED)._replace(changes="deleted"),
        _sent(4, start + 5, status=Status.DELETED),
    ]
    _sent_run(journal, items)
    assert settled_spans(journal, RUN) == {
        "PUT": (start, start),
        "POST": (start + 1, start + 2),
        "DELETE": (start + 3, start + 5),
    }
    counted = {
        method: settled_by_interval(journal, start, 60_000, run_id=RUN, method=method)
        for method in ("PUT", "POST", "DELETE")
    }
    assert counted == {"PUT": [(0, Via.ACCOUNT, 1)], "POST": [(0, Via.ACCOUNT, 2)], "DELETE": [(0, Via.ACCOUNT, 2)]}


def test_the_span_of_a_run_reaches_from_its_first_request_to_its_last_settled_account(journal: Journal) -> None:
    start = 1_770_000_000.0
    assert settled_spans(journal, "no such run") == {}
    _sent_run(journal, [_sent(0, start + 2), _sent(1, start + 9), entry(2)])
    assert settled_spans(journal, RUN) == {"PUT": (start + 2, start + 9)}
    journal.intend(RUN, [0], start)
    assert settled_spans(journal, RUN) == {"PUT": (start, start + 9)}


def test_the_runs_of_an_organisation_are_counted_together(journal: Journal) -> None:
    start = 1_770_000_000.0
    _sent_run(journal, [_sent(0, start + 1), _sent(1, start - 1)], "20260131-081500-aaaa")
    _sent_run(journal, [_sent(0, start + 2)], "20260131-081500-bbbb", finished_at=start + 3)
    _sent_run(journal, [_sent(0, start + 2)], "20260131-081500-cccc", organization_id="another")
    own = record().organization_id
    assert settled_by_interval(journal, start, 60_000, organization_id=own.upper()) == [(0, Via.ACCOUNT, 2)]
    assert newest_organization(journal, record().base_url) == "another"
    assert newest_organization(journal, record().base_url.upper()) == "another"
    assert newest_organization(journal, "https://elsewhere.example.com") == ""


def test_rows_are_found_by_the_kind_of_their_changes(journal: Journal) -> None:
    misleading = join_description(["display name: a; - c -> b; + Finance"])
    words = [misleading, "display name: a -> b; + Finance; - Trainees", "+ Finance", "- 100 %", ""]
    words += ['created: display name "A"; + Finance', "created: + Finance; + HR", "created", "deleted"]
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(number + 2) for number in range(len(words))])
    journal.add_items(RUN, [entry(number)._replace(changes=text) for number, text in enumerate(words)])
    journal.add_rows(RUN, [good_row(len(words) + 2)])
    made_by_another = entry(len(words))._replace(changes="+ Finance", outcome=Outcome(Status.UNCHANGED))
    journal.add_items(RUN, [made_by_another])

    def found(kind: ChangeKind) -> list[str]:
        return [row.changes for row in row_page(journal, RUN, kind=kind)[0]]

    assert found(ChangeKind.FIELDS) == [*words[:2], *words[5:8]]
    assert found(ChangeKind.JOINS) == [*words[1:3], *words[5:7]]
    assert found(ChangeKind.LEAVES) == [words[1], words[3]]
