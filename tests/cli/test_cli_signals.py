"""A signal is handled once, whenever it arrives."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bulkid.cli import commands
from bulkid.cli.signals import PendingSignals, pending_signals, stopping
from bulkid.engine.signals import Stop
from bulkid.sandbox import server
from bulkid.sandbox.fixtures import seeded_organization
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import Organization

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

MOMENTS = Path(__file__).parents[1] / "support" / "signal_moments.py"
ROOT = Path(__file__).resolve().parents[2]
SHEET = ROOT / "sample_data" / "robot_accounts.csv"
PATIENCE_S = 60.0
LONGEST_S = 900
"""A dozen starts of the program, on a busy machine."""

LOOPS: list[Any] = [pytest.param({"use_uvloop": True}, id="uvloop"), pytest.param({}, id="asyncio")]


class _Key:
    """Something that a weak reference can point to."""


@pytest.fixture
def box() -> PendingSignals:
    return PendingSignals()


# --- the start of a process


def _start(tmp_path: Path, number: str, step: int, *arguments: str) -> "tuple[subprocess.Popen[str], Path]":
    log = tmp_path / "moments"
    process = subprocess.Popen(
        [sys.executable, str(MOMENTS), number, str(step), str(log), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BULKID_STATE_DIR": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, log


def _check_moments(log: Path) -> None:
    found = [json.loads(progress_line) for progress_line in log.read_text("utf-8").splitlines()]
    assert len(found) > 5
    assert any(in_callback for _, in_callback, _, _ in found)  # where a KeyboardInterrupt would be dropped
    for place, _, ended, said in found:
        assert ended == 5, f"at {place}: {said}"
        assert "Traceback" not in said, f"at {place}: {said}"
        assert "Exception ignored" not in said, f"at {place}: {said}"


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("step", [800, pytest.param(300, marks=pytest.mark.soak)])
def test_a_signal_at_any_moment_of_the_start_ends_the_sandbox(tmp_path: Path, step: int) -> None:
    process, log = _start(tmp_path, "SIGINT", step, "sandbox", "--port", "0", "--accounts", "20")
    with process:
        assert process.stdout is not None
        for progress_line in process.stdout:
            if "Ctrl+C ends it" in progress_line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    _check_moments(log)


def test_a_signal_ends_the_making_of_a_large_sandbox_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SandboxOptions] = []

    def make(options: SandboxOptions, now: float) -> Organization:
        signal.raise_signal(signal.SIGINT)
        made.append(options)
        return seeded_organization(options, now)

    monkeypatch.setattr(server, "seeded_organization", make)
    monkeypatch.setattr(pending_signals, "_kept", deque())  # the signal of this test must not count in a later one
    with pending_signals.installed(), pending_signals.raising(), pytest.raises(KeyboardInterrupt):
        commands.sandbox("127.0.0.1", 0, quota=[], faults="", federated="", accounts=20)
    assert made == []


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("step", [1300, pytest.param(700, marks=pytest.mark.soak)])
def test_a_signal_at_any_moment_of_the_start_ends_a_run(tmp_path: Path, step: int) -> None:
    process, log = _start(tmp_path, "SIGINT", step, "run", str(SHEET), "--sandbox", "--yes", "--quiet")
    process.communicate()
    assert process.returncode == 0
    _check_moments(log)


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("step", [1400, pytest.param(800, marks=pytest.mark.soak)])
def test_a_signal_at_any_moment_of_the_start_ends_the_console(tmp_path: Path, step: int) -> None:
    process, log = _start(tmp_path, "SIGTERM", step, "serve", "--sandbox", "--port", "0")
    with process:
        assert process.stdout is not None
        for progress_line in process.stdout:
            if "Ctrl+C ends it" in progress_line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    _check_moments(log)


def test_an_interrupt_before_signals_are_handled_shows_no_traceback(tmp_path: Path) -> None:
    """While the first of bulkid's modules are imported, Python's own handler raises."""
    code = """
import sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "bulkid.cli.signals":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from bulkid.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (5, "bulkid: stopped before anything was begun.\n")


@pytest.mark.slow
def test_a_sandbox_that_a_script_put_into_the_background_can_be_stopped(tmp_path: Path) -> None:
    """A shell has such a process ignore SIGINT, and Python leaves it at that."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$0\" -m bulkid sandbox --port 0 --accounts 20", sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for progress_line in process.stdout:
            if "Ctrl+C ends it" in progress_line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


# --- the inbox


def test_a_signal_whose_exception_python_drops_is_kept(box: PendingSignals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    key = _Key()
    seen = weakref.ref(key, lambda _: signal.raise_signal(signal.SIGINT))
    with box.installed(), box.raising():
        del key
        assert seen() is None
        assert box.has_pending  # the exception is gone, the signal is not
        with pytest.raises(KeyboardInterrupt), box.raising():
            pytest.fail("the block began")


def test_what_nothing_has_dealt_with_raises_as_soon_as_it_may(box: PendingSignals) -> None:
    with box.installed():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), box.raising():
            pytest.fail("the block began")


def test_the_second_signal_raises_also_where_the_first_is_only_kept(box: PendingSignals) -> None:
    with box.installed(), box.raising(), box.raising(wanted=False):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_the_handlers_are_as_they_were(box: PendingSignals) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with box.installed():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# --- within the event loop


def _in_loop(options: dict[str, bool], work: Callable[[Stop, list[str]], Any]) -> tuple[Stop, list[str]]:
    reported: list[str] = []

    async def main() -> Stop:
        stop = Stop()
        with anyio.fail_after(PATIENCE_S):
            await work(stop, reported)
        return stop

    return anyio.run(main, backend_options=options), reported


@pytest.mark.parametrize("options", LOOPS)
def test_one_signal_at_any_step_is_one_request(options: dict[str, bool]) -> None:
    """Before the block, at its first instruction, in a task, and in a callback: each time a stop, and never two."""

    async def before(stop: Stop, reported: list[str]) -> None:
        with pending_signals.installed():
            signal.raise_signal(signal.SIGINT)
            with stopping(stop, reported.append):
                await stop.wait()

    async def at_once(stop: Stop, reported: list[str]) -> None:
        with stopping(stop, reported.append):
            signal.raise_signal(signal.SIGINT)
            await stop.wait()

    async def in_a_callback(stop: Stop, reported: list[str]) -> None:
        with stopping(stop, reported.append):
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await stop.wait()

    async def from_a_thread(stop: Stop, reported: list[str]) -> None:
        with stopping(stop, reported.append):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, os.kill, os.getpid(), signal.SIGINT)
                await stop.wait()

    for work in (before, at_once, in_a_callback, from_a_thread):
        stop, reported = _in_loop(options, work)
        assert (stop.requested, stop.aborted, len(reported)) == (True, False, 1), work.__name__


@pytest.mark.parametrize("options", LOOPS)
def test_the_second_aborts(options: dict[str, bool]) -> None:
    async def work(stop: Stop, reported: list[str]) -> None:
        with stopping(stop, reported.append):
            signal.raise_signal(signal.SIGINT)
            await stop.wait()
            signal.raise_signal(signal.SIGTERM)
            await stop.wait_aborted()

    stop, reported = _in_loop(options, work)
    assert stop.reason == "Stopped with Ctrl+C"
    assert [words.split(".")[0].split(":")[0] for words in reported] == ["Stopping", "Stopping at once"]


@pytest.mark.parametrize("options", LOOPS)
def test_each_stops_the_run_even_if_its_message_cannot_be_shown(options: dict[str, bool]) -> None:
    async def work(stop: Stop, reported: list[str]) -> None:
        def fail(text: str) -> None:
            reported.append(text)
            raise OSError("too many open files")

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with stopping(stop, fail):
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await stop.wait()
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await stop.wait_aborted()
            await anyio.lowlevel.checkpoint()

    _, reported = _in_loop(options, work)
    assert len(reported) == 2


@pytest.mark.parametrize("options", LOOPS)
def test_a_signal_ends_the_loop_s_wait_for_events(options: dict[str, bool]) -> None:
    """One that comes between the last instruction and the system's wait is seen by the wake-up descriptor alone."""

    async def work(stop: Stop, reported: list[str]) -> None:
        with stopping(stop, reported.append):
            descriptor = signal.set_wakeup_fd(-1)
            assert descriptor != -1
            signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
            signal.raise_signal(signal.SIGINT)
            await stop.wait()
            await anyio.lowlevel.checkpoint()  # what the descriptor got is read, and does no harm

    before = signal.set_wakeup_fd(-1)
    try:
        _in_loop(options, work)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)
