"""The picture of the terminal shows what the command prints."""

import html
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.text import Text

from tests.support.doc_examples import agrees

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(svg: str) -> str:
    """The text of a recording, in its order on the page."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return "\n".join(html.unescape(text).replace("\N{NO-BREAK SPACE}", " ") for text in texts)


@pytest.mark.skipif(sys.platform == "win32", reason="the script records on a pseudo-terminal")
def test_the_picture_of_the_terminal_shows_what_the_command_prints() -> None:
    script = _script()
    printed = Text.from_ansi(script.record_terminal()).plain
    shown = text_of((DOCS / "terminal.svg").read_text(encoding="utf-8"))
    title, command = "bulkid", "$ " + " ".join(script.COMMAND)
    assert agrees(shown, f"{title}\n{command}\n{printed}"), "make it again: python docs/make_pictures.py"


def test_a_recording_is_a_picture_with_colours_that_loads_nothing() -> None:
    svg = _script().terminal_svg("\x1b[32m+ Finance\x1b[0m & more")
    assert text_of(svg).split() == ["bulkid", "$", "bulkid", *text_of(svg).split()[3:-4], "+", "Finance", "&", "more"]
    assert "fill: #98a84b" in svg or "fill: #" in svg
    assert not re.search(r"(href|src|url)\s*[=(]\s*.?https?:", svg)
