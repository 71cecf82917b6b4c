"""One account that is answered 401 or 403 over real sockets: only its row fails, and few requests are repeated."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkid.model import QuotaRule
from tests.support.bulkid_command import ANY_CHANGE, SECRET, Bulkid
from tests.support.command_output import assert_clear, summary_of
from tests.support.group_runs import by_name, emptied, into_groups, memberships, run
from tests.support.sandbox_host import hosted
from tests.support.sheets import renames

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def connected(folder: Path, url: str, **env: str) -> Bulkid:
    credentials = {"BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": SECRET}
    return Bulkid(folder, {"BULKID_URL": url, **credentials, **ANY_CHANGE, **env})


@pytest.mark.parametrize(("option", "status", "code"), [("unauthorized", 401, "unauthorized"), ("forbidden", 403, "")])
@pytest.mark.parametrize("concurrency", ["1", "16"])
def test_an_account_that_is_always_refused_fails_alone(
    option: str, status: int, code: str, concurrency: str, tmp_path: Path
) -> None:
    renames(tmp_path, 120)
    with hosted(accounts=150, **{option: ("robot-0007",)}) as host:
        bulkid = connected(tmp_path, host.url)
        summary = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--concurrency", concurrency))
        assert (summary["updated"], summary["failed"], summary["pending"]) == (119, 1, 0)
        assert summary["requests"]["POST"] == 1, "one token"
        assert summary["requests"]["PUT"] <= 121
        (failed,) = [row for row in bulkid.report() if row["status"] == "failed"]
        assert (failed["name"], failed["http_status"]) == ("robot-0007", str(status))
        assert failed["error_code"] == (code or "forbidden")
        assert "only" in failed["error"]


@pytest.mark.parametrize(
    "names",
    [
        ("robot-0001",),
        tuple(f"robot-{n:04d}" for n in range(1, 31)),
        tuple(f"robot-{n:04d}" for n in range(1, 61, 2)),
    ],
    ids=["one", "the first half", "every second"],
)
def test_a_given_token_outlives_accounts_that_are_always_refused(names: Sequence[str], tmp_path: Path) -> None:
    renames(tmp_path, 60)
    with hosted(accounts=80, static_tokens=("given",), unauthorized=names) as host:
        env = {"BULKID_CLIENT_ID": "", "BULKID_CLIENT_SECRET": "", "BULKID_ACCESS_TOKEN": "given"}
        bulkid = connected(tmp_path, host.url, **env, BULKID_ORGANIZATION_ID=ORG)
        summary = summary_of(bulkid("run", "sheet.csv", "--yes", "--json"))
        assert (summary["updated"], summary["failed"]) == (60 - len(names), len(names))
        assert summary["requests"]["PUT"] == 60 + len(names)


def test_a_run_of_one_account_that_is_always_refused_calls_it_failed(tmp_path: Path) -> None:
    renames(tmp_path, 1)
    with hosted(accounts=20, unauthorized=("robot-0001",)) as host:
        done = connected(tmp_path, host.url)("run", "sheet.csv", "--yes", "--json")
        summary = summary_of(done)
        assert (done.returncode, summary["failed"], summary["requests"]["POST"]) == (1, 1, 1)


def test_tokens_that_are_all_refused_from_some_moment_on_stop_the_run(tmp_path: Path) -> None:
    renames(tmp_path, 300)
    with hosted(accounts=360, token_lifetime_s=0) as host:
        done = connected(tmp_path, host.url)("run", "sheet.csv", "--yes", "--json")
        assert_clear(done, 3, "401", "BULKID_CLIENT_ID")
        assert summary_of(done)["pending"] == 300
        assert summary_of(done)["requests"]["POST"] == 2
        assert not host.puts()


@pytest.mark.parametrize("option", ["unauthorized", "forbidden"])
def test_a_member_that_is_always_refused_does_not_keep_the_others_from_going_by_group(
    option: str, tmp_path: Path
) -> None:
    with hosted(accounts=300, **{option: ("robot-0150",)}) as host:
        names = emptied(host, 200)
        result, rows = run(host, tmp_path, into_groups(tmp_path, names, ["Finance"]))
        assert (result.exit_code, result.summary["updated"], result.summary["failed"]) == (1, 199, 1)
        assert by_name(rows)["robot-0150"]["status"] == "failed"
        assert memberships(host, "Finance") >= set(names) - {"robot-0150"}
        assert result.summary["requests"]["PUT"] <= 30
        assert result.summary["requests"]["POST"] == 1


@pytest.mark.parametrize("style", ["three", "one", "structured"])
def test_rate_limit_headers_pace_a_run_whose_own_quota_is_lifted(style: str, tmp_path: Path) -> None:
    limits = (QuotaRule("PUT", 12, 1.0),)
    with hosted(accounts=120, rate_headers=style, limits=limits) as host:
        renames(tmp_path, 30)
        bulkid = connected(tmp_path, host.url)
        paced = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--quota", "none", "--concurrency", "4"))
        assert (paced["updated"], paced["throttled"], paced["requests"]["PUT"]) == (30, 0, 30)


def test_without_these_headers_the_same_run_is_throttled(tmp_path: Path) -> None:
    with hosted(accounts=120, limits=(QuotaRule("PUT", 5, 1.0),)) as host:
        renames(tmp_path, 12)
        bulkid = connected(tmp_path, host.url)
        summary = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--quota", "none", "--concurrency", "8"))
        assert summary["updated"] == 12
        assert summary["throttled"] > 0
