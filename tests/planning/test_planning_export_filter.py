"""Which accounts an export holds: by inactivity, group and name."""

import fnmatch
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkid.errors import UsageError
from bulkid.model import Account, Group
from bulkid.planning.export_filter import AccountSelector, ExportFilter
from tests.support.examples import examples

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NOW = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
DAY_S = 86_400.0
HALF_A_YEAR = ExportFilter(inactive_for_s=180 * DAY_S)
GROUPS = (Group("g-all", "Everyone", "builtIn"), Group("G-Fin", "Finance"), Group("g-tra", "Trainees"))
LAW = settings(deadline=None, max_examples=examples(200, soak=5_000))


def ago(**length: float) -> str:
    """A time before the present one, as the server writes it."""
    return (NOW - timedelta(**length)).isoformat().replace("+00:00", "Z")


def account(
    name: str = "roby", *, created: str = "", last_login: str = "", groups: tuple[str, ...] | None = ()
) -> Account:
    return Account(f"id-{name}", name, ("",), groups, created, last_login)


def selector(wanted: ExportFilter, groups: tuple[Group, ...] = GROUPS) -> AccountSelector:
    return AccountSelector(wanted, ORG, groups, NOW.timestamp())


def selects(wanted: ExportFilter, found: Account) -> bool:
    return selector(wanted).select([found]) == [found]


# --- how long an account was inactive


@pytest.mark.parametrize(
    ("created", "last_login", "inactive"),
    [
        (ago(days=400), ago(days=180), True),  # to the second
        (ago(days=400), ago(days=180, seconds=-1), False),
        (ago(days=400), ago(days=181), True),
        (ago(days=180), "", True),
        (ago(days=180, seconds=-1), "", False),
        (ago(days=1), ago(days=300), True),  # the login counts where there is one
        ("", ago(days=300), True),
        (ago(days=400), ago(days=-1), False),  # the server's clock is ahead
    ],
)
def test_the_last_login_counts_and_the_creation_where_there_was_none(
    created: str, last_login: str, inactive: bool
) -> None:
    assert selects(HALF_A_YEAR, account(created=created, last_login=last_login)) is inactive


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T08:15:00.1234567Z",  # seven digits, as .NET writes them
        "2026-01-31T08:15:00",
        "2026-01-31T10:15:00+02:00",
        "2026-01-31",
    ],
)
def test_times_are_read_in_the_forms_that_servers_write(text: str) -> None:
    assert selects(HALF_A_YEAR, account(last_login=text))
    assert not selects(ExportFilter(inactive_for_s=400 * DAY_S), account(last_login=text))


def test_a_time_without_a_zone_is_in_utc_and_an_offset_counts() -> None:
    least = (NOW - datetime(2026, 1, 31, 8, 15, tzinfo=UTC)).total_seconds()
    for text in ("2026-01-31T08:15:00", "2026-01-31T10:15:00+02:00"):
        assert selects(ExportFilter(inactive_for_s=least), account(last_login=text))
        assert not selects(ExportFilter(inactive_for_s=least + 1), account(last_login=text))


def test_the_default_time_of_net_is_no_login() -> None:
    """It lies two thousand years back: an account of yesterday would seem unused, and would be deleted."""
    never = "0001-01-01T00:00:00"
    assert not selects(HALF_A_YEAR, account(created=ago(days=1), last_login=never))
    assert selects(HALF_A_YEAR, account(created=ago(days=200), last_login=never))
    unknown = selector(HALF_A_YEAR)
    assert unknown.select([account(created=never, last_login=never)]) == []
    assert len(unknown.notes) == 1


@pytest.mark.parametrize(
    ("created", "last_login"),
    [("", ""), ("soon", ""), (ago(days=400), "yesterday"), ("9999-12-31T23:59:59-14:00", ""), ("   ", "")],
)
def test_an_account_without_a_time_that_can_be_read_is_left_out_and_counted(created: str, last_login: str) -> None:
    found = selector(HALF_A_YEAR)
    named = [account(name, created=created, last_login=last_login) for name in ("a", "b")]
    assert found.select([named[0], account("old", created=ago(days=400)), named[1]]) == [
        account("old", created=ago(days=400))
    ]
    (note,) = found.notes
    assert note == (
        "The time of the last login, or else of the creation, cannot be read or is missing for 2 robot accounts, which "
        'are left out: "a", "b".'
    )


@pytest.mark.parametrize(
    ("wanted", "left_out"),
    [
        (ExportFilter(inactive_for_s=DAY_S, name="PROD*"), account("test-1")),
        (ExportFilter(inactive_for_s=DAY_S, in_group="Finance"), account("no-time", groups=("g-tra",))),
        (ExportFilter(inactive_for_s=DAY_S, in_group="Finance"), account(last_login=ago(hours=1), groups=None)),
    ],
)
def test_an_account_that_another_condition_leaves_out_is_not_counted(wanted: ExportFilter, left_out: Account) -> None:
    found = selector(wanted)
    assert found.select([left_out]) == []
    assert found.notes == ()


# --- groups


@pytest.mark.parametrize("text", ["Finance", "FINANCE", "g-fin", "G-Fin"])
def test_a_group_is_given_by_name_or_id(text: str) -> None:
    wanted = ExportFilter(in_group=text)
    assert selects(wanted, account(groups=("g-tra", "g-FIN")))
    assert not selects(wanted, account(groups=("g-tra",)))


@pytest.mark.parametrize("text", ["Everyone", "everyone", "g-all"])
def test_every_account_is_in_everyone_whether_the_server_lists_it_or_not(text: str) -> None:
    for groups in ((), ("g-all",), None):
        assert selects(ExportFilter(in_group=text), account(groups=groups))


def test_an_unknown_group_is_an_error_with_near_names() -> None:
    with pytest.raises(UsageError) as caught:
        selector(ExportFilter(in_group="Finanse"))
    assert caught.value.message == 'No group has the id or the name "Finanse" in this organisation.'
    assert caught.value.hint == 'Did you mean "Finance"?'
    with pytest.raises(UsageError, match="Check the spelling"):
        selector(ExportFilter(in_group="Zzz"))


def test_a_name_of_several_groups_is_an_error_that_names_their_ids() -> None:
    with pytest.raises(UsageError, match=r'Several groups are named "finance".*"G-Fin" or "g-2"'):
        selector(ExportFilter(in_group="finance"), (*GROUPS, Group("g-2", "FINANCE")))


def test_an_account_whose_groups_the_server_does_not_say_is_left_out_and_counted() -> None:
    found = selector(ExportFilter(in_group="Finance"))
    assert found.select([account("a", groups=None)]) == []
    assert found.notes == ('The server does not say the groups of 1 robot account, which is left out: "a".',)


# --- names


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("PROD*", "prod-7", True),
        ("prod*", "PROD-7", True),
        ("PROD*", "my-prod", False),
        ("*-te?t", "robot-test", True),
        ("robot-[0-4]", "robot-3", True),
        ("robot-[!0-4]", "robot-3", False),
        ("zürich", "ZÜRICH", True),
        ("strasse", "straße", False),
        ("a.c", "abc", False),
        ("*", "", True),
        ("a*", "a\nb", True),
    ],
)
def test_a_pattern_matches_the_whole_name_without_regard_to_case(pattern: str, name: str, matches: bool) -> None:
    assert selects(ExportFilter(name=pattern), account(name)) is matches


def test_a_pattern_with_many_stars_is_answered_at_once() -> None:
    assert not selects(ExportFilter(name="*a" * 60 + "b"), account("a" * 2_000))


@pytest.mark.parametrize("given", [{"name": ""}, {"name": " "}, {"in_group": ""}, {"in_group": "\t"}])
def test_a_blank_is_refused_instead_of_selecting_every_account(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is blank"):
        ExportFilter(**given)  # type: ignore[arg-type]


def test_a_filter_says_what_it_selects() -> None:
    assert not ExportFilter()
    wanted = ExportFilter(inactive_for_s=180 * DAY_S, in_group="Finance", name="PROD*")
    assert wanted
    assert str(wanted) == 'inactive for 180 days, in the group "Finance", named "PROD*"'


# --- all of them

MOMENTS = st.sampled_from([None, *(NOW - timedelta(days=days, seconds=s) for days in (0, 1, 2) for s in (-1, 0, 1))])
ACCOUNTS = st.lists(
    st.tuples(
        st.text("abAB", max_size=3),
        MOMENTS,
        MOMENTS,
        st.none() | st.lists(st.sampled_from(["g-all", "g-fin", "G-TRA"]), unique=True),
    ),
    max_size=6,
)
FILTERS = st.builds(
    ExportFilter,
    inactive_for_s=st.none() | st.sampled_from([1.0, DAY_S, 2 * DAY_S]),
    in_group=st.none() | st.sampled_from(["finance", "Trainees", "Everyone"]),
    name=st.none() | st.text("aAbB?*", min_size=1, max_size=3),
)


@LAW
@given(ACCOUNTS, FILTERS)
@example([("prod", NOW, NOW - timedelta(days=1), ["g-fin"])], ExportFilter(inactive_for_s=DAY_S))
def test_a_filter_selects_what_its_definition_says(
    drawn: list[tuple[str, datetime | None, datetime | None, list[str] | None]], wanted: ExportFilter
) -> None:
    accounts = [
        Account(
            str(number),
            name,
            ("",),
            None if groups is None else tuple(groups),
            created.isoformat() if created else "",
            login.isoformat() if login else "",
        )
        for number, (name, created, login, groups) in enumerate(drawn)
    ]
    expected = []
    for number, (name, created, login, groups) in enumerate(drawn):
        active = login or created
        is_inactive = wanted.inactive_for_s is None or (
            active is not None and active <= NOW - timedelta(seconds=wanted.inactive_for_s)
        )
        group_id = {"finance": "g-fin", "Trainees": "g-tra"}.get(wanted.in_group or "")
        is_member = group_id is None or (groups is not None and group_id in [each.lower() for each in groups])
        is_named = wanted.name is None or fnmatch.fnmatchcase(name.lower(), wanted.name.lower())
        if is_inactive and is_member and is_named:
            expected.append(str(number))
    assert [each.id for each in selector(wanted).select(accounts)] == expected
