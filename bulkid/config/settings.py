"""The table of settings: one entry each. Option, variable, keys of files, JSON schema and docs derive from it.

A setting is a field of :class:`Settings` with an entry of a group. To add one, add the field, and write the table in
``docs/settings.md`` again (``tests/support/docs_tables.py`` makes it).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin, overload

from bulkid.config import parse
from bulkid.config.parse import Parse, Secret
from bulkid.model import MAX_NOTE, ChangeBound, DailyWindow, FailureBound, QuotaRule, TimeOfDay
from bulkid.paths import default_state_dir
from bulkid.report.formats import choices
from bulkid.text import listing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
T = TypeVar("T")


class Setting(NamedTuple):
    """One entry of the table.

    The defaults of ``parse`` and ``allowed`` are those of a switch; for a ``Literal`` they follow from its values.
    """

    group: "Group"  # section of the help pages and of the docs
    help: str  # what it does; no full stop
    parse: Parse = parse.flag  # makes the value of what was given
    allowed: str = "1, true, yes or on; 0, false, no or off"  # what may be given; also the end of the error message
    default_text: str | None = None  # the default for the help; None where it is the text of the default itself
    key: str = ""  # the name in bulkid.toml and job files; the field's by default
    option: str | None = None  # by default the key after ``--``; empty for a setting that no command line takes
    json_types: tuple[str, ...] = ()  # of JSON schema, for job files; they follow from the type by default
    metavar: str = ""  # the value's name in the help; it follows from the type by default
    commands: tuple[str, ...] = ()  # take the option; those of the group by default
    secret: bool = False  # the value is never shown, and no file that holds other settings may hold it
    in_profile: bool = True  # False for the name of the profile itself
    relative_to_file: bool = False  # a relative path in bulkid.toml starts at that file, else at the working directory
    repeatable: bool = False  # the option may be given several times
    common: bool = False  # help pages show it first
    holds_secret: bool = False  # it is the path of a file that holds a secret; a message may not show any other value
    credential: bool = False  # it is sent to the server of the setting url, or is a file that holds what is
    name: str = ""  # the field of ``Settings``. This and what follows is derived
    env: str = ""  # the environment variable
    kind: Any = None  # the type of the value
    default: Any = None  # the value itself, or the function that makes it

    @property
    def in_job(self) -> bool:
        """Whether a job file may hold it."""
        return not self.secret and self.group.in_job


class Group(NamedTuple):
    """Settings about one subject: a section of the help pages and of the docs."""

    name: str  # the section's heading, in lower case
    commands: tuple[str, ...]  # take the options of the group, where a setting names no others
    in_job: bool = True  # whether a job file may hold them

    @overload
    def setting(self, default: Callable[[], T], *columns: Any, **named: Any) -> T: ...  # noqa: ANN401 - Setting's columns

    @overload
    def setting(self, default: T, *columns: Any, **named: Any) -> T: ...  # noqa: ANN401 - Setting's columns

    def setting(self, default: Any, *columns: Any, **named: Any) -> Any:
        """Make a field of :class:`Settings` with an entry. ``columns``: its help, parse and allowed."""
        metadata = {"setting": Setting(self, *columns, **named)}
        if callable(default):
            return field(default_factory=default, metadata=metadata)
        return field(default=default, metadata=metadata)

    def secret(self, about: str, parse: Parse, allowed: str, **named: Any) -> Any:  # noqa: ANN401 - Setting's columns
        """Make a field for a secret, which no option and no file with other settings gives."""
        return self.setting(None, about, parse, allowed, option="", secret=True, **named)

    def secret_file(self, about: str, allowed: str, **named: Any) -> Any:  # noqa: ANN401 - Setting's columns
        """Make a field for the path of a file that holds a secret and nothing else."""
        return self.setting(
            None, about, parse.path, allowed, option="", relative_to_file=True, holds_secret=True, **named
        )


class SettingsTable(Generic[S]):
    """The entries of a dataclass of settings, by name and key."""

    def __init__(self, kind: type[S]) -> None:
        self.kind = kind
        self.entries = tuple(_complete(each) for each in fields(kind) if "setting" in each.metadata)
        self.by_name = {name: each for each in self.entries for name in (each.name, each.key)}

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.entries)


def _complete(each: Field[Any]) -> Setting:
    """The entry of a field, with what follows from its name, type and default."""
    kind: Any = each.type
    entry: Setting = each.metadata["setting"]
    default = each.default if each.default is not MISSING else each.default_factory  # not called: it may do I/O
    key = entry.key or each.name
    option = f"--{key.replace('_', '-')}" if entry.option is None else entry.option
    words = get_args(kind) if get_origin(kind) is Literal else ()
    if words:
        entry = entry._replace(parse=parse.choice(*words), allowed=f"{', '.join(words[:-1])} or {words[-1]}")
    return entry._replace(
        name=each.name,
        env=f"BULKID_{key.upper()}",
        kind=kind,
        default=default,
        key=key,
        option=option,
        commands=entry.commands or entry.group.commands,
        metavar=entry.metavar or "|".join(words) or _metavar(kind),
        default_text=_default_text(default) if entry.default_text is None else entry.default_text,
    )


def _metavar(kind: Any) -> str:  # noqa: ANN401 - a type
    plain = next((each for each in get_args(kind) if each is not type(None)), kind)  # X | None
    return {int: "N", float: "N", Path: "FILE"}.get(plain, "NAME")


def _default_text(default: object) -> str:
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if isinstance(default, str | int | Path) and not isinstance(default, bool) else ""


CONNECTION = Group("connection", ("plan", "run", "resume", "undo", "export", "doctor", "serve"))
SHEET = Group("sheet", ("check", "plan", "run"))
SENDING = Group("sending", ("plan", "run", "undo", "export", "serve"))
HOURS = Group("hours", ("plan", "run", "resume", "serve"))
OUTPUT = Group("output", ("plan", "run", "resume", "undo", "report", "export", "serve"))
CONSOLE = Group("console", ("serve",), in_job=False)
GENERAL = Group(
    "general", ("check", "plan", "run", "resume", "undo", "runs", "report", "export", "doctor", "serve", "users")
)
"""The groups name the commands that take their options. A command that takes no connection works offline."""

_ONE_LINE_FILE = "the path of a file that can be read and holds one line of text"
_PEM = "the path of a PEM file that can be read"
_ADDRESSES = "addresses of services as apprise writes them, such as mailtos://..., with blanks or new lines between"
_ADDRESS_FILE = "the path of a file that can be read and holds addresses, one per line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, parsed and checked."""

    # --- connection
    url: str | None = CONNECTION.setting(
        None,
        "address of the Identity Server, or of the cloud or Orchestrator it belongs to",
        parse.url,
        "an address such as https://cloud.uipath.com/acme or https://orchestrator.example.com/identity",
        metavar="URL",
    )
    organization_id: str | None = CONNECTION.setting(
        None,
        "organisation (partitionGlobalId)",
        parse.text,
        "the organisation's id, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6",
        default_text="the token's claim prt_id",
        metavar="ID",
    )
    client_id: str | None = CONNECTION.setting(
        None,
        "id of the external application",
        parse.text,
        "the App ID as the admin page shows it",
        option="",
        credential=True,
    )
    client_secret: Secret | None = CONNECTION.secret(
        "secret of the external application",
        parse.secret,
        "the App Secret as the admin page showed it once",
        credential=True,
    )
    client_secret_file: Path | None = CONNECTION.secret_file(
        "file that holds the client secret, and nothing else", _ONE_LINE_FILE, credential=True
    )
    client_assertion_file: Path | None = CONNECTION.secret_file(
        "file that holds a JWT to sign in with in place of the client secret; read again for every token",
        "the path of a file that can be read and holds one JWT",
        credential=True,
    )
    access_token: Secret | None = CONNECTION.secret(
        "access token, taken as it is in place of client id and secret", parse.token, "the token alone", credential=True
    )
    access_token_file: Path | None = CONNECTION.secret_file(
        "file that holds the access token, and nothing else", _ONE_LINE_FILE, credential=True
    )
    scope: str | None = CONNECTION.setting(
        None,
        "scopes to ask for, with blanks between them",
        parse.text,
        "scopes such as PM.RobotAccount PM.Group",
        default_text="PM.RobotAccount PM.Group, or what of it the application has",
        option="",
    )
    tenant: str | None = CONNECTION.setting(
        None, "tenant of a standalone server (sent as X-UIPATH-TenantName)", parse.text, "the tenant's name", option=""
    )
    ca_bundle: Path | None = CONNECTION.setting(
        None,
        "certificate authorities to trust (PEM)",
        parse.path,
        _PEM,
        default_text="those of the operating system",
        option="",
        relative_to_file=True,
    )
    sandbox: bool = CONNECTION.setting(
        False, "run against a simulated server started for this one command", common=True
    )
    profile: str | None = CONNECTION.setting(
        None,
        "name of a [profiles.NAME] table in bulkid.toml",
        parse.text,
        "the name of a profile in bulkid.toml",
        in_profile=False,
    )
    # --- sheet
    sheet: str | None = SHEET.setting(
        None, "worksheet to read", parse.verbatim, "the name of a worksheet", default_text="the only one, or the first"
    )
    column_map: Mapping[str, str] = SHEET.setting(
        dict,
        "read a column as a field",
        parse.column_map,
        "Column=field, such as Robot=name (in a variable with ; between them, in a file also a table)",
        key="map",
        metavar='"Column=field"',
        repeatable=True,
    )
    ignore_columns: tuple[str, ...] = SHEET.setting(
        (),
        "ignore a column, also one with a known header",
        parse.names,
        "the header of a column (in a variable with ; between them, in a file a list)",
        key="ignore_column",
        repeatable=True,
    )
    encoding: str | None = SHEET.setting(
        None,
        "text encoding of the sheet",
        parse.encoding,
        "the name of a text encoding, such as utf-8, cp1252 or shift_jis",
        default_text="detected",
    )
    delimiter: str | None = SHEET.setting(
        None,
        "what separates the cells of a text sheet",
        parse.delimiter,
        "one character that is no letter, digit or quote, or one of the words tab, comma, semicolon, pipe, space",
        default_text="detected",
        metavar="CHARACTER",
    )
    skip_invalid: bool = SHEET.setting(
        False, "continue with the valid rows when some are invalid", commands=("plan", "run"), common=True
    )
    # --- sending
    via: Literal["auto", "accounts", "groups"] = SENDING.setting(
        "auto",
        "which requests carry the changes: the fewest, one per account, or one per group",
        commands=("plan", "run", "undo", "serve"),
    )
    group_batch: int = SENDING.setting(
        200,
        "accounts that one group request changes at most",
        parse.integer(1, 10_000),
        "a whole number from 1 to 10000",
        commands=("plan", "run", "undo", "serve"),
    )
    no_read: bool = SENDING.setting(
        False, "read nothing from the server: ids only, nothing compared", commands=("plan", "run", "serve")
    )
    quota: tuple[QuotaRule, ...] | None = SENDING.setting(
        None,
        "at most COUNT requests of METHOD in any SECONDS; none lifts the preset",
        parse.quota,
        "METHOD=COUNT/SECONDS, such as PUT=160/300, or none (in a variable with ; between them)",
        default_text="GET=300/300, PUT=160/300, POST=24000/300 and DELETE=160/300 on Automation Cloud, else none",
        metavar="METHOD=COUNT/SECONDS",
        repeatable=True,
    )
    rate: float | None = SENDING.setting(
        None,
        "requests per second at most, evenly spread",
        parse.number(0.001, 100_000),
        "a number from 0.001 to 100000, such as 5 or 0.5",
        default_text="no limit",
    )
    concurrency: int = SENDING.setting(
        16, "requests in flight at once", parse.integer(1, 256), "a whole number from 1 to 256"
    )
    max_attempts: int = SENDING.setting(
        5, "attempts per account before it has failed", parse.integer(1, 1000), "a whole number from 1 to 1000"
    )
    timeout: float = SENDING.setting(
        30.0,
        "seconds that one request may take",
        parse.number(0.001, 3600),
        "seconds, from 0.001 to 3600",
        metavar="SECONDS",
    )
    max_failures: FailureBound | None = SENDING.setting(
        None,
        "stop when more accounts than this have failed",
        parse.bound(FailureBound),
        "a whole number, or a percentage such as 5%",
        default_text="no bound",
        metavar="N|N%",
        commands=("plan", "run", "undo", "serve"),
    )
    first: int | None = SENDING.setting(
        None,
        "a trial: only the first N accounts that change",
        parse.integer(1, 10**9),
        "a whole number, 1 or more",
        default_text="all",
        commands=("plan", "run", "undo"),
        common=True,
    )
    max_change: ChangeBound | None = SENDING.setting(
        None,
        "refuse a plan that changes more accounts than this, without --yes-really",
        parse.bound(ChangeBound),
        "a whole number, or a percentage of the organisation's accounts such as 10%",
        default_text="50% where the organisation has more than 20 accounts",
        metavar="N|N%",
        commands=("plan", "run", "undo", "serve"),
    )
    create_missing: bool = SENDING.setting(
        False, "create the account of each row whose name no account has", commands=("plan", "run", "serve")
    )
    create_groups: bool = SENDING.setting(
        False, "create groups that do not exist, unless an existing name is close", commands=("plan", "run", "serve")
    )
    new_groups: tuple[str, ...] = SENDING.setting(
        (),
        "create this group if it does not exist, also where an existing name is close",
        parse.names,
        "the name of a group (in a variable with ; between them, in a file a list)",
        key="new_group",
        repeatable=True,
        commands=("plan", "run", "serve"),
    )
    allow_delete: bool = SENDING.setting(
        False, "delete accounts where the sheet or the undo asks for it", commands=("plan", "run", "undo", "serve")
    )
    max_delete: ChangeBound | None = SENDING.setting(
        None,
        "refuse a plan that deletes more accounts than this, without --yes-really",
        parse.bound(ChangeBound),
        "a whole number, or a percentage of the organisation's accounts such as 1%",
        default_text="10",
        metavar="N|N%",
        commands=("plan", "run", "undo", "serve"),
    )
    wait: float = SENDING.setting(
        0.0,
        "seconds to wait for another run on the organisation to end",
        parse.number(0, 604_800),
        "seconds, from 0 to 604800",
        metavar="SECONDS",
        commands=("plan", "run", "resume", "undo", "export", "serve"),
    )
    yes: bool = SENDING.setting(False, "do not ask before sending", commands=("plan", "run", "undo"), common=True)
    yes_really: bool = SENDING.setting(
        False,
        "send also a plan that changes or deletes more accounts than --max-change and --max-delete allow",
        commands=("plan", "run", "undo"),
    )
    # --- hours
    window: DailyWindow | None = HOURS.setting(
        None,
        "hours of each day in which a run may send; it stops before their end and continues the next day",
        parse.window,
        "HH:MM-HH:MM, such as 22:00-05:30, and a time zone if need be",
        default_text="all day",
        option="",
    )
    time_zone: tzinfo | None = HOURS.setting(
        None,
        "time zone of the hours that name none",
        parse.time_zone,
        "a name of the IANA database, such as Europe/Berlin",
        default_text="the computer's",
        option="",
    )
    until: TimeOfDay | None = HOURS.setting(
        None,
        "stop before the clock shows this time",
        parse.until,
        "HH:MM, such as 05:30, and a time zone if need be",
        default_text="no end",
        metavar="HH:MM",
    )
    max_duration: float | None = HOURS.setting(
        None,
        "stop after so long",
        parse.duration,
        "a length of time such as 2h, 90m, 1h 30m or 45s; a bare number is seconds",
        default_text="no end",
        json_types=("string", "number"),
        metavar="LENGTH",
    )
    # --- output
    notify_success: Secret | None = OUTPUT.secret(
        "recipients of the notification of a run that exits with 0", parse.addresses, _ADDRESSES
    )
    notify_success_file: Path | None = OUTPUT.secret_file(
        "file with the recipients of the notification of a run that exits with 0", _ADDRESS_FILE
    )
    notify_failure: Secret | None = OUTPUT.secret(
        "recipients of the notification of a run that exits otherwise", parse.addresses, _ADDRESSES
    )
    notify_failure_file: Path | None = OUTPUT.secret_file(
        "file with the recipients of the notification of a run that exits otherwise", _ADDRESS_FILE
    )
    notify_always: Secret | None = OUTPUT.secret(
        "recipients of the notification of every run", parse.addresses, _ADDRESSES
    )
    notify_always_file: Path | None = OUTPUT.secret_file(
        "file with the recipients of the notification of every run", _ADDRESS_FILE
    )
    metrics_file: Path | None = OUTPUT.setting(
        None,
        "file for the metrics of the newest run, as Prometheus text",
        parse.path,
        "the path of a file, such as /var/lib/node_exporter/textfile/bulkid.prom",
        commands=("plan", "run", "resume", "undo", "export", "serve"),
    )
    report_dir: Path = OUTPUT.setting(
        Path("reports"),
        "folder for the reports, one folder per run within",
        parse.path,
        "the path of a folder",
        metavar="DIR",
        commands=("plan", "run", "undo", "report", "serve"),
    )
    formats: tuple[str, ...] = OUTPUT.setting(
        (),
        "report format, besides csv",
        parse.formats,
        f"{listing(choices(), 'or')} (in a variable with ; or , between them)",
        default_text="csv; xlsx too when the source is a spreadsheet",
        key="format",
        metavar="|".join(choices()),
        repeatable=True,
        commands=("plan", "run", "undo", "report", "serve"),
    )
    note: str | None = OUTPUT.setting(
        None,
        "note to keep with the run, such as a ticket number",
        parse.note,
        f"text of at most {MAX_NOTE} characters",
        metavar="TEXT",
        commands=("plan", "run", "undo"),
    )
    json: bool = OUTPUT.setting(
        False, "print the summary as one JSON object", commands=("plan", "run", "resume", "undo", "report", "export")
    )
    quiet: bool = OUTPUT.setting(False, "print errors only")
    verbose: int = OUTPUT.setting(
        0,
        "print and log more; -vv logs everything",
        parse.verbosity,
        "0 to 2, yes or no",
        default_text="",
        json_types=("integer", "boolean"),
        option="-v",
        commands=("plan", "run", "resume", "undo", "export", "serve"),
    )
    log_format: Literal["console", "json"] = OUTPUT.setting(
        "console", "form of the log lines", commands=("plan", "run", "resume", "undo", "export", "serve")
    )
    # --- console
    serve_host: str = CONSOLE.setting(
        "127.0.0.1",
        "address that the console listens on; others than this machine's own need users and TLS",
        parse.text,
        "an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        option="--host",
        metavar="ADDRESS",
    )
    serve_port: int = CONSOLE.setting(
        8766,
        "port that the console listens on",
        parse.integer(0, 65_535),
        "a whole number from 0 to 65535; 0 takes a free one",
        option="--port",
        metavar="PORT",
    )
    certfile: Path | None = CONSOLE.setting(
        None, "certificate chain (PEM) with which the console speaks TLS", parse.path, _PEM, relative_to_file=True
    )
    keyfile: Path | None = CONSOLE.setting(
        None, "key of that certificate (PEM), where the chain does not hold it", parse.path, _PEM, relative_to_file=True
    )
    behind_proxy: bool = CONSOLE.setting(
        False, "the console runs behind a proxy that terminates TLS and sends X-Forwarded-For"
    )
    public_names: tuple[str, ...] = CONSOLE.setting(
        (),
        "name under which browsers reach the console, besides its address",
        parse.host_names,
        "a host name (in a variable with ; between them, in a file a list)",
        key="public_name",
        repeatable=True,
    )
    require_approval: bool = CONSOLE.setting(False, "an author of a plan cannot start it; another operator must")
    keep_audit: float = CONSOLE.setting(
        400 * 86_400.0,
        "how long entries of the audit log are kept",
        parse.age,
        "an age such as 12h, 90d or 4w",
        default_text="400d",
        metavar="AGE",
    )
    # --- general
    state_dir: Path = GENERAL.setting(
        default_state_dir,
        "folder for the journal of runs and the quota used",
        parse.path,
        "the path of a folder",
        default_text="bulkid in the user's state directory",
        metavar="DIR",
        relative_to_file=True,
    )
    database_url: Secret | None = GENERAL.secret(
        "PostgreSQL database that keeps the state for several hosts",
        parse.secret,
        "the URL of a PostgreSQL database, as docs/several_hosts.md shows it",
        default_text="a file in the state directory",
    )
    database_url_file: Path | None = GENERAL.secret_file(
        "file that holds the address of that database, and nothing else", _ONE_LINE_FILE
    )
    # --- which layer gave each setting, by name, as messages call it; a default has none
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def is_given(self, name: str) -> bool:
        """Whether a layer gave the setting, rather than the default."""
        return setting(name).name in self.sources


SETTINGS = SettingsTable(Settings)
"""The one table of all settings."""


def setting(name: str) -> Setting:
    """Return the entry of a setting, by its name or key; ``-`` counts as ``_``.

    Raises:
        KeyError: There is no such setting.
    """
    return SETTINGS.by_name[name.replace("-", "_")]
