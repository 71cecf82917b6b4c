"""Requests and responses of the JSON interface as pydantic models, from which checks and the OpenAPI document derive.

The names of the classes are those of the document's schemas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, SkipJsonSchema, models_json_schema

from bulkid import __version__
from bulkid.model import MAX_NOTE, Action, RunStatus, Status, Via
from bulkid.report.formats import FORMATS, exporters
from bulkid.resources import current
from bulkid.web.auth.access import Route, RouteKind

MAX_PAGE_SIZE: Final = 1000
"""Lines of a list that one response holds at most."""

_MAX_INTEGER: Final = 2**31 - 1

if TYPE_CHECKING:
    FieldName = str
else:
    FieldName = Literal[current().columns]  # for mypy, the names would have to be spelled out

Count = Annotated[int, Field(ge=0)]


def _require_digits(value: object) -> object:
    """Refuse other spellings of a whole number that pydantic reads, such as ``+1``, ``1_0`` and ``1.0``."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("only digits are allowed")
    return value


Digits = Annotated[int, BeforeValidator(_require_digits)]
_Text = Annotated[str, Field(min_length=1)]


# --- requests


class Page(BaseModel):
    """Query of a list."""

    offset: Annotated[Digits, Field(ge=0, le=_MAX_INTEGER, description="How many lines to skip.")] = 0
    limit: Annotated[Digits, Field(ge=1, le=MAX_PAGE_SIZE, description="How many lines to return at most.")] = 100


class RunsPage(Page):
    """Query of the list of runs."""

    limit: Annotated[Digits, Field(ge=1, le=100, description="How many runs to return at most.")] = 25


class RowsPage(Page):
    """Query of the rows of a run."""

    status: Annotated[Status | SkipJsonSchema[None], Field(description="Only rows with this status.")] = None
    search: Annotated[str, Field(description="Only rows whose account or message contains this text.")] = ""


class Export(BaseModel):
    """Query of an export. An account must match all that is given."""

    inactive_for: Annotated[
        _Text | SkipJsonSchema[None],
        Field(
            description="Only accounts whose last login, or creation where there was none, is so long ago: 180d, 12h."
        ),
    ] = None
    in_group: Annotated[_Text | SkipJsonSchema[None], Field(description="Only accounts in this group.")] = None
    name: Annotated[_Text | SkipJsonSchema[None], Field(description="Only accounts whose name matches: PROD*.")] = None
    action: Annotated[
        Action | SkipJsonSchema[None],
        Field(description="A sheet with this action for each account, in place of its fields and groups."),
    ] = None


class _Body(BaseModel):
    """The JSON object in the body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reading(_Body):
    """How a sheet is to be read. bulkid detects what is left out."""

    worksheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    map: Annotated[dict[str, FieldName], Field(description="The field of each header.")] = {}
    ignore: Annotated[list[str], Field(description="Headers of columns that are not used.")] = []
    skip_invalid: Annotated[bool, Field(description="Apply the valid rows although other rows are invalid.")] = False


class Start(_Body):
    """Which preview to apply."""

    preview: Annotated[str, Field(description="The id of the preview that the user looked at.")]
    first: Annotated[
        Annotated[int, Field(ge=1, le=_MAX_INTEGER)] | None,
        Field(description="A trial: apply only this many of the accounts that change."),
    ] = None
    really: Annotated[
        bool,
        Field(
            description="Confirm a plan that changes or deletes more of the organisation than max_change and "
            "max_delete allow."
        ),
    ] = False
    deletions: Annotated[
        Annotated[int, Field(ge=0, le=_MAX_INTEGER)] | None,
        Field(description="How many accounts will be deleted: required if the plan, or the trial, deletes any."),
    ] = None


class Reject(_Body):
    """Which plan to reject, and why."""

    preview: Annotated[str, Field(description="The id of the preview that the user looked at.")]
    comment: Annotated[str, Field(description="Why, for the authors of the plan.", min_length=1)]


# --- responses


class ResponseModel(BaseModel):
    """An object in a response of the console."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class ErrorDetail(ResponseModel):
    """What went wrong, and what to do next."""

    code: str
    message: str
    hint: str


class Error(ResponseModel):
    """Why the console refused a request."""

    error: ErrorDetail


class Message(ResponseModel):
    """What went wrong, and what to do next."""

    message: str
    hint: str


class Fault(ResponseModel):
    """What is wrong with one row."""

    row: Count
    column: str
    value: str
    code: str
    message: str


class Column(ResponseModel):
    """A column of a sheet."""

    header: str
    field: FieldName | None


class Sheet(ResponseModel):
    """A sheet as the console reads it."""

    sheet: str
    name: str
    uploaded_at: str
    note: Annotated[str, Field(description="What the user wants to keep with the run; empty for nothing.")]
    authors: Annotated[list[str], Field(description="The users who wrote any part of it.")]
    rest_of: Annotated[str | None, Field(description="The run whose pending rows these are, instead of a file.")]
    rejected_by: Annotated[
        str | None, Field(description="The user who rejected its plan, which cannot be started then.")
    ]
    comment: Annotated[str, Field(description="Why the plan was rejected.")]
    readable: bool
    error: Message | None
    columns: list[Column]
    skip_invalid: bool
    rows: Count
    accounts: Count
    invalid_rows: Count
    faults: list[Fault]
    faults_total: Count


class Change(ResponseModel):
    """What changes of one account."""

    action: Action
    account_id: Annotated[str, Field(description="Empty for an account that will be created.")]
    name: str
    rows: list[Count]
    display_before: str | None
    display_after: str | None
    add: list[str]
    remove: list[str]


class DeletedAccount(ResponseModel):
    """An account that will be deleted."""

    account_id: str
    name: str
    last_login: Annotated[str, Field(description="As the server wrote it; never; empty where it is not known.")]
    created: Annotated[str, Field(description="As the server wrote it; empty where it is not known.")]


class Preview(ResponseModel):
    """What a sheet would change. The members after the first four exist once the state is ``ready``."""

    preview: str
    state: Literal["making", "ready", "failed"]
    plan: Annotated[str | None, Field(description="The plan's hash, once it is ready.")]
    error: Message | None
    base_url: str = ""
    changes: Annotated[Count, Field(description="Accounts that are created, changed or deleted.")] = 0
    creations: Count = 0
    deletions: Count = 0
    unchanged: Count = 0
    invalid_rows: Count = 0
    new_groups: Annotated[list[str], Field(description="Names of the groups that will be created.")] = []
    requests: Annotated[dict[str, Count], Field(description="Requests that the changes take, by method.")] = {}
    planned_puts: Count = 0
    naive_puts: Count = 0
    eta_s: float = 0.0
    warnings: list[str] = []
    too_much: str | None = None
    deleted: Annotated[list[DeletedAccount], Field(description="Every account that will be deleted.")] = []
    accounts: list[Change] = []


class Run(ResponseModel):
    """How far a run is, or how it ended."""

    run_id: str
    status: RunStatus
    running: bool
    source: str
    user: str
    host: str
    created_at: str
    finished_at: str | None
    message: str
    rows: Count
    accounts: Count
    updated: Count
    created: Count
    deleted: Count
    unchanged: Count
    failed: Count
    invalid: Count
    pending: Count
    requests: dict[str, Count]
    planned_puts: Count
    naive_puts: Count
    retries: Count
    throttled: Count
    elapsed_s: float
    note: Annotated[str | None, Field(description="What the user noted about the run, such as a ticket number.")]
    done: Count | None
    eta_s: float | None


class Runs(ResponseModel):
    """Runs, the newest first."""

    runs: list[Run]
    total: Count


class Row(ResponseModel):
    """What became of one row, as in ``report.jsonl``."""

    row: Count
    robot_account_id: str
    name: str
    status: Status
    changes: str
    http_status: int | None
    error_code: str
    error: str
    attempts: Count
    via: Via | None
    finished_at: str | None


class Rows(ResponseModel):
    """Rows of a run."""

    rows: list[Row]
    total: Count


# --- the OpenAPI document

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Route):
    """One operation of the JSON interface: its route, and what the document says about it.

    The first line of the handler's docstring is the summary.
    """

    kind: RouteKind = RouteKind.API
    status: int = 200  # the HTTP status of success
    response_model: type[BaseModel] | None = None  # of the response; None: a file, or the document itself
    media: str = "application/json"  # the media type of the response
    errors: Sequence[int] = ()  # HTTP statuses of refusals that do not follow from the path and the body
    query: type[BaseModel] | None = None  # the model of the query
    body: type[BaseModel] | None = None  # the model of a JSON body
    upload: bool = False  # the body is a form with a sheet


def document(operations: Sequence[Operation]) -> Schema:
    """Return the OpenAPI document of these operations."""
    models = {
        model for each in operations for model in (each.response_model, each.query, each.body) if model is not None
    }
    ordered = sorted(models | {Error}, key=lambda model: model.__name__)
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
    success = {"description": "Success.", "content": _content(operation.media, operation.response_model)}
    refusal = _content("application/json", Error)
    statuses = {400, 401, 403, 503, *operation.errors}
    if "{" in operation.path:
        statuses.add(404)
    if operation.body is not None or operation.upload:
        statuses |= {413, 415}
    if operation.upload:
        statuses.add(507)
    refusals = {str(status): {"description": _ERRORS[status], "content": refusal} for status in sorted(statuses)}
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
        "kind", "The format of the report; retry: the rows that are not done, as a sheet.", *FORMATS
    ),
    "ending": _path_parameter("ending", "The format of the export.", *exporters()),
}

_UPLOAD_FORM: Final[Schema] = {
    "type": "object",
    "properties": {
        "sheet": {"type": "string", "format": "binary"},
        "note": {
            "type": "string",
            "maxLength": MAX_NOTE,
            "description": "A text to keep with the run, such as a ticket number.",
        },
    },
    "required": ["sheet"],
}

_ERRORS: Final = {
    400: "The request is not valid, or cannot be done; the message says why.",
    401: "The token is missing, unknown, revoked or expired.",
    403: "The token's role does not allow this, or its owner is an author of the plan and cannot start or approve it.",
    404: "The sheet, preview, run or report does not exist.",
    409: "The state of the run does not allow this, its pending rows must be previewed and started first, or another "
    "export is being made.",
    413: "The body is too large.",
    415: "The body has another content type than this operation takes.",
    502: "The Identity Server does not answer.",
    503: "The state database cannot be used, too many previews are waiting, or the console is stopping.",
    507: "There is no room for the sheet or the file; the message says why.",
}
