"""Parsers of single values: plain functions that check what a layer gives and return what bulkid uses.

Each takes what a layer holds (text from an option or a variable, a typed value from TOML) and returns the value, or
raises ``InvalidValueError``; the caller adds the layer and what is allowed. They do without pydantic: they run at the
start of every command, and to import pydantic takes longer than all of them together.
"""

import codecs
import os
import re
from collections.abc import Callable, Mapping
from datetime import time, tzinfo
from pathlib import Path
from typing import Any, NoReturn

from bulkid.model import MAX_NOTE, ChangeBound, DailyWindow, FailureBound, QuotaRule, TimeOfDay
from bulkid.paths import user_path
from bulkid.report.formats import choices
from bulkid.text import DELIMITER_NAMES

Parse = Callable[[object], Any]

_HIDDEN = "********"
_MAX_SHOWN = 60
_MAX_WINDOW_S = 86_400.0
_METHODS = ("GET", "PUT", "POST", "DELETE")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?")
_QUOTA = re.compile(r"([A-Za-z]+) *= *([0-9]{1,9}) */ *([0-9]{1,9}(?:\.[0-9]{1,6})?)")
_AGE = re.compile(r"([0-9]{1,6}) *([hdw])")
_AGE_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TIME = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
_WINDOW = re.compile(rf"{_TIME} *- *{_TIME}")
_UNTIL = re.compile(_TIME)
_DURATION = re.compile(r"(?:([0-9]{1,4}) *h)? *(?:([0-9]{1,5}) *m)? *(?:([0-9]{1,7}) *s)?")
_MAX_DURATION_S = 366 * 86_400.0
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*"
)  # IPv6
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Secret:
    """A value that ``str``, ``repr``, formats, logs and pickles do not show; ``reveal`` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: for the request that needs it, and for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN})"

    def __str__(self) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self  # so that dataclasses.asdict works without the pickle protocol

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not written to a pickle.")


class InvalidValueError(Exception):
    """A value that cannot be used.

    Args:
        problem: What is wrong, to follow the value: ``"is not a number"``.
        shown: The value for the message; empty when it must not be shown.
    """

    def __init__(self, problem: str, shown: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.shown = shown


def show(raw: object) -> str:
    """A given value for a message: short, in one line, and never the inside of a list or table."""
    if isinstance(raw, Mapping):
        return "a table"
    if isinstance(raw, list | tuple):
        return "a list"
    if not isinstance(raw, str | int | float | os.PathLike):
        return f"a {type(raw).__name__}"
    shown = repr(os.fspath(raw)) if isinstance(raw, os.PathLike) else repr(raw)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."


def _fail(raw: object, problem: str) -> NoReturn:
    raise InvalidValueError(problem, show(raw))


def verbatim(raw: object) -> str:
    """Text as it is, blanks included (a worksheet may be called ``" Data"``)."""
    # a TOML file may hold an unquoted 2024 for a sheet of that name; True is an int too, but no name
    value = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    if not isinstance(value, str):
        _fail(raw, "is not text")
    if not value.strip():
        _fail(raw, "is empty")
    if _UNPRINTABLE.search(value):
        _fail(raw, "holds control characters or broken text")
    return value


def text(raw: object) -> str:
    """Text without the blanks around it."""
    return verbatim(raw).strip()


def note(raw: object) -> str:
    """A user's note about a run, without the blanks around it."""
    value = text(raw)
    if len(value) > MAX_NOTE:
        _fail(raw, f"has {len(value)} characters")
    return value


def flag(raw: object) -> bool:
    """A switch: true or false, as TOML, an option or a variable writes it."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    _fail(raw, "is neither yes nor no")


def verbosity(raw: object) -> int:
    """The verbosity: 0, 1 or 2; a switch that is on counts as 1."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return min(int(integer(0, 1000)(raw)), 2)  # -vvv prints no more than -vv
    if isinstance(raw, str) and raw.strip() == "2":
        return 2
    return int(flag(raw))


def integer(low: int, high: int) -> Parse:
    """A whole number within the bounds, both included."""

    def parse(raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            value = raw
        elif isinstance(raw, str) and _INTEGER.fullmatch(raw.strip()):
            value = int(raw)
        else:
            _fail(raw, "is not a whole number")
        if not low <= value <= high:
            _fail(raw, "is out of range")
        return value

    return parse


def number(low: float, high: float) -> Parse:
    """A number within the bounds, both included; with a decimal point, not a comma."""

    def parse(raw: object) -> float:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            value = raw
        elif isinstance(raw, str) and _NUMBER.fullmatch(raw.strip()):
            value = float(raw)
        else:
            _fail(raw, "is not a number")
        if not low <= value <= high:  # not-a-number fails here too
            _fail(raw, "is out of range")
        return float(value)

    return parse


def choice(*words: str) -> Parse:
    """One of a few words, without regard to case."""

    def parse(raw: object) -> str:
        word = raw.strip().lower() if isinstance(raw, str) else ""
        if word not in words:
            _fail(raw, "is not a valid value")
        return word

    return parse


def path(raw: object) -> Path:
    """A path, ``~`` expanded; still relative when given so (to what, the layer knows)."""
    value = verbatim(os.fspath(raw) if isinstance(raw, os.PathLike) else raw)
    try:
        return user_path(value)
    except RuntimeError:
        _fail(raw, "names a home directory that is not known")


def url(raw: object) -> str:
    """An http(s) address. The identity package completes it."""
    value = raw.strip() if isinstance(raw, str) else raw
    # the text before an @ may be a password with any character in it, so the whole address is refused and not shown
    if isinstance(value, str) and "@" in value:
        raise InvalidValueError("holds an @: an address must not hold a user name or password", "the address")
    if not isinstance(value, str) or not value or _UNPRINTABLE.search(value) or " " in value:
        _fail(raw, "is not an address")
    head, separator, tail = value.partition("://")
    scheme, rest = (head, tail) if separator else ("", head)  # as pasted from a browser: https is added later
    if separator and scheme.lower() not in {"http", "https"}:
        _fail(raw, "does not begin with https:// (or http://)")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if not authority.strip(":."):
        _fail(raw, "names no host")
    return value


def encoding(raw: object) -> str:
    """The name of a text encoding that this Python knows, as Python writes it."""
    name = text(raw)
    if len(name) > _MAX_SHOWN:
        _fail(raw, "is no text encoding that is known here")
    try:
        # bytes.decode refuses codecs that are no text encodings (hex, zlib), with a LookupError
        b" ".decode(name, "ignore")
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        _fail(raw, "is no text encoding that is known here")


def delimiter(raw: object) -> str:
    """One character that separates cells, or its name."""
    if isinstance(raw, str):
        value = DELIMITER_NAMES.get(raw.strip().lower(), raw)
        if len(value) == 1 and value.isascii() and not value.isalnum() and value not in '"\r\n\0':
            return value
    _fail(raw, "cannot separate cells")


def bound(kind: type[FailureBound] | type[ChangeBound]) -> Parse:
    """A bound as ``N`` accounts or ``N%`` of them."""

    def parse(raw: object) -> FailureBound | ChangeBound:
        if isinstance(raw, str) and raw.strip().endswith("%"):
            try:
                return kind(percent=number(0, 100)(raw.strip()[:-1].rstrip()))
            except InvalidValueError as bad:
                _fail(raw, bad.problem)
        return kind(count=integer(0, 10**9)(raw))

    return parse


def _items(raw: object, separators: str) -> list[object]:
    """The items of something repeatable: a list as it is, text cut at the separators."""
    if isinstance(raw, list | tuple):
        return list(raw)
    if not isinstance(raw, str):
        _fail(raw, "is neither text nor a list of texts")
    return [part.strip() for part in re.split(f"[{separators}\n]", raw) if part.strip()]


def names(raw: object) -> tuple[str, ...]:
    """Names of columns or groups; in one text, ``;`` is between them."""
    return tuple(dict.fromkeys(verbatim(item) for item in _items(raw, ";")))


def host_names(raw: object) -> tuple[str, ...]:
    """Names of hosts without scheme, port and path; in one text, ``;`` is between them.

    One with letters beyond ASCII is given as browsers send it: ``xn--bcher-kva.example``.
    """
    return tuple(dict.fromkeys(map(_host_name, _items(raw, ";"))))


def _host_name(raw: object) -> str:
    name = text(raw)
    try:
        found = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        found = ""
    if not _HOST_NAME.fullmatch(found):
        _fail(raw, "is not a host name such as bulkid.example.com")
    return found


def formats(raw: object) -> tuple[str, ...]:
    """Report formats, each once, in the order given."""
    parse = choice(*choices())
    return tuple(dict.fromkeys(parse(word) for item in _items(raw, ";,") for word in _items(item, ";,") or [item]))


def column_map(raw: object) -> Mapping[str, str]:
    """``Column=field``, repeatable; in TOML also a table. The last ``=`` divides, so that a header may hold one."""
    if isinstance(raw, Mapping):
        pairs = [(text(column), text(field)) for column, field in raw.items()]
    else:
        pairs = []
        for item in _items(raw, ";"):
            column, separator, field = text(item).rpartition("=")
            if not (separator and column.strip() and field.strip()):
                _fail(item, "is not of the form Column=field")
            pairs.append((column.strip(), field.strip()))
    result: dict[str, str] = {}
    for column, field in pairs:
        if result.setdefault(column, field.lower()) != field.lower():
            _fail(column, "is mapped twice")
    return result


def _quota_rule(raw: object) -> QuotaRule:
    match = _QUOTA.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        _fail(raw, "is not of the form METHOD=COUNT/SECONDS")
    method, count, seconds = match[1].upper(), int(match[2]), float(match[3])
    if method not in _METHODS:
        _fail(raw, f"names a method that bulkid does not send (it sends {', '.join(_METHODS)})")
    if count < 1 or not 0 < seconds <= _MAX_WINDOW_S:
        _fail(raw, "is out of range: COUNT is 1 or more, SECONDS above 0 and at most a day")
    return QuotaRule(method, count, seconds)


def quota(raw: object) -> tuple[QuotaRule, ...]:
    """``METHOD=COUNT/SECONDS``, repeatable, one per method; ``none`` (alone) is the empty tuple: no quota at all."""
    items = [part for item in _items(raw, ";,") for part in _items(item, ";,")]
    if not items:
        _fail(raw, "is empty")
    if len(items) == 1 and isinstance(items[0], str) and items[0].lower() == "none":
        return ()
    rules = [_quota_rule(item) for item in items]
    if len({rule.method for rule in rules}) < len(rules):
        _fail(raw, "has two rules for one method")
    return tuple(rules)


def secret(raw: object) -> Secret:
    """A client secret; error messages do not show it."""
    if isinstance(raw, Secret):
        return raw
    value = raw.rstrip("\r\n") if isinstance(raw, str) else ""
    if not value:
        raise InvalidValueError("is empty or not text")
    if _UNPRINTABLE.search(value):
        raise InvalidValueError("holds control characters or broken text")
    return Secret(value)


def token(raw: object) -> Secret:
    """An access token, fit for an Authorization header; error messages do not show it."""
    value = secret(raw).reveal().strip()
    if value.lower().startswith("bearer "):
        raise InvalidValueError("begins with the word Bearer: give the token alone")
    if not value or not value.isascii() or re.search(r"\s", value):
        raise InvalidValueError("is no access token: it holds blanks or letters that none has")
    return Secret(value)


def age(raw: object) -> float:
    """An age in hours, days or weeks (``12h``, ``90d``, ``4w``), as seconds."""
    match = _AGE.fullmatch(raw.strip().lower()) if isinstance(raw, str) else None
    if match is None or not int(match[1]):
        _fail(raw, "is not an age")
    return int(match[1]) * _AGE_UNITS[match[2]]


def time_zone(raw: object) -> tzinfo:
    """A time zone by its name in the IANA database."""
    from zoneinfo import ZoneInfo

    name = text(raw)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder, such as Europe
        _fail(raw, "is no time zone that is known here")


def _with_zone(raw: object) -> tuple[str, tzinfo | None]:
    """Split ``22:00-05:30 Europe/Berlin`` into the hours and the time zone."""
    stripped = text(raw)
    match = re.search(r" ([A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)$", stripped)
    return (stripped[: match.start()].rstrip(), time_zone(match[1])) if match else (stripped, None)


def window(raw: object) -> DailyWindow:
    """``HH:MM-HH:MM``, over midnight too; a time zone may follow."""
    stripped, where = _with_zone(raw)
    match = _WINDOW.fullmatch(stripped)
    if match is None:
        _fail(raw, "is not of the form HH:MM-HH:MM")
    start, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    if start == end:
        _fail(raw, "begins and ends at the same time")
    return DailyWindow(start, end, where)


def until(raw: object) -> TimeOfDay:
    """``HH:MM``; a time zone may follow."""
    stripped, where = _with_zone(raw)
    match = _UNTIL.fullmatch(stripped)
    if match is None:
        _fail(raw, "is not of the form HH:MM")
    return TimeOfDay(time(int(match[1]), int(match[2])), where)


def duration(raw: object) -> float:
    """Seconds from ``2h``, ``90m``, ``1h 30m``, ``45s`` or a number of seconds."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        seconds = float(raw)
    else:
        stripped = text(raw).lower()
        match = _DURATION.fullmatch(stripped)
        if stripped.isdecimal() and stripped.isascii():
            seconds = float(stripped[:12])
        elif match is not None and any(match.groups()):
            hours, minutes, rest = (float(part or 0) for part in match.groups())
            seconds = hours * 3600 + minutes * 60 + rest
        else:
            _fail(raw, "is not a length of time")
    if not 1 <= seconds <= _MAX_DURATION_S:
        _fail(raw, "is out of range")
    return seconds


def addresses(raw: object) -> Secret:
    """Addresses of notification services, which may hold passwords; error messages do not show them."""
    if isinstance(raw, Secret):
        return raw
    value = raw.strip() if isinstance(raw, str) else ""
    if not value:
        raise InvalidValueError("is empty or not text")
    if _UNPRINTABLE.search(re.sub(r"[\r\n\t]", " ", value)):
        raise InvalidValueError("holds control characters or broken text")
    if "://" not in value:
        raise InvalidValueError("holds no address of a service")
    return Secret(value)
