"""Code that only Windows takes, run on any system: the platform is patched, and calls of Windows are faked.

CONTRIBUTING.md lists what this cannot show. The workflow ``test`` runs all tests on Windows itself.
"""

import ctypes
import errno
import importlib.util
import io
import os
import signal
import struct
import subprocess
import sys
from ctypes import wintypes
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bulkid import file_kind, logs
from bulkid.cli import stdio
from bulkid.cli.signals import PendingSignals
from bulkid.file_kind import NotAFileError, open_regular, pinned_folder
from bulkid.sheet import child_process, isolated_child
from bulkid.web import server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of each part run the real thing there")

EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
PROCESS_TIME, PROCESS_MEMORY = 0x2, 0x100
OFFSETS = {"time": (0, "<q"), "flags": (16, "<I"), "memory": (112, "<Q")}
"""Where 64-bit Windows has them in its 144 bytes of JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""


class Call:
    """A function of a library of Windows: notes its arguments, and answers."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> int:
        self.seen.append(arguments)
        return self.answer


class SetInformation(Call):
    """Notes the bytes that the pointer leads to, which are there during the call alone."""

    def __call__(self, job: int, kind: int, pointer: Any, size: int) -> int:  # type: ignore[override]
        return super().__call__(job, kind, ctypes.string_at(pointer, size))


class Kernel:
    """What bulkid calls of kernel32."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.CreateJobObjectW = Call(41)
        self.GetCurrentProcess = Call(42)
        self.SetInformationJobObject = SetInformation(1)
        self.AssignProcessToJobObject = Call(int(accepts))


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


def _child_on_windows(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> ModuleType:
    """The module of the child, imported as Windows imports it."""
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **_: {"kernel32": kernel}[name], raising=False)
    monkeypatch.setattr(ctypes, "WinError", lambda number: OSError(number, "refused"), raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5, raising=False)
    monkeypatch.setattr(wintypes, "DWORD", ctypes.c_uint32)  # of eight bytes on Linux
    spec = importlib.util.spec_from_file_location("child_on_windows", isolated_child.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("on_windows")
def test_the_child_limits_itself_by_a_job_object(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    child = _child_on_windows(monkeypatch, kernel)
    child.limit(2 << 30, 121)
    ((job, kind, image),) = kernel.SetInformationJobObject.seen
    found = {name: struct.unpack_from(form, image, place)[0] for name, (place, form) in OFFSETS.items()}
    assert (job, kind, len(image)) == (41, EXTENDED_LIMITS, 144)
    assert found == {"time": 121 * 10_000_000, "flags": PROCESS_TIME | PROCESS_MEMORY, "memory": 2 << 30}
    assert kernel.AssignProcessToJobObject.seen == [(41, 42)]


@pytest.mark.usefixtures("on_windows")
def test_a_child_that_windows_does_not_limit_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    child = _child_on_windows(monkeypatch, Kernel(accepts=False))
    with pytest.raises(OSError, match="refused"):
        child.limit(1 << 30, 10)


@pytest.mark.usefixtures("on_windows")
def test_a_child_is_kept_from_ctrl_c_and_opens_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    assert child_process.process_group_options() == {"creationflags": 0x08000200}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, on_windows: None, tmp_path: Path) -> Path:  # noqa: ARG001 - in this order
    """A folder in which Windows opens files."""
    monkeypatch.setattr(os, "O_BINARY", 0, raising=False)
    monkeypatch.setattr(os, "O_NOINHERIT", os.O_CLOEXEC, raising=False)
    (tmp_path / "sheet.csv").write_bytes(b"name\r\n")
    return tmp_path


def test_a_plain_file_opens(files: Path) -> None:
    with open_regular(files / "sheet.csv") as file, pinned_folder(files) as number:
        assert (file.read(), number) == (b"name\r\n", None)


def test_links_to_files_and_folders_do_not(files: Path) -> None:
    (files / "link.csv").symlink_to(files / "sheet.csv")
    (files / "inbox").symlink_to(files)
    for path in (files / "link.csv", files / "inbox" / "sheet.csv"):
        with pytest.raises(NotAFileError, match="link"):
            open_regular(path)


def tagged_lstat(tag: int, path: Path) -> Any:
    """What Windows says of a path with a reparse tag."""
    facts = Path(path).stat(follow_symlinks=False)
    kept = {name: getattr(facts, name) for name in ("st_mode", "st_dev", "st_ino", "st_nlink")}
    return SimpleNamespace(**kept, st_reparse_tag=tag)


def test_what_a_junction_leads_to_does_not_open(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A junction is a folder with a reparse tag, which only Windows reports."""
    # Put back before the fixtures end: since Python 3.13 the removal of a folder fails where this lstat is called.
    with monkeypatch.context() as patched:
        patched.setattr(file_kind.os, "lstat", partial(tagged_lstat, 0xA0000003))
        with pytest.raises(NotAFileError, match="it is a link, not a folder"):
            open_regular(files / "sheet.csv")


@pytest.mark.parametrize("tag", [0x9000701A, 0x80000013], ids=["OneDrive", "deduplicated"])
def test_what_is_only_stored_in_another_way_is_no_link(tag: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(file_kind.os, "lstat", partial(tagged_lstat, tag))
        with open_regular(files / "sheet.csv") as file:
            assert file.read() == b"name\r\n"


def test_a_file_that_is_replaced_while_it_is_opened_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = files / "other.csv"
    other.write_bytes(b"")
    monkeypatch.setattr(file_kind, "_open", lambda *_: os.open(other, os.O_RDONLY))
    with pytest.raises(NotAFileError, match="replaced a moment ago"):
        open_regular(files / "sheet.csv")


@pytest.mark.parametrize(("number", "is_closed"), [(errno.EINVAL, True), (errno.ENOSPC, False)])
def test_a_reader_that_went_away_is_an_invalid_argument(
    monkeypatch: pytest.MonkeyPatch, number: int, is_closed: bool
) -> None:
    monkeypatch.setattr(stdio, "os", SimpleNamespace(name="nt"))
    assert stdio._is_closed_pipe(OSError(number, "")) is is_closed


@pytest.mark.usefixtures("on_windows")
def test_lines_of_the_log_have_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    assert not logs._has_colours(terminal)


@pytest.mark.usefixtures("on_windows")
def test_the_console_takes_as_many_connections_as_it_would() -> None:
    assert server.max_connections() == server.MAX_CONNECTIONS


def test_ctrl_break_is_handled_as_ctrl_c_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR2, raising=False)
    pending = PendingSignals()
    with pending.installed():
        signal.raise_signal(signal.SIGUSR2)
        assert pending.has_pending
