"""The benchmarks run, and their server reports what it received."""

import importlib
import json
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ACCOUNT = "00000002-0000-4000-8000-000000000002"
TEAM = "00000000-0000-4000-9000-000000000007"
EVERYONE = "00000000-0000-4000-9000-000000000000"


def script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    options = getattr(request, "param", ())
    command = [sys.executable, str(BENCHMARKS / "fast_server.py"), "--accounts", "5", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().split(":")[2].split("/")[0])
        process.terminate()


def raw(port: int, *pieces: bytes, answers: int = 1, closes: bool = False) -> list[tuple[int, Any]]:
    """Send pieces as they are; the status and body of as many answers, after which the server may close."""
    found: list[tuple[int, Any]] = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        with connection.makefile("rb") as stream:
            while len(found) < answers:
                status = int(stream.readline().split()[1])
                length = 0
                while (line := stream.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                found.append((status, json.loads(stream.read(length))))
            assert not closes or stream.read() == b""
    return found


def message(method: str, path: str, body: object = None, *, token: str = "Authorization: Bearer t\r\n") -> bytes:
    payload = b"" if body is None else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{token}content-length: {len(payload)}\r\n\r\n".encode() + payload


def put(account: str = ACCOUNT, **request: object) -> bytes:
    return message("PUT", f"/identity/api/RobotAccount/{account}", {"partitionGlobalId": ORGANIZATION, **request})


def test_a_put_is_applied_and_answered_with_the_account_as_it_is_then(port: int) -> None:
    (answer,) = raw(port, put(displayName="Robbie", groupIDsToAdd=[TEAM], groupIDsToRemove=[EVERYONE]))
    assert answer[0] == 200
    assert answer[1]["displayName"] == "Robbie"
    assert answer[1]["groupIds"] == [EVERYONE, TEAM]
    assert raw(port, message("GET", f"/identity/api/RobotAccount/{ORGANIZATION}/{ACCOUNT}")) == [answer]
    ((_, stats),) = raw(port, message("GET", "/_stats"))
    assert (stats["changed"], stats["served"]) == (1, {"GET": 1, "PUT": 1, "POST": 0})
    raw(port, message("POST", "/_reset"))
    ((_, stats),) = raw(port, message("GET", "/_stats"))
    assert (stats["changed"], stats["served"]["PUT"]) == (0, 0)


def test_requests_in_pieces_and_several_in_one_piece_are_answered_in_order(port: int) -> None:
    first, second = put(displayName="a"), put(displayName="b")
    whole = first + second
    for cut in (1, len(first) - 3, len(first), len(first) + 10):
        answers = raw(port, whole[:cut], whole[cut:], answers=2)
        assert [body["displayName"] for _, body in answers] == ["a", "b"]


def test_pages_groups_and_refusals_have_the_shapes_of_the_api(port: int) -> None:
    accounts = f"/identity/api/RobotAccount/{ORGANIZATION}"
    ((_, page),) = raw(port, message("GET", f"{accounts}?top=2&skip=3"))
    assert page["totalCount"] == 5
    assert [account["name"] for account in page["results"]] == ["robot-000003", "robot-000004"]
    ((_, groups),) = raw(port, message("GET", f"/identity/api/Group/{ORGANIZATION}"))
    assert groups[0] | {"id": ""} == groups[0] | {"id": "", "name": "Everyone", "type": "builtIn"}
    ((_, token),) = raw(port, message("POST", "/identity/connect/token", token=""))
    assert token["expires_in"] == 3600
    refused = [
        message("GET", accounts, token=""),
        put("nobody", displayName="x"),
        put(groupIDsToAdd=["no-such-group"], displayName="never"),
        message("PUT", f"/identity/api/RobotAccount/{ACCOUNT}", ["no", "object"]),
        message("GET", "/elsewhere"),
        message("GET", f"{accounts}?top=many"),
    ]
    assert [raw(port, each)[0][0] for each in refused] == [401, 404, 400, 400, 404, 400]
    ((_, stats),) = raw(port, message("GET", "/_stats"))
    assert stats["changed"] == 0


@pytest.mark.parametrize("port", [("--limit", "2/60")], indirect=True)
def test_above_its_limit_the_server_answers_429_and_counts_it(port: int) -> None:
    assert [raw(port, put(displayName="x"))[0][0] for _ in range(3)] == [200, 200, 429]
    ((_, stats),) = raw(port, message("GET", "/_stats"))
    assert (stats["served"]["PUT"], stats["refused_429"]) == (3, 1)


@pytest.mark.parametrize("port", [("--cost", "1000")], indirect=True)
def test_a_slow_server_applies_and_answers_each_put(port: int) -> None:
    first, second = raw(port, put(displayName="a") + put("nobody", displayName="x"), answers=2)
    assert (first[0], first[1]["displayName"], second[0]) == (200, "a", 404)
    last = put(displayName="b").replace(b"content-length", b"connection: close\r\ncontent-length")
    assert raw(port, last, closes=True)[0][1]["displayName"] == "b"
    ((_, stats),) = raw(port, message("GET", "/_stats"))
    assert (stats["changed"], stats["served"]["PUT"]) == (1, 3)
    assert 0 < stats["idle_s"] < stats["put_span_s"]


@given(pauses=st.lists(st.integers(0, 30), max_size=40), cost=st.integers(1, 10), late=st.integers(0, 25))
def test_a_backlog_takes_the_cost_for_each_request_that_waits(pauses: list[int], cost: int, late: int) -> None:
    """Requests come in after pauses; the process looks at the clock only now and then, so that it is up to ``late``."""
    clock, due_calls, sent, arrivals = 0, deque[Callable[[], None]](), list[int](), list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        backlog = importlib.import_module("backlog").Backlog(cost, lambda: clock, due_calls.append)

    def pass_time(until: int) -> None:
        nonlocal clock
        while clock < until:
            clock = min(until, clock + 1 + late)
            if due_calls:
                due_calls.popleft()()

    for pause in pauses:
        pass_time(clock + pause)
        arrivals.append(clock)
        backlog.add(lambda: sent.append(clock))
    pass_time(clock + cost * len(pauses) + late + 1)
    free_at, idle, expected = arrivals[0] if arrivals else 0, 0, list[int]()
    for arrival in arrivals:
        idle += max(0, arrival - free_at)
        free_at = max(free_at, arrival) + cost
        expected.append(free_at)
    assert len(sent) == len(pauses)
    assert all(due <= at <= due + late + 1 for due, at in zip(expected, sent, strict=True))
    assert backlog.idle_s == idle
    assert not due_calls


def test_the_plans_are_counted_beside_one_put_per_row() -> None:
    lines = script("plans.py", "--rows", "400", "--batch", "200").splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines[2:]}
    assert cells["400 accounts into 3 groups"] == ["400 (10 min)", "400 (10 min)", "6 (0 min)"]
    assert cells["400 renames"] == ["400 (10 min)"] * 3
    mixed = [int(cell.split()[0]) for cell in cells["400 mixed changes over 40 groups, 20 % renames"]]
    assert mixed[:2] == [400, 400]
    assert 80 <= mixed[2] <= 200
    settled = [int(cell.split()[0]) for cell in cells["the mixed changes, 70 % of the 400 rows already as wanted"]]
    assert settled[:2] == [400, 120]
    assert settled[2] < 120


def test_the_choice_of_requests_can_be_timed() -> None:
    lines = script("cover.py", "--scale", "0.01").splitlines()
    assert len(lines) == 8
    assert lines[2].startswith("| 100 accounts into 3 groups | 300 | 100 | 3 | ")


@pytest.mark.slow
def test_group_requests_are_timed_against_the_sandbox() -> None:
    row = script("groups.py", "--accounts", "60", "--count", "20", "--seconds", "1").splitlines()[2]
    assert row.startswith("| 60 | 3 | 0 | ")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is measured in another way there")
def test_creations_and_deletions_are_measured_against_the_sandbox() -> None:
    rows = [line.split(" | ") for line in script("lifecycle.py", "--accounts", "60").splitlines()[2:]]
    requests = {cells[0].strip("| "): cells[2] for cells in rows}
    assert "60 POST" in requests["create in three groups"]
    assert "3 POST" in requests["into three new groups"]
    assert "1 DELETE" in requests["delete"]
    assert not any("PUT" in sent for sent in requests.values())


@pytest.mark.slow
@pytest.mark.parametrize("server", [("--server", "fast"), pytest.param((), marks=pytest.mark.soak)])
def test_the_comparison_with_the_admins_script_runs_and_every_row_arrives(server: tuple[str, ...]) -> None:
    shown = script("throughput.py", "--rows", "60", "--runs", "1", "--warm-up", "0", *server)
    assert "| baseline |" in shown
    assert shown.count("bulkid / baseline, pair by pair: wall ") == (1 if server else 2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the hammer needs uvloop and resource usage")
def test_the_other_benchmarks_run() -> None:
    assert "PUT/s" in script("hammer.py", "--requests", "100")
    assert "bulkid --version / import typer, rich" in script("startup.py", "--runs", "1", "--warm-up", "0")
    assert "| 6 | 0 |" in script("quota.py", "--rows", "6", "--count", "3", "--seconds", "0.5")
    some = [each for name in ("check", "resume --via g") for each in ("--command", name)]
    assert memory("--workload", "mixed", *some) == ["check", "resume --via groups"]


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is measured in another way there")
def test_the_memory_of_every_command_is_measured() -> None:
    assert "| bulkid |" in script("memory.py", "--rows", "60", "--script")
    assert memory("--workload", "mixed", "--workload", "unknown") == [
        *("check", "plan", "plan (quota)", "run", "run (groups)"),
        *(f"{command} --via {via}" for command in ("resume", "undo", "run --plan") for via in ("accounts", "groups")),
        *("check", "plan", "plan (quota)", "run"),
    ]


def memory(*arguments: str) -> list[str]:
    """The commands whose memory was measured."""
    shown = script("memory.py", "--rows", "60", "--kind", "csv", *arguments)
    return [line.split(" | ")[2] for line in shown.splitlines()[2:]]


def test_many_organisations_run_in_one_process() -> None:
    lines = script("organisations.py", "--organisations", "3", "--rows", "5", "--window", "1").splitlines()
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[:3] == ["3", "15", "0"]
