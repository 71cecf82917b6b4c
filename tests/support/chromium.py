"""Chromium as the tests drive it: one for all tests of a process, a context of its own for each test; and axe-core.

Chromium comes from the system (``BULKID_CHROMIUM`` names another); axe-core's ``axe.min.js`` is where
``BULKID_AXE`` says. Where either is missing the tests are skipped, and fail instead where ``BULKID_REQUIRE_ALL=1``.
``BULKID_SHOTS`` names a folder that gets a picture of every page, light, dark and narrow.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.programs import missing

LONGEST_MS = 60_000
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 900}

_NOT_OF_THE_PAGE = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    # What Playwright switches off: a list replaces an earlier one.
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable"),
    *("HttpsUpgrades", "LensOverlay", "MediaRouter", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
    *("ThirdPartyStoragePartitioning", "Translate"),
    "SpareRendererForSitePerProcess",
)
"""Features of the window; those of the address bar would start a process for each context, for half a second of CPU.

The last one keeps a process ready for a page that may come.
"""

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    f"--disable-features={','.join(_NOT_OF_THE_PAGE)}",
    "--js-flags=--no-opt",  # no script here runs for long enough to gain from being optimized
]
_COLOURS = ("color-contrast", "link-in-text-block")
_EVERY_RULE: dict[str, Any] = {"resultTypes": ["violations"]}
_RULES_OF_COLOURS = {**_EVERY_RULE, "runOnly": [*_COLOURS]}
_OTHER_RULES = {**_EVERY_RULE, "rules": {rule: {"enabled": False} for rule in _COLOURS}}
_CHECKS = (
    (WIDE, (("light", _EVERY_RULE), ("dark", _RULES_OF_COLOURS))),
    (NARROW, (("light", _OTHER_RULES), ("dark", None))),
)
"""What is checked at each size in each scheme: no colour depends on the size, and no other rule looks at a colour."""

_RUN = "async options => (await axe.run(options)).violations.map(each => [each.id, each.nodes[0].target.join(' ')])"
"""Gives the violations alone: axe-core also describes every element that passes, which takes longer than the check."""


_HAS_FOCUS = """([selector, words]) =>
    document.activeElement.matches(selector) && document.activeElement.textContent.includes(words)
"""
_MOST_STOPS = 80


@contextmanager
def launched() -> Iterator[Any]:
    """Chromium, until the block ends.

    Playwright keeps its event loop marked as the thread's running one: :func:`usable` marks it for one test alone.
    """
    path = os.environ.get("BULKID_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        missing("Chromium is missing")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is missing")
    manager = sync_playwright()
    playwright = manager.__enter__()
    browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield browser, loop
    finally:
        asyncio._set_running_loop(loop)
        browser.close()
        manager.__exit__(None, None, None)


@contextmanager
def usable(launched: tuple[Any, Any]) -> Iterator[Any]:
    """The browser while the block runs; other event loops can run in this thread before and after it."""
    browser, loop = launched
    asyncio._set_running_loop(loop)
    try:
        yield browser
    finally:
        for context in browser.contexts:
            context.close()
        asyncio._set_running_loop(None)


def read_axe() -> str:
    """The source of axe-core."""
    path = Path(os.environ.get("BULKID_AXE", ""))
    if not path.is_file():
        missing("axe-core (BULKID_AXE) is missing")
    return path.read_text(encoding="utf-8")


def _load(page: Any, axe: str) -> None:
    """Define axe-core in the page that is open.

    Its half a megabyte goes through three processes to Chromium: it does so once, and the next pages find it there.
    """
    if page.evaluate("typeof axeSource === 'undefined'"):
        page.add_init_script(f"window.axeSource = {json.dumps(axe)}")
        page.evaluate(axe)
    else:
        page.evaluate("(0, eval)(axeSource)")


def violations(page: Any, axe: str, name: str) -> list[str]:
    """What axe-core finds on the page that is open, and where it is too wide: wide and narrow, light and dark.

    The rules of colours, which take most of the time, are checked once for each scheme: no colour depends on the width
    (a test holds that), and no other rule looks at a colour.
    """
    shots, found = os.environ.get("BULKID_SHOTS"), list[str]()
    _load(page, axe)
    for size, schemes in _CHECKS:
        page.set_viewport_size(size)
        for scheme, check in schemes:
            page.emulate_media(color_scheme=scheme)
            place = f"{name}, {scheme}, {size['width']} px"
            wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if wider > 0:
                found.append(f"{place}: {wider} px too wide")
            for rule, target in page.evaluate(_RUN, check) if check else ():
                found.append(f"{place}: {rule}: {target}")
            if shots:
                page.screenshot(path=Path(shots) / f"{name}-{scheme}-{size['width']}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
    return found


def tab_to(page: Any, selector: str, words: str = "") -> None:
    """Press Tab until the focus is on such an element that contains the words, and check that the focus is visible."""
    for _ in range(_MOST_STOPS):
        if page.evaluate(_HAS_FOCUS, [selector, words]):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
        page.keyboard.press("Tab")
    raise AssertionError(selector, words)
