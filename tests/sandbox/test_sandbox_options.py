"""The options of a sandbox, and the seeded directory that follows from them."""

import re
import subprocess
import sys
import uuid
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.model import QuotaRule
from bulkid.sandbox.fixtures import LOGINS_S, NOW_S, ODD_NAMES, seeded_organization
from bulkid.sandbox.options import CLOUD_LIMITS, FAULT_KINDS, Faults, SandboxOptions, parse_faults, parse_limits
from bulkid.sandbox.organization import Organization
from bulkid.sandbox.server import Sandbox
from tests.support.examples import examples


def told(directory: Organization) -> list[dict[str, object]]:
    accounts = [directory.account_dto(account) for account in directory.accounts.values()]
    return accounts + [directory.group_dto(group) for group in directory.groups.values()]


# --- options


def test_the_defaults_are_automation_clouds_counts_in_a_short_window() -> None:
    counts = {"GET": 300, "POST": 24_000, "PUT": 160, "DELETE": 160}
    assert {rule.method: (rule.count, rule.seconds) for rule in CLOUD_LIMITS} == {
        method: (count, 300.0) for method, count in counts.items()
    }
    assert {rule.method: (rule.count, rule.seconds) for rule in SandboxOptions().limits} == {
        method: (count, 10.0) for method, count in counts.items()
    }
    assert SandboxOptions().absent_display_name == "blank"


def test_no_secret_shows_in_a_printed_option() -> None:
    shown = repr(SandboxOptions(client_secret="hush-hush", static_tokens=("1234-token",)))
    assert "hush-hush" not in shown
    assert "1234-token" not in shown


@pytest.mark.parametrize(
    "bad",
    [
        {"accounts": -1},
        {"accounts": 1_000_001},
        {"groups": 100_001},
        {"groups": 2},
        {"prefix": "identity"},
        {"prefix": "/identity/"},
        {"latency_s": -1.0},
        {"jitter_s": float("nan")},
        {"token_lifetime_s": -1.0},
        {"token_lifetime_s": float("inf")},
        {"token_lifetime_s": 1e300},  # its end is no number that a token can hold
        {"latency_s": float("inf")},
        {"page_cap": 0},
        {"log_size": -1},
        {"max_members_per_put": -1},
        {"max_deletions": -1},
    ],
)
def test_options_that_cannot_be_served_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        SandboxOptions(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"html": -0.1},
        {"html": 1.1},
        {"html": float("nan")},
        {"token_error": 2.0},
        {"html": 0.6, "slow": 0.5},
        {"slow_s": -1.0},
        {"retry_after_s": -1},
    ],
)
def test_faults_that_are_no_probabilities_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Faults(**bad)


def test_ten_faults_of_a_tenth_each_are_a_certainty_not_an_error() -> None:
    assert Faults(**dict.fromkeys(FAULT_KINDS[:10], 0.1)).total == pytest.approx(1.0)


def test_faults_are_read_as_the_command_line_gives_them() -> None:
    assert parse_faults("reset_after=0.2, html=10%,Slow=.5,slow-s=3,retry_after_s=4") == Faults(
        reset_after=0.2, html=0.1, slow=0.5, slow_s=3.0, retry_after_s=4
    )
    assert parse_faults("") == parse_faults(" none ") == Faults()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rest_after=0.2", "'rest_after'"),
        ("html", "'html'"),
        ("html=lots", "'lots'"),
        ("html=1.5", "html"),
        ("html=nan", "html"),
        ("slow_s=inf", "slow_s"),
        ("html=0.7,slow=0.7", "1.4"),
    ],
)
def test_faults_that_cannot_be_read_say_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_faults(text)


@given(
    st.lists(
        st.builds(
            QuotaRule,
            st.sampled_from(["GET", "PUT", "POST"]),
            st.integers(0, 10**6),
            st.floats(0.001, 10**6, allow_nan=False),
        ),
        max_size=4,
    )
)
def test_limits_are_read_back_as_they_were_written(rules: list[QuotaRule]) -> None:
    text = ",".join(f"{rule.method}={rule.count}/{rule.seconds!r}" for rule in rules)
    assert parse_limits(text) == tuple(rules)


def test_limits_may_be_none_and_methods_in_small_letters() -> None:
    assert parse_limits("none") == parse_limits("") == ()
    assert parse_limits("put=20/5") == (QuotaRule("PUT", 20, 5.0),)


@pytest.mark.parametrize("text", ["PUT", "PUT=20", "PUT=x/5", "PUT=-1/5", "PUT=20/0", "PUT=20/inf", "PUT=20/x", "=1/5"])
def test_limits_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_limits(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_readers(text: str) -> None:
    for reader in (parse_faults, parse_limits):
        try:
            reader(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - any other exception is the failure


# --- the seeded directory


def test_the_same_seed_gives_the_same_directory_on_another_interpreter() -> None:
    code = (
        "from bulkid.sandbox.fixtures import *; d = seeded_organization(SandboxOptions(accounts=300)); "
        "print([d.account_dto(a) for a in d.accounts.values()] + [d.group_dto(g) for g in d.groups.values()])"
    )
    here = told(seeded_organization(SandboxOptions(accounts=300)))
    there = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        check=True,
    )
    assert there.stdout.decode().strip() == str(here)
    assert told(seeded_organization(SandboxOptions(accounts=300, seed=2))) != here


def test_a_larger_directory_holds_the_accounts_of_a_smaller_one() -> None:
    small, large = (seeded_organization(SandboxOptions(accounts=number)) for number in (500, 12_000))
    for account in small.accounts.values():
        assert large.account_dto(large.account_named(account.name)) == small.account_dto(account)


@given(st.integers(0, 700), st.integers(3, 40), st.integers(0, 5))
def test_any_size_gives_unique_ids_and_names_and_the_vendors_example(accounts: int, groups: int, seed: int) -> None:
    directory = seeded_organization(SandboxOptions(accounts=accounts, groups=groups, seed=seed))
    assert (len(directory.accounts), len(directory.groups)) == (accounts, groups)
    assert len({account.name.casefold() for account in directory.accounts.values()}) == accounts
    assert len({group.name.casefold() for group in directory.groups.values()}) == groups
    ids = {group.id for group in directory.groups.values()}
    for account in directory.accounts.values():
        assert account.group_ids <= ids - {directory.everyone.id}
    if accounts:
        vendor = directory.account("88-UV")
        assert (vendor.name, vendor.display_name, vendor.group_ids) == ("roby", "Roby", {"gryff-01"})
    assert {"gryff-01", "alumni-02"} <= ids
    assert directory.members(directory.group("alumni-02")) == []


def test_the_default_directory_is_varied() -> None:
    directory = seeded_organization(SandboxOptions())
    accounts = list(directory.accounts.values())
    for account in accounts[1:]:
        assert uuid.UUID(account.id).version == 4
        assert str(uuid.UUID(account.id)) == account.id
    names = {account.name for account in accounts}
    assert {"Müller", "北京", "00123", "=SUM(1)", "Smith, John", "robot-0001"} <= names
    assert sum(account.display_name is None for account in accounts) > 100
    assert len({account.display_name for account in accounts}) < len(accounts)
    assert {len(account.group_ids) for account in accounts} == {0, 1, 2, 3, 4}
    for name in ("Finance", "Sales, EU", "営業部"):
        assert len(directory.members(directory.group_named(name))) > 100


@given(st.integers(-(10**8), 2 * 10**9), st.integers(0, 5))
@settings(max_examples=examples(10, soak=100))
def test_logins_are_spread_over_the_two_years_before_now_and_follow_the_creation(after: int, seed: int) -> None:
    now = int(NOW_S) + after
    directory = seeded_organization(SandboxOptions(accounts=600, seed=seed), now)
    ages = []
    for account in list(directory.accounts.values())[1:]:
        created = datetime.fromisoformat(account.created).timestamp()
        assert created < now
        if account.last_login is not None:
            last = datetime.fromisoformat(account.last_login).timestamp()
            assert created < last <= now
            ages.append((now - last) / LOGINS_S)
    assert 600 / 2 < len(ages) < 600 * 4 / 5, "some have never logged in"
    for part in range(5):
        assert sum(part / 5 <= age <= (part + 1) / 5 for age in ages) > len(ages) / 10
    assert (directory.account("88-uv").created, directory.account("88-uv").last_login) == (
        "2021-05-04T09:30:00.1234567Z",
        None,
    )


def test_only_times_depend_on_now() -> None:
    one, other = (seeded_organization(SandboxOptions(accounts=300), NOW_S + after) for after in (0, 10**7))
    for account in one.accounts.values():
        same = other.account(account.id)
        assert (same.name, same.display_name, same.group_ids) == (account.name, account.display_name, account.group_ids)


async def test_a_sandbox_counts_back_from_its_own_clock() -> None:
    sandbox = Sandbox(SandboxOptions(accounts=300), now=lambda: 1_900_000_000.0)
    assert told(sandbox.state) == told(seeded_organization(SandboxOptions(accounts=300), 1_900_000_000.0))


def test_what_is_not_there_is_a_key_error() -> None:
    directory = seeded_organization(SandboxOptions(accounts=1))
    for look, what in (
        (directory.account, "x"),
        (directory.account_named, "x"),
        (directory.group, "x"),
        (directory.group_named, "x"),
        (directory.delete, "x"),
    ):
        with pytest.raises(KeyError):
            look(what)


def test_the_log_is_bounded() -> None:
    assert Sandbox(SandboxOptions(accounts=1, log_size=5)).log.maxlen == 5


@pytest.mark.parametrize(("accounts", "odd"), [(1, 0), (10, 0), (101, 10), (6000, len(ODD_NAMES))])
def test_at_most_one_account_in_ten_is_oddly_named(accounts: int, odd: int) -> None:
    directory = seeded_organization(SandboxOptions(accounts=accounts))
    plain = [account for account in directory.accounts.values() if account.name.startswith("robot-")]
    assert len(plain) == accounts - 1 - odd
