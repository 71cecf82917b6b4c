"""Recipients: addresses are read from text, chosen by outcome, and never shown."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.notify.recipients import Recipients, addresses_in, secrets_in
from bulkid.redaction import redact_text

ADDRESSES = st.from_regex(r"[a-z]{2,8}://[A-Za-z0-9:@/._-]{1,30}", fullmatch=True).filter(lambda text: text[-1] != ",")


@given(
    st.lists(ADDRESSES, unique=True, max_size=6),
    st.sampled_from([" ", "\n", "\r\n", ", ", ",", "\t", "\n# who\n", "\n\n"]),
)
def test_addresses_are_found_whatever_stands_between_them(addresses: list[str], between: str) -> None:
    assert addresses_in(f"  {between.join(addresses)}\n") == tuple(addresses)


@given(st.text())
@example("0\t,")
def test_no_text_is_too_strange_to_look_for_addresses_in(text: str) -> None:
    for address in addresses_in(text):
        assert address.strip() == address != ""
        assert all(secrets_in(address))


def test_an_address_may_hold_commas_and_blanks_are_not_within_one() -> None:
    text = "mailto://me:pw@example.com?to=a@example.com,b@example.com, json://x.example.com"
    assert addresses_in(text) == ("mailto://me:pw@example.com?to=a@example.com,b@example.com", "json://x.example.com")


@pytest.mark.parametrize(
    ("success", "reported"), [(True, ["a://1", "c://1", "b://2"]), (False, ["f://1", "c://1", "b://2"])]
)
def test_each_is_reported_of_what_it_wants_to_hear_and_once(success: bool, reported: list[str]) -> None:
    who = Recipients(success=("a://1", "c://1"), failure=("f://1", "c://1"), always=("c://1", "b://2"))
    assert [each.address for each in who.for_outcome(success=success)] == reported


def test_no_text_form_shows_an_address() -> None:
    who = Recipients(failure=("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",))
    (only,) = who
    shown = f"{who!r} {only!r} {only}"
    assert "TIiajkdn" not in shown
    assert str(only) == "failure, address 1 (slack://...)"


def test_what_is_no_address_is_not_shown_either() -> None:
    (only,) = Recipients(always=("hunter2-is-my-password",))
    assert str(only) == "always, address 1"


@pytest.mark.parametrize(
    ("address", "secrets"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#chan",
            ["T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"],
        ),
        ("mailtos://user.name:pass%21word@example.com", ["pass%21word", "pass!word", "user.name"]),
        ("json://hooks.example.com/very-secret-token?key=another-secret", ["very-secret-token", "another-secret"]),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV_js"]),
        ("json://[::1", ["json://[::1"]),
    ],
)
def test_every_token_within_an_address_is_taken_out_of_what_is_shown(address: str, secrets: list[str]) -> None:
    assert Recipients(always=(address,))
    for secret in secrets:
        assert secret not in redact_text(f"Max retries exceeded with url: /x/{secret}/y (Caused by ...)")


def test_the_name_of_a_host_can_still_be_shown() -> None:
    assert Recipients(always=("json://127.0.0.1:8000/hook", "jsons://hooks.example.com/hook"))
    assert redact_text("127.0.0.1 and hooks.example.com") == "127.0.0.1 and hooks.example.com"
