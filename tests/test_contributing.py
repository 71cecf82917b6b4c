"""``CONTRIBUTING.md`` stays true: its commands are those of continuous integration, and its code runs as it stands."""

import importlib.util
import os
import re
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bulkid.config import parse
from bulkid.config.settings import OUTPUT, Settings, SettingsTable
from bulkid.report import formats
from bulkid.report.formats import FORMATS, ReportFormat, choices, register
from bulkid.resources import ROBOT_ACCOUNTS, Field, Resource, using
from bulkid.sheet import SheetOptions, fields_for_headers

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    """The blocks of a language, without the indentation that they have in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def _code(name: str) -> str:
    """The example that makes something."""
    (found,) = (block for block in _blocks("python") if block.startswith(name))
    return found


COMMANDS = [line for block in _blocks("sh") for line in block.splitlines()]


def _is_set_up(command: str) -> bool:
    """Whether it makes an environment, with the packages that continuous integration installs."""
    made, _, installed = command.partition(" && ")
    return made == "python3 -m venv .venv" and installed.replace(".venv/bin/pip install", "") in CI.replace(
        '"$bin/pip" install --quiet', ""
    )


def _is_in_ci(command: str) -> bool:
    """Whether continuous integration runs the same program with these options."""
    program, *arguments = command.split()
    lines = [line for line in CI.replace("'{}'", "win32").splitlines() if f'"$bin/{program}"' in line]
    return any(all(each in line.split() for each in arguments) for line in lines)


def _is_the_readme_s(command: str) -> bool:
    """Whether it runs the tests, as the README's command does that continuous integration runs."""
    return command == "pytest" and "$(.ci/readme_command 2)" in CI


def _is_a_module(command: str) -> bool:
    """Whether it runs a module that is there to be run."""
    name = command.removeprefix("python -m ")
    spec = importlib.util.find_spec(name) if name != command else None
    return spec is not None and spec.has_location and "__main__" in Path(str(spec.origin)).read_text(encoding="utf-8")


def _is_a_script(command: str) -> bool:
    path = ROOT / command
    return path.is_file() and (sys.platform == "win32" or os.access(path, os.X_OK))


CHECKS = (_is_set_up, _is_in_ci, _is_the_readme_s, _is_a_module, _is_a_script)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_the_checks_run(command: str) -> None:
    assert any(check(command) for check in CHECKS), command


@pytest.mark.parametrize("command", ["mypy --platform plan9", "ruff check --fix .", "python -m tests.support", "make"])
def test_another_command_is_noticed(command: str) -> None:
    assert not any(check(command) for check in CHECKS)


def test_powershell_has_the_same_set_up() -> None:
    (windows,) = _blocks("powershell")
    posix = (
        COMMANDS[0].replace("python3", "py").replace(" && ", "; ").replace("/", "\\").replace("\\bin\\", "\\Scripts\\")
    )
    assert windows.strip() == posix


def test_every_path_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:bulkid|tests|docs|\.ci|jobs|sample_data|benchmarks)/[\w/.]*)`", PAGE))
    assert len(named) > 15
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def _made_by(name: str, **known: Any) -> Any:
    namespace = dict(known)
    exec(_code(name), namespace)  # noqa: S102 - the example as it stands
    return namespace[name]


def test_the_field_is_a_column_of_a_sheet() -> None:
    field = _made_by("DESCRIPTION", Field=Field)
    with using(replace(ROBOT_ACCOUNTS, fields=(*ROBOT_ACCOUNTS.fields, field))) as resource:
        assert fields_for_headers(["name", "Remark"], SheetOptions()) == ("name", "description")
        assert "description" in resource.export_columns


def test_the_kind_of_account_has_its_columns() -> None:
    with using(_made_by("USERS", Resource=Resource, Field=Field)):
        assert fields_for_headers(["Login", "E-mail"], SheetOptions()) == ("name", "email")


def test_the_format_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", dict(FORMATS))
    register(eval(_code("ReportFormat"), {"ReportFormat": ReportFormat, "_open": formats._open}))  # noqa: S307
    assert choices()[-1] == "names"


def test_the_setting_is_an_option_and_a_variable() -> None:
    namespace: dict[str, Any] = {"OUTPUT": OUTPUT, "parse": parse, "dataclass": dataclass, "Settings": Settings}
    body = textwrap.indent(_code("copies"), "    ")
    exec(f"@dataclass(frozen=True, kw_only=True)\nclass More(Settings):\n{body}", namespace)  # noqa: S102
    entry = SettingsTable(namespace["More"]).by_name["copies"]
    assert (entry.option, entry.env, entry.key, entry.default) == ("--copies", "BULKID_COPIES", "copies", 1)
    assert "report" in entry.commands
