"""The calls of the API, each from what the request carries to an answer. No sockets here.

Order of refusal, as a pipeline of filters gives it: token, scope, form of the body, organisation, existence, rules.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from bulkid.model import EVERYONE
from bulkid.sandbox.fixtures import created_id
from bulkid.sandbox.messages import (
    RefusalError,
    SandboxResponse,
    abp,
    check_partition,
    deletion_list,
    id_list,
    json_object,
    message,
    nested,
    ok,
    problem,
    query_fields,
    query_number,
    required_text,
    status_code,
    taken,
    text_field,
)
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import SORT_KEYS, AccountRecord, GroupRecord, Organization, moment

MAX_PAGE = 1000
DEFAULT_PAGE = 10
_NO_LIMIT = 2**31 - 1
_NOT_FOUND = 1002
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LOCKED = {
    400: "Your request is not valid.",
    401: "You are not authenticated!",
    403: "You are not authorized!",
}
"""What the refusal of a poisoned account says, by its status."""

_DELETED = SandboxResponse(204, applied=True)
_Record = TypeVar("_Record", AccountRecord, GroupRecord)


class Arguments(NamedTuple):
    """What a call works on."""

    state: Organization
    options: SandboxOptions
    ids: tuple[str, ...]  # the segments of the path that vary
    query: str
    content_type: str
    body: bytes
    now: float  # seconds since 1970 on the sandbox's clock


class Call(NamedTuple):
    """One call of the API: who may, and what it does."""

    scopes: tuple[str, ...]  # any of them will do
    run: Callable[[Arguments], SandboxResponse]
    names_organization: bool = False  # whether the first id of the path is the organisation
    subject: int | None = None  # which id of the path is a robot account
    names: str = ""  # the field of the body that tells requests with the same path apart


# --- robot accounts


def list_accounts(call: Arguments) -> SandboxResponse:
    """``GET api/RobotAccount/{organisation}``: a page of accounts and how many there are in all."""
    fields = query_fields(call.query)
    top = query_number(fields, "top", DEFAULT_PAGE, MAX_PAGE)
    skip = query_number(fields, "skip", 0, _NO_LIMIT)
    sort_by = fields.get("sortby", "").lower()
    order = fields.get("sortorder", "asc").lower()
    if sort_by and sort_by not in SORT_KEYS:
        raise RefusalError(problem({"sortBy": [f"The value '{fields['sortby']}' is not valid."]}))
    if order not in ("asc", "desc", "ascending", "descending"):
        raise RefusalError(problem({"sortOrder": [f"The value '{fields['sortorder']}' is not valid."]}))
    found = call.state.listing(fields.get("searchterm", ""), sort_by, descending=order.startswith("desc"))
    total, shown = len(found), found[skip : skip + min(top, call.options.page_cap)]
    page = [call.state.account_dto(account) for account in shown]
    if shown and call.state.vanished < call.options.vanishing and not fields.get("searchterm"):
        call.state.vanished += 1
        call.state.delete(shown[0].id)
    if call.options.group_ids != "told":
        for account in page:
            account["groupIds"] = None
    return ok({"totalCount": total, "results": page})


def get_account(call: Arguments) -> SandboxResponse:
    """``GET api/RobotAccount/{organisation}/{account}``."""
    if call.options.guids_only and not _GUID.fullmatch(call.ids[1]):
        raise RefusalError(problem({"robotAccountId": [f"The value '{call.ids[1]}' is not valid."]}))
    return ok(_account_dto(call, _account(call, call.ids[1])))


def update_account(call: Arguments) -> SandboxResponse:
    """``PUT api/RobotAccount/{account}``: display name and membership; repeating it changes nothing more."""
    body = json_object(call.content_type, call.body)
    display_name = text_field(body, "displayName")
    to_add, to_remove = id_list(body, "groupIDsToAdd"), id_list(body, "groupIDsToRemove")
    check_partition(body, call.options.organization_id)
    account = _account(call, call.ids[0])
    _check_unlocked(call, account)
    joined, left = _groups(call, to_add, to_remove)
    if display_name is not None or call.options.absent_display_name == "blank":
        call.state.rename(account, display_name)
    call.state.join(account, joined)
    call.state.leave(account, left)
    return ok(_account_dto(call, account), applied=True)


def create_account(call: Arguments) -> SandboxResponse:
    """``POST api/RobotAccount``: one account, in the groups that the body names. Repeating it is refused."""
    body = json_object(call.content_type, call.body)
    name, display_name = required_text(body, "name"), text_field(body, "displayName")
    to_add = id_list(body, "groupIDsToAdd")
    check_partition(body, call.options.organization_id)
    joined, _ = _groups(call, to_add, [])
    if call.state.has_account_named(name):
        raise RefusalError(taken(call.options.taken_name, "robot account", name))
    account_id = created_id(call.options.seed, call.state.created)
    account = AccountRecord(account_id, name, display_name, _now(call), None)
    call.state.create(account)
    call.state.join(account, joined)
    return ok(_account_dto(call, account), applied=True, status=201)


def delete_account(call: Arguments) -> SandboxResponse:
    """``DELETE api/RobotAccount/{organisation}/{account}``: one account."""
    account = _account(call, call.ids[1])
    _check_unlocked(call, account)
    call.state.delete(account.id)
    return _DELETED


def delete_accounts(call: Arguments) -> SandboxResponse:
    """``DELETE api/RobotAccount/{organisation}``: the accounts that the body names, all of them or none."""
    body = json_object(call.content_type, call.body)
    ids = deletion_list(body, "robotAccountIDs", call.options.max_deletions)
    to_delete = _found(call, ids, call.state.accounts)
    locked = [call.state.poisoned[account.id] for account in to_delete if account.id in call.state.poisoned]
    if locked:  # which one it is, a client has to find out
        raise RefusalError(abp(max(locked), _LOCKED[max(locked)], "A robot account is locked."))
    for account in to_delete:
        call.state.delete(account.id)
    return _DELETED


def _found(call: Arguments, ids: Iterable[str], known: Mapping[str, _Record]) -> list[_Record]:
    """What a bulk DELETE names, each once. The refusal of an unknown id does not say which one it is."""
    wanted = dict.fromkeys(each.casefold() for each in ids)
    if call.options.unknown_deletion == "refuse" and not wanted.keys() <= known.keys():
        raise RefusalError(message(404, "One or more of the entities to delete were not found.", _NOT_FOUND))
    return [known[each] for each in wanted if each in known]


def _check_unlocked(call: Arguments, account: AccountRecord) -> None:
    status = call.state.poisoned.get(account.id)
    if status is not None:
        raise RefusalError(abp(status, _LOCKED[status], f"Robot account '{account.name}' is locked."))


def _account_dto(call: Arguments, account: AccountRecord) -> dict[str, Any]:
    dto = call.state.account_dto(account)
    if call.options.group_ids == "null":
        dto["groupIds"] = None
    return dto


def _account(call: Arguments, account_id: str) -> AccountRecord:
    try:
        return call.state.account(account_id)
    except KeyError:
        raise RefusalError(message(404, f"Robot account '{account_id}' was not found.", _NOT_FOUND)) from None


def _groups(
    call: Arguments, to_add: Iterable[str], to_remove: Iterable[str]
) -> tuple[list[GroupRecord], list[GroupRecord]]:
    """The groups to join and to leave; a request with one bad id is refused as a whole."""
    known = call.state.groups
    joined = [known.get(group_id.casefold()) for group_id in to_add]
    left = [known.get(group_id.casefold()) for group_id in to_remove]
    if None in joined or None in left:
        bad = [group_id for group_id in (*to_add, *to_remove) if group_id.casefold() not in known]
        raise RefusalError(nested(400, [("GroupNotFound", f"Group '{item}' does not exist.") for item in bad]))
    if call.state.everyone in left:
        raise RefusalError(_everyone_stays())
    both = [group.name for group in joined if group in left and group]
    if both:
        raise RefusalError(abp(400, "Your request is not valid.", f"Group '{both[0]}' is both added and removed."))
    return [group for group in joined if group], [group for group in left if group]


def _everyone_stays() -> SandboxResponse:
    return status_code(400, "BadRequest", f"Members cannot be removed from the group '{EVERYONE}'.")


# --- groups


def list_groups(call: Arguments) -> SandboxResponse:
    """``GET api/Group/{organisation}``: all groups in a plain list, without members."""
    return ok([_group_dto(call, group) for group in call.state.groups.values()])


def get_group(call: Arguments) -> SandboxResponse:
    """``GET api/Group/{organisation}/{group}``: one group with its members."""
    group = _group(call, call.ids[1])
    return ok(_group_dto(call, group, call.state.members(group)))


def list_members(call: Arguments) -> SandboxResponse:
    """``GET api/Group/{organisation}/{group}/Members``: a page of its members and how many there are in all."""
    fields = query_fields(call.query)
    top = query_number(fields, "top", DEFAULT_PAGE, MAX_PAGE)
    skip = query_number(fields, "skip", 0, _NO_LIMIT)
    members = call.state.members(_group(call, call.ids[1]))
    page = members[skip : skip + min(top, call.options.page_cap)]
    return ok({"totalCount": len(members), "results": call.state.members_dto(page)})


def update_group(call: Arguments) -> SandboxResponse:
    """``PUT api/Group/{group}``: its name, and members to add and to remove. The answer does not list members."""
    body = json_object(call.content_type, call.body)
    name = required_text(body, "name")
    to_add, to_remove = id_list(body, "directoryUserIDsToAdd"), id_list(body, "directoryUserIDsToRemove")
    _check_size(call, len(to_add) + len(to_remove))
    check_partition(body, call.options.organization_id)
    group = _group(call, call.ids[0])
    if call.options.built_in_refuses and group.type == "builtIn":
        raise RefusalError(abp(400, "Your request is not valid.", f"The group '{group.name}' cannot be updated."))
    joining, leaving = _members(call, to_add, to_remove)
    if leaving and group is call.state.everyone:
        raise RefusalError(_everyone_stays())
    _rename_group(call, group, name)
    for account in joining:
        call.state.join(account, [group])
    for account in leaving:
        call.state.leave(account, [group])
    group.modified = _now(call)
    return ok(_group_dto(call, group), applied=True)


def create_group(call: Arguments) -> SandboxResponse:
    """``POST api/Group``: one group with its members, under the id that the client made."""
    body = json_object(call.content_type, call.body)
    group_id, name = required_text(body, "id"), required_text(body, "name")
    if not _GUID.fullmatch(group_id):
        raise RefusalError(problem({"$.id": [f"The JSON value '{group_id}' could not be converted to System.Guid."]}))
    member_ids = id_list(body, "directoryUserMemberIDs")
    _check_size(call, len(member_ids))
    check_partition(body, call.options.organization_id)
    if group_id.casefold() in call.state.groups:
        raise RefusalError(taken(call.options.taken_name, "group", group_id))
    if call.state.has_group_named(name):
        raise RefusalError(taken(call.options.taken_name, "group", name))
    members, _ = _members(call, member_ids, [])
    now = _now(call)
    group = GroupRecord(group_id.lower(), name, "custom", now, now)
    call.state.create_group(group)
    for account in members:
        call.state.join(account, [group])
    return ok(_group_dto(call, group, members), applied=True, status=201)


def delete_group(call: Arguments) -> SandboxResponse:
    """``DELETE api/Group/{organisation}/{group}``: one group; its members stay."""
    return _delete_groups(call, [_group(call, call.ids[1])])


def delete_groups(call: Arguments) -> SandboxResponse:
    """``DELETE api/Group/{organisation}``: the groups that the body names, all of them or none."""
    body = json_object(call.content_type, call.body)
    ids = deletion_list(body, "groupIDs", call.options.max_deletions)
    return _delete_groups(call, _found(call, ids, call.state.groups))


def _delete_groups(call: Arguments, to_delete: list[GroupRecord]) -> SandboxResponse:
    built_in = [group.name for group in to_delete if group.type == "builtIn"]
    if built_in:
        raise RefusalError(status_code(400, "BadRequest", f"The built-in group '{built_in[0]}' cannot be deleted."))
    call.state.delete_groups(to_delete)
    return _DELETED


def _check_size(call: Arguments, members: int) -> None:
    most = call.options.max_members_per_put
    if most and members > most:
        raise RefusalError(SandboxResponse(413))


def _group_dto(call: Arguments, group: GroupRecord, members: Iterable[AccountRecord] | None = None) -> dict[str, Any]:
    dto = call.state.group_dto(group, members)
    if call.options.empty_members:
        dto["members"] = []
    if call.options.numeric_types != "no":
        number = 0 if group.type == "builtIn" else 1
        dto["type"] = str(number) if call.options.numeric_types == "text" else number
    return dto


def _group(call: Arguments, group_id: str) -> GroupRecord:
    try:
        return call.state.group(group_id)
    except KeyError:
        raise RefusalError(message(404, f"Group '{group_id}' was not found.", _NOT_FOUND)) from None


def _members(
    call: Arguments, to_add: list[str], to_remove: list[str]
) -> tuple[list[AccountRecord], list[AccountRecord]]:
    """The accounts that join and that leave a group; one that is unknown or poisoned refuses the whole request."""
    known = call.state.accounts
    bad = [member for member in (*to_add, *to_remove) if member.casefold() not in known]
    if bad and call.options.bad_member == "refuse":
        raise RefusalError(
            nested(400, [("UserNotFound", f"Directory user '{member}' does not exist.") for member in bad])
        )
    joining = list({member: known[member] for member in map(str.casefold, to_add) if member in known}.values())
    leaving = list({member: known[member] for member in map(str.casefold, to_remove) if member in known}.values())
    joining_ids, leaving_ids = {account.id for account in joining}, {account.id for account in leaving}
    both = joining_ids & leaving_ids
    if both:
        raise RefusalError(abp(400, "Your request is not valid.", f"Member '{min(both)}' is both added and removed."))
    statuses = [call.state.poisoned[each] for each in joining_ids | leaving_ids if each in call.state.poisoned]
    if statuses:  # which one it was, a client has to find out
        why = [("MembershipNotUpdated", "A directory user's membership cannot be changed.")]
        raise RefusalError(nested(max(statuses), why))
    return joining, leaving


def _rename_group(call: Arguments, group: GroupRecord, name: str) -> None:
    """The name that a group PUT carries becomes the group's name: leaving a change out is the client's business."""
    if name == group.name:
        return
    if group.type == "builtIn":
        raise RefusalError(status_code(400, "BadRequest", f"The built-in group '{group.name}' cannot be renamed."))
    if name.casefold() != group.name.casefold() and call.state.has_group_named(name):
        raise RefusalError(abp(409, f"A group named '{name}' already exists."))
    call.state.rename_group(group, name)


# --- which call a path and a method mean

_READ_ACCOUNTS = ("PM.RobotAccount", "PM.RobotAccount.Read")
_WRITE_ACCOUNTS = ("PM.RobotAccount", "PM.RobotAccount.Write")
_READ_GROUPS = ("PM.Group", "PM.Group.Read")
_WRITE_GROUPS = ("PM.Group", "PM.Group.Write")

CALLS: Mapping[tuple[str, int], Mapping[str, Call]] = {
    ("robotaccount", 0): {"POST": Call(_WRITE_ACCOUNTS, create_account, names="name")},
    ("robotaccount", 1): {
        "GET": Call(_READ_ACCOUNTS, list_accounts, names_organization=True),
        "PUT": Call(_WRITE_ACCOUNTS, update_account, subject=0),
        "DELETE": Call(_WRITE_ACCOUNTS, delete_accounts, names_organization=True, names="robotAccountIDs"),
    },
    ("robotaccount", 2): {
        "GET": Call(_READ_ACCOUNTS, get_account, names_organization=True, subject=1),
        "DELETE": Call(_WRITE_ACCOUNTS, delete_account, names_organization=True, subject=1),
    },
    ("group", 0): {"POST": Call(_WRITE_GROUPS, create_group, names="name")},
    ("group", 1): {
        "GET": Call(_READ_GROUPS, list_groups, names_organization=True),
        "PUT": Call(_WRITE_GROUPS, update_group),
        "DELETE": Call(_WRITE_GROUPS, delete_groups, names_organization=True, names="groupIDs"),
    },
    ("group", 2): {
        "GET": Call(_READ_GROUPS, get_group, names_organization=True),
        "DELETE": Call(_WRITE_GROUPS, delete_group, names_organization=True),
    },
    ("group", 3): {"GET": Call(_READ_GROUPS, list_members, names_organization=True)},
}
"""Calls by resource (lower case) and number of ids in the path, then by method."""


def _now(call: Arguments) -> str:
    return moment(int(call.now), int(call.now % 1 * 10_000_000))
