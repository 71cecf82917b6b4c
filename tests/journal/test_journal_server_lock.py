"""Locks in a server's database: released when their holder ends, on whatever host; never taken from a live holder."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import orjson
import pytest
from filelock import FileLock

from bulkid.errors import LockedError
from bulkid.journal.locks import LockLostError, file
from bulkid.journal.locks import server as server_lock
from bulkid.journal.store import Journal
from tests.support.journal_data import Place, start_python

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
from bulkid.journal.store import open_journal
from bulkid.journal.locks import server as server_lock
if sys.argv[5]:
    server_lock.platform.node = lambda: sys.argv[5]
journal = open_journal(pathlib.Path(sys.argv[1]), sys.argv[2])
handle = journal.acquire_lock(sys.argv[3], json.loads(sys.argv[4]))
print("held", flush=True)
sys.stdin.readline()
handle.release()
"""


@contextmanager
def holder(place: Place, host: str = "") -> Iterator[object]:
    """Another process that holds the organisation's lock; as on another host when that is named."""
    process = start_python(_HOLD, *place.arguments, ORGANIZATION, orjson.dumps(RECORD).decode(), host)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT if hasattr(signal, "SIGCONT") else signal.SIGTERM)
        process.kill()
        assert process.stdout is not None
        if not process.stdout.closed:  # the test has not waited for its end
            process.communicate()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts that are given up ten times sooner."""
    for name in ("HEARTBEAT_S", "LEASE_S", "WATCH_S", "STALE_S"):
        monkeypatch.setattr(server_lock, name, getattr(server_lock, name) / 10)


def elsewhere(place: Place) -> Place:
    """The same state as another process has it, with a state directory of its own where the state is on a server."""
    return replace(place, folder=place.folder.with_name("elsewhere")) if place.url else place


def advisory_locks(journal: Journal) -> int:
    with journal.database.read() as connection:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        return int(connection.exec_driver_sql(query).scalar_one())


def take(journal: Journal, name: str = ORGANIZATION) -> None:
    journal.acquire_lock(name, {**RECORD, "run_id": "another"}).release()


def test_another_run_is_told_who_holds_the_lock_on_either_database(place: Place) -> None:
    with place.open() as one, elsewhere(place).open() as two:
        handle = one.acquire_lock(ORGANIZATION, RECORD)
        for journal in (one, two):
            with pytest.raises(LockedError) as caught:
                journal.acquire_lock(ORGANIZATION.lower(), {})
            for part in ("20260131-081500-x7k2", "robot-host", "4242", "2026-01-31T08:15:00Z", "a.csv"):
                assert part in str(caught.value)
        assert handle.is_current
        handle.confirm()
        assert two.is_locked(ORGANIZATION)
        take(two, "another organisation")
        handle.release()
        handle.release()
        assert not two.is_locked(ORGANIZATION)
        take(two)


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_it_ends_with_its_process_on_either_database(place: Place, how: str) -> None:
    with holder(place) as process, place.open() as journal:
        with pytest.raises(LockedError, match="20260131-081500-x7k2"):
            take(journal)
        if how == "killed":
            process.kill()
            process.wait()
        else:
            process.communicate()
        take(journal)
        assert not list((place.folder / "locks").glob("*.alive"))


def test_a_dead_owner_does_not_seem_to_live_while_another_process_looks_for_it(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(postgres) as process, postgres.open() as journal:
        process.kill()
        process.wait()
        looking = FileLock(next((postgres.folder / "locks").glob("*.alive")))
        looking.acquire()
        monkeypatch.setattr(file, "time", SimpleNamespace(sleep=lambda _: looking.release()))
        assert not journal.is_locked(ORGANIZATION)


@pytest.mark.usefixtures("quick")
def test_a_lock_of_a_dead_run_on_another_host_is_taken_over_once_its_heartbeat_is_stale(postgres: Place) -> None:
    with holder(postgres, "far away") as process, postgres.open() as journal:
        process.kill()
        process.wait()
        begun = time.monotonic()
        while True:
            try:
                handle = journal.acquire_lock(ORGANIZATION, RECORD)
            except LockedError:
                assert time.monotonic() - begun < 15
                time.sleep(0.05)
            else:
                break
        assert time.monotonic() - begun > server_lock.WATCH_S
        assert handle.is_current
        handle.release()


@pytest.mark.usefixtures("quick")
def test_a_heartbeat_that_looks_old_and_goes_on_keeps_its_lock(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the server's clock was set forward, say."""
    with postgres.open() as one, elsewhere(postgres).open() as two:
        handle = one.acquire_lock(ORGANIZATION, RECORD)
        watching, beating = two.database.dialect._lock_manager, one.database.dialect._lock_manager
        monkeypatch.setattr(watching, "heartbeat", beating.heartbeat)  # at least one while it watches
        monkeypatch.setattr(server_lock.platform, "node", lambda: "another host")
        monkeypatch.setattr(server_lock, "STALE_S", 0.0)
        with pytest.raises(LockedError, match="20260131-081500-x7k2"):
            take(two)
        handle.confirm()
        handle.release()


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process by a signal")
def test_one_that_is_stopped_but_lives_on_this_host_keeps_its_lock(postgres: Place) -> None:
    with holder(postgres) as process, postgres.open() as journal:
        process.send_signal(signal.SIGSTOP)
        until = time.monotonic() + 2 * (server_lock.STALE_S + server_lock.WATCH_S)
        while time.monotonic() < until:
            with pytest.raises(LockedError, match="20260131-081500-x7k2"):
                take(journal)
            time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        process.communicate()
        take(journal)


@pytest.mark.usefixtures("quick")
def test_one_that_was_given_up_notices_before_it_does_anything_more(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.open() as one, elsewhere(postgres).open() as two:
        handle = one.acquire_lock(ORGANIZATION, RECORD)
        manager = one.database.dialect._lock_manager
        manager._busy.acquire()  # it cannot send heartbeats, as on a host without network
        monkeypatch.setattr(server_lock.platform, "node", lambda: "another host")
        try:
            while True:
                try:
                    theirs = two.acquire_lock(ORGANIZATION, {**RECORD, "run_id": "next"})
                except LockedError:
                    time.sleep(0.1)
                else:
                    break
            assert not handle.is_current
        finally:
            manager._busy.release()
        with pytest.raises(LockLostError, match="taken over"):
            handle.confirm()
        assert not handle.is_current
        assert LockLostError.exit_code == 5
        handle.release()
        assert theirs.is_current
        theirs.confirm()
        assert two.is_locked(ORGANIZATION)
        theirs.release()


@pytest.mark.usefixtures("quick")
def test_a_connection_that_is_cut_costs_nobody_its_lock(postgres: Place) -> None:
    with postgres.open() as one, elsewhere(postgres).open() as two:
        handle = one.acquire_lock(ORGANIZATION, RECORD)
        with two.database.write() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for _ in range(10):
            with pytest.raises(LockedError, match="20260131-081500-x7k2"):
                take(two)
            time.sleep(0.05)
        handle.confirm()
        assert handle.is_current
        until = time.monotonic() + 20
        while not advisory_locks(two):
            assert time.monotonic() < until
            time.sleep(0.05)
        handle.release()
        take(two)


def test_two_that_want_it_at_once_do_not_both_get_it(place: Place) -> None:
    got: list[object] = []
    start = threading.Barrier(4, timeout=20)

    def work() -> None:
        with place.open() as journal:
            start.wait()
            with suppress(LockedError):
                got.append(journal.acquire_lock(ORGANIZATION, RECORD))
            start.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_closed_journal_stops_its_heartbeat(postgres: Place) -> None:
    with postgres.open() as journal:
        handle = journal.acquire_lock(ORGANIZATION, RECORD)
    assert not handle.is_current
    with pytest.raises(LockLostError):
        handle.confirm()
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(20)
            assert not thread.is_alive()
    with elsewhere(postgres).open() as journal:
        take(journal)  # on this host it is known at once that no process holds it any more


def test_runs_side_by_side_in_one_process_share_connections_and_do_not_share_locks(postgres: Place) -> None:
    journals = [postgres.open() for _ in range(40)]
    try:
        handles = [journal.acquire_lock(f"organisation {number}", RECORD) for number, journal in enumerate(journals)]
        with pytest.raises(LockedError, match="20260131-081500-x7k2"):
            take(journals[1], "organisation 0")
        with journals[0].database.read() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.exec_driver_sql(query).scalar_one() <= 6
        for handle in handles[:20]:
            handle.release()
        for journal in journals[:20]:
            journal.close()
            journal.close()
        assert all(handle.is_current for handle in handles[20:])
        handles[30].confirm()
        take(journals[39], "organisation 0")
        assert journals[39].is_locked("organisation 38")
    finally:
        for journal in journals:
            journal.close()
