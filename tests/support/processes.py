"""Helpers of the tests of kills, signals, faults and tokens: watched processes, and checks of their results."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.bulkid_command import LONGEST_S, Bulkid
from tests.support.sandbox_host import Hosted, set_limits

STAGES = {
    "sheet": "Reading the sheet ...",
    "connect": "Connecting ...",
    "directory": "Reading the directory ...",
    "send": "Sending ...",
    "verify": "Reading back unconfirmed accounts ...",
    "report": "Writing the report ...",
}
"""What ``-v`` says on standard error when a stage begins."""


class Life:
    """A command under way, whose standard error is followed line by line as it appears.

    Args:
        bulkid: Where and with which settings.
        arguments: Of the command; ``-v`` is added, so that the stages are named.
        at: What to do in the moment a stage begins, by its name.
    """

    def __init__(
        self, bulkid: Bulkid, *arguments: str, at: dict[str, Callable[[], object]] | None = None, **more: Any
    ) -> None:
        self.lines: list[str] = []
        self.began: dict[str, float] = {}
        self._at = at or {}
        self._news = threading.Condition()
        self._ended = False
        self.started = time.monotonic()
        self.process = bulkid.start(*arguments, "-v", **more)
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for progress_line in self.process.stderr:
            name = next((name for name, words in STAGES.items() if progress_line.strip() == words), "")
            if name in self._at:
                self._at[name]()
            with self._news:
                self.lines.append(progress_line)
                if name:
                    self.began[name] = time.monotonic()
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def said(self) -> str:
        """Standard error so far."""
        return "".join(self.lines)

    def wait_for(self, stage: str) -> bool:
        """Wait until a stage begins; False when the process ended without."""
        return self.wait_until(lambda: stage in self.began)

    def wait_to_say(self, words: str) -> bool:
        """Wait until it says something; False when the process ended without."""
        return self.wait_until(lambda: words in self.said)

    def wait_until(self, true: Callable[[], bool]) -> bool:
        """Wait until something holds of what was said; False when the process ended before."""
        with self._news:
            assert self._news.wait_for(lambda: true() or self._ended, LONGEST_S), self.said
            return true()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL; TerminateProcess on Windows)."""
        self.process.kill()
        self._finish()

    def end(self, patience_s: float = LONGEST_S) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(patience_s)
        self._finish()
        return code

    def _finish(self) -> None:
        self.process.wait(LONGEST_S)
        self._reader.join(LONGEST_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


def bulkid_for(server: Hosted, folder: Path, **env: str) -> Bulkid:
    """A command in a folder of its own, connected as an admin would set it up by environment."""
    settings = {
        "BULKID_URL": server.url,
        "BULKID_CLIENT_ID": "sandbox",
        "BULKID_CLIENT_SECRET": "sandbox-secret",
        "BULKID_MAX_CHANGE": "100%",  # kills and the like change all of a small organisation
    }
    return Bulkid(folder, settings | env)


@dataclass
class World:
    """A server with some accounts, a command connected to it, and sheets that rename all of them."""

    server: Hosted
    bulkid: Bulkid
    rows: int
    accounts: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = self.server.accounts()[: self.rows]

    @property
    def groups(self) -> dict[str, str]:
        """Group ids by name."""
        return {group["name"]: group["id"] for group in self.server.groups()}

    def sheet(self, tag: str) -> dict[str, str]:
        """Write ``TAG.csv`` that gives every account a new display name; returns what is then wanted, by id."""
        wanted = {account["id"]: f"{tag} {number}" for number, account in enumerate(self.accounts)}
        lines = [f"{account_id},{name}\n" for account_id, name in wanted.items()]
        (self.bulkid.folder / f"{tag}.csv").write_text("id,display_name\n" + "".join(lines), encoding="utf-8")
        return wanted

    def names(self) -> dict[str, str]:
        """The display names that the server has now, by id."""
        return {account["id"]: account["displayName"] or "" for account in self.server.accounts()}

    def now(self) -> int:
        """The number that the server's next log entry will have."""
        return self.server.served()

    def log(self, method: str = "PUT", since: int = 0) -> list[dict[str, Any]]:
        """What the server was asked, from a log number on."""
        return [entry for entry in self.server.log(since) if entry["method"] == method]

    def puts(self, since: int = 0) -> Counter[str]:
        """How many PUTs arrived for each account."""
        return Counter(entry["account"] for entry in self.log("PUT", since))

    def settle(self, latency_s: float) -> None:
        """Let the server finish what a killed client had sent: it carries requests out although nobody listens."""
        before = -1
        while (now := self.now()) != before:
            before = now
            time.sleep(2 * latency_s)


@dataclass(frozen=True)
class Known:
    """What the journal knew about an account at some moment."""

    status: str
    intended: bool


def journal_of(bulkid: Bulkid) -> dict[str, dict[str, Known]]:
    """What the journal knows now, by run and account; read from a copy, so that looking changes nothing."""
    source = bulkid.folder / "state" / "bulkid.db"
    if not source.exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            part = source.with_name(source.name + suffix)
            if part.exists():
                shutil.copy(part, folder)
        connection = sqlite3.connect(Path(folder) / source.name)
        try:
            return _entries_of(connection)
        except sqlite3.OperationalError:  # killed before there were tables
            return {}
        finally:
            connection.close()


def _entries_of(connection: sqlite3.Connection) -> dict[str, dict[str, Known]]:
    columns = "runs.run_id, account_id, entries.status, intended_at is not null"
    query = f"select {columns} from runs left join entries using (run)"  # noqa: S608 - nothing from outside
    found: dict[str, dict[str, Known]] = {}
    for run_id, account_id, status, intended in connection.execute(query):
        entries = found.setdefault(run_id, {})
        if account_id is not None:
            entries[account_id] = Known(status, bool(intended))
    return found


def runs_of(bulkid: Bulkid) -> list[dict[str, Any]]:
    """Earlier runs, newest first, as ``bulkid runs --json`` tells them."""
    listed = bulkid("runs", "--json", "--limit", "100")
    assert listed.returncode == 0, listed.stderr
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    return found


def check_report(bulkid: Bulkid, run_id: str, rows: int) -> Counter[str]:
    """Each row of the sheet is in the report once, and the summary adds up to them; returns the rows by status."""
    report = bulkid.report(run_id)
    assert [int(progress_line["row"]) for progress_line in report] == list(range(2, rows + 2))
    assert {progress_line["run_id"] for progress_line in report} == {run_id}
    folder = bulkid.run_folder(run_id)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    counts = Counter(progress_line["status"] for progress_line in report)
    statuses = ("updated", "created", "deleted", "unchanged", "failed", "invalid", "pending")
    assert {status: summary[status] for status in statuses} == {status: counts[status] for status in statuses}
    assert sum(counts.values()) == summary["rows"] == rows
    assert (summary["status"] == "completed") == (not counts.keys() - {"updated", "created", "deleted", "unchanged"}), (
        summary
    )
    unsettled = counts["failed"] + counts["invalid"] + counts["pending"]
    expected = {"report.csv", "summary.json"} | ({"retry.csv"} if unsettled else set())
    assert {file.name for file in folder.iterdir()} == expected
    return counts


def lift_limits(server: Hosted) -> None:
    """Take away the server's limits."""
    server.portal.call(set_limits, server.sandbox, ())


def most_in_any_window(arrivals: Iterable[float], seconds: float) -> int:
    """The most arrivals in any rolling window of so many seconds."""
    moments = sorted(arrivals)
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def no_traceback(*outputs: str | subprocess.CompletedProcess[str]) -> None:
    """Nobody is ever shown a traceback."""
    for output in outputs:
        text = output if isinstance(output, str) else output.stderr
        assert "Traceback" not in text, text
        assert "Fatal Python error" not in text, text
        assert "Exception ignored" not in text, text


ON_WINDOWS = sys.platform == "win32"
COMMAND = (sys.executable, "-m", "bulkid")
