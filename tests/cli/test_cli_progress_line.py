"""The line of a run's progress: as wide as there is room, of whole parts, never without its counts."""

import asyncio
import io

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bulkid.cli.progress_display import progress_bar
from bulkid.cli.progress_line import progress_line
from bulkid.cli.terminal import show_progress
from bulkid.runs import Progress, Snapshot

SENDING = Snapshot(3860, 4722, 3860, 0, 31.2, 3, None, None, 51.0)
PAUSED = Snapshot(3860, 4722, 3847, 13, 31.2, 3, None, 7.0, 51.0)

seconds = st.none() | st.floats(0, 1e6)
snapshots = st.builds(
    lambda done, more, failed, quota, times: Snapshot(done, done + more, done, failed, 1.0, quota, *times),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.none() | st.integers(0, 3),
    st.tuples(seconds, seconds, seconds, seconds),
)


@given(snapshots, st.integers(0, 200))
def test_a_line_is_never_wider_than_its_room_and_always_shows_the_counts(snapshot: Snapshot, more: int) -> None:
    counts = f"{snapshot.done:,}/{snapshot.total:,}"
    width = len(counts) + more
    line = progress_line(snapshot, width)
    assert counts in line.plain
    assert line.cell_len <= width


@given(snapshots, st.integers(0, 200))
def test_a_line_consists_of_whole_parts_and_failures_stay_longest(snapshot: Snapshot, more: int) -> None:
    counts = f"{snapshot.done:,}/{snapshot.total:,}"
    whole = progress_line(snapshot).plain.split(" · ")
    parts = progress_line(snapshot, len(counts) + more).plain.replace("━", "").split(" · ")
    head = parts[0].split()
    assert head in (counts.split(), [*whole[0].split(), counts]) or parts[0] == whole[0]
    assert set(parts[1:]) <= set(whole)
    if snapshot.failed and len(parts) > 1:
        assert f"{snapshot.failed:,} failed" in parts


@pytest.mark.parametrize(
    ("snapshot", "width", "line"),
    [
        (SENDING, None, "81 % · 3,860/4,722 · about 51 s left · 0 failed"),
        (SENDING, 80, "81 % ━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 3,860/4,722 · about 51 s left · 0 failed"),
        (SENDING, 58, "81 % ━━━━━━━━━━━━ 3,860/4,722 · about 51 s left · 0 failed"),
        (SENDING, 47, "81 % · 3,860/4,722 · about 51 s left · 0 failed"),
        (SENDING, 36, "81 % · 3,860/4,722 · about 51 s left"),
        (PAUSED, 58, "3,860/4,722 · rate-limited, retrying in 7 s · 13 failed"),
        (PAUSED, 62, "81 % · 3,860/4,722 · rate-limited, retrying in 7 s · 13 failed"),
        (
            PAUSED,
            83,
            "81 % ━━━━ 3,860/4,722 · about 51 s left · rate-limited, retrying in 7 s · 13 failed",
        ),
        (PAUSED, 76, "3,860/4,722 · about 51 s left · rate-limited, retrying in 7 s · 13 failed"),
        (PAUSED._replace(server_away=True), 62, "3,860/4,722 · server unavailable, retrying in 7 s · 13 failed"),
        (PAUSED, 27, "3,860/4,722 · 13 failed"),
        (PAUSED, 20, "3,860/4,722"),  # there is room for the percentage, but not for the failures
        (SENDING, 11, "3,860/4,722"),
    ],
)
def test_the_least_important_parts_are_dropped_first(snapshot: Snapshot, width: int | None, line: str) -> None:
    assert progress_line(snapshot, width).plain == line


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["", "nightly"])
def test_a_display_has_a_line_for_each_run_that_fits_the_terminal(width: int, name: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    bar = progress_bar(console, name_width=len(name))
    bar.add_task(name, total=None, snapshot=SENDING)
    console.print(bar.get_renderable())
    (line,) = stream.getvalue().splitlines()
    assert progress_line(SENDING, width - 2 - (len(name) + 1 if name else 0)).plain in line
    assert name in line
    assert len(line.rstrip()) <= width


class Still(Progress):
    """Progress that stays as it is."""

    def __init__(self) -> None: ...

    def snapshot(self) -> Snapshot:
        return SENDING


@pytest.mark.parametrize(("term", "is_line"), [("dumb", True), ("unknown", True), ("xterm", False)])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    term: str, is_line: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    stream, waits = io.StringIO(), 0
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:

            async def sleep(_: float) -> None:
                nonlocal waits
                waits += 1
                if waits == 3:
                    tasks.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()

            monkeypatch.setattr(anyio, "sleep", sleep)
            tasks.start_soon(show_progress, console, Still())

    asyncio.run(main())
    assert (stream.getvalue() == f"{progress_line(SENDING).plain}\n" * 2) is is_line
    assert "3,860/4,722" in stream.getvalue()
