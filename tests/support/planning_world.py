"""A small organisation for the planning tests, and a model of what the server's PUT does to it."""

import functools
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bulkid.model import Account, Action, Change, DesiredState, Group, Outcome, RowRequest, RunItem, Status
from bulkid.planning.directory import Directory
from bulkid.text import fold
from tests.support.examples import examples

State = tuple[Account, ...]
"""All accounts at one moment."""

LAW = settings(deadline=None, max_examples=examples(40, soak=800), suppress_health_check=[HealthCheck.too_slow])
"""No timing in a law: a machine that is busy with other things proves nothing."""

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
EVERYONE_ID = "G-Everyone"
GROUPS = (
    Group(EVERYONE_ID, "Everyone", "builtIn"),
    Group("g-fin", "Finance"),
    Group("G-TRA", "Trainees"),
    Group("alumni-02", "Alumni"),
    Group("g-zue", "Zürich Straße"),
)
COLUMNS = {
    "robot_account_id": "Id",
    "name": "Robot",
    "display_name": "Display Name",
    "groups_to_add": "Add",
    "groups_to_remove": "Remove",
    "groups": "Groups",
    "action": "Action",
    "partition_global_id": "Org",
}


def account(
    account_id: str = "88-uv", name: str = "Roby01", display_name: str = "Roby", groups: tuple[str, ...] | None = ()
) -> Account:
    """An account, in Everyone besides the groups given; None: the server did not say."""
    return Account(account_id, name, (display_name,), None if groups is None else (EVERYONE_ID, *groups))


ACCOUNTS = (
    account(groups=("g-fin",)),
    account("A-2", "Robot Two", "", ("G-TRA", "alumni-02")),
    account("a-3", "ÜBER-bot", "Uber", ()),
    account("a-4", "robot four", "Four", ("g-zue",)),
)


DESIRED = DesiredState("88-uv", "Roby01", ("Robbie",), ("g-fin",), ("G-TRA",), None, (2, 5))
"""A change of the first account."""

UPDATED = Outcome(Status.UPDATED)


def run_item(
    desired: DesiredState, before: Account | None, outcome: Outcome = UPDATED, *, intended: bool = True
) -> RunItem:
    """An account of a run, updated unless the outcome is another."""
    return RunItem(0, desired, before, "the change", outcome, intended)


def directory(accounts: Sequence[Account] | None = ACCOUNTS, groups: Sequence[Group] | None = GROUPS) -> Directory:
    return Directory(ORG, accounts, groups)


def request(
    row: int = 2,
    account_id: str = "",
    name: str = "",
    *,
    display_name: str | None = None,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    exact: tuple[str, ...] | None = None,
    partition: str = "",
    action: Action = Action.UPDATE,
) -> RowRequest:
    return RowRequest(row, account_id, name, (display_name,), add, remove, exact, partition, action)


def put(state: Account, change: Change) -> Account:
    """What the server makes of the change's PUT: it keeps what is not named, and Everyone always."""
    gone = {group.lower() for group in change.remove}
    held = [group for group in state.group_ids or () if group.lower() not in gone]
    lower = {group.lower() for group in held}
    held += [group for group in change.add if group.lower() not in lower]
    assert EVERYONE_ID.lower() not in gone, "the server refuses to take an account out of Everyone"
    (name,) = state.values if change.values == (None,) else change.values
    return state._replace(values=(name,), group_ids=tuple(held))


# Hypothesis checks a strategy each time that one is made, which takes a third of a law's time if strategies are made
# while an example is drawn. So each is made once.


@functools.cache
def cased(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([each for each in (text, text.lower(), text.upper()) if fold(each) == fold(text)])


GROUP_TEXTS = st.sampled_from([text for group in GROUPS for text in (group.id, group.name)]).flatmap(cased)
GROUP_LISTS = st.lists(GROUP_TEXTS, max_size=3).map(tuple)
DISPLAY_NAMES = st.sampled_from([None, None, "", "Roby", "Robbie", "Four"])


_SHOWN_NAMES = st.sampled_from(["", "Roby", "Robbie", "Four"])
_ID_SETS = st.sets(st.sampled_from([group.id for group in GROUPS[1:]]))
_ROW_KEYS = st.sampled_from(["id", "name", "both"])
_EXACT_LISTS = st.none() | st.none() | GROUP_LISTS
_REMOVE_LISTS = st.just(()) | GROUP_LISTS
_UNKNOWN_GROUPS = st.just(()) | st.just(()) | st.just(("Finanze",))
_KNOWN_ACCOUNTS = st.sampled_from(ACCOUNTS)


@functools.cache
def _ids_or_unknown(account_id: str) -> st.SearchStrategy[str]:
    return st.just(account_id) | st.sampled_from([account_id, account_id, "nobody"])


@st.composite
def accounts(draw: st.DrawFn) -> tuple[Account, ...]:
    """The same accounts in any state."""
    return tuple(
        known._replace(
            values=(draw(_SHOWN_NAMES),),
            group_ids=(EVERYONE_ID, *(draw(cased(group)) for group in sorted(draw(_ID_SETS)))),
        )
        for known in ACCOUNTS
    )


@st.composite
def rows(draw: st.DrawFn, *, invalid: bool = True, most: int = 6) -> list[RowRequest]:
    """Rows for these accounts; many of them for the same one, some of them at odds, some plainly wrong."""
    made = []
    for number in range(draw(st.integers(0, most))):
        known = draw(_KNOWN_ACCOUNTS)
        by = draw(_ROW_KEYS)
        account_id = draw(cased(known.id)) if by != "name" else ""
        name = draw(cased(known.name)) if by != "id" else ""
        exact = draw(_EXACT_LISTS)
        add = draw(GROUP_LISTS) if exact is None or invalid else ()
        remove = draw(_REMOVE_LISTS) if exact is None or invalid else ()
        if invalid:
            account_id = draw(_ids_or_unknown(account_id))
            add = (*add, *draw(_UNKNOWN_GROUPS))
        display = draw(DISPLAY_NAMES)
        made.append(request(number + 2, account_id, name, display_name=display, add=add, remove=remove, exact=exact))
    return made


def plain(state: State) -> dict[str, tuple[str, frozenset[str]]]:
    """Display names and memberships, as the server compares them."""
    return {each.id: (each.values[0], frozenset(map(str.lower, each.group_ids or ()))) for each in state}


def touches(before: Account, after: Account) -> set[str]:
    """The attributes that a run changed: "name", and ids of groups."""
    one, other = plain((before,))[before.id], plain((after,))[after.id]
    return ({"name"} if one[0] != other[0] else set()) | (one[1] ^ other[1])


def skeleton(account: Account, attributes: set[str]) -> set[tuple[str, object]]:
    """How an account looks in some attributes only."""
    name, groups = plain((account,))[account.id]
    return {(each, name if each == "name" else each in groups) for each in attributes}
