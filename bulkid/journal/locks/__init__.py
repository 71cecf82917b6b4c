"""Locks: one run per organization, by the operating system or by a PostgreSQL server. Start with ``types``."""
