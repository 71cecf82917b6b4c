"""The sentences that the terminal and the console share: targets, plans, estimates, outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid import runs
from bulkid.model import SANDBOX_ORGANIZATION, Account, QuotaRule, RowRequest, RunStatus
from bulkid.planning.export_rows import has_time
from bulkid.runs import descriptions
from bulkid.text import short_duration
from tests.support.planning_world import LAW, account, accounts, directory, request, rows
from tests.support.previews import creation, deletion, preview_of, with_changes

ACME = "a8f3c1d2-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    ("url", "organization_id", "sandbox", "long", "short"),
    [
        (
            "https://cloud.uipath.com/acme/identity_",
            ACME,
            False,
            "Organisation acme (a8f3c1d2...) at cloud.uipath.com",
            "acme · cloud.uipath.com",
        ),
        (
            "https://cloud.uipath.com/acme",
            "",
            False,
            "Organisation acme at cloud.uipath.com",
            "acme · cloud.uipath.com",
        ),
        (
            "https://orchestrator.example.com:8443/identity",
            ACME,
            False,
            "Organisation a8f3c1d2... at orchestrator.example.com:8443",
            "a8f3c1d2... · orchestrator.example.com:8443",
        ),
        ("https://suite.example.com/identity_", "", False, "suite.example.com", "suite.example.com"),
        (
            f"https://cloud.uipath.com/{ACME}",
            ACME.upper(),
            False,
            "Organisation A8F3C1D2... at cloud.uipath.com",
            "A8F3C1D2... · cloud.uipath.com",
        ),
        ("http://127.0.0.1:8765/identity", SANDBOX_ORGANIZATION, False, None, "sandbox"),
        ("http://127.0.0.1:8765/identity", "", True, None, "sandbox"),
        ("http://127.0.0.1:8765/identity", ACME, False, None, "a8f3c1d2... · 127.0.0.1:8765"),
        ("https://real.example.com/identity", SANDBOX_ORGANIZATION, False, None, "3fa85f64... · real.example.com"),
        ("no address at all", "", False, "no address at all", "no address at all"),
    ],
)
def test_a_target_is_named_by_its_organisation_and_its_host(
    url: str, organization_id: str, sandbox: bool, long: str | None, short: str
) -> None:
    found = descriptions.destination(url, organization_id, sandbox=sandbox)
    assert found.short == short
    if long is not None:
        assert found.long == long
    assert found.is_sandbox == ("Sandbox" in found.long)


def test_the_summary_of_a_plan_counts_accounts_and_invalid_rows() -> None:
    made = preview_of([request(2, "a-4", display_name="New Four"), request(3, "88-uv", display_name="Roby")], invalid=1)
    assert descriptions.plan_summary(made) == "Plan: 1 to change, 1 already correct, 1 invalid"


def test_changes_are_counted_by_kind_and_group_with_the_largest_group_first() -> None:
    made = preview_of(
        [
            request(2, "a-4", display_name="!", remove=("g-zue",), add=("Finance",)),
            request(3, "88-uv", display_name="", remove=("Finance",)),
            request(4, "A-2", add=("Finance",), remove=("Alumni",)),
        ]
    )
    counts = descriptions.count_changes(made.plan.changes, made.directory)
    assert counts.kinds_line == "1 rename, 1 name removed, 2 joins, 3 leaves"
    assert counts.groups_line() == "Finance +2 -1 · Alumni -1 · Zürich Straße -1"
    assert counts.groups_line(1) == "Finance +2 -1 · ... and 2 more groups"
    assert counts.groups_line(2) == "Finance +2 -1 · Alumni -1 · ... and 1 more group"


@LAW
@given(accounts(), rows(invalid=False))
def test_no_change_is_lost_in_the_counts(held: tuple[Account, ...], asked: list[RowRequest]) -> None:
    known = directory(held)
    made = preview_of(asked, known)
    counts = descriptions.count_changes(made.plan.changes, known)
    assert counts.joins == sum(len(change.add) for change in made.plan.changes)
    assert counts.leaves == sum(len(change.remove) for change in made.plan.changes)
    assert sum(int(words.split()[0]) for words in counts.fields) == sum(
        change.sets_fields for change in made.plan.changes
    )
    assert len({group.name for group in counts.groups}) == len(counts.groups)
    assert bool(counts.kinds_line) == bool(made.plan.changes)


@pytest.mark.parametrize(
    ("count", "rules", "rate", "words"),
    [
        (0, (), None, "Nothing needs to be sent."),
        (1, (), None, "Estimated time: under 10 seconds (1 request)."),
        (3, (QuotaRule("PUT", 1, 30.0),), None, "Estimated time: about 1 minute (3 requests)."),
        (2, (QuotaRule("PUT", 1, 11.0),), None, "Estimated time: about 10 seconds (2 requests)."),
        (3, (), 0.1, "Estimated time: about 20 seconds (3 requests)."),
        (2, (QuotaRule("PUT", 0, 60.0),), None, "The quota lets none of the 2 requests leave."),
        (2, (QuotaRule("GET", 1, 600.0),), None, "Estimated time: under 10 seconds (2 requests)."),
    ],
)
def test_the_estimate_is_one_sentence(count: int, rules: tuple[QuotaRule, ...], rate: float | None, words: str) -> None:
    asked = [request(row, each, display_name="X") for row, each in enumerate(("88-uv", "A-2", "a-3")[:count], 2)]
    assert descriptions.estimate(preview_of(asked, rules=rules, rate=rate)) == words


def test_rows_that_change_nothing_are_no_saving() -> None:
    made = preview_of(
        [request(2, "a-4", display_name="New"), *(request(row, "88-uv", display_name="Roby") for row in (3, 4))]
    )
    assert made.plan.naive_puts == 3, "what --json says of rows stays"
    assert descriptions.estimate(made) == "Estimated time: under 10 seconds (1 request)."
    assert not any("instead" in line or "would wait" in line for line in descriptions.sending_details(made))


def test_the_details_of_sending_name_the_quota_and_what_reading_took() -> None:
    asked = [request(row, each, display_name="X") for row, each in enumerate(("88-uv", "A-2"), 2)]
    details = " ".join(descriptions.sending_details(preview_of(asked, rules=(QuotaRule("PUT", 1, 60.0),))))
    assert details == (
        "2 PUTs for 2 accounts. The quota allows 1 PUT within 1 minute. Waiting for the quota: 1 minute. "
        "Reading took 2 GETs, 1 POST."
    )


def test_a_trial_says_what_it_leaves() -> None:
    asked = [request(row, each, display_name="X") for row, each in enumerate(("88-uv", "A-2", "a-3"), 2)]
    assert descriptions.trial_note(preview_of(asked)) == ""
    assert descriptions.trial_note(preview_of(asked, first=2)) == "Trial: 1 more account is left for later."


def test_the_outcome_comes_first_and_counts_only_what_there_is() -> None:
    counts = {"updated": 1530, "unchanged": 48, "failed": 0, "invalid": 2, "pending": 0}
    done, refused = RunStatus.COMPLETED_WITH_FAILURES, RunStatus.REFUSED
    assert descriptions.outcome(done, counts, 4.2) == "Done in 4 s: 1,530 updated, 48 already correct, 2 invalid."
    assert descriptions.outcome(RunStatus.INTERRUPTED, {}, 0.2) == "Stopped in under 1 s: 0 updated."
    assert descriptions.outcome(RunStatus.STOPPED, {"pending": 2}, 61) == "Stopped after 1 min 1 s: 2 pending."
    assert descriptions.outcome(refused, {"invalid": 1, "pending": 2}, 4) == "Refused: 1 invalid, 2 not sent."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "under 1 s"), (4.4, "4 s"), (290, "4 min 50 s"), (18_600, "5 h 10 min"), (90_000, "1 d 1 h"), (60, "1 min")],
)
def test_a_time_that_has_passed_is_short(seconds: float, words: str) -> None:
    assert short_duration(seconds) == words


def test_the_question_names_what_is_done_and_promises_no_undo_that_there_is_not() -> None:
    one, two = request(2, "a-4", display_name="N"), request(3, "A-2", display_name="N")
    assert descriptions.question(preview_of([one])) == ("Update 1 account? You can reverse this with bulkid undo.",)
    assert descriptions.question(preview_of([one, two]), undo=True) == (
        "Undo the changes to 2 accounts? You can reverse this with bulkid undo.",
    )
    assert descriptions.question(preview_of([one, two], invalid=1))[0] == "1 invalid row is skipped."
    blind = descriptions.question(preview_of([one, two], directory(None, None), invalid=2))
    assert blind == (
        "2 invalid rows are skipped.",
        "This run cannot be undone, because it does not read the accounts first.",
        "Update 2 accounts?",
    )


OLD = account("old-1", "PROD-old")._replace(last_login="2024-03-01T10:11:12Z", created="2023-11-30T00:00:00Z")
NEVER = account("old-2", "PROD-never")._replace(created="2023-11-30T00:00:00Z")


def the_whole_life() -> runs.Preview:
    updates = preview_of([request(2, "a-4", display_name="New Four"), request(3, "88-uv", display_name="Roby")])
    return with_changes(
        updates,
        creation("bot-1", "Bot One", ("g-fin", "night shift")),
        creation("bot-2"),
        deletion(OLD),
        deletion(NEVER),
        deletion(account("old-3", "PROD-unknown")),
        new_groups=["Night Shift", "Payroll"],
        rules=(QuotaRule("PUT", 1, 300.0), QuotaRule("POST", 2, 60.0), QuotaRule("DELETE", 160, 300.0)),
    )


def test_a_plan_of_the_whole_life_counts_each_action() -> None:
    made = the_whole_life()
    assert descriptions.plan_summary(made) == (
        "Plan: 2 to create, 1 to change, 3 to delete, 1 already correct, 0 invalid"
    )
    counts = descriptions.count_changes(made.plan.changes, made.directory)
    assert counts.kinds_line == "2 creations, 3 deletions, 1 rename, 2 joins"
    assert counts.groups_line() == "Finance +1 · Night Shift +1"
    assert descriptions.new_groups_line(made) == "2 new groups: Night Shift, Payroll"
    assert descriptions.deletion_warning(made) == "3 accounts will be deleted. Deletions cannot be undone."
    only_updates = preview_of([request(2, "a-4", display_name="New Four")])
    assert descriptions.new_groups_line(only_updates) == descriptions.deletion_warning(only_updates) == ""


def test_each_change_of_the_whole_life_has_its_mark() -> None:
    made = the_whole_life()
    marked = [list(descriptions.marked_changes(change, made.directory)) for change in made.plan.changes]
    assert marked == [
        [("~", "display name: Four -> New Four")],
        [("+", "new account"), ("+", 'display name "Bot One"'), ("+", "Finance"), ("+", "Night Shift")],
        [("+", "new account")],
        [("-", "delete account old-1 (last login 2024-03-01, created 2023-11-30)")],
        [("-", "delete account old-2 (never logged in, created 2023-11-30)")],
        [("-", "delete account old-3")],
    ]


def test_the_time_that_servers_write_for_none_is_no_login() -> None:
    default = account("a-1", "one")._replace(created="2023-11-30T00:00:00", last_login="0001-01-01T00:00:00")
    assert descriptions.account_dates(default) == "never logged in, created 2023-11-30"
    (deleted,) = descriptions.deleted_accounts(with_changes(preview_of(), deletion(default)))
    assert deleted.last_login == "never"


def test_the_forecast_names_the_requests_and_the_waiting_of_each_method() -> None:
    made = the_whole_life()
    assert descriptions.estimate(made) == "Estimated time: about 1 minute (6 requests)."
    assert descriptions.forecast(made) == (
        "Create 2 groups and 2 accounts: 4 POSTs, 1 minute of waiting",
        "Change 1 account: 1 PUT, no waiting",
        "Delete 3 accounts: 1 DELETE, no waiting",
    )
    details = descriptions.sending_details(made)
    assert "The quota allows 2 POSTs within 1 minute." in details
    assert "Waiting for the quota: 1 minute." in details
    many = with_changes(preview_of(), *(creation(f"bot-{number}") for number in range(500)))
    assert descriptions.forecast(many) == ("Create 500 accounts: 500 POSTs, no waiting",)
    assert descriptions.estimate(many) == "Estimated time: about 10 seconds (500 requests)."
    none = with_changes(preview_of(), creation("bot"), rules=(QuotaRule("POST", 0, 60.0),))
    assert descriptions.forecast(none) == ("Create 1 account: 1 POST, which the quota does not let leave",)
    assert descriptions.forecast(preview_of([request(2, "a-4", display_name="New")])) == ()


def test_the_question_says_what_happens_and_what_can_be_reversed() -> None:
    assert descriptions.question(the_whole_life()) == (
        (
            "Create 2, update 1 and delete 3 accounts. Deletions cannot be undone. "
            "You can reverse the rest with bulkid undo --allow-delete."
        ),
        "Type the number of accounts to delete (3) to go on:",
    )
    deletes, creates = with_changes(preview_of(), deletion(OLD)), with_changes(preview_of(), creation("bot-1"))
    assert descriptions.question(deletes, undo=True) == (
        "Delete 1 account. Deletions cannot be undone.",
        "Type the number of accounts to delete (1) to go on:",
    )
    assert descriptions.question(creates) == (
        "Create 1 account? You can reverse this with bulkid undo --allow-delete.",
    )
    updates = preview_of([request(2, "a-4", display_name="New Four")])
    assert descriptions.question(updates) == ("Update 1 account? You can reverse this with bulkid undo.",)
    assert descriptions.question(updates, undo=True) == (
        "Undo the changes to 1 account? You can reverse this with bulkid undo.",
    )


@pytest.mark.parametrize(
    ("typed", "agreed"),
    [
        ("1234", True),
        (" 1,234\n", True),
        ("1233", False),
        ("", False),
        ("y", False),
        ("01234", False),
        ("12,34", False),
    ],
)
def test_only_the_number_itself_confirms_deletions(typed: str, agreed: bool) -> None:
    assert descriptions.confirms_deletions(typed, 1234) is agreed


@given(st.text(max_size=30), st.text(max_size=30))
def test_dates_of_any_form_are_shown(created: str, last_login: str) -> None:
    words = descriptions.account_dates(Account("a", "b", ("",), (), created, last_login))
    assert bool(words) == bool(created or last_login)
    assert words.startswith("never logged in") == (bool(created or last_login) and not has_time(last_login))
