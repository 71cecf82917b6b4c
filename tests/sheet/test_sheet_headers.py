"""Headers: which are accepted, refused as a likely mistake, or ignored with a note."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.sheet import SheetOptions, column_letters, fields_for_headers, suggest_fields
from bulkid.sheet.headers import near_miss, unused_note

CONTRACT = {
    "robot_account_id": ["robot_account_id", "id", "robotAccountId", "account_id", "robot id"],
    "name": ["name", "robot", "robot account", "account", "username", "UserName"],
    "display_name": ["display_name", "displayName", "friendly name"],
    "groups_to_add": ["groups_to_add", "groupIDsToAdd", "add_groups"],
    "groups_to_remove": ["groups_to_remove", "groupIDsToRemove", "remove_groups"],
    "groups": ["groups", "groupNames", "GroupName"],
    "action": ["action", "operation", "op"],
    "partition_global_id": ["partition_global_id", "partitionGlobalId", "organization_id"],
}
WRITTEN = [(field, header) for field, headers in CONTRACT.items() for header in headers]


def fields(*headers: str, **options: object) -> tuple[str, ...]:
    return fields_for_headers(headers, SheetOptions(**options))  # type: ignore[arg-type]


def with_account(field: str, header: str) -> tuple[list[str], int]:
    """Give a header row that is complete around one header."""
    return (["id", header], 1) if field == "name" else (["name", header], 1)


@pytest.mark.parametrize(("field", "header"), WRITTEN)
def test_every_header_of_the_contract_is_taken(field: str, header: str) -> None:
    headers, at = with_account(field, header)
    assert fields(*headers)[at] == field


def test_the_fields_are_those_of_the_contract_in_its_order() -> None:
    assert list(ROBOT_ACCOUNTS.columns) == list(CONTRACT)
    assert set(ROBOT_ACCOUNTS.aliases) == set(ROBOT_ACCOUNTS.columns)


def test_the_template_is_a_header_row_that_reads_back() -> None:
    assert fields(*ROBOT_ACCOUNTS.template_headers) == ROBOT_ACCOUNTS.template_headers


@given(
    st.sampled_from(WRITTEN),
    st.randoms(use_true_random=False),
    st.sampled_from(["", " ", "_", "-", " - ", "\u00a0", "\n", "\u200b"]),
)
def test_case_spaces_underscores_and_hyphens_do_not_matter(
    written: tuple[str, str], random: Random, joint: str
) -> None:
    field, header = written
    words = header.replace("_", " ").split()
    shaken = "".join(random.choice([str.upper, str.lower])(letter) for letter in joint.join(words))
    headers, at = with_account(field, f"\u200b{joint}{shaken}{joint}")
    assert fields(*headers)[at] == field


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("dispaly_name", "display_name"),
        ("displayname2", "display_name"),
        ("nmae", "name"),
        ("names", "name"),
        ("group", "groups"),
        ("usernmae", "name"),
        ("grops_to_add", "groups_to_add"),
        ("groups add", "groups_to_add"),
        ("groupIDs", "groups"),
        ("remove group", "groups_to_remove"),
        ("organisation_id", "partition_global_id"),
        ("acount", "name"),
        ("partition id", "partition_global_id"),
        ("name display", "display_name"),
        ("robot_account_ids", "robot_account_id"),
    ],
)
def test_a_header_close_to_a_known_one_is_an_error_that_names_both_and_the_way_out(header: str, known: str) -> None:
    with pytest.raises(SheetError) as caught:
        fields("id" if known != "robot_account_id" else "robot", header)
    text = str(caught.value)
    assert f'"{header}"' in text
    assert known in text
    assert f'--map "{header}={known}"' in text
    assert f'--ignore-column "{header}"' in text


@pytest.mark.parametrize("header", ["comment", "owner", "e-mail", "expected_fault", "error", "date", "x", "type", ""])
def test_a_header_unlike_any_known_one_is_ignored_and_named_once(header: str) -> None:
    assert fields("name", header) == ("name", "")
    note = unused_note(("name", header), ("name", ""))
    assert note == (f'Ignored column: "{header}".' if header else "Ignored column: column B.")


def test_several_ignored_columns_are_named_in_one_sentence_and_those_reported_to_be_ignored_are_not() -> None:
    options = SheetOptions(ignore_columns=("Owner",))
    headers = ("name", "Comment", "Owner", "Team")
    assert unused_note(headers, fields_for_headers(headers, options), options) == 'Ignored columns: "Comment", "Team".'
    assert unused_note(("name",), ("name",)) == ""


def test_all_near_misses_are_reported_at_once() -> None:
    with pytest.raises(SheetError, match=r"dispaly_name.*grops"):
        fields("id", "dispaly_name", "grops")


def test_map_gives_a_column_its_field_and_settles_a_near_miss() -> None:
    assert fields("Bot", "dispaly_name", column_map={"bot": "name", "dispaly_name": "displayName"}) == (
        "name",
        "display_name",
    )


def test_map_is_stronger_than_the_alias() -> None:
    assert fields("id", "name", column_map={"name": "display_name"}) == ("robot_account_id", "display_name")


def test_map_means_the_column_as_written_where_two_differ_in_case_only() -> None:
    assert fields("id", "Info", "info", column_map={"info": "display_name"}) == ("robot_account_id", "", "display_name")


def test_a_header_of_separators_alone_is_named_letter_by_letter() -> None:
    assert fields("id", "-", "_", "", column_map={"-": "name"}) == ("robot_account_id", "name", "", "")
    assert fields("id", "Info", "-", "", ignore_columns=("-",)) == ("robot_account_id", "", "", "")
    options = SheetOptions(column_map={"-": "name"})
    assert [each.field for each in suggest_fields(("-", "_", ""), options)] == ["name", "", ""]


@pytest.mark.parametrize("invisible", ["\u200b", "\ufeff", "\xad", "\u2060", "\u202a", "\u200d"])
def test_a_header_with_an_invisible_character_is_named_by_what_a_user_sees_and_types(invisible: str) -> None:
    header, other = f"ro{invisible}bto", f"No{invisible}tes"
    with pytest.raises(SheetError) as refused:
        fields(header, "id")
    assert (refused.value.message, '--map "robto=name"' in refused.value.hint) == (
        'A column might be misspelt: "robto" is close to "robot" (name).',
        True,
    )
    assert fields(header, "id", column_map={"robto": "name"}) == ("name", "robot_account_id")
    assert fields(header, "id", ignore_columns=("robto",)) == ("", "robot_account_id")
    assert unused_note(["id", other], fields("id", other)) == 'Ignored column: "Notes".'
    assert fields(f"na{invisible}me", f"display{invisible}_name") == ("name", "display_name")
    assert near_miss(f"remove{invisible} groups") == near_miss("remove groups") == "groups to remove"


def test_ignore_leaves_a_known_or_near_column_alone() -> None:
    assert fields("id", "groups", "nmae", ignore_columns=("Groups", "nmae")) == ("robot_account_id", "", "")


@pytest.mark.parametrize(
    ("headers", "options", "words"),
    [
        (("name",), {"column_map": {"name": "colour"}}, ["colour", "robot_account_id", "groups_to_add"]),
        (("name",), {"column_map": {"Bot": "name"}}, ['no column "Bot"', '"name"']),
        (("name",), {"column_map": {"": "name"}}, ["no column"]),
        (("name",), {"ignore_columns": ("grups",)}, ['no column "grups"', '"name"']),
        (("name", "x"), {"column_map": {"x": "groups"}, "ignore_columns": ("x",)}, ["both mapped and ignored"]),
        (("name", "x"), {"column_map": {"x": "groups", "X": "display_name"}}, ["both groups and display_name"]),
        (("name", "robot"), {}, ["2 columns mean name", '"name" (A)', '"robot" (B)', "--ignore-column"]),
        (("Name", "name"), {}, ["2 columns mean name"]),
        (("groups",), {}, ["No column names the robot account", '"groups"', "--map"]),
        (("#TYPE System.Object",), {}, ["No column names the robot account", "remove a title above them", "--map"]),
        (
            ("name;display_name",),
            {},
            ["No column names the robot account", "stand in one cell", "for text, give the right", "--map"],
        ),
        (("a", "b"), {}, ['"a", "b"']),
        (("5f0c8a3e-0000-4000-8000-1234567890ab", "b"), {}, ["looks like data"]),
        ((), {}, ["none"]),
    ],
)
def test_headers_that_cannot_be_used_are_refused_with_words_that_help(
    headers: tuple[str, ...], options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(SheetError) as caught:
        fields(*headers, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("index", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16383, "XFD")]
)
def test_columns_have_the_letters_that_a_spreadsheet_shows(index: int, letters: str) -> None:
    assert column_letters(index) == letters


@given(
    st.lists(st.text(max_size=12), max_size=6), st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=2)
)
def test_no_header_row_ends_in_anything_but_fields_or_a_sheet_error(
    headers: list[str], mapping: dict[str, str]
) -> None:
    with suppress(SheetError):
        found = fields(*headers, column_map=mapping)
        assert len(found) == len(headers)
        assert all(found.count(field) <= 1 for field in ROBOT_ACCOUNTS.columns)
        assert {"name", "robot_account_id"} & set(found)


@pytest.mark.parametrize(("field", "header"), WRITTEN)
def test_no_known_header_is_a_near_miss_of_itself(field: str, header: str) -> None:
    headers, _ = with_account(field, header)
    fields(*headers)


def test_two_letter_words_are_too_short_to_be_near_anything() -> None:
    assert near_miss("ib") == ""


@pytest.mark.parametrize("header", ["groups", "grups"])
def test_an_error_names_the_first_of_very_many_columns(header: str) -> None:
    with pytest.raises(SheetError) as caught:
        fields_for_headers(["name", *[header] * 5000])
    assert caught.value.message.endswith(" and 4,970 more.")
    assert caught.value.message.count(f'"{header}"') == 30
