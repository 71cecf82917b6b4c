"""The lines that pages and programs see of a preview and of a sheet: changes of accounts, and problems of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bulkid import runs
from bulkid.model import Action, Change, DesiredState, RowError
from bulkid.planning.plan import changed_fields
from bulkid.resources import DISPLAY_NAME, current
from bulkid.runs.row_error_groups import GroupedRowErrors, RowErrorGroup, group_row_errors
from bulkid.web.change_index import ChangeFilter
from bulkid.web.uploaded_sheets import PreviewTask

MAX_PROBLEMS: Final = 1000
"""Different problems of rows that pages list; errors that say the same of several rows are one problem."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an account in a preview."""

    key: str
    before: str | None  # None: not known
    after: str | None  # None: stays
    removed: str = ""  # what it is called where the value goes away: "name removed"


@dataclass(frozen=True, slots=True)
class AccountChange:
    """One account of a preview: its old and new values."""

    account_id: str
    name: str
    rows: tuple[int, ...]
    fields: tuple[FieldChange, ...]  # all that the resource has, in its order
    add: tuple[str, ...]  # names of groups
    remove: tuple[str, ...]
    action: Action = Action.UPDATE

    @property
    def display_before(self) -> str | None:
        """The display name now, for the JSON interface; None: not known."""
        return next((field.before for field in self.fields if field.key == DISPLAY_NAME.key), None)

    @property
    def display_after(self) -> str | None:
        """The new display name, for the JSON interface; None: stays."""
        return next((field.after for field in self.fields if field.key == DISPLAY_NAME.key), None)


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """Some lines of a preview of one kind, and how many there are."""

    changes: Sequence[AccountChange] = ()
    desired_states: Sequence[DesiredState] = ()
    problems: Sequence[RowErrorGroup] = ()
    hidden_errors: int = 0
    total: int = 0


def preview_page(
    job: PreviewTask, kind: str, search: str, offset: int, limit: int, *, only: ChangeFilter | None = None
) -> PreviewPage:
    """Some lines of a preview that is made: ``changes``, ``unchanged`` or ``invalid``, by ``kind``.

    With ``search`` only lines that contain the text, without regard to case; ``only`` is a filter of ``changes``.
    """
    preview = job.result
    if preview is None or job.index is None:
        return PreviewPage()
    plan, text = preview.plan, search.casefold()
    if kind == "unchanged":
        found = [each for each in plan.unchanged if text in f"{each.name}\n{each.account_id}".casefold()]
        return PreviewPage(desired_states=found[offset : offset + limit], total=len(found))
    if kind == "invalid":
        grouped = problems_of(preview.row_errors, search, column="")
        shown = grouped.groups[offset : offset + limit]
        return PreviewPage(problems=shown, hidden_errors=grouped.hidden, total=len(grouped.groups))
    chosen = job.index.select(only or ChangeFilter())
    if text:
        texts = job.texts()
        chosen = [index for index in chosen if text in texts[index]]
    lines = [_line(plan.changes[index], plan.changing[index], preview) for index in chosen[offset : offset + limit]]
    return PreviewPage(changes=lines, total=len(chosen))


def row_errors_with(row_errors: Sequence[RowError], search: str, column: str) -> Sequence[RowError]:
    """The errors of a column that contain a text in row number, value or message, without regard to case.

    The column "" stands for all.
    """
    text = search.casefold()
    if not text and not column:
        return row_errors
    return [
        row_error
        for row_error in row_errors
        if (not column or row_error.column == column)
        and text in f"{row_error.row}\n{row_error.column}\n{row_error.value}\n{row_error.message}".casefold()
    ]


def problems_of(row_errors: Sequence[RowError], search: str, column: str) -> GroupedRowErrors:
    """The problems of a column that contain a text, at most ``MAX_PROBLEMS``."""
    return group_row_errors(row_errors_with(row_errors, search, column), MAX_PROBLEMS)


def _line(change: Change, desired: DesiredState, preview: runs.Preview) -> AccountChange:
    names = preview.directory.group_name
    present = current().nothing if change.before is None else change.before.values
    after: dict[str, str | None]
    if change.action is Action.CREATE:
        present = ("",) * len(present)
        after = {key: value or None for key, value in zip(current().keys, change.values, strict=True)}
    else:
        after = {field.key: value for field, _, value in changed_fields(change)}
    return AccountChange(
        account_id=change.account_id,
        name=change.name,
        rows=desired.rows,
        fields=tuple(
            FieldChange(
                field.key, before, after.get(field.key), field.removal_words()[0] if after.get(field.key) == "" else ""
            )
            for field, before in zip(current().fields, present, strict=True)
        ),
        add=tuple(map(names, change.add)),
        remove=tuple(map(names, change.remove)),
        action=change.action,
    )
