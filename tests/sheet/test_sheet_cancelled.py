"""A reading that is cancelled ends at once, and no child process outlives the process that started it."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio
import anyio.lowlevel
import pytest

from bulkid import runs
from bulkid.errors import InterruptedRunError, SheetError
from bulkid.sheet import CancelToken, SheetOptions, open_sheet, open_sheet_file, reader
from bulkid.sheet import isolation as isolation_module
from bulkid.sheet.child_process import Limits
from tests.support.bulkid_command import Bulkid, end_of
from tests.support.forked_command import ForkedCommand
from tests.support.sheet_books import written

BOOK = written(["name", "groups"], ["roby", "Ops"])
Begin = Callable[..., Awaitable[Any]]
LONG_S = 120.0  # a limit for a broken program; no test waits for it
STUCK = "import threading; threading.Event().wait()"
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes as POSIX has them")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> "Started":
    """Have children that take the file and never answer; what is started is told."""
    found = Started()
    start = subprocess.Popen

    def kept(*arguments: object, **options: object) -> "subprocess.Popen[bytes]":
        found.process = start(*arguments, **options)  # type: ignore[call-overload]
        found.event.set()
        return found.process

    monkeypatch.setattr(subprocess, "Popen", kept)
    monkeypatch.setattr(isolation_module, "Limits", lambda: Limits(program=("-c", STUCK), time_s=LONG_S))
    return found


class Started:
    """The child that was started last."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.wait(60) is not None


def book(tmp_path: Path) -> Path:
    path = tmp_path / "s.xlsx"
    path.write_bytes(BOOK)
    return path


# --- tokens


def test_what_is_to_end_a_reading_is_called_once_also_where_it_comes_late() -> None:
    token, calls = CancelToken(), list[str]()
    token.on_cancel(lambda: calls.append("early"))
    assert (token.cancelled, calls) == (False, [])
    token.cancel()
    token.cancel()
    token.on_cancel(lambda: calls.append("late"))
    assert (token.cancelled, calls) == (True, ["early", "late"])


def test_a_cancelled_reading_ends_its_child_at_once(tmp_path: Path, started: Started) -> None:
    token = CancelToken()

    def cancel() -> None:
        started.event.wait()
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(InterruptedRunError, match=r"The reading of .*s\.xlsx was stopped"):
        open_sheet(book(tmp_path), token=token)
    thread.join()
    assert started.ended


def test_what_was_cancelled_before_it_began_is_not_waited_for(tmp_path: Path, started: Started) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(InterruptedRunError):
        open_sheet(book(tmp_path), token=token)
    assert started.ended


# --- commands


class Pipe(io.RawIOBase):
    """A pipe that brings nothing and does not end."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def read(self, _size: int = -1, /) -> bytes:
        self.event.set()
        threading.Event().wait()
        return b""


def stopped_while_it_opens(folder: Path, begin: Begin, source: Path | Pipe, opening: threading.Event) -> None:
    """Request a stop as soon as the sheet is being opened."""
    target = runs.Target(url="http://127.0.0.1:9/identity", access_token="t", organization_id="o")

    async def work() -> None:
        stop = runs.Stop()
        context = runs.Context(state_dir=folder / "state", stop=stop)

        async def request() -> None:
            await anyio.to_thread.run_sync(opening.wait)
            stop.request("Stopped with Ctrl+C")

        with anyio.fail_after(LONG_S):
            async with runs.task_group() as tasks:
                tasks.start_soon(request)
                await begin(source, target, runs.RunOptions(report_dir=folder / "reports"), context)

    anyio.run(work)


@pytest.mark.parametrize("begin", [runs.plan, runs.run])
def test_a_stop_ends_the_wait_for_a_pipe(tmp_path: Path, begin: Begin) -> None:
    pipe = Pipe()
    with pytest.raises(InterruptedRunError, match=r"Stopped with Ctrl\+C"):
        stopped_while_it_opens(tmp_path, begin, pipe, pipe.event)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("begin", [runs.plan, runs.run])
def test_a_stop_ends_the_child_of_a_spreadsheet(tmp_path: Path, started: Started, begin: Begin) -> None:
    with pytest.raises(InterruptedRunError, match=r"Stopped with Ctrl\+C"):
        stopped_while_it_opens(tmp_path, begin, book(tmp_path), started.event)
    assert started.ended
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("in_time", [True, False])
def test_a_cancelled_caller_is_cancelled_whatever_the_thread_makes_of_it(in_time: bool) -> None:
    """``in_time``: the thread is done although it was to end."""
    ended, begun = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        ended.wait()
        if in_time:
            return "done"
        raise SheetError("the child ended early")

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel() -> None:
                    await anyio.to_thread.run_sync(begun.wait)
                    scope.cancel()

                tasks.start_soon(cancel)
                await runs.in_thread_until_cancelled(ended.set, work)
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    anyio.run(main)


def test_what_a_thread_raises_by_itself_comes_through_and_ends_nothing() -> None:
    def work() -> None:
        raise SheetError("damaged")

    with pytest.raises(SheetError, match="damaged"):
        anyio.run(runs.in_thread_until_cancelled, pytest.fail, work)


def test_a_look_at_a_file_and_its_rows_take_one_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: found.append(1) or start(*a, **k))  # type: ignore[func-returns-value]
    path = book(tmp_path)
    with open_sheet_file(path, isolated=False) as same, open_sheet_file(path) as file:
        assert file.sheet_preview() == same.sheet_preview()
        assert runs.check_opened(file.sheet()).rows == 1
    assert len(found) == 1
    path.write_bytes(written(["name", "grups"], ["roby", "Ops"]))
    found.clear()
    assert runs.write_invalid_rows(path, SheetOptions(column_map={"grups": "groups"}), tmp_path) is None
    assert len(found) == 1


# --- processes

PARENT = """
import os, sys
from bulkid.sheet import child_process, isolation, open_sheet
path, alive, program = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if program:
    limits = isolation.Limits(program=("-c", program))
    child_process.Limits = isolation.Limits = lambda: limits
start = child_process.subprocess.Popen
child_process.subprocess.Popen = lambda *a, **k: start(*a, **k, pass_fds=(alive,))
with child_process.spare_child.started(for_text=path.endswith("csv")):
    sheet = open_sheet(path)
os.write(alive, b"x")
sys.stdin.read()
"""
BUSY = """
import os
from bulkid.sheet import isolated_child, workbook

def busy(*_):
    os.write({alive}, b"x")
    while True:
        pass

workbook.open_worksheet = isolated_child.open_text_table = busy
isolated_child.main()
"""


@posix
@pytest.mark.parametrize("program", ["", BUSY], ids=["waiting", "at work"])
@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, program: str, kind: str) -> None:
    path = book(tmp_path)
    if kind == "csv":
        path = tmp_path / "s.csv"
        path.write_bytes(b"name,groups\nroby,Ops\n")
    reading, alive = os.pipe()
    arguments = [str(path), str(alive), program.format(alive=alive)]
    with (
        subprocess.Popen(
            [sys.executable, "-c", PARENT, *arguments], stdin=subprocess.PIPE, pass_fds=(alive,)
        ) as parent,
        os.fdopen(reading, "rb", buffering=0) as reported,
    ):
        os.close(alive)
        assert reported.read(1) == b"x"
        parent.kill()
        assert reported.read() == b""  # parent and child have let go of it, so both have ended


class _Endless(io.BytesIO):
    """A pipe that brings nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def read(self, _: int | None = -1) -> bytes:
        self.ended.wait()
        return b""


def _spool_until(moment: int, source: BinaryIO) -> None:
    """Wait for a stream as for standard input, and raise as a signal does, at a moment counted in calls and returns."""
    events = 0

    def count(*_: object) -> None:
        nonlocal events
        events += 1
        if events == moment:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def spool(**_: object) -> io.BytesIO:
        sys.setprofile(count)
        return io.BytesIO()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader.tempfile, "SpooledTemporaryFile", spool)
        try:
            reader._spool(source, "s", CancelToken())
        finally:
            sys.setprofile(None)


def test_a_signal_at_any_moment_of_a_wait_for_input_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_SIGNALS_S", 0.001)
    source = _Endless()
    for moment in range(1, 60):
        with pytest.raises(KeyboardInterrupt):
            _spool_until(moment, source)
    source.ended.set()


WAITING = """
import os
from bulkid.cli import main
from bulkid.sheet import reader

copy = reader.shutil.copyfileobj

def copy_and_say(*streams):
    os.write(1, b"waiting\\n")  # not by sys.stdout, whose lock this thread could hold when the process ends
    copy(*streams)

reader.shutil.copyfileobj = copy_and_say
main()
"""


@posix
@pytest.mark.parametrize("command", [("check", "-"), ("plan", "-", "--sandbox"), ("run", "-", "--sandbox", "--yes")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_waits_for_its_input(
    tmp_path: Path, command: tuple[str, ...], number: signal.Signals
) -> None:
    reading, writing = os.pipe()
    process = _started_waiting(tmp_path, command, stdin=reading)
    os.close(reading)
    assert process.stdout is not None
    assert "waiting" in process.stdout.readline()
    process.send_signal(number)
    done = end_of(process)
    os.close(writing)
    assert done.returncode == 5, done.stderr
    assert "topped" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr


def _started_waiting(folder: Path, command: tuple[str, ...], *, stdin: int) -> "subprocess.Popen[str]":
    settings = Bulkid(folder).settings()
    if sys.platform == "linux":
        forked = ForkedCommand(command, folder=folder, env=settings, stdin=stdin, program=WAITING)
        return cast("subprocess.Popen[str]", forked)
    return subprocess.Popen(
        [sys.executable, "-c", WAITING, *command],
        stdin=stdin,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=settings,
    )
