"""The format of plan files: versioned JSON, see ``docs/plan_file.md`` and ``docs/plan_file.schema.json``.

The classes of its parts, and writing. :mod:`bulkid.runs.inputs.plan_parser` reads it.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as strict_dataclass

from bulkid import __version__
from bulkid.clock import iso_utc
from bulkid.model import MAX_NOTE, Action, Change
from bulkid.planning.directory import Directory
from bulkid.planning.plan import changed_fields, describe
from bulkid.redaction import encodable
from bulkid.resources import Resource, current
from bulkid.runs.options import Preview

FORMAT: Final = "bulkid plan"
VERSION: Final = 3
"""Increase it with every change of the format, so that an older bulkid refuses a newer file."""


def _usable_id(text: str) -> str:
    if text != text.strip() or text in {"", ".", ".."}:
        msg = "is not an id"
        raise ValueError(msg)
    return _usable_text(text)


def _usable_id_or_none(text: str) -> str:
    return _usable_id(text) if text else text


def usable_name(text: str) -> str:
    """Return a name that is printable on one line and not surrounded by blanks; else raise a :class:`ValueError`."""
    if text != text.strip() or not text:
        msg = "is not a name"
        raise ValueError(msg)
    return _usable_text(text)


def _usable_text(text: str) -> str:
    # No control character is printable, and this finds out in a fraction of the time.
    if not text.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in text):
        msg = "contains a control character"
        raise ValueError(msg)
    return text


Id = Annotated[str, Field(max_length=1024), AfterValidator(_usable_id)]
Guid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Row = Annotated[int, Field(ge=1, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0)]


_STRICT = ConfigDict(extra="forbid", strict=True)
"""For every part of the file: all fields are required, with exactly their types, and no others are allowed."""


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlannedGroup:
    """A group to add or to remove."""

    id: Id
    name: Annotated[str, Field(description="For readers; the id counts.")]


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlannedNewGroup:
    """A group to create."""

    id: Annotated[Guid, Field(description="Made by bulkid; the accounts that join name it.")]
    name: Annotated[str, Field(max_length=256), AfterValidator(usable_name)]


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlannedFault:
    """An error of a row that the plan skips."""

    row: Row
    column: str
    value: str
    code: str
    message: str


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlanCounts:
    """The numbers of the plan; not read back."""

    rows: Annotated[Count, Field(description="Rows of the sheet.")]
    changing: Annotated[Count, Field(description="Accounts that change: those of the file.")]
    creating: Annotated[Count, Field(description="Accounts of these that are created.")]
    deleting: Annotated[Count, Field(description="Accounts of these that are deleted.")]
    unchanged: Annotated[Count, Field(description="Accounts that were already correct.")]
    left_out: Annotated[Count, Field(description="Accounts that --first left for later.")]
    invalid_rows: Count
    planned_puts: Count
    naive_puts: Count


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlanFile:
    """A plan of bulkid: the changes of each account, computed from a sheet and the directory."""

    format: Literal["bulkid plan"]
    version: Literal[3]
    created_at: Annotated[str, Field(description="UTC, ISO 8601.")]
    created_by: Annotated[str, Field(description="The version of bulkid that wrote it.")]
    base_url: Annotated[str, Field(min_length=1, description="The identity base of the server.")]
    organization_id: Id
    sandbox: Annotated[
        bool, Field(description="Whether the server was the sandbox of --sandbox, whose address changes.")
    ]
    source: Annotated[str, Field(description="The sheet, as the user named it.")]
    sheet: Annotated[str, Field(description="The worksheet; empty for text.")]
    blind: Annotated[bool, Field(description="Whether the accounts were not read.")]
    note: Annotated[
        str,
        Field(max_length=MAX_NOTE, description="What the user noted, for the run of the plan; empty for nothing."),
        AfterValidator(_usable_text),
    ]
    counts: PlanCounts
    new_groups: Annotated[
        tuple[PlannedNewGroup, ...], Field(description="Groups to create first, if they do not exist by then.")
    ]
    accounts: tuple[Any, ...]  # of the classes that plan_types makes for the resource
    faults: Annotated[tuple[PlannedFault, ...], Field(description="The errors of the rows that the plan skips.")]


_LISTS = frozenset({"new_groups", "accounts", "faults"})
_JSON: TypeAdapter[object] = TypeAdapter(object)

PlannedAccount: TypeAlias = Any
"""The changes of one account, of the class that ``plan_types`` makes."""


@dataclass(frozen=True, slots=True)
class PlanTypes:
    """The classes for the parts of a plan file that have a member for each field of a resource."""

    state_before: Any
    account: Any
    plan: type[PlanFile]
    plan_adapter: TypeAdapter[PlanFile]
    account_adapter: TypeAdapter[PlannedAccount]
    update_adapter: TypeAdapter[PlannedAccount]  # of an account of version 1


@lru_cache(maxsize=4)
def plan_types(resource: Resource) -> PlanTypes:
    """Make the classes for a resource."""
    before: dict[str, Any] = {
        field.key: Annotated[str, Field(description="Empty if it had none.")] for field in resource.fields
    }
    before["group_ids"] = Annotated[
        tuple[str, ...] | None, Field(description="Null if the server did not return them.")
    ]
    about_before = "An account as it was when the plan was made."
    last_login = Annotated[
        str | None, Field(description="Of a deletion: as the server wrote it, empty if there was none; else null.")
    ]
    state_before = _strict_class("StateBefore", about_before, {**before, "last_login": last_login})
    action: dict[str, Any] = {
        "action": Annotated[
            Literal["update", "create", "delete"], Field(description="What the plan does with the account.")
        ],
        "id": Annotated[str, Field(max_length=1024, description="Empty in a creation."), _ID_OR_NONE],
    }
    account = _strict_class("PlannedAccount", "The changes of one account.", _members(resource, state_before, action))
    first_before = _strict_class("StateBefore", about_before, before)
    update = _strict_class("PlannedUpdate", "The changes of one account.", _members(resource, first_before, {"id": Id}))
    accounts = Annotated[tuple[account, ...], Field(description="In the order of the sheet.")]  # type: ignore[valid-type]
    plan = _strict_class("PlanFile", PlanFile.__doc__ or "", {"accounts": accounts}, base=PlanFile)
    return PlanTypes(state_before, account, plan, TypeAdapter(plan), TypeAdapter(account), TypeAdapter(update))


_ID_OR_NONE: Final = AfterValidator(_usable_id_or_none)


def _members(resource: Resource, state_before: Any, identity: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a class
    """Return the members of an account; ``identity`` are those that name it and its action."""
    new_values: dict[str, Any] = {
        field.key: Annotated[
            Annotated[str, AfterValidator(_usable_text)] | None,
            Field(description=f"The new {field.label}: null leaves it as it is, an empty one clears it."),
        ]
        for field in resource.fields
    }
    return {
        "rows": Annotated[
            tuple[Row, ...], Field(min_length=1, description="Rows of the sheet, as a spreadsheet numbers them.")
        ],
        **identity,
        "name": Annotated[str, Field(description="Its unique name; empty if it is not known.")],
        "before": Annotated[
            state_before | None,
            Field(description="Null in a creation, and in a blind plan: nothing is compared."),
        ],
        **new_values,
        "groups_to_add": tuple[PlannedGroup, ...],
        "groups_to_remove": tuple[PlannedGroup, ...],
        "changes": Annotated[str, Field(description="The changes as text for readers; not read back.")],
    }


def _strict_class(name: str, description: str, members: dict[str, Any], base: type = object) -> Any:  # noqa: ANN401 - mypy cannot know it
    bare = type(name, (base,), {"__annotations__": members, "__doc__": description, "__module__": __name__})
    return strict_dataclass(frozen=True, kw_only=True, config=_STRICT, slots=True)(bare)


# --- writing


def planned_accounts(preview: Preview) -> Iterator[PlannedAccount]:
    """Yield the accounts of a plan file in the order of the sheet."""
    plan, directory = preview.plan, preview.directory
    for desired, change in sorted(zip(plan.changing, plan.changes, strict=True), key=lambda pair: pair[0].rows):
        yield _planned(desired.rows, change, directory)


def plan_head(preview: Preview, created_at: float, *, sandbox: bool = False, note: str = "") -> PlanFile:
    """Make a plan file without its accounts; ``created_at`` is in seconds since the epoch."""
    plan, directory = preview.plan, preview.directory
    return plan_types(current()).plan(
        format=FORMAT,
        version=VERSION,
        created_at=iso_utc(created_at),
        created_by=__version__,
        base_url=preview.base_url,
        organization_id=preview.organization_id,
        sandbox=sandbox,
        source=encodable(preview.info.source),
        sheet=encodable(preview.info.sheet),
        blind=directory.accounts is None,
        note=encodable(note),
        counts=PlanCounts(
            rows=preview.rows,
            changing=len(plan.changes),
            creating=len(plan.changes_of(Action.CREATE)),
            deleting=len(plan.changes_of(Action.DELETE)),
            unchanged=len(plan.unchanged),
            left_out=preview.skipped,
            invalid_rows=preview.invalid_rows,
            planned_puts=plan.planned_puts,
            naive_puts=plan.naive_puts,
        ),
        new_groups=tuple([PlannedNewGroup(id=group.id, name=group.name) for group in plan.new_groups]),
        accounts=(),
        faults=tuple(
            PlannedFault(
                row=row_error.row,
                column=encodable(row_error.column),
                value=encodable(row_error.value),
                code=row_error.code,
                message=encodable(row_error.message),
            )
            for row_error in preview.row_errors
        ),
    )


def _planned(rows: tuple[int, ...], change: Change, directory: Directory) -> PlannedAccount:
    before = change.before

    def groups(ids: tuple[str, ...]) -> tuple[PlannedGroup, ...]:
        return tuple(PlannedGroup(id=group, name=directory.group_name(group)) for group in ids)

    types = plan_types(current())
    state = None
    if before is not None:
        texts = {key: text or "" for key, text in zip(current().keys, before.values, strict=True)}
        last_login = encodable(before.last_login) if change.action is Action.DELETE else None
        state = types.state_before(**texts, group_ids=before.group_ids, last_login=last_login)
    return types.account(
        rows=rows,
        action=change.action.value,
        id=change.account_id,
        name=change.name,
        before=state,
        **{**dict.fromkeys(current().keys), **{field.key: value for field, _, value in changed_fields(change)}},
        groups_to_add=groups(change.add),
        groups_to_remove=groups(change.remove),
        changes=describe(change, directory),
    )


def plan_parts(head: PlanFile, accounts: Iterable[PlannedAccount]) -> Iterator[bytes]:
    """Yield the bytes of a plan file: UTF-8 JSON with a line for each field, account and fault.

    ``accounts`` replace those of ``head``. They are written one by one, since 100,000 take 150 MB.
    """
    before = b"{\n"
    for name in (field.name for field in fields(head)):
        yield b'%s  "%s": ' % (before, name.encode())
        value = accounts if name == "accounts" else getattr(head, name)
        if name in _LISTS:
            yield from _list_parts(value)
        else:
            yield _JSON.dump_json(value)
        before = b",\n"
    yield b"\n}\n"


def _list_parts(items: Iterable[object]) -> Iterator[bytes]:
    before, after = b"[\n    ", b"[]"
    for item in items:
        yield before + _JSON.dump_json(item)
        before, after = b",\n    ", b"\n  ]"
    yield after


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of plan files, as in ``docs/plan_file.schema.json``."""
    schema = plan_types(current()).plan_adapter.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
