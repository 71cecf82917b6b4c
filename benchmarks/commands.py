"""The commands that the benchmarks compare."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from sys import executable

from directory import ORGANIZATION, TOKEN
from harness import HERE, ROOT, Variant, expect_changed, reset

CREDENTIALS = {"BULKID_ACCESS_TOKEN": TOKEN, "BULKID_ORGANIZATION_ID": ORGANIZATION}


def baseline(sheet: Path, url: str, rows: int, scratch: Path) -> Variant:
    """The admin's script."""
    command = [executable, str(HERE / "baseline_script.py"), str(sheet), url, TOKEN, ORGANIZATION]
    return Variant(
        "baseline",
        [*command, str(scratch / "report.csv")],
        prepare=lambda: reset(url) or (),
        check=lambda: expect_changed(url, rows),
    )


def command_of(
    name: str,
    command: str,
    sheet: Path,
    *options: str,
    url: str = "",
    scratch: Path | None = None,
    exits: frozenset[int] = frozenset({0}),
) -> Variant:
    """``check``, or ``plan`` or ``run`` on a server that is reset first, with a state directory of its own."""

    def prepare() -> Sequence[str]:
        if not url:
            return [command, str(sheet)]
        reset(url)
        fresh = Path(tempfile.mkdtemp(dir=scratch))
        made = ["--state-dir", str(fresh / "state"), command, str(sheet), "--url", url, "--quiet", *options]
        more = ["--report-dir", str(fresh / "reports"), "--yes", "--yes-really"]
        return [*made, *more] if command == "run" else made

    return Variant(name, [executable, "-m", "bulkid"], CREDENTIALS, prepare=prepare, exits=exits)


def second_command(command: str, sheet: Path, *options: str, url: str, scratch: Path) -> Variant:
    """``resume``, ``undo`` or ``run --plan``, after the command that it goes on from, which is not measured.

    ``resume`` takes up all accounts but one, which a trial has sent.
    """

    def prepare() -> Sequence[str]:
        reset(url)
        fresh = Path(tempfile.mkdtemp(dir=scratch))
        state, plan = ["--state-dir", str(fresh / "state")], fresh / "plan.json"
        agreed = ["--yes", "--yes-really", "--quiet"]
        sending = ["--report-dir", str(fresh / "reports"), *options, *agreed]
        if command == "run --plan":
            _run([*state, "plan", str(sheet), "--url", url, "--quiet", *options, "--out", str(plan)])
            return [*state, "run", "--plan", str(plan), "--url", url, *sending]
        trial = ["--first", "1"] if command == "resume" else []
        _run([*state, "run", str(sheet), "--url", url, *trial, *sending], exits=(0, 1))
        run = next((fresh / "reports").iterdir()).name
        return [*state, "resume", run, *agreed] if command == "resume" else [*state, "undo", run, *sending]

    return Variant(" ".join([command, *options]), [executable, "-m", "bulkid"], CREDENTIALS, prepare=prepare)


def _run(arguments: Sequence[str], exits: Sequence[int] = (0,)) -> None:
    command = [executable, "-m", "bulkid", *arguments]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", **CREDENTIALS}
    code = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
    if code not in exits:
        raise SystemExit(f"exit code {code} from {' '.join(command)}")


def bulkid(sheet: Path, url: str, rows: int, scratch: Path, *options: str, name: str = "bulkid") -> Variant:
    """``bulkid run`` as a user runs it, journal and report included, in a fresh state directory each time."""

    def prepare() -> Sequence[str]:
        reset(url)
        fresh = Path(tempfile.mkdtemp(dir=scratch))
        command = ["--state-dir", str(fresh / "state"), "run", str(sheet), "--url", url]
        return [*command, "--report-dir", str(fresh / "reports"), "--yes", "--yes-really", "--quiet", *options]

    return Variant(
        name,
        [executable, "-m", "bulkid"],
        CREDENTIALS,
        prepare=prepare,
        check=lambda: expect_changed(url, rows),
    )
