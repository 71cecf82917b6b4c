"""Approval in a real browser: the author hands a plan over, another operator approves a trial and then its rest.

``BULKID_SHOTS`` names a folder that gets a picture of every page, light, dark and narrow.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_web_browser import LONGEST_MS, SCHEMES, WIDTHS, axe, chromium
from test_web_cli import PASSWORD, served
from web_kit import sheet

from tests.support.bulkid_command import Bulkid
from tests.support.sandbox_host import hosted

__all__ = ["axe", "chromium"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

USERS = {"olaf": "operator", "otto": "operator", "ada": "admin"}


@contextmanager
def signed_in(chromium: Any, address: str, name: str) -> Iterator[Any]:
    """A page of a user who has signed in."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.set_default_timeout(LONGEST_MS)
    page = context.new_page()
    page.goto(address)
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("#sheet")
    yield page
    context.close()


def row_errors_of(page: Any, axe: str, name: str) -> list[str]:
    """What axe-core finds on a page, and where it is too wide, in light and dark, wide and narrow."""
    shots, found = os.environ.get("BULKID_SHOTS"), list[str]()
    for scheme in SCHEMES:
        for width in WIDTHS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                found.append(f"{name}, {scheme}, {width} px: too wide")
            page.evaluate(axe)
            for fault in page.evaluate("axe.run()")["violations"]:
                found.append(f"{name}, {scheme}, {width} px: {fault['id']}: {fault['nodes'][0]['target']}")
            if shots:
                page.screenshot(path=Path(shots) / f"{name}-{scheme}-{width}.png", full_page=True)
    return found


def test_a_plan_is_handed_over_approved_and_its_rest_approved_again(chromium: Any, axe: str, tmp_path: Path) -> None:
    bulkid, found = Bulkid(tmp_path), list[str]()
    for name, role in USERS.items():
        assert bulkid.as_process("users", "add", name, "--role", role, stdin=f"{PASSWORD}\n").returncode == 0
    with hosted(accounts=6000) as server:
        bulkid.env.update(BULKID_URL=server.url, BULKID_CLIENT_ID="sandbox", BULKID_CLIENT_SECRET="sandbox-secret")
        with (
            served(bulkid, "--require-approval") as (_, address, _),
            signed_in(chromium, address, "olaf") as olaf,
            signed_in(chromium, address, "otto") as otto,
            signed_in(chromium, address, "ada") as ada,
        ):
            check: Callable[[Any, str], None] = lambda page, name: found.extend(row_errors_of(page, axe, name))  # noqa: E731
            olaf.set_input_files("#sheet", {"name": "a.csv", "mimeType": "text/csv", "buffer": sheet(6)})
            olaf.click("button:has-text('Upload')")
            olaf.click("button:has-text('Preview')")
            olaf.wait_for_selector("#lines")
            assert olaf.locator("input[name=preview]").count() == 0
            check(olaf, "approval-author")
            otto.goto(olaf.url)
            otto.wait_for_selector("button:has-text('Approve and apply changes')")
            assert "olaf" in otto.inner_text(".facts")
            check(otto, "approval-approver")
            otto.fill("input[name=first]", "2")
            otto.click("button:has-text('Approve and apply changes')")
            otto.wait_for_url(re.compile("/runs/"))
            otto.wait_for_selector("[data-live]", state="detached")
            otto.wait_for_selector("button:has-text('Preview the rest: 4 pending')")
            check(otto, "approval-run")
            olaf.goto(otto.url)
            olaf.click("button:has-text('Preview the rest')")
            olaf.wait_for_selector("#lines")
            assert "another operator must approve" in olaf.inner_text("main")
            check(olaf, "approval-rest-author")
            otto.goto(olaf.url)
            check(otto, "approval-rest-approver")
            otto.click("button:has-text('Approve and apply changes')")
            otto.wait_for_url(re.compile("/runs/"))
            otto.wait_for_selector("[data-live]", state="detached")
            assert "6 updated" in otto.inner_text(".facts")
            ada.goto(f"{address}/audit")
            assert "plan approved" in ada.inner_text("table")
            check(ada, "approval-audit")
    assert found == []
