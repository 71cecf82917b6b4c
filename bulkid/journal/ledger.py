"""The quota's memory: which slots are in flight and when the others open again, for all runs on one database.

Each exchange is one transaction that holds the write lock from its first moment, so that processes which share the file
cannot hand out one slot twice. Times are wall-clock: they must mean something to other processes and after a restart.
"""

from collections.abc import Mapping, Sequence

from anyio import to_thread
from sqlalchemy import Connection, Double, Update, and_, bindparam, delete, func, insert, null, select, update

from bulkid.clock import Clock
from bulkid.engine.ledger import Lease, Stamp
from bulkid.journal.bulk import Bulk
from bulkid.journal.schema import runs, slots
from bulkid.journal.store import Journal
from bulkid.model import QuotaRule

HOLD_S = 120.0
"""How long a slot stays in flight when its owner never says what became of it. Longer than any request may take."""

_LOG = and_(
    slots.c.organization_id == bindparam("log_organization"),
    slots.c.method == bindparam("log_method"),
    slots.c.seconds == bindparam("log_seconds"),
)
_SLOT = and_(slots.c.slot == bindparam("this_slot"), _LOG, slots.c.held_until.is_not(None))
_SLOT_NAMES = ("this_slot", "log_organization", "log_method", "log_seconds")
_IN_FLIGHT = slots.c.opens_at.is_(None)
_NOW = bindparam("now", type_=Double)

_GIVE_BACK = Bulk(delete(slots).where(_SLOT), _SLOT_NAMES)
_STAMP = Bulk(
    update(slots).values(held_until=null(), opens_at=bindparam("opening")).where(_SLOT),
    ("opening", *_SLOT_NAMES),
)
# Nobody will say any more what became of these: the server counted them, at the latest, when they had been held.
_EXPIRE = (
    update(slots)
    .values(opens_at=slots.c.held_until + slots.c.seconds)
    .where(_LOG, _IN_FLIGHT, slots.c.held_until <= _NOW)
)
# After the clock was set back, times that lie ahead would make everybody wait longer than a window.
_PULL_STAMPS = (
    update(slots).values(opens_at=_NOW + slots.c.seconds).where(_LOG, slots.c.opens_at > _NOW + slots.c.seconds)
)
_PULL_HOLDS = (
    update(slots)
    .values(reserved_at=_NOW, held_until=slots.c.held_until - slots.c.reserved_at + _NOW)
    .where(_LOG, _IN_FLIGHT, slots.c.reserved_at > _NOW)
)
_OPEN = delete(slots).where(_LOG, slots.c.opens_at <= _NOW)
_USED = select(func.count(), func.min(slots.c.opens_at)).where(_LOG)
_RESERVE = insert(slots).returning(slots.c.slot)
# What has been held for so long that it would have counted as answered before now is left to the expiry.
_RECOVER = (
    update(slots).values(held_until=_NOW, opens_at=_NOW + slots.c.seconds).where(_IN_FLIGHT, slots.c.held_until > _NOW)
)
_RECOVER_OWNER = _RECOVER.where(slots.c.owner == bindparam("dead_owner"))
_RECOVER_RUNS = _RECOVER.where(
    slots.c.organization_id == bindparam("log_organization"), slots.c.owner.in_(select(runs.c.run_id))
)


class JournalLedger:
    """A quota ledger in the journal's database; see ``bulkid.engine.ledger.Ledger`` for its contract.

    Args:
        journal: Whose database holds the slots.
        organization_id: Quotas are per organisation.
        owner: The run that reserves, so that its slots can be told apart when it dies.
        clock: Gives the wall-clock time.
        hold_s: How long a slot stays in flight when nothing more is heard of it. Must be longer than a request can
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
        self._mine: set[int] = set()  # slots given out here that we have not heard of again

    async def exchange(self, rule: QuotaRule, want: int, stamped: Sequence[Stamp], unused: Sequence[int]) -> Lease:
        """Bring the log up to date and reserve slots, durably; see ``Ledger``.

        A cancellation comes before it, and then nothing has happened, or waits for its end: no slot is lost sight of.
        """
        now = self._clock.now()
        answered = [(slot, now - max(age, 0.0)) for slot, age in stamped]
        lease = await to_thread.run_sync(self._exchange, rule, want, answered, unused)
        self._mine.difference_update(unused)
        self._mine.difference_update(slot for slot, _ in answered)
        self._mine.update(lease.slots)
        return lease

    async def recover(self, owner: str) -> int:
        """Take the requests in flight of a run whose process is known to be dead as answered just now.

        The server can have counted them until now, so they open a full window later; nobody waits for the hold to end.

        Returns:
            How many there were.
        """
        return await to_thread.run_sync(self._recover, _RECOVER_OWNER, {"dead_owner": owner})

    async def recover_runs(self) -> int:
        """Recover every run of this organisation; to be called with its lock in hand, before anything is reserved.

        Whoever holds the lock knows that no other run is alive. What is not a run (a plan, the doctor) may be.

        Returns:
            How many requests in flight there were.
        """
        return await to_thread.run_sync(self._recover, _RECOVER_RUNS, {"log_organization": self._organization})

    def _recover(self, statement: Update, which: Mapping[str, object]) -> int:
        with self._database.write() as connection:
            return connection.execute(statement, {**which, "now": self._clock.now()}).rowcount

    def _exchange(
        self, rule: QuotaRule, want: int, answered: Sequence[tuple[int, float]], unused: Sequence[int]
    ) -> Lease:
        log = {"log_organization": self._organization, "log_method": rule.method, "log_seconds": rule.seconds}
        key = tuple(log.values())
        with self._database.write() as connection:
            now = self._clock.now()  # with the lock in hand: to wait for it may have taken a while
            self._note(connection, rule, answered, key)
            _GIVE_BACK.run(connection, [(slot, *key) for slot in unused])
            moment = {**log, "now": now}
            for statement in (_EXPIRE, _PULL_STAMPS, _PULL_HOLDS, _OPEN):
                connection.execute(statement, moment)
            used, opens_at = connection.execute(_USED, log).one()
            granted = self._reserve(connection, rule, max(0, min(want, rule.count - used)), now)
        opens_in = None if opens_at is None else min(opens_at - now, rule.seconds)  # no rounding beyond the window
        return Lease(granted, opens_in, used + len(granted))

    def _note(
        self, connection: Connection, rule: QuotaRule, answered: Sequence[tuple[int, float]], key: tuple[object, ...]
    ) -> None:
        noted = [(at + rule.seconds, slot, *key) for slot, at in answered]
        if _STAMP.run(connection, noted) == len(noted):
            return
        # Some are not there, or were noted before. One of ours that was held for so long that it was taken for dead
        # and opened again (the machine slept, say) has been counted by the server only now.
        wanted = self._mine.intersection(slot for slot, _ in answered)
        known = set(connection.execute(select(slots.c.slot).where(slots.c.slot.in_(wanted))).scalars())
        late = [
            {"slot": slot, **self._row(rule, at), "held_until": None, "opens_at": at + rule.seconds}
            for slot, at in answered
            if slot in wanted and slot not in known
        ]
        if late:
            connection.execute(insert(slots), late)

    def _reserve(self, connection: Connection, rule: QuotaRule, count: int, now: float) -> tuple[int, ...]:
        if not count:
            return ()
        row = {**self._row(rule, now), "held_until": now + self._hold_s, "opens_at": None}
        return tuple(sorted(connection.execute(_RESERVE, [row] * count).scalars()))

    def _row(self, rule: QuotaRule, reserved_at: float) -> dict[str, object]:
        return {
            "organization_id": self._organization,
            "method": rule.method,
            "seconds": rule.seconds,
            "owner": self._owner,
            "reserved_at": reserved_at,
        }
