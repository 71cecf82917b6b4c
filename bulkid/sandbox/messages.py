"""Requests and responses. The real server mixes many shapes of error bodies, and a client must find the text in each.

The readers of requests raise ``RefusalError`` for what the real server's model binding refuses (400, 403, 415).
"""

import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

import orjson

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json; charset=utf-8"
HTML = "text/html; charset=utf-8"

HTML_PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>UiPath</title><base href="/"></head>
<body><app-root></app-root><noscript>Please enable JavaScript to continue using this application.</noscript></body>
</html>
"""
"""What the real server answers, with 200, on any path that it does not know."""

UNAVAILABLE_PAGE = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>\n"

_TAKEN = 1001


class SandboxResponse(NamedTuple):
    """What the sandbox answers to one request."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}
    applied: bool = False  # whether a write was carried out, a write without effect included


class RefusalError(Exception):
    """Raised inside a call to answer with an error; ``response`` is the whole of it."""

    def __init__(self, response: SandboxResponse) -> None:
        super().__init__(response.status)
        self.response = response


def ok(value: object, *, applied: bool = False, status: int = 200) -> SandboxResponse:
    """A JSON answer."""
    return SandboxResponse(status, orjson.dumps(value), applied=applied)


def html_page() -> SandboxResponse:
    """The page for every path that is not part of the API."""
    return SandboxResponse(200, HTML_PAGE, HTML)


def scope_missing(have: str, wanted: tuple[str, ...]) -> SandboxResponse:
    """403: the token lacks a scope; the body names the expected ones."""
    expected = " or ".join(f"'{scope}'" for scope in wanted)
    return _json(403, {"errorMessage": f"Scope(s) '{have}' is(are) invalid. Expect to have {expected}"})


def message(status: int, text: str, code: int) -> SandboxResponse:
    """The Orchestrator's envelope: message, errorCode, traceId."""
    return _json(status, {"message": text, "errorCode": code, "traceId": _trace_id()})


def status_code(status: int, description: str, text: str) -> SandboxResponse:
    """The envelope with capital letters: StatusCode, StatusDescription, Message."""
    return _json(status, {"StatusCode": status, "StatusDescription": description, "Message": text})


def problem(errors: Mapping[str, list[str]], *, status: int = 400) -> SandboxResponse:
    """ASP.NET problem details with one list of messages per field."""
    value = {
        "errors": dict(errors),
        "type": "https://tools.ietf.org/html/rfc7231#section-6.5.1",
        "title": "One or more validation errors occurred.",
        "status": status,
        "traceId": _trace_id(),
    }
    return SandboxResponse(status, orjson.dumps(value), PROBLEM)


def unsupported_media_type() -> SandboxResponse:
    """ASP.NET problem details that hold no more than a title."""
    value = {"type": "about:blank", "title": "Unsupported Media Type", "status": 415, "traceId": _trace_id()}
    return SandboxResponse(415, orjson.dumps(value), PROBLEM)


def abp(status: int, text: str, details: str | None = None) -> SandboxResponse:
    """The ABP framework's envelope."""
    error = {"code": 0, "message": text, "details": details, "validationErrors": None}
    return _json(status, {"error": error, "success": False})


def nested(status: int, errors: list[tuple[str, str]]) -> SandboxResponse:
    """The result envelope: a list of codes with descriptions."""
    listed = [{"code": code, "description": description} for code, description in errors]
    return _json(status, {"result": {"succeeded": False, "errors": listed}})


def oauth(error: str, description: str = "") -> SandboxResponse:
    """The token endpoint's envelope."""
    value = {"error": error}
    if description:
        value["error_description"] = description
    return _json(400, value)


def taken(status: Literal["409", "400"], kind: str, name: str) -> SandboxResponse:
    """The refusal of a name or id that is taken, in the shape that goes with the status."""
    text = f"A {kind} '{name}' already exists."
    return message(409, text, _TAKEN) if status == "409" else nested(400, [("DuplicateName", text)])


def unauthorized(description: str) -> SandboxResponse:
    """401 as the bearer handler answers it: the reason in a header, the body empty."""
    challenge = f'Bearer error="invalid_token", error_description="{description}"'
    return SandboxResponse(401, headers={"WWW-Authenticate": challenge})


def throttled(retry_after_s: int | None) -> SandboxResponse:
    """429; with a body only when it says when to come again."""
    if retry_after_s is None:
        return SandboxResponse(429)
    response = message(429, "Too many requests. Please try again later.", 429)
    return response._replace(headers={"Retry-After": str(retry_after_s)})


def _json(status: int, value: dict[str, Any]) -> SandboxResponse:
    return SandboxResponse(status, orjson.dumps(value))


def _trace_id() -> str:
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


MAX_TEXT = 256
"""The longest display name or name, in UTF-16 units as .NET counts them."""


def json_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The JSON object in a body."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json") and not (kind.startswith("application/") and kind[-5:] == "+json"):
        raise RefusalError(unsupported_media_type())
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
    """A text field of the body; None when it is absent or null."""
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
    """A text field that must hold something."""
    value = text_field(body, name)
    if value is None or not value.strip():
        label = name[:1].upper() + name[1:]
        raise RefusalError(problem({label: [f"The {label} field is required."]}))
    return value


def id_list(body: Mapping[str, Any], name: str) -> list[str]:
    """A list of ids; empty when it is absent or null."""
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
    """Refuse a body that is for another organisation than the one served."""
    if required_text(body, "partitionGlobalId").casefold() != organization_id.casefold():
        raise RefusalError(wrong_organization(str(body["partitionGlobalId"])))


def wrong_organization(organization_id: str) -> SandboxResponse:
    """403 for an organisation that the token does not belong to."""
    return status_code(403, "Forbidden", f"The token does not belong to the organization '{organization_id}'.")


def query_fields(query: str) -> dict[str, str]:
    """The fields of a query string, names in lower case as ASP.NET binds them; blank values are dropped."""
    return {name.lower(): value for name, value in parse_qsl(query)} if query else {}


def query_number(fields: Mapping[str, str], name: str, default: int, highest: int) -> int:
    """A whole number of the query."""
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise RefusalError(problem({name: [f"The value '{text}' is not valid."]}))
    value = int(text)
    if not 0 <= value <= highest:
        raise RefusalError(problem({name: [f"The field {name} must be between 0 and {highest}."]}))
    return value


def deletion_list(body: Mapping[str, Any], name: str, most: int) -> list[str]:
    """The ids that a bulk DELETE names: one at least, and no more than ``most`` unless that is 0."""
    ids = id_list(body, name)
    label = name[:1].upper() + name[1:]
    if not ids:
        raise RefusalError(problem({label: [f"The {label} field is required."]}))
    if most and len(ids) > most:
        text = f"The field {label} must be a string or array type with a maximum length of '{most}'."
        raise RefusalError(problem({label: [text]}))
    return ids


def named_in(body: bytes, name: str) -> tuple[str, ...]:
    """The text or the texts under one name of a body, as far as it can be read; refuses nothing."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    found = value.get(name) if isinstance(value, dict) else None
    return tuple(item for item in (found if isinstance(found, list) else [found]) if isinstance(item, str))


def _unconvertible(kind: str, name: str) -> str:
    return f"The JSON value could not be converted to {kind}. Path: $.{name} | LineNumber: 0 | BytePositionInLine: 0."
