"""The JSON interface, described: an OpenAPI document that the tests hold against the console itself."""

from collections.abc import Mapping
from typing import Any

from bulkid import __version__
from bulkid.model import RunStatus, Status
from bulkid.sheet import FIELDS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Mapping[str, Schema], *, required: bool = True, extra: bool = False) -> Schema:
    made: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": extra}
    return {**made, "required": list(properties)} if required else made


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_MESSAGE = _object({"message": _TEXT, "hint": _TEXT})

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT, "hint": _TEXT})}),
    "Fault": _object({"row": _COUNT, "column": _TEXT, "value": _TEXT, "code": _TEXT, "message": _TEXT}),
    "Sheet": _object(
        {
            "sheet": _TEXT,
            "name": _TEXT,
            "uploaded_at": _TEXT,
            "authors": {**_list(_TEXT), "description": "The users who wrote any part of it."},
            "rest_of": {**_nullable(_TEXT), "description": "The run whose pending rows these are, instead of a file."},
            "readable": _FLAG,
            "error": _nullable(_MESSAGE),
            "columns": _list(_object({"header": _TEXT, "field": _nullable({"enum": list(FIELDS)})})),
            "skip_invalid": _FLAG,
            "rows": _COUNT,
            "accounts": _COUNT,
            "invalid_rows": _COUNT,
            "faults": _list(_reference("Fault")),
            "faults_total": _COUNT,
        }
    ),
    "Reading": _object(
        {
            "worksheet": _TEXT,
            "encoding": _TEXT,
            "delimiter": _TEXT,
            "map": {"type": "object", "additionalProperties": {"enum": list(FIELDS)}},
            "ignore": _list(_TEXT),
            "skip_invalid": _FLAG,
        },
        required=False,
    ),
    "Change": _object(
        {
            "account_id": _TEXT,
            "name": _TEXT,
            "rows": _list(_COUNT),
            "display_before": _nullable(_TEXT),
            "display_after": _nullable(_TEXT),
            "add": _list(_TEXT),
            "remove": _list(_TEXT),
        }
    ),
    "Preview": {
        **_object(
            {
                "preview": _TEXT,
                "state": {"enum": ["making", "ready", "failed"]},
                "plan": {**_nullable(_TEXT), "description": "The plan's hash, once it is ready."},
                "error": _nullable(_MESSAGE),
                "base_url": _TEXT,
                "changes": _COUNT,
                "unchanged": _COUNT,
                "invalid_rows": _COUNT,
                "planned_puts": _COUNT,
                "naive_puts": _COUNT,
                "eta_s": {"type": "number"},
                "warnings": _list(_TEXT),
                "too_much": _nullable(_TEXT),
                "accounts": _list(_reference("Change")),
            }
        ),
        "required": ["preview", "state", "plan", "error"],
        "description": "What a sheet would change; everything beyond the first four once its state is ready.",
    },
    "Start": {
        **_object(
            {
                "preview": {**_TEXT, "description": "The preview that was looked at."},
                "first": {
                    **_nullable({"type": "integer", "minimum": 1, "maximum": 2**31 - 1}),
                    "description": "A trial: only the first so many accounts that change.",
                },
                "really": {**_FLAG, "description": "Send also what changes more of the organisation than is allowed."},
            },
            required=False,
        ),
        "required": ["preview"],
    },
    "Run": _object(
        {
            "run_id": _TEXT,
            "status": {"enum": [status.value for status in RunStatus]},
            "running": _FLAG,
            "source": _TEXT,
            "user": _TEXT,
            "host": _TEXT,
            "created_at": _TEXT,
            "finished_at": _nullable(_TEXT),
            "message": _TEXT,
            "rows": _COUNT,
            "accounts": _COUNT,
            **{status.value: _COUNT for status in Status},
            "requests": {"type": "object", "additionalProperties": _COUNT},
            "planned_puts": _COUNT,
            "naive_puts": _COUNT,
            "retries": _COUNT,
            "throttled": _COUNT,
            "elapsed_s": {"type": "number"},
            "done": _nullable(_COUNT),
            "eta_s": _nullable({"type": "number"}),
        }
    ),
    "Runs": _object({"runs": _list(_reference("Run")), "total": _COUNT}),
    "Row": _object(
        {
            "row": _COUNT,
            "robot_account_id": _TEXT,
            "name": _TEXT,
            "status": {"enum": [status.value for status in Status]},
            "changes": _TEXT,
            "http_status": _nullable({"type": "integer"}),
            "error_code": _TEXT,
            "error": _TEXT,
            "attempts": _COUNT,
            "via": _nullable({"enum": ["account", "group"]}),
            "finished_at": _nullable(_TEXT),
        }
    ),
    "Rows": _object({"rows": _list(_reference("Row")), "total": _COUNT}),
}


def _responses(good: int, schema: str | None, *errors: int, media: str = "application/json") -> Schema:
    """The answers of an operation: the good one, those that every one may give, and its own bad ones."""
    content: Schema = {media: {"schema": _reference(schema) if schema else {}}}
    found: Schema = {str(good): {"description": "As asked.", "content": content}}
    words = {
        400: "Not possible; the message says why.",
        401: "No token, or an unknown or revoked one.",
        403: "The token's role does not suffice, or its owner is an author of the plan and cannot approve it.",
        404: "There is no such thing.",
        409: "The run is not, or still, under way; or what is pending must be previewed and started first.",
        413: "Too large.",
        415: "A body of another type.",
        502: "The Identity Server does not answer.",
        503: "The state database cannot be used, too much waits already, or the console is being stopped.",
        507: "The uploads take all the space that they may; the message names the limit.",
    }
    for status in sorted({400, 401, 403, 503, *errors}):
        error = {"application/json": {"schema": _reference("Error")}}
        found[str(status)] = {"description": words[status], "content": error}
    return found


def _path(name: str, words: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT, "description": words}


def _query(name: str, schema: Schema, words: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": words}


_UPLOAD = _path("upload", "The sheet's id, as its upload answered.")
_RUN = _path("run", "The run's id.")
_OFFSET = _query(
    "offset", {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0}, "SendPermit over so many."
)


def _limit(default: int, most: int) -> Schema:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return _query("limit", schema, "Give so many at most.")


def _request_body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _reference(schema)}}}


def document() -> Schema:
    """The whole description."""
    status = _query("status", {"enum": [each.value for each in Status]}, "Only rows of this status.")
    search = _query("search", _TEXT, "Only rows whose account or message holds this.")
    kind = {
        "name": "kind",
        "in": "path",
        "required": True,
        "schema": {"enum": ["csv", "xlsx", "jsonl", "retry"]},
        "description": "retry: the rows that are not done, as a sheet.",
    }
    form = {"type": "object", "properties": {"sheet": {"type": "string", "format": "binary"}}, "required": ["sheet"]}
    paths: Schema = {
        "/api/v1/openapi.json": {"get": {"summary": "This document", "responses": _responses(200, None)}},
        "/api/v1/sheets": {
            "post": {
                "summary": "Upload a sheet",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
                "responses": _responses(201, "Sheet", 413, 415, 507),
            }
        },
        "/api/v1/sheets/{upload}": {
            "parameters": [_UPLOAD],
            "get": {
                "summary": "The sheet as it was understood",
                "parameters": [_OFFSET, _limit(100, 1000)],
                "responses": _responses(200, "Sheet", 404),
            },
            "patch": {
                "summary": "Say how the sheet is to be read",
                "requestBody": _request_body("Reading"),
                "responses": _responses(200, "Sheet", 404, 413, 415),
            },
        },
        "/api/v1/sheets/{upload}/preview": {
            "parameters": [_UPLOAD],
            "post": {"summary": "Make a preview", "responses": _responses(202, "Preview", 404)},
            "get": {
                "summary": "The preview, as far as it is made",
                "parameters": [_OFFSET, _limit(100, 1000)],
                "responses": _responses(200, "Preview", 404),
            },
        },
        "/api/v1/sheets/{upload}/start": {
            "parameters": [_UPLOAD],
            "post": {
                "summary": "Begin the run that a preview showed",
                "requestBody": _request_body("Start"),
                "responses": _responses(201, "Run", 404, 409, 413, 415, 502),
            },
        },
        "/api/v1/runs": {
            "get": {
                "summary": "Runs, newest first",
                "parameters": [_OFFSET, _limit(25, 100)],
                "responses": _responses(200, "Runs"),
            }
        },
        "/api/v1/runs/{run}": {
            "parameters": [_RUN],
            "get": {"summary": "How far a run is, or how it ended", "responses": _responses(200, "Run", 404)},
        },
        "/api/v1/runs/{run}/rows": {
            "parameters": [_RUN],
            "get": {
                "summary": "What became of its rows",
                "parameters": [_OFFSET, _limit(100, 1000), status, search],
                "responses": _responses(200, "Rows", 404),
            },
        },
        "/api/v1/runs/{run}/report/{kind}": {
            "parameters": [_RUN, kind],
            "get": {"summary": "Its report as a file", "responses": _responses(200, None, 404, media="*/*")},
        },
        "/api/v1/runs/{run}/stop": {
            "parameters": [_RUN],
            "post": {"summary": "Stop it", "responses": _responses(202, "Run", 404, 409)},
        },
        "/api/v1/runs/{run}/resume": {
            "parameters": [_RUN],
            "post": {"summary": "Go on with it", "responses": _responses(202, "Run", 404, 409, 502)},
        },
        "/api/v1/runs/{run}/rest": {
            "parameters": [_RUN],
            "post": {
                "summary": "Make what is pending of it a sheet, to be previewed and started",
                "responses": _responses(201, "Sheet", 404, 507),
            },
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "bulkid", "version": __version__, "description": "Update robot accounts from sheets."},
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
