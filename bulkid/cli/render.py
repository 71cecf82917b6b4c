"""What commands print: errors of rows, plans, summaries. Values from sheets and servers are never read as markup."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

from bulkid.report.summary import next_steps
from bulkid.resources import current
from bulkid.runs import RunResult
from bulkid.sheet import SheetInfo
from bulkid.text import as_argument, count_of, printable, printable_line, unnumbered

if TYPE_CHECKING:
    from bulkid.runs import ExportResult

PIPED_WIDTH = 160
"""Columns to assume where the output is no terminal, so that tables are not cut to 80."""

STATUS_STYLES = {
    "updated": "green",
    "created": "green",
    "deleted": "green",
    "unchanged": "dim",
    "failed": "red",
    "invalid": "magenta",
    "pending": "yellow",
}


class EscapingConsole(Console):
    """A console that shows control characters as escapes: in tables, lines and progress bars.

    It looks at what is about to be written, where text and style are still apart, so that no message can be forgotten.
    """

    def _write_buffer(self) -> None:
        """Make the text safe, and write."""
        if self._buffer_index == 0:
            self._buffer[:] = [
                each if each.control else Segment(printable(each.text), each.style, each.control)
                for each in self._buffer
            ]
        super()._write_buffer()


def console(*, stderr: bool) -> Console:
    """Make a console for standard output or standard error; colours only on a terminal, markup never."""
    make = partial(EscapingConsole, stderr=stderr, markup=False, highlight=False, emoji=False)
    made = make()
    return made if made.is_terminal else make(width=PIPED_WIDTH, soft_wrap=True)


def print_notes(err: Console, notes: Iterable[str]) -> None:
    """Print sentences that are worth knowing but change nothing."""
    for note in notes:
        err.print(Text(printable_line(f"note: {note}")), style="dim" if err.is_terminal else None)


def print_result(out: Console, result: RunResult, *, verbose: bool = False) -> None:
    """Print how a run ended: the outcome, the run's id, the report, and what to do next; requests with ``verbose``."""
    out.print(_outcome_line(result))
    out.print(Text(f"  Run {_run_details(result, verbose=verbose)}", style="dim" if out.is_terminal else ""))
    if result.report is not None:
        for path in result.report.files:
            if path.name != "summary.json":
                out.print(Text(f"  {_relative_path(path)}"))
    if result.error is None:  # else the error says what to do
        for sentence in next_steps(result.run, result.summary, as_argument(_retry_path(result))):
            out.print(Padding.indent(Text(sentence), 2) if out.is_terminal else Text(f"  {sentence}"))


def _retry_path(result: RunResult) -> str:
    """The path of the run's retry sheet as a command takes it here; its mere name where there is none."""
    files = result.report.files if result.report is not None else ()
    return next((str(_relative_path(path)) for path in files if unnumbered(path.name) == "retry.csv"), "retry.csv")


def _outcome_line(result: RunResult) -> Text:
    from bulkid.runs.descriptions import outcome_beginning, outcome_parts

    summary = result.summary
    line = Text(f"{outcome_beginning(result.status, float(summary['elapsed_s']))}: ", style="bold")
    for index, (status, words) in enumerate(outcome_parts(summary, result.status)):
        line.append(", " if index else "", style="not bold")
        line.append(words, style=f"not bold {STATUS_STYLES[status]}")
    return line.append(".", style="not bold")


def _run_details(result: RunResult, *, verbose: bool) -> str:
    """The run's id, and its job's name; with ``verbose`` its requests too."""
    summary, parts = result.summary, [result.run.run_id]
    if job := result.run.options.get("job"):
        parts.append(f"job {printable_line(str(job))}")
    if note := summary.get("note"):
        parts.append(f"note: {printable_line(str(note))}")
    if verbose:
        parts.append(_requests(summary["requests"]))
        parts += [f"sent again: {summary['retries']:,}"] if summary["retries"] else []
        parts += [f"throttled {count_of(summary['throttled'], 'time')}"] if summary["throttled"] else []
    return " · ".join(parts)


def print_export(out: Console, result: "ExportResult") -> None:
    """Print what was exported."""
    path, sent = _relative_path(result.path), _requests(result.requests)
    if result.matching is None:
        out.print(Text(f"{count_of(result.accounts, current().singular, current().plural)} in {path}; {sent}"))
        return
    of_all = count_of(result.listed, current().singular, current().plural)
    none = "" if result.matching else ": no account matches"
    out.print(Text(f"Wrote {result.accounts:,} of {of_all} to {path}{none}; {sent}"))


def _relative_path(path: Path) -> Path:
    """A path relative to the working directory where it is below that, else as it is."""
    try:
        here = Path.cwd()
    except OSError:  # the working directory is gone
        return path
    return path.relative_to(here) if path.is_relative_to(here) else path


def _requests(requests: Mapping[str, Any]) -> str:
    sent = [count_of(count, method) for method, count in requests.items() if count]
    return ", ".join(sent) if sent else "no requests"


def sheet_label(info: SheetInfo) -> str:
    """A sheet's name for messages: the file, and the worksheet where there is one."""
    return f"{info.source} [{info.sheet}]" if info.sheet else info.source
