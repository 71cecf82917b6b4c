"""The calls of the Identity API: builds requests and reads answers, and sends none.

Paths, parameters and fields are those of the vendor's API guide and OpenAPI document ("IdentityServer External API").
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from bulkid.consume import consume
from bulkid.errors import ConnectionFailedError
from bulkid.identity.responses import safe_text
from bulkid.model import Account, Change, Group, Request, new_tuple
from bulkid.resources import current

MAX_PAGE = 1000  # accounts that one GET lists at most

_GROUP_KEYS = ("id", "name", "type")  # of a GroupDto; its members are left alone
_TEXT = frozenset({str})
_LIST_OR_NULL = frozenset({list, type(None)})
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_PLAIN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.{1,2}(?:[/\\]|$)")


class UnexpectedResponseError(ConnectionFailedError):
    """A JSON answer of another shape than the API's: an incompatible version, or not an Identity Server."""


class Page(NamedTuple):
    """One page of the list of accounts."""

    total: int  # accounts that match, over all pages
    accounts: tuple[Account, ...]  # in the server's order


# --- requests


def list_accounts(organization_id: str, skip: int = 0, top: int = MAX_PAGE, search: str | None = None) -> Request:
    """List ``top`` accounts (1 to ``MAX_PAGE``) after ``skip``, in the order of their names.

    Names are unique and never change, so that pages do not shift. With ``search`` the server lists only accounts that
    it finds by this term.
    """
    if not (0 < top <= MAX_PAGE and skip >= 0):
        raise ValueError(f"no such page: {top} accounts after {skip}")
    term = f"&searchTerm={_quoted(search)}" if search else ""
    query = f"top={top}&skip={skip}&sortBy=name&sortOrder=asc{term}"
    return Request("GET", f"{current().endpoint}/{_segment(organization_id)}?{query}")


def get_account(organization_id: str, account_id: str) -> Request:
    """Read one account."""
    return Request("GET", f"{current().endpoint}/{_segment(organization_id)}/{_segment(account_id)}")


def put_account(organization_id: str, change: Change) -> Request:
    """Change one account's fields and groups. Safe to repeat.

    The properties stand in the order of the vendor's example. A field is left out only where its value is not known
    (blind): whether the server then keeps or blanks it is not documented.
    """
    resource = current()
    fields: dict[str, Any] = {"partitionGlobalId": organization_id}
    for field, value in zip(resource.fields, change.values, strict=True):
        if value is not None:
            fields[field.property] = field.encode(value)
    fields["groupIDsToAdd"] = change.add
    fields["groupIDsToRemove"] = change.remove
    return Request("PUT", f"{resource.endpoint}/{_segment(change.account_id)}", _body(fields))


def create_account(organization_id: str, change: Change) -> Request:
    """Create the account of a creation with its values and groups. The server makes the id.

    A field without a value is left out. To send it twice is not the same as once: the name is taken by then.
    """
    resource = current()
    fields: dict[str, Any] = {"partitionGlobalId": organization_id, "name": change.name}
    for field, value in zip(resource.fields, change.values, strict=True):
        if value:
            fields[field.property] = field.encode(value)
    fields["groupIDsToAdd"] = change.add
    return Request("POST", resource.endpoint, _body(fields), idempotent=False)


def delete_accounts(organization_id: str, account_ids: Sequence[str]) -> Request:
    """Delete accounts by their ids. Safe to repeat, although a server may refuse ids that are gone."""
    fields = {"robotAccountIDs": list(account_ids)}
    return Request("DELETE", f"{current().endpoint}/{_segment(organization_id)}", _body(fields))


def list_groups(organization_id: str) -> Request:
    """List all groups of the organisation; the server does not page them."""
    return Request("GET", f"api/Group/{_segment(organization_id)}", keys=_GROUP_KEYS)


def put_group(organization_id: str, group: Group, add: Sequence[str], remove: Sequence[str]) -> Request:
    """Add accounts to and remove accounts from one group, by their ids. Safe to repeat.

    The group's name is always sent as it is at present: a group PUT carries it, and whether one without it keeps the
    name is not documented. No limit to the number of ids is documented either; the caller bounds it.
    """
    fields = {
        "partitionGlobalId": organization_id,
        "name": group.name,
        "directoryUserIDsToAdd": list(add),
        "directoryUserIDsToRemove": list(remove),
    }
    return Request("PUT", f"api/Group/{_segment(group.id)}", _body(fields))


def create_group(organization_id: str, group: Group, members: Sequence[str]) -> Request:
    """Create a group, whose id the client has made, with accounts as its members, by their ids."""
    fields = {
        "partitionGlobalId": organization_id,
        "id": group.id,
        "name": group.name,
        "directoryUserMemberIDs": list(members),
    }
    return Request("POST", "api/Group", _body(fields), _GROUP_KEYS, idempotent=False)


def _segment(identifier: str) -> str:
    """An identifier as exactly one segment of a path, so that none can reach another path.

    Servers resolve ``..`` even when it is percent-encoded, so its dots are encoded twice: no account has such an id,
    and the server then says so.
    """
    if not identifier:
        raise ValueError("an empty identifier would name the list instead")
    if _PLAIN.fullmatch(identifier):
        return identifier
    if _DOT_SEGMENT.search(identifier):
        return _quoted(identifier).replace(".", "%252E")
    return _quoted(identifier)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _body(fields: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:  # half a surrogate pair, which only the standard library writes (as an escape)
        return json.dumps(fields, separators=(",", ":")).encode("ascii")


# --- answers: each function raises UnexpectedResponseError where the answer has another shape


def account_page(payload: object, texts: Mapping[str, str] = _NO_TEXTS) -> Page:
    """Read the answer of ``list_accounts``; ``texts`` as for :func:`parse_account`."""
    answer = payload if isinstance(payload, dict) else {}
    total, results = answer.get("totalCount"), answer.get("results")
    if type(total) is not int or total < 0 or not isinstance(results, list):
        raise _unexpected(f"the list of {current().plural}", payload)
    accounts = _well_formed_accounts(results, texts)
    if accounts is None:
        accounts = tuple([parse_account(item, texts) for item in results])
    return Page(total, accounts)


def _well_formed_accounts(items: list[Any], texts: Mapping[str, str]) -> tuple[Account, ...] | None:
    """Read accounts as :func:`parse_account` does, attribute by attribute; None where one is not well formed."""
    decoders = [(field.decode, field.property) for field in current().fields]
    groups_of: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all accounts of the same groups

    def group_ids(found: list[str] | None) -> tuple[str, ...] | None:
        if found is None:
            return None
        key = tuple(found)
        known = groups_of.get(key)
        if known is None:
            known = groups_of[key] = tuple(dict.fromkeys(map(sys.intern, key)))  # a server may repeat one
        return known

    try:
        ids = [item["id"] for item in items]
        names = [item["name"] for item in items]
        created = [item.get("creationTime") or "" for item in items]
        last_logins = [item.get("lastLoginTime") or "" for item in items]
        groups = [item.get("groupIds") for item in items]
        values = [[decode(item.get(key)) for item in items] for decode, key in decoders]
        if not (
            all(ids)
            and {*map(type, ids), *map(type, names), *map(type, created), *map(type, last_logins)} <= _TEXT
            and {*map(type, groups)} <= _LIST_OR_NULL
        ):
            return None
        columns = (
            map(texts.get, ids, ids),
            map(texts.get, names, names),
            zip(*values, strict=True),
            map(group_ids, groups),
            created,
            last_logins,
        )
        return tuple(map(new_tuple, repeat(Account), zip(*columns, strict=True)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def parse_account(payload: object, texts: Mapping[str, str] = _NO_TEXTS) -> Account:
    """Read an account, as GET, POST and PUT answer it.

    ``texts`` gives the string to use for an id or a name: the caller's own, which is in memory already.
    """
    resource = current()
    if not isinstance(payload, dict):
        raise _unexpected(f"a {resource.singular}", payload)
    account_id, name = payload.get("id", ""), payload.get("name", 0)  # 0: no name, so not well formed
    created, last_login = payload.get("creationTime") or "", payload.get("lastLoginTime") or ""
    groups = payload.get("groupIds")
    well_formed = type(account_id) is type(name) is type(created) is type(last_login) is str
    try:
        # One string per group, not one per membership: 100,000 accounts name the same few groups.
        group_ids = None if groups is None else tuple(dict.fromkeys(map(sys.intern, groups)))
        values = tuple([field.decode(payload.get(field.property)) for field in resource.fields])
    except TypeError:
        well_formed = False
    if not well_formed or not account_id or type(groups) not in _LIST_OR_NULL:
        raise _unexpected(f"a {resource.singular}", payload)
    account_id, name = texts.get(account_id, account_id), texts.get(name, name)
    return Account(account_id, name, values, group_ids, created, last_login)


def parse_groups(payload: object) -> tuple[Group, ...]:
    """Read the answer of ``list_groups``. The list is empty afterwards.

    The server does not page it, so the decoded objects of 33,000 groups would take 20 MB until the last one is read.
    """
    if not isinstance(payload, list):
        raise _unexpected("the list of groups", payload)
    if not payload:  # every account belongs to the group Everyone
        raise UnexpectedResponseError(
            "The server returned an empty list of groups, which lacks even the group Everyone.",
            hint="Try again. If that does not help, the list that the server gives is wrong: ask its administrator.",
        )
    return tuple([parse_group(item) for item in consume(payload)])


def parse_group(payload: object) -> Group:
    """Read a GroupDto; its members are left alone."""
    if isinstance(payload, dict):
        group_id, name, kind = payload.get("id"), payload.get("name"), payload.get("type")
        if isinstance(group_id, str) and group_id and isinstance(name, str):
            # Servers write the type as a name or as a number (0: built-in, 1: custom), also in quotes.
            built_in = str(kind).strip().lower() in {"0", "builtin"}
            return Group(sys.intern(group_id), name, "builtIn" if built_in else "custom")
    raise _unexpected("a group", payload)


def _unexpected(what: str, payload: object) -> UnexpectedResponseError:
    """Say what was expected and what shape came instead, but not the content, which may be anything."""
    if isinstance(payload, dict):
        shape = f"an object with {safe_text(', '.join(list(payload)[:6]), limit=200) or 'no fields'}"
    else:
        shape = "nothing" if payload is None else f"a {type(payload).__name__}"
    return UnexpectedResponseError(
        f"The server's answer is not {what} as the Identity API describes it (it is {shape}).",
        hint="Check BULKID_URL; if it is right, this version of the server is not one that bulkid knows.",
    )
