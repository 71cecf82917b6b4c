"""Where the operating system keeps a user's files of each kind."""

from pathlib import Path


def default_state_dir() -> Path:
    """The user's state directory for bulkid, which holds the journal."""
    from platformdirs import user_state_path

    return user_state_path("bulkid", appauthor=False)


def default_config_dir() -> Path:
    """The user's configuration directory for bulkid, where a ``bulkid.toml`` may lie."""
    from platformdirs import user_config_path

    return user_config_path("bulkid", appauthor=False)
