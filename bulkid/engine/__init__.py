"""The engine sends requests by a ``send`` callable, and knows no HTTP.

Start with ``engine``: `Engine` runs tasks by a ``worker_pool`` whose workers use one ``sender``. Before a request
leaves, the sender waits for the ``circuit_breaker``, the ``pacing`` and a slot of the ``quota``, which a ``ledger``
counts; ``retry`` decides by each reply what comes next, and ``auth_failures`` what a 401 or 403 means. ``signals`` wake
and stop tasks; ``stats`` counts what was sent.
"""

from bulkid.engine.auth_failures import Credentials, OnForbidden
from bulkid.engine.circuit_breaker import CircuitBreaker
from bulkid.engine.engine import CALL_KEY, Engine
from bulkid.engine.ledger import Lease, Ledger, MemoryLedger, SlotReport
from bulkid.engine.quota import Quota, QuotaPermit
from bulkid.engine.retry import Decision, GiveUp, Requeue, Retry, RetryPolicy, Settle, counts, decide
from bulkid.engine.sender import Send, Settled, Task
from bulkid.engine.signals import FailureLimit, Stop
from bulkid.engine.stats import Stats

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
    "Quota",
    "QuotaPermit",
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
