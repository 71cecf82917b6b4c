"""The ledger's clock: never faster than true time, never backwards, and as fast as true time where that is known."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid import clock as clock_module
from bulkid.journal.quota.quota_clock import ClockReading, LastExchange, QuotaClock
from tests.support.examples import examples

WALL = 1_700_000_000.0

moves = st.lists(
    st.tuples(
        st.sampled_from(["go on", "set the clock", "restart"]),
        st.integers(0, 2),  # which process
        st.floats(0.0, 400.0),  # seconds that truly pass
        st.floats(-1e6, 1e6),  # by how much the clock is set
        st.floats(0.0, 0.2),  # how long reading the clock takes
    ),
    min_size=2,
    max_size=40,
)


class World:
    """True time, a server whose clock is set, a machine that is restarted, and processes."""

    def __init__(self) -> None:
        self.true = 1000.0
        self.wall_off = WALL - 1000.0
        self.boots = 0
        self.booted = 0.0
        self.seen: dict[int, LastExchange] = {}
        self.line: QuotaClock | None = None

    def look(self, who: int, *, server: bool, takes_s: float, containers: bool = False) -> tuple[float, float]:
        """One exchange of a process: true time, and the ledger's."""
        before = self.true - self.booted
        self.true += takes_s / 2
        at = self.true
        if server:
            source, clock = "server", self.true + self.wall_off
        else:
            host = f"container-{who}" if containers else "host"
            source, clock = f"{host} boot-{self.boots}", self.true - self.booted
        self.true += takes_s / 2
        shown = ClockReading(source, clock, before, self.true - self.booted)
        self.line = QuotaClock.begin(shown, WALL) if self.line is None else self.line.at(shown, self.seen.get(who))
        self.seen[who] = LastExchange(self.line.last_time, self.line.ticks, shown)
        return at, self.line.last_time


@settings(max_examples=examples(100, soak=1000), deadline=None)
@given(moves, st.booleans())
def test_in_a_file_it_is_exact_within_a_boot_and_never_fast_over_several(
    moves: list[tuple[str, int, float, float, float]], containers: bool
) -> None:
    """Processes in containers have one machine's monotonic time, and host names of their own."""
    world = World()
    history: list[tuple[float, float, int]] = []  # true time, the ledger's, which boot
    for what, who, seconds, step, _ in moves:
        world.true += seconds
        if what == "set the clock":
            world.wall_off += step
        elif what == "restart":
            world.boots += 1
            world.true += 1.0
            world.booted = world.true - seconds / 2
            world.seen = {}
        at, now = world.look(who, server=False, takes_s=0.0, containers=containers)
        for earlier_at, earlier, boot in history:
            assert 0 <= now - earlier <= at - earlier_at + 1e-3
            if boot == world.boots:
                assert now - earlier == pytest.approx(at - earlier_at, abs=1e-3)
        history.append((at, now, world.boots))


@settings(max_examples=examples(100, soak=1000), deadline=None)
@given(moves)
def test_on_a_server_whose_clock_is_set_it_is_never_fast_for_those_who_were_there(
    moves: list[tuple[str, int, float, float, float]],
) -> None:
    """One process is all that is needed to know; it has been there from the start. A stranger believes the server."""
    world = World()
    history: list[tuple[float, float]] = []
    for what, _, seconds, step, takes_s in moves:
        world.true += seconds
        if what == "set the clock":
            world.wall_off += step
        at, now = world.look(0, server=True, takes_s=takes_s)
        if history:
            assert now >= history[-1][1]
        # As exact as the clock could be read: each look may be out by what it took.
        slack = 2 * sum(move[4] for move in moves) + 1e-3
        for earlier_at, earlier in history:
            assert now - earlier == pytest.approx(at - earlier_at, abs=slack)
        history.append((at, now))


@settings(max_examples=examples(100, soak=1000), deadline=None)
@given(moves, st.booleans())
def test_several_processes_on_a_server_never_see_it_ahead_and_none_sees_it_fast_when_it_is_set_forward(
    moves: list[tuple[str, int, float, float, float]], forward: bool
) -> None:
    """Set back and forward between two looks of different processes, it makes up at most for what it lost before."""
    world = World()
    for who in range(3):
        world.look(who, server=True, takes_s=0.0)
    history: list[tuple[float, float]] = [(1000.0, WALL)]
    for what, who, seconds, step, _ in moves:
        world.true += seconds
        if what == "set the clock":
            world.wall_off += abs(step) if forward else step
        at, now = world.look(who, server=True, takes_s=0.0)
        for earlier_at, earlier in history if forward else history[:1]:
            assert -1e-6 <= now - earlier <= at - earlier_at + 1e-3
        assert now >= history[-1][1]
        history.append((at, now))


def test_a_clock_set_back_on_a_server_holds_nobody_up_longer_than_since_the_last_look() -> None:
    world = World()
    for who in (0, 1):
        world.look(who, server=True, takes_s=0.0)
    world.true += 5.0
    _, before = world.look(0, server=True, takes_s=0.0)
    world.true += 2.0
    world.wall_off -= 3600.0
    _, after = world.look(1, server=True, takes_s=0.0)
    assert 0.0 <= after - before <= 2.0
    world.true += 10.0
    _, later = world.look(0, server=True, takes_s=0.0)
    assert later - after == pytest.approx(10.0)


def test_a_restarted_machine_knows_how_long_it_has_been_up() -> None:
    line = QuotaClock.begin(ClockReading("host boot-1", 5000.0, 5000.0, 5000.0), WALL)
    assert line.at(ClockReading("host boot-2", 400.0, 400.0, 400.0)).last_time == WALL + 400.0


@pytest.mark.parametrize("source", ["other boot-2", "host ", "other ", "host boot-1x other", " boot-2"])
def test_where_it_cannot_be_told_how_much_time_has_passed_none_has(source: str) -> None:
    line = QuotaClock.begin(ClockReading("host boot-1", 5000.0, 5000.0, 5000.0), WALL)
    moved = line.at(ClockReading(source, 9000.0, 9000.0, 9000.0))
    assert moved.last_time == WALL
    assert moved.at(ClockReading(source, 9001.5, 9001.5, 9001.5)).last_time == WALL + 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has time namespaces")
def test_a_container_with_a_monotonic_time_of_its_own_does_not_say_which_boot_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert clock_module.boot_id()
    monkeypatch.setattr(clock_module, "_FIRST_TIME_NAMESPACE", -1)
    assert clock_module.boot_id() == ""


@pytest.mark.parametrize(
    ("text", "known"), [("0123456789abcdef" * 2 + "\n", True), ("uninitialized\n", False), ("", False), (None, False)]
)
def test_a_machine_is_known_by_its_number_where_it_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, known: bool
) -> None:
    path = tmp_path / "machine-id"
    if text is not None:
        path.write_text(text, encoding="ascii")
    monkeypatch.setattr(clock_module, "_MACHINE_ID", path)
    found = clock_module.machine_id()
    assert bool(found) is known
    assert found not in {"0123456789abcdef" * 2, "0123456789abcdef"}  # it is confidential


def test_monotonic_time_that_went_back_without_a_word_of_a_boot_counts_for_nothing() -> None:
    line = QuotaClock.begin(ClockReading("host ", 5000.0, 5000.0, 5000.0), WALL)
    moved = line.at(ClockReading("host ", 300.0, 300.0, 300.0))
    assert moved.last_time == WALL
    assert moved.at(ClockReading("host ", 310.0, 310.0, 310.0)).last_time == WALL + 10.0
