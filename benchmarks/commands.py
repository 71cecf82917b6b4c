"""The commands that the benchmarks compare."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from sys import executable

from directory import ORGANIZATION, TOKEN
from harness import HERE, Variant, expect_changed, reset


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

    environment = {"BULKID_ACCESS_TOKEN": TOKEN, "BULKID_ORGANIZATION_ID": ORGANIZATION}
    return Variant(name, [executable, "-m", "bulkid"], environment, prepare=prepare, exits=exits)


def bulkid(sheet: Path, url: str, rows: int, scratch: Path, *options: str, name: str = "bulkid") -> Variant:
    """``bulkid run`` as a user runs it, journal and report included, in a fresh state directory each time."""

    def prepare() -> Sequence[str]:
        reset(url)
        fresh = Path(tempfile.mkdtemp(dir=scratch))
        command = ["--state-dir", str(fresh / "state"), "run", str(sheet), "--url", url]
        return [*command, "--report-dir", str(fresh / "reports"), "--yes", "--yes-really", "--quiet", *options]

    environment = {"BULKID_ACCESS_TOKEN": TOKEN, "BULKID_ORGANIZATION_ID": ORGANIZATION}
    return Variant(
        name,
        [executable, "-m", "bulkid"],
        environment,
        prepare=prepare,
        check=lambda: expect_changed(url, rows),
    )
