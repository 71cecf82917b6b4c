"""The types of bulkid: frozen values that its packages pass to one another. No I/O, no policy.

What there is one of per row, account or request is a named tuple: a frozen dataclass takes five times as long to make
(2.5 us for a ``ReportRow``), which adds up to 0.2 s of 20,000 rows. Change a copy with ``_replace``.

Identifiers compare without regard to case (they are GUIDs, or the short ids of the vendor's guide); they are kept
and sent as the server writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, tzinfo
from enum import StrEnum
from typing import Any, Final, NamedTuple

EVERYONE = "Everyone"
"""The built-in group that every account belongs to; it can be neither left nor removed."""

SANDBOX_ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
"""The organisation of the vendor's own examples, which the sandbox simulates: no real one has this id."""


new_tuple: Final = tuple.__new__
"""Makes a named tuple from all of its values, in their order: ``new_tuple(Change, (...))``.

It takes half the time of ``Change(...)``, for code that runs once per row. Python does not check the number of the
values; a test over the syntax tree does.
"""

MAX_NOTE = 200
"""Characters of the note that a user gives a run."""


class Status(StrEnum):
    """What became of a row. Every row of a sheet has exactly one."""

    UPDATED = "updated"
    CREATED = "created"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    INVALID = "invalid"
    PENDING = "pending"


CHANGED = (Status.UPDATED, Status.CREATED, Status.DELETED)
"""The statuses of a row whose account the run changed, as the server confirmed."""

RETRY_STATUSES: Final = frozenset({Status.FAILED, Status.INVALID, Status.PENDING})
"""The statuses of a row that is not done: ``retry.csv`` has these rows."""


class Action(StrEnum):
    """What a row asks for, and what a plan does with an account."""

    UPDATE = "update"
    CREATE = "create"
    DELETE = "delete"


UPDATE: Final = Action.UPDATE
CREATE: Final = Action.CREATE
DELETE: Final = Action.DELETE
"""The actions once more, for code that runs once per row: a member of an enum takes longer to find than a name."""


class RunStatus(StrEnum):
    """What became of a run; ``RUNNING`` is only ever seen in the journal while (or after a kill) it is under way."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"


class Phase(StrEnum):
    """How far the journal of a run has come."""

    READING = "reading"  # rows are missing yet
    READ = "read"  # the journal has all rows
    ASKING = (
        "asking"  # the user is asked whether to send the plan: no list shows the run, since the user has not agreed yet
    )
    PLANNED = "planned"  # the journal has the plan: an item for every account


class Via(StrEnum):
    """Which kind of request carried an account's change."""

    ACCOUNT = "account"
    GROUP = "group"


# --- the directory


class Account(NamedTuple):
    """An account as the server describes it."""

    id: str
    name: str
    values: tuple[str | None, ...]  # of the resource's fields, in their order; "": the server has none; None: not known
    group_ids: tuple[str, ...] | None  # None: the server did not say (null)
    created: str = ""  # ISO 8601 as the server wrote it
    last_login: str = ""


NEW_GROUP = "new"
"""The type of a group that the run itself creates: the server does not have it yet."""


class Group(NamedTuple):
    """A group as the server describes it (GroupDto), or as the run creates it."""

    id: str  # of a new group: made by the client, as the API has it
    name: str
    type: str = "custom"  # "builtIn" | "custom" | NEW_GROUP


# --- the sheet


class RowError(NamedTuple):
    """One error of one row: which column, which value, what to do."""

    row: int  # as a spreadsheet shows it; the header is 1
    column: str  # the header as the sheet has it; "" when the error is about the row as a whole
    value: str  # the cell as it came in; "" when there is none
    code: str  # stable snake_case word, such as "unknown_group"
    message: str  # a sentence: what is wrong and what to do next


class RowRequest(NamedTuple):
    """What one valid row asks for, in the sheet's own words: names are not yet resolved."""

    row: int
    account_id: str  # "" when the row names the account only by name
    name: str  # "" when the row names the account only by id
    values: tuple[str | None, ...]  # of the resource's fields; None: leave; "": clear, on purpose
    add: tuple[str, ...]  # groups by id or name
    remove: tuple[str, ...]
    exact: tuple[str, ...] | None  # exactly these groups; () means none but Everyone; None: not asked
    partition: str  # the organisation the row says it is for; "" when it does not say
    action: Action = Action.UPDATE


class SheetRow(NamedTuple):
    """One row of the sheet as read: what it asks for, or why it cannot."""

    row: int
    cells: tuple[str, ...]  # as they came in, one per header, for retry.csv
    request: RowRequest | None  # None where there are errors, and for a row of a plan file or an undo
    row_errors: tuple[RowError, ...] = ()
    account_id: str = ""  # of an invalid row, as far as it could be read, for the report
    name: str = ""


# --- desired states, and the difference to the directory


class DesiredState(NamedTuple):
    """What all rows for one account ask for together, in ids. Plain enough to be journaled and taken up again."""

    account_id: str
    name: str  # "" when not known (blind)
    values: tuple[str | None, ...]  # of the resource's fields; None: leave; "": clear
    add: tuple[str, ...]  # group ids
    remove: tuple[str, ...]
    exact: tuple[str, ...] | None
    rows: tuple[int, ...]
    action: Action = Action.UPDATE  # CREATE: no account has the name; an account that has it is updated instead


class Change(NamedTuple):
    """What must still be sent for one account: the difference between its desired and its present state.

    A creation has no id and no state before. Its POST carries the values that are not None and the groups in ``add``.
    A deletion changes no field and no group.
    """

    account_id: str
    name: str
    values: tuple[str | None, ...]  # what the PUT carries: new or current; None: not known, left out (blind)
    sets_fields: bool  # True when a value differs from the present one (or may: blind)
    add: tuple[str, ...]  # group ids the account is not in yet
    remove: tuple[str, ...]  # group ids the account is in
    before: Account | None  # the state this was computed from; None when blind
    action: Action = Action.UPDATE

    @property
    def empty(self) -> bool:
        """Whether the account is already correct, so that nothing needs to be sent."""
        return not (self.sets_fields or self.add or self.remove) and self.action is Action.UPDATE


# --- requests and replies


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """At most ``count`` requests of ``method`` in any rolling window of ``seconds``."""

    method: str
    count: int
    seconds: float


class Request(NamedTuple):
    """One HTTP request of the Identity API, ready to send. ``path`` is relative to the identity base, encoded."""

    method: str  # "GET" | "PUT" | "POST" | "DELETE"
    path: str  # such as "api/RobotAccount/88-uv"
    body: bytes | None = None  # JSON
    keys: tuple[str, ...] = ()  # of the objects in the list that answers, those that are read; (): all
    idempotent: bool = True  # whether sending it twice does the same as once, so that it may be repeated


class ReplyKind(StrEnum):
    """What a reply means for what to do next; decided by status and form, never by error text."""

    OK = "ok"  # 2xx with a JSON body (payload), or 204
    REFUSED = "refused"  # a definite no for this request: 400, 404, 409, 413, 422 and other 4xx
    UNAUTHORIZED = "unauthorized"  # 401: the token is not (or no longer) taken
    FORBIDDEN = "forbidden"  # 403: a scope is missing
    THROTTLED = "throttled"  # 429: says nothing about the row
    UNAVAILABLE = "unavailable"  # 503: the server takes nothing at present
    SERVER_ERROR = "server_error"  # 408, 425, 500, 502, 504 and other 5xx: may or may not have been applied
    LOST = "lost"  # sent, but no whole answer came (reset, timeout, cut body): may or may not have been applied
    NOT_JSON = "not_json"  # 2xx with HTML or an undecodable body: wrong base URL, or something in between answered
    NO_CONNECTION = "no_connection"  # nothing left: DNS, refused, TLS, proxy


class Allowance(NamedTuple):
    """What a server says is left: at most so many requests of a method, itself not counted, until its reset."""

    remaining: int  # never negative
    reset_s: float  # seconds from receipt


class Reply(NamedTuple):
    """What came back for one request sent once."""

    kind: ReplyKind
    status: int | None = None  # HTTP status; None when no answer came
    payload: Any = None  # decoded JSON, when kind is OK
    retry_after: float | None = None  # seconds from receipt, when the server said so
    error_code: str = ""  # the server's code, or bulkid's own snake_case word
    error: str = ""  # readable words, no secrets
    credential: int = 0  # which access token the request carried: a later one has a higher number; 0: not said
    allowance: Allowance | None = None  # for the request's method, when the server said so
    for_token: bool = False  # what came back for the token that the request needs: the request itself did not leave

    @property
    def was_sent(self) -> bool:
        """Whether the request left, so that the server may have counted it."""
        return self.kind is not ReplyKind.NO_CONNECTION and not self.for_token

    @property
    def reason(self) -> str:
        """What went wrong, for the middle or the end of a sentence: without a full stop."""
        return (self.error or self.error_code or self.kind.value).removesuffix(".")


@dataclass(frozen=True, slots=True)
class FailureBound:
    """How many accounts may fail before a run stops for good. With neither limit set, any number may."""

    count: int | None = None  # accounts
    percent: float | None = None  # of the accounts that change, 0 to 100

    def exceeded(self, failures: int, accounts: int) -> bool:
        """Whether so many failures are more than allowed of the accounts that change."""
        if self.count is not None and failures > self.count:
            return True
        # 57 of 10,000 are 0.57 %, although the float product lies a hair below 5,700.
        return self.percent is not None and failures * 100 > self.percent * accounts + 1e-6

    def __str__(self) -> str:
        return f"{self.count:,}" if self.count is not None else f"{self.percent:g} %"


@dataclass(frozen=True, slots=True)
class ChangeBound:
    """How many accounts one plan may change before the user must confirm more. One of the two is set."""

    count: int | None = None  # accounts
    percent: float | None = None  # of all accounts of the organisation, 0 to 100


# --- hours


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time as the clock on the wall shows it, to the minute."""

    at: time
    zone: tzinfo | None = None  # of that clock; None: not said


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """The hours of each day in which work may be done, over midnight where ``end`` comes before ``start``."""

    start: time  # to the minute; included
    end: time  # to the minute; excluded, and another than start
    zone: tzinfo | None = None  # None: not said


# --- outcomes


class Outcome(NamedTuple):
    """What is known of one account in a run."""

    status: Status
    http_status: int | None = None
    error_code: str = ""
    error: str = ""
    attempts: int = 0
    via: Via | None = None
    finished_at: float | None = None  # seconds since the epoch
    account_id: str = ""  # of an account that the run created, for its item; "" of any other, and once journaled


class RunItem(NamedTuple):
    """One account of a run as the journal keeps it: desired state, state before, and what came of it."""

    number: int  # within the run, from 0
    desired: DesiredState
    before: Account | None  # state at the time of the plan; None when blind
    changes: str  # readable: "display name: Roby -> Robbie; + Finance; - Trainees"
    outcome: Outcome
    intended: bool = False  # True once a request for it may have left


class ReportRow(NamedTuple):
    """One line of the report: a row of the sheet with what became of it."""

    row: int
    robot_account_id: str
    name: str
    status: Status
    changes: str = ""
    http_status: int | None = None
    error_code: str = ""
    error: str = ""
    attempts: int = 0
    via: Via | None = None
    finished_at: float | None = None
    cells: tuple[str, ...] = ()  # the row as it came in; empty where it is done


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as the journal keeps it. Holds no secret."""

    run_id: str
    created_at: float
    status: RunStatus
    command: str  # "run"
    source: str  # the file as the user named it
    base_url: str
    organization_id: str
    host: str
    pid: int
    user: str = ""
    phase: str = Phase.READING  # a `Phase`
    finished_at: float | None = None
    message: str = ""  # why it ended early, as the user reads it
    report_dir: str = ""  # absolute folder that holds this run's files
    sheet: Mapping[str, Any] = field(default_factory=dict)  # SheetInfo as JSON, so that rows can be parsed again
    options: Mapping[str, Any] = field(default_factory=dict)  # what resume needs to go on as begun
    counters: Mapping[str, Any] = field(default_factory=dict)  # requests, planned_puts, naive_puts, retries, ...
