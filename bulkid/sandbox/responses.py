"""Answers and error bodies in the shapes that the real server mixes: one server, many envelopes.

Which error wears which envelope is the sandbox's choice; that a client finds the text in each is the point.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

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


class SandboxResponse(NamedTuple):
    """What the sandbox answers to one request."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}
    applied: bool = False  # whether a write was carried out, a write without effect included


class RefusalError(Exception):
    """Raised inside a call to answer with an error; ``answer`` is the whole of it."""

    def __init__(self, answer: SandboxResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


def ok(value: object, *, applied: bool = False, status: int = 200) -> SandboxResponse:
    """A JSON answer."""
    return SandboxResponse(status, orjson.dumps(value), applied=applied)


def html_page() -> SandboxResponse:
    """The page for every path that is not part of the API."""
    return SandboxResponse(200, HTML_PAGE, HTML)


def scope_missing(have: str, wanted: tuple[str, ...]) -> SandboxResponse:
    """403: the token lacks a scope; the body names the scopes that were expected."""
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


def titled_problem(status: int, title: str) -> SandboxResponse:
    """ASP.NET problem details that have no more to say than a title."""
    value = {"type": "about:blank", "title": title, "status": status, "traceId": _trace_id()}
    return SandboxResponse(status, orjson.dumps(value), PROBLEM)


def abp(status: int, text: str, details: str | None = None) -> SandboxResponse:
    """The ABP framework's envelope."""
    error = {"code": 0, "message": text, "details": details, "validationErrors": None}
    return _json(status, {"error": error, "success": False})


def nested(status: int, errors: list[tuple[str, str]]) -> SandboxResponse:
    """The result envelope: a list of codes with descriptions."""
    listed = [{"code": code, "description": description} for code, description in errors]
    return _json(status, {"result": {"succeeded": False, "errors": listed}})


def oauth(error: str, description: str = "", *, status: int = 400) -> SandboxResponse:
    """The token endpoint's envelope."""
    value = {"error": error}
    if description:
        value["error_description"] = description
    return _json(status, value)


def unauthorized(description: str) -> SandboxResponse:
    """401 as the bearer handler answers it: the reason in a header, the body empty."""
    challenge = f'Bearer error="invalid_token", error_description="{description}"'
    return SandboxResponse(401, headers={"WWW-Authenticate": challenge})


def throttled(retry_after_s: int | None) -> SandboxResponse:
    """429; with a body only when it says when to come again."""
    if retry_after_s is None:
        return SandboxResponse(429)
    told = message(429, "Too many requests. Please try again later.", 429)
    return told._replace(headers={"Retry-After": str(retry_after_s)})


def _json(status: int, value: dict[str, Any]) -> SandboxResponse:
    return SandboxResponse(status, orjson.dumps(value))


def _trace_id() -> str:
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"
