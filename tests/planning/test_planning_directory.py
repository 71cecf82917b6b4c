import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Group
from bulkid.planning.directory import Directory
from bulkid.text import fold, fold_all
from tests.support.planning_world import ACCOUNTS, EVERYONE_ID, GROUPS, LAW, ORG, account, directory

ANY_TEXT = st.text(st.characters(), max_size=20)


@pytest.mark.parametrize("text", ["88-uv", "88-UV", "88-Uv"])
def test_an_account_is_found_by_its_id_without_regard_to_case(text: str) -> None:
    assert directory().account(text) is ACCOUNTS[0]


@pytest.mark.parametrize("text", ["ÜBER-bot", "über-BOT"])
def test_an_account_is_found_by_its_name_without_regard_to_case(text: str) -> None:
    assert directory().account_named(text) is ACCOUNTS[2]


@pytest.mark.parametrize("text", ["U\u0308BER-bot", "u\u0308ber-bot", " ÜBER-bot", "ÜBER\u2010bot", "ÜBER- bot"])
def test_a_name_in_other_characters_is_another_name(text: str) -> None:
    assert directory().account_named(text) is None


def test_a_name_is_not_an_id_and_an_id_is_not_a_name() -> None:
    assert directory().account("Roby01") is None
    assert directory().account_named("88-uv") is None


def test_of_accounts_whose_names_differ_by_case_alone_the_exact_name_wins_and_nothing_is_guessed() -> None:
    similar = directory((account("1", "Robo"), account("2", "ROBO"), account("3", "robo")))
    assert [similar.accounts_named(name)[0].id for name in ("Robo", "ROBO", "robo")] == ["1", "2", "3"]
    assert similar.account_named("rOBO") is None
    assert [found.id for found in similar.accounts_named("rOBO")] == ["1", "2", "3"]


def test_an_account_read_twice_counts_once_and_the_later_reading_wins() -> None:
    later = account("88-UV", "Roby01", "Newer")
    twice = directory((ACCOUNTS[0], later))
    assert list(twice.accounts or ()) == [later]
    assert twice.account_named("roby01") is later


def test_a_group_is_found_by_the_exact_id_or_name_before_any_that_differs_by_case() -> None:
    groups = (Group("sales", "Marketing"), Group("g-2", "Sales"))
    assert directory(groups=groups).groups_matching("sales") == (groups[0],)
    assert directory(groups=groups).groups_matching("Sales") == (groups[1],)
    assert directory(groups=groups).groups_matching("SALES") == groups
    assert directory(groups=groups).groups_matching("marketing") == (groups[0],)
    assert directory(groups=groups).groups_matching("G-2") == (groups[1],)


def test_two_groups_whose_names_differ_only_by_case_are_not_guessed_between() -> None:
    groups = (Group("1", "Sales"), Group("2", "SALES"))
    assert directory(groups=groups).groups_matching("sales") == groups
    assert directory(groups=groups).groups_matching("SALES") == (groups[1],)


def test_a_group_is_shown_by_name_and_by_its_id_when_it_is_not_known() -> None:
    assert directory().group_name("g-FIN") == "Finance"
    assert directory().group_name("Finance") == "Finance"  # a name is not looked up as an id
    assert directory().group_name("g-other") == "g-other"
    assert directory(groups=None).group_name("g-fin") == "g-fin"
    assert directory(groups=(Group("g-fin", ""),)).group_name("G-fin") == "G-fin"


def test_everyone_is_the_built_in_group_of_that_name() -> None:
    assert directory().everyone_id == EVERYONE_ID
    two = (Group("custom", "everyone"), Group("real", "Everyone", "BuiltIn"))
    assert directory(groups=two).everyone_id == "real"
    assert directory(groups=GROUPS[1:]).everyone_id == ""
    assert directory(groups=None).everyone_id == ""


def test_a_blind_directory_knows_nothing_and_says_so() -> None:
    blind = Directory(ORG, None, None)
    assert (blind.accounts, blind.groups) == (None, None)
    assert blind.account("88-uv") is blind.account_named("Roby01") is None
    assert blind.groups_matching("g-fin") == ()


def test_an_empty_directory_is_not_a_blind_one() -> None:
    empty = Directory(ORG, (), ())
    assert empty.accounts is not None
    assert empty.groups is not None


@LAW
@given(ANY_TEXT)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@LAW
@given(ANY_TEXT, ANY_TEXT)
def test_an_account_of_any_id_and_name_is_found_again(account_id: str, name: str) -> None:
    odd = account(account_id, name)
    known = directory((odd,))
    assert known.account(account_id) is known.find(account_id) is odd
    assert known.account_named(name) is odd


@given(st.lists(ANY_TEXT | st.sampled_from(["a-1", "A-1", "ü", "Ü", ""])))
def test_many_texts_fold_as_each_does(texts: list[str]) -> None:
    assert list(fold_all(texts)) == [fold(text) for text in texts]


@given(st.lists(st.sampled_from(["a-1", "A-1", "ü", "Ü", "b", "c-%"]), max_size=8))
def test_the_accounts_of_a_directory_are_found_as_by_going_through_them_all(ids: list[str]) -> None:
    made = [account(account_id, f"Robot {place}") for place, account_id in enumerate(ids)]
    known = directory(made)
    for text in ("a-1", "A-1", "Ü", "b", "x"):
        found = [each for each in made if fold(each.id) == fold(text)]
        assert known.account(text) == (found[-1] if found else None)
