"""What can be wrong with a state directory, in words for a person: without a word of SQL, without values."""

import errno
from enum import Enum
from pathlib import Path

from bulkid.errors import StateError

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})  # Windows may lack EDQUOT
_OTHER_FOLDER = "Choose another folder with --state-dir, or make this one usable."


class Trouble(Enum):
    """The kinds of database error that a person can do something about."""

    FULL = "full"
    READ_ONLY = "read_only"
    CANNOT_OPEN = "cannot_open"
    NOT_A_DATABASE = "not_a_database"
    DAMAGED = "damaged"
    BUSY = "busy"
    OTHER = "other"


_WORDS = {
    Trouble.FULL: (
        "cannot grow: its disk is full, or a quota is reached.",
        "What was settled before is kept. Free some space, then go on with 'bulkid resume'.",
    ),
    Trouble.READ_ONLY: ("cannot be written: the file or its folder is read-only.", _OTHER_FOLDER),
    Trouble.CANNOT_OPEN: ("cannot be opened.", _OTHER_FOLDER),
    Trouble.NOT_A_DATABASE: (
        "is not a bulkid database.",
        "Move the file away, or choose another folder with --state-dir.",
    ),
    Trouble.DAMAGED: (
        "is damaged.",
        "Keep the file, move it away and start again: a run sends nothing that is already as wanted.",
    ),
    Trouble.BUSY: ("is held by another process.", "Wait until that process has ended, then try again."),
}


class StateFullError(StateError):
    """The state database cannot take another write: the disk is full, or a quota or size limit is reached.

    What was committed before stays. A run that meets this stops, and is resumable once there is room again.
    """


def state_error(trouble: Trouble, path: Path, name: str) -> StateError:
    """Say what is wrong with the database.

    Args:
        trouble: The kind of error.
        path: The database file.
        name: The driver's name for the error, such as ``SQLITE_IOERR_READ``; only shown where nothing better is known.
    """
    kind = StateFullError if trouble is Trouble.FULL else StateError
    what, hint = _WORDS.get(trouble, (f"cannot be used ({name}).", _OTHER_FOLDER))
    return kind(f"{path} {what}", hint=hint)


def file_error(error: OSError, path: Path) -> StateError:
    """Say why a file or folder of the state directory cannot be made or used."""
    if error.errno in _FULL:
        return state_error(Trouble.FULL, path, "")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return state_error(Trouble.READ_ONLY, path, "")
    reason = error.strerror or type(error).__name__
    return StateError(f"{path} cannot be used: {reason}.", hint=_OTHER_FOLDER)
