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
from tests.support.chromium import LONGEST_MS, WIDE, violations
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
        otto.wait_for_selector("button:has-text('Approve and apply changes')")
        assert "olaf" in otto.inner_text(".facts")
        found += violations(otto, axe, "approval-approver")
        otto.fill("input[name=first]", "2")
        otto.click("button:has-text('Approve and apply changes')")
        otto.wait_for_url(re.compile("/runs/"))
        otto.wait_for_selector("[data-live]", state="detached")
        otto.wait_for_selector("button:has-text('Preview the rest: 4 pending')")
        found += violations(otto, axe, "approval-run")
        olaf.goto(otto.url)
        olaf.click("button:has-text('Preview the rest')")
        olaf.wait_for_selector("#lines")
        assert "another operator must approve" in olaf.inner_text("main")
        found += violations(olaf, axe, "approval-rest-author")
        otto.goto(olaf.url)
        found += violations(otto, axe, "approval-rest-approver")
        otto.click("button:has-text('Approve and apply changes')")
        otto.wait_for_url(re.compile("/runs/"))
        otto.wait_for_selector("[data-live]", state="detached")
        assert "6 updated" in otto.inner_text(".facts")
        ada.goto(f"{console.browser.base}/audit")
        assert "plan approved" in ada.inner_text("table")
        found += violations(ada, axe, "approval-audit")
    assert found == []
