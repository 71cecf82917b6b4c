"""The columns of the table of settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bulkid.config import parse
from bulkid.config.parse import Parse

GROUPS = ("connection", "sheet", "sending", "hours", "output", "console", "general")
"""What a setting is about; commands that never connect skip the first."""

METADATA = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table.

    ``key`` is the name in bulkid.toml and job files; ``option`` is empty for what no command line may hold or needs to.
    """

    name: str  # field of Settings
    key: str  # "ignore_column"
    env: str  # "BULKID_IGNORE_COLUMN"
    option: str  # "--ignore-column", "-v" or ""
    group: str  # one of GROUPS
    help: str  # what it does; no full stop
    allowed: str  # what may be given; also the end of the error message
    default: Any  # the value itself, or the function that makes it
    default_text: str  # the default, for a person; "" when there is none
    secret: bool  # its value is never shown, and never in a file that bulkid reads settings from
    in_profile: bool  # False for the name of the profile itself
    relative_to_file: bool  # a relative path in bulkid.toml starts at that file, else at the working directory
    repeatable: bool  # the option may be given several times
    credential: bool  # it is sent to the server of the setting url, or is a file that holds what is
    parse: Parse


def setting_field(
    parse: Parse,
    group: str,
    help_text: str,
    allowed: str,
    *,
    default_text: str = "",
    option: str | None = None,
    key: str = "",
    **flags: bool,
) -> Mapping[str, Any]:
    """A field's line of the table, kept as its metadata; key, option and variable follow from the field's name."""
    metadata = {"parse": parse, "group": group, "help": help_text, "allowed": allowed, "default_text": default_text}
    return {METADATA: {**metadata, "option": option, "key": key, **flags}}


def flag_field(group: str, help_text: str, *, option: str | None = None) -> Mapping[str, Any]:
    """The line of a setting that is on or off, and off by default."""
    return setting_field(parse.flag, group, help_text, "1, true, yes or on; 0, false, no or off", option=option)
