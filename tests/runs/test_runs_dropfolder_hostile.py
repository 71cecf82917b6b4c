"""A drop folder that others write to: links, pipes, hard links and strange names do no harm and delay no other file."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.file_kind import NotAFileError, open_regular
from bulkid.journal.claimed_files import ClaimedFiles
from bulkid.journal.names import new_run_id, read_name, stored_name
from bulkid.journal.store import open_journal
from bulkid.report.writer import ReportFiles
from bulkid.runs.jobs import drop_folder, drop_folder_job
from bulkid.runs.jobs.drop_folder import DropFolder, plain_name, report_files, write_report_beside
from bulkid.sandbox.server import Sandbox
from bulkid.sheet import SheetOptions, open_sheet
from tests.support.drop_folders import Inbox, drop, names, served

SECRET = "user,s3cret-password\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as POSIX has them")


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def everything_below(folder: Path) -> str:
    """The names and contents of all plain files in a drop folder, as one text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return "\n".join(f"{path.name}\n{path.read_bytes().decode(errors='replace')}" for path in files)


def swapped(monkeypatch: pytest.MonkeyPatch, name: str, swap: Callable[[], None]) -> None:
    """Have another user act just before a step of the job, once."""
    real = getattr(drop_folder_job, name)
    done: list[bool] = []

    def step(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            swap()
        return real(*arguments)

    monkeypatch.setattr(drop_folder_job, name, step)


def replaced_by_link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


# --- links


@posix
@pytest.mark.parametrize("step", ["digest", "move"])
def test_a_link_that_takes_the_place_of_a_file_is_not_followed(
    step: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = drop(inbox.root, "passwords", SECRET)
    inbox.sheet("a.csv", "A", age_s=50)
    inbox.sheet("b.csv", "B", age_s=10)
    swapped(monkeypatch, step, lambda: replaced_by_link(inbox.folder / "a.csv", secret))

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 0
        assert names(server)["robot-0001"] == "B 1"

    served(work)
    assert "s3cret" not in everything_below(inbox.folder) + "".join(inbox.notes)
    assert secret.read_text() == SECRET
    assert inbox.places()["archive"] == ["b.csv"]


@posix
def test_a_link_with_the_same_content_is_still_none_of_the_files(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("a.csv", "A")
    elsewhere = inbox.root / "elsewhere.csv"
    elsewhere.write_bytes((inbox.folder / "a.csv").read_bytes())
    swapped(monkeypatch, "move", lambda: replaced_by_link(inbox.folder / "a.csv", elsewhere))

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).runs == ()

    served(work)
    assert (inbox.folder / "a.csv").is_symlink()
    with open_journal(inbox.root / "state") as journal:
        assert ClaimedFiles(journal, DropFolder(inbox.folder).key).open() == []


@posix
def test_a_link_in_working_is_not_read_when_the_next_start_goes_on(inbox: Inbox) -> None:
    secret = drop(inbox.root, "passwords.csv", SECRET)
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        with open_journal(inbox.root / "state") as journal:
            taken = ClaimedFiles(journal, DropFolder(inbox.folder).key)
            taken.claim("0" * 64, "a.csv", "working/a.csv", new_run_id(1e9), 1e9)
        (inbox.folder / "working").mkdir()
        (inbox.folder / "working" / "a.csv").symlink_to(secret)
        assert (await inbox.work(server)).exit_code == 2
        assert names(server)["robot-0001"] == "A 1"

    served(work)
    assert "s3cret" not in everything_below(inbox.folder) + "".join(inbox.notes)
    assert any("link" in note for note in inbox.notes)


@posix
@pytest.mark.parametrize("place", ["working", "archive", "failed"])
def test_a_place_that_is_a_link_to_another_folder_is_refused(place: str, inbox: Inbox) -> None:
    elsewhere = inbox.root / "elsewhere"
    elsewhere.mkdir()
    (inbox.folder / place).symlink_to(elsewhere)
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        result = await inbox.work(server)
        assert result.exit_code == 2
        assert f"{place} is a link" in str(result.error)

    served(work)
    assert list(elsewhere.iterdir()) == []
    assert (inbox.folder / "a.csv").exists()


@posix
def test_a_place_that_becomes_a_link_takes_no_file_elsewhere(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = inbox.root / "elsewhere"
    elsewhere.mkdir()
    inbox.sheet("a.csv", "A")

    def swap() -> None:
        (inbox.folder / "working").rmdir()
        (inbox.folder / "working").symlink_to(elsewhere)

    swapped(monkeypatch, "move", swap)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).runs == ()

    served(work)
    assert list(elsewhere.iterdir()) == []


@posix
def test_a_link_in_the_place_of_what_is_written_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = drop(tmp_path, "victim", "keep me")
    target = tmp_path / "failed" / "2026-01-31_a.csv"
    target.parent.mkdir()
    for name in ("2026-01-31_a.error.txt", ".2026-01-31_a.error.txt.tmp"):
        (target.parent / name).symlink_to(victim)
    write_report_beside(target, report_files(None, "what went wrong"))
    assert victim.read_text() == "keep me"
    assert not (target.parent / "2026-01-31_a.error.txt").is_symlink()
    assert (target.parent / "2026-01-31_a.error.txt").read_text() == "what went wrong\n"


@posix
def test_reports_beside_a_file_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    files = tuple(drop(report, name, "roby,Robbie") for name in ("report.csv", "retry.csv"))
    umask = os.umask(0)
    try:
        write_report_beside(tmp_path / "a.csv", report_files(ReportFiles(report, files, (), {}), ""))
        write_report_beside(tmp_path / "b.csv", report_files(None, "what went wrong"))
    finally:
        os.umask(umask)
    for name in ("a.report.csv", "a.retry.csv", "b.error.txt"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name


@posix
def test_a_temporary_name_that_is_taken_is_an_error_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = drop(tmp_path, "victim", "keep me")
    monkeypatch.setattr(drop_folder.secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_report_beside(tmp_path / "a.csv", report_files(None, "message"))
    assert victim.read_text() == "keep me"


# --- what is no plain file


@posix
def test_pipes_second_names_and_folders_hold_up_nothing(inbox: Inbox) -> None:
    os.mkfifo(inbox.folder / "pipe.csv")
    (inbox.folder / "folder.csv").mkdir()
    drop(inbox.root, "owned.csv", SECRET)
    os.link(inbox.root / "owned.csv", inbox.folder / "second.csv")
    inbox.sheet("a.csv", "A")

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    assert inbox.places() == {".": ["second.csv"], "archive": ["a.csv"]}
    assert any("second name" in note for note in inbox.notes)


@posix
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.sheet("a.csv", "A")

    def swap() -> None:
        (inbox.folder / "a.csv").unlink()
        os.mkfifo(inbox.folder / "a.csv")

    swapped(monkeypatch, "digest", swap)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).runs == ()

    served(work)
    assert any("pipe" in note for note in inbox.notes)


@posix
def test_a_sheet_is_read_through_a_link_only_where_links_are_allowed(tmp_path: Path) -> None:
    sheet = drop(tmp_path, "real.csv", "name\nr\n")
    link = tmp_path / "link.csv"
    link.symlink_to(sheet)
    with open_sheet(link) as opened:
        assert opened.info.headers == ("name",)
    for path in (link, tmp_path / "there" / "real.csv"):
        (tmp_path / "there").unlink(missing_ok=True)
        (tmp_path / "there").symlink_to(tmp_path)
        with pytest.raises(SheetError, match="it is a link"):
            open_sheet(path, SheetOptions(follow_links=False))
    with pytest.raises(SheetError, match="does not exist"):
        open_sheet(tmp_path / "none.csv", SheetOptions(follow_links=False))
    with open_sheet(sheet, SheetOptions(follow_links=False)) as opened:
        assert opened.info.headers == ("name",)


def test_a_file_that_was_replaced_is_seen_where_links_cannot_be_told_when_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: looked at by its name, before and after."""
    from contextlib import contextmanager

    from bulkid import file_kind

    @contextmanager
    def by_name(_: Path) -> Any:
        yield None

    monkeypatch.setattr(file_kind, "pinned_folder", by_name)
    path, other = drop(tmp_path, "a.csv"), drop(tmp_path, "b.csv", "other")
    monkeypatch.setattr(file_kind, "_open", lambda path, _: os.open(path, os.O_RDONLY))
    with open_regular(path) as file:
        assert file.read() == b"x"
    monkeypatch.setattr(file_kind, "_open", lambda *_: os.open(other, os.O_RDONLY))
    with pytest.raises(NotAFileError, match="replaced"):
        open_regular(path)


# --- names


@pytest.mark.skipif(sys.platform != "linux", reason="file systems whose names are any bytes")
def test_a_name_that_is_no_text_is_taken_like_any_other(inbox: Inbox) -> None:
    name = os.fsdecode(b"M\xfcller\n\x1b[31m.csv")
    inbox.sheet(name, "A", age_s=50)
    drop(inbox.folder, os.fsdecode(b"bad\xff.csv"), "nothing,known\n1,2\n", age_s=40)
    inbox.sheet("b.csv", "B", age_s=10)

    async def work(server: Sandbox) -> None:
        assert (await inbox.work(server)).exit_code == 2
        assert names(server)["robot-0001"] == "B 1"
        inbox.sheet(name, "A")
        assert (await inbox.work(server)).runs == ()  # its content was taken before

    served(work)
    assert inbox.places() == {
        "archive": ["M_ller__[31m.csv", "M_ller__[31m_duplicate.csv", "b.csv"],
        "failed": ["bad_.csv"],
    }
    assert [note for note in inbox.notes if not note.replace("\n", "").isprintable() or "ller\n" in note] == []
    assert inbox.runs() == {"M_ller__[31m.csv": 1, "b.csv": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="file systems whose names are any bytes")
def test_a_name_that_is_no_text_is_found_again_after_a_kill(inbox: Inbox) -> None:
    name = os.fsdecode(b"\xff.csv")
    inbox.sheet(name, "A")

    async def work(server: Sandbox) -> None:
        with open_journal(inbox.root / "state") as journal:
            taken = ClaimedFiles(journal, DropFolder(inbox.folder).key)
            taken.claim("0" * 64, name, "working/_.csv", new_run_id(1e9), 1e9)
            assert [file.name for file in taken.open()] == [name]
        assert (await inbox.work(server)).exit_code == 0

    served(work)
    assert inbox.places() == {"archive": ["_.csv"]}
    assert not any("not there any more" in note for note in inbox.notes)


@given(st.binary(max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_any_bytes_of_a_name_are_stored_as_text_and_read_back(name: bytes) -> None:
    text = name.decode(errors="surrogateescape")
    stored = stored_name(text)
    stored.encode()  # any database takes it
    assert read_name(stored) == text
    if name.decode(errors="replace") == text:
        assert stored == text


@given(st.text(min_size=1, max_size=300))
def test_a_plain_name_fits_anywhere(name: str) -> None:
    plain = plain_name(name.replace("/", "_"))
    assert plain.isprintable()
    assert len(plain.encode()) <= 200
    assert plain_name(plain) == plain


@pytest.mark.parametrize("name", ["con.xlsx", "NUL", "Com1.csv", "aux.tar.csv", "lpt9 .csv"])
def test_names_that_windows_keeps_for_devices_are_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert plain_name(name) == f"_{name}"
    assert plain_name(f"x{name}") == f"x{name}"
    if sys.platform != "win32":
        drop(tmp_path, name)
        monkeypatch.setattr(sys, "platform", "win32")
        assert DropFolder(tmp_path).pending_files() == []
