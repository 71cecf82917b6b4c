"""``plan --out`` and ``run --plan``: a plan that one person makes and another applies, as a run like any other."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bulkid.clock import Clock, SystemClock
from bulkid.errors import SheetError, UsageError
from bulkid.file_kind import special_kind
from bulkid.journal import Journal, open_journal
from bulkid.model import RunRecord
from bulkid.report.atomic import AtomicFile, prepare_folder, sync
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import base_of
from bulkid.runs.execution.run import Execution
from bulkid.runs.history import lock_run
from bulkid.runs.inputs.origin import PLAN, Origin
from bulkid.runs.inputs.precomputed import Changes, begin, changes_of
from bulkid.runs.inputs.sheet import Rows
from bulkid.runs.notifications import notifies
from bulkid.runs.options import Context, Preview, RunOptions, RunResult, Target
from bulkid.runs.options_codec import dump_options
from bulkid.runs.run_records import new_record
from bulkid.text import printable_line

if TYPE_CHECKING:  # pydantic takes 0.1 s to import, and most runs have no plan file
    from bulkid.runs.inputs.plan_format import LoadedPlan, PlanFile, PlannedAccount

PLAN_COLUMN = "planned"
"""The column that holds an account's part of the plan as JSON, so that the journal alone is enough to go on."""


def require_plan_file(path: Path) -> None:
    """Make sure that a plan file is there and is a regular file, before anything else is asked of the user.

    Raises:
        SheetError: It is not.
    """
    try:
        kind = special_kind(path)
    except (FileNotFoundError, NotADirectoryError):
        raise SheetError(f"{path} does not exist.", hint="Check the name, or make the plan again.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SheetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if kind:  # Windows would call a folder a matter of permission, and a pipe would wait for a writer
        raise SheetError(f"{path} is {kind}, not a plan file.", hint="Give a plan file.")


def require_folder_of(path: Path) -> None:
    """Make sure that a file can be made in its folder, before a server is asked what goes into it.

    Raises:
        UsageError: There is no such folder.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent}.", hint="Check the path that --out gives.")


def save_plan(preview: Preview, path: Path, *, sandbox: bool = False, clock: Clock | None = None) -> Path:
    """Write a plan to a file, whole or not at all; give the name that it really has.

    Args:
        preview: The plan, as ``plan`` gave it.
        path: The file; replaced where it is a plan file already.
        sandbox: Whether the server is an embedded sandbox.
        clock: Source of time; None for the machine's own.

    Raises:
        UsageError: The file cannot be written, or is something else than a plan.
    """
    from bulkid.runs.inputs.plan_format import plan_head, plan_parts, planned_accounts

    _require_plan_or_nothing(path)
    head = plan_head(preview, (clock or SystemClock()).now(), sandbox=sandbox)
    target = AtomicFile(path.absolute().parent, path.name)
    with ExitStack() as stack:
        stack.callback(target.discard)
        try:
            with target.begin().open("wb") as file:
                file.writelines(plan_parts(head, planned_accounts(preview)))
            sync(target.temp)
            return path.with_name(target.commit().name)
        except OSError as error:
            raise UsageError(
                f"The plan cannot be written to {path}: {error.strerror or error}.",
                hint="Name a file in a folder that you may write to with --out FILE.",
            ) from None


def _require_plan_or_nothing(path: Path) -> None:
    """Refuse to replace what may be precious: a sheet, say, where the two names were confused.

    Raises:
        UsageError: There is a file of another kind.
    """
    from bulkid.runs.inputs.plan_format import FORMAT

    try:
        with path.open("rb") as file:
            start = file.read(200)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The plan cannot be written to {path}: {reason}.") from None
    if start and FORMAT.encode() not in start:
        raise UsageError(f"{path} exists, and is no plan file: it is not replaced.", hint="Give --out another name.")


@notifies
async def run_plan(
    path: Path, target: Target, options: RunOptions | None = None, context: Context | None = None
) -> RunResult:
    """Apply a plan file: just its changes, and only where an account still is as it was when the plan was made.

    An account that has changed since, or is gone, makes its rows invalid, and nothing is sent then unless
    ``options.skip_invalid``. One that is already as wanted is unchanged.

    Args:
        path: The plan file.
        target: Which server, as whom: those of the plan.
        options: How to send and report. ``read`` may be off for a blind plan only.
        context: What surrounds the work; None for the defaults.

    Raises:
        UsageError: The file cannot be used, or is for another server or organisation.
        StateError: The state directory cannot be used.
    """
    from bulkid.runs.inputs.plan_format import read_plan

    options, context = options or RunOptions(), context or Context()
    loaded = await in_thread(read_plan, path)
    plan, fingerprint = loaded.head, loaded.fingerprint
    url = base_of(target).url
    shown = printable_line(str(path))
    origin = _origin(plan, shown)
    if plan.sandbox and not options.sandbox:
        raise UsageError(f"{path} was made for the sandbox.", hint="Apply it with --sandbox.")
    origin.require_server(url)
    if target.organization_id:
        origin.require_organization(target.organization_id)
    if not (options.read or plan.blind):
        raise UsageError(
            f"{path} is applied only where accounts are as it expects, so they must be read.",
            hint="Leave --no-read out.",
        )
    changes = await in_thread(_changes, loaded, shown, origin)
    stored = {
        **dump_options(options, path),
        PLAN: {
            "fingerprint": fingerprint,
            "base_url": plan.base_url,
            "organization_id": plan.organization_id,
            "sandbox": plan.sandbox,
        },
    }
    record = new_record(context, changes.rows.info, url, stored)
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        folder = prepare_folder(options.report_dir.absolute(), record.run_id)
        record = replace(record, report_dir=str(folder))
        await lock_run(stack, journal, record, context)
        await in_thread(journal.create_run, record)
        execution = Execution(journal, record, target, options, context, folder)
        return await execution.perform(partial(begin, execution, changes))


async def begin_plan_again(execution: Execution) -> Callable[[], Awaitable[None]]:
    """Take up the run of a plan file that ended before its plan was journaled; give the work to do.

    Raises:
        UsageError: The rows are not whole in the journal, and the file is gone or another one by now.
    """
    journal, record = execution.journal, execution.record
    if record.phase == "reading":
        changes = await in_thread(_read_again, record)
        await in_thread(journal.forget_rows, record.run_id)
        return partial(begin, execution, changes)
    await in_thread(journal.forget_plan, record.run_id)
    return partial(execution.from_rows, await in_thread(_rows_again, journal, record))


def _read_again(record: RunRecord) -> Changes:
    from bulkid.runs.inputs.plan_format import read_plan

    path = str(record.options["path"])
    loaded = read_plan(Path(path))
    if loaded.fingerprint != record.options[PLAN]["fingerprint"]:
        raise SheetError(
            f"{path} is another plan than the one that run {record.run_id} was begun with; nothing was sent.",
            hint=f"Apply it as a run of its own: bulkid run --plan {record.source}",
        )
    return _changes(loaded, record.source, _origin(loaded.head, record.source))


def _rows_again(journal: Journal, record: RunRecord) -> Rows:
    """The changes of a plan from the journal alone: each row holds its account's part of the plan."""
    from bulkid.runs.inputs.plan_format import load_account, precondition_of

    found: dict[str, PlannedAccount] = {}
    for _, cells, _ in journal.iter_rows(record.run_id):
        if cells[-1] not in found:
            found[cells[-1]] = load_account(cells[-1])
    stored = record.options[PLAN]
    origin = _made_for(record.source, stored["base_url"], stored["organization_id"], sandbox=stored["sandbox"])
    expected = list(map(precondition_of, found.values()))
    return changes_of(record.source, expected, origin, extra={PLAN_COLUMN: list(found)}).rows


def _changes(loaded: "LoadedPlan", source: str, origin: Origin) -> Changes:
    """The changes of a plan, whose lists are empty afterwards."""
    made = changes_of(source, loaded.expected, origin, extra={PLAN_COLUMN: loaded.texts})
    loaded.expected.clear()
    loaded.texts.clear()
    return made


def _origin(plan: "PlanFile", source: str) -> Origin:
    return _made_for(source, plan.base_url, plan.organization_id, sandbox=plan.sandbox)


def _made_for(source: str, base_url: str, organization_id: str, *, sandbox: bool) -> Origin:
    return Origin(
        what=f"The plan {source}",
        expected_state="as it was when the plan was made",
        base_url=base_url,
        organization_id=organization_id,
        sandbox=sandbox,
    )
