"""The journal: runs, rows, intents, outcomes and the quota ledger, in one database per state directory.

Start with ``store``: `Journal` keeps runs with their rows and items, over ``database`` (transactions) and ``schema``
(tables). ``writer`` settles outcomes in groups, ``queries`` reads for reports and the console. What differs between
SQLite and PostgreSQL is in ``backends``; ``locks`` and ``quota`` are what processes share.

Most names are loaded on first use: SQLAlchemy takes longer to import than many commands take to run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bulkid.journal.errors import StateFullError
from bulkid.journal.locks import LockHandle, LockLostError
from bulkid.journal.names import new_run_id, stored_name

if TYPE_CHECKING:
    from bulkid.journal.claimed_files import ClaimedFile, ClaimedFiles, FileState
    from bulkid.journal.group_refusals import REMEMBERED_S, GroupRefusal, GroupRefusals
    from bulkid.journal.locks.file import forget_lock
    from bulkid.journal.queries import claimed_runs, drop_run, newest_runs
    from bulkid.journal.quota.ledger import JournalLedger
    from bulkid.journal.store import RESUMABLE, Journal, open_journal
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
    "stored_name",
]

_LOADED_ON_USE = {
    "bulkid.journal.claimed_files": ("ClaimedFile", "ClaimedFiles", "FileState"),
    "bulkid.journal.group_refusals": ("REMEMBERED_S", "GroupRefusal", "GroupRefusals"),
    "bulkid.journal.locks.file": ("forget_lock",),
    "bulkid.journal.queries": ("claimed_runs", "drop_run", "newest_runs"),
    "bulkid.journal.quota.ledger": ("JournalLedger",),
    "bulkid.journal.store": ("RESUMABLE", "Journal", "open_journal"),
    "bulkid.journal.writer": ("OutcomeWriter",),
}


def __getattr__(name: str) -> object:
    for module, names in _LOADED_ON_USE.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
