"""The message about a run: how it ended, what it took, where its report is, what to do next."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bulkid.errors import EXIT_OK, EXIT_ROWS_FAILED, BulkidError
from bulkid.model import RunRecord, Status
from bulkid.redaction import redact_text
from bulkid.text import count_of, humanize_seconds, printable, printable_line, unnumbered

MAX_ATTACHED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of all attachments together. Mail servers mostly take 10 to 25 MB, of which Base64 takes a quarter."""

_ATTACHED: Final = ("report.xlsx", "report.csv", "retry.csv")
"""Files to attach, in this order; of the first two, which hold the same, only one."""


@dataclass(frozen=True, slots=True)
class Message:
    """A notification, for every kind of service. Holds no secret."""

    title: str
    body: str  # plain text
    exit_code: int
    attachments: tuple[Path, ...] = ()

    @property
    def success(self) -> bool:
        """Whether the recipients of successes get it."""
        return self.exit_code == EXIT_OK

    @property
    def kind(self) -> str:
        """The severity, as apprise names it."""
        return {EXIT_OK: "success", EXIT_ROWS_FAILED: "warning"}.get(self.exit_code, "failure")


def message_of_run(
    run: RunRecord,
    summary: Mapping[str, Any],
    exit_code: int,
    *,
    ended: str,
    next_steps: Sequence[str],
    error: BulkidError | None = None,
    files: Sequence[Path] = (),
    job: str = "",
) -> Message:
    """Make the message about a run; ``ended`` says how it ended, ``next_steps`` what a user can do now."""
    attachments, too_large = _attachments(files)
    counts = ", ".join(f"{summary[status]:,} {status}" for status in Status if summary[status]) or "nothing to do"
    requests = ", ".join(f"{count:,} {method}" for method, count in summary["requests"].items() if count)
    throttled = f", throttled {count_of(summary['throttled'], 'time')}" if summary["throttled"] else ""
    report = summary.get("report")
    reason = _reason(error or run.message)
    lines = [
        f"{ended[:1].upper()}{ended[1:]} (exit code {exit_code}).",
        f"{count_of(summary['rows'], 'row')}: {counts}.",
        *reason,
        "",
        *_facts(
            ("Run", run.run_id),
            ("Job", job),
            ("Note", str(summary.get("note") or "")),
            ("Source", run.source),
            ("Organisation", run.organization_id),
            ("Server", run.base_url),
            ("Host", f"{run.user}@{run.host}" if run.user else run.host),
            ("Took", humanize_seconds(float(summary["elapsed_s"]))),
            ("Requests", f"{requests or 'none'}{throttled}"),
            ("Report", str(report) if report else "none could be written"),
        ),
        *(f"{path.name} is too large to be attached." for path in too_large),
        *(step for step in next_steps if not any(step in text for text in reason)),
    ]
    title = f"bulkid: {job or run.source}: {ended}, {counts}"
    return _message(title, lines, exit_code, attachments)


def message_of_failure(command: str, subject: str, error: BulkidError, *, host: str, job: str = "") -> Message:
    """Make the message about a command that could not begin (or find) a run: nothing was sent."""
    lines = [
        f"Nothing was begun (exit code {error.exit_code}).",
        *_reason(error),
        "",
        *_facts(("Command", f"bulkid {command} {subject}".strip()), ("Job", job), ("Host", host)),
    ]
    return _message(f"bulkid: {job or subject or command}: nothing was begun", lines, error.exit_code)


def _message(title: str, lines: Iterable[str], exit_code: int, attachments: tuple[Path, ...] = ()) -> Message:
    body = _without_markup(printable(redact_text("\n".join(lines))))
    return Message(_without_markup(printable_line(redact_text(_one_line(title)))), body, exit_code, attachments)


_ANGLES: Final = str.maketrans("<>", "\u2039\u203a")
_MENTION: Final = re.compile(r"@(?=(?:all|channel|everyone|here)\b)", re.IGNORECASE)


def _without_markup(text: str) -> str:
    """Replace what services obey in a text: tags and mentions in angle brackets, mentions of all, links with a text.

    The name of a file or the message of a server must not ring everyone's bell, nor show a link as something else.
    """
    return _MENTION.sub("@ ", text.translate(_ANGLES)).replace("](", "] (")


def _reason(error: BulkidError | str) -> list[str]:
    return [str(error)] if str(error) else []


def _facts(*facts: tuple[str, str]) -> list[str]:
    return [f"{label}: {_one_line(value)}" for label, value in facts if value]


def _attachments(files: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Which files fit, and which do not."""
    fitting: list[Path] = []
    too_large: list[Path] = []
    room = MAX_ATTACHED_BYTES
    by_name = {unnumbered(path.name): path for path in files}
    for name in _ATTACHED:
        path = by_name.get(name)
        if path is None or (name == "report.csv" and any(unnumbered(each.name) == "report.xlsx" for each in fitting)):
            continue
        try:
            size = path.stat().st_size
        except OSError:  # taken away meanwhile
            continue
        if size > room:
            too_large.append(path)
        else:
            room -= size
            fitting.append(path)
    return tuple(fitting), tuple(too_large)


def _one_line(text: str) -> str:
    """A text without line breaks: in the subject of a mail they would begin another header."""
    return " ".join(text.split())
