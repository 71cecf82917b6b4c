"""Builds the site from the pages as the hosting platform shows them; ``mkdocs.yml`` names this module.

The pages link to files of the whole repository: ``../README.md``, ``../jobs/migration.toml``. The site holds ``docs/``
alone, so each linked file from elsewhere is added to it, under its path in the repository, and the links are rewritten.
The README is the site's home page, and ``docs/README.md`` gives the navigation. No address of a repository is needed,
and the site is whole without a network.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from markdown import Extension, Markdown

ROOT: Final = Path(__file__).resolve().parents[1]
NAMES: Final = {"README.md": "index.md", "docs/README.md": "contents.md", "LICENSE": "LICENSE.txt"}
"""Names in the site of the files of the repository that have another name there."""

_LINK: Final = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
_LISTED: Final = re.compile(r"^- \[([^\]]+)\]\(([^)]+\.md)\)", re.MULTILINE)
_FILE_OF_EXAMPLE: Final = re.compile(r"^(```\w+) (\w+\.\w+)$", re.MULTILINE)
_LOADED: Final = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")

log = logging.getLogger("mkdocs.plugins.bulkid")


class ListIndent(Extension):
    """Content of a list item is indented by three columns, as in CommonMark; Python-Markdown expects four."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Python-Markdown's name
        """Parse blocks with the other indent; the first of all extensions, since this makes the parser again."""
        md.tab_length = 3
        md.build_parser()


def name_in_site(path: str) -> str:
    """Where a file of the repository is in the site."""
    return NAMES.get(path, path.removeprefix("docs/"))


def target_of(page: str, link: str) -> str:
    """The file of the repository that a link on a page leads to, both as paths from the top folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def linked_files(pages: set[str]) -> Iterator[str]:
    """The files outside of ``docs/`` that pages link to, and that those link to in turn."""
    waiting, seen = sorted(pages), set(pages)
    while waiting:
        page = waiting.pop()
        for link in _LINK.findall((ROOT / page).read_text(encoding="utf-8")) if page.endswith(".md") else ():
            target = target_of(page, link)
            if target not in seen and not target.startswith(("docs/", "..")) and (ROOT / target).is_file():
                seen.add(target)
                waiting.append(target)
                yield target


def adapted(markdown: str, page: str) -> str:
    """The text of a page with the links of the site; a link that leads nowhere stays, and mkdocs reports it."""
    here = posixpath.dirname(name_in_site(page))

    def replace(link: re.Match[str]) -> str:
        target = target_of(page, link[0])
        return posixpath.relpath(name_in_site(target), here or ".") if (ROOT / target).is_file() else link[0]

    return _FILE_OF_EXAMPLE.sub(r'\1 title="\2"', _LINK.sub(replace, markdown))


def navigation(contents: str) -> list[dict[str, Any]]:
    """The navigation for the text of ``docs/README.md``: its sections, with the pages that their items begin with."""
    sections = [section.partition("\n") for section in contents.split("\n## ")[1:]]
    listed = {
        kind: [{title: name_in_site(target_of("docs/README.md", link))} for title, link in _LISTED.findall(items)]
        for kind, _, items in sections
    }
    return [{"Home": "index.md"}, {"All pages": "contents.md"}, *({kind: pages} for kind, pages in listed.items())]


def on_config(config: Any) -> None:  # noqa: ANN401 - mkdocs' own
    """Set the navigation, and parse lists as the hosting platform does."""
    config.nav = navigation((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    config.markdown_extensions.insert(0, ListIndent())


def on_files(files: Any, config: Any) -> None:  # noqa: ANN401 - mkdocs' own
    """Add the linked files from outside of ``docs/``, and those with another name in the site."""
    from mkdocs.structure.files import File

    pages = {"README.md"} | {f"docs/{file.src_uri}" for file in files.documentation_pages()}
    for path in [*NAMES, *linked_files(pages)]:
        name = name_in_site(path)
        if path.startswith("docs/"):
            files.remove(files.get_file_from_path(path.removeprefix("docs/")))
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own
    """Adapt a page before mkdocs reads it."""
    return adapted(markdown, Path(page.file.abs_src_path).relative_to(ROOT).as_posix())


def on_post_page(output: str, page: Any, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own
    """Warn of a page that loads something from another server; a strict build then fails."""
    for address in _LOADED.findall(output):
        log.warning("%s loads %s", page.file.src_uri, address)
    return output
