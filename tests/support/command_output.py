"""Parses what a command printed and wrote, and checks what holds of every output."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

STATUSES = ("updated", "created", "deleted", "unchanged", "failed", "invalid", "pending")
SUMMARY_KEYS = [
    *("run_id", "status", "rows", "accounts", *STATUSES, "requests", "planned_puts", "naive_puts"),
    *("retries", "throttled", "elapsed_s", "note", "report"),
]
REPORT_COLUMNS = [
    *("row", "robot_account_id", "name", "status", "changes", "http_status", "error_code", "error"),
    *("attempts", "via", "finished_at", "run_id"),
]


def all_text(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, on both streams."""
    return done.stdout + done.stderr


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The messages that say why a command ended; each may be followed by an indented hint."""
    return [progress_line for progress_line in done.stderr.splitlines() if progress_line.startswith("bulkid: ")]


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
    assert set(summary["requests"]) == {"GET", "PUT", "POST", "DELETE"}
    return summary


def statuses(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """The statuses of a report's rows, in order."""
    return [row["status"] for row in rows]
