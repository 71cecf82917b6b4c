"""SIGINT, SIGTERM and other ways to stop early: what is in flight settles, the report is written, it can be resumed."""

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from bulkid.sandbox.options import parse_limits
from tests.support.bulkid_command import LONGEST_S, Bulkid
from tests.support.processes import (
    ON_WINDOWS,
    Life,
    World,
    check_report,
    journal_of,
    lift_limits,
    no_traceback,
    runs_of,
)
from tests.support.sandbox_host import hosted, slow_puts, wait_for_puts

CONNECTED = Callable[..., Bulkid]
PROMPT_S = 8.0
"""What "at once" and "promptly" mean on a busy machine; each wait that is cut short would take far longer."""

posix = pytest.mark.skipif(ON_WINDOWS, reason="Windows has no signals to send to another process, only events and ends")


def stop(life: Life, number: signal.Signals = signal.SIGINT) -> str:
    """Send a signal, wait for the end; gives the id of the run that can be resumed."""
    life.signal(number)
    return stopped(life)


def stopped(life: Life) -> str:
    """Wait for the end of a run that was stopped by a signal; gives its id."""
    assert life.end() == 5, life.said
    no_traceback(life.said)
    (_, found) = life.said.rsplit("Continue with: bulkid resume ", 1)
    return found.split()[0]


def resume(world: World, run_id: str, wanted: dict[str, str]) -> None:
    """Resume to the end, which must be right, without sending again what was known."""
    (entries,) = journal_of(world.bulkid).values()
    since = world.now()
    resumed = world.bulkid("resume", "--yes", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["run_id"] == run_id
    assert wanted.items() <= world.names().items()
    assert check_report(world.bulkid, run_id, len(wanted))["updated"] == len(wanted)
    again = world.puts(since)
    assert set(again.values()) <= {1}
    assert not [account for account in again if account in entries and entries[account].status != "pending"]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_in_the_midst_of_sending(number: signal.Signals, connected: CONNECTED) -> None:
    with hosted(accounts=200, latency_s=0.1) as server:
        world = World(server, connected(server), 200)
        wanted = world.sheet("signal")
        with Life(world.bulkid, "run", "signal.csv", "--yes", "--concurrency", "8") as life:
            wait_for_puts(server, 30)
            run_id = stop(life, number)
        assert "Stopping: requests in flight finish first" in life.said
        counts = check_report(world.bulkid, run_id, 200)
        assert counts["pending"] > 0
        # What was in flight has settled: what the server carried out is exactly what is known to be updated.
        done = {line["robot_account_id"] for line in world.bulkid.report(run_id) if line["status"] == "updated"}
        assert done == set(world.puts())
        (run,) = runs_of(world.bulkid)
        assert (run["run_id"], run["status"], run["pending"]) == (run_id, "interrupted", counts["pending"])
        assert run["requests"]["PUT"] == len(done)
        resume(world, run_id, wanted)
        assert sum(world.puts().values()) == 200


@posix
@pytest.mark.slow
def test_the_second_one_stops_at_once_and_loses_nothing(connected: CONNECTED) -> None:
    with hosted(accounts=100) as server:
        world = World(server, connected(server), 100)
        wanted = world.sheet("twice")
        slow_puts(server, 60)
        with Life(world.bulkid, "run", "twice.csv", "--yes") as life:
            wait_for_puts(server, 16)
            life.signal(signal.SIGINT)
            life.wait_to_say("requests in flight finish first")
            life.signal(signal.SIGINT)
            begun = time.monotonic()
            run_id = stopped(life)
            assert time.monotonic() - begun < PROMPT_S
        assert "Stopping at once" in life.said
        # The server carried out all sixteen, but said so to nobody.
        assert check_report(world.bulkid, run_id, 100) == {"pending": 100}
        server.set_faults()
        resume(world, run_id, wanted)
        assert sum(world.puts().values()) == 100


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("server_has", "client_keeps"),
    [("PUT=10/60", "none"), ("none", "PUT=10/60")],
    ids=["server throttles", "quota is used"],
)
def test_in_a_long_wait(server_has: str, client_keeps: str, connected: CONNECTED) -> None:
    with hosted(accounts=60, limits=parse_limits(server_has)) as server:
        world = World(server, connected(server), 60)
        wanted = world.sheet("wait")
        with Life(world.bulkid, "run", "wait.csv", "--yes", "--quota", client_keeps) as life:
            wait_for_puts(server, 10)
            time.sleep(0.5)
            begun = time.monotonic()
            run_id = stop(life)
            assert time.monotonic() - begun < PROMPT_S
        assert check_report(world.bulkid, run_id, 60) == {"updated": 10, "pending": 50}
        if client_keeps == "none":
            lift_limits(server)
            resume(world, run_id, wanted)


@posix
@pytest.mark.slow
def test_while_the_directory_is_read(connected: CONNECTED) -> None:
    with hosted(accounts=60, limits=parse_limits("GET=0/60")) as server:
        world = World(server, connected(server), 60)
        wanted = world.sheet("early")
        with Life(world.bulkid, "run", "early.csv", "--yes") as life:
            life.wait_for("directory")
            time.sleep(0.3)
            begun = time.monotonic()
            run_id = stop(life)
            assert time.monotonic() - begun < PROMPT_S
        assert check_report(world.bulkid, run_id, 60) == {"pending": 60}
        assert not world.puts()
        lift_limits(server)
        resume(world, run_id, wanted)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_while_the_report_is_written(times: int, connected: CONNECTED) -> None:
    """All is settled: there is nothing to stop, and the report is whole."""
    with hosted(accounts=300) as server:
        world = World(server, connected(server), 300)
        wanted = world.sheet("late")
        with Life(world.bulkid, "run", "late.csv", "--yes") as life:
            life.wait_for("report")
            for _ in range(times):
                life.signal(signal.SIGINT)
            assert life.end() in (0, 5), life.said
        no_traceback(life.said)
        assert wanted.items() <= world.names().items()
        (run,) = runs_of(world.bulkid)
        assert run["status"] == "completed"
        assert check_report(world.bulkid, run["run_id"], 300) == {"updated": 300}


IN_MAIN = re.compile(r'bulkid.cli.__init__\.py", line \d+, in main\n')
"""A frame of a traceback: bulkid had begun."""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.02, pytest.param(0.25, marks=pytest.mark.soak), 0.6])
def test_while_it_starts(after_s: float, connected: CONNECTED) -> None:
    """Wherever the interpreter is: no traceback, and nothing sent that nobody knows of."""
    with hosted(accounts=60) as server:
        # A signal in the middle of an import leaves files of the interpreter open: no warning about that here.
        world = World(server, connected(server, PYTHONWARNINGS="ignore"), 60)
        wanted = world.sheet("start")
        with Life(world.bulkid, "run", "start.csv", "--yes", new=True) as life:
            time.sleep(after_s)
            life.signal(signal.SIGINT)
            code = life.end()
        # Before signals are handled (the interpreter starts, or imports the handler) Python may say what it likes.
        if IN_MAIN.search(life.said) and "signals.py" not in life.said:
            no_traceback(life.said)
        if code == 0:
            return
        known = journal_of(world.bulkid)
        if not known:
            assert not world.puts()
            return
        resumed = world.bulkid("resume", "--yes")
        assert resumed.returncode == 0, resumed.stderr
        assert wanted.items() <= world.names().items()


class Terminal:
    """A pseudo-terminal at which a person seems to sit."""

    def __init__(self) -> None:
        import pty

        self.master, self.slave = pty.openpty()
        self.shown = ""

    def wait_for(self, words: str) -> None:
        """Read until something is shown."""
        patience = time.monotonic() + LONGEST_S
        while words not in self.shown:
            assert time.monotonic() < patience, self.shown
            self.read(0.1)

    def read(self, wait_s: float) -> None:
        """Take what is shown within a moment."""
        while select.select([self.master], [], [], wait_s)[0]:
            try:
                more = os.read(self.master, 4096)
            except OSError:  # Linux says so when the other side is closed
                return
            if not more:
                return
            self.shown += more.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.master, text.encode())

    def close(self) -> None:
        """Leave the terminal."""
        os.close(self.master)


def at_the_prompt(world: World, do: Callable[[Terminal, "subprocess.Popen[str]"], object]) -> tuple[int, str]:
    """Start a run at a terminal, do something once it asks; gives the exit code and what was shown."""
    terminal = Terminal()
    try:
        process = world.bulkid.start("run", "ask.csv", terminal=terminal.slave)
        os.close(terminal.slave)
        try:
            terminal.wait_for("[y/N]")
            do(terminal, process)
            patience = time.monotonic() + PROMPT_S
            while process.poll() is None:
                terminal.read(0.05)
                assert time.monotonic() < patience, terminal.shown
            terminal.read(0.2)
        finally:
            process.kill()
            process.communicate(timeout=LONGEST_S)
        no_traceback(terminal.shown)
        return process.returncode, terminal.shown
    finally:
        terminal.close()


@pytest.mark.skipif(ON_WINDOWS, reason="Windows has no pseudo-terminals in the standard library")
@pytest.mark.slow
def test_at_the_prompt(connected: CONNECTED) -> None:
    with hosted(accounts=20) as server:
        world = World(server, connected(server), 20)
        wanted = world.sheet("ask")
        for answer, expected in (
            (lambda _, process: process.send_signal(signal.SIGINT), 5),
            (lambda _, process: process.send_signal(signal.SIGTERM), 5),
            (lambda _, process: process.kill(), -signal.SIGKILL),
            (lambda terminal, _: terminal.type("n\n"), 2),
            (lambda terminal, _: terminal.type("\n"), 2),
            (lambda terminal, _: terminal.type("\x04"), 2),  # Ctrl+D: the end of the input
        ):
            code, shown = at_the_prompt(world, answer)
            assert code == expected, shown
            assert ("Cancelled. Nothing was sent." in shown) == (code > 0)
            assert "Update 20 accounts? You can reverse this with bulkid undo. [y/N]" in " ".join(shown.split())
            assert "bulkid resume" not in shown
            assert not world.puts()
            assert runs_of(world.bulkid) == []
        code, shown = at_the_prompt(world, lambda terminal, _: terminal.type("y\n"))
        assert code == 0, shown
        assert wanted.items() <= world.names().items()


@pytest.mark.slow
def test_too_many_failures(connected: CONNECTED) -> None:
    with hosted(accounts=60) as server:
        world = World(server, connected(server), 60)
        wanted = world.sheet("some")
        path = world.bulkid.folder / "some.csv"
        ghosts = "".join(f"ghost-{number},Nobody\n" for number in range(12))
        path.write_text(path.read_text("utf-8") + ghosts, encoding="utf-8")
        before = 0
        arguments = ("run", "some.csv", "--yes", "--no-read", "--max-failures", "4", "--concurrency", "1", "--json")
        for _ in range(2):
            ended = world.bulkid(*arguments)
            assert ended.returncode == 4, ended.stderr
            no_traceback(ended)
            summary = json.loads(ended.stdout)
            run_id = summary["run_id"]
            assert f"bulkid resume {run_id}" in ended.stderr
            assert summary["status"] == "stopped"
            assert summary["failed"] - before == 5  # more than four, and not one more
            before = summary["failed"]
            assert check_report(world.bulkid, run_id, 72)["failed"] == before
            arguments = ("resume", "--json")
        ended = world.bulkid("resume", "--json")
        assert ended.returncode == 1, ended.stderr
        assert check_report(world.bulkid, run_id, 72) == {"updated": 60, "failed": 12}
        assert wanted.items() <= world.names().items()
        assert set(world.puts().values()) == {1}


@pytest.mark.slow
def test_one_at_a_time(connected: CONNECTED) -> None:
    with hosted(accounts=60) as server:
        world = World(server, connected(server), 60)
        wanted = world.sheet("first")
        world.sheet("second")
        slow_puts(server, 4)
        with Life(world.bulkid, "run", "first.csv", "--yes") as life:
            wait_for_puts(server, 16)
            (first,) = runs_of(world.bulkid)
            assert first["status"] == "running"
            second = world.bulkid("run", "second.csv", "--yes", "--json")
            assert second.returncode == 6, second.stderr
            assert first["run_id"] in second.stderr
            no_traceback(second)
            refused = json.loads(second.stdout)
            assert (refused["status"], refused["pending"]) == ("refused", 60)
            assert check_report(world.bulkid, refused["run_id"], 60) == {"pending": 60}
            resumed = world.bulkid("resume", first["run_id"])
            assert resumed.returncode == 6, resumed.stderr
            assert first["run_id"] in resumed.stderr
            no_traceback(resumed)
            server.set_faults()
            assert life.end() == 0, life.said
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, first["run_id"], 60) == {"updated": 60}
        assert set(world.puts().values()) == {1}


@pytest.mark.slow
def test_two_started_at_the_same_instant(connected: CONNECTED) -> None:
    with hosted(accounts=60, latency_s=0.3) as server:
        world = World(server, connected(server), 60)
        sheets = {tag: world.sheet(tag) for tag in ("left", "right")}
        with (
            Life(world.bulkid, "run", "left.csv", "--yes") as left,
            Life(world.bulkid, "run", "right.csv", "--yes") as right,
        ):
            codes = {"left": left.end(), "right": right.end()}
        no_traceback(left.said, right.said)
        assert set(codes.values()) <= {0, 6}
        winners = [tag for tag, code in codes.items() if code == 0]
        assert winners
        names = world.names()
        assert any(sheets[tag].items() <= names.items() for tag in winners)  # the later one, whole


@posix
@pytest.mark.slow
def test_a_laptop_that_sleeps_for_a_while(connected: CONNECTED) -> None:
    """SIGSTOP in the midst of sending, for longer than a request may take: what came of it is found out."""
    with hosted(accounts=100, latency_s=0.1) as server:
        world = World(server, connected(server), 100)
        wanted = world.sheet("sleep")
        with Life(world.bulkid, "run", "sleep.csv", "--yes", "--timeout", "2") as life:
            wait_for_puts(server, 30)
            life.signal(signal.SIGSTOP)
            time.sleep(3)
            life.signal(signal.SIGCONT)
            assert life.end() == 0, life.said
        no_traceback(life.said)
        (run,) = runs_of(world.bulkid)
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, run["run_id"], 100) == {"updated": 100}


@posix
@pytest.mark.slow
def test_the_state_directory_is_deleted_meanwhile(connected: CONNECTED) -> None:
    """Nothing can be promised then, but to say so."""
    with hosted(accounts=100, latency_s=0.1) as server:
        world = World(server, connected(server), 100)
        world.sheet("gone")
        with Life(world.bulkid, "run", "gone.csv", "--yes") as life:
            wait_for_puts(server, 30)
            for file in (world.bulkid.folder / "state").glob("bulkid.db*"):
                file.unlink()
            code = life.end()
        no_traceback(life.said)
        assert code in (0, 2), life.said
        again = world.bulkid("resume", "--yes")
        no_traceback(again)
        assert again.returncode == 2


@posix
@pytest.mark.slow
def test_nobody_reads_what_it_says(connected: CONNECTED) -> None:
    """``bulkid run ... 2>&1 | head -1``: the words have no reader any more, the run goes on to its end."""
    with hosted(accounts=80, latency_s=0.1) as server:
        world = World(server, connected(server), 80)
        wanted = world.sheet("deaf")
        process = world.bulkid.start("run", "deaf.csv", "--yes", "-v", "--log-format", "json")
        assert process.stdout is not None
        assert process.stderr is not None
        os.read(process.stderr.fileno(), 1)
        process.stdout.close()
        process.stderr.close()
        code = process.wait(LONGEST_S)
        (run,) = runs_of(world.bulkid)
        assert wanted.items() <= world.names().items()
        assert run["status"] == "completed"
        assert check_report(world.bulkid, run["run_id"], 80) == {"updated": 80}
        assert code == 0
