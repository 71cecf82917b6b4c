"""What the docs show as the output of a command is what the command prints."""

import sys
from pathlib import Path

import pytest

from tests.support.doc_examples import agrees, examples, outputs, pages

ON_A_TERMINAL = pytest.mark.skipif(sys.platform == "win32", reason="the examples run on a pseudo-terminal")


@ON_A_TERMINAL
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_example_prints_what_its_page_shows(page: Path) -> None:
    wrong = [
        f"$ {example.command}\n{printed}"
        for example, printed in outputs(page)
        if example.shown.strip() == "..." or not agrees(example.shown, printed)
    ]
    assert not wrong, "write the examples again: python -m tests.support.doc_examples\n\n" + "\n".join(wrong)


def test_every_page_with_examples_is_found() -> None:
    found = {page.stem: len(examples(page)) for page in pages()}
    assert found["tutorial"] >= 4
    assert found["change_accounts"] >= 5


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\nc\n", "a\nb\nb\n", False),
        ("a\n", "a\nb\n", False),
        ("in 4 seconds\n", "in less than a second\n", True),
        ("20261125-193925-e882: 3 rows\n", "20261126-000000-aaaa: 3 rows\n", True),
        ("20261125-193925-e882: 3 rows\n", "20261126-000000-aaaa: 4 rows\n", False),
    ],
)
def test_an_output_agrees_apart_from_ids_and_times(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same
