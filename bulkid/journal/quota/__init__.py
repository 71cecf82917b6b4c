"""The quota in the database: the slots of all processes, how they share them, and whose clock counts."""
