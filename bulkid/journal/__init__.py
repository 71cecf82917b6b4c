"""The journal: runs, rows, intents, outcomes and the quota ledger, in one database per state directory.

Start with ``store``: `Journal` keeps a run's rows and entries, over ``run_store`` (runs), ``database`` (transactions)
and ``schema`` (tables). ``writer`` settles outcomes in groups, ``queries`` reads for reports and the console. What
differs between SQLite and PostgreSQL is in ``backends``; ``locks`` and ``quota`` are what processes share.

Most names are loaded on first use: SQLAlchemy takes longer to import than many commands take to run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bulkid.journal.errors import StateFullError
from bulkid.journal.locks.types import LockHandle, LockLostError
from bulkid.journal.names import new_run_id, stored_name

if TYPE_CHECKING:
    from bulkid.journal.claimed_files import ClaimedFile, ClaimedFiles, FileState
    from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal, GroupRefusals
    from bulkid.journal.locks.file import forget_lock, organization_lock
    from bulkid.journal.queries import claimed_runs, drop_run, newest_runs
    from bulkid.journal.quota.ledger import JournalLedger
    from bulkid.journal.run_store import RESUMABLE
    from bulkid.journal.store import Journal, open_journal
    from bulkid.journal.writer import OutcomeWriter

__all__ = [
    "REMEMBERED_S",
    "RESUMABLE",
    "ClaimedFile",
    "ClaimedFiles",
    "FileState",
    "GroupRefusal",
    "GroupRefusals",
    "Journal",
    "JournalLedger",
    "LockHandle",
    "LockLostError",
    "OutcomeWriter",
    "StateFullError",
    "claimed_runs",
    "drop_run",
    "forget_lock",
    "new_run_id",
    "newest_runs",
    "open_journal",
    "organization_lock",
    "stored_name",
]

_MODULE_OF = {
    "REMEMBERED_S": "bulkid.journal.group_refusals",
    "RESUMABLE": "bulkid.journal.run_store",
    "FileState": "bulkid.journal.claimed_files",
    "GroupRefusal": "bulkid.journal.group_refusals",
    "GroupRefusals": "bulkid.journal.group_refusals",
    "Journal": "bulkid.journal.store",
    "JournalLedger": "bulkid.journal.quota.ledger",
    "OutcomeWriter": "bulkid.journal.writer",
    "ClaimedFile": "bulkid.journal.claimed_files",
    "ClaimedFiles": "bulkid.journal.claimed_files",
    "claimed_runs": "bulkid.journal.queries",
    "drop_run": "bulkid.journal.queries",
    "forget_lock": "bulkid.journal.locks.file",
    "newest_runs": "bulkid.journal.queries",
    "open_journal": "bulkid.journal.store",
    "organization_lock": "bulkid.journal.locks.file",
}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(module), name)
