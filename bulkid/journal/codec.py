"""Turns the types of ``model.py`` into columns and back. The only module that knows the JSON inside the tables."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import orjson

from bulkid.model import (
    RETRY_STATUSES,
    UPDATE,
    Account,
    Action,
    DesiredState,
    Outcome,
    ReportRow,
    RowError,
    RunItem,
    RunRecord,
    RunStatus,
    SheetRow,
    Status,
    Via,
    new_tuple,
)
from bulkid.resources import current

RUN_FIELDS = tuple(field.name for field in fields(RunRecord))
_MAPPINGS = frozenset({"sheet", "options", "counters"})

_STATUS: Mapping[str, Status] = {status.value: status for status in Status}
_ACTION: Mapping[str | None, Action] = {None: Action.UPDATE, **{action.value: action for action in Action}}
_VIA: Mapping[str | None, Via | None] = {None: None, **{via.value: via for via in Via}}

ROW_COLUMNS = ("run", "row", "cells", "account_id", "name", "faults")
PLANNED_COLUMNS = ("run", "entry", "account_id", "name", "wish", "before", "changes")
OUTCOME_COLUMNS = ("status", "http_status", "error_code", "error", "attempts", "via", "finished_at")
ENTRY_COLUMNS = (*PLANNED_COLUMNS, "intended_at", *OUTCOME_COLUMNS)


PENDING = Outcome(Status.PENDING)
"""What is known of an account that nothing was sent for yet."""


def dumps(value: object) -> str:
    """Write JSON. Broken surrogates are replaced; mappings and sequences of any type are taken."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(_clean(value), default=_plain).decode()


def storable(value: object) -> object:
    """Replace by U+FFFD what a database may not take in a text; anything else stays as it is.

    That is half a surrogate pair, from a broken cell or answer, and the character U+0000, which PostgreSQL refuses.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    return value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError


def _clean(value: object) -> object:
    if isinstance(value, Mapping):
        return {storable(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return storable(value)


# --- runs


def run_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn fields of a ``RunRecord`` into columns.

    Raises:
        ValueError: A field that ``RunRecord`` does not have.
    """
    unknown = sorted(set(values) - set(RUN_FIELDS))
    if unknown:
        raise ValueError(f"a run has no field {', '.join(unknown)}")
    return {
        name: dumps(value) if name in _MAPPINGS else storable(str(value) if name == "status" else value)
        for name, value in values.items()
    }


def run_record(columns: Sequence[Any]) -> RunRecord:
    """Turn the columns ``RUN_FIELDS`` into a ``RunRecord``."""
    values = dict(zip(RUN_FIELDS, columns, strict=True))
    values["status"] = RunStatus(values["status"])
    for name in _MAPPINGS:
        values[name] = orjson.loads(values[name])
    return RunRecord(**values)


# --- rows


def row_values(run: int, rows: Iterable[SheetRow]) -> list[tuple[Any, ...]]:
    """Turn rows of the sheet into ``ROW_COLUMNS``."""
    return [
        (
            run,
            row,
            dumps(cells),
            account_id if request is None else request.account_id,
            name if request is None else request.name,
            dump_row_errors(row_errors) if row_errors else None,
        )
        for row, cells, request, row_errors, account_id, name in rows
    ]


def dump_row_errors(row_errors: Sequence[RowError]) -> str:
    """Write the errors of one row as JSON."""
    return dumps([(each.column, each.value, each.code, each.message) for each in row_errors])


def load_row_errors(row: int, *texts: str | None) -> tuple[RowError, ...]:
    """Read the errors of one row, the first found first, each once."""
    found = [RowError(row, *parts) for text in texts if text for parts in orjson.loads(text)]
    return tuple(dict.fromkeys(found))


def load_cells(text: str) -> tuple[str, ...]:
    """Read the cells of one row."""
    return tuple(orjson.loads(text))


# --- items


def planned_values(run: int, items: Iterable[RunItem]) -> list[tuple[Any, ...]]:
    """Turn items into ``PLANNED_COLUMNS``: without what has come of them.

    What is not requested of an account is left out of its JSON. In one loop, since each call in it would take longer
    than the JSON.
    """
    resource, found = current(), []
    keys, nothing = resource.keys, resource.nothing
    for number, desired, before, changes, _, _ in items:
        account_id, name, values, add, remove, exact, rows, action = desired
        written: dict[str, object] = {"rows": rows}
        if values != nothing:
            written["values"] = _by_key(keys, values)
        if add:
            written["add"] = add
        if remove:
            written["remove"] = remove
        if exact is not None:
            written["exact"] = exact
        if action is not UPDATE:
            written["action"] = action.value
        state = None
        if before is not None:
            id_before, name_before, values, group_ids, _, last_login = before
            kept: dict[str, object] = {"values": _by_key(keys, values), "groups": group_ids}
            # Id and name mostly repeat the desired state's. A deletion alone needs the last login, none the creation.
            if id_before != account_id:
                kept["id"] = id_before
            if name_before != name:
                kept["name"] = name_before
            if last_login and action is Action.DELETE:
                kept["last_login"] = last_login
            state = dumps(kept)
        found.append((run, number, account_id, name, dumps(written), state, changes))
    return found


def _by_key(keys: tuple[str, ...], values: tuple[str | None, ...]) -> dict[str, str]:
    """Give the values that are not None, by their keys."""
    if len(keys) == 1:  # as robot accounts have: half the time
        return {} if values[0] is None else {keys[0]: values[0]}
    return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


def item_values(run: int, items: Sequence[RunItem]) -> list[tuple[Any, ...]]:
    """Turn items into ``ENTRY_COLUMNS``."""
    return [
        (*planned, 0.0 if item.intended else None, *outcome_values(item.outcome))
        for planned, item in zip(planned_values(run, items), items, strict=True)
    ]


def item_of(columns: Sequence[Any]) -> RunItem:
    """Turn ``ENTRY_COLUMNS`` (without the run) into an item."""
    *planned, intended_at = columns[: len(PLANNED_COLUMNS)]
    return planned_item(planned)._replace(
        outcome=_outcome(tuple(columns[len(PLANNED_COLUMNS) :])), intended=intended_at is not None
    )


def planned_item(columns: Sequence[Any]) -> RunItem:
    """Turn ``PLANNED_COLUMNS`` (without the run) into an item that nothing has come of yet."""
    number, account_id, name, desired_text, before, changes = columns
    found = orjson.loads(desired_text)
    exact = found.get("exact")
    desired = DesiredState(
        account_id=account_id,
        name=name,
        values=_values(found.get("values")),
        add=_shared(found.get("add", ())),
        remove=_shared(found.get("remove", ())),
        exact=None if exact is None else _shared(exact),
        rows=tuple(found["rows"]),
        action=_ACTION[found.get("action")],
    )
    return RunItem(number, desired, _load_before(before, desired), changes, PENDING)


def pack_items(items: Sequence[RunItem]) -> str:
    """Write items that nothing has come of yet as one JSON text, in a third of the time of `planned_values`."""
    packed = {
        "desired": DesiredState._fields,
        "before": Account._fields,
        "values": current().keys,
        "items": [(number, desired, before, changes) for number, desired, before, changes, _, _ in items],
    }
    try:
        return orjson.dumps(packed, default=tuple).decode()
    except orjson.JSONEncodeError:  # half a surrogate pair
        return dumps(packed)


def unpack_items(text: str) -> list[RunItem]:
    """Read what `pack_items` wrote."""
    found = orjson.loads(text)
    desired_fields, before_fields, keys = found["desired"], found["before"], found["values"]

    def with_tuples(kept: dict[str, Any], *lists: str) -> dict[str, Any]:
        kept["values"] = _values(dict(zip(keys, kept["values"], strict=True)))
        return kept | {name: _shared(kept[name]) for name in lists if kept[name] is not None}

    items = []
    for number, desired, before, changes in found["items"]:
        wanted = with_tuples(dict(zip(desired_fields, desired, strict=True)), "add", "remove", "exact")
        wanted |= {"rows": tuple(wanted["rows"]), "action": _ACTION[wanted["action"]]}
        state = with_tuples(dict(zip(before_fields, before, strict=True)), "group_ids") if before else None
        items.append(
            RunItem(number, DesiredState(**wanted), None if state is None else Account(**state), changes, PENDING)
        )
    return items


def _values(found: Mapping[str, str] | None) -> tuple[str | None, ...]:
    """Give values in the order of the resource's fields; None for a field that the run did not know yet."""
    resource = current()
    return tuple([found.get(key) for key in resource.keys]) if found else resource.nothing


def _shared(group_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of groups, each as one string however many items name it: 100,000 name the same few."""
    return tuple([sys.intern(group_id) for group_id in group_ids])


def _load_before(text: str | None, desired: DesiredState) -> Account | None:
    if text is None:
        return None
    found = orjson.loads(text)
    group_ids = found["groups"]
    return Account(
        id=found.get("id", desired.account_id),
        name=found.get("name", desired.name),
        values=_values(found["values"]),
        group_ids=None if group_ids is None else _shared(group_ids),
        last_login=found.get("last_login", ""),
    )


def outcome_values(outcome: Outcome) -> tuple[Any, ...]:
    """Turn an outcome into ``OUTCOME_COLUMNS``."""
    return (
        outcome.status._value_,  # what ``value`` gives, five times as fast
        outcome.http_status,
        outcome.error_code,
        outcome.error,
        outcome.attempts,
        None if outcome.via is None else outcome.via._value_,
        outcome.finished_at,
    )


@lru_cache(maxsize=64)
def _outcome(columns: tuple[Any, ...]) -> Outcome:
    """An outcome; equal ones are one object, such as those of all accounts that nothing was sent for yet."""
    status, http_status, error_code, error, attempts, via, finished_at = columns
    return Outcome(_STATUS[status], http_status, error_code, error, attempts, _VIA[via], finished_at)


# --- items as version 5 of the schema wrote them


def keyed_entry(desired_text: str, before: str | None) -> tuple[str, str | None]:
    """Turn the JSON of an item from lists (version 5) into objects."""
    display_name, add, remove, exact, rows = orjson.loads(desired_text)
    desired = {"rows": rows, "add": add, "remove": remove, "exact": exact}
    if display_name is not None:
        desired["values"] = {"display_name": display_name}
    kept = {name: value for name, value in desired.items() if value is not None and value != []}
    if exact is not None:
        kept["exact"] = exact  # an empty list takes the account out of all groups
    if before is None:
        return dumps(kept), None
    account_id, name, display_before, group_ids = orjson.loads(before)
    state = {"values": {"display_name": display_before}, "groups": group_ids}
    given = {key: value for key, value in (("id", account_id), ("name", name)) if value is not None}
    return dumps(kept), dumps({**state, **given})


# --- the report


def report_rows(found: Iterable[Sequence[Any]], run_message: str) -> list[ReportRow]:
    """Turn rows, each with its item, if any, into lines of the report.

    One loop, which leaves the cells of rows that are done alone, takes half the time of a call for each row.

    Args:
        found: Row, cells, account id, name, row errors, plan errors; then of the item: account id (None: no item),
            name, changes and ``OUTCOME_COLUMNS``.
        run_message: Why the run ended early: the error of rows that are still pending.
    """
    lines = []
    for columns in found:
        row, _, _, row_name, row_errors, plan_errors, account_id, name, changes, status, *outcome = columns
        if status is None or status in RETRY_STATUSES or row_errors is not None or plan_errors is not None:
            lines.append(_row_to_retry(columns, run_message))
            continue
        if status == Status.UNCHANGED:
            changes = ""  # another client has made what the run was to change
        http_status, code, error, attempts, via, finished_at = outcome
        name, status, via = name or row_name, _STATUS[status], _VIA[via]
        lines.append(
            new_tuple(
                ReportRow,
                (row, account_id, name, status, changes, http_status, code, error, attempts, via, finished_at, ()),
            )
        )
    return lines


def _row_to_retry(columns: Sequence[Any], run_message: str) -> ReportRow:
    """Turn a row that is not done into a line of the report, with its cells for ``retry.csv``."""
    row, cells, row_account, row_name, row_errors, plan_errors, account_id, name, changes, *outcome = columns
    input_cells = tuple(orjson.loads(cells))
    if row_errors is not None or plan_errors is not None:
        found = load_row_errors(row, row_errors, plan_errors)
        code, text = found[0].code, row_error_text(found)
        return ReportRow(row, row_account, row_name, Status.INVALID, error_code=code, error=text, cells=input_cells)
    if account_id is None:
        return ReportRow(row, row_account, row_name, Status.PENDING, error=run_message, cells=input_cells)
    status, http_status, code, error, attempts, via, finished_at = outcome
    if status == Status.PENDING:
        error, via = error or run_message, None  # it is not known what will carry an item that is only intended
    account = account_id, name or row_name, _STATUS[status], changes
    return ReportRow(row, *account, http_status, code, error, attempts, _VIA[via], finished_at, input_cells)


def row_error_text(row_errors: Sequence[RowError]) -> str:
    """Join the errors of one row into one cell of the report."""
    return " | ".join(f"{each.column}: {each.message}" if each.column else each.message for each in row_errors)
