"""When a job may send: local time, windows over midnight, and the two nights in which local time jumps."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.config.parse import until as parse_until
from bulkid.config.parse import window as parse_window
from bulkid.engine.engine import Engine
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.engine.task import Task
from bulkid.errors import InterruptedRunError
from bulkid.model import DailyWindow, QuotaRule, Reply, ReplyKind, Request, TimeOfDay
from bulkid.runs import Context, Hooks, Schedule, within_schedule
from bulkid.runs.jobs.schedule import MARGIN_S, Deadline, is_open, next_change, next_time, stop_at_deadline, wall_clock
from tests.support.fake_clock import WALL_START, FakeClock, run
from tests.support.memory_ledger import MemoryLedger

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward on 29 March at 02:00, back on 25 October at 03:00


def at(text: str, fold: int = 0, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("window", "now", "open_", "changes"),
    [
        ("22:00-05:30", "2026-01-10 21:59:59", False, "2026-01-10 22:00"),
        ("22:00-05:30", "2026-01-10 22:00", True, "2026-01-11 05:30"),
        ("22:00-05:30", "2026-01-11 00:00", True, "2026-01-11 05:30"),
        ("22:00-05:30", "2026-01-11 05:30", False, "2026-01-11 22:00"),
        ("08:00-18:00", "2026-01-10 12:00", True, "2026-01-10 18:00"),
        ("08:00-18:00", "2026-01-10 18:00", False, "2026-01-11 08:00"),
        # spring: 02:00 becomes 03:00, and what is skipped is not waited for
        ("22:00-05:30", "2026-03-28 23:00", True, "2026-03-29 05:30"),
        ("02:30-05:00", "2026-03-29 01:59", False, "2026-03-29 03:00"),
        ("22:00-02:30", "2026-03-29 01:59", True, "2026-03-29 03:00"),
        ("02:10-02:50", "2026-03-29 01:00", False, "2026-03-30 02:10"),
    ],
)
def test_a_window_is_open_while_the_clock_shows_its_times(window: str, now: str, open_: bool, changes: str) -> None:
    parsed = parse_window(f"{window} Europe/Berlin")
    assert is_open(parsed, at(now), None) is open_
    assert next_change(parsed, at(now), None) == at(changes)


def test_a_night_is_an_hour_shorter_or_longer_when_the_clock_jumps() -> None:
    night = parse_window("22:00-05:30 Europe/Berlin")
    lengths = [
        next_change(night, at(f"{day} 22:00"), None) - at(f"{day} 22:00")
        for day in ("2026-01-10", "2026-03-28", "2026-10-24")
    ]
    assert [length / 3600 for length in lengths] == [7.5, 6.5, 8.5]


def test_what_the_clock_shows_twice_counts_twice() -> None:
    early = parse_window("22:00-02:30 Europe/Berlin")
    assert next_change(early, at("2026-10-25 01:00"), None) == at("2026-10-25 02:30", fold=0)
    assert next_change(early, at("2026-10-25 02:30", fold=0), None) == at("2026-10-25 02:00", fold=1)
    assert next_change(early, at("2026-10-25 02:10", fold=1), None) == at("2026-10-25 02:30", fold=1)


_times = st.times().map(lambda moment: moment.replace(second=0, microsecond=0))
_zones = st.sampled_from([None, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")])
_moments = st.floats(at("2026-01-01 00:00"), at("2027-01-01 00:00"))


@given(_times, _times, _moments, _zones)
def test_between_now_and_the_next_change_nothing_changes(start: time, end: time, now: float, zone: ZoneInfo) -> None:
    if start == end:
        return
    window = DailyWindow(start, end, zone)
    shown = wall_clock(now, zone).time()
    inside = start <= shown < end if start < end else not end <= shown < start
    assert is_open(window, now, None) is inside
    change = next_change(window, now, None)
    assert now < change
    assert is_open(window, change, None) is not inside
    for part in (0.1, 0.5, 0.9, 0.999):
        assert is_open(window, now + (change - now) * part, None) is inside


@given(_times, _moments, _zones)
def test_the_next_time_is_at_most_a_day_away_and_not_before_it_comes(wanted: time, now: float, zone: ZoneInfo) -> None:
    found = next_time(TimeOfDay(wanted, zone), now, None)
    assert now < found <= now + 25 * 3600 + 60
    shown = wall_clock(found, zone)
    skipped = shown.utcoffset() != wall_clock(found - 60, zone).utcoffset()
    assert (shown.hour, shown.minute) == (wanted.hour, wanted.minute) or skipped
    before = wall_clock(found, zone) - timedelta(minutes=1)
    assert (before.hour, before.minute) != (wanted.hour, wanted.minute)


def test_until_is_the_next_such_time_in_its_own_zone_or_the_jobs() -> None:
    now = at("2026-01-10 22:00")
    assert next_time(parse_until("05:30"), now, BERLIN) == at("2026-01-11 05:30")
    assert next_time(parse_until("05:30 America/New_York"), now, BERLIN) == at("2026-01-11 11:30")
    assert next_time(parse_until("22:00"), now, BERLIN) == at("2026-01-11 22:00")
    assert next_time(parse_until("02:30"), at("2026-03-29 01:00"), BERLIN) == at("2026-03-29 03:00")
    # in autumn the clock goes back: it comes to noon no sooner for that, and twice to what it shows twice
    assert next_time(parse_until("12:00"), at("2026-10-25 01:00"), BERLIN) == at("2026-10-25 12:00")
    assert next_time(parse_until("02:30"), at("2026-10-25 02:45"), BERLIN) == at("2026-10-25 02:30", fold=1)


def test_the_first_end_counts() -> None:
    begun = at("2026-01-10 23:00")
    night = parse_window("22:00-05:30")

    def end(**schedule: object) -> Deadline:
        found = Schedule(zone=BERLIN, **schedule).end(begun)  # type: ignore[arg-type]
        assert found is not None
        return found

    assert end(window=night) == Deadline(at("2026-01-11 05:30"), "Stopped: the window ends at 05:30")
    assert end(window=night, until=parse_until("04:00")).at == at("2026-01-11 04:00")
    assert end(window=night, max_duration_s=3600.0).at == begun + 3600
    assert Schedule().end(begun) is None


def test_nothing_new_is_sent_for_some_seconds_before_the_end_or_less_where_little_is_left() -> None:
    assert Deadline(10_000.0, "").stop_at(0.0) == 10_000.0 - MARGIN_S
    assert Deadline(100.0, "").stop_at(0.0) == 90.0
    assert Deadline(0.0, "").stop_at(5.0) == 0.0


# --- on the fake clock


class Notes(Hooks):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def context(clock: FakeClock, hooks: Hooks, stop: Stop | None = None) -> Context:
    return Context(clock=clock, hooks=hooks, stop=stop or Stop())


START = wall_clock(WALL_START, ZoneInfo("UTC"))  # 22:13:20


def test_a_window_that_opens_soon_is_waited_for() -> None:
    async def main() -> None:
        clock, hooks = FakeClock(), Notes()
        schedule = Schedule(window=parse_window("22:20-05:00 UTC"))
        async with within_schedule(schedule, context(clock, hooks)) as may_work:
            assert may_work
            assert wall_clock(clock.now(), ZoneInfo("UTC")).strftime("%H:%M:%S") == "22:20:00"
        assert "Waiting for the window" in hooks.notes[0]

    run(main)


def test_outside_of_the_window_nothing_is_begun_and_it_is_said_when_it_opens() -> None:
    async def main() -> None:
        clock, hooks = FakeClock(), Notes()
        async with within_schedule(Schedule(window=parse_window("23:00-05:00 UTC")), context(clock, hooks)) as may_work:
            assert not may_work
        assert clock.elapsed == 0
        assert "nothing is begun" in hooks.notes[0]
        assert "2023-11-14T23:00:00Z" in hooks.notes[0]

    run(main)


def test_a_computer_that_sleeps_through_the_window_that_it_waits_for_begins_nothing() -> None:
    async def main() -> None:
        clock, hooks = FakeClock(), Notes()

        async def sleep_for_a_day() -> None:
            await clock.sleep(30)
            clock.set_wall(8 * 3600.0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep_for_a_day)
            async with within_schedule(
                Schedule(window=parse_window("22:20-05:00 UTC")), context(clock, hooks)
            ) as may_work:
                assert not may_work
        assert "Waiting for the window" in hooks.notes[0]
        assert "nothing is begun" in hooks.notes[1]
        assert "2023-11-15T22:20:00Z" in hooks.notes[1]

    run(main)


def test_the_opening_is_said_in_the_time_zone_of_the_window() -> None:
    async def main() -> None:
        hooks = Notes()
        window = parse_window("03:00-05:00 Asia/Tokyo")
        async with within_schedule(
            Schedule(window=window, zone=ZoneInfo("America/Lima")), context(FakeClock(), hooks)
        ) as may_work:
            assert not may_work
        assert "It opens at 2023-11-16 03:00 (2023-11-15T18:00:00Z)." in hooks.notes[0]

    run(main)


def test_a_stop_ends_the_wait_for_the_window() -> None:
    async def main() -> None:
        clock, stop = FakeClock(), Stop()

        async def later() -> None:
            await clock.sleep(30)
            stop.request("SIGTERM")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(later)
            with contextlib.suppress(InterruptedRunError):
                async with within_schedule(
                    Schedule(window=parse_window("22:20-05:00 UTC")), context(clock, Hooks(), stop)
                ):
                    pytest.fail("the window was entered")
        assert clock.elapsed < 60

    run(main)


@pytest.mark.parametrize("wait", ["the quota is used", "the server throttles"])
def test_the_end_of_the_window_ends_a_long_wait_at_once(wait: str) -> None:
    """Work that would wait for an hour stops in the moment that the window's end asks for it, and sends no more."""

    async def main() -> None:
        clock, stop, sent, settled = FakeClock(), Stop(), [], []
        throttled = Reply(ReplyKind.THROTTLED, 429, retry_after=3600.0)

        async def send(_: Request) -> Reply:
            sent.append(clock.elapsed)
            return throttled if wait == "the server throttles" and len(sent) > 2 else Reply(ReplyKind.OK, 200, {})

        rules = [QuotaRule("PUT", 2, 3600.0)] if wait == "the quota is used" else []
        engine = Engine(
            send,
            clock=clock,
            random=lambda: 0.5,
            policy=RetryPolicy(max_attempts=5, base_s=0.5),
            rules=rules,
            ledger=MemoryLedger(clock),
            concurrency=1,
        )

        async def tasks() -> AsyncIterator[list[Task]]:
            yield [Task(number, Request("PUT", f"api/{number}")) for number in range(5)]

        end = Deadline(clock.now() + 600, "Stopped: the window ends at 22:23")
        async with stop_at_deadline(end, stop, clock):
            await engine.run(tasks(), settled.append, stop)
        assert clock.elapsed == pytest.approx(600 - MARGIN_S)
        assert stop.reason == "Stopped: the window ends at 22:23"
        assert len(settled) == 2
        assert not stop.aborted

    run(main)


def test_what_has_not_settled_by_the_end_is_cut_off() -> None:
    async def main() -> None:
        clock, stop = FakeClock(), Stop()
        async with stop_at_deadline(Deadline(clock.now() + 1000, "x"), stop, clock):
            await stop.wait_aborted()
        assert clock.elapsed == 1000

    run(main)


def test_the_end_comes_at_its_time_also_when_the_clock_is_set() -> None:
    class SetClock(FakeClock):
        """A clock on the wall that somebody sets forward after a while."""

        def now(self) -> float:
            return super().now() + (800 if self.elapsed >= 100 else 0)

    async def main() -> None:
        clock, stop = SetClock(), Stop()
        end = Deadline(clock.now() + 1000, "x")
        async with stop_at_deadline(end, stop, clock):
            await stop.wait()
        assert end.at - MARGIN_S <= clock.now() <= end.at
        assert clock.elapsed < 220

    run(main)


def test_a_clock_that_is_set_back_gives_no_more_than_it_shows() -> None:
    class SetClock(FakeClock):
        def now(self) -> float:
            return super().now() - (300 if self.elapsed >= 100 else 0)

    async def main() -> None:
        clock, stop = SetClock(), Stop()
        end = Deadline(clock.now() + 1000, "x")
        async with stop_at_deadline(end, stop, clock):
            await stop.wait()
        assert end.at - MARGIN_S <= clock.now() <= end.at

    run(main)
