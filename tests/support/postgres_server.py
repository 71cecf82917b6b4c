"""A real PostgreSQL server for tests: the one that BULKID_TEST_DATABASE_URL names, or a private one on loopback.

The private one is made with the initdb and pg_ctl that are installed, in a temporary directory, once per test process
and only when a test asks for it; it never runs as root, and is stopped at the end of the process.
"""

import atexit
import functools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bulkid.journal.backends.postgres import SCHEMA
from bulkid.journal.schema import VERSION, metadata, schema_version
from tests.support.programs import missing

PASSWORD = "p@ss/w:rd"  # what must be quoted in a URL
_QUOTED = "p%40ss%2Fw%3Ard"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # it need not survive a power cut, only its own crash
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
}

_CUT_OFF = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_DROP = f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"


def _emptying() -> str:
    """The statement that empties bulkid's tables; it drops them where they are not those of a new database."""
    tables = [f"{SCHEMA}.{table.name}" for table in metadata.sorted_tables if table is not schema_version]
    each = " ".join(  # to look into a table takes less than to truncate it
        f"IF EXISTS (SELECT FROM {table}) THEN TRUNCATE {table} RESTART IDENTITY CASCADE; END IF;" for table in tables
    )
    versions = f"SELECT array_agg(version) FROM {SCHEMA}.{schema_version.name}"  # noqa: S608 - the names are ours
    return (
        f"DO $$ BEGIN BEGIN IF ({versions}) = ARRAY[{VERSION}] THEN {each} RETURN; END IF; "
        f"EXCEPTION WHEN undefined_table THEN NULL; END; {_DROP}; END $$"
    )


@dataclass
class PostgresServer:
    """A server, and the making of databases on it."""

    url: str  # of its database postgres, as a user who may do everything
    folder: Path | None = None
    port: int = 0
    free: list[str] = field(default_factory=list)  # databases that no test uses

    @property
    def private(self) -> bool:
        """Whether it is ours to stop and to start."""
        return self.folder is not None

    def execute(self, *statements: str, url: str = "") -> list[tuple[object, ...]]:
        """Run statements, each a transaction of its own; the rows of the last one."""
        import psycopg

        rows: list[tuple[object, ...]] = []
        plain = (url or self.url).replace("+psycopg", "", 1)
        with psycopg.connect(plain, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def database_url(self, name: str) -> str:
        """The URL of a database."""
        return f"{self.url.rpartition('/')[0]}/{name}"

    def database(self) -> AbstractContextManager[str]:
        """A database in which bulkid's tables are empty, or not there yet, for one test; gives its URL.

        To make databases and tables takes longer than most tests do, so each is used again. A test that shows how
        tables are made, or that changes them, takes a :meth:`new_database`.
        """
        return self._lent(before="", after=_emptying())

    def new_database(self) -> AbstractContextManager[str]:
        """A database without bulkid's tables, for one test; gives its URL."""
        return self._lent(before=_DROP, after=_DROP)

    @contextmanager
    def _lent(self, *, before: str, after: str) -> Iterator[str]:
        name = self.free.pop() if self.free else self._made()
        url = self.database_url(name)
        if before:
            self.execute(before, url=url)
        try:
            yield url
        finally:
            self.execute(_CUT_OFF, after, url=url)
            self.free.append(name)

    def _made(self) -> str:
        name = f"bulkid_test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        atexit.register(self._drop, name)
        return name

    def _drop(self, name: str) -> None:
        if not self.private:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def start(self) -> None:
        """Start the private server, or start it again."""
        assert self.folder is not None
        options = " ".join(f"-c {name}='{value}'" for name, value in _SETTINGS.items())
        for attempt in range(10):
            try:
                self._control("-w", "-l", str(self.folder / "log"), "-o", f"-p {self.port} {options}", "start")
            except AssertionError:  # after a crash its last processes may still be there
                if attempt == 9:
                    raise
                time.sleep(0.5)
            else:
                return

    def stop(self, mode: str = "fast") -> None:
        """Stop the private server; ``immediate`` is as if it had crashed."""
        self._control("-w", "-m", mode, "stop")

    def _control(self, *arguments: str) -> None:
        assert self.folder is not None
        _as_server_user([_program("pg_ctl") or "", "-D", str(self.folder / "data"), "-s", *arguments], self.folder)


def _program(name: str) -> str | None:
    found = shutil.which(name)
    if found is not None:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(installed[-1]) if installed else None


def _server_user() -> str | None:
    """Who the server runs as: PostgreSQL refuses to be root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_server_user(command: list[str], folder: Path) -> None:
    user = _server_user()
    more = {} if user is None else {"user": user, "extra_groups": []}
    # Its output goes to a file: the server would keep a pipe open for as long as it lives.
    with (folder / "output").open("ab") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=60,
            check=False,
            **more,  # type: ignore[call-overload]  # user and groups, or nothing
        )
    assert done.returncode == 0, (folder / "output").read_text(encoding="utf-8", errors="replace")


def start_server() -> PostgresServer:
    """Make and start a private server; skips the test where PostgreSQL is not installed."""
    try:
        import psycopg  # noqa: F401 - only whether it is there
    except ImportError:
        missing("the driver of PostgreSQL is not installed (psycopg)")
    initdb = _program("initdb")
    if initdb is None or _program("pg_ctl") is None:
        missing("PostgreSQL is not installed (initdb, pg_ctl)")
    # Where the tests have their temporary folders: in memory, where it creates and removes the files of tables faster.
    folder = Path(tempfile.mkdtemp(prefix="bulkid-postgres-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    (folder / "password").write_text(PASSWORD, encoding="utf-8")
    if (user := _server_user()) is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    made = ["-D", str(folder / "data"), "-U", "bulkid", "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
    _as_server_user([initdb or "", *made, "-E", "UTF8", "--locale=C", "--no-sync"], folder)
    for attempt in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = PostgresServer(f"postgresql+psycopg://bulkid:{_QUOTED}@127.0.0.1:{port}/postgres", folder, port)
        try:
            server.start()
        except AssertionError:  # somebody else was faster to take the port
            if attempt == 4:
                raise
        else:
            break
    atexit.register(_remove, server)
    return server


def _remove(server: PostgresServer) -> None:
    assert server.folder is not None
    if (server.folder / "data" / "postmaster.pid").exists():
        server.stop("immediate")
    shutil.rmtree(server.folder, ignore_errors=True)


@functools.cache
def shared_server() -> PostgresServer:
    """The server that all tests of this process share; nobody may stop it."""
    if url := os.environ.get("BULKID_TEST_DATABASE_URL"):
        return PostgresServer(url)
    return start_server()
