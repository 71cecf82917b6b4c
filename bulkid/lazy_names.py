"""Packages that import a module when one of its names is first used (PEP 562)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    namespace: dict[str, Any], names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        namespace: The package's ``globals()``. A name stands in it once it was used.
        names: The names that the package exports, by the module that defines them.
    """
    module_of = {name: module for module, defined in names.items() for name in defined}

    def get(name: str) -> Any:  # noqa: ANN401 - the type checker has the types from the package's own imports
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        found = namespace[name] = getattr(import_module(module), name)
        return found

    def list_names() -> list[str]:
        return sorted({*namespace, *module_of})

    return get, list_names
