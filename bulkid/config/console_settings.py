"""Settings of the web console: where it is served, and who must agree. A part of the one table (``table.py``)."""

from dataclasses import dataclass, field
from pathlib import Path

from bulkid.config import parse
from bulkid.config.notification_settings import NotificationSettings
from bulkid.config.setting import flag_field, setting_field


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)  # Settings makes these, once
class ConsoleSettings(NotificationSettings):
    """The fields of ``Settings`` about the web console."""

    serve_host: str = field(
        default="127.0.0.1",
        metadata=setting_field(
            parse.text,
            "console",
            "address that the console listens on; others than this machine's own need users and TLS",
            "an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            option="--host",
            default_text="127.0.0.1",
        ),
    )
    serve_port: int = field(
        default=8766,
        metadata=setting_field(
            parse.integer(0, 65_535),
            "console",
            "port that the console listens on",
            "a whole number from 0 to 65535; 0 takes a free one",
            option="--port",
            default_text="8766",
        ),
    )
    certfile: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "console",
            "certificate chain (PEM) with which the console speaks TLS",
            "the path of a PEM file that can be read",
            relative_to_file=True,
        ),
    )
    keyfile: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "console",
            "key of that certificate (PEM), where the chain does not hold it",
            "the path of a PEM file that can be read",
            relative_to_file=True,
        ),
    )
    behind_proxy: bool = field(
        default=False,
        metadata=flag_field("console", "a proxy that ends TLS stands before the console and sends X-Forwarded-For"),
    )
    public_names: tuple[str, ...] = field(
        default=(),
        metadata=setting_field(
            parse.names,
            "console",
            "name under which browsers reach the console, besides its address",
            "a host name (in a variable with ; between them, in a file a list)",
            key="public_name",
            repeatable=True,
        ),
    )
    require_approval: bool = field(
        default=False, metadata=flag_field("console", "an author of a plan cannot start it; another operator must")
    )
    keep_audit: float = field(
        default=400 * 86_400.0,
        metadata=setting_field(
            parse.age,
            "console",
            "how long entries of the audit log are kept",
            "an age such as 12h, 90d or 4w",
            default_text="400d",
        ),
    )
