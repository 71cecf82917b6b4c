"""Logs: structlog for bulkid's own events, the standard library's logging for those of its dependencies.

Every line has ``timestamp``, ``level``, ``event`` and ``run_id``. Event names are stable and listed in :data:`EVENTS`.
Every line that is written has passed :func:`redact`. Tracebacks never show local variables, because these hold tokens.

Until a program calls :func:`configure` (bulkid used as a library), :data:`log` writes to the standard library's logger
``bulkid``, which is silent by default. structlog by itself would print on standard output.

structlog is imported for the first line that is written: most commands write none, and it takes longer than theirs.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import orjson

from bulkid.clock import SystemClock
from bulkid.redaction import redact_text, redact_value, register_secret
from bulkid.text import printable, printable_line

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["EVENTS", "LogFormat", "configure", "log", "redact", "redact_text", "register_secret", "run_context"]

LogFormat = Literal["console", "json"]

EVENTS: Final[Mapping[str, str]] = {
    "run.started": "info",
    "run.planned": "info",
    "run.ended_early": "info",
    "run.finished": "info",
    "directory.read": "info",
    "token.fetched": "info",
    "token.host_level_endpoint": "info",
    "token.scope_refused": "info",
    "request.retried": "info",
    "gate.closed": "info",
    "gate.opened": "info",
    "pace.paused": "info",
    "account.failed": "info",
    "account.unconfirmed": "info",
    "accounts.unconfirmed": "info",
    "group.refused": "info",
    "group.renamed": "info",
    "group.refuses_requests": "info",
    "group.not_applied": "info",
    "creations.unconfirmed": "info",
    "group.creation_refused": "info",
    "group.name_taken": "info",
    "deletion.refused": "info",
    "job.resumed": "info",
    "file.taken": "info",
    "file.passed_over": "info",
    "file.duplicate": "info",
    "file.failed": "info",
    "file.put_away": "info",
    "notify.sent": "info",
    "notify.failed": "info",
    "metrics.failed": "info",
    "runs.pruned": "info",
    "console.bad_request": "info",
    "console.request_broke": "warning",
    "console.run_broke": "warning",
    "console.run_warning": "warning",
    "console.task_broke": "warning",
    "console.no_door": "warning",
    "console.session_not_noted": "warning",
    "console.session_unknown": "warning",
    "console.tidied": "info",
    "console.tidy_failed": "warning",
    "console.refused": "info",
    "library.message": "warning",
    "log.unprintable": "error",
}
"""Every event that is logged, with its level, and none besides: a test compares. (What a library logs keeps its own
level; an event that cannot be shown keeps the level that it came with.)"""

_THRESHOLDS: Final = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING}
_OWN_KEYS: Final = ("timestamp", "level", "event", "run_id")
_MULTILINE: Final = frozenset({"exception", "stack"})
_run_id: Final = ContextVar("run_id", default="")


class _Output:
    """Where lines go. Changed by :func:`configure` alone."""

    def __init__(self) -> None:
        self.stream: TextIO = sys.stderr
        self.now: Callable[[], float] = SystemClock().now
        self.threshold: int = logging.NOTSET
        self.configure_structlog: Callable[[], None] | None = None  # called for the first line of the threshold
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Configure structlog, unless that was done, before a line is written."""
        configure_structlog = self.configure_structlog  # another thread may be as far
        if configure_structlog is not None:
            configure_structlog()
            self.configure_structlog = None

    def line(self, text: str) -> None:
        """Write one line. A log that cannot be written (closed pipe, full disk) must not end a run: it is dropped."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            try:
                self.stream.write(text + "\n")
            except UnicodeEncodeError:
                self.stream.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
            self.stream.flush()

    debug = info = warning = error = critical = line


class EventLog:
    """Logs events; every name is listed in :data:`EVENTS` with its level."""

    def info(self, event: str, **fields: object) -> None:
        """Log what an admin may want to know."""
        self._log("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what an admin should know."""
        self._log("warning", event, fields)

    def _log(self, level: str, event: str, fields: dict[str, object]) -> None:
        if _output.configure_structlog is not None:
            if _LEVELS[level] < _output.threshold:
                return
            with contextlib.suppress(ImportError, OSError):  # too many files are open
                _output.begin()
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            getattr(structlog.get_logger(), level)(event, **fields)
        else:
            getattr(_LIBRARY, level)("%s %s", event, fields)


_LIBRARY: Final = logging.getLogger("bulkid")
_LIBRARY.addHandler(logging.NullHandler())
log: Final = EventLog()
"""The log of bulkid's own code."""

_output = _Output()


def configure(
    *,
    format: LogFormat,  # noqa: A002 - the name of the option that it comes from
    verbosity: int,
    stream: TextIO,
) -> None:
    """Set how and where to log. May be called again.

    Args:
        format: ``console`` for people, ``json`` for one object per line.
        verbosity: -1 errors only (``--quiet``), 0 warnings too, 1 progress too (``-v``), 2 everything (``-vv``).
        stream: Where the lines go.
    """
    _output.stream = stream
    _output.threshold = _THRESHOLDS[max(-1, min(verbosity, 2))]
    _output.configure_structlog = partial(_configure_structlog, format, _output.threshold, stream)
    if _output.threshold <= logging.INFO or "structlog" in sys.modules:
        _output.begin()
    _route_libraries(max(_output.threshold, logging.WARNING))


def _configure_structlog(format: LogFormat, threshold: int, stream: TextIO) -> None:  # noqa: A002 - as above
    import structlog

    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
        _complete,
        *(_console(colours=_has_colours(stream)) if format == "console" else (_json_line,)),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _output,
        cache_logger_on_first_use=False,  # the class has the level, so a cached logger would keep it
    )


@contextlib.contextmanager
def run_context(run_id: str) -> Iterator[None]:
    """Give each line that is logged in this block, and in its tasks and threads, the id of the run."""
    token, structlog = _run_id.set(run_id), sys.modules.get("structlog")
    bound: Any = structlog.contextvars.bound_contextvars(run_id=run_id) if structlog else contextlib.nullcontext()
    try:
        with bound:  # for lines of a program that uses structlog itself
            yield
    finally:
        _run_id.reset(token)


def redact(_logger: "WrappedLogger", _method: str, event_dict: "EventDict") -> "EventDict":
    """Take every secret out of an event: keys, values, nested ones, tracebacks (structlog processor)."""
    try:
        return {redact_text(str(key)): redact_value(str(key), value) for key, value in event_dict.items()}
    except Exception as error:  # noqa: BLE001 - an object that cannot be looked into must cost its line, not the run
        return {"event": "log.unprintable", "error_type": type(error).__name__}


def _complete(_logger: "WrappedLogger", method: str, event_dict: "EventDict") -> "EventDict":
    """Add what every line has, in front."""
    stamp = datetime.fromtimestamp(_output.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    own = {
        "timestamp": stamp,
        "level": method,
        "event": event_dict.get("event"),
        "run_id": event_dict.get("run_id", _run_id.get()),
    }
    return {**own, **{key: value for key, value in event_dict.items() if key not in _OWN_KEYS}}


def _json_line(_logger: "WrappedLogger", _method: str, event_dict: "EventDict") -> str:
    return orjson.dumps(event_dict).decode("utf-8")


def _console(*, colours: bool) -> "tuple[Processor, ...]":
    import structlog

    return (
        _printable,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    )


def _printable(_logger: "WrappedLogger", _method: str, event_dict: "EventDict") -> "EventDict":
    """Show control characters instead of having the terminal obey them; a server's error text may hold any."""
    return {str(_format_value(key, key)): _format_value(key, value) for key, value in event_dict.items()}


def _format_value(key: str, value: object) -> object:
    if not isinstance(value, str) or value.isprintable():
        return value
    return printable(value) if key in _MULTILINE else printable_line(value)


def _has_colours(stream: TextIO) -> bool:
    # structlog needs another package for colours on Windows; plain text is good enough there
    return stream.isatty() and sys.platform != "win32" and "NO_COLOR" not in os.environ


class _LibraryHandler(logging.Handler):
    """Takes what the dependencies log to the same place, through the same processors."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a library's record as the event ``library.message``; never raises."""
        with contextlib.suppress(Exception):  # the standard handling would print the record, unredacted
            message = _message(record)
            level = "critical" if record.levelno >= logging.CRITICAL else logging.getLevelName(record.levelno).lower()
            method = level if level in {"warning", "error", "critical"} else "warning"
            fields = {"library": record.name, "message": message, "exc_info": record.exc_info}
            import structlog

            _output.begin()
            getattr(structlog.get_logger(), method)("library.message", **fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's own slip in its format must not hide what it had to say
        return f"{record.msg} {record.args}"


def _route_libraries(level: int) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(level))
