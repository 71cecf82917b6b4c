"""The one table of settings: the fields of ``Settings``, each with all that the CLI, the docs and the layers need.

A field that is added here is an option name, a ``BULKID_`` variable, a key of bulkid.toml and a line of the docs.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from bulkid.config import values
from bulkid.config.lines import METADATA, Setting, line, switch
from bulkid.config.values import Secret
from bulkid.model import FailureBound, QuotaRule
from bulkid.places import default_state_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a command can be told, checked. What a field means is its line of the table."""

    # --- connection
    url: str | None = field(
        default=None,
        metadata=line(
            values.url,
            "connection",
            "address of the Identity Server, or of the cloud or Orchestrator it belongs to",
            "an address such as https://cloud.uipath.com/acme or https://orchestrator.example.com/identity",
        ),
    )
    organization_id: str | None = field(
        default=None,
        metadata=line(
            values.text,
            "connection",
            "organisation (partitionGlobalId)",
            "the organisation's id, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6",
            default_text="the token's claim prt_id",
        ),
    )
    client_id: str | None = field(
        default=None,
        metadata=line(
            values.text,
            "connection",
            "id of the external application",
            "the App ID as the admin page shows it",
            option="",
        ),
    )
    client_secret: Secret | None = field(
        default=None,
        metadata=line(
            values.secret,
            "connection",
            "secret of the external application",
            "the App Secret as the admin page showed it once",
            option="",
            secret=True,
        ),
    )
    client_secret_file: Path | None = field(
        default=None,
        metadata=line(
            values.path,
            "connection",
            "file that holds the client secret, and nothing else",
            "the path of a file that can be read and holds one line of text",
            option="",
            relative_to_file=True,
        ),
    )
    access_token: Secret | None = field(
        default=None,
        metadata=line(
            values.token,
            "connection",
            "access token, taken as it is in place of client id and secret",
            "the token alone",
            option="",
            secret=True,
        ),
    )
    access_token_file: Path | None = field(
        default=None,
        metadata=line(
            values.path,
            "connection",
            "file that holds the access token, and nothing else",
            "the path of a file that can be read and holds one line of text",
            option="",
            relative_to_file=True,
        ),
    )
    scope: str | None = field(
        default=None,
        metadata=line(
            values.text,
            "connection",
            "scopes to ask for, with blanks between them",
            "scopes such as PM.RobotAccount PM.Group",
            default_text="PM.RobotAccount PM.Group, or what of it the application has",
            option="",
        ),
    )
    tenant: str | None = field(
        default=None,
        metadata=line(
            values.text,
            "connection",
            "tenant of a standalone server (sent as X-UIPATH-TenantName)",
            "the tenant's name",
            option="",
        ),
    )
    ca_bundle: Path | None = field(
        default=None,
        metadata=line(
            values.path,
            "connection",
            "certificate authorities to trust (PEM)",
            "the path of a PEM file that can be read",
            default_text="those of the operating system",
            option="",
            relative_to_file=True,
        ),
    )
    sandbox: bool = field(
        default=False, metadata=switch("connection", "run against a simulated server started for this one command")
    )
    profile: str | None = field(
        default=None,
        metadata=line(
            values.text,
            "connection",
            "name of a [profiles.NAME] table in bulkid.toml",
            "the name of a profile in bulkid.toml",
            in_profile=False,
        ),
    )

    # --- sheet
    sheet: str | None = field(
        default=None,
        metadata=line(
            values.verbatim,
            "sheet",
            "worksheet to read",
            "the name of a worksheet",
            default_text="the only one, or the first",
        ),
    )
    column_map: Mapping[str, str] = field(
        default_factory=dict,
        metadata=line(
            values.column_map,
            "sheet",
            "reads a column as a field",
            "Column=field, such as Robot=name (in a variable with ; between them, in a file also a table)",
            key="map",
            repeatable=True,
        ),
    )
    ignore_columns: tuple[str, ...] = field(
        default=(),
        metadata=line(
            values.names,
            "sheet",
            "leaves a column out of account, whatever it is called",
            "the header of a column (in a variable with ; between them, in a file a list)",
            key="ignore_column",
            repeatable=True,
        ),
    )
    encoding: str | None = field(
        default=None,
        metadata=line(
            values.encoding,
            "sheet",
            "text encoding of the sheet",
            "the name of a text encoding, such as utf-8, cp1252 or shift_jis",
            default_text="detected",
        ),
    )
    delimiter: str | None = field(
        default=None,
        metadata=line(
            values.delimiter,
            "sheet",
            "what separates the cells of a text sheet",
            "one character that is no letter, digit or quote, or one of the words tab, comma, semicolon, pipe, space",
            default_text="detected",
        ),
    )
    skip_invalid: bool = field(
        default=False, metadata=switch("sheet", "go on with the valid rows when some are invalid")
    )

    # --- sending
    via: Literal["auto", "accounts", "groups"] = field(
        default="auto",
        metadata=line(
            values.choice("auto", "accounts", "groups"),
            "sending",
            "which requests carry the changes: the fewest, one per account, or one per group",
            "auto, accounts or groups",
            default_text="auto",
        ),
    )
    group_batch: int = field(
        default=200,
        metadata=line(
            values.integer(1, 10_000),
            "sending",
            "accounts that one group request changes at most",
            "a whole number from 1 to 10000",
            default_text="200",
        ),
    )
    no_read: bool = field(
        default=False, metadata=switch("sending", "read nothing from the server: ids only, nothing compared")
    )
    quota: tuple[QuotaRule, ...] | None = field(
        default=None,
        metadata=line(
            values.quota,
            "sending",
            "at most COUNT requests of METHOD in any SECONDS; none lifts the preset",
            "METHOD=COUNT/SECONDS, such as PUT=160/300, or none (in a variable with ; between them)",
            default_text="PUT=160/300 and GET=300/300 on Automation Cloud, else none",
            repeatable=True,
        ),
    )
    rate: float | None = field(
        default=None,
        metadata=line(
            values.number(0.001, 100_000),
            "sending",
            "requests per second at most, evenly spread",
            "a number from 0.001 to 100000, such as 5 or 0.5",
            default_text="no limit",
        ),
    )
    concurrency: int = field(
        default=16,
        metadata=line(
            values.integer(1, 256),
            "sending",
            "requests in flight at once",
            "a whole number from 1 to 256",
            default_text="16",
        ),
    )
    max_attempts: int = field(
        default=5,
        metadata=line(
            values.integer(1, 1000),
            "sending",
            "attempts per account before it has failed",
            "a whole number from 1 to 1000",
            default_text="5",
        ),
    )
    timeout: float = field(
        default=30.0,
        metadata=line(
            values.number(0.001, 3600),
            "sending",
            "seconds that one request may take",
            "seconds, from 0.001 to 3600",
            default_text="30",
        ),
    )
    max_failures: FailureBound | None = field(
        default=None,
        metadata=line(
            values.failure_bound,
            "sending",
            "stop when more accounts than this have failed",
            "a whole number, or a percentage such as 5%",
            default_text="no bound",
        ),
    )
    first: int | None = field(
        default=None,
        metadata=line(
            values.integer(1, 10**9),
            "sending",
            "a trial: only the first N accounts that change",
            "a whole number, 1 or more",
            default_text="all",
        ),
    )
    wait: float = field(
        default=0.0,
        metadata=line(
            values.number(0, 604_800),
            "sending",
            "seconds to wait for another run on the organisation to end",
            "seconds, from 0 to 604800",
            default_text="0",
        ),
    )
    yes: bool = field(default=False, metadata=switch("sending", "do not ask before sending"))

    # --- output
    report_dir: Path = field(
        default=Path("reports"),
        metadata=line(
            values.path,
            "output",
            "folder for the reports, one folder per run within",
            "the path of a folder",
            default_text="reports",
        ),
    )
    formats: tuple[str, ...] = field(
        default=(),
        metadata=line(
            values.formats,
            "output",
            "report format, besides csv",
            "csv, xlsx or jsonl (in a variable with ; or , between them)",
            default_text="csv; xlsx too when the source is a spreadsheet",
            key="format",
            repeatable=True,
        ),
    )
    json: bool = field(default=False, metadata=switch("output", "print the summary as one JSON object"))
    quiet: bool = field(default=False, metadata=switch("output", "print errors only"))
    verbose: int = field(
        default=0,
        metadata=line(
            values.verbosity,
            "output",
            "print and log more; -vv logs everything",
            "0 to 2, yes or no",
            option="-v",
        ),
    )
    log_format: Literal["console", "json"] = field(
        default="console",
        metadata=line(
            values.choice("console", "json"),
            "output",
            "form of the log lines",
            "console or json",
            default_text="console",
        ),
    )

    # --- general
    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata=line(
            values.path,
            "general",
            "folder for the journal of runs and the quota used",
            "the path of a folder",
            default_text="bulkid in the user's state directory",
            relative_to_file=True,
        ),
    )
    database_url: Secret | None = field(
        default=None,
        metadata=line(
            values.secret,
            "general",
            "PostgreSQL database that keeps the state for several hosts",
            "the URL of a PostgreSQL database, as docs/several_hosts.md shows it",
            default_text="a file in the state directory",
            option="",
            secret=True,
        ),
    )
    database_url_file: Path | None = field(
        default=None,
        metadata=line(
            values.path,
            "general",
            "file that holds the address of that database, and nothing else",
            "the path of a file that can be read and holds one line of text",
            option="",
            relative_to_file=True,
        ),
    )

    # --- where each value came from: name to words; what is not in it is a default
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def source_of(self, name: str) -> str:
        """Who said so, for a message: ``"environment variable BULKID_RATE"``, or ``"default"``.

        Raises:
            KeyError: There is no such setting.
        """
        return self.sources.get(setting(name).name, "default")

    def is_given(self, name: str) -> bool:
        """Whether anyone said so, rather than the default."""
        return setting(name).name in self.sources


def _setting_of(each: Field[Any]) -> Setting:
    said = dict(each.metadata[METADATA])
    key = said["key"] or each.name
    option = f"--{key.replace('_', '-')}" if said["option"] is None else said["option"]
    flags = {name: said.get(name, False) for name in ("secret", "relative_to_file", "repeatable")}
    default = each.default if each.default is not MISSING else each.default_factory  # not called: it may do I/O
    derived = {"name": each.name, "key": key, "option": option, "env": f"BULKID_{key.upper()}", "default": default}
    return Setting(**{**said, **flags, **derived, "in_profile": said.get("in_profile", True)})


SETTINGS: tuple[Setting, ...] = tuple(_setting_of(each) for each in fields(Settings) if METADATA in each.metadata)
"""Every setting, in the order of the docs."""

_BY_NAME = {name: each for each in SETTINGS for name in (each.name, each.key)}


def setting(name: str) -> Setting:
    """The line of a setting, by its name or key; ``-`` counts as ``_``.

    Raises:
        KeyError: There is no such setting.
    """
    return _BY_NAME[name.replace("-", "_")]
