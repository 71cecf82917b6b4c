"""Which account or group a text names: the exact one, the only one that differs by case alone, or none."""

import sys
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Group
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution, resolve
from bulkid.text import fold, skeleton
from tests.support.planning_world import COLUMNS, GROUPS, LAW, account, directory, request

ALIKE = (
    ("straße", "strasse"),
    ("STRAẞE", "straße"),
    ("\u212aelvin", "kelvin"),  # the Kelvin sign
    ("\u212bngstrom", "ångstrom"),  # the Angstrom sign
    ("\u0131sparta", "isparta"),  # dotless
    ("İsparta", "isparta"),  # dotted
    ("\u0131sparta", "ISPARTA"),
    ("\u017fales", "sales"),  # long s
    ("ﬁlm", "film"),  # a ligature
    ("\uff2cegal", "Legal"),  # full width
    ("caf\u00e9", "cafe\u0301"),  # composed and decomposed
    ("οδος", "ΟΔΟΣ"),  # final sigma
    ("µ-bot", "μ-bot"),  # micro sign
    ("robot 1", "robot\u00a01"),
    (" robot", "robot"),
    ("ǆ", "ǅ"),  # title case
)

LETTERS = st.sampled_from(list("aAkKsSiI\u212aßẞ\u017f\u0131İéÉe\u0301\u03c3ςΣµμ"))
NAMES = st.text(LETTERS, min_size=1, max_size=4)


def case_pair(one: str, other: str) -> bool:
    """Whether two letters are each other's only counterpart."""
    return one == other or (
        (one.lower() == other and other.upper() == one) or (other.lower() == one and one.upper() == other)
    )


def test_letters_that_count_as_the_same_are_one_anothers_only_counterpart() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    forms = fold(every)  # letter by letter, as the next test says
    assert fold(forms) == forms
    assert fold(every[:128]) == forms[:128]  # a text of ASCII alone takes a way of its own
    pairs = [(form, letter) for form, letter in zip(forms, every, strict=True) if form != letter]
    assert len(dict(pairs)) == len(pairs)
    assert all(case_pair(*pair) for pair in pairs)


@LAW
@given(st.text(max_size=12), st.text(max_size=12))
def test_texts_count_as_the_same_letter_by_letter(one: str, other: str) -> None:
    same = len(one) == len(other) and all(map(case_pair, one, other))
    assert (fold(one) == fold(other)) == same
    assert fold(one) == "".join(map(fold, one))
    if same:
        assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("text", ["Éva", "ÜBER", "Жуков", "Ωmega", "Ñandú", "Ł", "Ǆ", "Đ", "Ա"])
def test_letters_beyond_ascii_have_cases_too(text: str) -> None:
    assert fold(text.lower()) == fold(text.upper()) == fold(text)


def named(names: Sequence[str]) -> Directory:
    return directory([account(f"id-{number}", name) for number, name in enumerate(names)])


def read(text: str, known: Directory) -> Resolution:
    return resolve([request(name=text, display_name="New")], known, COLUMNS)


@pytest.mark.parametrize(("one", "other"), [*ALIKE, *(pair[::-1] for pair in ALIKE)])
def test_a_name_that_looks_alike_changes_no_account_and_the_near_name_is_told(one: str, other: str) -> None:
    (row_error,) = read(one, named([other])).row_errors
    assert row_error.code == "unknown_account"
    if skeleton(one) == skeleton(other):
        assert "Did you mean" in row_error.message
        assert "written with other characters" in row_error.message


@pytest.mark.parametrize(("one", "other"), [*ALIKE, *(pair[::-1] for pair in ALIKE)])
def test_the_same_holds_for_groups(one: str, other: str) -> None:
    known = directory(groups=(*GROUPS, Group("g-9", other)))
    (row_error,) = resolve([request(account_id="88-uv", add=(one,))], known, COLUMNS).row_errors
    assert row_error.code == "unknown_group"


@LAW
@given(NAMES, st.lists(NAMES, max_size=5, unique=True))
def test_the_exact_name_wins_else_the_only_one_that_differs_by_case_else_it_is_an_error(
    text: str, names: list[str]
) -> None:
    result = read(text, named(names))
    alike = [number for number, name in enumerate(names) if len(name) == len(text) and all(map(case_pair, name, text))]
    if text in names:
        assert [found.account_id for found in result.desired_states] == [f"id-{names.index(text)}"]
    elif len(alike) == 1:
        assert [found.account_id for found in result.desired_states] == [f"id-{alike[0]}"]
    else:
        (row_error,) = result.row_errors
        assert row_error.code == ("ambiguous_account" if alike else "unknown_account")
        assert all(f'"{names[number]}"' in row_error.message for number in alike)


@LAW
@given(NAMES, st.lists(NAMES, max_size=4, unique=True))
def test_the_same_holds_for_the_names_of_groups(text: str, names: list[str]) -> None:
    groups = [Group(f"g-{number}", name) for number, name in enumerate(names)]
    found = directory(groups=groups).groups_matching(text)
    if text in names:
        assert found == (groups[names.index(text)],)
    else:
        assert {group.name for group in found} == {
            name for name in names if len(name) == len(text) and all(map(case_pair, name, text))
        }


@LAW
@given(NAMES, NAMES)
def test_an_id_and_a_name_that_do_not_agree_by_case_alone_are_refused(one: str, other: str) -> None:
    known = named([one])
    result = resolve([request(account_id="id-0", name=other, display_name="New")], known, COLUMNS)
    agree = len(one) == len(other) and all(map(case_pair, one, other))
    assert [row_error.code for row_error in result.row_errors] == ([] if agree else ["account_mismatch"])


def test_a_group_that_shares_the_name_of_everyone_apart_from_case_is_not_guessed() -> None:
    known = directory(groups=(*GROUPS, Group("g-9", "EVERYONE")))
    assert known.everyone_id == GROUPS[0].id
    (row_error,) = resolve([request(account_id="88-uv", add=("everyone",))], known, COLUMNS).row_errors
    assert row_error.code == "ambiguous_group"
    (found,) = resolve([request(account_id="88-uv", add=("EVERYONE",))], known, COLUMNS).desired_states
    assert found.add == ("g-9",)


def test_the_accents_of_a_mac_are_told_from_those_of_windows() -> None:
    text = unicodedata.normalize("NFD", "Bjørn Åsá")
    (row_error,) = read(text, named(["Bjørn Åsá"])).row_errors
    assert 'Did you mean "Bjørn Åsá"?' in row_error.message
