"""Rows one by one, and together: what each becomes, and what it is told when it cannot."""

import pytest
from planning_world import ACCOUNTS, COLUMNS, EVERYONE_ID, GROUPS, ORG, account, directory, wish

from bulkid.model import AccountWish, Fault, Group, RowWish
from bulkid.planning import Directory, Resolution, offline_faults, resolve, suggestions


def read(*rows: RowWish, known: Directory | None = None) -> Resolution:
    return resolve(rows, known or directory(), COLUMNS)


def only_fault(*rows: RowWish, known: Directory | None = None) -> Fault:
    result = read(*rows, known=known)
    assert result.wishes == ()
    (fault,) = result.faults
    return fault


def codes(result: Resolution) -> list[tuple[int, str, str]]:
    return [(fault.row, fault.column, fault.code) for fault in result.faults]


def test_names_become_ids_as_the_server_writes_them() -> None:
    row = wish(7, name="ROBY01", display_name="Robbie", add=("finance", "ALUMNI-02"), remove=("g-tra",))
    assert read(row).wishes == (
        AccountWish("88-uv", "Roby01", "Robbie", ("g-fin", "alumni-02"), ("G-TRA",), None, (7,)),
    )


def test_a_row_by_id_learns_its_name_and_an_id_and_name_that_agree_are_one_account() -> None:
    assert [found.name for found in read(wish(account_id="A-2")).wishes] == ["Robot Two"]
    assert read(wish(account_id="a-2", name="ROBOT TWO")).faults == ()


def test_one_group_given_twice_by_id_and_by_name_is_added_once() -> None:
    assert read(wish(name="roby01", add=("Finance", "g-FIN", "finance"))).wishes[0].add == ("g-fin",)


def test_unknown_name_suggests_near_names_at_most_three() -> None:
    many = directory(tuple(account(f"id{number}", f"robot-000{number}") for number in range(9)))
    fault = only_fault(wish(3, name="robot-00O1"), known=many)
    assert (fault.row, fault.column, fault.value, fault.code) == (3, "Robot", "robot-00O1", "unknown_account")
    assert 'Did you mean "robot-0001", "robot-000' in fault.message
    assert fault.message.count('"robot-') == 4


def test_unknown_name_without_a_near_one_says_what_to_do() -> None:
    fault = only_fault(wish(name="completely different"))
    assert fault.message.endswith("Check the spelling, and that it is the right organisation.")


def test_unknown_id_says_when_it_is_the_name_of_an_account_and_the_other_way_round() -> None:
    by_id = only_fault(wish(account_id="roby01"))
    assert (by_id.column, by_id.code, "column name" in by_id.message) == ("Id", "unknown_account", True)
    by_name = only_fault(wish(name="88-uv"))
    assert (by_name.column, by_name.code, "column robot_account_id" in by_name.message) == (
        "Robot",
        "unknown_account",
        True,
    )


def test_unknown_id_beside_a_known_name_tells_the_id_that_the_name_has() -> None:
    fault = only_fault(wish(account_id="nobody", name="roby01"))
    assert (fault.code, 'has the id "88-uv"' in fault.message) == ("unknown_account", True)


def test_id_and_name_that_disagree_are_a_mismatch_that_names_both() -> None:
    fault = only_fault(wish(account_id="88-uv", name="Robot Two"))
    assert (fault.column, fault.value, fault.code) == ("Robot", "Robot Two", "account_mismatch")
    assert '"Roby01"' in fault.message
    assert '"Robot Two"' in fault.message


def test_a_name_that_two_accounts_share_apart_from_case_needs_the_id() -> None:
    twins = directory((account("1", "Twin"), account("2", "TWIN")))
    fault = only_fault(wish(name="twin"), known=twins)
    assert (fault.code, '"1" or "2"' in fault.message) == ("ambiguous_account", True)
    assert '"Twin" and "TWIN"' in fault.message
    assert [found.account_id for found in read(wish(name="TWIN"), known=twins).wishes] == ["2"]
    assert only_fault(wish(account_id="2", name="Twin"), known=twins).code == "account_mismatch"
    assert read(wish(account_id="2", name="twin"), known=twins).faults == ()


def test_a_row_that_names_no_account_is_a_fault() -> None:
    for known in (directory(), directory(None)):
        assert only_fault(wish(add=("Finance",)), known=known).code == "missing_account"
    assert [fault.code for fault in offline_faults([wish()], COLUMNS)] == ["missing_account"]


def test_unknown_group_names_the_text_and_suggests() -> None:
    result = read(wish(4, "88-uv", add=("Finance", "Trainee"), remove=("Alumnii",)))
    assert result.wishes == ()
    first, second = result.faults
    assert (first.row, first.column, first.value, first.code) == (4, "Add", "Trainee", "unknown_group")
    assert 'Did you mean "Trainees"?' in first.message
    assert (second.column, second.value) == ("Remove", "Alumnii")


def test_unknown_group_in_an_exact_list_is_reported_in_its_column() -> None:
    assert codes(read(wish(account_id="88-uv", exact=("x",)))) == [(2, "Groups", "unknown_group")]
    assert codes(read(wish(account_id="88-uv", add=("",)))) == [(2, "Add", "unknown_group")]


def test_a_group_name_that_differs_only_by_case_from_another_needs_the_id() -> None:
    known = directory(groups=(*GROUPS, Group("9", "FINANCE")))
    fault = only_fault(wish(account_id="88-uv", add=("finance",)), known=known)
    assert (fault.code, '"g-fin" or "9"' in fault.message) == ("ambiguous_group", True)
    assert read(wish(account_id="88-uv", add=("g-fin",)), known=known).faults == ()


def test_a_row_for_another_organisation_is_refused_and_its_own_is_taken_in_any_case() -> None:
    assert read(wish(account_id="88-uv", partition=ORG.upper())).faults == ()
    fault = only_fault(wish(account_id="88-uv", partition="other"))
    assert (fault.column, fault.value, fault.code) == ("Org", "other", "wrong_organization")


@pytest.mark.parametrize("text", ["Everyone", "EVERYONE", EVERYONE_ID, EVERYONE_ID.lower()])
def test_everyone_is_never_removed_and_adding_it_asks_for_nothing(text: str) -> None:
    fault = only_fault(wish(account_id="88-uv", remove=(text,)))
    assert (fault.column, fault.value, fault.code) == ("Remove", text, "everyone_cannot_be_removed")
    assert read(wish(account_id="88-uv", add=(text,))).wishes[0].add == ()
    assert read(wish(account_id="88-uv", exact=(text, "Finance"))).wishes[0].exact == ("g-fin",)


def test_everyone_is_recognised_by_name_where_the_groups_are_not_known_or_do_not_hold_it() -> None:
    for known in (directory(groups=None), directory(groups=GROUPS[1:])):
        assert only_fault(wish(account_id="88-uv", remove=("everyone",)), known=known).code == (
            "everyone_cannot_be_removed"
        )
        assert read(wish(account_id="88-uv", add=("Everyone",)), known=known).wishes[0].add == ()


def test_a_group_added_by_id_and_removed_by_name_in_one_row_is_a_fault() -> None:
    fault = only_fault(wish(account_id="88-uv", add=("Alumni", "g-fin"), remove=("Finance",)))
    assert (fault.column, fault.value, fault.code) == ("Remove", "Finance", "add_and_remove")
    assert '"g-fin" is both added and removed (as "Finance")' in fault.message


def test_an_exact_list_beside_changes_in_one_row_is_a_fault() -> None:
    for row in (
        wish(account_id="88-uv", add=("Finance",), exact=()),
        wish(account_id="88-uv", remove=("x",), exact=()),
    ):
        assert "exact_with_changes" in [fault.code for fault in read(row).faults]


def test_all_faults_of_a_row_are_told_at_once() -> None:
    row = wish(account_id="nobody", add=("x",), remove=("Everyone",), exact=(), partition="other")
    assert sorted(fault.code for fault in read(row).faults) == [
        "everyone_cannot_be_removed",
        "exact_with_changes",
        "unknown_account",
        "unknown_group",
        "wrong_organization",
    ]


def test_a_sheet_without_the_column_gives_a_fault_without_a_header() -> None:
    (fault,) = resolve([wish(account_id="nobody")], directory(), {}).faults
    assert fault.column == ""


# --- several rows for one account


def test_rows_that_agree_are_merged_and_keep_their_numbers() -> None:
    result = read(
        wish(2, "88-uv", add=("Finance",)),
        wish(3, name="robot two"),
        wish(4, name="Roby01", display_name="Robbie", add=("Alumni", "Finance"), remove=("Trainees",)),
        wish(5, "88-UV", display_name="Robbie"),
    )
    assert result.faults == ()
    assert result.wishes == (
        AccountWish("88-uv", "Roby01", "Robbie", ("g-fin", "alumni-02"), ("G-TRA",), None, (2, 4, 5)),
        AccountWish("A-2", "Robot Two", None, (), (), None, (3,)),
    )


def test_two_display_names_make_each_row_a_contradiction_that_names_the_others() -> None:
    result = read(
        wish(2, "88-uv", display_name="A"), wish(5, "88-uv", display_name="B"), wish(9, "88-uv", display_name="")
    )
    assert result.wishes == ()
    assert codes(result) == [(row, "Display Name", "contradiction") for row in (2, 5, 9)]
    assert [fault.value for fault in result.faults] == ["A", "B", ""]
    assert 'display name "A", but rows 5 and 9 another' in result.faults[0].message
    assert "display name cleared, but rows 2 and 5 another" in result.faults[2].message


def test_a_group_added_in_one_row_and_removed_in_another_is_a_contradiction() -> None:
    result = read(wish(2, "88-uv", add=("g-fin",)), wish(3, "88-uv", remove=("Finance",)))
    assert codes(result) == [(2, "Add", "contradiction"), (3, "Remove", "contradiction")]
    assert [fault.value for fault in result.faults] == ["Finance", "Finance"]
    assert "removed in row 3" in result.faults[0].message
    assert "added in row 2" in result.faults[1].message


def test_a_row_beside_contradicting_ones_is_not_sent_either() -> None:
    result = read(
        wish(2, "88-uv", display_name="A"), wish(3, "88-uv", display_name="B"), wish(4, "88-uv", add=("Finance",))
    )
    assert codes(result)[2] == (4, "", "contradiction")
    assert "rows 2 and 3" in result.faults[2].message


def test_two_exact_lists_agree_when_they_hold_the_same_groups() -> None:
    same = read(
        wish(2, "88-uv", exact=("Finance", "Alumni")), wish(3, "88-uv", exact=("alumni-02", "g-fin", "Everyone"))
    )
    assert [(found.exact, found.rows) for found in same.wishes] == [(("g-fin", "alumni-02"), (2, 3))]
    other = read(wish(2, "88-uv", exact=("Finance",)), wish(3, "88-uv", exact=()))
    assert codes(other) == [(2, "Groups", "contradiction"), (3, "Groups", "contradiction")]
    assert "than row 3" in other.faults[0].message


def test_changes_beside_an_exact_list_agree_when_they_are_part_of_it() -> None:
    result = read(
        wish(2, "88-uv", add=("Finance",)), wish(3, "88-uv", exact=("Finance",)), wish(4, "88-uv", remove=("Alumni",))
    )
    assert result.wishes == (AccountWish("88-uv", "Roby01", None, (), (), ("g-fin",), (2, 3, 4)),)


@pytest.mark.parametrize(
    ("change", "column"),
    [(wish(3, "88-uv", add=("Alumni",)), "Add"), (wish(3, "88-uv", remove=("Finance",)), "Remove")],
)
def test_changes_that_go_against_an_exact_list_are_a_contradiction(change: RowWish, column: str) -> None:
    result = read(wish(2, "88-uv", exact=("Finance",)), change)
    assert codes(result) == [(2, "Groups", "contradiction"), (3, column, "contradiction")]
    assert "in row 3" in result.faults[0].message
    assert "in row 2" in result.faults[1].message


def test_a_faulty_row_takes_no_part_in_the_merge() -> None:
    result = read(wish(2, "88-uv", display_name="A", add=("nothing",)), wish(3, "88-uv", display_name="B"))
    assert [found.rows for found in result.wishes] == [(3,)]
    assert codes(result) == [(2, "Add", "unknown_group")]


def test_thousands_of_contradicting_rows_get_short_messages() -> None:
    result = read(*(wish(row, "88-uv", display_name=f"Name {row}", add=("Finance",)) for row in range(2, 3002)))
    assert len(result.faults) == 3000
    assert "rows 3, 4, 5, 6, 7 and 2,994 more" in result.faults[0].message
    assert max(len(fault.message) for fault in result.faults) < 200


# --- blind


def test_without_accounts_rows_go_by_id_as_the_sheet_writes_it() -> None:
    result = read(
        wish(2, "88-UV", "Roby01", add=("finance",)), wish(3, "88-uv", add=("Alumni",)), known=directory(None)
    )
    assert result.wishes == (AccountWish("88-UV", "Roby01", None, ("g-fin", "alumni-02"), (), None, (2, 3)),)
    assert len(result.warnings) == 1
    assert "not read" in result.warnings[0]


def test_without_accounts_a_name_alone_needs_an_id_and_says_which_scope_would_do() -> None:
    fault = only_fault(wish(name="Roby01"), known=directory(None))
    assert (fault.column, fault.code) == ("Robot", "needs_id")
    assert "PM.RobotAccount.Read" in fault.message
    assert "--no-read" in fault.message


@pytest.mark.parametrize(
    ("known", "scope"), [(directory(None), "PM.RobotAccount.Read"), (directory(groups=None), "PM.Group.Read")]
)
def test_an_exact_list_needs_the_directory(known: Directory, scope: str) -> None:
    fault = only_fault(wish(account_id="88-uv", exact=("g-fin",)), known=known)
    assert (fault.column, fault.code, scope in fault.message) == ("Groups", "needs_directory", True)


def test_without_groups_each_text_is_taken_as_an_id_and_counted_once() -> None:
    result = read(
        wish(2, "88-uv", add=("alumni-02", "Some Name")),
        wish(3, "88-uv", add=("ALUMNI-02",)),
        wish(4, "a-2", remove=("x",)),
        known=directory(groups=None),
    )
    assert [(found.add, found.remove) for found in result.wishes] == [(("alumni-02", "Some Name"), ()), ((), ("x",))]
    (warning,) = result.warnings
    assert "3 groups of the sheet are taken as ids" in warning
    (one,) = read(wish(account_id="88-uv", add=("x",)), known=directory(groups=None)).warnings
    assert "1 group of the sheet is taken as an id" in one


def test_without_groups_a_blank_is_no_id_and_no_group_gives_no_warning() -> None:
    known = directory(groups=None)
    assert only_fault(wish(account_id="88-uv", add=(" ",)), known=known).code == "unknown_group"
    assert read(wish(account_id="88-uv", display_name="x", add=("everyone",)), known=known).warnings == ()


def test_without_accounts_one_name_on_two_ids_makes_both_rows_a_mismatch() -> None:
    rows = (wish(2, "1", "Roby"), wish(3, "2", "ROBY"), wish(4, "3", "Other"), wish(5, "1", display_name="x"))
    for faults in (read(*rows, known=directory(None)).faults, offline_faults(rows, COLUMNS)):
        assert [(fault.row, fault.column, fault.value, fault.code) for fault in faults] == [
            (2, "Id", "1", "account_mismatch"),
            (3, "Id", "2", "account_mismatch"),
        ]
        assert "but row 3 another one for the same name" in faults[0].message
    assert [found.rows for found in read(*rows, known=directory(None)).wishes] == [(4,), (5,)]


def test_without_accounts_two_names_on_one_id_make_both_rows_a_mismatch() -> None:
    rows = (wish(2, "1", "Roby"), wish(3, "1", "Toby"))
    for faults in (read(*rows, known=directory(None)).faults, offline_faults(rows, COLUMNS)):
        assert [(fault.row, fault.column, fault.value) for fault in faults] == [
            (2, "Robot", "Roby"),
            (3, "Robot", "Toby"),
        ]


def test_a_mismatched_row_is_told_its_other_faults_too() -> None:
    rows = (wish(2, "1", "Roby", add=("nothing",)), wish(3, "2", "Roby"))
    assert codes(read(*rows, known=directory(None))) == [
        (2, "Id", "account_mismatch"),
        (2, "Add", "unknown_group"),
        (3, "Id", "account_mismatch"),
    ]


def test_mismatched_rows_are_named_in_the_order_of_the_sheet() -> None:
    rows = [wish(row, str(row), "Roby") for row in (5, 2, 4, 3)]
    assert "rows 3, 4 and 5 another" in read(*rows, known=directory(None)).faults[0].message


# --- offline


def test_a_check_finds_contradictions_by_id_by_name_and_across_both() -> None:
    rows = [
        wish(2, "1", display_name="A"),
        wish(3, "1", "Roby"),
        wish(4, name="ROBY", display_name="B"),
        wish(5, name="other", add=("Finance",)),
        wish(6, name="Other", remove=("FINANCE",)),
        wish(7, "other", remove=("Finance",)),
    ]
    assert [(fault.row, fault.column, fault.code) for fault in offline_faults(rows, COLUMNS)] == [
        (2, "Display Name", "contradiction"),
        (3, "", "contradiction"),
        (4, "Display Name", "contradiction"),
        (5, "Add", "contradiction"),
        (6, "Remove", "contradiction"),
    ]


def test_a_check_asks_nothing_that_only_the_directory_knows() -> None:
    rows = [wish(2, name="unknown", add=("whatever",), partition="any"), wish(3, "id", exact=("x", "Everyone"))]
    assert offline_faults(rows, COLUMNS) == ()


# --- many bad rows


def test_suggestions_are_sought_once_per_text_and_stop_when_they_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suggestions, "_COMPARISONS", 3 * len(ACCOUNTS))
    names = ["Roby02", "ROBY02", "Robot Too", "roby03", "robot five", "Roby02"]
    result = read(*(wish(row, name=name) for row, name in enumerate(names, 2)))
    assert ["Did you mean" in fault.message for fault in result.faults] == [True, True, True, True, False, True]


def test_a_guid_is_not_compared_with_names_but_a_short_id_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestions, "_COMPARISONS", len(ACCOUNTS))
    guid, short = read(wish(2, "3fa85f64-5717-4562-B3FC-2c963f66afa6"), wish(3, "Roby02")).faults
    assert guid.message.endswith("right organisation.")
    assert 'Did you mean "Roby01"?' in short.message


def test_a_paragraph_in_a_cell_is_cut_in_the_message_and_whole_in_the_value() -> None:
    text = "word\n" * 2000
    fault = only_fault(wish(name=text))
    assert fault.value == text
    assert len(fault.message) < 250
    assert "\n" not in fault.message
