"""The plan file: a plan as documented, versioned JSON, so that one person can plan and another apply it.

``docs/plan_file.md`` tells every field, ``docs/plan_file.schema.json`` is its JSON schema. A file may have been edited
by hand: what is read is checked field by field, and as a whole.
"""

import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bulkid import __version__
from bulkid.clock import iso_utc
from bulkid.errors import SheetError
from bulkid.folding import fold
from bulkid.model import Account, AccountWish, Change, Fault
from bulkid.planning import Directory, Expected, describe
from bulkid.redaction import encodable
from bulkid.runs.inputs.plan_file import require_plan_file
from bulkid.runs.options import Preview

FORMAT: Final = "bulkid plan"
VERSION: Final = 1
"""Raised with any change of the format, so that an older bulkid does not read a newer file as something else."""

_AGAIN = "Make the plan again: bulkid plan SOURCE --out FILE"
_BOM = b"\xef\xbb\xbf"


def _usable_id(text: str) -> str:
    if text != text.strip() or text in {"", ".", ".."}:
        msg = "is no id"
        raise ValueError(msg)
    return _usable_text(text)


def _usable_text(text: str) -> str:
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        msg = "holds a control character"
        raise ValueError(msg)
    return text


Id = Annotated[str, Field(max_length=1024), AfterValidator(_usable_id)]
Row = Annotated[int, Field(ge=1, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """A part of the file: every field is there, of exactly its type, and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PlannedGroup(_Part):
    """A group to add or to remove."""

    id: Id
    name: str = Field(description="For readers; the id counts.")


class StateBefore(_Part):
    """An account as it was when the plan was made."""

    display_name: str = Field(description="Empty when it had none.")
    group_ids: tuple[str, ...] | None = Field(description="Null when the server did not say.")


class PlannedAccount(_Part):
    """The changes of one account."""

    rows: Annotated[tuple[Row, ...], Field(min_length=1)] = Field(
        description="Rows of the sheet, as a spreadsheet numbers them."
    )
    id: Id
    name: str = Field(description="Its unique name; empty where it is not known.")
    before: StateBefore | None = Field(description="Null in a blind plan: nothing is compared.")
    display_name: Annotated[str, AfterValidator(_usable_text)] | None = Field(
        description="The new display name: null leaves it as it is, an empty one clears it."
    )
    groups_to_add: tuple[PlannedGroup, ...]
    groups_to_remove: tuple[PlannedGroup, ...]
    changes: str = Field(description="The same for readers; not read back.")


class PlannedFault(_Part):
    """What is wrong with a row that the plan leaves out."""

    row: Row
    column: str
    value: str
    code: str
    message: str


class PlanCounts(_Part):
    """The plan in figures; not read back."""

    rows: Count = Field(description="Rows of the sheet.")
    changing: Count = Field(description="Accounts that change: those of the file.")
    unchanged: Count = Field(description="Accounts that were already as wanted.")
    left_out: Count = Field(description="Accounts that --first left for later.")
    invalid_rows: Count
    planned_puts: Count
    naive_puts: Count


class PlanFile(_Part):
    """A plan of bulkid: the changes that were worked out from a sheet and the directory, account by account."""

    format: Literal["bulkid plan"]
    version: Literal[1]
    created_at: str = Field(description="UTC, ISO 8601.")
    created_by: str = Field(description="The bulkid that wrote it.")
    base_url: Annotated[str, Field(min_length=1)] = Field(description="The identity base that it was made for.")
    organization_id: Id
    sandbox: bool = Field(description="Whether that was the sandbox of --sandbox, whose address changes.")
    source: str = Field(description="The sheet, as it was named.")
    sheet: str = Field(description="The worksheet; empty for text.")
    blind: bool = Field(description="Whether the accounts were not read.")
    counts: PlanCounts
    accounts: tuple[PlannedAccount, ...] = Field(description="In the order of the sheet.")
    faults: tuple[PlannedFault, ...] = Field(description="What is wrong with the rows that are left out.")


# --- writing


def plan_file(preview: Preview, created_at: float, *, sandbox: bool = False) -> PlanFile:
    """Put a plan into the form of its file.

    Args:
        preview: The plan.
        created_at: Seconds since the epoch.
        sandbox: Whether the server is an embedded sandbox.
    """
    plan, directory = preview.plan, preview.directory
    pairs = sorted(zip(plan.changing, plan.changes, strict=True), key=lambda pair: pair[0].rows)
    return PlanFile(
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
        counts=PlanCounts(
            rows=preview.rows,
            changing=len(plan.changes),
            unchanged=len(plan.unchanged),
            left_out=preview.left_out,
            invalid_rows=preview.invalid_rows,
            planned_puts=plan.planned_puts,
            naive_puts=plan.naive_puts,
        ),
        accounts=tuple(_planned(wish.rows, change, directory) for wish, change in pairs),
        faults=tuple(map(_fault, preview.faults)),
    )


def _planned(rows: tuple[int, ...], change: Change, directory: Directory) -> PlannedAccount:
    before = change.before

    def groups(ids: tuple[str, ...]) -> tuple[PlannedGroup, ...]:
        return tuple(PlannedGroup(id=group, name=directory.group_name(group)) for group in ids)

    return PlannedAccount(
        rows=rows,
        id=change.account_id,
        name=change.name,
        before=None if before is None else StateBefore(display_name=before.display_name, group_ids=before.group_ids),
        display_name=change.display_name if change.renames else None,
        groups_to_add=groups(change.add),
        groups_to_remove=groups(change.remove),
        changes=describe(change, directory),
    )


def _fault(fault: Fault) -> PlannedFault:
    return PlannedFault(
        row=fault.row,
        column=encodable(fault.column),
        value=encodable(fault.value),
        code=fault.code,
        message=encodable(fault.message),
    )


def dump_plan(plan: PlanFile) -> bytes:
    """Write a plan as JSON, UTF-8: a line for each field, account and fault, so that two plans compare line by line."""
    lines = []
    for name in PlanFile.model_fields:
        value = getattr(plan, name)
        if isinstance(value, tuple):
            items = b",".join(b"\n    " + item.model_dump_json().encode() for item in value)
            text = b"[%s\n  ]" % items if items else b"[]"
        else:
            text = orjson.dumps(value.model_dump() if isinstance(value, BaseModel) else value)
        lines.append(b'  "%s": %s' % (name.encode(), text))
    return b"{\n%s\n}\n" % b",\n".join(lines)


# --- reading


def read_plan(path: Path) -> tuple[PlanFile, str]:
    """Read a plan file; give the plan, and a fingerprint of the file.

    Raises:
        SheetError: The file cannot be read, is damaged, no plan, of a newer bulkid, or contradicts itself.
    """
    require_plan_file(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SheetError(f"{path} does not exist.", hint=f"Check the name. {_AGAIN}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SheetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return load_plan(data, str(path)), sha256(data).hexdigest()


def load_plan(data: bytes, label: str) -> PlanFile:
    """Take back what :func:`dump_plan` wrote.

    Args:
        data: The file's bytes.
        label: The file's name for messages.

    Raises:
        SheetError: It is damaged, no plan, of a newer bulkid, or contradicts itself; the message names the place.
    """
    data = data.removeprefix(_BOM)  # editors on Windows like to put one there
    try:
        plan = PlanFile.model_validate_json(data)
    except ValidationError as error:
        _require_format(data, label)  # only now: to parse 100,000 accounts once more takes its time
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise _nonsense(label, _place(first["loc"]), message[:1].lower() + message[1:]) from None
    for place, message in _contradictions(plan):
        raise _nonsense(label, place, message)
    return plan


def _require_format(data: bytes, label: str) -> None:
    """Tell what is no plan, and what a newer bulkid wrote, from a plan with a mistake in it."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SheetError(
            f"{label} is not whole JSON (line {error.lineno}, column {error.colno}): no plan file, or a damaged one.",
            hint=_AGAIN,
        ) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SheetError(f'{label} is no plan file: its "format" is not "{FORMAT}".', hint=_AGAIN)
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise SheetError(
            f"{label} was written by a newer bulkid (version {version} of the format, this one knows {VERSION}).",
            hint="Update bulkid, or make the plan again with this one.",
        )


def _nonsense(label: str, place: str, message: str) -> SheetError:
    return SheetError(f"{label}: {place}: {message}.", hint=f"The file may have been edited. {_AGAIN}")


def _place(location: tuple[int | str, ...]) -> str:
    """Name a place as one would find it: ``accounts[3].rows[0]``, counted from 0 like JSON."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _contradictions(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Find what no plan says, although each field by itself may."""
    ids: set[str] = set()
    rows: set[int] = set()
    for number, account in enumerate(plan.accounts):
        place = f"accounts[{number}]"
        if fold(account.id) in ids:
            yield f"{place}.id", f"the account {account.id} is there twice"
        ids.add(fold(account.id))
        if len(set(account.rows)) < len(account.rows) or not rows.isdisjoint(account.rows):
            yield f"{place}.rows", "a row is there twice"
        rows.update(account.rows)
        add, remove = ([fold(group.id) for group in groups] for groups in _groups(account))
        if len({*add, *remove}) < len(add) + len(remove):
            yield place, "a group is there twice"
        if not (add or remove) and account.display_name is None:
            yield place, "nothing is to be changed"
        if (account.before is None) is not plan.blind:
            yield f"{place}.before", "a plan is blind as a whole, or not at all"


def _groups(account: PlannedAccount) -> tuple[tuple[PlannedGroup, ...], tuple[PlannedGroup, ...]]:
    return account.groups_to_add, account.groups_to_remove


# --- using


def expected_of(account: PlannedAccount) -> Expected:
    """The change of one account, with the state that it was planned for."""
    add, remove = (tuple(group.id for group in groups) for groups in _groups(account))
    wish = AccountWish(account.id, account.name, account.display_name, add, remove, None, account.rows)
    before = account.before
    state = None if before is None else Account(account.id, account.name, before.display_name, before.group_ids)
    return Expected(wish, state, words=account.changes)


def dump_account(account: PlannedAccount) -> str:
    """Write one account of a plan as JSON, for the journal."""
    return account.model_dump_json()


def load_account(text: str) -> PlannedAccount:
    """Take back what :func:`dump_account` wrote."""
    return PlannedAccount.model_validate_json(text)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a plan file, as in ``docs/plan_file.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}
