"""What can be updated: kinds of accounts (``Resource``) and their attributes (``Field``).

A sheet's columns, the plan, the requests, the journal and exports take fields, endpoints and scopes from the resource,
and name none of their own. Start with ``robot_accounts``. To add a field, add a ``Field`` to a resource; to add a kind
of account, write a module like ``robot_accounts``.

A process works on one resource: :func:`current`. A program that works on another one sets it before it calls anything
else: ``with using(OTHER): ...``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bulkid.resources.field import Field
from bulkid.resources.resource import (
    ACTION_COLUMN,
    GROUP_SCOPE,
    INFORMATION_COLUMNS,
    MEMBERSHIP_COLUMNS,
    Resource,
)
from bulkid.resources.robot_accounts import DISPLAY_NAME, ROBOT_ACCOUNTS

__all__ = [
    "ACTION_COLUMN",
    "DISPLAY_NAME",
    "GROUP_SCOPE",
    "INFORMATION_COLUMNS",
    "MEMBERSHIP_COLUMNS",
    "ROBOT_ACCOUNTS",
    "Field",
    "Resource",
    "current",
    "using",
]

_current = ROBOT_ACCOUNTS


def current() -> Resource:
    """Return the resource that this process works on, in all of its threads."""
    return _current


@contextmanager
def using(resource: Resource) -> Iterator[Resource]:
    """Make a resource the current one of this process for the time of a ``with`` block."""
    global _current  # noqa: PLW0603 - one value per process, set before work begins
    before, _current = _current, resource
    try:
        yield resource
    finally:
        _current = before
