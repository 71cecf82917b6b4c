"""The journal: runs, rows, intents, outcomes and the quota ledger, in one database per state directory.

Start with ``store``: `Journal` keeps runs with their rows and items, over ``database`` (transactions) and ``schema``
(tables). ``writer`` settles outcomes in groups, ``queries`` reads for reports and the console. What differs between
SQLite and PostgreSQL is in ``backends``; ``locks`` and ``quota`` are what processes share.

The package imports none of its modules: SQLAlchemy takes longer to import than many commands take to run.
"""
