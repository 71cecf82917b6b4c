"""Where the operating system keeps a user's files of each kind."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bulkid.errors import UsageError


def user_path(text: str) -> Path:
    """Make the path that a user writes: ``~`` at its beginning is a home directory, ``./~`` a file of that name.

    Raises:
        RuntimeError: The home directory is not known.
    """
    return Path(text).expanduser() if text.startswith("~") else Path(text)


def default_state_dir() -> Path:
    """The user's state directory for bulkid, which holds the journal.

    Raises:
        UsageError: The user has no home directory.
    """
    from platformdirs import user_state_path

    return _in_home(user_state_path)


def default_config_dir() -> Path:
    """The user's configuration directory for bulkid, where a ``bulkid.toml`` may lie.

    Raises:
        UsageError: The user has no home directory.
    """
    from platformdirs import user_config_path

    return _in_home(user_config_path)


def _in_home(find: Callable[..., Path]) -> Path:
    """The folder that platformdirs finds; some of its versions leave a home directory that is not known as ``~``."""
    with suppress(RuntimeError):
        path = find("bulkid", appauthor=False)
        if path.parts[0] != "~":
            return path
    raise UsageError(
        "The home directory of this user is not known, and with it the user's settings and state.",
        hint="Set the environment variable HOME to an absolute path.",
    )
