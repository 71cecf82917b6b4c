"""Plans of creations, updates and deletions, and a model of what becomes of the accounts."""

from collections.abc import Sequence
from itertools import count

from hypothesis import strategies as st

from bulkid.model import Account, Action, Change, DesiredState, Group, Outcome, RunItem, Status
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan
from bulkid.planning.resolve import Resolution
from bulkid.resources import current
from tests.support.planning_world import ACCOUNTS, GROUPS, State, account, accounts, directory, put

NEW = Group("0e8a1c5e-6f0b-4b5b-9d5c-1a2b3c4d5e6f", "Newcomers", "new")
NOTHING = current().nothing
OWN_GROUPS = [group.id for group in GROUPS[1:]]
LOGINS = ("", "2026-01-31T08:15:00Z", "2026-02-01T00:00:00.1234567Z")

ids = count()


def applied(state: State, changes: Sequence[Change]) -> tuple[State, dict[str, str]]:
    """The accounts once the changes are made, and the ids of those that were created, by name."""
    found = {each.id: each for each in state}
    created = {}
    for change in changes:
        if change.action is Action.DELETE:
            del found[change.account_id]
        elif change.action is Action.CREATE:
            assert change.name.casefold() not in {each.name.casefold() for each in found.values()}
            made = account(f"made-{next(ids)}", change.name, change.values[0] or "", change.add)
            found[made.id] = made
            created[change.name] = made.id
        else:
            found[change.account_id] = put(found[change.account_id], change)
    return tuple(found.values()), created


def by_name(state: State) -> dict[str, tuple[str, frozenset[str]]]:
    """Display names and groups by name: an account that is made again has another id."""
    return {each.name: (each.values[0] or "", frozenset(map(str.lower, each.group_ids or ()))) for each in state}


def wanted(number: int, name: str, action: Action, **parts: tuple[str, ...]) -> DesiredState:
    known = next((each.id for each in ACCOUNTS if each.name == name), "")
    values = parts.get("values", NOTHING)
    return DesiredState(known, name, values, parts.get("add", ()), parts.get("remove", ()), None, (number,), action)


_GROUPS = st.lists(st.sampled_from([*OWN_GROUPS, NEW.id]), max_size=3, unique=True).map(tuple)
_VALUES = st.sampled_from([NOTHING, ("Roby",), ("New",)])
_ACTIONS = st.sampled_from([None, Action.UPDATE, Action.UPDATE, Action.DELETE])
_LOGINS = st.sampled_from(LOGINS)


@st.composite
def desired_states(draw: st.DrawFn) -> tuple[DesiredState, ...]:
    """Updates and deletions of accounts that exist, and creations of others."""
    made = []
    for known in ACCOUNTS:
        action = draw(_ACTIONS)
        if action is Action.UPDATE:
            add = draw(_GROUPS)
            remove = tuple(group for group in draw(_GROUPS) if group not in {*add, NEW.id})
            made.append(wanted(len(made) + 2, known.name, action, values=draw(_VALUES), add=add, remove=remove))
        elif action is Action.DELETE:
            made.append(wanted(len(made) + 2, known.name, action))
    for number in range(draw(st.integers(0, 3))):
        made.append(wanted(len(made) + 2, f"bot {number}", Action.CREATE, values=draw(_VALUES), add=draw(_GROUPS)))
    return tuple(draw(st.permutations(made)))


@st.composite
def states(draw: st.DrawFn) -> State:
    return tuple(each._replace(last_login=draw(_LOGINS)) for each in draw(accounts()))


def known(state: State, *more: Group) -> Directory:
    return directory(state, (*GROUPS, *more))


def planned(desired_states: Sequence[DesiredState], state: State) -> Plan:
    return build_plan(Resolution(tuple(desired_states), (), (), (NEW,)), known(state))


CREATION = wanted(2, "bot", Action.CREATE, values=("Bot",), add=("g-fin",))
MADE = account("made", "bot", "Bot", ("g-fin",))
"""What the creation of an account asks for, and the account that it makes."""


def creation(outcome: Outcome | None = None, **more: object) -> RunItem:
    """The run item of the creation of an account, ``more`` replaces parts of what it asks for."""
    desired = CREATION._replace(account_id="made")._replace(**more)  # type: ignore[arg-type]
    return RunItem(0, desired, None, "created", outcome or Outcome(Status.CREATED), intended=True)


def deletion(outcome: Status = Status.DELETED, before: Account | None = MADE) -> RunItem:
    """The run item of the deletion of that account."""
    desired = DesiredState("made", "bot", NOTHING, (), (), None, (2,), Action.DELETE)
    return RunItem(0, desired, before, "deleted", Outcome(outcome), intended=True)
