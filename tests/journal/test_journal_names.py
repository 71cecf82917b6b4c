"""User names: one key for all spellings of a name, and which names are refused."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import UsageError
from bulkid.journal.names import LONGEST_NAME, require_user_name, user_key


@pytest.mark.parametrize(
    "spelling",
    ["Jürgen", "JÜRGEN", " Jürgen ", "Ju\u0308rgen", "\uff2aürgen", "jürgen\t", "\u3000Jürgen"],
)
def test_all_spellings_of_a_name_have_one_key(spelling: str) -> None:
    assert user_key(spelling) == user_key("jürgen")


def test_names_that_differ_have_keys_that_differ() -> None:
    names = ["ada", "adá", "a da", "ada.", "аda", "strasse", "strase"]  # noqa: RUF001
    assert len({user_key(name) for name in names}) == len(names)
    assert user_key("straße") == user_key("STRASSE")


@given(st.text(max_size=40))
def test_a_key_is_its_own_key_and_does_not_depend_on_case_blanks_and_composition(name: str) -> None:
    key = user_key(name)
    assert user_key(key) == key
    assert user_key(f"  {name}\n") == key
    assert user_key(name.swapcase().casefold()) == user_key(name.casefold())
    assert user_key(unicodedata.normalize("NFD", name)) == user_key(unicodedata.normalize("NFC", name)) == key


def test_the_key_of_every_single_character_is_stable() -> None:
    keys = ((character, user_key(character)) for character in map(chr, range(sys.maxunicode + 1)))
    # The key of a character that is its own key was just computed.
    assert [ascii(character) for character, key in keys if key != character and user_key(key) != key] == []


@given(st.text(min_size=1, max_size=LONGEST_NAME))
def test_a_key_fits_its_column(name: str) -> None:
    assert len(user_key(name)) <= LONGEST_NAME


def test_a_name_that_grows_beyond_the_column_has_a_key_too() -> None:
    assert len(user_key("\ufdfa" * LONGEST_NAME)) <= LONGEST_NAME
    assert user_key("\ufdfa" * 100) != user_key("\ufdfa" * 101)


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "a\nb", "a\u200bb", "a\u202eb", "\u2066a", "x" * 129, "a\ue000"])
def test_names_with_control_and_invisible_characters_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="printable characters"):
        require_user_name(name)


def test_a_name_is_shown_composed_and_with_single_blanks() -> None:
    assert require_user_name(" Ju\u0308rgen   Klopp ") == "Jürgen Klopp"
