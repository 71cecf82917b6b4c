"""Opening: private files, migrations, and every way in which a state directory can be unusable."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.sql.compiler import SQLCompiler

from bulkid.errors import StateError
from bulkid.journal.backends.sqlite import SqliteDialect
from bulkid.journal.errors import StateFullError, file_error
from bulkid.journal.migrate import migrate
from bulkid.journal.store import Journal, open_journal
from tests.support.forked_command import ROOT
from tests.support.journal_data import RUN, begin, finish, record, schema_of, start_python
from tests.support.version_1 import closing_database, write_v1


def test_a_migrated_database_has_the_schema_of_a_fresh_one(tmp_path: Path) -> None:
    open_journal(tmp_path / "fresh").close()
    old = write_v1(tmp_path / "old")
    open_journal(tmp_path / "old").close()
    assert schema_of(old) == schema_of(tmp_path / "fresh" / "bulkid.db")


def test_a_database_of_version_1_can_be_used(tmp_path: Path) -> None:
    write_v1(tmp_path)
    with open_journal(tmp_path) as journal:
        begin(journal, 3)
        assert sum(journal.counts(RUN).values()) == 3


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.create_run(record())
    with open_journal(tmp_path) as journal:
        assert journal.get_run(RUN) == record()


def test_each_step_and_its_record_are_one(tmp_path: Path) -> None:
    """A step that fails in the middle leaves nothing behind; the next try goes on from the step before."""
    path = write_v1(tmp_path)
    dialect = SqliteDialect(tmp_path)

    def second(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT")

    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN shape TEXT")
        raise KeyboardInterrupt

    def third(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN shape TEXT")

    def state() -> tuple[list[tuple[int, float]], set[str]]:
        with closing_database(sqlite3.connect(path)) as db:
            versions = db.execute("SELECT version, applied_at FROM schema_version ORDER BY version").fetchall()
            return versions[1:], {name for _, name, *_ in db.execute("PRAGMA table_info(runs)")} & {"colour", "shape"}

    try:
        with pytest.raises(KeyboardInterrupt):
            migrate(dialect, 2.0, steps={2: second, 3: broken}, newest=3)
        assert state() == ([(2, 2.0)], {"colour"})
        migrate(dialect, 3.0, steps={2: second, 3: third}, newest=3)
        assert state() == ([(2, 2.0), (3, 3.0)], {"colour", "shape"})
        migrate(dialect, 4.0, steps={2: second, 3: third}, newest=3)
        assert state() == ([(2, 2.0), (3, 3.0)], {"colour", "shape"})
    finally:
        dialect.engine.dispose()


def test_many_may_open_a_new_directory_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from bulkid.journal.store import open_journal\n"
        "for n in range(5): open_journal(pathlib.Path(sys.argv[1]) / str(n)).close()"
    )
    started = [start_python(script, tmp_path) for _ in range(2)]
    troubles: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(5):
                open_journal(tmp_path / str(number)).close()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            troubles.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [finish(process) for process in started] == ["", ""]
    assert troubles == []


def settings_of(journal: Journal) -> dict[str, object]:
    with journal.database.write() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}


def test_commits_are_durable_and_keys_are_checked(file_journal: Journal) -> None:
    assert settings_of(file_journal) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
        "wal_autocheckpoint": 4000,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no permissions of this kind")
def test_the_directory_and_all_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with open_journal(tmp_path / "deep" / "state") as journal:
            begin(journal, 1)
            files = list((tmp_path / "deep" / "state").iterdir())
            assert {"bulkid.db", "bulkid.db-wal", "bulkid.db-shm"} <= {file.name for file in files}
            assert {file.name: file.stat().st_mode & 0o077 for file in files} == {file.name: 0 for file in files}
            assert (tmp_path / "deep" / "state").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(old)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no permissions of this kind")
def test_a_directory_that_was_there_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    open_journal(shared).close()
    assert shared.stat().st_mode & 0o777 == 0o750


def test_odd_characters_in_the_path_are_just_characters(tmp_path: Path) -> None:
    folder = tmp_path / "Zürich 50% #1 & co"
    with open_journal(folder) as journal:
        begin(journal, 1)
    assert (folder / "bulkid.db").stat().st_size > 0


def refusal(folder: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        open_journal(folder)
    text = str(caught.value)
    assert str(folder) in text
    assert "SELECT" not in text
    assert "sqlalche" not in text
    return caught.value


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    assert "--state-dir" in str(refusal(tmp_path / "state"))


def test_a_directory_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "bulkid.db").mkdir()
    assert "cannot be opened" in str(refusal(tmp_path))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "bulkid.db").write_bytes(b"PK\x03\x04 something else altogether" * 100)
    assert "is not a bulkid database" in str(refusal(tmp_path))
    assert (tmp_path / "bulkid.db").read_bytes().startswith(b"PK")


@pytest.mark.parametrize("extra", ["", "CREATE TABLE schema_version (version INTEGER, applied_at DOUBLE);"])
def test_a_database_of_another_program(tmp_path: Path, extra: str) -> None:
    with closing_database(sqlite3.connect(tmp_path / "bulkid.db")) as db:
        db.executescript(f"CREATE TABLE songs (title TEXT); {extra}")
    assert "is not a bulkid database" in str(refusal(tmp_path))


def test_a_database_of_a_newer_bulkid(tmp_path: Path) -> None:
    path = write_v1(tmp_path)
    with closing_database(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO schema_version VALUES (99, 2.0)")
    text = str(refusal(tmp_path))
    assert "version 99" in text
    assert "Update bulkid" in text


def test_a_damaged_database(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        begin(journal, 2000)
    path = tmp_path / "bulkid.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 8192))
    with pytest.raises(StateError, match="is damaged"), open_journal(tmp_path) as journal:
        list(journal.report_rows(RUN))


@contextmanager
def without_root() -> Iterator[None]:
    """Root may write what is read-only: become another user meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a read-only directory, which Windows makes by access lists")
@pytest.mark.parametrize("what", ["directory", "missing directory", "file"])
def test_what_is_read_only(what: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("readonly")
    passable = [folder, *folder.parents[:2]]
    modes = [parent.stat().st_mode & 0o777 for parent in passable]
    target = folder / "state" if what == "missing directory" else folder
    if what == "file":
        open_journal(folder).close()
        (folder / "bulkid.db").chmod(0o444)
        (folder / "open.lock").chmod(0o666)
    try:
        for parent in passable:
            parent.chmod(0o755)
        folder.chmod(0o777 if what == "file" else 0o555)
        with without_root(), pytest.raises(StateError, match="read-only") as caught, open_journal(target) as journal:
            journal.create_run(record())  # what is there can be read; nothing leaves without a run
        assert str(target) in str(caught.value)
    finally:
        for parent, mode in zip(passable, modes, strict=True):
            parent.chmod(mode)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_disk_without_room_for_the_directory(name: str, tmp_path: Path) -> None:
    import errno

    if not hasattr(errno, name):
        pytest.skip("this system has no such error")
    error = file_error(OSError(getattr(errno, name), "no room"), tmp_path)
    assert isinstance(error, StateFullError)
    assert str(tmp_path) in str(error)


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    begin(journal, 1)
    journal.close()
    journal.close()
    for call in (lambda: journal.settle(RUN, []), journal.list_runs, lambda: list(journal.report_rows(RUN))):
        with pytest.raises(StateError, match="closed"):
            call()


def test_a_process_compiles_each_statement_once_however_many_files_it_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(folder: Path) -> None:
        with open_journal(folder) as journal:
            begin(journal, 2)
            assert len(list(journal.report_rows(RUN))) == 2
            assert sum(journal.counts(RUN).values()) == 2

    use(tmp_path / "one")
    compiled: list[str] = []
    monkeypatch.setattr(SQLCompiler, "__init__", lambda _compiler, _dialect, statement, **_: compiled.append(statement))
    use(tmp_path / "two")
    assert compiled == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_opening_and_closing_leaks_nothing(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with open_journal(tmp_path) as journal:
        begin(journal, 2000)
    before = open_files()
    for _ in range(10):
        journal = open_journal(tmp_path)
        read_to_the_end, dropped, closed_late = (journal.report_rows(RUN) for _ in range(3))
        assert len(list(read_to_the_end)) == 2000
        next(dropped)
        del dropped
        next(closed_late)
        journal.close()
        del closed_late
    assert open_files() <= before


def test_names_and_locks_can_be_imported_without_the_database_library() -> None:
    script = "import sys, bulkid.journal.names, bulkid.journal.locks.file; sys.exit('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_connection_that_cannot_be_closed_shows_no_traceback(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A second signal may arrive in the middle of closing; it is raised, and that is all that is said of it."""
    journal = open_journal(tmp_path)
    close = journal.database.dialect.engine.dialect.do_close

    def interrupted(connection: Any) -> None:
        close(connection)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(journal.database.dialect.engine.dialect, "do_close", interrupted)
        with suppress(KeyboardInterrupt):
            journal.database.dialect.engine.dispose()
    journal.close()
    assert not caplog.records
