"""The sentences that the terminal and the console share: targets, plans, estimates, outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import SANDBOX_ORGANIZATION, QuotaRule, RunStatus
from bulkid.runs import descriptions
from bulkid.text import short_duration
from tests.support.planning_world import LAW, accounts, directory, request, rows
from tests.support.previews import preview_of

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
@given(st.data())
def test_no_change_is_lost_in_the_counts(data: st.DataObject) -> None:
    known = directory(data.draw(accounts()))
    made = preview_of(data.draw(rows(invalid=False)), known)
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
