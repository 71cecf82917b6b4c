"""Imports point down the layers, and each heavy library is imported by its package alone, by the syntax tree.

Imports inside functions and under ``if TYPE_CHECKING`` count like any other. The second half tests the checker.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER = (  # from the ground up: each may import what stands before it
    "__init__",  # the version, and nothing that an import of any module would have to pay for
    "model",
    "errors",
    "extras",
    "lazy_names",
    "consume",
    "text",
    "redaction",
    "paths",
    "file_kind",
    "named_pipe",
    "secret_file",
    "clock",
    "logs",
    "resources",
    "sheet",
    "planning",
    "identity",
    "engine",
    "journal",
    "report",
    "notify",
    "runs",
    "config",
    "jobfile",
    "web",
    "cli",
    "__main__",
)
ONLY = {  # packages outside the order, or narrower than it: what of bulkid they may import
    "sandbox": {"model"},
    "notify": {"model", "errors", "text", "redaction", "clock", "logs"},
}
ONLY_FOR = {"sandbox": {"cli"}, "cli": {"__main__"}}  # packages that only these may import
LIBRARIES = {  # which packages may import a library (and what lies within it)
    "pandas": {"sheet"},
    "python_calamine": {"sheet"},
    "igraph": {"planning"},
    "sqlalchemy": {"journal"},
    "apprise": {"notify"},
    "prometheus_client": {"report"},
    "aiohttp": {"identity", "sandbox", "web"},
    "requests": set[str](),
    "httpx": set[str](),
    "urllib3": set[str](),
    "urllib.request": {"identity"},
    "http.client": {"identity"},
}
SERVERS = {"sandbox", "web"}  # these have aiohttp's server side, not its client
SERVER_SIDE = {"abc", "hdrs", "http_exceptions", "multipart", "typedefs", "web"}  # and web_*
MOST_LINES = 600


def _package_of(module: str) -> str:
    """The package or module just below bulkid that ``module`` is or lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _absolute(module: str, *, is_package: bool, level: int, name: str) -> str:
    """The absolute name of a relative import of ``name`` in ``module``."""
    parts = module.split(".")
    kept = parts[: len(parts) - level + (1 if is_package else 0)]
    return ".".join([*kept, name] if name else kept)


def _spelled(tree: ast.AST) -> list[str]:
    """The modules of bulkid, and the libraries of single packages, that a module's string literals name."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [text for text in texts if re.fullmatch(r"bulkid(\.\w+)+", text) or text.split(".")[0] in LIBRARIES]


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str, str]]:
    """Line, module and name ("" for the module itself) of every import.

    An import whose name is computed may reach each dotted name that the module spells out; "?" when it spells none.
    So may a call of ``lazy_names``: its caller spells out the modules that it imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = _absolute(module, is_package=is_package, level=node.level, name=base)
            for alias in node.names:
                yield node.lineno, base, alias.name
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__", "lazy_names"}:
            target = node.args[0] if node.args else None
            if not (isinstance(target, ast.Constant) and isinstance(target.value, str)):
                for reached in _spelled(tree) or ([] if module == "bulkid.lazy_names" else ["?"]):
                    yield node.lineno, reached, ""
            elif target.value.startswith("."):
                level = len(target.value) - len(target.value.lstrip("."))
                name = target.value.lstrip(".")
                yield node.lineno, _absolute(module, is_package=is_package, level=level, name=name), ""
            else:
                yield node.lineno, target.value, ""


def _package_violation(package: str, other: str) -> str:
    """Why ``package`` may not import ``other``; "" when it may."""
    if other == package:
        return ""
    if package in ONLY and other not in ONLY[package]:
        return f"{package} imports only {', '.join(sorted(ONLY[package]))}"
    if other in ONLY_FOR and package not in ONLY_FOR[other]:
        return f"only {', '.join(sorted(ONLY_FOR[other]))} imports {other}"
    if other not in {*ORDER, *ONLY}:
        return f"{other} has no place in the order"
    # a package without a place is reported once, not for each of its imports
    if package in ORDER and other in ORDER and ORDER.index(other) > ORDER.index(package):
        return f"{other} does not stand below {package}"
    return ""


def _library_violation(package: str, module: str, name: str) -> str:
    """Why ``package`` may not import ``name`` from the library module ``module``; "" when it may."""
    full = f"{module}.{name}" if name else module
    for library, allowed in LIBRARIES.items():
        if full != library and not full.startswith(f"{library}."):
            continue
        if package not in allowed:
            return f"{library} is for {', '.join(sorted(allowed)) or 'no package'}"
        if library == "aiohttp" and package in SERVERS:
            within = full.split(".")[1] if "." in full else ""
            # "import aiohttp.web" binds the whole of aiohttp, client included
            if not name or not (within in SERVER_SIDE or within.startswith("web_")):
                return f"{package} has only aiohttp's server side: from aiohttp import web"
    return ""


def violations(
    module: str, source: str, *, is_package: bool = False, root_modules: frozenset[str] = frozenset()
) -> list[str]:
    """What in one module breaks the rules.

    Args:
        module: Its dotted name, such as ``bulkid.sheet.cells``.
        source: Its text.
        is_package: Whether it is an ``__init__.py``.
        root_modules: All that exist: in ``from bulkid import x`` any other x is a name of ``bulkid/__init__.py``.
    """
    package = _package_of(module)
    known = {*ORDER, *ONLY}
    found = [] if package in known else [f"{module}: {package} has no place in the order"]
    tree = ast.parse(source)
    for line, target, name in _imports(tree, module, is_package=is_package):
        if target == "?":
            violation = "imports a module whose name only the run knows"
        elif target == "bulkid" and name:
            violation = _package_violation(package, name if name in known | root_modules else "__init__")
        elif target == "bulkid" or target.startswith("bulkid."):
            violation = _package_violation(package, _package_of(target))
        else:
            violation = _library_violation(package, target, name)
        if violation:
            found.append(f"{module}:{line}: {violation}")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    if package != "cli":
        found += [f"{module}:{call.lineno}: only cli prints" for call in calls if _called(call) == "print"]
    lines = len(source.splitlines())
    return [*found, f"{module}: {lines} lines, more than {MOST_LINES}"] if lines > MOST_LINES else found


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "bulkid").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts), path


MODULES = dict(_modules())
ROOT_MODULES = frozenset(_package_of(module) for module in MODULES)


def _imported(module: str, source: str, modules: Mapping[str, str], *, is_package: bool) -> set[str]:
    """The modules among ``modules`` that one module imports."""
    found = set()
    for _, target, name in _imports(ast.parse(source), module, is_package=is_package):
        full = f"{target}.{name}"
        found.add(full if full in modules else target)
    return {other for other in found if other in modules and other != module}


def cycle(sources: Mapping[str, str], packages: frozenset[str] = frozenset()) -> list[str]:
    """A cycle of imports among modules, given by name and text; empty when there is none."""
    graph = {
        module: _imported(module, source, sources, is_package=module in packages) for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


SOURCES = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
PACKAGES = frozenset(module for module, path in MODULES.items() if path.name == "__init__.py")


def test_no_modules_import_one_another_in_a_cycle() -> None:
    assert cycle(SOURCES, PACKAGES) == []


@pytest.mark.parametrize(
    "back",
    [
        "from bulkid.a.x import f",
        "from bulkid.a import x",
        "from . import x",
        "def f():\n    from .x import g",
        "if TYPE_CHECKING:\n    import bulkid.a.x",
    ],
)
def test_a_cycle_is_seen_wherever_its_imports_stand(back: str) -> None:
    sources = {"bulkid.a": "", "bulkid.a.x": "from bulkid.a.y import g", "bulkid.a.y": "from . import z"}
    assert cycle({**sources, "bulkid.a.z": "import json"}, frozenset({"bulkid.a"})) == []
    assert set(cycle({**sources, "bulkid.a.z": back}, frozenset({"bulkid.a"}))) == {
        "bulkid.a.x",
        "bulkid.a.y",
        "bulkid.a.z",
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_module_keeps_the_rules_of_imports(module: str) -> None:
    path = MODULES[module]
    is_package = path.name == "__init__.py"
    name = "bulkid" if module == "bulkid.__init__" else module
    assert violations(name, path.read_text(encoding="utf-8"), is_package=is_package, root_modules=ROOT_MODULES) == []


def test_the_walk_sees_the_whole_package() -> None:
    assert {"bulkid.__init__", "bulkid.__main__", "bulkid.model", "bulkid.config", "bulkid.config.resolve"} <= set(
        MODULES
    )


# --- tests of the checker


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bulkid.errors", "import bulkid.model"),
        ("bulkid.runs", "from bulkid import journal, report, engine"),
        ("bulkid.runs.plan", "from bulkid.runs.check import check\nfrom . import check\nfrom .check import x"),
        ("bulkid.sheet.cells", "from ..model import Fault\nfrom .. import errors\nimport pandas as pd"),
        ("bulkid.sheet.cells", "def f():\n    from python_calamine import CalamineWorkbook"),
        ("bulkid.identity.client", "import aiohttp\nfrom aiohttp import ClientSession\nfrom bulkid import __version__"),
        ("bulkid.sandbox.app", "from aiohttp import web, web_protocol\nfrom aiohttp.web import Request"),
        ("bulkid.sandbox.app", "from aiohttp.web_request import Request\nfrom aiohttp.abc import Request"),
        (
            "bulkid.sandbox.app",
            "from bulkid.model import Account\nfrom bulkid import model\nimport bulkid.sandbox.state",
        ),
        ("bulkid.cli.run", "from bulkid.sandbox import serve\nfrom bulkid.web import app\nprint('hello')"),
        ("bulkid.__main__", "from bulkid.cli import main"),
        ("bulkid.engine.worker_pool", "printer.print('x')\nimport pandas_like\nimport aiohttp_retry"),
        ("bulkid.journal.db", "import importlib\nimportlib.import_module('sqlalchemy')\nimport_module('bulkid.model')"),
        ("bulkid.journal", "homes = {'Journal': 'bulkid.journal.store'}\nimport_module(homes[name])"),
        ("bulkid.config.resolve", "from importlib import import_module\nimport_module('.values', __package__)"),
    ],
)
def test_what_points_down_is_allowed(module: str, source: str) -> None:
    assert violations(module, source) == []


@pytest.mark.parametrize(
    ("module", "source", "violation"),
    [
        ("bulkid.model", "import bulkid.errors", "errors does not stand below model"),
        ("bulkid.model", "from bulkid import errors", "errors does not stand below model"),
        ("bulkid.model", "from bulkid.errors import UsageError", "errors does not stand below model"),
        ("bulkid.model", "from . import errors", "errors does not stand below model"),
        ("bulkid.model", "from .errors import UsageError", "errors does not stand below model"),
        ("bulkid.engine.worker_pool", "import json, bulkid.runs as r", "runs does not stand below engine"),
        ("bulkid.engine.worker_pool", "from ..journal.db import x", "journal does not stand below engine"),
        (
            "bulkid.engine.worker_pool",
            "def f():\n  def g():\n    from ..runs import y",
            "runs does not stand below engine",
        ),
        (
            "bulkid.engine.worker_pool",
            "if TYPE_CHECKING:\n  from bulkid.config import Settings",
            "config does not stand below",
        ),
        ("bulkid.engine.worker_pool", "importlib.import_module('bulkid.runs')", "runs does not stand below engine"),
        ("bulkid.engine.worker_pool", "import_module('..runs', __package__)", "runs does not stand below engine"),
        ("bulkid.engine.worker_pool", "__import__('bulkid.runs')", "runs does not stand below engine"),
        ("bulkid.engine.worker_pool", "import_module(name)", "only the run knows"),
        ("bulkid.engine.worker_pool", "lazy_names(globals(), names)", "only the run knows"),
        ("bulkid.engine.worker_pool", "N = {'bulkid.runs': ()}\nlazy_names(globals(), N)", "runs does not stand below"),
        ("bulkid.engine.worker_pool", "import_module(f'bulkid.{name}')", "only the run knows"),
        ("bulkid.engine.worker_pool", "home = 'bulkid.runs'\nimport_module(home)", "runs does not stand below engine"),
        ("bulkid.engine.worker_pool", "home = 'pandas'\nimport_module(home)", "pandas is for sheet"),
        ("bulkid.runs", "from bulkid.config import Settings", "config does not stand below runs"),
        ("bulkid.web.app", "from bulkid.cli import main", "only __main__ imports cli"),
        ("bulkid.runs", "import bulkid.cli", "only __main__ imports cli"),
        ("bulkid.runs", "from bulkid.sandbox import serve", "only cli imports sandbox"),
        ("bulkid.web.app", "from bulkid.sandbox import serve", "only cli imports sandbox"),
        ("bulkid.sandbox.app", "from bulkid.errors import UsageError", "sandbox imports only model"),
        ("bulkid.sandbox.app", "from bulkid import __version__", "sandbox imports only model"),
        ("bulkid.runs", "from bulkid.helpers import x", "helpers has no place in the order"),
        ("bulkid.helpers", "", "bulkid.helpers: helpers has no place in the order"),
        ("bulkid.report.csv", "import pandas", "pandas is for sheet"),
        ("bulkid.report.csv", "def f():\n  import pandas.api.types as t", "pandas is for sheet"),
        ("bulkid.planning.merge", "from python_calamine import x", "python_calamine is for sheet"),
        ("bulkid.runs", "import sqlalchemy as sa", "sqlalchemy is for journal"),
        ("bulkid.runs", "from apprise import Apprise", "apprise is for notify"),
        ("bulkid.web.app", "import prometheus_client", "prometheus_client is for report"),
        ("bulkid.notify.message", "from bulkid.report import COLUMNS", "notify imports only"),
        ("bulkid.report.csv", "from bulkid import notify", "notify does not stand below report"),
        ("bulkid.engine.worker_pool", "from aiohttp import ClientError", "aiohttp is for identity, sandbox, web"),
        ("bulkid.cli.run", "import aiohttp.web", "aiohttp is for identity, sandbox, web"),
        ("bulkid.sandbox.app", "import aiohttp", "only aiohttp's server side"),
        ("bulkid.sandbox.app", "import aiohttp.web", "only aiohttp's server side"),
        ("bulkid.sandbox.app", "from aiohttp import web, ClientSession", "only aiohttp's server side"),
        ("bulkid.web.app", "from aiohttp.client import ClientSession", "only aiohttp's server side"),
        ("bulkid.web.app", "from aiohttp import *", "only aiohttp's server side"),
        ("bulkid.runs", "import urllib.request", "urllib.request is for identity"),
        ("bulkid.runs", "from urllib import request", "urllib.request is for identity"),
        ("bulkid.identity.url", "import httpx", "httpx is for no package"),
        ("bulkid.report.csv", "print('x')", "only cli prints"),
        ("bulkid.sandbox.app", "def f():\n    print()", "only cli prints"),
        ("bulkid.runs", "x = 1\n" * 601, "601 lines, more than 600"),
    ],
)
def test_what_points_up_or_strays_is_seen(module: str, source: str, violation: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert violation in found[0]


def test_a_relative_import_in_a_package_starts_at_the_package_itself() -> None:
    source = "from .db import x\nfrom ..runs import y"
    assert violations("bulkid.journal", source, is_package=True) == [
        "bulkid.journal:2: runs does not stand below journal"
    ]
    assert violations("bulkid", "from .runs import plan", is_package=True) == [
        "bulkid:1: runs does not stand below __init__"
    ]


def test_a_package_without_a_rule_is_reported_from_both_sides() -> None:
    root_modules = frozenset({"attic", "runs"})
    assert violations("bulkid.runs", "from bulkid import attic", root_modules=root_modules) == [
        "bulkid.runs:1: attic has no place in the order"
    ]
    assert violations("bulkid.attic", "x = 1", root_modules=root_modules) == [
        "bulkid.attic: attic has no place in the order"
    ]


def test_every_violation_of_a_module_is_reported_at_once() -> None:
    assert len(violations("bulkid.model", "import pandas\nimport bulkid.cli\nprint()")) == 3


def test_helpers_of_tests_are_in_support_and_no_test_imports_another_module_of_tests() -> None:
    tests = ROOT / "tests"
    folders = {path.name for path in tests.iterdir() if path.is_dir()} - {"support"}
    wrong = []
    for path in sorted(tests.rglob("*.py")):
        place = path.relative_to(tests).as_posix()
        is_test = path.name == "conftest.py" or path.name.startswith("test_")
        if is_test == place.startswith("support/"):
            wrong.append(f"{place}: helpers are in tests/support, and only they")
        for line, module, name in _imports(ast.parse(path.read_text(encoding="utf-8")), place, is_package=False):
            parts = f"{module}.{name}".split(".")
            if parts[0].startswith("test_") or (parts[0] == "tests" and parts[1] != "support") or parts[0] in folders:
                wrong.append(f"{place}:{line}: imports {module}")
    assert wrong == []
