"""Calls the command line in the process of the tests, and has it behave as a process of its own does.

A command finds its own standard streams (the descriptors 0, 1 and 2 as well), environment, working directory and
arguments, and no signal, log setting or secret of an earlier command. Afterwards everything is as it was. What no call
within a process can show (a kill, a signal, a pipe whose reader leaves) needs :meth:`bulkid_command.Bulkid.start`.
"""

import asyncio
import contextvars
import functools
import gc
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd  # noqa: F401 - a command reads a text in its own process then; a child for each takes 0.5 s
import pytest
import structlog
import typer.main

from bulkid import cli, logs, redaction
from bulkid.cli.signals import pending_signals

THREADS_END_S = 30
"""How long the threads of a command may take to end after it, as at the end of an interpreter."""

_get_command = functools.cache(typer.main.get_command)
"""The commands of an app, made once for all calls: to make them takes a fifth of a short call; they keep no state."""

_PIPE_HOLDS = 32_768
"""Bytes that fit into any system's pipe."""


def call_cli(
    arguments: tuple[str, ...],
    *,
    folder: Path,
    env: Mapping[str, str],
    stdin: bytes | None = None,
    terminal: bool = False,
) -> "subprocess.CompletedProcess[bytes]":
    """Run ``bulkid ARGUMENTS`` to its end; on the main thread, outside of an event loop.

    Args:
        arguments: Of the command.
        folder: The working directory.
        env: The whole environment.
        stdin: What it reads from a pipe; None: its standard input is empty.
        terminal: Both outputs go to one pseudo-terminal (POSIX only); what is written stands in ``stdout``.
    """
    assert threading.current_thread() is threading.main_thread(), "signals belong to the main thread"
    assert asyncio._get_running_loop() is None, "a test that calls the command is no coroutine"
    before = set(threading.enumerate())
    with ExitStack() as stack:
        read = _terminal(stack) if terminal else _files(stack)
        stack.enter_context(_input(stdin))
        for resource in (_variables(env), _directory(folder), _arguments(arguments), _streams(), _clean_state()):
            stack.enter_context(resource)
        stack.enter_context(_attributes(typer.main, get_command=_get_command))
        code = contextvars.Context().run(_exit_code)
        # As the interpreter does before it ends: wait for threads, and write what is still buffered.
        _join_threads(before)
        if not _flushed():
            code = 120
    out, err = read()
    return subprocess.CompletedProcess(["bulkid", *arguments], code, out, err)


def _exit_code() -> int:
    """Call the entry point, and say what code a process would end with."""
    try:
        cli.main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except pytest.fail.Exception:  # the test's time is over
        raise
    except BaseException as error:  # noqa: BLE001 - the interpreter shows anything, and so must this
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _flushed() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    with suppress(OSError):
        sys.stderr.flush()
    return True


def _join_threads(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(THREADS_END_S)
            assert not thread.is_alive(), f"the command leaves {thread} behind"


# --- what belongs to a process


@contextmanager
def _descriptor(number: int, source: int) -> Iterator[None]:
    """Put another file behind a descriptor."""
    kept = os.dup(number)
    os.dup2(source, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def _input(data: bytes | None) -> Iterator[None]:
    """Standard input from a pipe, or from nowhere."""
    if data is None:
        with Path(os.devnull).open("rb") as nothing, _descriptor(0, nothing.fileno()):
            yield
        return
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file, suppress(BrokenPipeError):
            file.write(data)

    writer = threading.Thread(target=write, daemon=True)
    if len(data) <= _PIPE_HOLDS:
        write()
    else:
        writer.start()
    try:
        with _descriptor(0, reading):
            yield
    finally:
        os.close(reading)
        if writer.ident is not None:
            writer.join(THREADS_END_S)


def _files(stack: ExitStack) -> Callable[[], tuple[bytes, bytes]]:
    """Both outputs into files; gives how to read them afterwards."""
    files: list[IO[bytes]] = []
    for number in (1, 2):
        file = stack.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - the stack closes it
        stack.enter_context(_descriptor(number, file.fileno()))
        files.append(file)

    kept: list[bytes] = []

    def keep() -> None:
        for file in files:
            file.seek(0)
            kept.append(file.read())

    stack.callback(keep)
    return lambda: (kept[0], kept[1])


def _terminal(stack: ExitStack) -> Callable[[], tuple[bytes, bytes]]:
    """Both outputs to a pseudo-terminal; gives how to read what was written."""
    import pty

    master, slave = pty.openpty()
    written = bytearray()

    def follow() -> None:
        with suppress(OSError):  # the other side is closed
            while more := os.read(master, 65536):
                written.extend(more)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()

    def end() -> None:
        os.close(slave)
        reader.join(THREADS_END_S)
        os.close(master)

    stack.callback(end)
    for number in (1, 2):
        stack.enter_context(_descriptor(number, slave))
    return lambda: (bytes(written), b"")


@contextmanager
def _streams() -> Iterator[None]:
    """The standard streams as an interpreter makes them of the descriptors, in a system that speaks UTF-8.

    The variable ``PYTHONIOENCODING`` may name another encoding, without how its errors are handled.
    """
    kept = sys.stdin, sys.stdout, sys.stderr
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    made = [
        open(0, encoding=encoding, errors="strict", closefd=False),  # noqa: SIM115 - closed below
        open(1, "w", encoding=encoding, errors="strict", closefd=False),  # noqa: SIM115 - as above
        open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False),  # noqa: SIM115 - as above
    ]
    sys.stdin, sys.stdout, sys.stderr = made
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
        for stream in made:
            with suppress(OSError):
                stream.close()


@contextmanager
def _variables(env: Mapping[str, str]) -> Iterator[None]:
    kept = dict(os.environ)

    def put(values: Mapping[str, str]) -> None:
        moved = os.environ.get("TZ") != values.get("TZ")
        for name in os.environ.keys() - values.keys():
            del os.environ[name]
        os.environ.update(values)
        if moved and hasattr(time, "tzset"):
            time.tzset()

    put(env)
    try:
        yield
    finally:
        put(kept)


@contextmanager
def _directory(folder: Path) -> Iterator[None]:
    kept = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(kept)


@contextmanager
def _arguments(arguments: tuple[str, ...]) -> Iterator[None]:
    kept = sys.argv
    sys.argv = ["bulkid", *arguments]
    try:
        yield
    finally:
        sys.argv = kept


@contextmanager
def _clean_state() -> Iterator[None]:
    """What a command changes in its process, as in a new one, and afterwards as it was."""
    with pending_signals.installed(), _attributes(gc, freeze=lambda: None), _attributes(sys, excepthook=sys.excepthook):
        threshold = gc.get_threshold()  # (to freeze what one of hundreds of commands has made would be a leak)
        try:
            with _fresh(pending_signals), _fresh(redaction._redactor), _fresh_logs():
                yield
        finally:
            gc.set_threshold(*threshold)


@contextmanager
def _attributes(owner: Any, **values: Any) -> Iterator[None]:
    kept = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


@contextmanager
def _fresh(thing: Any) -> Iterator[None]:
    """An object of the process as it is when made, and afterwards as it was."""
    with _attributes(thing, **vars(type(thing)())):
        yield


@contextmanager
def _fresh_logs() -> Iterator[None]:
    root = logs.logging.getLogger()
    configured = structlog.get_config() if structlog.is_configured() else None
    handlers = root.handlers[:]
    for handler in [each for each in handlers if isinstance(each, logs._LibraryHandler)]:
        root.removeHandler(handler)
    structlog.reset_defaults()
    try:
        with _fresh(logs._output):
            yield
    finally:
        root.handlers[:] = handlers
        if configured is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**configured)


def as_text(data: bytes) -> str:
    """What :mod:`subprocess` makes of a stream in its text mode."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
