"""The rate of runs, from the journal: against the quota of the run, and of the last hour."""

from pathlib import Path

from bulkid.journal.store import Journal, open_journal
from bulkid.model import Outcome, QuotaRule, Status, Via
from bulkid.report.rate import Settled
from bulkid.runs.options import RunOptions, Target
from bulkid.runs.rates import recent_rates, run_rates
from bulkid.runs.run_records import dump_options
from tests.support.journal_data import entry, good_row, record

CLOUD = "https://cloud.uipath.com/acme/identity_"
START = 1_770_000_000.0


def _run(journal: Journal, times: list[float], options: RunOptions | None = None, run_id: str = "run-1") -> None:
    stored = {} if options is None else dump_options(options)
    journal.create_run(record(run_id, base_url=CLOUD, options=stored))
    journal.add_rows(run_id, [good_row(number + 2) for number in range(len(times))])
    outcomes = [Outcome(Status.UPDATED, 200, attempts=1, via=Via.ACCOUNT, finished_at=START + time) for time in times]
    journal.add_items(run_id, [entry(number, outcome=outcome) for number, outcome in enumerate(outcomes)])


def test_a_run_is_compared_with_its_own_quota_or_with_that_of_its_server(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        _run(journal, [0.0, 1.0, 2.0])
        _run(journal, [0.0, 1.0], RunOptions(quota=(QuotaRule("PUT", 7, 1.0),)), "run-2")
        _run(journal, [0.0, 1.0], RunOptions(quota=()), "run-3")
        _run(journal, [], run_id="run-4")
        (found,) = run_rates(journal, record("run-1", base_url=CLOUD))
        assert run_rates(journal, record("run-4", base_url=CLOUD)) == ()
        assert found.intervals.quota == 160
        assert found.points == (Settled(3),)
        stored = [journal.get_run(run_id) for run_id in ("run-2", "run-3")]
        (own,), (free,) = (run_rates(journal, each) for each in stored if each is not None)
        assert own.intervals.quota == 7
        assert max(own.points) == Settled(1)
        assert free.intervals.quota is None
        assert free.points == (Settled(1), Settled(1))


def test_a_run_on_an_address_that_is_refused_today_has_no_quota(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        _run(journal, [0.0])
        (found,) = run_rates(journal, record("run-1", base_url="ftp://old"))
        assert found.intervals.quota is None


def test_each_method_is_compared_with_its_own_quota(tmp_path: Path) -> None:
    options = RunOptions(quota=(QuotaRule("PUT", 7, 1.0), QuotaRule("POST", 9, 10.0), QuotaRule("DELETE", 2, 60.0)))
    statuses = [Status.UPDATED, Status.CREATED, Status.CREATED, Status.DELETED, Status.DELETED, Status.DELETED]
    outcomes = [Outcome(status, 200, attempts=1, via=Via.ACCOUNT, finished_at=START) for status in statuses]
    with open_journal(tmp_path) as journal:
        journal.create_run(record("run-1", base_url=CLOUD, options=dump_options(options)))
        journal.add_rows("run-1", [good_row(number + 2) for number in range(len(statuses))])
        journal.add_items("run-1", [entry(number, outcome=outcome) for number, outcome in enumerate(outcomes)])
        stored = journal.get_run("run-1")
        assert stored is not None
        found = {rate.method: (rate.intervals.quota, rate.points) for rate in run_rates(journal, stored)}
        recent = recent_rates(journal, Target(url=CLOUD), options, START + 1)
        later = recent_rates(journal, Target(url=CLOUD), options, START + 3700)
    assert found == {"PUT": (7, (Settled(1),)), "POST": (9, (Settled(2),)), "DELETE": (2, (Settled(0, 3),))}
    last = {rate.method: rate.points[-1] for rate in recent}
    assert last == {"PUT": Settled(1), "POST": Settled(2), "DELETE": Settled(0, 3)}
    assert [rate.method for rate in later] == ["PUT"], "of the others none was used in that hour"


def test_the_last_hour_counts_all_runs_of_the_organisation_and_what_its_first_windows_began_with(
    tmp_path: Path,
) -> None:
    target, options = Target(url=CLOUD), RunOptions()
    with open_journal(tmp_path) as journal:
        assert recent_rates(journal, target, options, START) == ()
        _run(journal, [-10.0, 30.0, 3599.0, 3601.0])
        _run(journal, [3599.5], run_id="run-2")
        (found,) = recent_rates(journal, target, options, START + 3600)
        assert found.span_s == 3600
        assert found.points[0] == Settled(1)  # from before the hour
        assert found.points[1] == Settled(2)
        assert found.points[-1] == Settled(2)
        (named,) = recent_rates(journal, Target(url=CLOUD, organization_id="another"), options, START + 3600)
        assert not any(sum(point) for point in named.points)
