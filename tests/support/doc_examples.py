"""Runs the examples of the docs: each ``console`` block of a page, in order, against one sandbox.

An example is a line ``$ bulkid ...`` and the output below it. In the output, a line ``...`` stands for any lines. What
differs from run to run (ids, ports, times) is compared by its form. ``python -m tests.support.doc_examples`` writes the
output of every example again.
"""

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.bulkid_command import ROOT, connected_to
from tests.support.cli_runner import call_cli
from tests.support.sandbox_host import end_serving, hosted

COLUMNS = 80
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = (
    (re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}"), "RUN"),
    (re.compile(r"\d+ of (?=\d+ left)"), "SOME of "),
    (re.compile(r"valid until [\d :-]+UTC([+-]\d\d:\d\d)?"), "valid until END"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?"), "DATE"),
    (re.compile(r"\b\d\d:\d\d(:\d\d)?\b"), "TIME"),
    (re.compile(r"(less\s+than\s+a\s+second|(under\s+)?\d+(\.\d+)?\s+(seconds?|s|MB|GB))\b"), "AMOUNT"),
)
_HEAD, _TAIL = 12, 6
"""Lines that remain of a long output when it is written, at its beginning and at its end."""


@dataclass(frozen=True)
class Example:
    """A command of a page, with the output that the page shows."""

    page: Path
    command: str
    shown: str


def pages() -> list[Path]:
    """The pages that have examples."""
    return [page for page in sorted((ROOT / "docs").glob("*.md")) if _BLOCK.search(page.read_text(encoding="utf-8"))]


def examples(page: Path) -> list[Example]:
    """The examples of a page, from its beginning."""
    return [
        Example(page, command, shown)
        for block in _BLOCK.findall(page.read_text(encoding="utf-8"))
        for command, shown in re.findall(r"^\$ (bulkid .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def outputs(page: Path) -> Iterator[tuple[Example, str]]:
    """Run the examples of a page in a folder with the samples; gives what each printed."""
    with tempfile.TemporaryDirectory(prefix="ada", dir="/tmp") as name:
        folder = Path(name)
        for samples in ("sample_data", "jobs"):
            shutil.copytree(ROOT / samples, folder / samples)
        with hosted(accounts=6000, limits=()) as server:
            bulkid = connected_to(folder, server.url, BULKID_MAX_CHANGE="")
            env = bulkid.settings() | {"COLUMNS": str(COLUMNS), "TERM": "dumb"}
            for example in examples(page):
                done = call_cli(tuple(shlex.split(example.command)[1:]), folder=folder, env=env, terminal=True)
                yield example, done.stdout.decode("utf-8").replace("\r\n", "\n").replace(name, "/home/ada")


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what a command printed, apart from line breaks and what differs from run to run."""
    parts = re.split(r"^\.\.\.$", shown, flags=re.MULTILINE)
    pattern = ".*".join(re.escape(_by_form(part)) for part in parts)
    return re.fullmatch(pattern, _by_form(printed)) is not None


def _by_form(text: str) -> str:
    for pattern, name in _VARIABLE:
        text = pattern.sub(name, text)
    return "".join(text.split())


def _excerpt(printed: str) -> str:
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    if len(lines) > _HEAD + _TAIL + 1:
        lines = [*lines[:_HEAD], "...", *lines[-_TAIL:]]
    return "\n".join(lines) + "\n"


def write_again(page: Path) -> int:
    """Write those outputs of a page that its commands do not print any more; gives how many."""
    text = page.read_text(encoding="utf-8")
    written = 0
    for example, printed in outputs(page):
        if example.shown.strip() == "..." or not agrees(example.shown, printed):
            old, new = (f"$ {example.command}\n{shown}" for shown in (example.shown, _excerpt(printed)))
            assert old in text
            text, written = text.replace(old, new, 1), written + 1
    page.write_text(text, encoding="utf-8")
    return written


if __name__ == "__main__":
    for each in pages():
        print(each.name, write_again(each))  # noqa: T201 - a program for a terminal
    end_serving()
