"""The line of a run's progress, such as ``82 % ━━━━ 3,860/4,722 · about 51 s left · 0 failed``."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from bulkid.text import short_duration

if TYPE_CHECKING:
    from bulkid.runs import Snapshot

MIN_BAR: Final = 4
MAX_BAR: Final = 28
"""Columns of the bar."""

_BAR: Final = "bar"
_BY_IMPORTANCE: Final = ("counts", "failed", "limit", "time", "percent", "no failures", _BAR)
"""The parts of the line, the most important first: the counts always stay, others where there is room for them."""


class _Part(NamedTuple):
    text: str
    style: str = ""


def progress_line(snapshot: "Snapshot", width: int | None = None) -> Text:
    """Make the line of at most ``width`` columns, of whole parts; None: all parts but the bar, for a pipe."""
    parts = _parts(snapshot)
    if width is None:
        del parts[_BAR]
        return _joined(parts, snapshot)
    fitting = {"counts"}
    for name in _BY_IMPORTANCE:
        if _width(_chosen(parts, fitting | {name})) <= width:
            fitting.add(name)
        elif name == "failed":
            break  # no part of less importance takes the place of failures
    shown = _chosen(parts, fitting)
    if _BAR in shown:
        shown[_BAR] = _Part("━" * min(MAX_BAR, MIN_BAR + width - _width(shown)))
    return _joined(shown, snapshot)


def _chosen(parts: dict[str, _Part], names: Collection[str]) -> dict[str, _Part]:
    return {name: part for name, part in parts.items() if name in names}


def _parts(snapshot: "Snapshot") -> dict[str, _Part]:
    """All parts of the line in their order; the bar as short as it may be."""
    parts = {
        "percent": _Part(f"{_percent(snapshot)} %"),
        _BAR: _Part("━" * MIN_BAR),
        "counts": _Part(f"{snapshot.done:,}/{snapshot.total:,}", "bold"),
    }
    if snapshot.eta_s:
        about = "" if snapshot.eta_s < 1 else "about "
        parts["time"] = _Part(f"{about}{short_duration(snapshot.eta_s)} left")
    if snapshot.limit:
        parts["limit"] = _Part(snapshot.limit, "yellow")
    if snapshot.failed:
        parts["failed"] = _Part(f"{snapshot.failed:,} failed", "red")
    else:
        parts["no failures"] = _Part("0 failed", "dim")
    return parts


def _percent(snapshot: "Snapshot") -> int:
    return 100 * snapshot.done // snapshot.total if snapshot.total else 100


def _width(parts: dict[str, _Part]) -> int:
    return _joined(parts, None).cell_len


def _joined(parts: dict[str, _Part], snapshot: "Snapshot | None") -> Text:
    """Join parts by dots, the bar and what stands beside it by blanks. Without a snapshot the bar has one colour."""
    line, before = Text(no_wrap=True), ""
    for name, part in parts.items():
        line.append("" if not before else " " if _BAR in {name, before} else " · ")
        if name == _BAR and snapshot is not None and snapshot.total:
            filled = len(part.text) * snapshot.done // snapshot.total
            line.append(part.text[:filled], style="green").append(part.text[filled:], style="dim")
        else:
            line.append(part.text, style=part.style)
        before = name
    return line
