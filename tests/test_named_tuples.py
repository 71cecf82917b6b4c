"""Every call of ``new_tuple`` gives all values of its named tuple: ``new_tuple`` itself does not check."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkid import model

ROOT = Path(__file__).resolve().parents[1]
COMPARED = {"endpoints.py"}  # a law there compares each tuple with one that the class has made


def uses() -> Iterator[tuple[str, ast.expr | None]]:
    """Each use of the name in the package: its place, and the call's node (None: used in another way)."""
    for path in sorted((ROOT / "bulkid").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "new_tuple" and isinstance(node.ctx, ast.Load):
                yield f"{path.name}:{node.lineno}", called.get(id(node))


USES = [use for use in uses() if use[0].partition(":")[0] not in COMPARED]


def problem_of(call: ast.expr | None) -> str:
    """Why a use may make a tuple of another length; "" where it cannot."""
    match call:
        case ast.Call(args=[ast.Name(id=name), ast.Tuple(elts=values)], keywords=[]):
            fields = getattr(getattr(model, name, None), "_fields", None)
            if fields is None:
                return f"{name} is no named tuple of the model"
            if any(isinstance(value, ast.Starred) for value in values):
                return "a starred value"
            return "" if len(values) == len(fields) else f"{len(values)} values for {len(fields)} fields"
    return "not a call with a class and a tuple"


def test_there_are_uses() -> None:
    assert len(USES) > 5


@pytest.mark.parametrize(("place", "call"), USES, ids=[place for place, _ in USES])
def test_every_value_is_given(place: str, call: ast.expr | None) -> None:
    assert problem_of(call) == "", place


@pytest.mark.parametrize(
    "source",
    [
        "new_tuple(Account, ('a',))",
        "new_tuple(Account, values)",
        "new_tuple(Account, (*values, 1, 2, 3, 4, 5))",
        "f(new_tuple)",
    ],
)
def test_the_check_sees_what_is_wrong(source: str) -> None:
    call = ast.parse(source, mode="eval").body
    assert problem_of(None if source.startswith("f") else call)
