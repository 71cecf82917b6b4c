"""What ``runs``, ``doctor`` and ``sandbox`` print."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from bulkid.cli.render import STATUS_STYLES
from bulkid.cli.tables import Column, print_table
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.report.summary import note_of, status_label
from bulkid.runs.descriptions import destination_of, outcome_parts
from bulkid.text import printable_line

if TYPE_CHECKING:
    from bulkid.runs import Finding
    from bulkid.sandbox.options import SandboxOptions

_RUNS: Final = (
    Column("Run (began, UTC)"),
    Column("Status", least=11),
    Column("Rows", least=20, below=True),
    Column("Target", least=14, below=True),
    Column("Source", least=18, below=True),
)
_FINDINGS: Final = (Column("Check"), Column("Result"), Column("Details", least=36, below=True))

_RUN_STYLES: Final = {
    RunStatus.RUNNING: "cyan",
    RunStatus.COMPLETED: "green",
    RunStatus.COMPLETED_WITH_FAILURES: "yellow",
    RunStatus.STOPPED: "red",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.REFUSED: "magenta",
}
_RESULTS: Final = {True: ("ok", "green"), False: ("problem", "bold red"), None: ("note", "dim")}


def print_runs(out: Console, records: Sequence[tuple[RunRecord, Mapping[Status, int]]]) -> None:
    """Print earlier runs, newest first. An id, which other commands want to be given, is never broken."""
    print_table(out, _RUNS, [_run(record, counts) for record, counts in records])


def _run(record: RunRecord, counts: Mapping[Status, int]) -> tuple[Text, ...]:
    rows = Text(f"{sum(counts.values()):,}: " if counts else "none")
    by_status = {str(each): count for each, count in counts.items()}
    for index, (status, words) in enumerate(outcome_parts(by_status, record.status)):
        if counts:
            rows.append(", " if index else "").append(words, style=STATUS_STYLES[status])
    return (
        Text(record.run_id),
        Text(status_label(record.status, counts), style=_RUN_STYLES[record.status]),
        rows,
        Text(printable_line(destination_of(record).short)),
        _source(record),
    )


def _source(record: RunRecord) -> Text:
    """What the run read, and the user's note."""
    source = Text(printable_line(record.source))
    if note := note_of(record):
        source.append(f" · {printable_line(note)}", style="dim")
    return source


def print_findings(out: Console, findings: "Sequence[Finding]") -> None:
    """Print what ``doctor`` found, each problem with what to do, and what it comes to."""
    from bulkid.runs import verdict

    rows = []
    for finding in findings:
        details = Text(printable_line(finding.detail))
        if finding.hint:
            details.append(f"\n{printable_line(finding.hint)}", style="dim")
        rows.append((Text(finding.subject), Text(*_RESULTS[finding.ok]), details))
    print_table(out, _FINDINGS, rows)
    if out.is_terminal:
        out.print()
    ready = all(finding.ok is not False for finding in findings)
    out.print(Text(verdict(findings), style=_RESULTS[ready][1]))


def sandbox_lines(url: str, options: "SandboxOptions") -> list[str]:
    """How to connect to a sandbox: its settings, with the quota that it enforces, as each kind of shell takes them."""
    limits = ";".join(f"{rule.method}={rule.count}/{rule.seconds:g}" for rule in options.limits)
    variables = {
        "BULKID_URL": url,
        "BULKID_CLIENT_ID": options.client_id,
        "BULKID_CLIENT_SECRET": options.client_secret,
        "BULKID_QUOTA": limits or "none",
    }
    return [
        f"Sandbox with {options.accounts:,} robot accounts at {url}",
        "To connect to it, in bash or zsh:",
        *(f"  export {name}='{value}'" for name, value in variables.items()),
        "In PowerShell:",
        *(f"  $env:{name} = '{value}'" for name, value in variables.items()),
        "Ctrl+C ends it.",
    ]
