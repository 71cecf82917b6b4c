"""The durable quota ledger: the contract of every ledger, and what survives its process."""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from bulkid.clock import Clock
from bulkid.engine.ledger import Ledger
from bulkid.errors import StateError
from bulkid.journal.backends import sqlite as sqlite_module
from bulkid.journal.backends.postgres import PostgresDialect
from bulkid.journal.errors import StateFullError
from bulkid.journal.queries import drop_run
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import Journal, open_journal
from bulkid.model import QuotaRule
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock, run
from tests.support.journal_data import Place, allow_pages, finish, record, start_python
from tests.support.ledger_scenarios import SCENARIOS, Scenario

PUT3 = QuotaRule("PUT", 3, 10.0)
LAPSE_S = 3.0  # how long a process that asked is taken to want more, with a window of ten seconds


@pytest.fixture(autouse=True)
def _server_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server shows the test's own wall-clock time, as SQLite's ledger measures by the test's monotonic time."""

    def read(_dialect: object, _connection: object, clock: Clock) -> tuple[str, float]:
        return "server", clock.now()

    monkeypatch.setattr(PostgresDialect, "reading_of", read)


@pytest.mark.parametrize(
    ("machines", "opened"),
    [(("machine-1", "machine-1"), 3), (("machine-1", "machine-2"), 0), (("", ""), 0)],
    ids=["restarted", "another", "unknown"],
)
async def test_only_a_machine_that_was_started_anew_knows_how_much_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: tuple[str, str], opened: int
) -> None:
    """A container has the same host name on each machine, and another machine may have been up for long."""
    for machine, boot, slots in zip(machines, ("boot-1", "boot-2"), (3, opened), strict=True):
        monkeypatch.setattr(sqlite_module, "machine_id", lambda machine=machine: machine)
        monkeypatch.setattr(sqlite_module, "boot_id", lambda boot=boot: boot)
        with open_journal(tmp_path) as journal:
            ledger = JournalLedger(journal, "org", boot, FakeClock())
            lease = await ledger.exchange([PUT3], 3, [], [])
            await ledger.exchange([PUT3], 0, [(slot, 0.0) for slot in lease.slots], [])
        assert len(lease.slots) == slots


async def recover(journal: Journal, ledger: JournalLedger, owner: str) -> int:
    """Recover one owner: the others are no runs of the journal."""
    journal.create_run(record(owner))
    found = await ledger.recover_runs()
    drop_run(journal, owner)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_it_does_what_every_ledger_must(scenario: Scenario, place: Place) -> None:
    """Each handle opens the database anew, as another process would."""
    clock = FakeClock()
    with ExitStack() as opened:

        def make() -> Ledger:
            return JournalLedger(opened.enter_context(place.open()), "org", "run", clock)

        await scenario(make, clock)


async def test_organisations_have_quotas_of_their_own(journal: Journal) -> None:
    clock = FakeClock()
    one, same, other = (JournalLedger(journal, org, "run", clock) for org in ("ACME-É", "acme-é", "zeta"))
    assert len((await one.exchange([PUT3], 3, [], [])).slots) == 3
    assert (await same.exchange([PUT3], 3, [], [])).slots == ()
    assert len((await other.exchange([PUT3], 3, [], [])).slots) == 3


async def test_a_restart_keeps_the_quota(place: Place) -> None:
    clock = FakeClock()
    with place.open() as journal:
        ledger = JournalLedger(journal, "org", "run", clock)
        lease = await ledger.exchange([PUT3], 2, [], [])
        await ledger.exchange([PUT3], 0, [(lease.slots[0], 0.0)], [])
    clock.advance(4)
    with place.open() as journal:
        lease = await JournalLedger(journal, "org", "other run", clock).exchange([PUT3], 3, [], [])
        assert (len(lease.slots), lease.used) == (1, 3)
        assert lease.seconds_until_free == pytest.approx(6)


async def test_requests_of_a_dead_run_count_as_answered_when_it_is_recovered(journal: Journal) -> None:
    clock = FakeClock()
    dead, alive = (JournalLedger(journal, "org", owner, clock) for owner in ("dead", "alive"))
    slots = (await dead.exchange([PUT3], 2, [], [])).slots
    await dead.exchange([PUT3], 0, [(slots[0], 0.0)], [])
    await alive.exchange([PUT3], 1, [], [])
    clock.advance(6)
    assert await recover(journal, alive, "dead") == 1
    assert await recover(journal, alive, "dead") == 0
    lease = await alive.exchange([PUT3], 1, [], [])
    assert (lease.slots, lease.seconds_until_free) == (
        (),
        pytest.approx(4),
    )  # what was answered opens when it would have
    clock.advance(4)
    assert (await alive.exchange([PUT3], 0, [], [])).seconds_until_free == pytest.approx(6)
    clock.advance(6)
    lease = await alive.exchange([PUT3], 0, [], [])
    assert (lease.used, lease.seconds_until_free) == (1, None)  # only the living one's request is in flight


async def test_whoever_holds_the_lock_recovers_every_run_of_the_organisation_but_no_plan(journal: Journal) -> None:
    clock = FakeClock()
    journal.create_run(record("dead"))
    dead, plan, other = (
        JournalLedger(journal, org, owner, clock) for org, owner in (("org", "dead"), ("org", "plan-7"), ("o2", "dead"))
    )
    for ledger in (dead, plan, other):
        await ledger.exchange([PUT3], 1, [], [])
    alive = JournalLedger(journal, "ORG", "alive", clock)
    assert await alive.recover_runs() == 1
    lease = await alive.exchange([PUT3], 0, [], [])
    assert (lease.used, lease.seconds_until_free) == (2, pytest.approx(10))
    clock.advance(10)
    assert (await alive.exchange([PUT3], 0, [], [])).used == 1  # what the plan sent is still in flight
    assert (await other.exchange([PUT3], 0, [], [])).seconds_until_free is None


async def test_what_died_long_ago_takes_nothing_of_the_quota_any_more(journal: Journal) -> None:
    clock = FakeClock()
    journal.create_run(record("dead"))
    await JournalLedger(journal, "org", "dead", clock, hold_s=120.0).exchange([PUT3], 3, [], [])
    clock.advance(125)
    alive = JournalLedger(journal, "org", "alive", clock)
    assert await alive.recover_runs() == 0
    assert (await alive.exchange([PUT3], 0, [], [])).seconds_until_free == pytest.approx(
        5
    )  # held for 120 s, then a window
    clock.advance(5)
    assert len((await alive.exchange([PUT3], 3, [], [])).slots) == 3


async def test_an_answer_to_a_recovered_request_still_counts(journal: Journal) -> None:
    """Who was taken for dead was only slow: the window begins when its answer came."""
    clock = FakeClock()
    slow = JournalLedger(journal, "org", "slow", clock)
    (slot,) = (await slow.exchange([PUT3], 1, [], [])).slots
    await recover(journal, slow, "slow")
    clock.advance(5)
    assert (await slow.exchange([PUT3], 0, [(slot, 1.0)], [])).seconds_until_free == pytest.approx(9)


async def test_a_slot_that_nobody_speaks_of_is_held_and_then_rests_for_a_window(journal: Journal) -> None:
    clock = FakeClock()
    ledger = JournalLedger(journal, "org", "run", clock, hold_s=120.0)
    await ledger.exchange([PUT3], 3, [], [])
    clock.advance(119.5)
    lease = await ledger.exchange([PUT3], 1, [], [])
    assert (lease.slots, lease.seconds_until_free, lease.used) == ((), None, 3)
    clock.advance(0.5)
    lease = await ledger.exchange([PUT3], 1, [], [])
    assert (lease.slots, lease.seconds_until_free) == ((), pytest.approx(10))
    clock.advance(9.5)
    assert (await ledger.exchange([PUT3], 1, [], [])).seconds_until_free == pytest.approx(0.5)
    clock.advance(0.5)
    lease = await ledger.exchange([PUT3], 5, [], [])
    assert (len(lease.slots), lease.used) == (3, 3)


async def test_each_owner_s_own_hold_counts(journal: Journal) -> None:
    clock = FakeClock()
    patient, hasty = (JournalLedger(journal, "org", "run", clock, hold_s=hold) for hold in (500.0, 1.0))
    await patient.exchange([PUT3], 2, [], [])
    await hasty.exchange([PUT3], 1, [], [])
    clock.advance(20)
    assert (await hasty.exchange([PUT3], 0, [], [])).used == 2


async def test_an_answer_that_comes_after_all_was_given_up_still_counts(journal: Journal) -> None:
    """A machine that slept: its slots were opened again, and only now the server has answered."""
    clock = FakeClock()
    slept, other = (JournalLedger(journal, "org", owner, clock, hold_s=5.0) for owner in ("slept", "other"))
    (first, second) = (await slept.exchange([PUT3], 2, [], [])).slots
    clock.advance(100)
    assert (await other.exchange([PUT3], 0, [], [])).used == 0
    lease = await slept.exchange([PUT3], 3, [(first, 2.0), (second, 50.0)], [])
    assert (len(lease.slots), lease.used, lease.seconds_until_free) == (2, 3, pytest.approx(8))
    again = await slept.exchange([PUT3], 0, [(first, 2.0)], [])
    assert (again.used, again.seconds_until_free) == (3, pytest.approx(8))


async def test_an_answer_that_was_given_up_counts_beside_one_that_was_not(journal: Journal) -> None:
    clock = FakeClock()
    slept, other = (JournalLedger(journal, "org", owner, clock, hold_s=5.0) for owner in ("slept", "other"))
    (first,) = (await slept.exchange([PUT3], 1, [], [])).slots
    clock.advance(100)
    (second,) = (await slept.exchange([PUT3], 1, [], [])).slots
    await other.exchange([PUT3], 0, [], [])  # the first is forgotten
    assert (await slept.exchange([PUT3], 0, [(first, 1.0), (second, 0.0)], [])).used == 2


async def test_a_response_reported_twice_counts_once(journal: Journal) -> None:
    clock = FakeClock()
    ledger = JournalLedger(journal, "org", "run", clock)
    (slot,) = (await ledger.exchange([PUT3], 1, [], [])).slots
    await ledger.exchange([PUT3], 0, [(slot, 0.0)], [])
    clock.advance(7)
    lease = await ledger.exchange([PUT3], 0, [(slot, 0.0)], [slot])
    assert (lease.used, lease.seconds_until_free) == (1, pytest.approx(3))


@pytest.mark.parametrize("step", [-1e6, -50.0, 5.0, 1e6])
async def test_a_clock_that_is_set_opens_nothing_early_and_makes_nobody_wait_longer(place: Place, step: float) -> None:
    """Also for another process, and for one that opens the file for the first time."""
    clock = FakeClock()
    with place.open() as one, place.open() as two:
        mine, theirs = (JournalLedger(journal, "org", "run", clock) for journal in (one, two))
        await theirs.exchange([PUT3], 0, [], [])
        slots = (await mine.exchange([PUT3], 3, [], [])).slots
        await mine.exchange([PUT3], 0, [(slot, 0.0) for slot in slots], [])
        clock.advance(4)
        assert (await mine.exchange([PUT3], 0, [], [])).seconds_until_free == pytest.approx(6)
        clock.set_wall(step)
        asking = [mine, theirs]
        if not place.url:
            asking.append(JournalLedger(one, "org", "new", clock))
        for ledger in asking:
            lease = await ledger.exchange([PUT3], 1, [], [])
            assert (lease.slots, lease.seconds_until_free) == ((), pytest.approx(6))
        clock.advance(6)
        assert len((await theirs.exchange([PUT3], 3, [], [])).slots) == 3


@pytest.mark.parametrize("back", [50.0, 1e6])
async def test_a_clock_set_back_makes_nobody_wait_longer_than_a_window(journal: Journal, back: float) -> None:
    clock = FakeClock()
    ledger = JournalLedger(journal, "org", "run", clock, hold_s=30.0)
    reports, flying, _ = (await ledger.exchange([PUT3], 3, [], [])).slots
    await ledger.exchange([PUT3], 0, [(reports, 0.0)], [])
    clock._elapsed -= back  # the administrator sets the clock
    lease = await ledger.exchange([PUT3], 1, [], [])
    assert (lease.slots, lease.seconds_until_free) == ((), pytest.approx(10))
    clock.advance(10)
    lease = await ledger.exchange([PUT3], 1, [], [])
    assert len(lease.slots) == 1
    await ledger.exchange([PUT3], 0, [(flying, 0.0)], list(lease.slots))
    clock.advance(20)  # of the last one nothing was heard: held for its 30 seconds from when the clock was set
    assert (await ledger.exchange([PUT3], 0, [], [])).seconds_until_free == pytest.approx(10)
    clock.advance(10)
    assert (await ledger.exchange([PUT3], 0, [], [])).used == 0


async def test_slots_that_opened_leave_nothing_behind(journal: Journal) -> None:
    clock = FakeClock()
    ledger = JournalLedger(journal, "org", "run", clock)
    for _ in range(5):
        slots = (await ledger.exchange([PUT3], 3, [], [])).slots
        await ledger.exchange([PUT3], 0, [(slot, 0.0) for slot in slots], [])
        clock.advance(10)
    await ledger.exchange([PUT3], 0, [], [])
    with journal.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM slots").scalar() == 0


async def test_the_slots_that_were_just_reserved_are_found_without_sorting_the_window(file_journal: Journal) -> None:
    ledger, statements = JournalLedger(file_journal, "org", "run", FakeClock()), list[tuple[str, Any]]()
    engine = file_journal.database.dialect.engine
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
    await ledger.exchange([PUT3], 3, [], [])
    ((statement, values),) = [each for each in statements if "ORDER BY slots.slot" in each[0]]
    with file_journal.database.read() as connection:
        steps = [step.detail for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(steps) == 1
    assert "organization_id=? AND method=? AND answered_at=?" in steps[0]


async def test_a_reservation_that_cannot_be_kept_is_none(file_journal: Journal) -> None:
    clock, journal = FakeClock(), file_journal
    ledger = JournalLedger(journal, "org", "run", clock)
    allow_pages(journal, 1)
    with pytest.raises(StateFullError):
        await ledger.exchange([QuotaRule("PUT", 50_000, 10.0)], 50_000, [], [])
    allow_pages(journal, 0)
    lease = await ledger.exchange([PUT3], 3, [], [])
    assert (len(lease.slots), lease.used) == (3, 3)
    journal.close()
    with pytest.raises(StateError, match="closed"):
        await ledger.exchange([PUT3], 1, [], [])


class Sent:
    """What one handle has sent: the server counts a request at some moment from leaving to answering."""

    def __init__(self, ledger: JournalLedger) -> None:
        self.ledger = ledger
        self.flying: dict[int, int] = {}  # slot -> index in the history
        self.answered: dict[int, int] = {}  # the same, not told to the ledger yet
        self.unused: dict[int, int] = {}


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "answer", "give back", "die", "tell"]),
        st.integers(0, 2),  # who
        st.integers(1, 4),  # how many
        st.sampled_from([0.0, 0.0, 0.25, 1.0, 2.5, 9.75]),  # seconds that pass
        st.sampled_from([0.0, 0.0, -3600.0, 5.0, 1e6]),  # by how much the wall clock is set
    ),
    min_size=5,
    max_size=40,
)


# A failing example is shown as it was drawn: to make it smaller takes minutes, since each try opens three databases.
@settings(max_examples=examples(20, soak=200), deadline=None, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(steps)
@example([("take", 0, 4, 0.0, 0.0), ("give back", 0, 4, 0.0, 0.0), ("tell", 0, 1, 0.0, 0.0), ("take", 1, 4, 0.0, 0.0)])
def test_no_window_ever_holds_more_and_nothing_is_left_unused(
    tmp_path_factory: pytest.TempPathFactory, todo: list[tuple[str, int, int, float, float]]
) -> None:
    """Three runs on one file, answers in any order, deaths among them, the clock set; true time is what is measured.

    Only what others want, too, may be withheld.
    """
    rule = QuotaRule("PUT", 4, 10.0)

    async def main() -> None:
        clock = FakeClock()
        with ExitStack() as opened:
            folder = tmp_path_factory.mktemp("ledger")
            journals = [opened.enter_context(open_journal(folder)) for _ in range(3)]
            history: list[list[float]] = []  # [left at, counted by the server at the latest]
            runs = [Sent(JournalLedger(journals[who], "org", f"run-{who}", clock)) for who in range(3)]
            asked = [-math.inf] * 3  # when each last wanted something
            for what, who, many, seconds, step in todo:
                clock.advance(seconds)
                clock.set_wall(step)
                me, now = runs[who], clock.elapsed
                if what in ("take", "tell"):
                    want = many if what == "take" else 0
                    stamps = [(slot, now - history[index][1]) for slot, index in me.answered.items()]
                    lease = await me.ledger.exchange([rule], want, stamps, list(me.unused))
                    me.answered, me.unused = {}, {}
                    assert len(lease.slots) <= want
                    asked[who] = now if want else -math.inf
                    alone = all(at < now - LAPSE_S for other, at in enumerate(asked) if other != who)
                    assert len(lease.slots) == want or lease.used >= rule.count or not alone
                    for slot in lease.slots:
                        me.flying[slot] = len(history)
                        history.append([now, float("inf")])
                        # The server can count every request of the last window from its leaving to its answer.
                        near = [1 for _, counted in history if counted > now - rule.seconds]
                        assert len(near) <= rule.count
                    taken = sum(counted > now - rule.seconds for _, counted in history)
                    assert lease.used >= taken
                    if not any(run.answered or run.unused for run in runs):
                        assert lease.used == taken  # all is told: nothing is held longer than it must be
                elif what == "answer":
                    for slot in list(me.flying)[:many]:
                        me.answered[slot] = me.flying.pop(slot)
                        history[me.answered[slot]][1] = now
                elif what == "give back":
                    for slot in list(me.flying)[:many]:
                        me.unused[slot] = me.flying.pop(slot)
                        history[me.unused[slot]][1] = -math.inf  # the server has never had it
                else:
                    survivor = runs[(who + 1) % 3]
                    await recover(journals[(who + 1) % 3], survivor.ledger, f"run-{who}")
                    for index in (*me.flying.values(), *me.answered.values(), *me.unused.values()):
                        history[index][1] = now  # what it knew of them died with it
                    runs[who] = Sent(JournalLedger(journals[who], "org", f"run-{who}", clock))

    run(main)


_HAMMER = """
import asyncio, pathlib, random, sys, time
import orjson
from bulkid.clock import SystemClock
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import open_journal
from bulkid.model import QuotaRule

async def main(folder, url, owner):
    sent, stamps, random_ = [], [], random.Random(owner)
    rule = QuotaRule("PUT", 8, 0.4)
    with open_journal(pathlib.Path(folder), url) as journal:
        ledger = JournalLedger(journal, "org", owner, SystemClock())
        print("ready", flush=True)
        sys.stdin.readline()
        while len(sent) < 10:
            now = time.time()
            lease = await ledger.exchange([rule], 3, [(slot, now - at) for slot, at in stamps], [])
            stamps = []
            for slot in lease.slots:
                left = time.time()
                await asyncio.sleep(random_.random() * 0.005)
                answered = time.time()
                sent.append((left, answered))
                stamps.append((slot, answered))
            if not lease.slots:
                await asyncio.sleep(min(lease.seconds_until_free or 0.02, 0.02))
        print(orjson.dumps(sent).decode())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_four_processes_together_keep_one_quota(place: Place) -> None:
    place.open().close()
    started = [start_python(_HAMMER, *place.arguments, f"run-{number}") for number in range(4)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    sent = sorted(request for process in started for request in orjson.loads(finish(process)))
    assert len(sent) >= 40  # five windows, filled by all of them together
    for left, _ in sent:
        # Whenever between leaving and answering the server counted each of them.
        in_window = [request for request in sent if request[0] <= left and request[1] > left - 0.4]
        assert len(in_window) <= 8
