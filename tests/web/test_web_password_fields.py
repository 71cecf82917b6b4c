"""Fields of passwords in a real browser: a button shows what the user enters; a new password has a meter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkid.errors import UsageError
from bulkid.web.auth.passwords import require_good_password
from tests.support.chromium import LONGEST_MS, WIDE, tab_to, violations
from tests.support.web_console import hosted_world
from tests.support.web_users import PASSWORD, add_users

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@contextmanager
def opened(chromium: Any, folder: Path, path: str, *, user: str = "ada", **context: Any) -> Iterator[Any]:
    """A page of a console with one user, who has not signed in; each complaint of the browser is an error."""
    add_users(folder, {user: "admin"})
    with hosted_world(folder) as console:
        made = chromium.new_context(viewport=WIDE, **context)
        made.set_default_timeout(LONGEST_MS)
        page = made.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{console.browser.base}{path}")
        yield page
        made.close()
        assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def sign_in(page: Any, user: str = "ada") -> None:
    page.fill("[name=name]", user)
    page.fill("[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("text=Signed in")


def types(page: Any) -> list[str]:
    """The types of the fields of passwords, in their order."""
    return [field.get_attribute("type") for field in page.locator(".password input").all()]


def test_a_password_is_shown_and_hidden_by_keyboard_and_is_hidden_when_the_form_is_sent(
    chromium: Any, tmp_path: Path
) -> None:
    with opened(chromium, tmp_path, "/account") as page:
        tab_to(page, "[name=name]")
        page.keyboard.type("ada")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        tab_to(page, "button", "Show password")
        button = page.get_by_role("button", name="Show password: Password", exact=True)
        assert (types(page), button.get_attribute("aria-pressed")) == (["password"], "false")
        page.keyboard.press("Space")
        assert (types(page), button.get_attribute("aria-pressed")) == (["text"], "true")
        assert page.input_value("[name=password]") == PASSWORD
        page.keyboard.press("Enter")
        assert (types(page), button.get_attribute("aria-pressed")) == (["password"], "false")
        page.keyboard.press("Enter")
        page.route("**/signin", lambda route: route.fulfill(status=204))  # the browser stays on the page
        page.keyboard.press("Shift+Tab")
        with page.expect_request("**/signin") as sent:
            page.keyboard.press("Enter")
        assert sent.value.post_data.endswith(f"password={PASSWORD.replace(' ', '+')}")
        assert (types(page), button.get_attribute("aria-pressed")) == (["password"], "false")
        page.unroute("**/signin")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Signed in")


def test_each_button_shows_its_own_field_and_no_spelling_checker_reads_it(
    chromium: Any, axe: str, tmp_path: Path
) -> None:
    with opened(chromium, tmp_path, "/account", bypass_csp=True) as page:
        found = violations(page, axe, "signin-password")
        sign_in(page)
        names = ["Current password", "New password (12 characters or more)", "New password again"]
        for number, name in enumerate(names):
            page.get_by_role("button", name=f"Show password: {name}", exact=True).click()
            assert types(page)[: number + 2] == [*["text"] * (number + 1), "password"][: len(types(page))]
        found += violations(page, axe, "account-passwords-shown")
        for field in page.locator(".password input").all():
            assert field.get_attribute("spellcheck") == "false"
            assert field.get_attribute("autocapitalize") == "none"
        assert page.locator("input[type=password]").count() == 0, "every password has a button"
    assert found == []


def test_without_the_script_passwords_are_hidden_and_no_button_is_there(chromium: Any, tmp_path: Path) -> None:
    with opened(chromium, tmp_path, "/account", java_script_enabled=False) as page:
        assert page.locator("button:visible").all_inner_texts() == ["Sign in"]
        sign_in(page)
        assert types(page) == ["password"] * 3
        assert page.locator("button[data-show-password]:visible").count() == 0
        assert page.locator("meter:visible").count() == 0


TOO_SHORT = "Too short: a password has at least 12 characters."
TOO_LONG = "Too long: a password has at most 200 characters."
RELATED = 'Too close to the user name or to "bulkid".'
REPEATED = "Easy to guess: it repeats itself."
NOT_JUDGED = "Long enough. The console refuses a common password when the form is sent."

VERDICTS = {
    "": "",
    "elevenchars": TOO_SHORT,
    "ä" * 11: TOO_SHORT,
    "\N{ROBOT FACE}" * 11: TOO_SHORT,
    "x" * 201: TOO_LONG,
    "olaf.hansen1": RELATED,
    "HANSEN-hansen": RELATED,
    "Olaf2026!bulkid": RELATED,
    "\uff2f\uff2c\uff21\uff26 hansen olaf": RELATED,
    "bulkid bulkid bulkid": RELATED,
    "JU\u0308RGEN jürgen jürgen": RELATED,
    "olaf reads seventeen atlases": NOT_JUDGED,
    "aaaaaaaaaaaa": REPEATED,
    "abcabcabcabc": REPEATED,
    "1" * 200: REPEATED,
    "ab1!" * 50: REPEATED,
    "correct horse battery": NOT_JUDGED,
    "äöü 東京 plain zebra": NOT_JUDGED,
    "\N{ROBOT FACE}" * 8 + "a4§z": NOT_JUDGED,
    "password1234": NOT_JUDGED,
    "qwertyuiop12": NOT_JUDGED,
    "x" * 100 + "olaf": REPEATED,
}
"""What the meter says of new passwords of Olaf Hansen-Jürgen."""


def test_the_meter_tells_the_length_and_refuses_only_what_the_console_refuses(chromium: Any, tmp_path: Path) -> None:
    name = "Olaf Hansen-Jürgen"
    with opened(chromium, tmp_path, "/account", user=name) as page:
        sign_in(page, name)
        for password, verdict in VERDICTS.items():
            page.fill("[name=new]", password)
            assert page.inner_text("#new-strength") == verdict, password
            assert page.locator("meter").evaluate("each => each.value") == min(24, len(password))
            try:
                require_good_password(password, name)
            except UsageError:
                continue
            assert verdict == NOT_JUDGED, password


def test_the_meter_is_spoken_and_passes_axe(chromium: Any, axe: str, tmp_path: Path) -> None:
    with opened(chromium, tmp_path, "/account", bypass_csp=True) as page:
        sign_in(page)
        found = violations(page, axe, "account-meter-empty")
        field = page.get_by_role("textbox", name="New password (12 characters or more)")
        assert field.get_attribute("aria-describedby") == page.get_by_role("status").get_attribute("id")
        page.get_by_role("meter", name="Length of the new password").wait_for()
        for number, password in enumerate(("short", "ada is my bulkid", "seventeen quiet atlases")):
            field.fill(password)
            found += violations(page, axe, f"account-meter-{number}")
    assert found == []
