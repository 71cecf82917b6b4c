"""Runs, rows, intents, outcomes and the quota ledger, in one database per state directory.

Most names are loaded on first use: SQLAlchemy takes longer to import than many commands take to run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bulkid.journal.errors import StateFullError
from bulkid.journal.hold import Hold, LockLostError
from bulkid.journal.ids import new_run_id, stored_name

if TYPE_CHECKING:
    from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal, GroupRefusals
    from bulkid.journal.ledger import JournalLedger
    from bulkid.journal.lock import forget_lock, organization_lock
    from bulkid.journal.past import claimed_runs, drop_run, newest_runs
    from bulkid.journal.records import RESUMABLE
    from bulkid.journal.store import Journal, open_journal
    from bulkid.journal.taken import FileState, TakenFile, TakenFiles
    from bulkid.journal.writer import OutcomeWriter

__all__ = [
    "REMEMBERED_S",
    "RESUMABLE",
    "FileState",
    "GroupRefusal",
    "GroupRefusals",
    "Hold",
    "Journal",
    "JournalLedger",
    "LockLostError",
    "OutcomeWriter",
    "StateFullError",
    "TakenFile",
    "TakenFiles",
    "claimed_runs",
    "drop_run",
    "forget_lock",
    "new_run_id",
    "newest_runs",
    "open_journal",
    "organization_lock",
    "stored_name",
]

_HOMES = {
    "REMEMBERED_S": "bulkid.journal.group_refusals",
    "RESUMABLE": "bulkid.journal.records",
    "FileState": "bulkid.journal.taken",
    "GroupRefusal": "bulkid.journal.group_refusals",
    "GroupRefusals": "bulkid.journal.group_refusals",
    "Journal": "bulkid.journal.store",
    "JournalLedger": "bulkid.journal.ledger",
    "OutcomeWriter": "bulkid.journal.writer",
    "TakenFile": "bulkid.journal.taken",
    "TakenFiles": "bulkid.journal.taken",
    "claimed_runs": "bulkid.journal.past",
    "drop_run": "bulkid.journal.past",
    "forget_lock": "bulkid.journal.lock",
    "newest_runs": "bulkid.journal.past",
    "open_journal": "bulkid.journal.store",
    "organization_lock": "bulkid.journal.lock",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)
