"""The test helpers that run commands: a call in this process and a forked process give what a real process gives."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from bulkid import logs, redaction
from tests.support.bulkid_command import SAMPLES, Bulkid, connected_to, end_of
from tests.support.forked_command import ForkedCommand
from tests.support.sandbox_host import hosted
from tests.support.sheets import renames

Result = subprocess.CompletedProcess[str]

CHANGING = re.compile(
    r"\d{8}-\d{6}-[0-9a-z]{4}|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?|"
    r'\d+(\.\d+)? (milli)?seconds?|(elapsed_s|plan_s)": [0-9.]+|\d+\.\d/s|\d\d:\d\d:\d\d'
)
"""What differs from one call to the next: ids of runs, ports, moments, durations."""


def assert_alike(called: Result, process: Result, one: Bulkid, other: Bulkid) -> None:
    """Exit code and both streams of a command are the same as those of the same command as a process."""
    assert called.returncode == process.returncode, called.stderr + process.stderr
    for here, there in ((called.stdout, process.stdout), (called.stderr, process.stderr)):
        assert CHANGING.sub("#", here.replace(str(one.folder), "DIR")) == CHANGING.sub(
            "#", there.replace(str(other.folder), "DIR")
        )


@contextmanager
def three_alike(folder: Path) -> Iterator[tuple[Bulkid, Bulkid, Bulkid]]:
    """The command three times, each with a folder and a server."""
    with hosted(accounts=60) as first, hosted(accounts=60) as second, hosted(accounts=60) as third:
        made = []
        for name, host in (("one", first), ("two", second), ("three", third)):
            (folder / name).mkdir()
            made.append(connected_to(folder / name, host.url))
        yield made[0], made[1], made[2]


def test_a_call_in_this_process_and_a_copy_of_a_process_give_what_a_new_process_gives(tmp_path: Path) -> None:
    with three_alike(tmp_path) as (one, copied, other):
        for each in (one, copied, other):
            renames(each.folder, 3)
        for arguments in (
            ("no-such-command",),
            ("plan", "sheet.csv", "--client-secret", "wrong-secret", "-vv", "--log-format", "json"),
            ("run", "sheet.csv", "--yes", "--json", "-v"),
            ("undo", "last"),  # shows the plan and finds no user to ask
        ):
            process = other.as_process(*arguments)
            assert_alike(one(*arguments), process, one, other)
            assert_alike(end_of(copied.start(*arguments)), process, copied, other)
        sheet = (one.folder / "sheet.csv").read_text(encoding="utf-8")
        given = sheet * 1000  # more than a pipe holds
        assert len(given) > 1 << 16
        assert_alike(one("check", "-", stdin=given), other.as_process("check", "-", stdin=given), one, other)


@pytest.mark.skipif(sys.platform != "linux", reason="a new process is started there")
def test_a_copy_of_a_process_ends_by_its_own_signals_and_alone(tmp_path: Path) -> None:
    started = [Bulkid(tmp_path).start("sandbox", "--port", "0", "--accounts", "2") for _ in range(3)]
    assert all(isinstance(each, ForkedCommand) for each in started)
    for each in started:
        assert each.stdout is not None
        for line in each.stdout:
            if "Ctrl+C ends it" in line:
                break
    killed, stopped, last = started
    assert killed.poll() is None
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 0
    assert os.getpgid(last.pid) == os.getpgid(0)
    assert last.poll() is None
    last.send_signal(signal.SIGINT)
    assert last.wait(60) == 0
    last.send_signal(signal.SIGINT)  # does nothing: its id may be another process's by now
    for each in started:
        each.communicate(60)


def test_a_call_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    def process() -> object:
        return (
            *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
            signal.set_wakeup_fd(-1),
            *(sys.stdin, sys.stdout, sys.stderr, sys.argv, sys.excepthook, Path.cwd(), dict(os.environ)),
            *(gc.get_threshold(), gc.freeze),
            *(logging.getLogger().handlers[:], structlog.is_configured(), vars(logs._output).copy()),
            *(structlog.get_config(), redaction._redactor._known, redaction._redactor._forms),
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
