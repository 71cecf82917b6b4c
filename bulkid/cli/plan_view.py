"""A plan in the terminal: a line per account with a mark for each change, the summary, and the time that it takes."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from bulkid.model import Action, Change
from bulkid.planning.directory import Directory
from bulkid.runs import Preview, descriptions
from bulkid.text import count_of, printable_line

MAX_LISTED = 20
"""Accounts that are shown without ``--all``."""

STYLES = {"+": Style(color="green"), "-": Style(color="red"), "~": Style(color="yellow")}
"""The colours of the marks, which also stand without colours."""

_MAX_NAME = 40  # columns of a name beside its changes; a longer one has a line of its own
_GAP = "  "
_LEAST_ROOM = 20  # columns that the changes always get
_LINES_PER_PRINT = 500  # rich takes seconds to print 100,000 lines one by one
_LEGEND = "(~ new value, + added, - removed)"

Line = list[Segment]
"""One line, without its end: rich's ``Text`` would take three times as long for 100,000 lines."""


class Layout(NamedTuple):
    """How a plan is laid out: the columns of the account's name, and those of its changes."""

    name: int
    changes: int | None  # None: all that an account has is on one line, as in a pipe

    def lines(self, change: Change, directory: Directory) -> Iterator[Line]:
        """Yield the lines of one account. No line ends with a blank, and nothing is left out."""
        name = printable_line(change.name or change.account_id)
        pieces = [
            Segment(f"{mark} {printable_line(words)}", STYLES[mark])
            for mark, words in descriptions.marked_changes(change, directory)
        ]
        length = cell_len(name)
        if length > self.name and self.changes is not None:
            yield from ([part] for part in _folded(Segment(name), self.name + len(_GAP) + self.changes))
            name, length = "", 0
        for line in _packed(pieces, self.changes):
            yield [Segment(f"{name}{' ' * (self.name - length)}{_GAP}"), *line]
            name, length = "", 0

    @property
    def header(self) -> Line:
        """The line above."""
        bold = Style(bold=True)
        return [
            Segment("Account", bold),
            Segment(f"{' ' * (self.name - len('Account'))}{_GAP}"),
            Segment("Changes", bold),
            Segment(f" {_LEGEND}", Style(dim=True)),
        ]


def _packed(pieces: Iterable[Segment], width: int | None) -> Iterator[Line]:
    """Put pieces side by side on as few lines as take them; a piece that is wider than a line is folded."""
    line: Line = []
    used = 0
    for piece in pieces:
        length = piece.cell_length
        if line and width is not None and used + len(_GAP) + length > width:
            yield line
            line, used = [], 0
        if line:
            line.append(Segment(_GAP))
            used += len(_GAP)
        *full, rest = _folded(piece, width) if width is not None and length > width else [piece]
        yield from ([part] for part in full)
        line.append(rest)
        used += rest.cell_length
    yield line


def _folded(piece: Segment, width: int) -> list[Segment]:
    """Cut a text into lines of at most so many columns, before a blank in a line's second half, or within a word.

    A line begins with the blank before which it was cut: no blank of a name is lost.
    """
    parts, used = [""], 0
    for letter in piece.text:
        length = cell_len(letter)
        if used + length > width:
            line = parts[-1]
            cut = len(line) if letter == " " else line.rfind(" ", len(line) // 2 + 1)
            parts[-1:] = [line, ""] if cut < 0 else [line[:cut], line[cut:]]
            used = cell_len(parts[-1])
        parts[-1] += letter
        used += length
    return [Segment(part, piece.style) for part in parts]


def layout(names: Iterable[str], width: int | None) -> Layout:
    """Choose the columns for these names on a screen of a width; None: in a pipe."""
    room = _MAX_NAME if width is None else max(len("Account"), min(_MAX_NAME, width - len(_GAP) - _LEAST_ROOM))
    widths = (cell_len(printable_line(name)) for name in names)
    column = max([len("Account"), *(each for each in widths if each <= room)])
    return Layout(column, None if width is None else max(_LEAST_ROOM, width - column - len(_GAP)))


def print_plan(out: Console, preview: Preview, *, show_all: bool = False, verbose: int = 0) -> None:
    """Print what would change, every account that would be deleted, the summary, and how long it takes."""
    changes = preview.plan.changes
    kept = [change for change in changes if change.action is not Action.DELETE]
    if kept:
        limit = len(kept) if show_all else MAX_LISTED
        columns = _layout_of(out, islice(kept, limit))
        lines = chain.from_iterable(columns.lines(change, preview.directory) for change in islice(kept, limit))
        _print_lines(out, chain([columns.header], lines))
        hidden = len(kept) - limit
        if hidden > 0:
            out.print(f"... and {count_of(hidden, 'more account')} (--all shows them)")
        out.print()
    if len(kept) < len(changes):
        print_deletions(out, preview)
        out.print()
    for line in plan_texts(preview, verbose=verbose, width=out.width):
        out.print(line)


def print_deletions(out: Console, preview: Preview) -> None:
    """Print every account that would be deleted, however many they are; nothing where none would be."""
    warning = descriptions.deletion_warning(preview)
    if not warning:
        return
    deletions = preview.plan.changes_of(Action.DELETE)
    columns = _layout_of(out, deletions)
    out.print(Text(warning, style="bold red"))
    _print_lines(out, chain.from_iterable(columns.lines(change, preview.directory) for change in deletions))


def deletion_lines(preview: Preview) -> list[str]:
    """The same as sentences without colours, one for each account."""
    return [
        printable_line(f"{change.name or change.account_id}: {descriptions.deletion_words(change)}")
        for change in preview.plan.changes_of(Action.DELETE)
    ]


def _layout_of(out: Console, changes: Iterable[Change]) -> Layout:
    return layout(
        (change.name or change.account_id for change in changes),
        out.width if out.is_terminal else None,
    )


def _print_lines(out: Console, lines: Iterator[Line]) -> None:
    """Print lines that fit, many at a time."""
    end = Segment.line()
    while block := [segment for line in islice(lines, _LINES_PER_PRINT) for segment in (*line, end)]:
        out.print(Segments(block), end="", soft_wrap=True)


def plan_lines(preview: Preview, *, verbose: int = 0) -> list[str]:
    """What a plan changes and how long it takes, as sentences without colours."""
    return [text.plain for text in plan_texts(preview, verbose=verbose)]


def plan_texts(preview: Preview, *, verbose: int = 0, width: int | None = None) -> list[Text]:
    """The same with colours; with ``verbose`` also how it is sent. On a narrow screen fewer groups are named."""
    counts = descriptions.count_changes(preview.plan.changes, preview.directory)
    texts = [Text(descriptions.plan_summary(preview), style="bold")]
    if preview.plan.changes:
        texts.append(Text(f"  {counts.kinds_line}"))
    if counts.groups:
        texts.append(_groups_text(counts, width))
    if new_groups := descriptions.new_groups_line(preview):
        texts.append(Text(f"  {printable_line(new_groups)}"))
    texts += [Text(note) for note in [descriptions.trial_note(preview)] if note]
    texts.append(Text(descriptions.estimate(preview)))
    if not verbose:  # else the details say it
        texts += [Text(f"  {line}") for line in descriptions.forecast(preview)]
    texts += [Text(advice) for advice in [descriptions.advice(preview)] if advice]
    if verbose:
        texts += [
            Text(f"  {detail}", style="dim") for detail in map(printable_line, descriptions.sending_details(preview))
        ]
    texts += [Text(printable_line(f"warning: {warning}"), style="yellow") for warning in preview.warnings]
    target = descriptions.destination(preview.base_url, preview.organization_id)
    return [*texts, Text(printable_line(target.long))]


def _groups_text(counts: descriptions.ChangeCounts, width: int | None) -> Text:
    """The line of groups, with as many of them as fit, and at least one."""
    for limit in range(descriptions.MAX_LISTED_GROUPS, 0, -1):
        text = Text(f"  {printable_line(counts.groups_line(limit))}")
        if width is None or text.cell_len <= width:
            break
    for mark in ("+", "-"):
        text.highlight_regex(rf"(?<= )\{mark}[\d,]+(?= |$)", STYLES[mark])
    return text
