"""The OpenAPI document of the JSON interface, derived from its operations and from the models of ``api_models``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bulkid import __version__
from bulkid.report.formats import FORMATS
from bulkid.web import api_models
from bulkid.web.auth.access import Route, RouteKind

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Route):
    """One operation of the JSON interface: its route, and what the document says about it.

    The first line of the handler's docstring is the summary.
    """

    kind: RouteKind = RouteKind.API
    status: int = 200  # the HTTP status of success
    answer: type[BaseModel] | None = None  # the model of the answer; None: a file, or the document itself
    media: str = "application/json"  # the media type of the answer
    errors: Sequence[int] = ()  # HTTP statuses of refusals beside those that every operation may give
    query: type[BaseModel] | None = None  # the model of the query
    body: type[BaseModel] | None = None  # the model of a JSON body
    upload: bool = False  # the body is a form with a sheet


def document(operations: Sequence[Operation]) -> Schema:
    """Return the OpenAPI document of these operations."""
    models = {model for each in operations for model in (each.answer, each.query, each.body) if model is not None}
    ordered = sorted(models | {api_models.Error}, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in ordered],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WithoutTitles,
    )
    schemas = found["$defs"]
    queries = {model: schemas.pop(model.__name__) for model in {each.query for each in operations} if model is not None}
    paths: dict[str, Schema] = {}
    for each in operations:
        described = _describe(each, queries[each.query] if each.query is not None else {})
        paths.setdefault(each.path, {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "bulkid", "version": __version__, "description": "Update robot accounts from sheets."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's signature
        """Return False: a title would only repeat the name of the field."""
        return False


def _describe(operation: Operation, query: Schema) -> Schema:
    in_path = [parameter for name, parameter in _PATH_PARAMETERS.items() if f"{{{name}}}" in operation.path]
    in_query = [_query_parameter(name, schema) for name, schema in query.get("properties", {}).items()]
    summary = (operation.handler.__doc__ or "").partition("\n")[0].rstrip(".")
    found: Schema = {"summary": summary, "parameters": in_path + in_query, "responses": _responses(operation)}
    if operation.upload:
        found["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD_FORM}}}
    elif operation.body is not None:
        found["requestBody"] = {"required": True, "content": _content("application/json", operation.body)}
    return found


def _responses(operation: Operation) -> Schema:
    success = {"description": "Success.", "content": _content(operation.media, operation.answer)}
    refusal = _content("application/json", api_models.Error)
    statuses = sorted({400, 401, 403, 503, *operation.errors})
    refusals = {str(status): {"description": _ERRORS[status], "content": refusal} for status in statuses}
    return {str(operation.status): success, **refusals}


def _content(media: str, model: type[BaseModel] | None) -> Schema:
    return {media: {"schema": {} if model is None else {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _query_parameter(name: str, schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if key != "description" and (key, value) != ("default", None)}
    return {"name": name, "in": "query", "schema": kept, "description": schema["description"]}


def _path_parameter(name: str, description: str, *values: str) -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)} if values else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


_PATH_PARAMETERS: Final = {
    "upload": _path_parameter("upload", "The sheet's id, from the answer to its upload."),
    "run": _path_parameter("run", "The run's id."),
    "kind": _path_parameter(
        "kind",
        "The format of the report; retry: the rows that are not done, as a sheet.",
        *FORMATS,
    ),
}

_UPLOAD_FORM: Final[Schema] = {
    "type": "object",
    "properties": {"sheet": {"type": "string", "format": "binary"}},
    "required": ["sheet"],
}

_ERRORS: Final = {
    400: "The request is not valid, or cannot be done; the message says why.",
    401: "The token is missing, unknown or revoked.",
    403: "The token's role does not allow this, or its owner is an author of the plan and cannot approve it.",
    404: "The sheet, preview, run or report does not exist.",
    409: "The state of the run does not allow this, or its pending rows must be previewed and started first.",
    413: "The body is too large.",
    415: "The body has another content type than this operation takes.",
    502: "The Identity Server does not answer.",
    503: "The state database cannot be used, too many previews are waiting, or the console is stopping.",
    507: "The uploads use all the space that they may use; the message names the limit.",
}
