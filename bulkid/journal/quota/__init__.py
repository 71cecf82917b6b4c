"""The quota in the database: start with ``ledger``; ``quota_clock`` is its time."""
