"""A database on a server: set up when it is new; every reason why it cannot be used is named, without the password."""

import builtins
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bulkid.errors import StateError
from bulkid.journal.backends.postgres import SCHEMA
from bulkid.journal.errors import DatabaseLostError
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Status
from tests.support.journal_data import RUN, UPDATED, Place, begin, record
from tests.support.postgres_server import PASSWORD, shared_server

HUSH = "hush%20hush"


def refusal(folder: Path, url: str) -> StateError:
    with pytest.raises(StateError) as caught:
        open_journal(folder, url)
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__cause__!r}"
    for secret in (PASSWORD, HUSH, "hush", "p%40ss"):
        assert secret not in told
    assert "SELECT" not in told
    return caught.value


@contextmanager
def role(database: str) -> Iterator[str]:
    """A user of a database who may only connect; gives the URL."""
    server, name = shared_server(), f"bulkid_test_role_{secrets.token_hex(4)}"
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hush hush'")
    try:
        yield database.replace(database.split("//")[1].split("@", maxsplit=1)[0], f"{name}:{HUSH}")
    finally:
        server.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}", url=database)


def test_a_wrong_password_or_user_is_told(tmp_path: Path, postgres: Place) -> None:
    quoted = postgres.url.split("//")[1].split("@")[0]
    for wrong in (f"bulkid:{HUSH}", "bulkid", f"nobody_here:{HUSH}"):
        assert "refuses the user or the password" in str(refusal(tmp_path, postgres.url.replace(quoted, wrong)))


def test_a_database_that_does_not_exist_is_told(tmp_path: Path) -> None:
    told = str(refusal(tmp_path, shared_server().database_url("no_such_database")))
    assert "no_such_database" in told
    assert "does not exist" in told


@pytest.mark.parametrize("where", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_cannot_be_reached_is_told(tmp_path: Path, where: str) -> None:
    told = str(refusal(tmp_path, f"postgresql+psycopg://bulkid:{HUSH}@{where}/bulkid"))
    assert "cannot be reached" in told
    assert where in told


@pytest.mark.parametrize(
    "url", [f"sqlite:///{HUSH}", f"mysql://x:{HUSH}@host/d", HUSH, f"postgresql://x:{HUSH}@host:port/d", "://"]
)
def test_what_is_no_address_of_a_postgresql_database_is_told(tmp_path: Path, url: str) -> None:
    assert "BULKID_DATABASE_URL" in str(refusal(tmp_path, url))


@pytest.mark.parametrize("password", ["p@hush", "p@a/hush", "a@b@hush", "p@hush?a", "p@hush?a=b"])
def test_a_password_with_an_at_sign_is_told_and_not_shown(tmp_path: Path, password: str) -> None:
    """What stands behind the first @ would be taken for the host, or for the database, which messages show."""
    error = refusal(tmp_path, f"postgresql://bulkid:{password}@127.0.0.1:1/bulkid")
    assert "has an @ in its password or behind it" in str(error)
    assert "%40" in error.hint


def test_an_option_that_the_driver_does_not_know_is_told(tmp_path: Path, postgres: Place) -> None:
    assert "cannot be used" in str(refusal(tmp_path, f"{postgres.url}?nonsense=1"))


def test_a_missing_driver_is_told_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **more: object) -> object:
        if name == "psycopg":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(builtins, "__import__", without)
    assert 'pip install "bulkid[postgres]"' in str(refusal(tmp_path, f"postgresql://bulkid:{HUSH}@127.0.0.1/bulkid"))


def test_a_user_without_the_right_to_make_tables_is_told(tmp_path: Path, new_postgres: Place) -> None:
    with role(new_postgres.url) as url:
        assert "too few rights" in str(refusal(tmp_path, url))
        new_postgres.open().close()
        assert "too few rights" in str(refusal(tmp_path, url))  # there are tables now, of somebody else


def test_another_program_s_schema_of_the_same_name_is_left_alone(tmp_path: Path, new_postgres: Place) -> None:
    shared_server().execute(
        f"CREATE SCHEMA {SCHEMA}", f"CREATE TABLE {SCHEMA}.songs (title text)", url=new_postgres.url
    )
    assert "schema named bulkid" in str(refusal(tmp_path, new_postgres.url))


def test_a_database_of_a_newer_bulkid_is_told(tmp_path: Path, new_postgres: Place) -> None:
    new_postgres.open().close()
    shared_server().execute("INSERT INTO bulkid.schema_version VALUES (99, 2.0)", url=new_postgres.url)
    assert "version 99" in str(refusal(tmp_path, new_postgres.url))


def test_tables_of_other_programs_in_the_same_database_are_in_nobody_s_way(new_postgres: Place) -> None:
    shared_server().execute("CREATE TABLE public.runs (nonsense text)", url=new_postgres.url)
    try:
        with new_postgres.open() as journal:
            begin(journal, 3)
            assert sum(journal.counts(RUN).values()) == 3
    finally:
        shared_server().execute("DROP TABLE public.runs", url=new_postgres.url)


def test_many_may_open_a_new_database_at_once(new_postgres: Place) -> None:
    troubles: list[BaseException] = []

    def work() -> None:
        try:
            new_postgres.open().close()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            troubles.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


# --- the connection lost


def cut_all(postgres: Place) -> None:
    shared_server().execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        url=postgres.url,
    )


def test_every_call_survives_that_its_connection_was_cut(postgres: Place) -> None:
    with postgres.open() as journal:
        begin(journal, 10)
        for call in (
            lambda: journal.intend(RUN, range(10), 1.0),
            lambda: journal.settle(RUN, [(number, UPDATED) for number in range(5)]),
            lambda: journal.update_run(RUN, message="still here"),
            lambda: journal.counts(RUN),
            lambda: list(journal.iter_items(RUN)),
            lambda: list(journal.iter_rows(RUN)),
            lambda: journal.get_run(RUN),
        ):
            cut_all(postgres)
            call()
        assert journal.counts(RUN)[Status.UPDATED] == 5


def test_a_report_goes_on_where_its_connection_was_cut(postgres: Place) -> None:
    with postgres.open() as journal:
        begin(journal, 2500)
        lines = journal.report_rows(RUN)
        told = [next(lines).row for _ in range(10)]
        cut_all(postgres)
        told += [line.row for line in lines]
        assert told == list(range(2, 2502))


def end_when_idle(journal: Journal, setting: str) -> None:
    """Have the server end the session of the journal's only connection when it is idle."""
    with journal.database.dialect.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"SET {setting} = '100ms'")


def wait_for_the_end_of_sessions(postgres: Place) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while shared_server().execute(f"SELECT count(*) {others}", url=postgres.url) != [(0,)]:
        pass


def test_a_session_that_the_server_ended_because_it_was_idle_is_replaced(postgres: Place) -> None:
    with postgres.open() as journal:
        begin(journal, 10)
        for call in (lambda: journal.intend(RUN, range(10), 1.0), lambda: journal.counts(RUN)):
            end_when_idle(journal, "idle_session_timeout")
            wait_for_the_end_of_sessions(postgres)
            call()


def test_a_report_goes_on_where_the_server_ended_its_idle_transaction(postgres: Place) -> None:
    with postgres.open() as journal:
        begin(journal, 2500)
        end_when_idle(journal, "idle_in_transaction_session_timeout")
        lines = journal.report_rows(RUN)
        told = [next(lines).row for _ in range(10)]
        wait_for_the_end_of_sessions(postgres)
        told += [line.row for line in lines]
        assert told == list(range(2, 2502))


@pytest.mark.parametrize("kept", [True, False], ids=["committed", "not committed"])
def test_a_commit_whose_answer_is_lost_is_done_once(postgres: Place, *, kept: bool) -> None:
    """The server is asked what became of it; a run that is made twice would be an error."""
    with postgres.open() as journal:
        lose_commits(journal, postgres, kept=kept)
        journal.create_run(record())
        assert [run.run_id for run in journal.list_runs()] == [RUN]


def lose_commits(journal: Journal, postgres: Place, *, kept: bool) -> None:
    """Lose the next commit's connection, just after the server has carried it out or just before."""
    engine = journal.database.dialect.engine
    real = engine.dialect.do_commit
    left = [1]

    def commit(connection: object) -> None:
        if not left[0]:
            return real(connection)  # type: ignore[arg-type]  # as it was called
        left[0] -= 1
        if kept:
            real(connection)  # type: ignore[arg-type]  # as it was called
        cut_all(postgres)
        return real(connection) if not kept else connection.execute("SELECT 1")  # type: ignore[arg-type,attr-defined]  # fails

    engine.dialect.do_commit = commit  # type: ignore[method-assign]  # for this engine alone


def test_one_that_stays_away_is_given_up_and_nobody_waits_for_it_again(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.open() as journal:
        begin(journal, 2)
        slept: list[float] = []
        now = [0.0]

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

        fake_time = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
        monkeypatch.setattr("bulkid.journal.database.time", fake_time)

        def lost() -> None:
            raise DatabaseLostError("away")

        with pytest.raises(DatabaseLostError):
            journal.database.repeat(lost)
        assert sum(slept) == pytest.approx(journal.database.dialect.retry_limit_s)
        waited = len(slept)
        with pytest.raises(DatabaseLostError):
            journal.database.repeat(lost)
        assert len(slept) == waited
        assert journal.counts(RUN)[Status.PENDING] == 2
        with pytest.raises(DatabaseLostError):
            journal.database.repeat(lost)
        assert len(slept) > waited
