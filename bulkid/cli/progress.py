"""The progress display: a live bar on a terminal, a plain line now and then elsewhere; always on standard error."""

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from bulkid.planning import humanize_seconds
from bulkid.runs import Progress, Snapshot

REFRESH_INTERVAL_S = 0.2
PLAIN_INTERVAL_S = 5.0

WIDE_TERMINAL = 130
"""Columns of a terminal that has room for a long bar beside the words."""


def progress_line(snapshot: Snapshot) -> str:
    """Everything but the bar, as words: ``3 failed · 31.2/s · quota 12 left · 4 minutes to go``."""
    parts = [f"{snapshot.updated} updated"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.server_limit:
        parts.append(snapshot.server_limit)
    elif snapshot.quota_left == 0 and snapshot.quota_opens_in:
        parts.append(f"quota used, opens in {humanize_seconds(snapshot.quota_opens_in)}")
    elif snapshot.quota_left is not None:
        parts.append(f"quota {snapshot.quota_left} left")
    if snapshot.per_second:
        parts.append(f"{snapshot.per_second:.1f}/s")
    if snapshot.eta_s:
        parts.append(f"{humanize_seconds(snapshot.eta_s)} to go")
    return " · ".join(parts)


def _columns(width: int, total: int) -> tuple[ProgressColumn, ...]:
    """The bar shrinks on a narrow terminal, and the words are cut at their end; the figures always stay whole."""
    length = 28 if width >= WIDE_TERMINAL else 8
    return (
        SpinnerColumn(),
        BarColumn(bar_width=length, table_column=Column(min_width=length)),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(total)) + 1)),
        TextColumn(
            "{task.fields[words]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
    )


async def _live(err: Console, progress: Progress) -> None:
    with Bar(*_columns(err.width, progress.total), console=err, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=progress.total, words="")
        while True:
            snapshot = progress.snapshot()
            bar.update(task, completed=snapshot.done, words=progress_line(snapshot))
            bar.refresh()
            await anyio.sleep(REFRESH_INTERVAL_S)


async def _plain(err: Console, progress: Progress) -> None:
    while True:
        await anyio.sleep(PLAIN_INTERVAL_S)
        snapshot = progress.snapshot()
        err.print(f"{snapshot.done}/{snapshot.total} · {progress_line(snapshot)}")


async def show_progress(err: Console, progress: Progress) -> None:
    """Show ``progress`` until cancelled."""
    await (_live if err.is_terminal else _plain)(err, progress)
