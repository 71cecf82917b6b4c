"""Settings about what follows a run: whom to tell, and the figures to leave. A part of the one table (``table.py``)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkid.config import parse
from bulkid.config.parse import Secret
from bulkid.config.schedule_settings import ScheduleSettings
from bulkid.config.setting import setting_field

_ADDRESSES = "addresses of services as apprise writes them, such as mailtos://..., with blanks or new lines between"
_FILE = "the path of a file that can be read and holds addresses, one per line"


def _addresses(help_text: str) -> Mapping[str, Any]:
    return setting_field(parse.addresses, "output", help_text, _ADDRESSES, option="", secret=True)


def _file(help_text: str) -> Mapping[str, Any]:
    return setting_field(parse.path, "output", help_text, _FILE, option="", relative_to_file=True)


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)  # Settings makes these, once
class NotificationSettings(ScheduleSettings):
    """The fields of ``Settings`` about what follows a run."""

    notify_success: Secret | None = field(default=None, metadata=_addresses("who is told of a run that exits with 0"))
    notify_success_file: Path | None = field(
        default=None, metadata=_file("file that says who is told of a run that exits with 0")
    )
    notify_failure: Secret | None = field(
        default=None, metadata=_addresses("who is told of a run that exits otherwise")
    )
    notify_failure_file: Path | None = field(
        default=None, metadata=_file("file that says who is told of a run that exits otherwise")
    )
    notify_always: Secret | None = field(default=None, metadata=_addresses("who is told of every run"))
    notify_always_file: Path | None = field(default=None, metadata=_file("file that says who is told of every run"))
    metrics_file: Path | None = field(
        default=None,
        metadata=setting_field(
            parse.path,
            "output",
            "file for the figures of the newest run, as Prometheus text",
            "the path of a file, such as /var/lib/node_exporter/textfile/bulkid.prom",
        ),
    )
