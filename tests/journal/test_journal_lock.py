"""One run per organisation: the lock ends with its holder, is never taken over, and names its holder."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from filelock import FileLock

from bulkid.errors import LockedError, StateError
from bulkid.journal.locks import file
from bulkid.journal.locks.file import FileLockHandle
from tests.support.journal_data import start_python

ORGANIZATION = "3FA85F64-5717-4562-b3fc-2c963f66afa6"
RECORD = {
    "run_id": "20260131-081500-x7k2",
    "host": "robot-host",
    "pid": 4242,
    "since": 1_769_847_300.5,
    "source": "a.csv",
}

_HOLD = """
import json, pathlib, sys
from bulkid.journal.locks.file import FileLockHandle
handle = FileLockHandle(pathlib.Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
print("held", flush=True)
sys.stdin.readline()
handle.release()
"""


@contextmanager
def organization_lock(state_dir: Path, organization_id: str, record: Mapping[str, object]) -> Iterator[None]:
    handle = FileLockHandle(state_dir, organization_id, record)
    try:
        yield
    finally:
        handle.release()


def try_lock(folder: Path, organization: str = ORGANIZATION) -> None:
    with organization_lock(folder, organization, {**RECORD, "run_id": "another"}):
        pass


def test_another_run_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    with organization_lock(tmp_path, ORGANIZATION, RECORD), pytest.raises(LockedError) as caught:
        try_lock(tmp_path)
    text = str(caught.value)
    for part in (ORGANIZATION, "20260131-081500-x7k2", "robot-host", "4242", "2026-01-31T08:15:00Z", "a.csv"):
        assert part in text
    assert caught.value.exit_code == 6


def test_a_process_that_only_looks_whether_it_is_held_keeps_no_run_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = FileLockHandle(tmp_path, ORGANIZATION, {})
    monkeypatch.setattr(file, "time", SimpleNamespace(sleep=lambda _: looking.release()))
    try_lock(tmp_path)
    with organization_lock(tmp_path, ORGANIZATION, RECORD):
        assert file.is_held(tmp_path, ORGANIZATION)
        with pytest.raises(LockedError, match="20260131-081500-x7k2"):
            try_lock(tmp_path)
    assert not file.is_held(tmp_path, ORGANIZATION)


def test_two_processes_that_look_at_once_do_not_take_one_another_for_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = FileLockHandle(tmp_path, ORGANIZATION, {})
    monkeypatch.setattr(file, "time", SimpleNamespace(sleep=lambda _: looking.release()))
    assert not file.is_held(tmp_path, ORGANIZATION)


def test_a_process_that_only_looks_for_an_owner_does_not_make_a_dead_one_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = file.LivenessFile(tmp_path, "token")
    assert file.is_alive(str(owner.path), 1)
    owner.release(needed=True)
    looking = FileLock(owner.path)
    looking.acquire()
    monkeypatch.setattr(file, "time", SimpleNamespace(sleep=lambda _: looking.release()))
    assert file.is_alive(str(owner.path), 1) is False


def test_a_source_whose_name_is_no_text_can_be_told_too(tmp_path: Path) -> None:
    record = {**RECORD, "source": "f\udcff.csv"}  # a file name of other bytes than UTF-8, as POSIX allows it
    with organization_lock(tmp_path, ORGANIZATION, record), pytest.raises(LockedError, match="\udcff"):
        try_lock(tmp_path)


def test_the_lock_is_free_again_when_its_block_ends(tmp_path: Path) -> None:
    with organization_lock(tmp_path, ORGANIZATION, RECORD):
        pass
    with pytest.raises(ValueError, match="the run's own"), organization_lock(tmp_path, ORGANIZATION, RECORD):
        raise ValueError("the run's own")
    assert list((tmp_path / "locks").glob("*.json")) == []  # no process hears of an owner that has ended
    try_lock(tmp_path)


def test_ids_compare_without_regard_to_case(tmp_path: Path) -> None:
    with organization_lock(tmp_path, ORGANIZATION, RECORD), pytest.raises(LockedError):
        try_lock(tmp_path, ORGANIZATION.swapcase())


def test_organisations_and_directories_do_not_disturb_one_another(tmp_path: Path) -> None:
    odd = ["../../up", "a/b", "a_b", "a b", "", "é" * 300, "CON", "\ud800"]
    with organization_lock(tmp_path / "one", ORGANIZATION, RECORD):
        try_lock(tmp_path / "two")
        for name in odd:
            with organization_lock(tmp_path / "one", name, RECORD):
                for other in odd:
                    if other != name:
                        try_lock(tmp_path / "one", other)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


def test_it_may_be_taken_in_one_thread_and_given_back_in_another(tmp_path: Path) -> None:
    lock = organization_lock(tmp_path, ORGANIZATION, RECORD)
    thread = threading.Thread(target=lock.__enter__)
    thread.start()
    thread.join()
    with pytest.raises(LockedError):
        try_lock(tmp_path)
    lock.__exit__(None, None, None)
    try_lock(tmp_path)


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_another_process_holds_it_until_it_ends_and_no_longer(tmp_path: Path, how: str) -> None:
    process = start_python(_HOLD, tmp_path, ORGANIZATION, orjson.dumps(RECORD).decode())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        for _ in range(3):
            with pytest.raises(LockedError, match="20260131-081500-x7k2"):
                try_lock(tmp_path)
    finally:
        if how == "killed":
            process.kill()
        _, errors = process.communicate()
    assert errors == ""
    try_lock(tmp_path)


def test_details_left_by_a_dead_owner_are_replaced(tmp_path: Path) -> None:
    process = start_python(_HOLD, tmp_path, ORGANIZATION, orjson.dumps({**RECORD, "run_id": "dead"}).decode())
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    with organization_lock(tmp_path, ORGANIZATION, RECORD), pytest.raises(LockedError, match="20260131-081500-x7k2"):
        try_lock(tmp_path)


@pytest.mark.parametrize("details", [None, b"", b"[1]", b'{"run_id": 1}', b'{"since": "x"}'])
def test_without_readable_details_it_is_held_all_the_same(tmp_path: Path, details: bytes | None) -> None:
    with organization_lock(tmp_path, ORGANIZATION, RECORD):
        (file,) = (tmp_path / "locks").glob("*.json")
        if details is None:
            file.unlink()
        else:
            file.write_bytes(details)
        with pytest.raises(LockedError, match="another run"):
            try_lock(tmp_path)


def test_a_state_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    with pytest.raises(StateError, match="state"):
        try_lock(tmp_path / "state")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no permissions of this kind")
def test_its_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with organization_lock(tmp_path / "new", ORGANIZATION, RECORD):
            files = [tmp_path / "new" / "locks", *(tmp_path / "new" / "locks").iterdir()]
            assert tmp_path.joinpath("new").stat().st_mode & 0o077 == 0
            assert [file.stat().st_mode & 0o077 for file in files] == [0, 0, 0]
    finally:
        os.umask(old)


def test_a_liveness_file_that_cannot_be_looked_up_says_nothing(tmp_path: Path) -> None:
    """As in the state directory of another user of this host, whose runs share the database."""
    assert file.is_alive(str(tmp_path / ("x" * 300) / "owner.alive")) is None
    assert file.is_alive("") is None
