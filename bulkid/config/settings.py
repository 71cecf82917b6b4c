"""The one table of settings: the fields of ``Settings``, each with all that the CLI, the docs and the layers need.

The first three groups are in :mod:`bulkid.config.connection_settings` and :mod:`bulkid.config.sending_settings`.
A field that is added here is an option name, a ``BULKID_`` variable, a key of bulkid.toml and a line of the docs.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from bulkid.config import parse
from bulkid.config.console_settings import ConsoleSettings
from bulkid.config.parse import Secret
from bulkid.config.setting import METADATA, Setting, flag_field, setting_field
from bulkid.paths import default_state_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ConsoleSettings):
    """Everything that a command can be told, checked. What a field means is its line of the table."""

    # --- output
    report_dir: Path = field(
        default=Path("reports"),
        metadata=setting_field(
            parse.path,
            "output",
            "folder for the reports, one folder per run within",
            "the path of a folder",
            default_text="reports",
        ),
    )
    formats: tuple[str, ...] = field(
        default=(),
        metadata=setting_field(
            parse.formats,
            "output",
            "report format, besides csv",
            "csv, xlsx or jsonl (in a variable with ; or , between them)",
            default_text="csv; xlsx too when the source is a spreadsheet",
            key="format",
            repeatable=True,
        ),
    )
    json: bool = field(default=False, metadata=flag_field("output", "print the summary as one JSON object"))
    quiet: bool = field(default=False, metadata=flag_field("output", "print errors only"))
    verbose: int = field(
        default=0,
        metadata=setting_field(
            parse.verbosity,
            "output",
            "print and log more; -vv logs everything",
            "0 to 2, yes or no",
            option="-v",
        ),
    )
    log_format: Literal["console", "json"] = field(
        default="console",
        metadata=setting_field(
            parse.choice("console", "json"),
            "output",
            "form of the log lines",
            "console or json",
            default_text="console",
        ),
    )

    # --- general
    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata=setting_field(
            parse.path,
            "general",
            "folder for the journal of runs and the quota used",
            "the path of a folder",
            default_text="bulkid in the user's state directory",
            relative_to_file=True,
        ),
    )

    database_url: Secret | None = field(
        default=None,
        metadata=setting_field(
            parse.secret,
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
        metadata=setting_field(
            parse.path,
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
    metadata = dict(each.metadata[METADATA])
    key = metadata["key"] or each.name
    option = f"--{key.replace('_', '-')}" if metadata["option"] is None else metadata["option"]
    flags = {name: metadata.get(name, False) for name in ("secret", "relative_to_file", "repeatable", "credential")}
    default = each.default if each.default is not MISSING else each.default_factory  # not called: it may do I/O
    derived = {"name": each.name, "key": key, "option": option, "env": f"BULKID_{key.upper()}", "default": default}
    return Setting(**{**metadata, **flags, **derived, "in_profile": metadata.get("in_profile", True)})


SETTINGS: tuple[Setting, ...] = tuple(_setting_of(each) for each in fields(Settings) if METADATA in each.metadata)
"""Every setting, in the order of the docs."""

_BY_NAME = {name: each for each in SETTINGS for name in (each.name, each.key)}


def setting(name: str) -> Setting:
    """The line of a setting, by its name or key; ``-`` counts as ``_``.

    Raises:
        KeyError: There is no such setting.
    """
    return _BY_NAME[name.replace("-", "_")]
