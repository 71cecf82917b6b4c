"""The exceptions that packages raise to one another: one root, each with its exit code and a message for the user.

``message`` says what happened and where, ``hint`` what to do next, in words that the terminal and the console can show
alike. ``cli_hint`` names the commands and options for it; only the command line shows it. None may ever hold a secret.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

EXIT_OK = 0
EXIT_ROWS_FAILED = 1
EXIT_USAGE = 2
EXIT_CONNECTION = 3
EXIT_MAX_FAILURES = 4
EXIT_INTERRUPTED = 5
EXIT_LOCKED = 6
EXIT_CHANGES = 7  # of ``plan --exit-code``: the sheet is good, and something would change


class BulkidError(Exception):
    """Root of everything that bulkid raises on purpose. The hints are empty where the message says what to do next."""

    exit_code: ClassVar[int] = EXIT_ROWS_FAILED
    request_was_sent = True  # False: the request that met the error did not leave
    requests: Mapping[str, int] = MappingProxyType({})  # by method, what an export had sent that ends with the error

    def __init__(self, message: str, *, hint: str = "", cli_hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.cli_hint = cli_hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(BulkidError):
    """Options, settings or files that cannot be used: nothing was sent."""

    exit_code = EXIT_USAGE


class SheetError(UsageError):
    """The sheet as a whole cannot be read: missing, locked, empty, of an unknown form, or with unusable headers."""


class ConnectionFailedError(BulkidError):
    """The server cannot be reached, or does not answer as an Identity Server does: nothing more was sent."""

    exit_code = EXIT_CONNECTION


class UnexplainedRefusalError(ConnectionFailedError):
    """The server refuses what every run asks for, and the reply does not say what is wrong: ``doctor`` may find it."""


class AuthenticationError(ConnectionFailedError):
    """The credentials are refused: every further request would fail the same way."""


class PermissionDeniedError(ConnectionFailedError):
    """The token lacks a scope: every further request of the kind would fail the same way."""


class TooManyFailuresError(BulkidError):
    """More accounts failed than ``--max-failures`` allows: nothing more was sent."""

    exit_code = EXIT_MAX_FAILURES


class InterruptedRunError(BulkidError):
    """The run was stopped before its end (a signal, a full disk, a lost database): resumable."""

    exit_code = EXIT_INTERRUPTED


class DeclinedError(BulkidError):
    """The user did not agree to a plan: nothing was sent, and no trace of the run is kept."""

    exit_code = EXIT_USAGE

    def __init__(self) -> None:
        super().__init__("Cancelled. Nothing was sent.")


class StoppedAtPromptError(DeclinedError):
    """A signal came instead of an answer."""

    exit_code = EXIT_INTERRUPTED


class StateError(BulkidError):
    """The state directory or its database cannot be used (read-only, full, from a newer bulkid)."""

    exit_code = EXIT_USAGE


class LockedError(BulkidError):
    """Another run on this organisation holds the lock; ``holder`` names it, and its process is on a host."""

    exit_code = EXIT_LOCKED
    holder = "another run"
    process: tuple[str, int] | None = None  # the host, and the number; None where the lock does not say


def interrupted(error: BaseException | None) -> bool:
    """Whether an error is Ctrl+C, or was caused by it: Python 3.11 wraps what stops the making of a class."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or interrupted(error.__cause__))
