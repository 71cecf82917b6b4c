"""What ``docs/architecture.md`` says about the code is there."""

import re
from pathlib import Path

import bulkid

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(bulkid.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_module_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE))
    assert len(named) > 10
    assert sorted(path for path in named if not (PACKAGE / path).is_file()) == []


def test_every_shape_on_the_way_of_a_row_is_a_class() -> None:
    section = PAGE.split("## The way of one row")[1].split("```")[0]
    shapes = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert 1 < len(shapes) <= 8
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert [shape for shape in shapes if f"class {shape}(" not in source] == []


def test_every_call_on_the_way_of_a_row_is_a_function_of_the_code() -> None:
    calls = PAGE.split("## The way of one row")[1].split("```")[1]
    names = [line.split()[0].rpartition(".")[2] for line in calls.splitlines() if line.strip()]
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert len(names) > 15
    assert [name for name in names if f"def {name}(" not in source] == []
