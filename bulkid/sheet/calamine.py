"""The border to calamine: whatever goes wrong inside it becomes a SheetError, and nothing else is seen of it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from bulkid.errors import SheetError

_T = TypeVar("_T")
_STDERR = 2
_silencing = threading.Lock()  # two at once would take each other's silence for the real standard error


def sheet_errors(source: str, call: Callable[[], _T]) -> _T:
    """Call into calamine; what it raises becomes a SheetError.

    Its panics (on bytes that its authors did not foresee) are no ``Exception``, only a ``BaseException``.
    """
    try:
        return call()
    except MemoryError:
        raise SheetError(f"{source} does not fit into memory.", hint="Save the sheet as CSV.") from None
    except BaseException as error:
        kind = type(error).__name__
        if kind == "PasswordError":
            raise password_error(source) from None
        if isinstance(error, Exception) or kind == "PanicException":
            raise SheetError(
                f"{source} cannot be read: {error}.",
                hint="Open it in a spreadsheet program and save it again as .xlsx or as CSV.",
            ) from None
        raise


def password_error(source: str) -> SheetError:
    """Return the error for a spreadsheet that asks for a password."""
    return SheetError(
        f"{source} is protected by a password.", hint="Save a copy without the password, or save it as CSV."
    )


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Keep a panic from printing itself: Rust writes it to standard error, past Python, before it can be caught.

    What other threads write to standard error meanwhile is lost too, so this is for the few milliseconds only in which
    a file is parsed. Where there is no standard error, there is nothing to hush.
    """
    with _silencing:
        try:
            real = os.dup(_STDERR)
        except OSError:
            yield
            return
        try:
            devnull = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(devnull, _STDERR)
            finally:
                os.close(devnull)
            yield
        finally:
            os.dup2(real, _STDERR)
            os.close(real)
