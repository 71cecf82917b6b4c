"""The engine sends requests by a ``send`` callable, and knows no HTTP.

Start with ``engine``: `Engine` is a ``sender`` that runs tasks by the workers of a ``worker_pool``. Before a request
leaves, the sender waits for the ``circuit_breaker``, the ``pacing`` and a slot of the ``quota``, which a ``ledger``
counts; ``retry`` decides by each reply what comes next, and ``auth_judge`` finds out what a 401 or 403 is about, by the
rules in ``auth_failures``. ``task`` has what is sent and what comes of it; ``signals`` wake and stop tasks; ``stats``
counts what was sent.
"""
