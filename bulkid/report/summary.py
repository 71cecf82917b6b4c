"""A run in figures (``summary.json``, which ``--json`` prints too), and in the words for people."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from bulkid.model import CHANGED, Phase, RunRecord, RunStatus, Status
from bulkid.text import as_argument, count_of, printable_line

ERROR_HEADER: Final = "error"
"""The header of the column of ``retry.csv`` that says what is wrong with a row."""

OTHER_ERROR_HEADER: Final = "bulkid_error"
"""Its header where a field is read from a column ``error`` of the sheet."""

RETRY_FORM: Final[Mapping[str, str]] = {"encoding": "utf-8", "delimiter": "comma"}
"""How ``retry.csv`` is written, in the words of the options that say it."""

METHODS: Final = ("GET", "PUT", "POST", "DELETE")

NAMED_BY: Final = "named_by"
"""Key of a run's stored options: the options of the command line that name its server, each with its value."""

_ENDINGS: Final[Mapping[RunStatus, str]] = {
    RunStatus.RUNNING: "still under way",
    RunStatus.COMPLETED: "completed",
    RunStatus.STOPPED: "stopped before its end",
    RunStatus.INTERRUPTED: "interrupted",
}


def ending(status: RunStatus, counts: Mapping[str, int]) -> str:
    """How a run ended, in words: ``completed; 3 rows were invalid``. ``counts`` are its rows by status."""
    if status is RunStatus.REFUSED:
        return f"refused: nothing {_more(counts)}was sent"
    if status is not RunStatus.COMPLETED_WITH_FAILURES:
        return _ENDINGS[status]
    failed, invalid = counts.get(Status.FAILED, 0), counts.get(Status.INVALID, 0)
    problems = [f"{count_of(failed, 'row')} failed"] if failed else []
    problems += [f"{count_of(invalid, 'row')} {'was' if invalid == 1 else 'were'} invalid"] if invalid else []
    return "; ".join(["completed", *problems])


def status_label(status: RunStatus, counts: Mapping[Status, int]) -> str:
    """A run's status in a word or two, for lists that show its counts beside it."""
    if status is RunStatus.COMPLETED_WITH_FAILURES and not counts.get(Status.FAILED):
        return "completed, rows invalid"
    return status.value.replace("_", " ")


def next_steps(run: RunRecord, summary: Mapping[str, Any], retry: str = "retry.csv") -> list[str]:
    """What a user can do now, as sentences; resuming is among them only where it can help.

    ``retry`` is the path of the sheet of the rows that are not done, as it is shown.
    """
    if run.status is RunStatus.REFUSED:
        fix = "the sheet" if summary.get(Status.INVALID) and run.command != "undo" else "the cause"
        return [f"Nothing {_more(summary)}was sent. Fix {fix} and run it again."]
    steps = []
    left_accounts, left_rows = (int(run.counters.get(name) or 0) for name in ("left_accounts", "left_rows"))
    if summary.get(Status.PENDING, 0) > (left_rows if left_accounts else 0):
        resume = how_to_resume(run)
        is_running = run.status is RunStatus.RUNNING  # also the status of a run whose process was killed
        steps.append(f"Wait until it has ended. Only if its process was killed: {resume}" if is_running else resume)
    elif left_accounts:
        steps.append(trial_outcome(run, left_accounts))
    if summary.get(Status.FAILED) or summary.get(Status.INVALID):
        steps.append(_how_to_undo_again(run) if run.command == "undo" else _how_to_retry(run, retry))
    return steps


def _more(counts: Mapping[str, int]) -> str:
    """``more`` and a blank where an earlier attempt of the refused run has sent changes (its trial, say); else ""."""
    return "more " if any(counts.get(status) for status in CHANGED) else ""


def _how_to_undo_again(run: RunRecord) -> str:
    """How to try the failed rows of an undo again: by its command, since ``retry.csv`` has no preconditions.

    Run as a sheet, it would also change accounts that other clients have changed since.
    """
    undone = run.options.get("undo") or "RUN"
    kinds = "".join(f" --{name.replace('_', '-')}" for name in ("recreate", "allow_delete") if run.options.get(name))
    command = f"bulkid undo {undone}{kinds}{server_options(run)}"
    return f"retry.csv names the rows that are not undone, and says why. To try them again: {command}"


def _how_to_retry(run: RunRecord, retry: str) -> str:
    """How to run the rows again that are not done; ``retry`` is the path of their sheet, as it is shown."""
    sandbox = " --sandbox" if run.options.get("sandbox") else ""  # else the real accounts would change
    command = f"bulkid run {retry}{sandbox}{server_options(run)}{_sheet_options(run)}{_permissions(run)}"
    return f"The last column of retry.csv says what is wrong. Fix its rows, then run: {command}"


def _permissions(run: RunRecord) -> str:
    """The options without which rows that the run allowed are invalid in a retry, each with a blank in front."""
    allowed = [name for name in ("create_missing", "create_groups", "allow_delete") if run.options.get(name)]
    if run.options.get("read") is False:
        allowed.append("no_read")
    names = run.options.get("new_group_names") or ()
    if "create_groups" not in allowed:  # those of a plan file
        names = dict.fromkeys((*names, *(run.options.get("new_groups") or {}).values()))
    new_groups = as_options(("--new-group", name) for name in names)
    return "".join(f" --{name.replace('_', '-')}" for name in allowed) + new_groups


def server_options(run: RunRecord) -> str:
    """The options that say where the run went, each with a blank in front; "" where no option said it."""
    return as_options(run.options.get(NAMED_BY) or ())


def with_server_options(run: RunRecord, named_by: Iterable[tuple[str, str]]) -> RunRecord:
    """Return the run with other :func:`server_options`: these, and those that it had of other names."""
    given = {**dict(run.options.get(NAMED_BY) or ()), **dict(named_by)}
    return replace(run, options={**run.options, NAMED_BY: list(given.items())})


def how_to_report(run: RunRecord) -> str:
    """The command that writes the report of a run again."""
    given = run.options.get(NAMED_BY) or ()
    return f"bulkid report {run.run_id}{as_options(each for each in given if each[0] == '--state-dir')}"


def _sheet_options(run: RunRecord) -> str:
    """The options by which a retry reads its columns as the run did, each with a blank in front.

    Without them a column that the user chose to ignore, such as ``groups``, would change accounts. ``retry.csv`` is
    UTF-8 with commas, also where the environment or bulkid.toml say otherwise for every sheet.
    """
    given = run.options.get("sheet") or {}
    mapped = [("--map", f"{_on_one_line(column)}={field}") for column, field in (given.get("column_map") or {}).items()]
    ignored = [("--ignore-column", _on_one_line(column)) for column in given.get("ignore_columns") or ()]
    form = [(f"--{name}", own) for name, own in RETRY_FORM.items() if name in (given.get("standing") or ())]
    return as_options((*mapped, *ignored, *form))


def _on_one_line(header: str) -> str:
    """Write a header as an option takes it: it names the column without regard to blanks, a new line among them."""
    return " ".join(header.split())


def as_options(given: Iterable[tuple[str, str]]) -> str:
    """Options of a command line that a user copies, each with a blank in front of it."""
    return "".join(f" {option} {as_argument(printable_line(text))}" for option, text in given)


def note_of(run: RunRecord) -> str:
    """The note that the user gave the run; "" for none."""
    return str(run.options.get("note") or "")


def trial_outcome(run: RunRecord, left: int) -> str:
    """What follows a trial that left accounts for later: ``Trial finished: 5 accounts. Next: review ...``."""
    finished = trial_finished(run)
    if _continuing_job(run):
        return f"{finished} {how_to_resume(run)}"
    return f"{finished} Next: review the remaining {left:,} with: bulkid resume {run.run_id}{server_options(run)}"


def trial_finished(run: RunRecord) -> str:
    """``Trial finished: 5 accounts.``."""
    return f"Trial finished: {count_of(int(run.options.get('first') or 0), 'account')}."


def how_to_resume(run: RunRecord) -> str:
    """How a user of the command line continues a run, as a sentence; a job's next start continues its runs.

    A run that ended while it read standard input cannot be resumed.
    """
    if run.phase == Phase.READING and run.options.get("path") == "" and run.command != "undo":
        return "Start it again with the same input."
    if job := _continuing_job(run):
        return f"To continue, start the job {job!r} again."
    return f"Continue with: bulkid resume {run.run_id}{server_options(run)}"


def _continuing_job(run: RunRecord) -> str:
    """The job whose next start continues the run; empty for none.

    A trial of a drop folder's file is not continued: when it has ended, its job puts the file into the archive.
    """
    sheet = run.options.get("sheet") or {}
    if run.options.get("first") and not sheet.get("follow_links", True):  # only sheets of drop folders have it so
        return ""
    return str(run.options.get("job") or "")


def build_summary(
    run: RunRecord,
    counts: Mapping[Status, int],
    accounts: int,
    report: str | None,
    eta_s: float | None = None,
) -> dict[str, Any]:
    """The summary of a run, with the keys that scripts rely on, in their order.

    Args:
        run: The run; its ``counters`` fill requests and what follows (0 when missing).
        counts: Rows per status; a status that is missing has none.
        accounts: How many accounts the valid rows name.
        report: Path of the report; ``None`` when none was written.
        eta_s: Seconds that the run would take. The key is there for a plan only.
    """
    by_status = {status.value: int(counts.get(status, 0)) for status in Status}
    requests = run.counters.get("requests") or {}
    summary: dict[str, Any] = {
        "run_id": run.run_id,
        "status": run.status.value,
        "rows": sum(by_status.values()),
        "accounts": accounts,
        **by_status,
        "requests": {method: int(requests.get(method, 0)) for method in METHODS},
        "planned_puts": int(run.counters.get("planned_puts", 0)),
        "naive_puts": int(run.counters.get("naive_puts", 0)),
        "retries": int(run.counters.get("retries", 0)),
        "throttled": int(run.counters.get("throttled", 0)),
        "elapsed_s": round(float(run.counters.get("elapsed_s", 0.0)), 3),
    }
    if eta_s is not None or run.command == "plan":
        summary["eta_s"] = None if eta_s is None else round(eta_s, 3)
    summary["note"] = note_of(run) or None
    summary["report"] = report
    return summary
