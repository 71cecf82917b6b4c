"""Sending: quota, gate, retry decision, worker pool, stop conditions. Knows a ``send`` callable, not HTTP."""

from bulkid.engine.auth_failures import Credentials, OnForbidden
from bulkid.engine.circuit_breaker import CircuitBreaker
from bulkid.engine.engine import CALL_KEY, Engine
from bulkid.engine.ledger import Lease, Ledger, MemoryLedger, SlotReport
from bulkid.engine.quota import Permit, Quota
from bulkid.engine.retry import Decision, GiveUp, Requeue, Retry, RetryPolicy, Settle, counts, decide
from bulkid.engine.sender import Send, Settled, Task
from bulkid.engine.stats import Stats
from bulkid.engine.stop import FailureLimit, Stop

__all__ = [
    "CALL_KEY",
    "CircuitBreaker",
    "Credentials",
    "Decision",
    "Engine",
    "FailureLimit",
    "GiveUp",
    "Lease",
    "Ledger",
    "MemoryLedger",
    "OnForbidden",
    "Permit",
    "Quota",
    "Requeue",
    "Retry",
    "RetryPolicy",
    "Send",
    "Settle",
    "Settled",
    "SlotReport",
    "Stats",
    "Stop",
    "Task",
    "counts",
    "decide",
]
