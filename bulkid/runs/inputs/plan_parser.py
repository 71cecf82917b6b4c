"""Reading plan files. A user may have edited a file: every field is validated, and the file as a whole.

Files of version 1, which has only updates, and of version 2, which has no note, are read as well.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from bulkid.errors import SheetError
from bulkid.model import Account, Action, DesiredState, Group
from bulkid.planning.directory import is_everyone
from bulkid.planning.preconditions import Precondition
from bulkid.resources import current
from bulkid.runs.inputs.plan_format import (
    FORMAT,
    VERSION,
    PlanFile,
    PlannedAccount,
    PlannedGroup,
    PlannedNewGroup,
    plan_types,
    usable_name,
)
from bulkid.text import fold

UPDATES_ONLY: Final = 1
"""The version whose accounts have no action, since every one is an update."""

_NEW_COUNTS: Final = {"creating": 0, "deleting": 0}
_AGAIN = "Make the plan again: bulkid plan SOURCE --out FILE"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """The content of a plan file."""

    head: PlanFile  # without its accounts
    expected: list[Precondition]
    fingerprint: str
    group_names: Mapping[str, str]  # by folded id; those of the groups that the accounts join and leave

    @property
    def new_groups(self) -> tuple[Group, ...]:
        """The groups to create."""
        return tuple([Group(group.id, group.name) for group in self.head.new_groups])


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
    expected: list[Precondition] = []
    names: dict[str, str] = {}
    for account in _consistent(head, accounts, label):
        expected.append(precondition_of(account))
        names.update((fold(group.id), group.name) for groups in _group_lists(account) for group in groups)
    return LoadedPlan(head, expected, fingerprint, names)


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
    types = plan_types(current())
    found = orjson.loads(rest)
    head = types.plan_adapter.validate_json(_in_this_version(found) if _is_older(found) else rest)
    if head.accounts or rest.count(b'"accounts"') > 1:
        raise ValueError("the accounts appear twice")
    lines = BytesIO(data)
    lines.seek(start)
    adapter = types.update_adapter if found["version"] == UPDATES_ONLY else types.account_adapter
    return head, _accounts(adapter, takewhile(lambda line: not line.startswith(_CLOSING[1:]), lines))


def _is_older(found: object) -> bool:
    """Whether the JSON of a plan file says that it has an older version."""
    version = found.get("version") if isinstance(found, dict) else None
    return type(version) is int and UPDATES_ONLY <= version < VERSION


def _in_this_version(found: dict[str, Any]) -> bytes:
    """Turn the JSON of a plan file of an older version into that of this version. What is invalid stays so.

    Raises:
        ValueError: The file has fields of a newer version than its own.
    """
    version = found["version"]
    if "note" in found:
        raise ValueError(f"note: no plan of version {version} has such a field")
    upgraded = {**found, "version": VERSION, "note": ""}
    return orjson.dumps(_with_actions(upgraded) if version == UPDATES_ONLY else upgraded)


def _with_actions(found: dict[str, Any]) -> dict[str, Any]:
    """Add the fields that version 1 lacks: all its accounts are updates, and it has no new groups."""
    accounts, counts = found.get("accounts"), found.get("counts")
    if "new_groups" in found:
        raise ValueError("new_groups: no plan of version 1 has such a field")
    upgraded = {**found, "new_groups": []}
    if isinstance(counts, dict):
        if not counts.keys().isdisjoint(_NEW_COUNTS):
            raise ValueError("counts: no plan of version 1 counts creations or deletions")
        upgraded["counts"] = {**counts, **_NEW_COUNTS}
    if isinstance(accounts, list):
        upgraded["accounts"] = [_account_with_action(number, each) for number, each in enumerate(accounts)]
    return upgraded


def _account_with_action(number: int, found: object) -> object:
    if not isinstance(found, dict):
        return found
    before = found.get("before")
    if "action" in found or (isinstance(before, dict) and "last_login" in before):
        raise ValueError(f"accounts[{number}]: no plan of version 1 has an action or a last login")
    upgraded = {**found, "action": Action.UPDATE.value}
    if isinstance(before, dict):
        upgraded["before"] = {**before, "last_login": None}
    return upgraded


def _accounts(adapter: TypeAdapter[PlannedAccount], lines: Iterable[bytes]) -> Iterator[PlannedAccount]:
    more = True
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
        plan = plan_types(current()).plan_adapter.validate_json(data)
    except ValidationError as error:
        found = _require_format(data, label)  # only after an error: it parses all accounts once more
        if not _is_older(found):
            raise _as_sheet_error(error, label) from None
        plan = _load_older(found, label)
    for _ in _consistent(plan, plan.accounts, label):
        pass
    return plan


def _load_older(found: dict[str, Any], label: str) -> PlanFile:
    try:
        return plan_types(current()).plan_adapter.validate_json(_in_this_version(found))
    except ValidationError as error:
        raise _as_sheet_error(error, label) from None
    except ValueError as error:
        place, _, message = str(error).partition(": ")
        raise _invalid_plan(label, place, message) from None


def _as_sheet_error(error: ValidationError, label: str) -> SheetError:
    """Name the first place that is invalid, and why."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    extra = first["type"] == "unexpected_keyword_argument"
    message = "no plan has such a field" if extra else first["msg"].removeprefix("Value error, ")
    return _invalid_plan(label, _place(first["loc"]), message[:1].lower() + message[1:])


def _require_format(data: bytes, label: str) -> dict[str, Any]:
    """Return the JSON. Raise if the bytes are not a plan file at all, or if a newer bulkid wrote them."""
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
    return found


def _invalid_plan(label: str, place: str, message: str) -> SheetError:
    return SheetError(f"{label}: {place}: {message}.", hint=f"The file may have been edited. {_AGAIN}")


def _place(location: tuple[int | str, ...]) -> str:
    """Write a place in the file as ``accounts[3].rows[0]``, counted from 0."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _consistent(head: PlanFile, accounts: Iterable[PlannedAccount], label: str) -> Iterator[PlannedAccount]:
    """Yield the accounts of a plan. Raise a :class:`SheetError` if they, or its new groups, are inconsistent."""
    _require_distinct(head.new_groups, label)
    ids: set[str] = set()
    names: set[str] = set()  # of creations, which have no id
    rows: set[int] = set()
    for number, account in enumerate(accounts):
        place = f"accounts[{number}]"
        action = action_of(account)
        member, text, seen = ("name", account.name, names) if action is Action.CREATE else ("id", account.id, ids)
        if fold(text) in seen:
            raise _invalid_plan(label, f"{place}.{member}", f"the account {text} appears twice")
        seen.add(fold(text))
        if len(set(account.rows)) < len(account.rows) or not rows.isdisjoint(account.rows):
            raise _invalid_plan(label, f"{place}.rows", "a row appears twice")
        rows.update(account.rows)
        if problem := _PROBLEM_OF[action](account, blind=head.blind):
            raise _invalid_plan(label, f"{place}{problem[0]}", problem[1])
        yield account


def _require_distinct(new_groups: Iterable[PlannedNewGroup], label: str) -> None:
    ids: set[str] = set()
    names: set[str] = set()
    for number, group in enumerate(new_groups):
        for key, value, seen in (("id", group.id, ids), ("name", group.name, names)):
            if fold(value) in seen:
                raise _invalid_plan(label, f"new_groups[{number}].{key}", f"the group {value} appears twice")
            seen.add(fold(value))
        if is_everyone(group.name):
            raise _invalid_plan(label, f"new_groups[{number}].name", "the group Everyone always exists")


_Problem = tuple[str, str]
"""A place within an account (``.before``), and what is wrong there."""


def _problem_of_update(account: PlannedAccount, *, blind: bool) -> _Problem | None:
    if not account.id:
        return ".id", "is not an id"
    add, remove = ([fold(group.id) for group in groups] for groups in _group_lists(account))
    if len({*add, *remove}) < len(add) + len(remove):
        return "", "a group appears twice"
    if not (add or remove) and _values(account).count(None) == len(current().keys):
        return "", "the account has no changes"
    if (account.before is None) is not blind:
        return ".before", "must be null in a blind plan, and must not be null in any other"
    if account.before is not None and getattr(account.before, "last_login", None) is not None:
        return ".before.last_login", "must be null in an update"
    return None


def _problem_of_creation(account: PlannedAccount, *, blind: bool) -> _Problem | None:
    try:
        usable_name(account.name)
    except ValueError as error:
        return ".name", str(error)
    for place, is_wrong, message in (
        (".action", blind, "a blind plan creates no accounts"),
        (".id", account.id, "must be empty in a creation"),
        (".before", account.before is not None, "must be null in a creation"),
        (".groups_to_remove", account.groups_to_remove, "must be empty in a creation"),
    ):
        if is_wrong:
            return place, message
    add = [fold(group.id) for group in account.groups_to_add]
    return ("", "a group appears twice") if len(set(add)) < len(add) else None


def _problem_of_deletion(account: PlannedAccount, *, blind: bool) -> _Problem | None:
    before = account.before
    for place, is_wrong, message in (
        (".action", blind, "a blind plan deletes no accounts"),
        (".id", not account.id, "is not an id"),
        (".before", before is None, "must not be null in a deletion"),
        (".before.last_login", before is not None and before.last_login is None, "must not be null in a deletion"),
        ("", any(_group_lists(account)), "a deletion changes no groups"),
        ("", _values(account).count(None) < len(current().keys), "a deletion changes no fields"),
    ):
        if is_wrong:
            return place, message
    return None


_PROBLEM_OF: Final = {
    Action.UPDATE: _problem_of_update,
    Action.CREATE: _problem_of_creation,
    Action.DELETE: _problem_of_deletion,
}


def action_of(account: PlannedAccount) -> Action:
    """Return what a plan does with an account; those of version 1 have no action."""
    return Action(getattr(account, "action", Action.UPDATE))


def _group_lists(account: PlannedAccount) -> tuple[tuple[PlannedGroup, ...], tuple[PlannedGroup, ...]]:
    return account.groups_to_add, account.groups_to_remove


def _values(holder: object) -> tuple[Any, ...]:
    return tuple([getattr(holder, key) for key in current().keys])


def precondition_of(account: PlannedAccount) -> Precondition:
    """Return the change of one account with the state that it was planned for."""
    add, remove = (tuple([sys.intern(group.id) for group in groups]) for groups in _group_lists(account))
    values = _values(account)
    if values == current().nothing:
        values = current().nothing  # one tuple for all accounts whose fields stay as they are
    desired = DesiredState(account.id, account.name, values, add, remove, None, account.rows, action_of(account))
    before = account.before
    if before is None:
        state = None
    else:
        # One string per group, not one per membership.
        held = None if before.group_ids is None else tuple([sys.intern(group) for group in before.group_ids])
        last_login = getattr(before, "last_login", None) or ""
        state = Account(account.id, account.name, _values(before), held, last_login=last_login)
    return Precondition(desired, state, description=account.changes)


def load_account(text: str) -> PlannedAccount:
    """Parse one account, as runs of versions up to 6 of the database schema have it in a cell."""
    return plan_types(current()).update_adapter.validate_json(text)
