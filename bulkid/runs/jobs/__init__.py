"""Jobs: runs without a person, by schedule and from drop folders. Start with ``job``."""
