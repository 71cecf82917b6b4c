"""``bulkid.runs`` as a library: its names, and what an import of it costs."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bulkid import runs

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "robot_accounts.xlsx"

CHECK_WITHOUT = """
import sys
for name in ("sqlalchemy", "aiohttp", "structlog", "apprise", "igraph"):
    sys.modules[name] = None  # an import of it fails
from bulkid.cli import main
sys.argv = ["bulkid", "check", sys.argv[1]]
main()
"""


def _imported_for_the_type_checker() -> dict[str, str]:
    """The module of each name, by the imports that only the type checker reads."""
    tree = ast.parse(Path(runs.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_each_name_is_what_the_type_checker_takes_it_for() -> None:
    found = _imported_for_the_type_checker()
    assert found.keys() == set(runs.__all__)
    assert found.keys() <= set(dir(runs))
    for name, module in found.items():
        assert getattr(runs, name) is getattr(import_module(module), name)


def test_no_name_is_that_of_a_module_beside_it() -> None:
    """An import of the module would take the place of the name."""
    modules = {module.name for module in pkgutil.iter_modules(runs.__path__)}
    assert modules.isdisjoint(runs.__all__)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = runs.nothing_of_this_name


@pytest.mark.slow
def test_a_check_imports_no_library_of_the_database_or_the_network() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK_WITHOUT, SAMPLE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every row is valid." in done.stdout
