"""The manual page is the one that the declarations of the commands make."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from bulkid.cli.app import app
from bulkid.config.settings import SETTINGS
from tests.support.programs import program

FOLDER = Path(__file__).resolve().parents[1] / "docs"
PAGE = FOLDER / "bulkid.1"


@pytest.fixture(scope="module")
def make_man() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_man", FOLDER / "make_man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_that_is_checked_in_is_the_one_that_is_made(make_man: ModuleType) -> None:
    assert PAGE.read_text(encoding="utf-8") == make_man.manual(), "write it again: python docs/make_man.py"


def test_every_command_option_and_variable_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        for inner in getattr(command, "commands", {"": command}):
            assert f'.SS "bulkid {f"{name} {inner}".strip()}"\n' in text
    for entry in SETTINGS:
        assert f".B {entry.env}\n" in text
        assert not entry.option or re.search(rf"^\.B (-v, )?(--verbose|{entry.option})", text, re.MULTILINE)
    assert len(re.findall(r"^\.B [0-6]$", text, re.MULTILINE)) == 7


def test_signs_that_roff_reads_are_escaped(make_man: ModuleType) -> None:
    assert make_man._escaped('.SH it\'s -v \\n "x"') == "\\&.SH it\\(aqs \\-v \\en \\(dqx\\(dq"


def test_groff_takes_the_page_without_a_warning() -> None:
    groff = program("groff", "groff-base")
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-ww", "-z", str(PAGE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
