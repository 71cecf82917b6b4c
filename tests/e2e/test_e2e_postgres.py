"""The state in PostgreSQL: several hosts share it; settled accounts stay settled when the server goes away."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from sqlalchemy.exc import DBAPIError

from bulkid import runs
from bulkid.journal.backends.postgres import PostgresDialect
from bulkid.journal.database import open_database
from bulkid.journal.locks import server as server_lock
from bulkid.journal.store import open_journal
from tests.support.bulkid_command import ORGANIZATION, Bulkid
from tests.support.postgres_server import PASSWORD, PostgresServer, shared_server, start_server
from tests.support.processes import Life, World, bulkid_for, check_report, no_traceback
from tests.support.sandbox_host import Hosted, hosted, slow_puts, wait_for_puts

ROWS = 200
LATENCY_S = 0.03
CONNECTED = Callable[..., Bulkid]


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=ROWS, latency_s=LATENCY_S) as started:
        yield started


@pytest.fixture
def database() -> Iterator[str]:
    """A database in which the commands make the tables."""
    with shared_server().new_database() as url:
        yield url


@pytest.fixture(scope="module")
def own_server() -> PostgresServer:
    """A server that these tests may stop."""
    return start_server()


def host(server: Hosted, folder: Path, url: str, **env: str) -> Bulkid:
    """A command as on a host of its own: its own folders, and the shared database."""
    folder.mkdir()
    return bulkid_for(server, folder, BULKID_DATABASE_URL=url, **env)


def test_the_main_job_and_no_word_of_the_password(server: Hosted, tmp_path: Path, database: str) -> None:
    world = World(server, host(server, tmp_path / "one", database), 3)
    wanted = world.sheet("job")
    outputs = [
        world.bulkid(*command)
        for command in (("doctor",), ("run", "job.csv", "--yes", "-vv"), ("runs",), ("report", "last", "-v"))
    ]
    assert [done.returncode for done in outputs[:3]] == [0, 0, 0], outputs[1].stderr
    assert "the PostgreSQL database bulkid_test_" in outputs[0].stdout
    assert wanted.items() <= world.names().items()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".db"]
    texts = [text for done in outputs for text in (done.stdout, done.stderr)]
    texts += [path.read_text(encoding="utf-8", errors="replace") for path in files]
    for secret in (PASSWORD, "p%40ss%2Fw%3Ard"):
        assert not [text for text in texts if secret in text]
    no_traceback(*outputs)


@pytest.mark.slow
def test_a_run_that_was_killed_is_resumed_from_another_host(server: Hosted, tmp_path: Path, database: str) -> None:
    rows = 60
    world = World(server, host(server, tmp_path / "one", database), rows)
    other = host(server, tmp_path / "two", database)
    wanted, begun = world.sheet("moved"), world.now()
    slow_puts(server, 20)  # so that the run goes on for a minute
    first = server.requests()["PUT"] + 1
    with Life(world.bulkid, "run", "moved.csv", "--yes") as life:
        wait_for_puts(server, first)
        busy = other("resume", "--yes")
        assert busy.returncode == 6, busy.stderr
        assert str(life.process.pid) in busy.stderr
    server.set_faults()
    world.settle(LATENCY_S)
    sent = world.puts(begun)
    assert 0 < len(sent) < rows, "killed in the middle"
    (listed,) = json.loads(other("runs", "--json").stdout)
    assert listed["status"] == "interrupted"
    resumed = other("resume", "--yes", "--json", "--wait", "40")
    assert resumed.returncode == 0, resumed.stderr
    assert wanted.items() <= world.names().items()
    # The journal knew what was settled, and read back what was in doubt: nothing was sent twice.
    assert set(world.puts(begun).values()) == {1}
    assert check_report(world.bulkid, listed["run_id"], rows) == {"updated": rows}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_in_the_middle_of_a_run_is_survived(
    server: Hosted, tmp_path: Path, own_server: PostgresServer, mode: str
) -> None:
    with own_server.database() as url:
        world = World(server, host(server, tmp_path / "one", url), ROWS)
        wanted, begun = world.sheet(mode), world.now()
        with Life(world.bulkid, "run", f"{mode}.csv", "--yes", "--quota", "PUT=60/0.5") as life:
            assert life.wait_for("send")
            time.sleep(0.2)
            own_server.stop(mode)
            time.sleep(1.0)
            own_server.start()
            assert life.end() == 0, life.said
        assert wanted.items() <= world.names().items()
        assert set(world.puts(begun).values()) == {1}
        (listed,) = json.loads(world.bulkid("runs", "--json").stdout)
        assert check_report(world.bulkid, listed["run_id"], ROWS) == {"updated": ROWS}
        no_traceback(life.said)


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_run_resumable_and_nothing_is_lost(
    server: Hosted, tmp_path: Path, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDialect, "retry_limit_s", 1.0)
    monkeypatch.setattr(server_lock, "RETRY_LIMIT_S", 1.0)
    with own_server.database() as url:
        world = World(server, host(server, tmp_path / "one", url), ROWS)
        wanted, begun = world.sheet("away"), world.now()
        target = runs.Target(url=server.url, client_id="sandbox", client_secret="sandbox-secret")

        class Watch(runs.Hooks):
            def progress(self, progress: object) -> None:  # noqa: ARG002 - the moment when sending begins
                own_server.stop("immediate")

        context = runs.Context(state_dir=tmp_path / "one" / "state", database_url=url, hooks=Watch())
        options = runs.RunOptions(report_dir=tmp_path / "one" / "reports", concurrency=2, yes_really=True)
        sheet = world.bulkid.folder / "away.csv"
        result = anyio.run(partial(runs.run, sheet, target, options, context))
        assert result.exit_code == 5, result.error
        own_server.start()
        assert result.error is not None
        assert "bulkid resume" in result.error.cli_hint
        assert len(world.puts(begun)) < ROWS
        resumed = world.bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert wanted.items() <= world.names().items()
        assert set(world.puts(begun).values()) == {1}
        assert check_report(world.bulkid, result.run.run_id, ROWS) == {"updated": ROWS}


@pytest.mark.slow
def test_a_second_run_waits_for_the_first_when_told_to_and_can_be_stopped(server: Hosted, tmp_path: Path) -> None:
    """The same over files: the wait is not the database's."""
    world = World(server, bulkid_for(server, tmp_path), 3)
    world.sheet("second")
    first = {"run_id": "20260131-081500-x7k2", "host": "robot-host", "pid": 4242, "since": 1_769_847_300.5}
    with open_journal(tmp_path / "state") as journal:
        handle = journal.acquire_lock(ORGANIZATION, {**first, "source": "a"})
        refused = world.bulkid("run", "second.csv", "--yes")
        assert refused.returncode == 6
        assert "run 20260131-081500-x7k2 (a) on robot-host, process 4242, since 2026-01-31T08:15:00Z" in refused.stderr
        with (
            Life(world.bulkid, "run", "second.csv", "--yes", "--wait", "60") as second,
            Life(world.bulkid, "run", "second.csv", "--yes", "--wait", "60") as third,
        ):
            assert second.wait_to_say("on this organisation to finish, at most 1 minute")
            assert third.wait_to_say("on this organisation to finish, at most 1 minute")
            third.signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
            assert third.end() == 5, third.said
            handle.release()
            assert second.end() == 0, second.said
            assert second.said.count("Waiting for run ") == 1
    assert set(world.names().values()) >= {"second 0", "second 2"}


@pytest.mark.slow
def test_a_transaction_that_a_crash_undid_is_not_taken_for_the_next_one_of_its_number(
    tmp_path: Path, own_server: PostgresServer
) -> None:
    """What was not on the disk is undone, and the server gives its number to another transaction."""
    with own_server.database() as url, closing(open_database(tmp_path, url)) as database:
        dialect = database.dialect
        assert isinstance(dialect, PostgresDialect)
        with suppress(DBAPIError), dialect.engine.connect() as connection:
            undone = dialect.mark(connection)
            own_server.stop("immediate")
            own_server.start()
            connection.commit()
        ((number,),) = own_server.execute("SELECT pg_current_xact_id()::text")
        assert number == undone.number, "the server gives the number again"
        assert not dialect.was_committed(undone)
        with dialect.engine.connect() as connection:
            done = dialect.mark(connection)
            connection.commit()
        assert dialect.was_committed(done)
        own_server.execute("CHECKPOINT")
        assert dialect.was_committed(done)
        own_server.stop("fast")
        own_server.start()
        dialect.engine.dispose()
        assert dialect.was_committed(done)
