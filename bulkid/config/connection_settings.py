"""The lines of the table of settings that say where the server is and how to read the sheet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bulkid.config import parse
from bulkid.config.parse import Secret
from bulkid.config.setting import flag_field, setting_field


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)  # Settings makes these, once
class ConnectionSettings:
    """The groups ``connection`` and ``sheet`` of :class:`bulkid.config.Settings`."""

    # --- connection
    url: str | None = field(
        default=None,
        metadata=setting_field(
            parse.url,
            "connection",
            "address of the Identity Server, or of the cloud or Orchestrator it belongs to",
            "an address such as https://cloud.uipath.com/acme or https://orchestrator.example.com/identity",
        ),
    )
    organization_id: str | None = field(
        default=None,
        metadata=setting_field(
            parse.text,
            "connection",
            "organisation (partitionGlobalId)",
            "the organisation's id, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6",
            default_text="the token's claim prt_id",
        ),
    )
    client_id: str | None = field(
        default=None,
        metadata=setting_field(
            parse.text,
            "connection",
            "id of the external application",
            "the App ID as the admin page shows it",
            option="",
            credential=True,
        ),
    )
    client_secret: Secret | None = field(
        default=None,
        metadata=setting_field(
            parse.secret,
            "connection",
            "secret of the external application",
            "the App Secret as the admin page showed it once",
            option="",
            secret=True,
            credential=True,
        ),
    )
    client_secret_file: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "connection",
            "file that holds the client secret, and nothing else",
            "the path of a file that can be read and holds one line of text",
            option="",
            relative_to_file=True,
            credential=True,
        ),
    )
    access_token: Secret | None = field(
        default=None,
        metadata=setting_field(
            parse.token,
            "connection",
            "access token, taken as it is in place of client id and secret",
            "the token alone",
            option="",
            secret=True,
            credential=True,
        ),
    )
    access_token_file: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "connection",
            "file that holds the access token, and nothing else",
            "the path of a file that can be read and holds one line of text",
            option="",
            relative_to_file=True,
            credential=True,
        ),
    )
    scope: str | None = field(
        default=None,
        metadata=setting_field(
            parse.text,
            "connection",
            "scopes to ask for, with blanks between them",
            "scopes such as PM.RobotAccount PM.Group",
            default_text="PM.RobotAccount PM.Group, or what of it the application has",
            option="",
        ),
    )
    tenant: str | None = field(
        default=None,
        metadata=setting_field(
            parse.text,
            "connection",
            "tenant of a standalone server (sent as X-UIPATH-TenantName)",
            "the tenant's name",
            option="",
        ),
    )
    ca_bundle: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "connection",
            "certificate authorities to trust (PEM)",
            "the path of a PEM file that can be read",
            default_text="those of the operating system",
            option="",
            relative_to_file=True,
        ),
    )
    sandbox: bool = field(
        default=False, metadata=flag_field("connection", "run against a simulated server started for this one command")
    )
    profile: str | None = field(
        default=None,
        metadata=setting_field(
            parse.text,
            "connection",
            "name of a [profiles.NAME] table in bulkid.toml",
            "the name of a profile in bulkid.toml",
            in_profile=False,
        ),
    )

    # --- sheet
    sheet: str | None = field(
        default=None,
        metadata=setting_field(
            parse.verbatim,
            "sheet",
            "worksheet to read",
            "the name of a worksheet",
            default_text="the only one, or the first",
        ),
    )
    column_map: Mapping[str, str] = field(
        default_factory=dict,
        metadata=setting_field(
            parse.column_map,
            "sheet",
            "reads a column as a field",
            "Column=field, such as Robot=name (in a variable with ; between them, in a file also a table)",
            key="map",
            repeatable=True,
        ),
    )
    ignore_columns: tuple[str, ...] = field(
        default=(),
        metadata=setting_field(
            parse.names,
            "sheet",
            "leaves a column out of account, whatever it is called",
            "the header of a column (in a variable with ; between them, in a file a list)",
            key="ignore_column",
            repeatable=True,
        ),
    )
    encoding: str | None = field(
        default=None,
        metadata=setting_field(
            parse.encoding,
            "sheet",
            "text encoding of the sheet",
            "the name of a text encoding, such as utf-8, cp1252 or shift_jis",
            default_text="detected",
        ),
    )
    delimiter: str | None = field(
        default=None,
        metadata=setting_field(
            parse.delimiter,
            "sheet",
            "what separates the cells of a text sheet",
            "one character that is no letter, digit or quote, or one of the words tab, comma, semicolon, pipe, space",
            default_text="detected",
        ),
    )
    skip_invalid: bool = field(
        default=False, metadata=flag_field("sheet", "go on with the valid rows when some are invalid")
    )
