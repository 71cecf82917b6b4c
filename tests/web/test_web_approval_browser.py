"""Approval in a real browser: the author hands a plan over, another operator approves a trial and then its rest.

``BULKID_SHOTS`` names a folder that gets a picture of every page, light, dark and narrow.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkid.web.console import ServeOptions
from tests.support.chromium import LONGEST_MS, WIDE, tab_to, violations
from tests.support.web_console import hosted_world, sheet
from tests.support.web_users import PASSWORD, USERS, add_users

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@contextmanager
def signed_in(chromium: Any, address: str, name: str) -> Iterator[Any]:
    """A page of a user who has signed in."""
    context = chromium.new_context(viewport=WIDE, bypass_csp=True)
    context.set_default_timeout(LONGEST_MS)
    page = context.new_page()
    page.goto(address)
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("#sheet")
    yield page
    context.close()


def test_a_plan_is_handed_over_approved_and_its_rest_approved_again(chromium: Any, axe: str, tmp_path: Path) -> None:
    add_users(tmp_path, USERS)
    found: list[str] = []
    with (
        hosted_world(tmp_path, serve=ServeOptions(port=0, require_approval=True)) as console,
        signed_in(chromium, console.browser.base, "olaf") as olaf,
        signed_in(chromium, console.browser.base, "otto") as otto,
        signed_in(chromium, console.browser.base, "ada") as ada,
    ):
        olaf.set_input_files("#sheet", {"name": "a.csv", "mimeType": "text/csv", "buffer": sheet(6)})
        olaf.click("button:has-text('Upload')")
        olaf.click("button:has-text('Continue to preview')")
        olaf.wait_for_selector("#lines")
        assert olaf.locator("input[name=preview]").count() == 0
        found += violations(olaf, axe, "approval-author")
        otto.goto(olaf.url)
        otto.wait_for_selector("button:has-text('Approve and update 6 accounts')")
        assert "olaf" in otto.inner_text(".facts")
        found += violations(otto, axe, "approval-approver")
        otto.fill("input[name=first]", "2")
        otto.click("button:has-text('Approve and update 2 accounts')")
        otto.wait_for_url(re.compile("/runs/"))
        otto.wait_for_selector("[data-live]", state="detached")
        otto.wait_for_selector("button:has-text('Review the remaining 4')")
        found += violations(otto, axe, "approval-run")
        olaf.goto(otto.url)
        olaf.click("button:has-text('Review the remaining')")
        olaf.wait_for_selector("#lines")
        assert "Someone other than the uploader must approve this" in olaf.inner_text("main")
        found += violations(olaf, axe, "approval-rest-author")
        otto.goto(olaf.url)
        found += violations(otto, axe, "approval-rest-approver")
        otto.click("button:has-text('Approve and update 4 accounts')")
        otto.wait_for_url(re.compile("/runs/"))
        otto.wait_for_selector("[data-live]", state="detached")
        assert "6 updated" in otto.inner_text(".facts")
        ada.goto(f"{console.browser.base}/audit")
        assert "plan approved" in ada.inner_text("table")
        found += violations(ada, axe, "approval-audit")
    assert found == []


def test_a_plan_is_found_on_the_home_page_and_rejected_by_keyboard(chromium: Any, axe: str, tmp_path: Path) -> None:
    add_users(tmp_path, USERS)
    found: list[str] = []
    with (
        hosted_world(tmp_path, serve=ServeOptions(port=0, require_approval=True)) as console,
        signed_in(chromium, console.browser.base, "olaf") as olaf,
        signed_in(chromium, console.browser.base, "otto") as otto,
    ):
        for name in ("a.csv", "b.csv"):
            olaf.goto(console.browser.base)
            olaf.set_input_files("#sheet", {"name": name, "mimeType": "text/csv", "buffer": sheet(6)})
            olaf.click("button:has-text('Upload')")
            olaf.click("button:has-text('Continue to preview')")
            olaf.wait_for_selector("#lines")
        otto.goto(console.browser.base)
        assert "Waiting for your approval (2)" in otto.inner_text("#to-approve")
        found += violations(otto, axe, "approval-queue")
        otto.click("section[aria-labelledby=to-approve] a:has-text('b.csv')")
        tab_to(otto, ".reject summary")
        otto.keyboard.press("Enter")
        otto.keyboard.press("Tab")
        otto.keyboard.type("Not this week")
        otto.keyboard.press("Enter")
        otto.wait_for_selector("[role=alert] q")
        assert otto.inner_text("[role=alert] q").strip('"\u201c\u201d') == "Not this week"
        found += violations(otto, axe, "approval-rejected")
        olaf.goto(console.browser.base)
        assert "Rejected (1)" in olaf.inner_text("#rejected")
        assert "a.csv" in olaf.inner_text("section[aria-labelledby=waiting]")
        found += violations(olaf, axe, "approval-home-of-author")
    assert found == []
