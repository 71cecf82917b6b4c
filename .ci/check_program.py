"""Check the program that needs no Python: the main job, a stop and a resume, the console, notifications, PostgreSQL.

    python .ci/check_program.py dist/bulkid

The program gets no PATH, so that it can start no Python. It works on the sandbox, in a temporary folder.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import IO, Any, Final, cast

ROOT: Final = Path(__file__).resolve().parents[1]
SAMPLES: Final = ROOT / "sample_data"
PATIENCE_S: Final = 120.0
INTERRUPTED: Final = 5
KEPT: Final = ("SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA")  # what a program of Windows needs
ON_WINDOWS: Final = sys.platform == "win32"


class Program:
    """The program, with a folder of its own for what it writes."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file
        self.folder = folder
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._environment = {**kept, "BULKID_STATE_DIR": str(folder / "state"), "PYTHONUTF8": "1"}

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start it, with pipes for what it prints."""
        return subprocess.Popen(  # noqa: S603 - the program under test, and no shell
            [str(self._file), *arguments],
            cwd=self.folder,
            env={**self._environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            **({"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {}),
        )

    def run(self, *arguments: str, exits: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """Run it to its end; return what it printed on standard output.

        Raises:
            SystemExit: It ended with another exit code.
        """
        with self.start(*arguments, environment=environment) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        require(process.returncode == exits, f"{' '.join(arguments)} ended with {process.returncode}:\n{out}{err}")
        return out

    @contextmanager
    def serving(self, *arguments: str, lines: int) -> "Iterator[tuple[subprocess.Popen[str], list[str]]]":
        """Run a server; yield it with the first lines that it prints. It must end with 0 when it is stopped."""
        with self.start(*arguments) as process:
            try:
                yield process, [cast("IO[str]", process.stdout).readline() for _ in range(lines)]
                stop(process)
                _, err = process.communicate(timeout=PATIENCE_S)
                require(process.returncode == 0, f"{arguments[0]} ended with {process.returncode}:\n{err}")
            finally:
                process.kill()


def require(condition: bool, problem: str) -> None:
    """End with a problem unless a condition holds."""
    if not condition:
        raise SystemExit(f"check_program: {problem}")


def stop(process: "subprocess.Popen[str]") -> None:
    """Ask a process to stop, as its system does: SIGTERM, or Ctrl+Break on Windows."""
    process.send_signal(signal.CTRL_BREAK_EVENT if sys.platform == "win32" else signal.SIGTERM)


def check_main_job(program: Program) -> None:
    """The sample sheets as a workbook and as CSV, each read by a child process, on the embedded sandbox."""
    for sheet in ("robot_accounts.xlsx", "robot_accounts.csv"):
        program.run("check", str(SAMPLES / sheet))
        found = json.loads(program.run("run", str(SAMPLES / sheet), "--sandbox", "--yes", "--json", "--format", "xlsx"))
        require(found["status"] == "completed" and found["updated"] > 0, f"{sheet}: {found}")
        report = Path(found["report"])
        require(report.is_file() and report.with_suffix(".xlsx").is_file(), f"{sheet}: no report in {report.parent}")


def check_stop_and_resume(program: Program) -> None:
    """A run that is stopped ends with 5, and its resume finishes it."""
    with program.serving("sandbox", "--port", "0", lines=5) as (_, lines):
        connection = dict(line.removeprefix("  export ").split("=", 1) for line in lines[2:5])
        environment = {name: value.strip().strip("'") for name, value in connection.items()}
        environment["BULKID_STATE_DIR"] = str(program.folder / "state of the stopped run")
        sheet = str(SAMPLES / "robot_accounts.xlsx")
        slow = {**environment, "BULKID_RATE": "10", "BULKID_VIA": "accounts"}
        with program.start("run", sheet, "--yes", "--json", environment=slow) as process:
            end = time.monotonic() + PATIENCE_S
            while not any(each["updated"] for each in _runs(program, environment)):
                require(process.poll() is None and time.monotonic() < end, "the run did not begin to send")
            stop(process)
            out, err = process.communicate(timeout=PATIENCE_S)
        require(process.returncode == INTERRUPTED, f"a stopped run ended with {process.returncode}:\n{out}{err}")
        require(out.startswith("{"), f"a stopped run printed no summary:\n{out}{err}")
        first = json.loads(out)
        require(first["status"] == "interrupted" and first["pending"] > 0, f"a stopped run: {first}")
        last = json.loads(program.run("resume", "--json", environment=environment))
        require(last["status"] == "completed" and last["pending"] == 0, f"its resume: {last}")


def _runs(program: Program, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(program.run("runs", "--json", environment=environment))
    return found


def check_console(program: Program) -> None:
    """The console signs in by its link, and serves a page, its style sheet and its health."""
    with program.serving("serve", "--sandbox", "--port", "0", lines=3) as (_, lines):
        (link,) = (line.strip() for line in lines if "/enter?key=" in line)
        base = link.partition("/enter")[0]
        browser = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({})
        )

        def get(address: str) -> str:
            with browser.open(address, timeout=PATIENCE_S) as answer:
                return str(answer.read().decode())

        require("Upload" in get(link), "the home page has no upload")
        require("{" in get(f"{base}/static/console.css"), "there is no style sheet")
        require(get(f"{base}/health") == "ok\n", "the console is not healthy")


def check_optional_parts(program: Program) -> None:
    """Notifications have their services, and PostgreSQL its driver."""
    notify = {"BULKID_NOTIFY_FAILURE": "mailtos://user:pass@example.com slack://a/b/c json://localhost"}
    found = json.loads(program.run("doctor", "--sandbox", "--json", environment=notify))["findings"]
    (finding,) = (each for each in found if each["subject"] == "notify")
    require(finding["ok"] is True, f"notifications: {finding}")
    database = {"BULKID_DATABASE_URL": "postgresql+psycopg://bulkid:none@127.0.0.1:9/bulkid"}
    with program.start("doctor", "--sandbox", environment=database) as process:
        printed = "".join(process.communicate(timeout=PATIENCE_S))
    require("cannot be reached" in printed, f"PostgreSQL: {printed}")


def main() -> None:
    """Run all checks; name each that is done."""
    parser = argparse.ArgumentParser(description="Check the program that needs no Python.")
    parser.add_argument("folder", type=Path, help="the folder that .ci/build_program.py made")
    folder = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        program = Program(folder / ("bulkid.exe" if ON_WINDOWS else "bulkid"), Path(scratch))
        print(program.run("--version"), end="")
        for check in (check_main_job, check_stop_and_resume, check_console, check_optional_parts):
            check(program)
            print(f"{check.__name__}: ok", flush=True)


if __name__ == "__main__":
    main()
