"""Runs the examples of the docs: each ``console`` block of a page, in order, against one sandbox.

An example is a line ``$ bulkid ...`` and the output below it. In the output, a line ``...`` stands for any lines. What
differs from run to run (ids, ports, times) is compared by its form. A line ``$ export NAME=VALUE`` sets a variable of
the commands below it; the address of one of ``ORGANIZATIONS`` connects them to it. A block whose first line names a
file, such as `````toml night.toml``, is that file. ``python -m tests.support.doc_examples`` writes the
output of every example again.
"""

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.bulkid_command import ROOT, connected_to
from tests.support.cli_runner import call_cli
from tests.support.sandbox_host import end_serving, hosted

COLUMNS = 80
ORGANIZATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "https://cloud.uipath.com/old": {"accounts": 300},
    "https://cloud.uipath.com/new": {"accounts": 250, "seed": 2},
}
"""The organisations of the docs by their addresses; the first commands of a page are connected to a larger one."""
_TYPED: Final[Mapping[tuple[str, ...], bytes]] = {("users", "add"): b"gravel otter lamp\n"}
"""What the user of a command types."""
_FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:bulkid|export) .*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
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
_PROGRESS = re.compile(r"^\d+ % · [\d,]+/[\d,]+ · .*\n", re.MULTILINE)
"""Lines that a run prints where it takes more than five seconds, on a machine that is busy."""
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
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Example(page, command, shown) for block in blocks for command, shown in _COMMAND.findall(block)]


def outputs(page: Path) -> Iterator[tuple[Example, str]]:
    """Run the examples of a page in a folder with the samples; gives what each printed."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="ada", dir="/tmp"))
        folder = Path(name)
        for samples in ("sample_data", "jobs"):
            shutil.copytree(ROOT / samples, folder / samples)
        for file, content in _FILE.findall(page.read_text(encoding="utf-8")):
            (folder / file).write_text(content, encoding="utf-8")
        server = stack.enter_context(hosted(accounts=6000, limits=()))
        env = connected_to(folder, server.url, BULKID_MAX_CHANGE="").settings()
        env |= {"COLUMNS": str(COLUMNS), "TERM": "dumb"}
        for example in examples(page):
            command, *arguments = shlex.split(example.command)
            if command == "export":
                env |= _variables(arguments, stack)
                continue
            typed = _TYPED.get(tuple(arguments[:2]))
            done = call_cli(tuple(arguments), folder=folder, env=env, stdin=typed, terminal=True)
            printed = done.stdout.decode("utf-8").replace("\r\n", "\n").replace(name, "/home/ada")
            yield example, _PROGRESS.sub("", printed)


def _variables(assignments: list[str], stack: ExitStack) -> dict[str, str]:
    """The variables that a page sets; credentials stay those of the sandbox."""
    found = dict(each.split("=", 1) for each in assignments if not each.endswith("=..."))
    if "BULKID_URL" in found:
        found["BULKID_URL"] = stack.enter_context(hosted(**ORGANIZATIONS[found["BULKID_URL"]])).url
    return found


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
