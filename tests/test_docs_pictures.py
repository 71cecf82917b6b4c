"""The pictures of the docs show what bulkid does: the terminal, and the rate of a run."""

import html
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest
from rich.text import Text

from bulkid.report.rate import Intervals, Rate, Settled
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


def test_the_picture_of_a_run_s_rate_shows_a_used_quota_that_no_bar_exceeds() -> None:
    svg = (DOCS / "run_rate.svg").read_text(encoding="utf-8")
    (quota,) = re.findall(r'<line class="quota"[^>]* y1="([\d.]+)"', svg)
    tops = [float(top) for top in re.findall(r'<rect class="own"[^>]* y="([\d.]+)"', svg)]
    assert len(tops) > 100
    assert min(tops) >= float(quota)
    assert sum(top == float(quota) for top in tops) > 0.9 * len(tops)
    assert "quota 160" in svg


def test_the_plot_of_a_rate_is_a_picture_with_the_console_s_colours_that_loads_nothing() -> None:
    svg = _script().rate_svg(Rate(Intervals(0.0, 500, 20, 160), (Settled(80), Settled(160), Settled(0, 40))))
    root = ET.fromstring(svg)  # noqa: S314 - it was made here
    assert [len(root.findall(f".//{{*}}rect[@class='{kind}']")) for kind in ("own", "group")] == [2, 1]
    assert {".plot .own", ".plot line.quota", ".plot text", "--paper: #ffffff"} <= set(
        re.findall(r"^\.plot [\w. ]+(?= \{)|--paper: #\w+", svg, re.MULTILINE)
    )
    assert not re.search(r"(href|src|url)\s*[=(]\s*.?https?:", svg)
