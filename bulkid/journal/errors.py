"""What can be wrong with the state database, in messages for a user: without SQL, without values."""

import errno
from enum import Enum
from pathlib import Path

from bulkid.errors import StateError

_EDQUOT = getattr(errno, "EDQUOT", errno.ENOSPC)  # Windows may lack it
_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EFBIG, _EDQUOT})
_OTHER_FOLDER = "Choose another folder with --state-dir, or make this one usable."
_KEPT = "What was settled before is kept."


class DatabaseProblem(Enum):
    """The kinds of database error that a user can do something about."""

    FULL = "full"
    READ_ONLY = "read_only"
    CANNOT_OPEN = "cannot_open"
    NOT_A_DATABASE = "not_a_database"
    DAMAGED = "damaged"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    MISSING = "missing"
    NO_PRIVILEGE = "no_right"
    LOST = "lost"
    OTHER = "other"


_FILE_MESSAGES = {
    DatabaseProblem.FULL: (
        "cannot grow: its disk is full, or a quota is reached.",
        f"{_KEPT} Free some space.",
    ),
    DatabaseProblem.READ_ONLY: ("cannot be written: the file or its folder is read-only.", _OTHER_FOLDER),
    DatabaseProblem.CANNOT_OPEN: ("cannot be opened.", _OTHER_FOLDER),
    DatabaseProblem.NOT_A_DATABASE: (
        "is not a bulkid database.",
        "Move the file away, or choose another folder with --state-dir.",
    ),
    DatabaseProblem.DAMAGED: (
        "is damaged.",
        "Keep the file, move it away and start again: a run sends nothing for an account that is already correct.",
    ),
    DatabaseProblem.BUSY: ("is held by another process.", "Wait until that process has ended, then try again."),
}

_ADDRESS = "Check the host, the port and the database in BULKID_DATABASE_URL, and that the server runs."
_SERVER_MESSAGES = {
    DatabaseProblem.FULL: (
        "cannot grow: its server's disk is full.",
        f"{_KEPT} Free some space.",
    ),
    DatabaseProblem.READ_ONLY: (
        "takes no writes: its server is a standby, or set to read-only.",
        "Name the primary server in BULKID_DATABASE_URL.",
    ),
    DatabaseProblem.NOT_A_DATABASE: (
        "has a schema named bulkid that is not bulkid's.",
        "Name another database in BULKID_DATABASE_URL.",
    ),
    DatabaseProblem.DAMAGED: ("is damaged, its server says.", "Ask the server's administrator."),
    DatabaseProblem.UNREACHABLE: ("cannot be reached.", _ADDRESS),
    DatabaseProblem.REFUSED: (
        "refuses the user or the password.",
        "Check both in BULKID_DATABASE_URL (a character such as @ or / in a password is written %40, %2F).",
    ),
    DatabaseProblem.MISSING: (
        "does not exist, or its user may not connect to it.",
        "Have it made: CREATE DATABASE ... OWNER ..., as docs/several_hosts.md shows.",
    ),
    DatabaseProblem.NO_PRIVILEGE: (
        "gives its user too few rights: bulkid makes tables in a schema of its own there.",
        "Make the user the owner of the database, or of a schema named bulkid in it.",
    ),
    DatabaseProblem.LOST: ("does not answer any more: the connection was lost.", _KEPT),
}


class StateFullError(StateError):
    """The state database cannot take another write: the disk is full, or a quota or size limit is reached.

    What was committed before stays. The run stops, and is resumable once there is room again.
    """


class DatabaseLostError(StateError):
    """The connection to the state database was lost, and nothing of the transaction that was under way was kept."""

    final = False  # whether the transaction was repeated for as long as that can help


def database_error(problem: DatabaseProblem, place: str, name: str = "", *, on_server: bool = False) -> StateError:
    """Say what is wrong with a database.

    Args:
        problem: The kind of error.
        place: The path of the file, or what to call the database on a server.
        name: The driver's name for the error, such as ``SQLITE_IOERR_READ``; shown where nothing better is known.
        on_server: Whether the database is on a server.
    """
    kinds = {DatabaseProblem.FULL: StateFullError, DatabaseProblem.LOST: DatabaseLostError}
    messages, default = (_SERVER_MESSAGES, _ADDRESS) if on_server else (_FILE_MESSAGES, _OTHER_FOLDER)
    what, hint = messages.get(problem, (f"cannot be used ({name}).", default))
    subject = f"{place[:1].upper()}{place[1:]}" if on_server else place
    return kinds.get(problem, StateError)(f"{subject} {what}", hint=hint)


def file_error(error: OSError | NotImplementedError, path: Path) -> StateError:
    """Say why a file or folder of the state directory cannot be made, locked or used.

    filelock raises a ``NotImplementedError`` where the file system has no locks.
    """
    if isinstance(error, NotImplementedError):
        error = OSError(0, "its file system has no locks")
    if error.errno in _DISK_FULL_ERRNOS:
        return database_error(DatabaseProblem.FULL, str(path))
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return database_error(DatabaseProblem.READ_ONLY, str(path))
    reason = error.strerror or type(error).__name__
    return StateError(f"{path} cannot be used: {reason}.", hint=_OTHER_FOLDER)
