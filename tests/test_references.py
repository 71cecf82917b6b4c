"""What a docstring refers to by its full name is there."""

import importlib
import re
from pathlib import Path

import bulkid

PACKAGE = Path(bulkid.__file__).parent
REFERENCE = re.compile(r":(?:func|mod|class|data|meth):`~?(bulkid[\w.]*)`")


def exists(name: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_a_name_exists_or_does_not() -> None:
    assert exists("bulkid.journal.store.Journal.settle")
    assert not exists("bulkid.journal.store.Journal.no_such_method")
    assert not exists("bulkid.no_such_module.Journal")


def test_everything_that_docstrings_refer_to_exists() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in REFERENCE.findall(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 10
    assert sorted((path, name) for path, name in found if not exists(name)) == []
