"""Rows alone and together: the desired state or the row error of each."""

import pytest

from bulkid.model import DesiredState, Group, RowError, RowRequest
from bulkid.planning import lookup
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution, offline_row_errors, resolve
from tests.support.planning_world import ACCOUNTS, COLUMNS, EVERYONE_ID, GROUPS, ORG, account, directory, request


def read(*rows: RowRequest, known: Directory | None = None) -> Resolution:
    return resolve(rows, known or directory(), COLUMNS)


def only_row_error(*rows: RowRequest, known: Directory | None = None) -> RowError:
    result = read(*rows, known=known)
    assert result.desired_states == ()
    (row_error,) = result.row_errors
    return row_error


def codes(result: Resolution) -> list[tuple[int, str, str]]:
    return [(row_error.row, row_error.column, row_error.code) for row_error in result.row_errors]


def test_names_become_ids_as_the_server_writes_them() -> None:
    row = request(7, name="ROBY01", display_name="Robbie", add=("finance", "ALUMNI-02"), remove=("g-tra",))
    assert read(row).desired_states == (
        DesiredState("88-uv", "Roby01", ("Robbie",), ("g-fin", "alumni-02"), ("G-TRA",), None, (7,)),
    )


def test_a_row_by_id_learns_its_name_and_an_id_and_name_that_agree_are_one_account() -> None:
    assert [found.name for found in read(request(account_id="A-2")).desired_states] == ["Robot Two"]
    assert read(request(account_id="a-2", name="ROBOT TWO")).row_errors == ()


def test_one_group_given_twice_by_id_and_by_name_is_added_once() -> None:
    assert read(request(name="roby01", add=("Finance", "g-FIN", "finance"))).desired_states[0].add == ("g-fin",)


def test_unknown_name_suggests_near_names_at_most_three() -> None:
    many = directory(tuple(account(f"id{number}", f"robot-000{number}") for number in range(9)))
    row_error = only_row_error(request(3, name="robot-00O1"), known=many)
    assert (row_error.row, row_error.column, row_error.value, row_error.code) == (
        3,
        "Robot",
        "robot-00O1",
        "unknown_account",
    )
    assert 'Did you mean "robot-0001", "robot-000' in row_error.message
    assert row_error.message.count('"robot-') == 4


def test_unknown_name_without_a_near_one_says_what_to_do() -> None:
    row_error = only_row_error(request(name="completely different"))
    assert row_error.message.endswith("Check the spelling, and that it is the right organisation.")


def test_unknown_id_says_when_it_is_the_name_of_an_account_and_the_other_way_round() -> None:
    by_id = only_row_error(request(account_id="roby01"))
    assert (by_id.column, by_id.code, "column name" in by_id.message) == ("Id", "unknown_account", True)
    by_name = only_row_error(request(name="88-uv"))
    assert (by_name.column, by_name.code, "column robot_account_id" in by_name.message) == (
        "Robot",
        "unknown_account",
        True,
    )


def test_unknown_id_beside_a_known_name_tells_the_id_that_the_name_has() -> None:
    row_error = only_row_error(request(account_id="nobody", name="roby01"))
    assert (row_error.code, 'has the id "88-uv"' in row_error.message) == ("unknown_account", True)


def test_id_and_name_that_disagree_are_a_mismatch_that_names_both() -> None:
    row_error = only_row_error(request(account_id="88-uv", name="Robot Two"))
    assert (row_error.column, row_error.value, row_error.code) == ("Robot", "Robot Two", "account_mismatch")
    assert '"Roby01"' in row_error.message
    assert '"Robot Two"' in row_error.message


def test_a_name_that_two_accounts_share_apart_from_case_needs_the_id() -> None:
    similar = directory((account("1", "Robo"), account("2", "ROBO")))
    row_error = only_row_error(request(name="robo"), known=similar)
    assert (row_error.code, '"1" or "2"' in row_error.message) == ("ambiguous_account", True)
    assert '"Robo" and "ROBO"' in row_error.message
    assert [found.account_id for found in read(request(name="ROBO"), known=similar).desired_states] == ["2"]
    assert only_row_error(request(account_id="2", name="Robo"), known=similar).code == "account_mismatch"
    assert read(request(account_id="2", name="robo"), known=similar).row_errors == ()


def test_a_row_that_names_no_account_is_a_row_error() -> None:
    for known in (directory(), directory(None)):
        assert only_row_error(request(add=("Finance",)), known=known).code == "missing_account"
    assert [row_error.code for row_error in offline_row_errors([request()], COLUMNS)] == ["missing_account"]


def test_unknown_group_names_the_text_and_suggests() -> None:
    result = read(request(4, "88-uv", add=("Finance", "Trainee"), remove=("Alumnii",)))
    assert result.desired_states == ()
    first, second = result.row_errors
    assert (first.row, first.column, first.value, first.code) == (4, "Add", "Trainee", "unknown_group")
    assert 'Did you mean "Trainees"?' in first.message
    assert (second.column, second.value) == ("Remove", "Alumnii")


def test_unknown_group_in_an_exact_list_is_reported_in_its_column() -> None:
    assert codes(read(request(account_id="88-uv", exact=("x",)))) == [(2, "Groups", "unknown_group")]
    assert codes(read(request(account_id="88-uv", add=("",)))) == [(2, "Add", "unknown_group")]


def test_a_group_name_that_differs_only_by_case_from_another_needs_the_id() -> None:
    known = directory(groups=(*GROUPS, Group("9", "FINANCE")))
    row_error = only_row_error(request(account_id="88-uv", add=("finance",)), known=known)
    assert (row_error.code, '"g-fin" or "9"' in row_error.message) == ("ambiguous_group", True)
    assert read(request(account_id="88-uv", add=("g-fin",)), known=known).row_errors == ()


def test_a_row_for_another_organisation_is_refused_and_its_own_is_taken_in_any_case() -> None:
    assert read(request(account_id="88-uv", partition=ORG.upper())).row_errors == ()
    for written in (f"{{{ORG.upper()}}}", ORG.replace("-", "")):
        assert read(request(account_id="88-uv", partition=written)).row_errors == ()
    row_error = only_row_error(request(account_id="88-uv", partition="other"))
    assert (row_error.column, row_error.value, row_error.code) == ("Org", "other", "wrong_organization")


@pytest.mark.parametrize("text", ["Everyone", "EVERYONE", EVERYONE_ID, EVERYONE_ID.lower()])
def test_everyone_is_never_removed_and_adding_it_asks_for_nothing(text: str) -> None:
    row_error = only_row_error(request(account_id="88-uv", remove=(text,)))
    assert (row_error.column, row_error.value, row_error.code) == ("Remove", text, "everyone_cannot_be_removed")
    assert read(request(account_id="88-uv", add=(text,))).desired_states[0].add == ()
    assert read(request(account_id="88-uv", exact=(text, "Finance"))).desired_states[0].exact == ("g-fin",)


def test_everyone_is_recognised_by_name_where_the_groups_are_not_known_or_do_not_hold_it() -> None:
    for known in (directory(groups=None), directory(groups=GROUPS[1:])):
        assert only_row_error(request(account_id="88-uv", remove=("everyone",)), known=known).code == (
            "everyone_cannot_be_removed"
        )
        assert read(request(account_id="88-uv", add=("Everyone",)), known=known).desired_states[0].add == ()


def test_a_group_added_by_id_and_removed_by_name_in_one_row_is_a_row_error() -> None:
    row_error = only_row_error(request(account_id="88-uv", add=("Alumni", "g-fin"), remove=("Finance",)))
    assert (row_error.column, row_error.value, row_error.code) == ("Remove", "Finance", "add_and_remove")
    assert '"g-fin" is both added and removed (as "Finance")' in row_error.message


def test_an_exact_list_beside_changes_in_one_row_is_a_row_error() -> None:
    for row in (
        request(account_id="88-uv", add=("Finance",), exact=()),
        request(account_id="88-uv", remove=("x",), exact=()),
    ):
        assert "exact_with_changes" in [row_error.code for row_error in read(row).row_errors]


def test_all_row_errors_of_a_row_are_told_at_once() -> None:
    row = request(account_id="nobody", add=("x",), remove=("Everyone",), exact=(), partition="other")
    assert sorted(row_error.code for row_error in read(row).row_errors) == [
        "everyone_cannot_be_removed",
        "exact_with_changes",
        "unknown_account",
        "unknown_group",
        "wrong_organization",
    ]


def test_a_sheet_without_the_column_gives_a_row_error_without_a_header() -> None:
    (row_error,) = resolve([request(account_id="nobody")], directory(), {}).row_errors
    assert row_error.column == ""


# --- several rows for one account


def test_rows_that_agree_are_merged_and_keep_their_numbers() -> None:
    result = read(
        request(2, "88-uv", add=("Finance",)),
        request(3, name="robot two"),
        request(4, name="Roby01", display_name="Robbie", add=("Alumni", "Finance"), remove=("Trainees",)),
        request(5, "88-UV", display_name="Robbie"),
    )
    assert result.row_errors == ()
    assert result.desired_states == (
        DesiredState("88-uv", "Roby01", ("Robbie",), ("g-fin", "alumni-02"), ("G-TRA",), None, (2, 4, 5)),
        DesiredState("A-2", "Robot Two", (None,), (), (), None, (3,)),
    )


def test_two_display_names_make_each_row_a_contradiction_that_names_the_others() -> None:
    result = read(
        request(2, "88-uv", display_name="A"),
        request(5, "88-uv", display_name="B"),
        request(9, "88-uv", display_name=""),
    )
    assert result.desired_states == ()
    assert codes(result) == [(row, "Display Name", "contradiction") for row in (2, 5, 9)]
    assert [row_error.value for row_error in result.row_errors] == ["A", "B", ""]
    assert 'display name "A", but rows 5 and 9 for another' in result.row_errors[0].message
    assert "display name cleared, but rows 2 and 5 for another" in result.row_errors[2].message


def test_a_group_added_in_one_row_and_removed_in_another_is_a_contradiction() -> None:
    result = read(request(2, "88-uv", add=("g-fin",)), request(3, "88-uv", remove=("Finance",)))
    assert codes(result) == [(2, "Add", "contradiction"), (3, "Remove", "contradiction")]
    assert [row_error.value for row_error in result.row_errors] == ["Finance", "Finance"]
    assert "removed in row 3" in result.row_errors[0].message
    assert "added in row 2" in result.row_errors[1].message


def test_a_row_beside_contradicting_ones_is_not_sent_either() -> None:
    result = read(
        request(2, "88-uv", display_name="A"),
        request(3, "88-uv", display_name="B"),
        request(4, "88-uv", add=("Finance",)),
    )
    assert codes(result)[2] == (4, "", "contradiction")
    assert "rows 2 and 3" in result.row_errors[2].message


def test_two_exact_lists_agree_when_they_hold_the_same_groups() -> None:
    same = read(
        request(2, "88-uv", exact=("Finance", "Alumni")), request(3, "88-uv", exact=("alumni-02", "g-fin", "Everyone"))
    )
    assert [(found.exact, found.rows) for found in same.desired_states] == [(("g-fin", "alumni-02"), (2, 3))]
    other = read(request(2, "88-uv", exact=("Finance",)), request(3, "88-uv", exact=()))
    assert codes(other) == [(2, "Groups", "contradiction"), (3, "Groups", "contradiction")]
    assert "than row 3" in other.row_errors[0].message


def test_changes_beside_an_exact_list_agree_when_they_are_part_of_it() -> None:
    result = read(
        request(2, "88-uv", add=("Finance",)),
        request(3, "88-uv", exact=("Finance",)),
        request(4, "88-uv", remove=("Alumni",)),
    )
    assert result.desired_states == (DesiredState("88-uv", "Roby01", (None,), (), (), ("g-fin",), (2, 3, 4)),)


@pytest.mark.parametrize(
    ("change", "column"),
    [(request(3, "88-uv", add=("Alumni",)), "Add"), (request(3, "88-uv", remove=("Finance",)), "Remove")],
)
def test_changes_that_go_against_an_exact_list_are_a_contradiction(change: RowRequest, column: str) -> None:
    result = read(request(2, "88-uv", exact=("Finance",)), change)
    assert codes(result) == [(2, "Groups", "contradiction"), (3, column, "contradiction")]
    assert "in row 3" in result.row_errors[0].message
    assert "in row 2" in result.row_errors[1].message


def test_a_invalid_row_takes_no_part_in_the_merge() -> None:
    result = read(request(2, "88-uv", display_name="A", add=("nothing",)), request(3, "88-uv", display_name="B"))
    assert [found.rows for found in result.desired_states] == [(3,)]
    assert codes(result) == [(2, "Add", "unknown_group")]


def test_thousands_of_contradicting_rows_get_short_messages() -> None:
    result = read(*(request(row, "88-uv", display_name=f"Name {row}", add=("Finance",)) for row in range(2, 3002)))
    assert len(result.row_errors) == 3000
    assert "rows 3, 4, 5, 6, 7 and 2,994 more" in result.row_errors[0].message
    assert max(len(row_error.message) for row_error in result.row_errors) < 200


# --- blind


def test_without_accounts_rows_go_by_id_as_the_sheet_writes_it() -> None:
    result = read(
        request(2, "88-UV", "Roby01", add=("finance",)), request(3, "88-uv", add=("Alumni",)), known=directory(None)
    )
    assert result.desired_states == (
        DesiredState("88-UV", "Roby01", (None,), ("g-fin", "alumni-02"), (), None, (2, 3)),
    )
    assert len(result.warnings) == 1
    assert "not read" in result.warnings[0]


def test_without_accounts_a_name_alone_needs_an_id_and_says_which_scope_would_do() -> None:
    row_error = only_row_error(request(name="Roby01"), known=directory(None))
    assert (row_error.column, row_error.code) == ("Robot", "needs_id")
    assert "PM.RobotAccount.Read" in row_error.message
    assert "--no-read" in row_error.message


@pytest.mark.parametrize(
    ("known", "scope"), [(directory(None), "PM.RobotAccount.Read"), (directory(groups=None), "PM.Group.Read")]
)
def test_an_exact_list_needs_the_directory(known: Directory, scope: str) -> None:
    row_error = only_row_error(request(account_id="88-uv", exact=("g-fin",)), known=known)
    assert (row_error.column, row_error.code, scope in row_error.message) == ("Groups", "needs_directory", True)


def test_without_groups_each_text_is_taken_as_an_id_and_counted_once() -> None:
    result = read(
        request(2, "88-uv", add=("alumni-02", "Some Name")),
        request(3, "88-uv", add=("ALUMNI-02",)),
        request(4, "a-2", remove=("x",)),
        known=directory(groups=None),
    )
    assert [(found.add, found.remove) for found in result.desired_states] == [
        (("alumni-02", "Some Name"), ()),
        ((), ("x",)),
    ]
    (warning,) = result.warnings
    assert "3 groups of the sheet are taken as ids" in warning
    (one,) = read(request(account_id="88-uv", add=("x",)), known=directory(groups=None)).warnings
    assert "1 group of the sheet is taken as an id" in one


def test_without_groups_a_blank_is_no_id_and_no_group_gives_no_warning() -> None:
    known = directory(groups=None)
    assert only_row_error(request(account_id="88-uv", add=(" ",)), known=known).code == "unknown_group"
    assert read(request(account_id="88-uv", display_name="x", add=("everyone",)), known=known).warnings == ()


def test_without_accounts_one_name_on_two_ids_makes_both_rows_a_mismatch() -> None:
    rows = (
        request(2, "1", "Roby"),
        request(3, "2", "ROBY"),
        request(4, "3", "Other"),
        request(5, "1", display_name="x"),
    )
    for row_errors in (read(*rows, known=directory(None)).row_errors, offline_row_errors(rows, COLUMNS)):
        assert [(row_error.row, row_error.column, row_error.value, row_error.code) for row_error in row_errors] == [
            (2, "Id", "1", "account_mismatch"),
            (3, "Id", "2", "account_mismatch"),
        ]
        assert "but row 3 another one for the same name" in row_errors[0].message
    assert [found.rows for found in read(*rows, known=directory(None)).desired_states] == [(4,), (5,)]


def test_without_accounts_two_names_on_one_id_make_both_rows_a_mismatch() -> None:
    rows = (request(2, "1", "Roby"), request(3, "1", "Toby"))
    for row_errors in (read(*rows, known=directory(None)).row_errors, offline_row_errors(rows, COLUMNS)):
        assert [(row_error.row, row_error.column, row_error.value) for row_error in row_errors] == [
            (2, "Robot", "Roby"),
            (3, "Robot", "Toby"),
        ]


def test_a_mismatched_row_is_told_its_other_row_errors_too() -> None:
    rows = (request(2, "1", "Roby", add=("nothing",)), request(3, "2", "Roby"))
    assert codes(read(*rows, known=directory(None))) == [
        (2, "Id", "account_mismatch"),
        (2, "Add", "unknown_group"),
        (3, "Id", "account_mismatch"),
    ]


def test_mismatched_rows_are_named_in_the_order_of_the_sheet() -> None:
    rows = [request(row, str(row), "Roby") for row in (5, 2, 4, 3)]
    assert "rows 3, 4 and 5 another" in read(*rows, known=directory(None)).row_errors[0].message


# --- offline


def test_a_check_finds_contradictions_by_id_by_name_and_across_both() -> None:
    rows = [
        request(2, "1", display_name="A"),
        request(3, "1", "Roby"),
        request(4, name="ROBY", display_name="B"),
        request(5, name="other", add=("Finance",)),
        request(6, name="Other", remove=("FINANCE",)),
        request(7, "other", remove=("Finance",)),
    ]
    assert [(row_error.row, row_error.column, row_error.code) for row_error in offline_row_errors(rows, COLUMNS)] == [
        (2, "Display Name", "contradiction"),
        (3, "", "contradiction"),
        (4, "Display Name", "contradiction"),
        (5, "Add", "contradiction"),
        (6, "Remove", "contradiction"),
    ]


FINANCE_ID, HR_ID = "11111111-1111-4111-8111-111111111111", "{22222222-2222-4222-8222-222222222222}"


@pytest.mark.parametrize(
    ("first", "second", "add", "contradict"),
    [
        (("Finance", "HR"), (FINANCE_ID, "HR"), (), False),
        (("Finance", "HR"), (HR_ID, FINANCE_ID), (), False),
        (("Finance",), ("Finance", FINANCE_ID), (), False),
        (("Finance",), None, (FINANCE_ID,), False),
        ((FINANCE_ID,), None, ("Finance",), False),
        (("Finance", "HR"), ("Finance", "Legal"), (), True),
        ((FINANCE_ID,), (HR_ID,), (), True),
        (("Finance",), (), (), True),
        (("Finance", "HR"), (FINANCE_ID,), (), False),  # only a directory knows that these differ
        (("Finance",), None, ("HR",), True),
    ],
)
def test_a_check_takes_an_id_and_a_name_for_groups_that_may_be_the_same(
    first: tuple[str, ...], second: tuple[str, ...] | None, add: tuple[str, ...], *, contradict: bool
) -> None:
    rows = [request(2, name="Roby", exact=first), request(3, name="Roby", exact=second, add=add)]
    found = [(row_error.row, row_error.code) for row_error in offline_row_errors(rows, COLUMNS)]
    assert found == ([(2, "contradiction"), (3, "contradiction")] if contradict else [])


def test_a_check_asks_nothing_that_only_the_directory_knows() -> None:
    rows = [request(2, name="unknown", add=("whatever",), partition="any"), request(3, "id", exact=("x", "Everyone"))]
    assert offline_row_errors(rows, COLUMNS) == ()


# --- many bad rows


def test_suggestions_are_sought_once_per_text_and_stop_when_they_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookup, "_COMPARISONS", 3 * len(ACCOUNTS))
    names = ["Roby02", "ROBY02", "Robot Too", "roby03", "robot five", "Roby02"]
    result = read(*(request(row, name=name) for row, name in enumerate(names, 2)))
    assert ["Did you mean" in row_error.message for row_error in result.row_errors] == [
        True,
        True,
        True,
        True,
        False,
        True,
    ]


def test_a_guid_is_not_compared_with_names_but_a_short_id_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_COMPARISONS", len(ACCOUNTS))
    guid, short = read(request(2, "3fa85f64-5717-4562-B3FC-2c963f66afa6"), request(3, "Roby02")).row_errors
    assert guid.message.endswith("right organisation.")
    assert 'Did you mean "Roby01"?' in short.message


def test_a_paragraph_in_a_cell_is_cut_in_the_message_and_whole_in_the_value() -> None:
    text = "word\n" * 2000
    row_error = only_row_error(request(name=text))
    assert row_error.value == text
    assert len(row_error.message) < 250
    assert "\n" not in row_error.message
