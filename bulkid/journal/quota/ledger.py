"""The quota ledger in the database: which slots are in flight and when the others open again, for all its runs.

Each exchange is one transaction that locks its log (one organisation, one method), so that processes which share the
database cannot give out one slot twice. Times are the ledger's own (`quota_clock`), and each process gets its share.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from anyio import to_thread
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Integer,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from bulkid.clock import Clock
from bulkid.engine.ledger import Lease, QuotaUse, SlotReport, lease
from bulkid.journal.bulk import ExecuteMany, InsertMany
from bulkid.journal.quota.quota_clock import ClockReading, LastExchange, QuotaClock
from bulkid.journal.schema import clocks, runs, slots, waiters
from bulkid.journal.store import Journal
from bulkid.model import QuotaRule

HOLD_S = 120.0  # how long a slot stays in flight whose response is never reported: longer than any request may take

# A waiter that does not ask for so many seconds, or this share of the window, has ended: it asks more often.
_LAPSE_S, _LAPSE_SHARE, _LEAST_LAPSE_S = 15.0, 0.3, 1.0


def _in_log(table: Table) -> ColumnElement[bool]:
    return and_(table.c.organization_id == bindparam("log_organization"), table.c.method == bindparam("log_method"))


_LOG, _THIS_CLOCK, _DEMANDS = _in_log(slots), _in_log(clocks), _in_log(waiters)
_SLOT = and_(slots.c.slot == bindparam("this_slot"), _LOG, slots.c.held_until.is_not(None))
_SLOT_NAMES = ("this_slot", "log_organization", "log_method")
_IN_FLIGHT = slots.c.answered_at.is_(None)
_NOW = bindparam("now", type_=Double)

_GIVE_BACK = ExecuteMany(delete(slots).where(_SLOT), _SLOT_NAMES)
_RECORD_RESPONSE = ExecuteMany(
    update(slots).values(held_until=null(), answered_at=bindparam("answered")).where(_SLOT),
    ("answered", *_SLOT_NAMES),
)
# Their responses are never reported: the server counted them, at the latest, when their hold ended.
_EXPIRE = update(slots).values(answered_at=slots.c.held_until).where(_LOG, _IN_FLIGHT, slots.c.held_until <= _NOW)
# What an older bulkid noted by a wall clock that was ahead.
_CLAMP_TO_NOW = update(slots).values(answered_at=_NOW).where(_LOG, slots.c.answered_at > _NOW)
_FORGET = delete(slots).where(_LOG, slots.c.answered_at <= bindparam("before", type_=Double))
_USED = (
    select(slots.c.owner, func.count(), func.min(slots.c.answered_at))
    .where(_LOG, or_(_IN_FLIGHT, slots.c.answered_at > bindparam("after", type_=Double)))
    .group_by(slots.c.owner)
)
_RESERVED_COLUMNS = ("organization_id", "method", "owner", "reserved_at", "held_until")
_RESERVE = InsertMany(
    insert(slots).values({name: bindparam(name) for name in _RESERVED_COLUMNS}).inline(), _RESERVED_COLUMNS
)
# SQLite before 3.35 has no RETURNING. While the log is locked, its newest slots are those that were just reserved. They
# are in flight: with that condition the index gives them in order, without it all slots of the window are sorted.
_NEWEST = (
    select(slots.c.slot).where(_LOG, _IN_FLIGHT).order_by(slots.c.slot.desc()).limit(bindparam("count", type_=Integer))
)
_METHODS = (
    select(slots.c.method)
    .where(slots.c.organization_id == bindparam("log_organization"), _IN_FLIGHT)
    .distinct()
    .order_by(slots.c.method)
)
# Slots whose hold has ended are left to the expiry.
_RECOVER_RUNS = (
    update(slots)
    .values(held_until=_NOW, answered_at=_NOW)
    .where(_LOG, _IN_FLIGHT, slots.c.held_until > _NOW, slots.c.owner.in_(select(runs.c.run_id)))
)

_CLOCK_COLUMNS = [clocks.c[name] for name in QuotaClock._fields]


class Demand(NamedTuple):
    """A process that wants slots."""

    owner: str
    want: int
    since: float  # since when it has got none


def grant(count: int, used: Mapping[str, int], demand: Demand, others: Sequence[Demand]) -> int:
    """How many of the slots that it wants a process may have now, so that each gets its share and none is left over.

    What is free goes, slot by slot, to the process that has the fewest of the window, and among equals to the one that
    has waited longest: max-min fair sharing by progressive filling (https://en.wikipedia.org/wiki/Max-min_fairness).
    What falls to the others that way stays free for them.

    Args:
        count: Slots of the window.
        used: How many each owner has of them, in flight or within the window.
        demand: Of the process that asks.
        others: Those of the other processes.
    """
    free = max(0, count - sum(used.values()))
    if not others:
        return min(demand.want, free)
    mine = 0
    heap = [(used.get(each.owner, 0), each.since, each.owner, each.want) for each in (demand, *others) if each.want > 0]
    heapify(heap)
    while free and heap:
        used_count, since, owner, want = heap[0]
        mine += owner == demand.owner
        free -= 1
        if want > 1:
            heapreplace(heap, (used_count + 1, since, owner, want - 1))
        else:
            heappop(heap)
    return mine


class JournalLedger:
    """A quota ledger in the journal's database; see ``bulkid.engine.ledger.Ledger`` for its contract.

    Args:
        journal: Whose database holds the slots.
        organization_id: Quotas are per organisation.
        owner: The run that reserves; shares are per owner.
        clock: Gives the time.
        hold_s: Seconds that a slot stays in flight when no response is reported. Must be longer than a request can
            take, or the window would begin before the server has counted.
    """

    def __init__(
        self, journal: Journal, organization_id: str, owner: str, clock: Clock, *, hold_s: float = HOLD_S
    ) -> None:
        self._database = journal.database
        self._organization = organization_id.casefold()
        self._owner = owner
        self._clock = clock
        self._hold_s = hold_s
        self._own_slots: set[int] = set()  # slots given out here whose response is not reported yet
        self._last_exchanges: dict[str, LastExchange] = {}  # by method

    async def exchange(
        self,
        rules: Sequence[QuotaRule],
        want: int,
        reports: Sequence[SlotReport],
        unused: Sequence[int],
        *,
        waiting: bool = False,
    ) -> Lease:
        """Bring the log up to date and reserve slots, durably; see ``Ledger``.

        Of a window each owner that wants slots gets an equal share, and beyond that what the others leave. An owner
        that has not asked for a while wants none any more. A cancellation comes before the exchange or waits for its
        end, so that no slot is lost.
        """
        called_at = self._clock.monotonic()

        def work() -> Lease:
            return self._exchange(
                rules, want, [(slot, called_at - max(age, 0.0)) for slot, age in reports], unused, waiting
            )

        leased = await to_thread.run_sync(self._database.repeat, work)
        self._own_slots.difference_update(unused)
        self._own_slots.difference_update(slot for slot, _ in reports)
        self._own_slots.update(leased.slots)
        return leased

    async def recover_runs(self) -> int:
        """Count the requests in flight of this organisation's runs as answered now, and give how many there were.

        Only the holder of the organisation's lock may call this, before it reserves anything: no other run is alive
        then. The server can have counted the requests of a dead run until now, so their slots open a full window later.
        """
        return await to_thread.run_sync(self._database.repeat, self._recover_runs)

    def _recover_runs(self) -> int:
        found = 0
        with self._database.write() as connection:
            for method in connection.execute(_METHODS, {"log_organization": self._organization}).scalars().all():
                now = self._advance_clock(connection, method, 0.0)[0]
                found += connection.execute(_RECOVER_RUNS, {**self._log(method), "now": now}).rowcount
        return found

    def _log(self, method: str) -> dict[str, object]:
        return {"log_organization": self._organization, "log_method": method}

    def _exchange(
        self,
        rules: Sequence[QuotaRule],
        want: int,
        answered: Sequence[tuple[int, float]],  # slot, and when its response came in: monotonic
        unused: Sequence[int],
        waiting: bool,
    ) -> Lease:
        """Record responses and unused slots, then reserve slots within every rule and this process's fair share.

        All of it is one transaction. ``want`` is how many slots are wanted; ``waiting`` says that a task waits for one.
        """
        method = rules[0].method
        log = self._log(method)
        with self._database.write() as connection:
            now, longest = self._advance_clock(connection, method, max(rule.seconds for rule in rules))
            # As if the clock had been read when the ledger asked for it: a response is noted too late, never too early.
            read_at = self._last_exchanges[method].reading.before
            responses = [(slot, now - max(read_at - at, 0.0)) for slot, at in answered]
            self._record_responses(connection, method, responses)
            _GIVE_BACK.run(connection, [(slot, *log.values()) for slot in unused])
            connection.execute(_EXPIRE, {**log, "now": now})
            connection.execute(_FORGET, {**log, "before": now - longest})
            others = self._demands(connection, rules, now, want, waiting=waiting)
            me = others.pop(self._owner, Demand(self._owner, want, now))
            uses, allowed = [], want
            for rule in rules:
                found = connection.execute(_USED, {**log, "after": now - rule.seconds}).all()
                oldest = min((at for _, _, at in found if at is not None), default=None)
                used: dict[str, int] = {owner: count for owner, count, _ in found}
                uses.append(QuotaUse(rule, sum(used.values()), None if oldest is None else now - oldest))
                allowed = min(allowed, grant(rule.count, used, me, list(others.values())))
            granted = self._reserve(connection, method, max(0, allowed), now)
            if granted:
                mine = waiters.update().values(since=now).where(_DEMANDS, waiters.c.owner == self._owner)
                connection.execute(mine, log)
        withheld = len(granted) < min(want, *(use.remaining for use in uses))
        return lease(granted, uses, withheld=withheld)

    def _advance_clock(self, connection: Connection, method: str, window_s: float) -> tuple[float, float]:
        """Lock the log, and advance its time: the time now, and the longest window known."""
        log = self._log(method)
        dialect = self._database.dialect
        dialect.lock_log(connection, self._organization, method)
        before = self._clock.monotonic()
        source, clock = dialect.reading_of(connection, self._clock)
        reading = ClockReading(source, clock, before, self._clock.monotonic())
        known = connection.execute(select(*_CLOCK_COLUMNS, clocks.c.longest).where(_THIS_CLOCK), log).first()
        if known is None:
            new_clock, longest = QuotaClock.begin(reading, self._clock.now()), window_s
            values = {**new_clock._asdict(), "longest": longest}
            connection.execute(insert(clocks).values(organization_id=self._organization, method=method, **values))
            connection.execute(_CLAMP_TO_NOW, {**log, "now": new_clock.last_time})
        else:
            new_clock = QuotaClock(*known[:-1]).at(reading, self._last_exchanges.get(method))
            longest = max(window_s, known[-1])
            connection.execute(update(clocks).values(**new_clock._asdict(), longest=longest).where(_THIS_CLOCK), log)
        self._last_exchanges[method] = LastExchange(new_clock.last_time, new_clock.ticks, reading)
        return new_clock.last_time, longest

    def _demands(
        self, connection: Connection, rules: Sequence[QuotaRule], now: float, want: int, *, waiting: bool
    ) -> dict[str, Demand]:
        """The demands of all owners that want slots of this method, with this ledger's owner when it does."""
        method = rules[0].method
        log = self._log(method)
        me = and_(_DEMANDS, waiters.c.owner == self._owner)
        if want:
            seen = {"want": want, "seen": now}
            if not connection.execute(update(waiters).values(**seen).where(me), log).rowcount:
                row = {"organization_id": self._organization, "method": method, "owner": self._owner}
                connection.execute(insert(waiters).values(**row, **seen, since=now))
        elif not waiting:
            connection.execute(delete(waiters).where(me), log)
        lapse_s = max(_LEAST_LAPSE_S, min(_LAPSE_S, _LAPSE_SHARE * min(rule.seconds for rule in rules)))
        connection.execute(delete(waiters).where(_DEMANDS, waiters.c.seen < now - lapse_s), log)
        known = select(waiters.c.owner, waiters.c.want, waiters.c.since).where(_DEMANDS)
        return {owner: Demand(owner, wanted, since) for owner, wanted, since in connection.execute(known, log)}

    def _record_responses(self, connection: Connection, method: str, responses: Sequence[tuple[int, float]]) -> None:
        recorded = [(at, slot, *self._log(method).values()) for slot, at in responses]
        if _RECORD_RESPONSE.run(connection, recorded) == len(recorded):
            return
        # Some are not there, or were noted before. One of ours whose hold ended and which was forgotten (the machine
        # slept, say) has been counted by the server only now.
        wanted = self._own_slots.intersection(slot for slot, _ in responses)
        if not wanted:
            return
        # A range binds two values, however many slots are wanted: a statement may not bind thousands (see `bulk`).
        near = slots.c.slot.between(min(wanted), max(wanted))
        known = set(connection.execute(select(slots.c.slot).where(near)).scalars())
        late = [
            {"slot": slot, **self._row(method, at), "held_until": None, "answered_at": at}
            for slot, at in responses
            if slot in wanted and slot not in known
        ]
        if late:
            connection.execute(insert(slots), late)

    def _reserve(self, connection: Connection, method: str, count: int, now: float) -> tuple[int, ...]:
        if not count:
            return ()
        row = (self._organization, method, self._owner, now, now + self._hold_s)
        _RESERVE.run(connection, [row] * count)
        return tuple(sorted(connection.execute(_NEWEST, {**self._log(method), "count": count}).scalars()))

    def _row(self, method: str, reserved_at: float) -> dict[str, object]:
        key = {"organization_id": self._organization, "method": method, "owner": self._owner}
        return {**key, "reserved_at": reserved_at}
