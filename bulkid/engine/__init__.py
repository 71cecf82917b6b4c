"""Sending: quota, gate, retry decision, worker pool, stop conditions. Knows a ``send`` callable, not HTTP."""

from bulkid.engine.ledger import Lease, Ledger, MemoryLedger, Stamp

__all__ = ["Lease", "Ledger", "MemoryLedger", "Stamp"]
