"""SOURCE on a command line: a sheet, standard input, or job files."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from bulkid import runs as library
from bulkid.cli.stdio import print_json
from bulkid.errors import BulkidError, InterruptedRunError, SheetError, UsageError
from bulkid.jobfile import is_job_file
from bulkid.model import RunStatus
from bulkid.sheet import require_file

STANDARD_INPUT = "-"


def are_jobs(sources: Sequence[str]) -> bool:
    """Whether the sources of a command are job files; it takes either those, or one sheet."""
    jobs = [source for source in sources if is_job_file(source)]
    if len(sources) > 1 and len(jobs) < len(sources):
        other = next(source for source in sources if not is_job_file(source))
        shown = "standard input" if other == STANDARD_INPUT else other
        raise UsageError(
            f"Several sources must all be job files (.toml), and {shown} is none.",
            hint="Give one sheet, or one or more job files.",
        )
    return bool(jobs)


def require_source(source: str) -> None:
    """Raise the error of a sheet that is no file, which comes before all others."""
    if source != STANDARD_INPUT:
        require_file(source)


def open_source(source: str) -> tuple[str | BinaryIO, str | None]:
    """Return a SOURCE as the library takes it, and its name where that is another one."""
    if source == STANDARD_INPUT:
        # without its buffer: a thread that waits in it would keep the process from ending
        return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), "standard input"
    return source, None


@contextmanager
def errors_as_json(command: str, *, wanted: bool) -> Iterator[None]:
    """Print the one object that ``--json`` promises also when not a row could be read; usage errors aside."""
    try:
        yield
    except BulkidError as error:
        if wanted and (isinstance(error, SheetError) or not isinstance(error, UsageError)):
            stopped = isinstance(error, InterruptedRunError)
            print_json(library.nothing_summary(command, RunStatus.INTERRUPTED if stopped else RunStatus.REFUSED))
        raise
