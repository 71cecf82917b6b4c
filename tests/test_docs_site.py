"""The docs as a site: its navigation is that of ``docs/README.md``, and links of the hosting platform work in it.

Continuous integration builds the site with ``--strict``; nothing here needs mkdocs.
"""

import importlib.util
import re
from collections import ChainMap
from pathlib import Path
from types import ModuleType

import markdown
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
CONTENTS = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def _hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs" / "site_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = _hook()
FENCED = re.compile(r"^( *)```.*?^ *```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path.relative_to(ROOT).as_posix() for place in (ROOT, ROOT / "docs") for path in place.glob("*.md"))


def test_the_navigation_has_the_four_kinds_of_pages_in_the_order_of_the_contents() -> None:
    sections = {kind: pages for section in HOOK.navigation(CONTENTS) for kind, pages in section.items()}
    kinds = ["Home", "All pages", "Tutorial", "How-to guides", "Reference", "Explanation", "Project"]
    assert list(sections) == kinds
    assert sections["Tutorial"] == [{"Your first run": "tutorial.md"}]
    assert sections["How-to guides"][:2] == [{"Connect": "connect.md"}, {"Change accounts": "change_accounts.md"}]
    assert {"Examples of jobs": "jobs/README.md"} in sections["Reference"]


def test_every_page_is_once_in_the_navigation() -> None:
    """A new page has a line in ``docs/README.md`` that begins with its link."""
    sections = [pages for section in HOOK.navigation(CONTENTS) for pages in section.values()]
    named = [
        page for pages in sections for page in ([pages] if isinstance(pages, str) else [*ChainMap(*pages).values()])
    ]
    pages = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").rglob("*.md")}
    linked = {path for path in HOOK.linked_files({"README.md", *pages}) if path.endswith(".md")}
    assert sorted(named) == sorted(HOOK.name_in_site(path) for path in pages | linked | {"README.md"})


@pytest.mark.parametrize(
    ("page", "link", "in_site"),
    [
        ("README.md", "docs/connect.md", "connect.md"),
        ("README.md", "docs/console_preview.png", "console_preview.png"),
        ("README.md", "docs/README.md", "contents.md"),
        ("README.md", "LICENSE", "LICENSE.txt"),
        ("docs/tutorial.md", "../README.md#try-it", "index.md#try-it"),
        ("docs/tutorial.md", "connect.md", "connect.md"),
        ("docs/jobs.md", "../jobs/migration.toml", "jobs/migration.toml"),
        ("jobs/README.md", "../docs/jobs.md#keys", "../jobs.md#keys"),
        ("jobs/README.md", "migration.toml", "migration.toml"),
        ("docs/tutorial.md", "../nothing_here.md", "../nothing_here.md"),
        ("docs/tutorial.md", "https://example.com/README.md", "https://example.com/README.md"),
        ("docs/console.md", "#roles", "#roles"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_site(page: str, link: str, in_site: str) -> None:
    assert HOOK.adapted(f"See [this]({link}) page.", page) == f"See [this]({in_site}) page."


def test_what_pages_link_to_outside_of_docs_is_in_the_site_too() -> None:
    found = set(HOOK.linked_files({"README.md", "docs/jobs.md"}))
    assert {"jobs/README.md", "jobs/drop_folder.toml", "LICENSE", "SECURITY.md", "CONTRIBUTING.md"} <= found
    assert not {path for path in found if path.startswith("docs/")}


def test_a_block_that_is_a_file_has_the_file_s_name_as_its_title() -> None:
    assert HOOK.adapted("```toml night.toml\nx = 1\n```\n", "docs/jobs.md").startswith('```toml title="night.toml"\n')


def test_a_block_in_a_list_item_belongs_to_it() -> None:
    html = markdown.markdown("1. One\n\n   Two\n\n2. Three\n", extensions=[HOOK.ListIndent()])
    assert html.count("<ol>") == 1
    assert re.search(r"<li>\s*<p>One</p>\s*<p>Two</p>\s*</li>", html)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_same_parts_in_the_site_as_on_the_hosting_platform(page: str) -> None:
    """The site is made by Python-Markdown, and the platform follows CommonMark: they differ about lists and indents."""
    text = FENCED.sub(r"\1a block", (ROOT / page).read_text(encoding="utf-8"))  # superfences finds them in any place
    in_site = markdown.markdown(text, extensions=[HOOK.ListIndent(), "tables"])
    on_platform = MarkdownIt("commonmark").enable("table").render(text)
    tags = ("h1", "h2", "h3", "ul", "ol", "li", "pre", "table", "tr", "td", "a", "img", "strong", "em")
    counts = [{tag: len(re.findall(rf"<{tag}[ >]", html)) for tag in tags} for html in (in_site, on_platform)]
    assert counts[0] == counts[1]


def test_continuous_integration_builds_the_site_so_that_warnings_fail_it() -> None:
    (build,) = [line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if "/mkdocs" in line]
    assert " --strict " in build
    assert "quiet" not in build, "mkdocs counts no warnings then"


def test_the_theme_fetches_nothing() -> None:
    assert re.search(r"^  font: false$", CONFIG, re.MULTILINE)
    assert re.search(r"^plugins: \[search\]$", CONFIG, re.MULTILINE)
    assert not re.search(r"https?://|analytics|repo_url", CONFIG)


@pytest.mark.parametrize(
    ("tag", "loads"),
    [
        ('<script src="https://example.com/a.js">', True),
        ('<link rel="stylesheet" href=//example.com/a.css>', True),
        ('<img alt="" src="assets/a.png">', False),
        ('<a href="https://example.com/">', False),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(tag: str, loads: bool) -> None:
    assert bool(HOOK._LOADED.findall(tag)) is loads
