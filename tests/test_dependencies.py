"""What bulkid needs, by ``pyproject.toml``, is what it imports; the core imports nothing that an extra brings."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bulkid.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")

BROUGHT_BY = {"multidict": "aiohttp", "yarl": "aiohttp", "pydantic-core": "pydantic"}
"""Parts of a library that are distributions of their own: its version chooses theirs."""

NOT_IMPORTED = {"tzdata"}
"""Data that Python's zoneinfo reads where the system has none."""

HOMES = {
    "console": "bulkid/web/",
    "notify": "bulkid/notify/",
    "metrics": "bulkid/report/",
    "postgres": "bulkid/journal/",
}
"""Where the libraries of an extra may be imported."""


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in found if each.name != "bulkid"}


CORE = _requirements(PROJECT["dependencies"])
BY_EXTRA = {extra: _requirements(lines) for extra, lines in PROJECT["optional-dependencies"].items()}


def _runs_at_import(tree: ast.Module) -> set[ast.AST]:
    """The imports that importing the module runs: not those of functions, nor those for type checkers alone."""
    found: set[ast.AST] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types:
            continue
        found.add(node)
        waiting.extend(ast.iter_child_nodes(node))
    return found


@cache
def _imports() -> list[tuple[str, str, bool]]:
    """Each import of another library: the file, the module's first name, whether importing the file runs it."""
    found: list[tuple[str, str, bool]] = []
    for path in sorted((ROOT / "bulkid").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = _runs_at_import(tree)
        for node in ast.walk(tree):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            libraries = {each.split(".")[0] for each in names} - sys.stdlib_module_names - {"bulkid", "_typeshed"}
            found.extend((file, name, node in at_import) for name in libraries)
    return found


_distributions = cache(packages_distributions)  # reads what every library of the environment has: half a second


def _distribution(module: str) -> str:
    return canonicalize_name(_distributions()[module][0])


def test_every_library_that_is_imported_is_required_and_the_other_way_round() -> None:
    imported = {_distribution(module) for _, module, _ in _imports()}
    imported = {BROUGHT_BY.get(each, each) for each in imported}
    required = CORE.keys() | {name for extra in EXTRAS for name in BY_EXTRA[extra]}
    assert imported == required - NOT_IMPORTED


def test_no_library_is_both_of_the_core_and_of_an_extra() -> None:
    assert not CORE.keys() & {name for extra in EXTRAS for name in BY_EXTRA[extra]}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_table_of_extras_says_what_pyproject_says(extra: str) -> None:
    required = BY_EXTRA[extra] | (BY_EXTRA["metrics"] if extra == "console" else {})
    assert {_distribution(module) for module in EXTRAS[extra]} == required.keys()
    assert ("bulkid[metrics]" in PROJECT["optional-dependencies"][extra]) is (extra == "console")


def test_all_is_every_extra_of_the_product_and_development_has_them_too() -> None:
    assert PROJECT["optional-dependencies"]["all"] == [f"bulkid[{','.join(EXTRAS)}]"]
    assert "bulkid[all]" in PROJECT["optional-dependencies"]["dev"]


def test_the_core_runs_without_the_libraries_of_extras() -> None:
    homes = {module: HOMES[extra] for extra in reversed(EXTRAS) for module in EXTRAS[extra]}
    homes |= dict.fromkeys(EXTRAS["metrics"], HOMES["metrics"])
    for path, module, at_import in _imports():
        if module in homes:
            assert path.startswith(homes[module]), f"{path} imports {module}"
            assert path.startswith(HOMES["console"]) or not at_import, f"{path} cannot be imported without {module}"


def test_the_core_imports_the_console_only_where_it_is_served() -> None:
    outside = [path for path in sorted((ROOT / "bulkid").rglob("*.py")) if path.parent.name not in {"web", "auth"}]
    for path in outside:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in _runs_at_import(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bulkid.web"):
                assert node.module == "bulkid.web.auth.access", f"{path} imports {node.module}"


def test_the_page_says_what_each_library_is_for() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (\w+) \|", PAGE, re.MULTILINE))
    expected = dict.fromkeys(CORE, "core") | {name: extra for extra in EXTRAS for name in BY_EXTRA[extra]}
    assert rows == expected


@pytest.mark.parametrize("name", [name for name in CORE if name not in NOT_IMPORTED])
def test_every_requirement_has_a_lower_bound(name: str) -> None:
    assert any(each.operator in {">=", "~="} for each in CORE[name].specifier)
