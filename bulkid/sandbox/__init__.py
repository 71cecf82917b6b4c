"""A simulated Identity Server, for first steps with bulkid and for its own tests. Start reading at ``server``."""
