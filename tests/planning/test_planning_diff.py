import pytest

from bulkid.errors import PermissionDeniedError
from bulkid.model import Account, Change, DesiredState
from bulkid.planning.directory import Directory
from bulkid.planning.plan import confirms, describe, diff, shortfall
from tests.support.planning_world import ACCOUNTS, EVERYONE_ID, GROUPS, account, directory

ROBY = ACCOUNTS[0]  # "Roby", in Everyone and Finance


def want(
    display_name: str | None = None,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    exact: tuple[str, ...] | None = None,
) -> DesiredState:
    return DesiredState("88-UV", "", (display_name,), add, remove, exact, (2,))


def test_the_guides_own_example_adds_one_group_and_carries_the_display_name() -> None:
    known = Account("88-uv", "88-uv", ("Roby",), ("gryff-01",))
    change = diff(want(add=("alumni-02",)), known, directory((known,)))
    assert change == Change("88-uv", "88-uv", ("Roby",), sets_fields=False, add=("alumni-02",), remove=(), before=known)


@pytest.mark.parametrize(
    ("now", "requested", "carried", "renames"),
    [
        ("Roby", None, "Roby", False),
        ("Roby", "Roby", "Roby", False),
        ("Roby", "roby", "roby", True),
        ("Roby", "", "", True),
        ("", "", "", False),
        ("", None, "", False),
        ("", "Roby", "Roby", True),
    ],
)
def test_a_display_name_is_always_carried_and_renames_only_when_it_differs(
    now: str, requested: str | None, carried: str, renames: bool
) -> None:
    change = diff(want(requested), account(display_name=now), directory())
    assert (change.values[0], change.sets_fields, change.empty) == (carried, renames, not renames)


def test_only_groups_that_differ_are_sent_whatever_their_case() -> None:
    change = diff(
        want(add=("G-FIN", "alumni-02"), remove=("G-TRA", "g-zue")), account(groups=("g-fin", "g-tra")), directory()
    )
    assert (change.add, change.remove) == (("alumni-02",), ("G-TRA",))


def test_an_account_already_as_wanted_has_an_empty_change() -> None:
    assert diff(want("Roby", ("g-fin",), ("G-TRA",)), ROBY, directory()).empty
    assert diff(want(exact=("G-FIN",)), ROBY, directory()).empty
    assert diff(want(), ROBY, directory()).empty


def test_an_exact_list_leaves_all_other_groups_but_everyone() -> None:
    change = diff(want(exact=("alumni-02",)), account(groups=("g-fin", "g-unlisted")), directory())
    assert (change.add, change.remove) == (("alumni-02",), ("g-fin", "g-unlisted"))
    assert diff(want(exact=()), ROBY, directory()).remove == ("g-fin",)


def test_an_exact_list_keeps_what_may_be_everyone() -> None:
    nameless = directory(groups=GROUPS[1:])  # the server lists no Everyone: one of the unknown ids may be it
    assert diff(want(exact=()), ROBY, nameless).remove == ("g-fin",)


def test_where_the_server_does_not_tell_the_groups_everything_is_sent() -> None:
    silent = account(groups=None)
    change = diff(want(add=("g-fin",), remove=("G-TRA",)), silent, directory())
    assert (change.add, change.remove) == (("g-fin",), ("G-TRA",))
    exact = diff(want(exact=("g-fin",)), silent, directory())
    assert (exact.add, exact.remove) == (("g-fin",), ("G-TRA", "alumni-02", "g-zue"))


def test_blind_everything_wished_is_sent_and_an_unknown_display_name_left_out() -> None:
    blind = Directory("org", None, None)
    groups = diff(want(add=("x",), remove=("y",)), None, blind)
    assert groups == Change("88-UV", "", (None,), sets_fields=False, add=("x",), remove=("y",), before=None)
    assert diff(want(""), None, blind) == Change("88-UV", "", ("",), sets_fields=True, add=(), remove=(), before=None)
    assert diff(want(), None, blind).empty


@pytest.mark.parametrize(("known", "blind"), [(None, directory()), (ROBY, directory(groups=None))])
def test_an_exact_list_is_refused_where_the_present_groups_cannot_be_known(
    known: Account | None, blind: Directory
) -> None:
    with pytest.raises(PermissionDeniedError, match="could not be read") as told:
        diff(want(exact=("g-fin",)), known, blind)
    assert "PM.Group.Read" in told.value.hint


def change(
    display_name: str | None = "Robbie",
    *,
    renames: bool = True,
    add: tuple[str, ...] = ("G-fin",),
    remove: tuple[str, ...] = ("g-tra",),
    before: Account | None = ROBY,
) -> Change:
    return Change("88-uv", "Roby01", (display_name,), sets_fields=renames, add=add, remove=remove, before=before)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (account(display_name="Robbie", groups=("g-fin",)), ""),
        (account(display_name="Roby", groups=("g-fin",)), 'display name is "Roby", not "Robbie"'),
        (account(display_name="", groups=("g-fin",)), 'display name is empty, not "Robbie"'),
        (account(display_name="Robbie"), "not in Finance"),
        (account(display_name="Robbie", groups=("g-fin", "G-TRA")), "still in Trainees"),
        (
            account(display_name="ROBBIE", groups=("G-TRA",)),
            'display name is "ROBBIE", not "Robbie"; not in Finance; still in Trainees',
        ),
        (account(display_name="Robbie", groups=None), "the server does not say which groups the account is in"),
    ],
)
def test_a_state_confirms_only_what_it_shows_and_what_falls_short_is_said(after: Account, words: str) -> None:
    assert shortfall(change(), after, directory()) == words
    assert confirms(change(), after) == (words == "")


def test_a_rename_alone_is_confirmed_by_a_server_that_does_not_tell_groups() -> None:
    assert confirms(change(add=(), remove=()), account(display_name="Robbie", groups=None))
    assert shortfall(change(add=(), remove=()), account(display_name="Robbie", groups=None), directory()) == ""


def test_a_display_name_that_was_left_out_is_not_looked_at() -> None:
    blind = change(None, renames=False, add=("x",), remove=(), before=None)
    assert confirms(blind, account(display_name="whatever", groups=("x",)))


def test_a_carried_display_name_must_still_be_there() -> None:
    assert not confirms(change("Roby", renames=False), account(display_name="", groups=("g-fin",)))


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (change(), "display name: Roby -> Robbie; + Finance; - Trainees"),
        (change("", add=(), remove=()), "display name: Roby -> (none)"),
        (change(add=(), remove=(), before=account(display_name="")), "display name: (none) -> Robbie"),
        (change(add=(), remove=(), before=None), "display name: -> Robbie"),
        (change("", add=(), remove=(), before=None), "display name: -> (none)"),
        (change("Roby", renames=False, add=("x", "alumni-02"), remove=(EVERYONE_ID,)), "+ x; + Alumni; - Everyone"),
        (change("Roby", renames=False, add=(), remove=()), ""),
        (change("A; + B", add=(), remove=("g; - h",)), "display name: Roby -> A;\\ + B; - g;\\ - h"),
    ],
)
def test_a_change_is_described_on_one_line(described: Change, words: str) -> None:
    assert describe(described, directory()) == words


def test_the_state_of_another_account_confirms_nothing() -> None:
    before = Account("88-uv", "roby", ("Roby",), ("gryff-01",))
    change = Change("88-uv", "roby", ("Robbie",), sets_fields=True, add=(), remove=(), before=before)
    assert confirms(change, Account("88-UV", "roby", ("Robbie",), ()))
    assert not confirms(change, Account("88-uw", "roby", ("Robbie",), ()))
