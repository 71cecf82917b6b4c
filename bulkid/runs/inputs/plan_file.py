"""Plan files: writing them for ``plan --out``, and reading them as the input of ``run --plan``."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkid.clock import Clock, SystemClock
from bulkid.errors import SheetError, UsageError
from bulkid.file_kind import special_kind
from bulkid.journal.store import Journal
from bulkid.model import Outcome, RunItem, RunRecord, Status
from bulkid.planning.preconditions import Precondition, PreconditionRules
from bulkid.report.atomic import AtomicFile, sync
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import base_of
from bulkid.runs.inputs.precomputed import Origin, PrecomputedInput
from bulkid.runs.inputs.run_input import RunJournal
from bulkid.runs.options import Preview, RunOptions, Target
from bulkid.runs.run_records import GROUP_NAMES, NEW_GROUPS, PLAN, created_groups, dump_group_names
from bulkid.sheet import CHUNK_ROWS, SheetInfo
from bulkid.text import as_argument, printable_line

OLD_PLAN_COLUMN = "planned"
"""The last column of the rows of a plan file's run, up to version 6 of the database schema: the change as JSON."""


def require_plan_file(path: Path) -> None:
    """Raise a :class:`SheetError` if a plan file does not exist or is not a regular file."""
    try:
        kind = special_kind(path)
    except (FileNotFoundError, NotADirectoryError):
        raise SheetError(f"{path} does not exist.", hint="Check the name, or make the plan again.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SheetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if kind:  # opening a folder gives a permission error on Windows, and opening a pipe waits for a writer
        raise SheetError(f"{path} is {kind}, not a plan file.", hint="Give a plan file.")


def require_folder_of(path: Path) -> None:
    """Raise a :class:`UsageError` if the folder of a file does not exist, or may not be looked up."""
    folder, hint = path.absolute().parent, "Check the path that --out gives."
    try:
        exists = folder.is_dir()
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be used: {error.strerror or error}.", hint=hint) from None
    if not exists:
        raise UsageError(f"There is no folder {folder}.", hint=hint)


def is_plan_document(path: Path) -> bool:
    """Whether the name of a file says that it is for people to read, not for a run."""
    return path.suffix.lower() in {".md", ".html", ".xlsx"}


def save_plan(
    preview: Preview, path: Path, *, sandbox: bool = False, note: str = "", clock: Clock | None = None
) -> Path:
    """Write the plan of a preview to a file atomically. Return the path of the file that was written.

    A name that ends in ``.md``, ``.html`` or ``.xlsx`` gets a document for people; any other gets a plan file.

    Args:
        preview: The result of :func:`~bulkid.runs.plan`.
        path: The file; an earlier plan file or document is replaced.
        sandbox: Whether the server is the embedded sandbox.
        note: What to keep with the run of the plan file; a document does not show it.
        clock: Gives the time of creation; None for the machine's clock.

    Raises:
        UsageError: The file cannot be written, or exists and is not a plan file.
    """
    _require_plan_or_nothing(path)
    now = (clock or SystemClock()).now()
    target = AtomicFile(path.absolute().parent, path.name)
    with ExitStack() as stack:
        stack.callback(target.discard)
        try:
            _write(preview, target, now, sandbox=sandbox, note=note)
            sync(target.temp)
            return path.with_name(target.commit().name)
        except OSError as error:
            raise UsageError(
                f"The plan cannot be written to {path}: {error.strerror or error}.",
                hint="Name a file in a folder that you may write to with --out FILE.",
            ) from None


def _write(preview: Preview, target: AtomicFile, now: float, *, sandbox: bool, note: str) -> None:
    if is_plan_document(Path(target.name)):
        from bulkid.runs.plan_document import write_document

        write_document(preview, target, now)
        return
    from bulkid.runs.inputs.plan_format import plan_head, plan_parts, planned_accounts

    head = plan_head(preview, now, sandbox=sandbox, note=note)
    with target.begin().open("wb") as file:
        file.writelines(plan_parts(head, planned_accounts(preview)))


def _is_own(path: Path) -> bool:
    """Whether a later plan may replace an existing file; an OSError says that it cannot be read."""
    if is_plan_document(path):
        from bulkid.runs.plan_document import is_own_document

        return is_own_document(path)
    from bulkid.runs.inputs.plan_format import FORMAT

    with path.open("rb") as file:
        return FORMAT.encode() in file.read(200)


def _require_plan_or_nothing(path: Path) -> None:
    """Raise a :class:`UsageError` if there is a file of another kind, such as the sheet."""
    try:
        is_own = not path.stat().st_size or _is_own(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The plan cannot be written to {path}: {reason}.") from None
    if not is_own:
        raise UsageError(f"{path} exists and is not a plan file: it is not replaced.", hint="Give --out another name.")


@dataclass
class PlanFileInput(PrecomputedInput):
    """The changes of a plan file as the input of a run."""

    blind: bool = False  # whether the accounts were not read for the plan
    note: str = ""  # that the user gave the plan

    async def _journal(self, journal: RunJournal) -> None:
        for start in range(0, len(self.expected), CHUNK_ROWS):
            chunk = self.expected[start : start + CHUNK_ROWS]
            items = [
                RunItem(number, each.desired, each.before, each.description, Outcome(Status.PENDING))
                for number, each in enumerate(chunk, start)
            ]
            await in_thread(journal.add_planned_changes, items)
        await super()._journal(journal)

    def require_usable(self, target: Target, options: RunOptions) -> None:
        """Raise a :class:`UsageError` for another server or organisation, or if accounts are not to be read."""
        url = base_of(target).url
        if self.origin.sandbox and not options.sandbox:
            raise UsageError(f"{self.source} was made for the sandbox.", hint="Apply it with --sandbox.")
        if options.sandbox and not self.origin.sandbox:
            raise UsageError(
                f"{self.source} was made for {self.origin.base_url}, and cannot be applied in the sandbox.",
                hint="Leave out --sandbox (and BULKID_SANDBOX); a rehearsal is a run of its sheet with --sandbox.",
            )
        self.origin.require_server(url)
        if target.organization_id:
            self.origin.require_organization(target.organization_id)
        if not (options.read or self.blind):
            raise UsageError(
                f"{self.source} changes only accounts that are as it expects, so bulkid must read them.",
                hint="Omit --no-read.",
            )


def read_plan_input(path: Path, source: str = "") -> PlanFileInput:
    """Read a plan file.

    Args:
        path: The file.
        source: Its name for messages; empty for its path.

    Raises:
        SheetError: The file cannot be read, or is not a valid plan file.
    """
    from bulkid.runs.inputs.plan_parser import read_plan

    require_plan_file(path)
    source = source or printable_line(str(path))
    loaded = read_plan(path)
    head = loaded.head
    place = {"base_url": head.base_url, "organization_id": head.organization_id, "sandbox": head.sandbox}
    new_groups = {group.id: group.name for group in loaded.new_groups}
    kept = {"fingerprint": loaded.fingerprint, **place, **dump_group_names(loaded.group_names)}
    if new_groups:
        kept[NEW_GROUPS] = new_groups
    return PlanFileInput(
        source,
        _origin(source, place),
        _rules(kept),
        loaded.expected,
        stored_options={"path": str(path.absolute()), PLAN: kept},
        blind=head.blind,
        note=head.note,
    )


def read_plan_input_again(record: RunRecord) -> PlanFileInput:
    """Read the plan file of a run that ended before all of its rows were in the journal.

    Raises:
        SheetError: The file does not exist any more, or has changed.
    """
    path = Path(str(record.options["path"]))
    found = read_plan_input(path, record.source)
    if found.stored_options[PLAN]["fingerprint"] != record.options[PLAN]["fingerprint"]:
        raise SheetError(
            f"{path} is not the plan that run {record.run_id} began with; nothing was sent.",
            hint=f"Apply it as a run of its own: bulkid run --plan {as_argument(str(path))}",
        )
    return found


def journaled_plan_input(journal: Journal, record: RunRecord) -> PlanFileInput:
    """Read the changes of a plan file from the journal of an interrupted run."""
    info = SheetInfo.from_json(record.sheet)
    if OLD_PLAN_COLUMN in info.headers:
        expected = _changes_in_cells(journal, record)
    else:
        expected = [
            Precondition(item.desired, item.before, description=item.changes)
            for item in journal.iter_planned_changes(record.run_id)
        ]
    kept = record.options[PLAN]
    rules = _rules(kept)
    return PlanFileInput(record.source, _origin(record.source, kept), rules, expected, journaled=info)


def _changes_in_cells(journal: Journal, record: RunRecord) -> list[Precondition]:
    """Read the changes from the last cell of each row, where versions up to 6 of the schema have them."""
    from bulkid.runs.inputs.plan_parser import load_account, precondition_of

    texts = dict.fromkeys(cells[-1] for _, cells, _ in journal.iter_rows(record.run_id))
    return [precondition_of(load_account(text)) for text in texts]


def _origin(source: str, place: Mapping[str, Any]) -> Origin:
    return Origin(
        what=f"The plan {source}",
        base_url=place["base_url"],
        organization_id=place["organization_id"],
        sandbox=place["sandbox"],
    )


def _rules(kept: Mapping[str, Any]) -> PreconditionRules:
    """Return what holds for all changes of a plan file; ``kept`` are the values in the run's record."""
    return PreconditionRules(
        "as it was when the plan was made",
        new_groups=created_groups(kept),
        creates_groups=True,
        group_names=kept.get(GROUP_NAMES, {}),
    )
