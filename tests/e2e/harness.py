"""Starts the product as its users do: as processes, over real sockets, on 127.0.0.1 only."""

import csv
import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_data"
LONGEST_S = 120


def _clean_environment() -> dict[str, str]:
    """The environment without anything that a developer's own settings would add."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("BULKID_")}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None)
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "160", "NO_COLOR": "1"}


@dataclass
class Server:
    """A sandbox in a process of its own."""

    options: tuple[str, ...] = ()
    url: str = ""
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bulkid", "sandbox", "--port", "0", *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=_clean_environment()
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "BULKID_URL=" in line:
                self.url = line.split("=", 1)[1].strip()
            if "limits" in line:
                return self
        raise AssertionError("the sandbox did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(LONGEST_S)
        self.process.stdout.close()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url.rsplit("/", 1)[0]

    def get(self, path: str) -> Any:
        """Ask one of the sandbox's own pages (``state``, ``log``)."""
        with urllib.request.urlopen(f"{self.origin}/_sandbox/{path}", timeout=LONGEST_S) as answer:  # noqa: S310
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """Tell the sandbox something (``faults``, ``limits``, ``account/ID``)."""
        request = urllib.request.Request(  # noqa: S310 - always this test's own server
            f"{self.origin}/_sandbox/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:  # noqa: S310
            return json.load(answer)


@dataclass
class Bulkid:
    """The command, with a working directory, a state directory and settings of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """The environment that the command gets."""
        return {**_clean_environment(), "BULKID_STATE_DIR": str(self.folder / "state"), **self.env}

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start the command and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "bulkid", *arguments],
            cwd=self.folder,
            env=self.settings(),
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            **more,
        )

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
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
