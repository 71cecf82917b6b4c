"""The ``bulkid`` command with a folder and settings of its own: called in this process, or started as one."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bulkid.cli import terminal
from tests.support.cli_runner import as_text, call_cli
from tests.support.forked_command import INTERPRETER, ForkedCommand

ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_data"
LONGEST_S = 120
SECRET = "sandbox-secret"
ANY_CHANGE = {"BULKID_MAX_CHANGE": "100%"}


def clean_environment() -> dict[str, str]:
    """The environment without anything that a developer's own settings would add."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("BULKID_")}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None)
    return {**kept, **INTERPRETER, "COLUMNS": "160", "NO_COLOR": "1"}


def _of_interpreter(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


@dataclass
class Bulkid:
    """The command, with a working directory, a state directory and settings of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """The environment that the command gets."""
        return {**clean_environment(), "BULKID_STATE_DIR": str(self.folder / "state"), **self.env}

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, in this process."""
        data = None if stdin is None else stdin.encode()
        done = call_cli(arguments, folder=self.folder, env=self.settings(), stdin=data)
        return subprocess.CompletedProcess(done.args, done.returncode, as_text(done.stdout), as_text(done.stderr))

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run the command in this process with a terminal for its output; gives the exit code and what was written."""
        kept = {name: value for name, value in self.settings().items() if name not in ("NO_COLOR", "CI")}
        done = call_cli(arguments, folder=self.folder, env={**kept, "TERM": "xterm-256color"}, terminal=True)
        return done.returncode, done.stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n")

    def as_process(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, as a process."""
        return subprocess.run(
            [sys.executable, "-m", "bulkid", *arguments],
            cwd=self.folder,
            env=self.settings(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LONGEST_S,
            check=False,
        )

    def start(
        self, *arguments: str, new: bool = False, terminal: int | None = None, **more: Any
    ) -> "subprocess.Popen[str]":
        """Start the command as a process and return at once.

        Args:
            arguments: Of the command.
            new: With an interpreter of its own, where its start matters; otherwise, on Linux, as a copy of a process
                that has imported the command line (:mod:`tests.support.forked_command`).
            terminal: A terminal's descriptor, for its standard input and standard error.
            more: Arguments of ``Popen``; they have an interpreter of its own too.
        """
        env = self.settings()
        alike = _of_interpreter(env) == _of_interpreter(clean_environment())
        if sys.platform == "linux" and alike and not new and not more:
            return cast(
                "subprocess.Popen[str]", ForkedCommand(arguments, folder=self.folder, env=env, terminal=terminal)
            )
        return subprocess.Popen(
            [sys.executable, "-m", "bulkid", *arguments],
            cwd=self.folder,
            env=env,
            stdin=more.pop("stdin", subprocess.DEVNULL if terminal is None else terminal),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            encoding="utf-8",
            **more,
        )

    def report(self, run_id: str | None = None) -> list[dict[str, str]]:
        """The rows of a run's report.csv (the only run's, when none is named)."""
        folder = self.run_folder(run_id)
        with (folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def run_folder(self, run_id: str | None = None) -> Path:
        """The folder of a run's report files."""
        reports = self.folder / "reports"
        if run_id is not None:
            return reports / run_id
        (only,) = reports.iterdir()
        return only


def connected_to(folder: Path, url: str, **env: str) -> Bulkid:
    """The command, connected to a server as an administrator sets it up: by environment.

    These organisations are small and most tests change all of one: without ``BULKID_MAX_CHANGE=""`` they may.
    """
    settings = {"BULKID_URL": url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": SECRET, **ANY_CHANGE}
    return Bulkid(folder, {name: value for name, value in (settings | env).items() if value})


class Crash(BaseException):
    """Ends a command wherever it is; nothing in the product expects it."""


def crash(bulkid: Bulkid, stage: str, *arguments: str) -> None:
    """Call a command that breaks off in the moment a stage begins: no word, no report, no end in the journal.

    Cheaper than a kill, and for what was written until then the same. (What a process leaves open, a kill shows.)
    """
    shown = terminal.TerminalHooks.stage

    def begins(face: terminal.TerminalHooks, name: str) -> None:
        shown(face, name)
        if name == stage:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal.TerminalHooks, "stage", begins)
        done = bulkid(*arguments)
    assert "Crash" in done.stderr, done.stderr


def end_of(process: "subprocess.Popen[str]") -> subprocess.CompletedProcess[str]:
    """Wait for a command that was started, as if it had been called."""
    out, err = process.communicate(timeout=LONGEST_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
