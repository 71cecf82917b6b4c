"""A sandbox in a thread of the test (so that its rights, its life and its record are at hand), and what to look for."""

import csv
import json
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from harness import LONGEST_S, Bulkid

from bulkid.sandbox import Sandbox, SandboxOptions

SECRET = "sandbox-secret"
ANY_CHANGE = {"BULKID_MAX_CHANGE": "100%"}
STATUSES = ("updated", "unchanged", "failed", "invalid", "pending")
SUMMARY_KEYS = [
    *("run_id", "status", "rows", "accounts", *STATUSES, "requests", "planned_puts", "naive_puts"),
    *("retries", "throttled", "elapsed_s", "report"),
]
REPORT_COLUMNS = [
    *("row", "robot_account_id", "name", "status", "changes", "http_status", "error_code", "error"),
    *("attempts", "via", "finished_at", "run_id"),
]


@dataclass
class Hosted:
    """A sandbox on a real socket, served by a thread of this process; it keeps its state when it stops."""

    sandbox: Sandbox
    portal: BlockingPortal = field(repr=False)
    port: int = 0

    @property
    def url(self) -> str:
        return self.sandbox.url

    def start(self) -> None:
        """Listen; again on the same port when it did before."""
        self.portal.call(self.sandbox.start, "127.0.0.1", self.port)
        self.port = int(self.sandbox.url.rsplit(":", 1)[1].partition("/")[0])

    def stop(self) -> None:
        """Hang up on everybody and listen no more."""
        self.portal.call(self.sandbox.stop)

    def display_name(self, name: str) -> str | None:
        """The display name of an account, as the server has it."""
        by_name = {account.name: account for account in self.sandbox.state.accounts.values()}
        return by_name[name].display_name

    def puts(self) -> list[Any]:
        """The PUTs that came in, in order."""
        return [entry for entry in tuple(self.sandbox.log) if entry.method == "PUT"]


@contextmanager
def hosted(**options: Any) -> Iterator[Hosted]:
    """A sandbox without limits (unless told otherwise), served while the block runs."""
    given = {"accounts": 300, "limits": ()} | options
    with start_blocking_portal() as portal:
        host = Hosted(Sandbox(SandboxOptions(**given)), portal)
        host.start()
        try:
            yield host
        finally:
            host.stop()


def sheet_of(folder: Path, rows: Sequence[Sequence[str]], name: str = "sheet.csv") -> Path:
    """Write a sheet of text."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def renames(folder: Path, count: int, prefix: str = "New", name: str = "sheet.csv") -> Path:
    """A sheet that gives so many robots another display name."""
    rows = [("name", "display_name"), *((f"robot-{n:04d}", f"{prefix} {n}") for n in range(1, count + 1))]
    return sheet_of(folder, rows, name)


def all_text(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, on both streams."""
    return done.stdout + done.stderr


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The messages that say why a command ended; each may be followed by an indented hint."""
    return [line for line in done.stderr.splitlines() if line.startswith("bulkid: ")]


def assert_clear(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    """One message on standard error that holds the words, the exit code, and nothing of Python's inside."""
    assert done.returncode == exit_code, all_text(done)
    assert "Traceback" not in all_text(done), done.stderr
    assert 'File "' not in all_text(done), done.stderr
    (message,) = errors_of(done)
    hint = "".join(re.findall(r"^  \S.*$", done.stderr, re.MULTILINE))
    for word in words:
        assert word.casefold() in f"{message} {hint}".casefold(), done.stderr


def assert_no_secret(folder: Path, done: Iterable[subprocess.CompletedProcess[str]], *secrets: str) -> None:
    """No secret in what was printed, nor in any file that was written below the folder."""
    for secret in secrets:
        for each in done:
            assert secret not in all_text(each)
        for path in folder.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


def summary_of(done: subprocess.CompletedProcess[str], extra: Sequence[str] = ()) -> Mapping[str, Any]:
    """The one JSON object on standard output, checked to have the contract's keys and to add up."""
    summary: dict[str, Any] = json.loads(done.stdout)
    keys = [key for key in summary if key not in extra]
    assert keys == SUMMARY_KEYS, keys
    assert all(key in summary for key in extra)
    assert sum(summary[status] for status in STATUSES) == summary["rows"]
    assert set(summary["requests"]) == {"GET", "PUT", "POST"}
    return summary


def statuses(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """The statuses of a report's rows, in order."""
    return [row["status"] for row in rows]


def connected_to(folder: Path, url: str, **env: str) -> Bulkid:
    """The command, connected to a server in the way that most are.

    These organisations are small and most tests change all of one: without ``BULKID_MAX_CHANGE=""`` they may.
    """
    settings = {"BULKID_URL": url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": SECRET, **ANY_CHANGE}
    return Bulkid(folder, {name: value for name, value in (settings | env).items() if value})


def end_of(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a command that was started, as if it had been called."""
    out, err = process.communicate(timeout=LONGEST_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for_puts(host: Hosted, count: int) -> None:
    """Until so many PUTs have come in."""
    deadline = time.monotonic() + LONGEST_S
    while len(host.puts()) < count:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)
