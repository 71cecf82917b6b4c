"""The quota as the server counts it: never exceeded in any rolling window, whatever the network does."""

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from bulkid.model import QuotaRule
from bulkid.sandbox.options import Faults
from tests.support.bulkid_command import Bulkid, connected_to
from tests.support.command_output import statuses, summary_of
from tests.support.sandbox_host import Hosted, hosted, meanwhile, set_faults, wait_for_puts
from tests.support.sheets import renames

RULE = QuotaRule("PUT", 20, 0.5)
OPTION = "PUT=20/0.5"


def most_in_a_window(arrivals: Sequence[float], seconds: float) -> int:
    """The most requests that arrived within any ``seconds``."""
    ordered = sorted(arrivals)
    most = start = 0
    for end, arrived in enumerate(ordered):
        while ordered[start] <= arrived - seconds:
            start += 1
        most = max(most, end - start + 1)
    return most


def assert_all_updated(host: Hosted, bulkid: Bulkid, count: int) -> None:
    assert all(host.display_name(f"robot-{n:04d}") == f"New {n}" for n in range(1, count + 1))
    assert statuses(bulkid.report()) == ["updated"] * count


@pytest.mark.slow
@pytest.mark.parametrize("network", [{}, {"latency_s": 0.03, "jitter_s": 0.15}], ids=["at once", "with jitter"])
def test_no_rolling_window_holds_more_than_the_quota(tmp_path: Path, network: dict[str, float]) -> None:
    renames(tmp_path, 60)
    with hosted(accounts=80, limits=(RULE,), **network) as host:
        bulkid = connected_to(tmp_path, host.url)
        done = bulkid("run", "sheet.csv", "--yes", "--json", "--quota", OPTION)
        assert done.returncode == 0, done.stderr
        puts = host.puts()
        assert {entry.status for entry in puts} == {200}, "no 429"
        assert len(puts) == 60
        assert most_in_a_window([entry.arrived for entry in puts], RULE.seconds) <= RULE.count
        summary = summary_of(done)
        assert (summary["throttled"], summary["retries"], summary["requests"]["PUT"]) == (0, 0, 60)
        assert_all_updated(host, bulkid, 60)


@pytest.mark.slow
def test_a_quota_that_others_use_too_is_survived(tmp_path: Path) -> None:
    renames(tmp_path, 40)
    rule = QuotaRule("PUT", 20, 1.0)
    with hosted(accounts=80, limits=(rule,), latency_s=0.02, jitter_s=0.05) as host:
        bulkid = connected_to(tmp_path, host.url)

        def take_the_rest() -> None:
            """Another client of the same server takes what is left of the window."""
            while host.sandbox.limits.admit("PUT", time.monotonic()) is None:
                pass

        def until_one_is_refused(ended: threading.Event) -> None:
            wait_for_puts(host, 5)
            while not (ended.wait(0.01) or any(entry.status == 429 for entry in host.puts())):
                host.portal.call(take_the_rest)

        with meanwhile(until_one_is_refused):
            done = bulkid("run", "sheet.csv", "--yes", "--json", "--quota", "PUT=20/1", "--concurrency", "4")
        assert done.returncode == 0, done.stderr
        summary = summary_of(done)
        refused = [entry for entry in host.puts() if entry.status == 429]
        assert refused, "the others were in the way"
        assert summary["throttled"] == len(refused)
        assert {entry.status for entry in host.puts()} == {200, 429}
        assert (summary["updated"], summary["failed"]) == (40, 0)
        assert_all_updated(host, bulkid, 40)
        assert all(row["attempts"] == "1" for row in bulkid.report()), "a 429 says nothing of the row"


@pytest.mark.slow
def test_while_the_server_says_retry_after_one_request_probes_and_the_others_wait(tmp_path: Path) -> None:
    renames(tmp_path, 60)
    with hosted(accounts=80, latency_s=0.03) as host:
        bulkid = connected_to(tmp_path, host.url)

        def throttle(_: threading.Event) -> None:
            wait_for_puts(host, 12)
            host.portal.call(set_faults, host.sandbox, Faults(throttle=1.0, retry_after_s=1))
            before = len(host.puts())
            wait_for_puts(host, before + 6)
            host.portal.call(set_faults, host.sandbox, Faults())

        with meanwhile(throttle):
            done = bulkid("run", "sheet.csv", "--yes", "--json", "--concurrency", "4")
        assert done.returncode == 0, done.stderr
        refused = [index for index, entry in enumerate(host.puts()) if entry.status == 429]
        assert refused == list(range(refused[0], refused[-1] + 1)), "between them nothing got through"
        arrivals = [entry.arrived for entry in host.puts()[refused[0] : refused[-1] + 2]]
        together = sum(later - first < 0.9 for first, later in pairwise(arrivals)) + 1
        assert together <= 4, "only what was in flight when the first refusal came in"
        assert all(later - first >= 1.0 for first, later in pairwise(arrivals[together - 1 :]))
        assert summary_of(done)["throttled"] == len(refused)
        assert_all_updated(host, bulkid, 60)
