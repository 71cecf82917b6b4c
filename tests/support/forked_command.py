"""Commands that a test starts as copies of one process, which has imported the command line already.

A command spends most of a second of CPU time on imports; a copy has them. Everything else is a process's own: its
descriptors and standard streams, environment, directory, arguments, signals, and its end. What a test shows of the
start of an interpreter (encodings, closed streams, signals while modules are imported) needs a process that
:class:`subprocess.Popen` starts. Linux only: elsewhere the libraries that are imported do not all survive a fork.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 120
IMPORTED = (
    *("bulkid.cli.app", "bulkid.cli.commands", "bulkid.cli.jobs", "bulkid.jobfile.read", "bulkid.notify"),
    *("bulkid.journal.backends.sqlite", "bulkid.report.writer", "bulkid.sandbox.server", "anyio._backends._asyncio"),
    *("bulkid.web.server", "encodings.idna", "pandas", "pydantic.type_adapter", "sqlalchemy.dialects.sqlite"),
    *("sqlalchemy.dialects.postgresql.psycopg", "uvloop"),
)
"""What a command imports before it sends its first request."""

INTERPRETER = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
"""Variables of the interpreter whose copies the commands are."""

_LENGTH = struct.Struct("!I")


class ForkedCommand:
    """A command that was started: the part of :class:`subprocess.Popen` that the tests use, with text streams.

    Args:
        arguments: Of the command.
        folder: The working directory.
        env: The whole environment; its variables for the interpreter are those of :data:`INTERPRETER`.
        terminal: A descriptor that is its standard input and standard error, of which ``stderr`` then has nothing.
        stdin: A descriptor that is its standard input alone; ``subprocess.PIPE``: the other end is ``stdin``.
        stdout: A descriptor that is its standard output, of which ``stdout`` then has nothing.
        without: The numbers of standard streams that it lacks, such as ``"02"``.
        program: Python code that runs instead of the command.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        *,
        folder: Path,
        env: Mapping[str, str],
        terminal: int | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        without: str = "",
        program: str = "",
    ) -> None:
        self.args = ["bulkid", *arguments]
        self.returncode: int | None = None
        self._reported = b""
        self._control, template_end = socket.socketpair()
        self.stdin: IO[str] | None = None
        if stdin == subprocess.PIPE:
            stdin, writing = os.pipe()
            self.stdin = os.fdopen(writing, "w", encoding="utf-8")
        out, copy_out = os.pipe()
        err, copy_err = os.pipe()
        request = json.dumps([self.args, str(folder), dict(env), program, without]).encode()
        with Path(os.devnull).open("rb") as nothing:
            template = _template()
            streams = [nothing.fileno() if stdin is None else stdin, copy_out if stdout is None else stdout, copy_err]
            if terminal is not None:
                streams = [terminal, copy_out, terminal]
            handed = [template_end.fileno(), *streams]
            socket.send_fds(template, [_LENGTH.pack(len(request))], handed)
            template.sendall(request)
        template_end.close()
        if self.stdin is not None and stdin is not None:
            os.close(stdin)
        os.close(copy_out)
        os.close(copy_err)
        self.stdout: IO[str] = os.fdopen(out, encoding="utf-8")
        self.stderr: IO[str] = os.fdopen(err, encoding="utf-8")
        self.pid = self._number(LONGEST_S)

    def _number(self, wait_s: float) -> int:
        """The next number that the template reports: first the process id of the copy, then its exit code."""
        until = time.monotonic() + wait_s
        while b"\n" not in self._reported:
            self._control.settimeout(max(until - time.monotonic(), 0.001))
            try:
                more = self._control.recv(64)
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, wait_s) from None
            assert more, "the process that makes the copies has ended"
            self._reported += more
        line, _, self._reported = self._reported.partition(b"\n")
        return int(line)

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        if self.returncode is None and (self._reported or select.select([self._control], [], [], 0)[0]):
            self.wait(LONGEST_S)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; gives the exit code."""
        if self.returncode is None:
            self.returncode = self._number(LONGEST_S if timeout is None else timeout)
            self._control.close()  # now the template collects the process, and its id may be given to another one
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the copy has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close its standard input, read both streams to their ends, and wait for the process's."""
        if self.stdin is not None:
            self.stdin.close()
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()), daemon=True)
        reader.start()
        watch = threading.Timer(LONGEST_S if timeout is None else timeout, self.kill)
        watch.start()
        out = self.stdout.read()
        reader.join()
        self.wait(timeout)
        watch.cancel()
        self.stdout.close()
        self.stderr.close()
        return out, errors[0]


def start_program(
    program: str, arguments: tuple[str, ...], *, folder: Path, env: Mapping[str, str], stdin: int
) -> "subprocess.Popen[str]":
    """Start Python code as a process that reads from a descriptor, or from ``subprocess.PIPE``.

    On Linux it is a copy, which has imported bulkid.
    """
    if sys.platform == "linux":
        copy = ForkedCommand(arguments, folder=folder, env=env, stdin=stdin, program=program)
        return cast("subprocess.Popen[str]", copy)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=env,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@functools.cache
def _template() -> socket.socket:
    """The way to the process that makes the copies; all processes of a test run share one, which ends with the last."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}"
    path = Path(tempfile.gettempdir()) / f"bulkid-copies-{run}"
    way = socket.socket(socket.AF_UNIX)
    with _alone():
        try:
            way.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)  # that of a process that was killed
            _start_template(path)
            way.connect(str(path))
    return way


@contextmanager
def _alone() -> Iterator[None]:
    """Keep others from starting a process that makes copies, or from ending one, meanwhile."""
    import fcntl

    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _start_template(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        code = f"from tests.support.forked_command import main; main({listener.fileno()})"
        # Copies must not share the threads of a library for linear algebra.
        env = {**os.environ, **INTERPRETER, "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=env, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL
        )
    process.returncode = 0  # it ends with the last process of the tests; the object must not warn that it still runs


# --- in the process that makes the copies


def main(listener_fd: int) -> None:
    """Make copies until the tests are over; each of them returns from :func:`_serve` and becomes the command."""
    import typer.main

    from bulkid.cli.app import app

    for name in IMPORTED:
        with suppress(ImportError):  # a driver that is not installed
            importlib.import_module(name)
    commands = typer.main.get_command(app)
    typer.main.get_command = lambda _app: commands  # to make them takes a third of a short command; they keep no state
    gc.collect()
    gc.freeze()  # a collection in a copy would write to, and so copy, all that is here
    arguments, folder, env, program, _ = _serve(socket.socket(fileno=listener_fd))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv, sys.path[0] = arguments, folder
    try:
        if program:
            exec(program, {"__name__": "__main__"})  # noqa: S102 - a test's own
        else:
            runpy.run_module("bulkid", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            _end_process(end.code or 0)
        raise
    _end_process(0)


def _end_process(code: int) -> None:
    """End as an interpreter does, but leave its modules as they are: to take them apart takes 60 ms of a copy's 80."""
    threading._shutdown()
    atexit._run_exitfuncs()
    with suppress(OSError):  # the interpreter itself tells what cannot be written
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _serve(listener: socket.socket) -> Any:
    """Fork for each request, report what becomes of the copies; returns in a copy alone, with its request."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the tests, which end this process
    controls: list[socket.socket] = []
    copies: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, woken, *controls, *copies.values()], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid, report in copies.items():
                _report_end(pid, report)
        for pid in [pid for pid, report in copies.items() if report in ready]:
            _forget(pid, copies)
        for control in [each for each in controls if each in ready]:
            length, fds, _, _ = socket.recv_fds(control, _LENGTH.size, 4)
            if not length:
                controls.remove(control)
                control.close()
                if not controls:
                    _end_unless_needed(listener, copies)
                continue
            request = json.loads(_exactly(control, _LENGTH.unpack(length)[0]))
            report, *streams = fds
            # Signals wait until the copy has the handlers of a new interpreter.
            kept = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            pid = os.fork()
            if not pid:
                for each in (listener, *controls, *copies.values()):
                    each.detach()
                _become_new(streams, request[-1], kept)
                return request
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
            for number in streams:
                os.close(number)
            copies[pid] = socket.socket(fileno=report)
            copies[pid].sendall(b"%d\n" % pid)
        if listener in ready:
            controls.append(listener.accept()[0])


def _forget(pid: int, copies: dict[int, socket.socket]) -> None:
    """The test has closed its end: it has had the exit code, or is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    copies.pop(pid).close()


def _report_end(pid: int, report: socket.socket) -> None:
    """Report the exit code, and leave the process to be collected once the test has had it: its id stays its own."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if ended is not None:
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        with suppress(OSError):  # the test is gone
            report.sendall(b"%d\n" % code)


def _exactly(control: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += control.recv(length - len(data))
    return data


def _end_unless_needed(listener: socket.socket, copies: dict[int, socket.socket]) -> None:
    """End with the last process of the tests, unless another one has come just now."""
    with _alone():
        if select.select([listener], [], [], 0)[0]:
            return
        Path(listener.getsockname()).unlink(missing_ok=True)
        for pid in copies:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def _become_new(streams: list[int], without: str, mask: set[signal.Signals]) -> None:
    """Take the standard streams, and nothing else of the process that was copied."""
    signal.set_wakeup_fd(-1)
    for number, (name, source) in enumerate(zip(("stdin", "stdout", "stderr"), streams, strict=True)):
        if str(number) in without:
            os.close(number)
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
            continue
        os.dup2(source, number)
        old, mode, buffering = getattr(sys, name), "r" if name == "stdin" else "w", 1 if name == "stderr" else -1
        made = open(number, mode, buffering, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    os.closerange(3, min(65536, os.sysconf("SC_OPEN_MAX")))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
