"""Requests and answers of the JSON interface as pydantic models; its checks and its OpenAPI document derive from them.

The names of the classes are those of the document's schemas.
"""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from bulkid.model import RunStatus, Status, Via
from bulkid.resources import current

MAX_PAGE_SIZE: Final = 1000
"""Lines of a list that one answer holds at most."""

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
        bool, Field(description="Confirm a plan that changes more of the organisation than max_change allows.")
    ] = False


# --- answers


class Answer(BaseModel):
    """An object that the console answers with."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class ErrorDetail(Answer):
    """What went wrong, and what to do next."""

    code: str
    message: str
    hint: str


class Error(Answer):
    """Why the console refused a request."""

    error: ErrorDetail


class Message(Answer):
    """What went wrong, and what to do next."""

    message: str
    hint: str


class Fault(Answer):
    """What is wrong with one row."""

    row: Count
    column: str
    value: str
    code: str
    message: str


class Column(Answer):
    """A column of a sheet."""

    header: str
    field: FieldName | None


class Sheet(Answer):
    """A sheet as the console reads it."""

    sheet: str
    name: str
    uploaded_at: str
    authors: Annotated[list[str], Field(description="The users who wrote any part of it.")]
    rest_of: Annotated[str | None, Field(description="The run whose pending rows these are, instead of a file.")]
    readable: bool
    error: Message | None
    columns: list[Column]
    skip_invalid: bool
    rows: Count
    accounts: Count
    invalid_rows: Count
    faults: list[Fault]
    faults_total: Count


class Change(Answer):
    """What changes of one account."""

    account_id: str
    name: str
    rows: list[Count]
    display_before: str | None
    display_after: str | None
    add: list[str]
    remove: list[str]


class Preview(Answer):
    """What a sheet would change. The members after the first four exist once the state is ``ready``."""

    preview: str
    state: Literal["making", "ready", "failed"]
    plan: Annotated[str | None, Field(description="The plan's hash, once it is ready.")]
    error: Message | None
    base_url: str = ""
    changes: Count = 0
    unchanged: Count = 0
    invalid_rows: Count = 0
    planned_puts: Count = 0
    naive_puts: Count = 0
    eta_s: float = 0.0
    warnings: list[str] = []
    too_much: str | None = None
    accounts: list[Change] = []


class Run(Answer):
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
    done: Count | None
    eta_s: float | None


class Runs(Answer):
    """Runs, the newest first."""

    runs: list[Run]
    total: Count


class Row(Answer):
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


class Rows(Answer):
    """Rows of a run."""

    rows: list[Row]
    total: Count
