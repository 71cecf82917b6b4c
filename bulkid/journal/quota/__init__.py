"""The quota in the database: start with ``ledger``; ``fair_share`` shares slots, ``quota_clock`` is its time."""
