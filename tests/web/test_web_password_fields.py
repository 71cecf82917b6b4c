"""Fields of passwords in a real browser: each has a button that shows what the user types."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import LONGEST_MS, WIDE, tab_to, violations
from tests.support.web_console import hosted_world
from tests.support.web_users import PASSWORD, add_users

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@contextmanager
def opened(chromium: Any, folder: Path, path: str, **context: Any) -> Iterator[Any]:
    """A page of a console with the user ada, who has not signed in; each complaint of the browser is an error."""
    add_users(folder, {"ada": "admin"})
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


def sign_in(page: Any) -> None:
    page.fill("[name=name]", "ada")
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
