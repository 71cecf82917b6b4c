"""The README stays true: what it quotes is in the code, and what it shows can be run."""

import ast
import asyncio
import functools
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bulkid import runs
from bulkid.cli.app import app
from bulkid.config.settings import SETTINGS
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "jobs/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@functools.cache
def _part(part: ast.expr) -> str:
    """One part of an f-string: its text; or the word that the resource has; or a character that no message holds."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    word = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
    is_resource = word.startswith("current().")
    return str(getattr(ROBOT_ACCOUNTS, word.removeprefix("current()."), "\0")) if is_resource else "\0"


@functools.cache
def _strings_of_the_product() -> str:
    """Every string literal of the product, one after the other; f-strings by their fixed parts."""
    found = []
    for path in sorted((ROOT / "bulkid").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(map(_part, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def _quoted_messages() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.mark.parametrize("message", _quoted_messages())
def test_every_message_that_the_docs_explain_is_one_that_bulkid_says(message: str) -> None:
    assert message in _strings_of_the_product()


def _blocks(language: str) -> list[str]:
    """The README's blocks of a language, without the indentation that they have in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def _commands(language: str) -> list[str]:
    """The README's two commands: run the main job, run the tests."""
    return [block for block in _blocks(language) if " -m venv " in block]


@pytest.mark.skipif(sys.platform == "win32", reason="continuous integration runs on Linux")
def test_continuous_integration_runs_the_readme_s_commands_as_they_stand() -> None:
    """Not a copy of them, which could differ."""
    for number, command in enumerate(_commands("sh"), start=1):
        found = subprocess.run(
            [ROOT / ".ci" / "readme_command", str(number)], capture_output=True, text=True, check=True
        )
        assert found.stdout == command
        assert f"$(.ci/readme_command {number})" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_readme_s_commands_make_their_own_environment_and_use_no_other() -> None:
    """Debian and Ubuntu refuse to install into the system's Python, and nothing is activated on a bare machine."""
    run, test = _commands("sh")
    assert len(run.splitlines()) == len(test.splitlines()) == 1
    for command, powershell in zip((run, test), _commands("powershell"), strict=True):
        made, *used = command.strip().split(" && ")
        assert made == "python3 -m venv .venv"
        assert all(part.startswith(".venv/bin/") for part in used)
        made, *same = powershell.strip().split("; ")  # && is an error in PowerShell 5.1
        assert made == "py -m venv .venv"
        assert same == [part.replace("/", "\\").replace("\\bin\\", "\\Scripts\\") for part in used]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_variables_of_a_page_are_the_same_for_powershell(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    posix = re.findall(r"^ *export (BULKID_\w+)=(\".*\")$", text, re.MULTILINE)
    assert re.findall(r"^ *\$env:(BULKID_\w+) = (\".*\")$", text, re.MULTILINE) == posix


def test_the_readme_is_read_in_two_minutes() -> None:
    """An adult reads about 240 words a minute (https://doi.org/10.1016/j.jml.2019.104047)."""
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(re.findall(r"\w+", prose)) < 2 * 240


def test_every_option_that_a_page_names_exists() -> None:
    known = {line.option for line in SETTINGS} | {
        "--all",
        "--help",
        "--version",
        "--verbose",
        "--limit",
        "--out",
        "--plan",
        "--prune",
        "--role",
    }
    for command in app.registered_commands:
        known |= {f"--{name.replace('_', '-')}" for name in inspect.signature(command.callback).parameters}
    known |= {"--collector", "--cov", "--hypothesis-profile"}  # node_exporter's and pytest's
    known |= {"--no-deps", "--require-hashes", "--upgrade"}  # pip's and those of requirements/lock.py
    known |= {"--check", "--platform", "--strict"}  # ruff's, mypy's and mkdocs'
    known |= {"--data-urlencode", "--from", "--output", "--raw", "--cert", "--key", "--for"}  # curl's and kubectl's
    known |= {"--build-arg", "--cap-drop", "--detach", "--init", "--read-only", "--rm", "--secret", "--security-opt"}
    known |= {"--tag", "--time", "--tmpfs", "--volume"}  # these and those above are docker's
    known |= {"--no-install-recommends", "--repo"}  # apt-get's and gh's
    known |= {"--home-dir", "--shell", "--system", "--user-group"}  # useradd's
    for page in PAGES:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name} names options that do not exist"


def test_every_command_that_a_setting_names_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.typer_instance.info.name for group in app.registered_groups}
    assert {name for line in SETTINGS for name in line.commands} <= known


def test_every_variable_that_a_page_names_exists() -> None:
    known = {line.env for line in SETTINGS} | {"BULKID_REQUIRE_ALL", "BULKID_AXE"}
    for page in PAGES:
        named = set(re.findall(r"BULKID_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name} names variables that do not exist"


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_library_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    code = page.split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "accounts.xlsx").write_bytes((ROOT / "sample_data" / "robot_accounts.xlsx").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    namespace: dict[str, object] = {}
    # The example as it stands but for the server's address; its own last line, which runs it, comes from the test.
    exec(compile(code.replace("anyio.run(main)", ""), "library.md", "exec"), namespace)  # noqa: S102
    target = runs.Target

    async def work() -> None:
        async with Sandbox(SandboxOptions(limits=())) as server:

            def here(**given: str) -> runs.Target:
                return target(
                    **(given | {"url": server.url, "client_id": "sandbox", "client_secret": "sandbox-secret"})
                )

            monkeypatch.setattr(runs, "Target", here)
            await namespace["main"]()  # type: ignore[operator]

    asyncio.run(work())
    assert list((tmp_path / "reports").glob("*/report.csv"))
