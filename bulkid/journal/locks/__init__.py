"""Locks on organizations: ``types`` says what a lock is; ``file`` and ``server`` keep them."""
