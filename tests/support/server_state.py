"""Helpers of the tests of undo and of plan files: a sheet with rows of every kind, and the server's state."""

import time

from tests.support.sandbox_host import Hosted

State = dict[str, tuple[str, str, frozenset[str]]]
HEADERS = ("name", "display name", "groups to add", "groups to remove", "groups")
MIXED = (
    HEADERS,
    ("robot-0001", "Alpha", "Finance", "", ""),
    ("robot-0001", "", "Trainees", "", ""),
    ("robot-0002", "!clear", "", "", "Finance; Trainees"),
    ("robot-0003", "", "", "", "!clear"),
    ("robot-0004", "Robot 4", "Customer Care", "", ""),
    ("robot-0005", "Beta", "", "", ""),
)
"""Several rows for one account, an exact list, none at all, a display name cleared, one that stays as it is."""


def state_of(host: Hosted) -> State:
    """Everything that bulkid may change, by id."""
    accounts = host.sandbox.state.accounts.values()
    return {each.id: (each.name, each.display_name or "", frozenset(each.group_ids)) for each in accounts}


def id_of(host: Hosted, name: str) -> str:
    return host.sandbox.state.account_named(name).id


def slowly(host: Hosted, *, delayed: bool) -> None:
    """Let the server take its time, or answer at once."""
    host.sandbox._delayed = delayed


def settle(host: Hosted) -> None:
    """Let the server finish what a killed client had sent: a request may be on its way for the whole latency."""
    before = -1
    while (now := len(host.sandbox.log)) != before:
        before = now
        time.sleep(0.1 + 2 * host.sandbox.options.latency_s)
