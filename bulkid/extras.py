"""The parts of bulkid whose libraries are installed only on request: ``pip install "bulkid[console]"``."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from bulkid.errors import UsageError

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "console": ("aiohttp_jinja2", "aiohttp_sse", "argon2", "jinja2", "markupsafe", "prometheus_client", "zxcvbn"),
    "metrics": ("prometheus_client",),
    "notify": ("apprise",),
    "postgres": ("psycopg",),
}
"""The modules that each extra of ``pyproject.toml`` brings."""


class MissingExtraError(UsageError):
    """A setting or command needs libraries that are not installed: nothing was sent."""


def require_extra(extra: str, purpose: str) -> None:
    """Raise MissingExtraError if a library of an extra is missing. Imports none of them.

    Args:
        extra: One of :data:`EXTRAS`.
        purpose: What needs it, as the begin of a sentence: "The web console".
    """
    if not all(map(_is_installed, EXTRAS[extra])):
        raise MissingExtraError(missing_extra(extra, purpose))


def missing_extra(extra: str, purpose: str) -> str:
    """The sentence that says how to install what ``purpose`` needs."""
    return f'{purpose} needs packages that are not installed; install them with: pip install "bulkid[{extra}]"'


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
