"""The lines of the table of settings that say how to send, and how much may be sent."""

from dataclasses import dataclass, field
from typing import Literal

from bulkid.config import parse
from bulkid.config.connection_settings import ConnectionSettings
from bulkid.config.setting import flag_field, setting_field
from bulkid.model import ChangeBound, FailureBound, QuotaRule


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)  # Settings makes these, once
class SendingSettings(ConnectionSettings):
    """The group ``sending`` of :class:`bulkid.config.Settings`, after the groups before it."""

    # --- sending
    via: Literal["auto", "accounts", "groups"] = field(
        default="auto",
        metadata=setting_field(
            parse.choice("auto", "accounts", "groups"),
            "sending",
            "which requests carry the changes: the fewest, one per account, or one per group",
            "auto, accounts or groups",
            default_text="auto",
        ),
    )
    group_batch: int = field(
        default=200,
        metadata=setting_field(
            parse.integer(1, 10_000),
            "sending",
            "accounts that one group request changes at most",
            "a whole number from 1 to 10000",
            default_text="200",
        ),
    )
    no_read: bool = field(
        default=False, metadata=flag_field("sending", "read nothing from the server: ids only, nothing compared")
    )
    quota: tuple[QuotaRule, ...] | None = field(
        default=None,
        metadata=setting_field(
            parse.quota,
            "sending",
            "at most COUNT requests of METHOD in any SECONDS; none lifts the preset",
            "METHOD=COUNT/SECONDS, such as PUT=160/300, or none (in a variable with ; between them)",
            default_text="PUT=160/300 and GET=300/300 on Automation Cloud, else none",
            repeatable=True,
        ),
    )
    rate: float | None = field(
        default=None,
        metadata=setting_field(
            parse.number(0.001, 100_000),
            "sending",
            "requests per second at most, evenly spread",
            "a number from 0.001 to 100000, such as 5 or 0.5",
            default_text="no limit",
        ),
    )
    concurrency: int = field(
        default=16,
        metadata=setting_field(
            parse.integer(1, 256),
            "sending",
            "requests in flight at once",
            "a whole number from 1 to 256",
            default_text="16",
        ),
    )
    max_attempts: int = field(
        default=5,
        metadata=setting_field(
            parse.integer(1, 1000),
            "sending",
            "attempts per account before it has failed",
            "a whole number from 1 to 1000",
            default_text="5",
        ),
    )
    timeout: float = field(
        default=30.0,
        metadata=setting_field(
            parse.number(0.001, 3600),
            "sending",
            "seconds that one request may take",
            "seconds, from 0.001 to 3600",
            default_text="30",
        ),
    )
    max_failures: FailureBound | None = field(
        default=None,
        metadata=setting_field(
            parse.failure_bound,
            "sending",
            "stop when more accounts than this have failed",
            "a whole number, or a percentage such as 5%",
            default_text="no bound",
        ),
    )
    first: int | None = field(
        default=None,
        metadata=setting_field(
            parse.integer(1, 10**9),
            "sending",
            "a trial: only the first N accounts that change",
            "a whole number, 1 or more",
            default_text="all",
        ),
    )
    max_change: ChangeBound | None = field(
        default=None,
        metadata=setting_field(
            parse.change_bound,
            "sending",
            "refuse a plan that changes more accounts than this, without --yes-really",
            "a whole number, or a percentage of the organisation's accounts such as 10%",
            default_text="50% where the organisation has more than 20 accounts",
        ),
    )
    wait: float = field(
        default=0.0,
        metadata=setting_field(
            parse.number(0, 604_800),
            "sending",
            "seconds to wait for another run on the organisation to end",
            "seconds, from 0 to 604800",
            default_text="0",
        ),
    )
    yes: bool = field(default=False, metadata=flag_field("sending", "do not ask before sending"))
    yes_really: bool = field(
        default=False,
        metadata=flag_field("sending", "send also a plan that changes more accounts than --max-change allows"),
    )
