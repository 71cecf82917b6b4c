"""Reading what a request carries, refusing what the real server's model binding would refuse."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from bulkid.sandbox.responses import RefusalError, SandboxResponse, problem, status_code, titled_problem

MAX_TEXT = 256
"""The longest display name or name, in UTF-16 units as .NET counts them."""


def json_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RefusalError: 415 for another content type, 400 for anything else that is no JSON object.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json") and not (kind.startswith("application/") and kind[-5:] == "+json"):
        raise RefusalError(titled_problem(415, "Unsupported Media Type"))
    if not body:
        raise RefusalError(problem({"": ["A non-empty request body is required."]}))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = (
            f"The body is not valid JSON. Path: $ | LineNumber: {error.lineno - 1} | BytePositionInLine: {error.colno}."
        )
        raise RefusalError(problem({"$": [text]})) from None
    if not isinstance(value, dict):
        raise RefusalError(problem({"$": ["The JSON value could not be converted to an object. Path: $."]}))
    return value


def text_field(body: Mapping[str, Any], name: str) -> str | None:
    """A text field of the body; None when it is absent or null.

    Raises:
        RefusalError: 400 when it is no text or too long.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RefusalError(problem({f"$.{name}": [_unconvertible("System.String", name)]}))
    if len(value) * 2 > MAX_TEXT and len(value.encode("utf-16-le")) > MAX_TEXT * 2:
        label = name[:1].upper() + name[1:]
        text = f"The field {label} must be a string or array type with a maximum length of '{MAX_TEXT}'."
        raise RefusalError(problem({label: [text]}))
    return value


def required_text(body: Mapping[str, Any], name: str) -> str:
    """A text field that must hold something.

    Raises:
        RefusalError: 400 when it is absent, blank, no text or too long.
    """
    value = text_field(body, name)
    if value is None or not value.strip():
        label = name[:1].upper() + name[1:]
        raise RefusalError(problem({label: [f"The {label} field is required."]}))
    return value


def id_list(body: Mapping[str, Any], name: str) -> list[str]:
    """A list of ids; empty when it is absent or null.

    Raises:
        RefusalError: 400 when it is no list, or holds anything but text.
    """
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        kind = "System.Collections.Generic.List`1[System.String]"
        raise RefusalError(problem({f"$.{name}": [_unconvertible(kind, name)]}))
    for number, item in enumerate(value):
        if not isinstance(item, str):
            raise RefusalError(problem({f"$.{name}[{number}]": [_unconvertible("System.String", f"{name}[{number}]")]}))
    return value


def check_partition(body: Mapping[str, Any], organization_id: str) -> None:
    """Refuse a body that is for another organisation than the one served.

    Raises:
        RefusalError: 400 when it does not say which, 403 when it names another.
    """
    if required_text(body, "partitionGlobalId").casefold() != organization_id.casefold():
        raise RefusalError(wrong_organization(str(body["partitionGlobalId"])))


def wrong_organization(organization_id: str) -> SandboxResponse:
    """403 for an organisation that the token does not belong to."""
    return status_code(403, "Forbidden", f"The token does not belong to the organization '{organization_id}'.")


def query_fields(query: str) -> dict[str, str]:
    """The fields of a query string, names in lower case as ASP.NET binds them; blank values are dropped."""
    return {name.lower(): value for name, value in parse_qsl(query)} if query else {}


def query_number(fields: Mapping[str, str], name: str, default: int, highest: int) -> int:
    """A whole number of the query.

    Raises:
        RefusalError: 400 when it is no number or out of range.
    """
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise RefusalError(problem({name: [f"The value '{text}' is not valid."]}))
    value = int(text)
    if not 0 <= value <= highest:
        raise RefusalError(problem({name: [f"The field {name} must be between 0 and {highest}."]}))
    return value


def _unconvertible(kind: str, name: str) -> str:
    return f"The JSON value could not be converted to {kind}. Path: $.{name} | LineNumber: 0 | BytePositionInLine: 0."
