"""The engine sends requests by a ``send`` callable, and knows no HTTP.

Start with ``engine``: `Engine` runs tasks by a ``worker_pool`` whose workers use one ``sender``. Before a request
leaves, the sender waits for the ``circuit_breaker``, the ``pacing`` and a slot of the ``quota``, which a ``ledger``
counts; ``retry`` decides by each reply what comes next, and ``auth_failures`` what a 401 or 403 means. ``signals`` wake
and stop tasks; ``stats`` counts what was sent.
"""

from bulkid.engine.auth_failures import OnForbidden
from bulkid.engine.engine import Engine
from bulkid.engine.ledger import Ledger, MemoryLedger
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.sender import Settled, Task
from bulkid.engine.signals import FailureLimit, Stop
from bulkid.engine.stats import Stats

__all__ = [
    "Engine",
    "FailureLimit",
    "Ledger",
    "MemoryLedger",
    "OnForbidden",
    "RetryPolicy",
    "Settled",
    "Stats",
    "Stop",
    "Task",
]
