"""What users read uses one vocabulary: the words of the glossary, and none of those that they replace."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

REPLACED = {
    r"mend(ed|s|ing)?": "fix, correct",
    r"go(es)? on with": "continue, resume",
    r"as wanted": "already correct",
    r"(bad|good) rows?": "invalid, valid",
    r"did not work": "Something went wrong, or what went wrong",
    r"start page": "home page",
    r"takes the role": "You need the admin role for this",
    r"really meant": "Yes, change all 4,722 accounts",
    r"can go on": "unfinished",
    r"who did what": "Audit log",
    r"tokens for programs": "API tokens",
    r"examine": "check",
    r"out of account": "Ignores this column",
    r"lets? it go": "allowed by --yes-really",
    r"none of the words": "is not a valid value",
    r"this is no|is no id": "This is not an id",
    r"server's words": "Message",
    r"wish(es|ed)?": "request, desired state",
    r"doors?": "access",
    r"sittings?": "attempt",
    r"somebody|nobody|whoever": "name the actor",
    r"suitors?|hunger|crew|twins?|tellings?": "a standard term",
    r"beforehand|at odds|stood still": "before, conflict, stale",
    r"row wants|wanted state": "asks for, desired",
}
"""Words that no message, label, page or document says, with what it says instead."""

COLUMNS_OF_THE_DATABASE = {"wish"}
"""Names that stay, since stored data has them."""


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module that may reach a user: all but docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
            and node.value not in COLUMNS_OF_THE_DATABASE
        ):
            yield node.lineno, node.value


@functools.cache
def _texts() -> tuple[tuple[str, str], ...]:
    """Everything that a user reads, with its place."""
    return tuple(_every_text())


def _every_text() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "bulkid").rglob("*.py")):
        for line, text in _strings(path):
            yield f"{path.relative_to(ROOT)}:{line}", text
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "jobs").glob("*.*")]
    pages += [*(ROOT / "bulkid" / "web").glob("templates/*.html"), *(ROOT / "bulkid" / "web").glob("static/*.js")]
    for path in sorted(pages):
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{line}", text


@pytest.mark.parametrize("word", REPLACED)
def test_no_text_says_a_word_that_another_replaces(word: str) -> None:
    pattern = re.compile(rf"(?<![\w`-])({word})(?![\w`-])", re.IGNORECASE)
    found = [f"{place}: {text.strip()[:100]}" for place, text in _texts() if pattern.search(text)]
    assert not found, f"say: {REPLACED[word]}\n" + "\n".join(found)


def test_messages_labels_and_pages_are_among_the_texts() -> None:
    texts = [text for _, text in _texts()]
    assert len(texts) > 3000
    for known in ("Nothing was sent", "Apply changes", "--skip-invalid"):
        assert any(known in text for text in texts), known
