"""The format of plan files: versioned JSON, see ``docs/plan_file.md`` and ``docs/plan_file.schema.json``.

A user may have edited a file. Reading it validates every field, and the file as a whole.
"""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import orjson
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as strict_dataclass

from bulkid import __version__
from bulkid.clock import iso_utc
from bulkid.errors import SheetError
from bulkid.model import Account, Change, DesiredState
from bulkid.planning.directory import Directory
from bulkid.planning.plan import changed_fields, describe
from bulkid.planning.preconditions import Precondition
from bulkid.redaction import encodable
from bulkid.resources import Resource, current
from bulkid.runs.options import Preview
from bulkid.text import fold

FORMAT: Final = "bulkid plan"
VERSION: Final = 1
"""Increase it with every change of the format, so that an older bulkid refuses a newer file."""

_AGAIN = "Make the plan again: bulkid plan SOURCE --out FILE"
_BOM = b"\xef\xbb\xbf"


def _usable_id(text: str) -> str:
    if text != text.strip() or text in {"", ".", ".."}:
        msg = "is not an id"
        raise ValueError(msg)
    return _usable_text(text)


def _usable_text(text: str) -> str:
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        msg = "contains a control character"
        raise ValueError(msg)
    return text


Id = Annotated[str, Field(max_length=1024), AfterValidator(_usable_id)]
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
    unchanged: Annotated[Count, Field(description="Accounts that were already correct.")]
    left_out: Annotated[Count, Field(description="Accounts that --first left for later.")]
    invalid_rows: Count
    planned_puts: Count
    naive_puts: Count


@strict_dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PlanFile:
    """A plan of bulkid: the changes of each account, computed from a sheet and the directory."""

    format: Literal["bulkid plan"]
    version: Literal[1]
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
    counts: PlanCounts
    accounts: tuple[Any, ...]  # of the classes that _types makes for the resource
    faults: Annotated[tuple[PlannedFault, ...], Field(description="The errors of the rows that the plan skips.")]


_LISTS = frozenset({"accounts", "faults"})
_JSON: TypeAdapter[object] = TypeAdapter(object)

PlannedAccount: TypeAlias = Any
"""The changes of one account, of the class that ``_types`` makes."""


@dataclass(frozen=True, slots=True)
class _Types:
    """The classes for the parts of a plan file that have a member for each field of a resource."""

    state_before: Any
    account: Any
    plan: type[PlanFile]
    plan_adapter: TypeAdapter[PlanFile]
    account_adapter: TypeAdapter[PlannedAccount]


@lru_cache(maxsize=4)
def _types(resource: Resource) -> _Types:
    before: dict[str, Any] = {
        field.key: Annotated[str, Field(description="Empty if it had none.")] for field in resource.fields
    }
    before["group_ids"] = Annotated[
        tuple[str, ...] | None, Field(description="Null if the server did not return them.")
    ]
    state_before = _strict_class("StateBefore", "An account as it was when the plan was made.", before)
    new_values: dict[str, Any] = {
        field.key: Annotated[
            Annotated[str, AfterValidator(_usable_text)] | None,
            Field(description=f"The new {field.label}: null leaves it as it is, an empty one clears it."),
        ]
        for field in resource.fields
    }
    members: dict[str, Any] = {
        "rows": Annotated[
            tuple[Row, ...], Field(min_length=1, description="Rows of the sheet, as a spreadsheet numbers them.")
        ],
        "id": Id,
        "name": Annotated[str, Field(description="Its unique name; empty if it is not known.")],
        "before": Annotated[state_before | None, Field(description="Null in a blind plan: nothing is compared.")],
        **new_values,
        "groups_to_add": tuple[PlannedGroup, ...],
        "groups_to_remove": tuple[PlannedGroup, ...],
        "changes": Annotated[str, Field(description="The changes as text for readers; not read back.")],
    }
    account = _strict_class("PlannedAccount", "The changes of one account.", members)
    accounts = Annotated[tuple[account, ...], Field(description="In the order of the sheet.")]  # type: ignore[valid-type]
    plan = _strict_class("PlanFile", PlanFile.__doc__ or "", {"accounts": accounts}, base=PlanFile)
    return _Types(state_before, account, plan, TypeAdapter(plan), TypeAdapter(account))


def _strict_class(name: str, description: str, members: dict[str, Any], base: type = object) -> Any:  # noqa: ANN401 - mypy cannot know it
    bare = type(name, (base,), {"__annotations__": members, "__doc__": description, "__module__": __name__})
    return strict_dataclass(frozen=True, kw_only=True, config=_STRICT, slots=True)(bare)


# --- writing


def planned_accounts(preview: Preview) -> Iterator[PlannedAccount]:
    """Yield the accounts of a plan file in the order of the sheet."""
    plan, directory = preview.plan, preview.directory
    for desired, change in sorted(zip(plan.changing, plan.changes, strict=True), key=lambda pair: pair[0].rows):
        yield _planned(desired.rows, change, directory)


def plan_head(preview: Preview, created_at: float, *, sandbox: bool = False) -> PlanFile:
    """Make a plan file without its accounts; ``created_at`` is in seconds since the epoch."""
    plan, directory = preview.plan, preview.directory
    return _types(current()).plan(
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
            left_out=preview.skipped,
            invalid_rows=preview.invalid_rows,
            planned_puts=plan.planned_puts,
            naive_puts=plan.naive_puts,
        ),
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

    types = _types(current())
    texts = {} if before is None else {key: text or "" for key, text in zip(current().keys, before.values, strict=True)}
    return types.account(
        rows=rows,
        id=change.account_id,
        name=change.name,
        before=None if before is None else types.state_before(**texts, group_ids=before.group_ids),
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


# --- reading


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """The content of a plan file."""

    head: PlanFile  # without its accounts
    expected: list[Precondition]
    fingerprint: str


def read_plan(path: Path) -> LoadedPlan:
    """Read a plan file account by account, since 100,000 parsed accounts take 150 MB.

    Raises:
        SheetError: The file cannot be read, is damaged, is not a plan file, or is inconsistent.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SheetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    fingerprint = sha256(data).hexdigest()
    try:
        head, accounts = _as_written(data.removeprefix(_BOM))
        return _loaded(head, accounts, str(path), fingerprint)
    except (ValidationError, ValueError):  # edited or damaged: read it as a whole, or find what is wrong
        plan = load_plan(data, str(path))
        return _loaded(replace(plan, accounts=()), plan.accounts, str(path), fingerprint)


def _loaded(head: PlanFile, accounts: Iterable[PlannedAccount], label: str, fingerprint: str) -> LoadedPlan:
    expected = [precondition_of(account) for account in _consistent(accounts, label, blind=head.blind)]
    return LoadedPlan(head, expected, fingerprint)


_OPENING, _CLOSING = b'\n  "accounts": [\n', b"\n  ]"


def _as_written(data: bytes) -> tuple[PlanFile, Iterator[PlannedAccount]]:
    """Parse a file that has each account on a line of its own, as :func:`plan_parts` writes it.

    A JSON string contains no line break, so a line that is valid as an account is an account.

    Raises:
        ValueError: The file has another layout, or a mistake; the iterator raises it, too.
    """
    start = data.index(_OPENING) + len(_OPENING)
    end = data.index(_CLOSING, start)
    rest = data[: start - 1] + data[end + 1 :]
    head = _types(current()).plan_adapter.validate_json(rest)
    if head.accounts or rest.count(b'"accounts"') > 1:
        raise ValueError("the accounts appear twice")
    lines = BytesIO(data)
    lines.seek(start)
    return head, _accounts(takewhile(lambda line: not line.startswith(_CLOSING[1:]), lines))


def _accounts(lines: Iterable[bytes]) -> Iterator[PlannedAccount]:
    more, adapter = True, _types(current()).account_adapter
    for line in lines:
        if not more:
            raise ValueError("a comma is missing")
        more = line.endswith(b",\n")
        yield adapter.validate_json(line.removesuffix(b",\n"))
    if more:
        raise ValueError("a comma is left over")


def load_plan(data: bytes, label: str) -> PlanFile:
    """Parse the bytes of a plan file; ``label`` is its name for messages.

    Raises:
        SheetError: The file is damaged, is not a plan file, or is inconsistent; the message names the place.
    """
    data = data.removeprefix(_BOM)  # some editors on Windows write it
    try:
        plan = _types(current()).plan_adapter.validate_json(data)
    except ValidationError as error:
        _require_format(data, label)  # only after an error: it parses all accounts once more
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        extra = first["type"] == "unexpected_keyword_argument"
        message = "no plan has such a field" if extra else first["msg"].removeprefix("Value error, ")
        raise _invalid_plan(label, _place(first["loc"]), message[:1].lower() + message[1:]) from None
    for _ in _consistent(plan.accounts, label, blind=plan.blind):
        pass
    return plan


def _require_format(data: bytes, label: str) -> None:
    """Raise if the bytes are not a plan file at all, or if a newer bulkid wrote them."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SheetError(
            f"{label} is not valid JSON (line {error.lineno}, column {error.colno}), so it is damaged or not a plan.",
            hint=_AGAIN,
        ) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SheetError(f'{label} is not a plan file: its "format" is not "{FORMAT}".', hint=_AGAIN)
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise SheetError(
            f"{label} was written by a newer bulkid (version {version} of the format, this one knows {VERSION}).",
            hint="Update bulkid, or make the plan again with this one.",
        )


def _invalid_plan(label: str, place: str, message: str) -> SheetError:
    return SheetError(f"{label}: {place}: {message}.", hint=f"The file may have been edited. {_AGAIN}")


def _place(location: tuple[int | str, ...]) -> str:
    """Write a place in the file as ``accounts[3].rows[0]``, counted from 0."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _consistent(accounts: Iterable[PlannedAccount], label: str, *, blind: bool) -> Iterator[PlannedAccount]:
    """Yield the accounts of a plan. Raise a :class:`SheetError` if they are inconsistent."""
    ids: set[str] = set()
    rows: set[int] = set()
    for number, account in enumerate(accounts):
        place = f"accounts[{number}]"
        if fold(account.id) in ids:
            raise _invalid_plan(label, f"{place}.id", f"the account {account.id} appears twice")
        ids.add(fold(account.id))
        if len(set(account.rows)) < len(account.rows) or not rows.isdisjoint(account.rows):
            raise _invalid_plan(label, f"{place}.rows", "a row appears twice")
        rows.update(account.rows)
        add, remove = ([fold(group.id) for group in groups] for groups in _group_lists(account))
        if len({*add, *remove}) < len(add) + len(remove):
            raise _invalid_plan(label, place, "a group appears twice")
        if not (add or remove) and _values(account).count(None) == len(current().keys):
            raise _invalid_plan(label, place, "the account has no changes")
        if (account.before is None) is not blind:
            message = "must be null in a blind plan, and must not be null in any other"
            raise _invalid_plan(label, f"{place}.before", message)
        yield account


def _group_lists(account: PlannedAccount) -> tuple[tuple[PlannedGroup, ...], tuple[PlannedGroup, ...]]:
    return account.groups_to_add, account.groups_to_remove


def _values(holder: object) -> tuple[Any, ...]:
    return tuple([getattr(holder, key) for key in current().keys])


# --- using


def precondition_of(account: PlannedAccount) -> Precondition:
    """Return the change of one account with the state that it was planned for."""
    add, remove = (tuple([sys.intern(group.id) for group in groups]) for groups in _group_lists(account))
    desired = DesiredState(account.id, account.name, _values(account), add, remove, None, account.rows)
    before = account.before
    if before is None:
        state = None
    else:
        # One string per group, not one per membership.
        held = None if before.group_ids is None else tuple([sys.intern(group) for group in before.group_ids])
        state = Account(account.id, account.name, _values(before), held)
    return Precondition(desired, state, description=account.changes)


def load_account(text: str) -> PlannedAccount:
    """Parse one account, as runs of versions up to 6 of the database schema have it in a cell."""
    return _types(current()).account_adapter.validate_json(text)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of plan files, as in ``docs/plan_file.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_types(current()).plan_adapter.json_schema()}
