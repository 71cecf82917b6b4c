"""The tests' own runner of commands: what it gives in this process is what a process gives."""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from bulkid import logs, redaction
from tests.support.bulkid_command import SAMPLES, Bulkid, connected_to
from tests.support.sandbox_host import hosted
from tests.support.sheets import renames

CHANGING = re.compile(
    r"\d{8}-\d{6}-[0-9a-z]{4}|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?|"
    r'\d+(\.\d+)? (milli)?seconds?|(elapsed_s|plan_s)": [0-9.]+|\d+\.\d/s|\d\d:\d\d:\d\d'
)
"""What differs from one call to the next: ids of runs, ports, moments, durations."""


def assert_alike(one: Bulkid, other: Bulkid, *arguments: str, stdin: str | None = None) -> None:
    """The same command, called here and as a process: exit code and both streams are the same."""
    called = one(*arguments, stdin=stdin)
    process = other.as_process(*arguments, stdin=stdin)
    assert called.returncode == process.returncode, called.stderr + process.stderr
    for here, there in ((called.stdout, process.stdout), (called.stderr, process.stderr)):
        assert CHANGING.sub("#", here.replace(str(one.folder), "DIR")) == CHANGING.sub(
            "#", there.replace(str(other.folder), "DIR")
        )


@contextmanager
def two_alike(folder: Path) -> Iterator[tuple[Bulkid, Bulkid]]:
    """The command twice, each with a folder and a server."""
    with hosted(accounts=60) as first, hosted(accounts=60) as second:
        made = []
        for name, host in (("one", first), ("two", second)):
            (folder / name).mkdir()
            made.append(connected_to(folder / name, host.url))
        yield made[0], made[1]


def test_a_call_in_this_process_gives_what_a_process_gives(tmp_path: Path) -> None:
    with two_alike(tmp_path) as (one, other):
        for each in (one, other):
            renames(each.folder, 3)
        for arguments in (
            ("no-such-command",),
            ("check", str(SAMPLES / "with_errors.csv")),
            ("check", "no.csv", "--json"),
            ("plan", "sheet.csv", "--client-secret", "wrong-secret", "-vv", "--log-format", "json"),
            ("plan", "sheet.csv"),
            ("run", "sheet.csv"),
            ("run", "sheet.csv", "--yes", "--json"),
            ("undo", "last", "--yes", "-v"),
        ):
            assert_alike(one, other, *arguments)
        sheet = (one.folder / "sheet.csv").read_text(encoding="utf-8")
        assert_alike(one, other, "check", "-", stdin=sheet * 2000)  # more than a pipe holds


def test_a_call_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    def process() -> object:
        return (
            *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
            signal.set_wakeup_fd(-1),
            *(sys.stdin, sys.stdout, sys.stderr, sys.argv, sys.excepthook, Path.cwd(), dict(os.environ)),
            *(gc.get_threshold(), gc.freeze),
            *(logging.getLogger().handlers[:], structlog.is_configured(), vars(logs._output).copy()),
            *(logs._processors[:], redaction._redactor._known, redaction._redactor._forms),
            *(os.fstat(number).st_ino for number in (0, 1, 2)),
        )

    before = process()
    with hosted(accounts=60) as host:
        bulkid = connected_to(tmp_path, host.url, TZ="Asia/Tokyo")
        renames(tmp_path, 2)
        assert bulkid("run", "sheet.csv", "--yes", "-vv").returncode == 0
        assert bulkid("run", "sheet.csv", "--client-secret", "secret-of-one-call").returncode == 2
        assert process() == before
    assert redaction.redact_text("secret-of-one-call") == "secret-of-one-call"


async def test_a_loop_of_a_test_runs_after_a_call() -> None:
    """Calls close the loop of theirs; those of tests are their own."""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_a_terminal_is_a_terminal(tmp_path: Path) -> None:
    code, written = Bulkid(tmp_path).on_terminal("check", str(SAMPLES / "with_errors.csv"))
    assert code == 2
    assert "\x1b[31m" in written
    assert "\r" not in written
